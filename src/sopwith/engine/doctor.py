"""`sop doctor`: checks the workspace and mends what can be made again: views, the registry. Never the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from sopwith.core.codec import decode_event, link
from sopwith.core.run import Run, running_processes
from sopwith.engine.engine import Engine
from sopwith.engine.library import MANIFEST, SHEET, Entry
from sopwith.engine.template import register
from sopwith.errors import Severity, SopwithError
from sopwith.ports import RunFilter


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was not as it should be; `mended` tells whether it is now."""

    message: str
    mended: bool = False
    hint: str = ""

    def document(self) -> dict[str, Any]:
        return {"message": self.message, "mended": self.mended, "hint": self.hint}


def examine(engine: Engine) -> tuple[Finding, ...]:
    """Everything that was found, in the order in which it was looked at."""
    return (*_database(engine), *_registry(engine), *_runs(engine))


def _database(engine: Engine) -> Iterator[Finding]:
    for trouble in engine.parts.store.check():
        yield Finding(message=trouble, hint="keep a copy of runs.db and restore the last good one")


def _registry(engine: Engine) -> Iterator[Finding]:
    library = engine.parts.library
    try:
        entries, problems = library.entries()
    except SopwithError as error:
        yield Finding(message=error.message, hint=error.hint)
        return
    flaws = [problem for problem in problems if problem.severity is Severity.ERROR]
    if flaws:
        # what cannot be read is not written anew: the person who wrote it knows what it was to say
        yield from (Finding(message=str(flaw), hint=flaw.hint or "mend it by hand") for flaw in flaws)
        return
    missing = [entry for entry in entries if not entry.registered]
    gone = [entry for entry in entries if entry.registered and not _has_files(entry.folder)]
    if missing:
        index = {entry.name: _index_path(engine, entry) for entry in entries if entry.registered}
        register(engine.parts.workspace, index | {entry.name: _index_path(engine, entry) for entry in missing})
        yield Finding(message=f"index.json lacked {', '.join(e.name for e in missing)}: registered", mended=True)
    for entry in gone:
        yield Finding(
            message=f"index.json names {entry.name}, and its files are gone",
            hint="put them back, or take it out of index.json",
        )


def _has_files(folder: Path) -> bool:
    return (folder / SHEET).is_file() or (folder / MANIFEST).is_file()


def _index_path(engine: Engine, entry: Entry) -> str:
    file = MANIFEST if (entry.folder / MANIFEST).is_file() else SHEET
    return str((entry.folder / file).relative_to(engine.parts.workspace.sops))


def _runs(engine: Engine) -> Iterator[Finding]:
    summaries, _total = engine.parts.store.summaries(RunFilter())
    for summary in summaries:
        try:
            yield from _chain(engine, summary.run_id)
            run = engine.runs.load(summary.run_id).run
        except (SopwithError, msgspec.MsgspecError, ValueError) as error:
            yield Finding(message=f"{summary.run_id} cannot be read: {error}", hint="restore a backup")
            continue
        if engine.parts.views.rebuild(run.run_id, engine.runs.state_json(run)):
            yield Finding(message=f"the files of {run.run_id} under runs/ were not up to date: rebuilt", mended=True)
        yield from _driverless(engine, run)


def _chain(engine: Engine, run_id: str) -> Iterator[Finding]:
    previous = None
    for sealed in engine.parts.store.events(run_id):
        event = decode_event(sealed.payload)
        linked = previous is None or sealed.prev_hash == previous
        if not linked or link(sealed.prev_hash, sealed.payload) != sealed.hash:
            yield Finding(
                message=f"the record of {run_id} was changed: event {event.seq} does not fit the one before",
                hint="nothing in it can be trusted from there on",
            )
            return
        previous = sealed.hash


def _driverless(engine: Engine, run: Run) -> Iterator[Finding]:
    if running_processes(run) and engine.parts.store.holder(run.run_id) is None:
        yield Finding(
            message=f"{run.run_id} is running and nobody drives it", hint=f"sop resume {run.run_id} takes it up"
        )
