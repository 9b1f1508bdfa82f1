"""The workspace key: made at first need, 0600, never in git, never in a record."""

from __future__ import annotations

import os
from pathlib import Path

from sopwith.engine.files import ensure_private_folder
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
        temporary = self._path.with_name(f".key.{os.getpid()}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                os.fsync(descriptor)
            os.link(temporary, self._path)  # fails if another process was first, whose key then counts
        except FileExistsError:
            return self._read() or key
        except OSError as error:
            raise WorkspaceError.from_os("write", self._path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return key
