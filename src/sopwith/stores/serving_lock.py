"""Which process serves a workspace: a lock that dies with it, and beside it a file that says who it is.

The lock tells whether there is one; the file only tells its name, and what it says counts while the lock is held.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from sopwith.errors import Refused
from sopwith.ports import Owner
from sopwith.stores.locks import byte_locks

_SERVING = 0
"""Held by whoever drives the runs of this workspace, be it only once."""
_STAYING = 1
"""Held besides by a server that goes on: what is made now will be taken up by it."""
_OWNER = msgspec.json.Decoder(Owner)


class ServingLock:
    """The lock of one workspace, whose files lie in `folder`, which exists. Raises StoreError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "server.lock"
        self._who = folder / "server.json"
        self._locks = byte_locks(self._path)

    def take(self, owner: Owner, *, staying: bool) -> bool:
        """Takes the lock; False while a living process holds it.

        On a full disk nobody can read who holds it; it counts all the same.
        """
        if not self._locks.acquire(_SERVING):
            return False
        try:
            self._tell(owner)
        except OSError:
            self._name_nobody()
        if staying:
            self._locks.acquire(_STAYING)
        return True

    def stop_staying(self) -> None:
        """From now on nobody leaves runs to this process."""
        self._locks.release(_STAYING)

    def close(self) -> None:
        """Gives the lock back."""
        self._locks.close()

    def holder(self) -> Owner | None:
        """Who holds the lock now, as far as its file can be read; None if nobody does, or nobody says who."""
        if not self._is_held(_SERVING):
            return None
        with suppress(OSError, msgspec.MsgspecError):
            return _OWNER.decode(self._who.read_bytes())
        return None

    def refusal(self, of: str) -> Refused:
        """To whoever could not take it for this: who has it, and whether that one ends by itself."""
        holder = self.holder()
        who = f"process {holder.pid} on {holder.host}" if holder else "another process"
        if self.has_server:
            hint = "to end it, send it SIGTERM"
            return Refused(f"cannot {of}: {who} serves the workspace", hint=hint)
        # somebody who is told to end it would cut off a restore
        return Refused(f"cannot {of}: {who} restores the workspace, or serves it once", hint="wait for its end")

    @property
    def has_server(self) -> bool:
        """Whether a server is alive that takes up what others make. Makes no file."""
        return self._is_held(_STAYING)

    @property
    def is_found(self) -> bool:
        """Whether others still find this lock: its file was neither deleted nor replaced since it was taken."""
        return self._locks.is_named()

    def _is_held(self, byte: int) -> bool:
        return self._path.exists() and self._locks.is_held(byte)

    def _tell(self, owner: Owner) -> None:
        self._draft.touch(mode=0o600)
        self._draft.write_bytes(msgspec.json.encode(owner))
        self._draft.replace(self._who)

    def _name_nobody(self) -> None:
        """Takes away what is half written, and the name of whoever held the lock before."""
        for path in (self._draft, self._who):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    @property
    def _draft(self) -> Path:
        return self._who.with_suffix(".new")
