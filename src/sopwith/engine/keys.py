"""The workspace key: made at first need, 0600, never in git, never in a record."""

from __future__ import annotations

import os
from pathlib import Path

from sopwith.engine.files import draft_in, ensure_private_folder, sync_folder
from sopwith.errors import WorkspaceError

_BYTES = 32


class Keyring:
    """Keys of one workspace, read when first used."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "workspace.key"
        self._key: bytes | None = None

    def conceal(self, value: str) -> str:
        """HMAC-SHA-256 of the value in hex: equal values can be told to be equal, and nothing else."""
        import hmac

        return hmac.new(self._load(), value.encode("utf-8", "surrogateescape"), "sha256").hexdigest()

    def _load(self) -> bytes:
        if self._key is None:
            self._key = self._read() or self._make()
        return self._key

    def _read(self) -> bytes | None:
        try:
            key = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WorkspaceError.from_os("read", self._path, error) from error
        if len(key) != _BYTES:
            raise WorkspaceError(f"{self._path} is damaged: expected {_BYTES} bytes, got {len(key)}")
        return key

    def _make(self) -> bytes:
        ensure_private_folder(self._path.parent)
        key = os.urandom(_BYTES)
        try:
            with draft_in(self._path.parent, mode=0o600) as draft:
                draft.file.write(key)
                draft.link(self._path)
            sync_folder(self._path.parent.parent)
        except FileExistsError:
            return self._read() or key  # another process was first, and its key counts
        except OSError as error:
            raise WorkspaceError.from_os("write", self._path, error) from error
        return key
