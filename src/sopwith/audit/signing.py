"""The workspace's signing key: made at first need, 0600, never in git, never in a record.

PyNaCl is imported when something is signed, and by nothing before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sopwith.audit.statements import origin_of
from sopwith.errors import WorkspaceError

_SEED_BYTES = 32
_PRIVATE = "checkpoint.key"
_PUBLIC = "checkpoint.pub"


class SigningKey:
    """The Ed25519 key in `folder`, read or made when first used. A Signer."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _PRIVATE
        self._pair: tuple[bytes, bytes] | None = None

    @property
    def public_key(self) -> bytes:
        """32 bytes. Raises WorkspaceError."""
        return self._load()[0]

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature. Raises WorkspaceError."""
        from nacl.bindings import crypto_sign

        return crypto_sign(message, self._load()[1])[:64]

    def _load(self) -> tuple[bytes, bytes]:
        if self._pair is None:
            from nacl.bindings import crypto_sign_seed_keypair

            self._pair = crypto_sign_seed_keypair(self._read() or self._make())
            _show(self._path.with_name(_PUBLIC), self._pair[0])
        return self._pair

    def _read(self) -> bytes | None:
        try:
            seed = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WorkspaceError.from_os("read", self._path, error) from error
        if len(seed) != _SEED_BYTES:
            raise WorkspaceError(f"{self._path} is damaged: expected {_SEED_BYTES} bytes, got {len(seed)}")
        return seed

    def _make(self) -> bytes:
        seed = os.urandom(_SEED_BYTES)
        temporary = _draft_of(self._path)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(temporary, seed, 0o600)
            os.link(temporary, self._path)  # fails if another process was first, whose key then counts
        except FileExistsError:
            return self._read() or seed
        except OSError as error:
            raise WorkspaceError.from_os("write", self._path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return seed


def known_keys(folder: Path) -> frozenset[str]:
    """The public keys of this workspace in hex: the one in use, and those that were in use before it was lost."""
    keys = set()
    for path in sorted(folder.glob("checkpoint*.pub")):
        try:
            keys.add(path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise WorkspaceError(f"cannot read {path}: {error}", hint="put the public key back") from error
    return frozenset(keys)


def _show(path: Path, public_key: bytes) -> None:
    """Puts the public key beside the private one; a key that stood there before is kept under its origin's name."""
    text = public_key.hex() + "\n"
    try:
        before = path.read_text(encoding="ascii") if path.exists() else ""
        if before == text:
            return
        if before:
            with suppress(FileNotFoundError):  # another process was faster
                path.replace(path.with_name(f"checkpoint.{origin_of(bytes.fromhex(before))}.pub"))
        temporary = _draft_of(path)
        _write(temporary, text.encode(), 0o644)
        temporary.replace(path)
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"cannot write {path}: {error}", hint="look at the folder and its permissions") from error


def _draft_of(path: Path) -> Path:
    """A name of its own, for two threads of one process may be at it."""
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
