"""A server's record as a whole: verified, taken here as a bundle or a backup, pruned, examined.

What comes is written piece by piece beside its place, and has its name only when its SHA-256 is the one that was told.
"""

from __future__ import annotations

import base64
import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import msgspec

from sopwith.audit.bundle import Bundle, is_member
from sopwith.doors.remote.client import Client, Document, ServerUnreachable, in_path
from sopwith.engine.files import draft_in, new_file, read_bounded
from sopwith.errors import BadRequest, WorkspaceError

_PIECE = 256 * 1024
_MOST_CHECKPOINTS = 262_144


class RemoteKeeping:
    """What `sop audit`, `sop backup` and `sop doctor` ask of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def verify(self, run_id: str | None, brought: Sequence[Path]) -> Document:
        """What the server finds out about its record."""
        if run_id is not None and not brought:
            return self._client.get(in_path("runs", run_id, "verification"))
        path = in_path("audit", "verification") if run_id is None else in_path("runs", run_id, "verification")
        return self._client.post(path, _checkpoints(brought), keyed=False, patient=True)

    def export(
        self, folder: Path, *, run_ids: Sequence[str], since: datetime | None, brought: Sequence[Path]
    ) -> Document:
        """Writes the bundle into a new folder; what is in it."""
        chosen: Document = {"runIds": list(run_ids)} if run_ids else {"all": True}
        if since is not None:
            chosen = {"since": since.isoformat()}
        bundle = Bundle(folder)
        asked = {**chosen, **_checkpoints(brought)}
        try:
            with TemporaryFile() as file:
                headers = self._client.fetch("POST", in_path("audit", "export"), file, body=asked)
                made = _checked(file, headers)
                _unpack(file, bundle)
        except OSError as error:
            raise WorkspaceError.from_os("keep what is sent for", folder, error) from error
        return {"folder": str(folder), **made}

    def prune(self, *, dry_run: bool) -> Document:
        return self._client.post(in_path("audit", "prune"), {"dryRun": dry_run}, keyed=False, patient=True)

    def backup(self, place: Path, *, force: bool) -> Document:
        """Writes the backup; what is in it."""
        target = new_file(place, "backup", force=force)
        try:
            with draft_in(target.parent, mode=0o600) as draft:
                headers = self._client.fetch("GET", in_path("backup"), draft.file)
                draft.file.flush()
                with draft.path.open("rb") as written:
                    made = _checked(written, headers)
                draft.replace(target)
        except OSError as error:
            raise WorkspaceError.from_os("write the backup", place, error) from error
        return {"path": str(place), **made}

    def doctor(self) -> Document:
        return self._client.get(in_path("doctor"))


def _checkpoints(brought: Sequence[Path]) -> Document:
    texts = [_text(path) for path in brought]
    return {"checkpoints": texts} if texts else {}


def _text(path: Path) -> str:
    data = read_bounded(path, limit=_MOST_CHECKPOINTS)
    if data is None:
        raise BadRequest(f"there is no file {path}", hint="name the checkpoints that were kept elsewhere")
    if len(data) > _MOST_CHECKPOINTS:
        raise BadRequest(f"{path} is larger than {_MOST_CHECKPOINTS} bytes", hint="bring its last lines only")
    return data.decode("utf-8", "replace")


def _checked(file: BinaryIO, headers: Mapping[str, str]) -> Document:
    """What the server says is in the file, which is whole. Raises ServerUnreachable."""
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
    file.seek(0)
    try:
        made = msgspec.json.decode(base64.b64decode(headers.get("sopwith-made", "")), type=dict[str, Any])
    except (ValueError, msgspec.MsgspecError):
        made = None
    if made is None or headers.get("sopwith-sha256") != digest.hexdigest():
        raise ServerUnreachable("what came is not all that was sent", hint="try again; nothing was kept of it")
    return made


def _unpack(file: BinaryIO, bundle: Bundle) -> None:
    """Only what a bundle has: names are the server's word. Raises ServerUnreachable."""
    with _opened(file) as tar:
        for member in tar:
            source = tar.extractfile(member) if member.isreg() and is_member(member.name) else None
            if source is None:
                raise ServerUnreachable(
                    f"{member.name!r} does not belong into a bundle", hint="is a Sopwith server at this address?"
                )
            bundle.copy(member.name, cast(BinaryIO, source))


@contextmanager
def _opened(file: BinaryIO) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise ServerUnreachable(
            f"the bundle cannot be read ({error})", hint="is a Sopwith server at this address?"
        ) from error
