"""What dead processes left behind: claims, drafts, spools, and permissions that let others read. For `sop doctor`.

Nothing here is part of the record, and nothing goes that somebody may still be writing.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from sopwith.core.instant import iso
from sopwith.engine.engine import Engine
from sopwith.engine.evidence import left_sent
from sopwith.engine.findings import Finding
from sopwith.errors import StoreError
from sopwith.ports import RunSummary

_LEFT_AFTER = timedelta(days=1)
"""A draft that nobody has touched for so long has lost its writer."""
_AHEAD = timedelta(hours=1)
_DRAFTS = (".*.tmp", ".*.draft", "*.new", ".backup-*", ".restore-*", ".export-*")
_PROCESS_FILES = ("spool", "order", "params.secret.json")


def claims(engine: Engine, summary: RunSummary, *, mend: bool) -> Iterator[Finding]:
    """The row of a claim whose owner is dead."""
    store, now = engine.parts.store, engine.parts.clock.now().at
    lease = store.lease(summary.run_id)
    me = engine.parts.owner()
    if lease is None or store.holder(summary.run_id) is not None or lease.keeps_out(me, now):
        return
    told = f"process {lease.owner.pid} on {lease.owner.host}, which had claimed {summary.run_id}, is gone"
    try:
        # taken as any driver would, and given back: whoever was faster keeps it
        claim = store.claim(summary.run_id, me, now) if mend else None
        if claim is not None:
            store.release(claim)
        elif mend:
            return
    except StoreError as error:
        yield Finding(message=f"{told}, and its claim cannot be given back: {error.message}", hint=error.hint)
        return
    yield Finding(message=f"{told}: its claim is given back", mended=mend, mendable=True)


def clock(engine: Engine, summary: RunSummary) -> Iterator[Finding]:
    """A run whose last event lies in the future: the clock was wrong then, or is now."""
    now = engine.parts.clock.now().at
    if summary.updated_at > now + _AHEAD:
        yield Finding(
            message=f"{summary.run_id} has an event of {iso(summary.updated_at)}, and the clock says {iso(now)}",
            hint="set the clock right; timeouts that count by the wall clock come late until then",
        )


def spools(engine: Engine, summary: RunSummary, *, mend: bool) -> Iterator[Finding]:
    """Raw output of attempts of a run that has ended, where the log has been made from it, or it may hold secrets."""
    if summary.ended_at is None:
        return
    left = [
        launch / name
        for attempt in sorted(engine.parts.workspace.run_folder(summary.run_id).glob("step-*"))
        for launch in attempt.glob("[0-9]*")
        if (attempt / "output.log").exists() or (launch / "given").exists()
        for name in _PROCESS_FILES
        if (launch / name).exists()
    ]
    yield from _gone(left, f"raw output of {summary.run_id} was left behind", mend=mend)


def drafts(engine: Engine, *, mend: bool) -> Iterator[Finding]:
    """Files and folders whose writer died before it gave them a name."""
    workspace = engine.parts.workspace
    folders = (workspace.sops, workspace.runs, workspace.keys, *workspace.runs.glob("sop_run_*/evidence"))
    found = [path for folder in folders for pattern in _DRAFTS for path in folder.glob(pattern)]
    now = engine.parts.clock.now().at
    sent = [path for folder in workspace.runs.glob("sop_run_*") for path in left_sent(folder, now)]
    left = sorted({*(path for path in found if _is_left(path, now)), *sent})
    yield from _gone(left, "drafts were left behind by processes that died", mend=mend)


def permissions(engine: Engine, *, mend: bool) -> Iterator[Finding]:
    """Database, keys and the folders of runs and keys are for their owner alone; what lies in these is behind them."""
    workspace = engine.parts.workspace
    private = [workspace.runs, workspace.keys, *workspace.keys.glob("*.key"), *workspace.sops.glob("runs.db*")]
    for path in private:
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if not mode & 0o077 or path.is_symlink():
                continue
            name = path.relative_to(workspace.root)
            try:
                if mend:
                    path.chmod(mode & 0o700)
            except OSError as error:
                yield Finding(message=f"others may look into {name}: {error.strerror}", hint=f"chmod go= {name}")
            else:
                yield Finding(message=f"others could look into {name}: closed to them", mended=mend, mendable=True)


def _is_left(path: Path, now: datetime) -> bool:
    try:
        touched = path.lstat().st_mtime
    except OSError:
        return False
    return touched < (now - _LEFT_AFTER).timestamp()


def _gone(left: list[Path], what: str, *, mend: bool) -> Iterator[Finding]:
    if not left:
        return
    shown = ", ".join(path.name for path in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    try:
        for path in left if mend else ():
            _remove(path)
    except OSError as error:
        yield Finding(message=f"{what}, and cannot be removed: {error.strerror}: {shown}", hint="remove them by hand")
    else:
        yield Finding(message=f"{what}: {shown}: removed", mended=mend, mendable=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108
