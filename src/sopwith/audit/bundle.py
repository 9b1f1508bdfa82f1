"""The files of a bundle: what goes into the folder that an auditor gets. Knows names and forms, judges nothing."""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from sopwith.core.codec import SealedEvent, view_line
from sopwith.core.procedure import canonical
from sopwith.errors import BadRequest, StoreError, WorkspaceError
from sopwith.ports import LogEntry

README = """A bundle of run records
=======================

index.html        the decisions, for reading; nothing outside this folder is needed to see it
events.jsonl      every event of the runs, one JSON object a line, in canonical form (RFC 8785)
checkpoint.json   the signed head of the whole log (Ed25519 over the Merkle root of RFC 9162)
proofs.json       that each run's last event is in that log, and that older checkpoints are its beginning
procedures/       the procedures that ran, under the SHA-256 of their content
triggers/         what happened outside and started runs, under the SHA-256 of its content
envelopes/        what each approver was asked about, whole, under the SHA-256 that the approval names
tombstones.jsonl  signed notes about contents that retention dropped, if there are any
bundle.json       the SHA-256 of all these files, signed

To verify, with Python 3.11 or newer and nothing else:

    python3 verify_audit.py FOLDER --checkpoint COPY --key HEX

COPY is a checkpoints.jsonl that was kept outside the workspace; HEX is the public key, had from its owner by another
way. The tool is tools/verify_audit.py of the Sopwith sources; it is not in this folder on purpose: take it from there.
Exit code 0: all is as it was recorded. 1: the first bad event is named.

What this proves: no event of these runs was edited, left out, added or re-ordered since the checkpoint was signed, and
each approval names the very bytes shown here. Given COPY: the whole log at that time is the beginning of this one, so
nothing was rewritten, cut off or restored from an older state since COPY was made, even by somebody who has the key.

What it does not prove: that what was recorded was true when it was recorded, that the clock of the machine was right,
that the named account was used by its owner, that the runs in this bundle are all there were, that a run which is not
ended here did not go on, and, without COPY, that whoever has the signing key did not write all of this anew.
"""


_MEMBER = re.compile(
    r"index\.html|README\.txt|(?:events|tombstones)\.jsonl|(?:checkpoint|proofs|bundle)\.json"
    r"|(?:procedures|triggers|envelopes)/[0-9a-f]{64}\.json"
)
_CHUNK = 1024 * 1024


class Bundle:
    """A new folder, 0700, and the files written into it so far, by their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, str] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            taken = any(folder.iterdir())
        except OSError as error:
            raise WorkspaceError.from_os("make", folder, error) from error
        if taken:
            raise BadRequest(f"cannot export to {folder}: it is not empty", hint="name a new folder")

    def write(self, name: str, data: bytes) -> None:
        """Adds a file. Raises WorkspaceError."""
        self.copy(name, io.BytesIO(data))

    def copy(self, name: str, source: BinaryIO) -> None:
        """Adds a file piece by piece. Raises WorkspaceError."""
        digest = hashlib.sha256()
        path = self.folder / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                while piece := source.read(_CHUNK):
                    digest.update(piece)
                    file.write(piece)
        except OSError as error:
            raise WorkspaceError.from_os("write", path, error) from error
        self.files[name] = digest.hexdigest()


def is_member(name: str) -> bool:
    """Whether a file of a bundle may have this name."""
    return _MEMBER.fullmatch(name) is not None


def event_line(entry: LogEntry) -> bytes:
    """The event as `<run id>.audit.jsonl` shows it; one whose payload was dropped keeps its place and its hashes."""
    if entry.payload is not None:
        try:
            return view_line(SealedEvent(entry.seq, entry.payload, entry.prev_hash.hex(), entry.hash.hex()))
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise StoreError(
                f"cannot export event {entry.seq} of {entry.run_id}: its content is damaged",
                hint=f"see: sop audit {entry.run_id} --verify",
            ) from error
    kept: dict[str, Any] = {
        "dropped": True,
        "runId": entry.run_id,
        "seq": entry.seq,
        "prevHash": entry.prev_hash.hex(),
        "hash": entry.hash.hex(),
    }
    return canonical(kept) + b"\n"
