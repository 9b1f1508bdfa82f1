"""`sop doctor`: checks the workspace and mends what can be made again: views, summaries, the registry.

Never the record: a summary is mended from the events, and the events are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise

import msgspec

from sopwith.core.codec import first_changed
from sopwith.core.due import at_rest
from sopwith.core.procedure import sha256
from sopwith.core.run import Run, running_processes, status_of
from sopwith.engine import tidying
from sopwith.engine.claiming import is_driven
from sopwith.engine.engine import Engine
from sopwith.engine.files import MAX_BYTES, is_file, read_bounded
from sopwith.engine.findings import Finding
from sopwith.engine.library import MANIFEST, SHEET, Entry, has_files
from sopwith.engine.runs import Loaded, summarise
from sopwith.engine.template import register
from sopwith.engine.waiting import is_undriven
from sopwith.errors import Severity, SopwithError, StoreError, UnreadableRecord, WorkspaceError
from sopwith.ports import RunFilter


def examine(
    engine: Engine, *, mend: bool = True, around: Iterable[tuple[str, str]] = (), kill_orphans: bool = False
) -> tuple[Finding, ...]:
    """Everything that was found, in the order in which it was looked at. Without `mend`, nothing is changed.

    `around`: sentences and hints about the disk and what else surrounds the record. `kill_orphans`: ends processes
    that nobody watches.
    """
    looks = (
        _database(engine),
        (Finding(message=message, hint=hint) for message, hint in around),
        tidying.permissions(engine, mend=mend),
        tidying.drafts(engine, mend=mend),
        _log(engine),
        _config(engine),
        _registry(engine, mend=mend),
        _runs(engine, mend=mend),
        _counts(engine, mend=mend),
        _orphans(engine, end=kill_orphans),
    )
    return tuple(finding for look in looks for finding in _as_far_as_it_goes(look))


def _as_far_as_it_goes(look: Iterator[Finding]) -> Iterator[Finding]:
    """What stands in the way of one look hides nothing of the others."""
    try:
        yield from look
    except SopwithError as error:
        yield Finding(message=error.message, hint=error.hint)


def _database(engine: Engine) -> Iterator[Finding]:
    for trouble in engine.parts.store.check():
        yield Finding(message=trouble, hint="keep a copy of runs.db, and restore the last good one: sop restore FILE")


def _log(engine: Engine) -> Iterator[Finding]:
    """The whole log against its chain and its checkpoints; costs less than the replaying of all runs below."""
    try:
        for trouble in engine.parts.auditing.examine():
            yield Finding(message=f"the log is not what it was: {trouble}", hint="see: sop audit --verify-all")
    except SopwithError as error:
        yield Finding(message=error.message, hint=error.hint or "see: sop audit --verify-all")


def _config(engine: Engine) -> Iterator[Finding]:
    """Errors of config.json, with which no run starts."""
    _parsed, problems = engine.parts.library.parsed_config()
    for problem in problems:
        if problem.severity is Severity.ERROR:
            yield Finding(message=str(problem), hint=problem.hint or "mend it by hand")


def _registry(engine: Engine, *, mend: bool) -> Iterator[Finding]:
    library = engine.parts.library
    try:
        torn = _torn_index(engine)
        if torn is not None:
            yield _set_aside(engine, torn, mend=mend)
        entries, problems = library.entries()
    except SopwithError as error:
        yield Finding(message=error.message, hint=error.hint)
        return
    flaws = [problem for problem in problems if problem.severity is Severity.ERROR]
    flaws = [flaw for flaw in flaws if torn is None or flaw.file != "index.json"]
    flaws += [problem for entry in entries for problem in library.outside(entry)]
    yield from (Finding(message=str(flaw), hint=flaw.hint or "mend it by hand") for flaw in flaws)
    # an entry that is wrong is not written anew: the person who wrote it knows what it was to say
    if not any(flaw.file == "index.json" for flaw in flaws):
        yield from _register(engine, [entry for entry in entries if not entry.registered], mend=mend)
    for entry in entries:
        if entry.registered and not has_files(entry.folder):
            yield Finding(
                message=f"index.json names {entry.name}, and its files are gone",
                hint="put them back, or take it out of index.json",
            )


def _torn_index(engine: Engine) -> bytes | None:
    """What stands in index.json where it is no JSON: half of it, or of something else."""
    data = read_bounded(engine.parts.workspace.index)
    try:
        if data is not None and len(data) <= MAX_BYTES:
            msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError):
        return data
    return None


def _set_aside(engine: Engine, torn: bytes, *, mend: bool) -> Finding:
    """Keeps it under a name of its own, and leaves room for one made from the folders."""
    index = engine.parts.workspace.index
    aside = index.with_name(f"index.json.broken-{sha256(torn)[:8]}")
    try:
        if mend:
            index.replace(aside)
    except OSError as error:
        raise WorkspaceError.from_os("rename", index, error) from error
    told = f"index.json could not be read: kept as {aside.name}, and made anew from the folders"
    return Finding(message=told, mended=mend, mendable=True)


def _register(engine: Engine, entries: list[Entry], *, mend: bool) -> Iterator[Finding]:
    missing = {entry.name: _index_path(engine, entry) for entry in entries if not engine.parts.library.outside(entry)}
    if not missing:
        return
    try:
        if mend:
            register(engine.parts.workspace, missing)
    except SopwithError as error:
        yield Finding(message=error.message, hint=error.hint or "run sop doctor again")
    else:
        yield Finding(message=f"index.json lacked {', '.join(missing)}: registered", mended=mend, mendable=True)


def _index_path(engine: Engine, entry: Entry) -> str:
    file = MANIFEST if is_file(entry.folder / MANIFEST) else SHEET
    return str((entry.folder / file).relative_to(engine.parts.workspace.sops))


def _runs(engine: Engine, *, mend: bool) -> Iterator[Finding]:
    summaries, _total = engine.parts.store.summaries(RunFilter())
    yield from _unknown_runs(engine, {summary.run_id for summary in summaries})
    for summary in summaries:
        run_id = summary.run_id
        try:
            if _is_dropped(engine, run_id):
                yield from _dropped(engine, run_id, mend=mend)
                continue
            yield from _chain(engine, run_id)
            loaded = engine.runs.load(run_id)
            yield from _summary(engine, loaded, mend=mend)
            rebuilt = _rebuild(engine, run_id, partial(_state_at_rest, engine, run_id), mend=mend)
        except WorkspaceError as error:
            yield Finding(message=error.message, hint=error.hint)
            continue
        except (SopwithError, msgspec.MsgspecError, ValueError) as error:
            yield _out_of_reach(run_id, error)
            continue
        if rebuilt:
            told = f"the files of {run_id} under runs/ were not up to date: rebuilt"
            yield Finding(message=told, mended=mend, mendable=True)
        yield from tidying.clock(engine, summary)
        yield from tidying.spools(engine, summary, mend=mend)
        yield from _driverless(engine, loaded.run)
        yield from tidying.claims(engine, summary, mend=mend)


def _out_of_reach(run_id: str, error: Exception) -> Finding:
    if isinstance(error, StoreError) and not isinstance(error, UnreadableRecord):
        # not this record, but the database or its disk: on a full one nothing can be mended
        return Finding(message=f"{run_id} cannot be examined now: {error.message}", hint=error.hint)
    return Finding(message=f"{run_id} cannot be read: {error}", hint="restore a backup")


def _rebuild(engine: Engine, run_id: str, state: Callable[[], bytes | None], *, mend: bool) -> bool:
    """Whether the run's files differed from the store, or differ from it."""
    views = engine.parts.views
    return views.rebuild(run_id, state) if mend else views.outdated(run_id, state)


def _state_at_rest(engine: Engine, run_id: str) -> bytes | None:
    """What `<run id>.json` is to hold; None for a run on its way, whose driver writes it when it rests."""
    run = engine.runs.load(run_id).run
    return engine.runs.state_json(run)() if at_rest(run) else None


def _chain(engine: Engine, run_id: str) -> Iterator[Finding]:
    changed_at = first_changed(engine.parts.store.events(run_id))
    if changed_at is not None:
        yield Finding(
            message=f"the record of {run_id} was changed: event {changed_at} does not fit the one before",
            hint="nothing in it can be trusted from there on",
        )


def _summary(engine: Engine, loaded: Loaded, *, mend: bool) -> Iterator[Finding]:
    """What lists, limits and timers read of a run, against what its events say."""
    run_id = loaded.run.run_id
    stored = engine.parts.store.summary(run_id)
    true = summarise(loaded.run)
    if stored is None or stored == true:
        return
    told = [
        f"{name} was {was}, is {now}"
        for name, was in msgspec.structs.asdict(stored).items()
        if (now := getattr(true, name)) != was
    ]
    # nothing is corrected where somebody has just written, nor where seq and head are wrong: the database check tells
    if not mend or engine.parts.store.correct(true, loaded.head):
        message = f"the summary of {run_id} did not say what its events do: {', '.join(told)}"
        yield Finding(message=message, mended=mend, mendable=True)


def _counts(engine: Engine, *, mend: bool) -> Iterator[Finding]:
    """What is counted along so that lists need not count: after the summaries, which it is made from."""
    try:
        if engine.parts.store.recount(mend=mend):
            yield Finding(message="ended runs were not counted right: counted anew", mended=mend, mendable=True)
    except SopwithError as error:
        yield Finding(message=error.message, hint=error.hint)


def _is_dropped(engine: Engine, run_id: str) -> bool:
    events = engine.parts.store.events(run_id)
    return bool(events) and not any(event.payload for event in events)


def _dropped(engine: Engine, run_id: str, *, mend: bool) -> Iterator[Finding]:
    """A run whose content retention took: its hashes still chain, and its files have gone."""
    events = engine.parts.store.events(run_id)
    for before, event in pairwise(events):
        if event.prev_hash != before.hash:
            yield Finding(
                message=f"the record of {run_id} was changed: event {event.seq} does not fit the one before",
                hint="nothing in it can be trusted from there on",
            )
            return
    if engine.parts.auditing.dropped(run_id) is None:
        error = engine.parts.auditing.why_empty(run_id)
        yield Finding(message=error.message, hint=error.hint)
        return
    summary = engine.parts.store.summary(run_id)
    if summary is not None and (summary.asks or summary.left_at is not None):
        true = msgspec.structs.replace(summary, asks=0, left_at=None)
        if not mend or engine.parts.store.correct(true, events[-1].hash):
            message = f"the summary of {run_id}, whose record was dropped, said that somebody is asked"
            yield Finding(message=message, mended=mend, mendable=True)
    if _rebuild(engine, run_id, lambda: None, mend=mend):
        told = f"the record of {run_id} was dropped, its files under runs/ were not: gone"
        yield Finding(message=told, mended=mend, mendable=True)
    if engine.parts.workspace.run_folder(run_id).exists():
        yield Finding(
            message=f"the record of {run_id} was dropped, its logs under runs/ were not", hint="run: sop audit prune"
        )


def _driverless(engine: Engine, run: Run) -> Iterator[Finding]:
    """A run in which something is to be done, and nobody does it here or, as far as its lease tells, elsewhere."""
    run_id = run.run_id
    stands_still = not run.queued and is_undriven(engine, run)
    if not stands_still and (not running_processes(run) or is_driven(engine.parts, run_id)):
        return
    status = status_of(run).replace("_", " ")
    yield Finding(message=f"{run_id} is {status} and nobody drives it", hint=f"sop resume {run_id} takes it up")


def _orphans(engine: Engine, *, end: bool) -> Iterator[Finding]:
    """Processes of steps that are over; only told of, unless they are to be ended."""
    from sopwith.engine.orphans import end_orphans, find_orphans

    for stray, ended in end_orphans(engine) if end else ((stray, False) for stray in find_orphans(engine)):
        who = f"process {stray.pid} of step {stray.step} of {stray.run_id} (attempt {stray.attempt})"
        if ended:
            yield Finding(message=f"{who} was still there: ended ({stray.command})", mended=True)
        elif end:
            yield Finding(message=f"{who} does not end, not even by SIGKILL: {stray.command}", hint="see: ps")
        else:
            hint = "sop doctor --kill-orphans ends it: TERM, 5 seconds, KILL"
            yield Finding(message=f"{who} still runs, and nobody watches it: {stray.command}", hint=hint)


def _unknown_runs(engine: Engine, known: set[str]) -> Iterator[Finding]:
    """Files of runs that the database does not have: it is an older copy, or somebody emptied it."""
    files = sorted(engine.parts.workspace.runs.glob("sop_run_*.audit.jsonl"))
    lost = [path.name.removesuffix(".audit.jsonl") for path in files]
    lost = [run_id for run_id in lost if run_id not in known]
    if lost:
        shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        yield Finding(
            message=f"the database does not know {shown}, whose files are in runs/",
            hint="runs.db was replaced, emptied or restored from an old copy; put the right one back",
        )
