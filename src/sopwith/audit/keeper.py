"""The keeper of one workspace's log: verifies it, exports from it, and drops what is too old.

Verification reads on a store of its own (`assembly` sees to that), because reading holds the store's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sopwith.audit.access_retention import AccessRetention, DroppedEntries
from sopwith.audit.export import Exported, Exporter
from sopwith.audit.report import Report
from sopwith.audit.retention import Dropped, Retention, check_clock, forget_files
from sopwith.audit.sealing import LogAndSeals, Sealer
from sopwith.audit.signing import known_keys
from sopwith.audit.statements import BadStatement, Checkpoint, Restoration, Tombstone, read
from sopwith.audit.trust import Copy, read_copy
from sopwith.audit.verify import verify_all, verify_run
from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.config import Config
from sopwith.core.people import Directory, Right, check_right
from sopwith.errors import NotAllowed, NotFound, SopwithError
from sopwith.ports import RunFilter, RunSummary, Workspace

TOMBSTONES = "tombstones.jsonl"


class Shelf(Protocol):
    """As much of a store as the keeper needs."""

    @property
    def log(self) -> LogAndSeals: ...

    def content(self, digest: str) -> bytes | None: ...

    def summary(self, run_id: str) -> RunSummary | None: ...

    def summaries(self, which: RunFilter) -> tuple[tuple[RunSummary, ...], int]: ...


class Compared(msgspec.Struct, frozen=True):
    """One copy of the checkpoints. `size`: it agreed up to this event. `trusted`: it lies outside the workspace."""

    name: str
    trusted: bool
    size: int = 0
    problem: str = ""

    def document(self) -> dict[str, Any]:
        return {"path": self.name, "outside": self.trusted, "agreesUpTo": self.size, "problem": self.problem}


class Verified(msgspec.Struct, frozen=True):
    """The report, and for each copy of the checkpoints how far it agreed, or why it could not be compared."""

    report: Report
    copies: tuple[Compared, ...]
    problems: tuple[str, ...] = ()
    restorations: tuple[Restoration, ...] = ()
    """When this database was put in the place of another, from a backup."""

    def document(self) -> dict[str, Any]:
        """The JSON form, camelCase."""
        copies = [copy.document() for copy in self.copies]
        return {
            **self.report.document(),
            "copies": copies,
            "problems": list(self.problems),
            "restorations": [msgspec.to_builtins(each) for each in self.restorations],
            "summariesCompared": False,  # what lists show is derived from the events; the doctor compares it
        }


class Keeper:
    """`config` is asked when something is to be signed, compared or dropped. `access`: the server's own log, if any."""

    def __init__(
        self,
        shelf: Shelf,
        workspace: Workspace,
        config: Callable[[], Config],
        *,
        access: AccessRetention | None = None,
    ) -> None:
        self._shelf = shelf
        self._workspace = workspace
        self._config = config
        self._sealer = Sealer(shelf.log, workspace, config)
        self._access = access

    def verify(
        self, run_id: str | None = None, *, brought: Sequence[Path | Copy] = (), reader: Actor | None = None
    ) -> Verified:
        """Verifies the whole log, or one run in it, against the store's checkpoints, our copies and those `brought`.

        A copy of ours that cannot be had is told; one that was brought and cannot be read is a finding. `reader`: as in
        `_tells_places`; who is not told where our copies are is told their numbers.
        Raises NotFound for a run that neither events nor lists nor tombstones know.
        """
        if run_id is not None and not self._knows(run_id):
            raise NotFound(
                f"no run is called {run_id}",
                hint="sop history shows all runs; sop audit --verify-all finds what was removed",
            )
        places, problems = self._sealer.places()
        tells = self._tells_places(reader)

        def read_here(path: Path, name: str = "") -> Copy:
            return read_copy(path, trusted=self._sealer.is_outside(path, places), name=name)

        ours = [read_here(place, "" if tells else f"copy {number}") for number, place in enumerate(places, 1)]
        theirs = [each if isinstance(each, Copy) else read_here(each) for each in brought]
        compared = [copy for copy in ours if not copy.problem] + theirs
        log = self._shelf.log
        look = (log, log, self._shelf.content)
        report = (
            verify_all(*look, keys=self._keys, copies=compared)
            if run_id is None
            else verify_run(run_id, *look, keys=self._keys, copies=compared)
        )
        unread = [copy for copy in ours if copy.problem]
        copies = tuple(_compared(copy, report) for copy in (*compared, *unread))
        told, wrong = self._restorations()
        return Verified(report, copies, (*(problems if tells else _counted(problems)), *wrong), told)

    def _tells_places(self, reader: Actor | None) -> bool:
        """Whether they may know where copies are kept: whoever would change the record unseen has to find them.

        `reader`: None is somebody at the machine, who can read config.json.
        """
        if reader is None:
            return True
        try:
            people = Directory(self._config())
        except SopwithError:
            return False
        return people.standing(reader).may(Right.MANAGE)

    def _restorations(self) -> tuple[tuple[Restoration, ...], tuple[str, ...]]:
        """Those whose signature is one of ours, and a sentence for each line that is none."""
        found, wrong = [], []
        for number, line in enumerate(self._shelf.log.restorations(), start=1):
            try:
                restoration = read(Restoration, line)
                if restoration.public_key not in self._keys():
                    raise BadStatement(f"it is signed by {restoration.origin}, which is no key of this workspace")
                found.append(restoration)
            except BadStatement as error:
                wrong.append(f"restoration {number} in the store is not valid: {error}")
        return tuple(found), tuple(wrong)

    def examine(self) -> tuple[str, ...]:
        """What is wrong with the log, for `sop doctor`; empty when all is well."""
        report = self.verify().report
        return () if report.first_bad is None else (str(report.first_bad),)

    def export(
        self,
        folder: Path,
        run_ids: Sequence[str],
        *,
        now: datetime,
        brought: Sequence[Path | Copy] = (),
        reader: Actor | None = None,
    ) -> Exported:
        """Writes a bundle of these runs, with proofs from the checkpoints `brought`. Raises what Exporter does.

        `reader`: as in `_tells_places`.
        """
        log = self._shelf.log
        checkpointer, problems = self._sealer.checkpointer()
        exporter = Exporter(log, log, self._shelf.content, self._sealer.key, checkpointer)
        exported = exporter.export(folder, run_ids, now=now, sizes=_sizes(brought))
        failures = problems + exported.failures
        told = failures if self._tells_places(reader) else _counted(failures)
        return msgspec.structs.replace(exported, failures=told)

    def runs_since(self, at: datetime | None) -> tuple[str, ...]:
        """The runs that began at or after an instant, or all, oldest first. Raises NotFound if there are none."""
        summaries, _total = self._shelf.summaries(RunFilter())
        found = tuple(run.run_id for run in reversed(summaries) if at is None or run.created_at >= at)
        if not found:
            raise NotFound("no run began since then", hint="sop history shows all runs")
        return found

    def retain(self, now: datetime, *, by: Actor = SYSTEM, dry_run: bool = False) -> Dropped:
        """Drops the records of runs that ended more than auditRetentionDays ago, and entries of the server's own log
        that are older than accessLogRetentionDays; nothing where a key is not set.

        What the files of runs left behind goes too, also that of runs that were dropped before. Safe to call at any
        time, by a server once a day. Raises NotAllowed, StoreError, Conflict, or Refused where the clock is wrong.
        """
        config = self._config()
        _check_pruner(by, config)
        access, days = self._access, config.access_log_retention_days
        # first: what stands against it stands against all, so that nothing is done by halves
        old = () if access is None or days is None else access.too_old(days, now)
        dropped = self._retain_runs(config, now, by=by, dry_run=dry_run)
        if access is None or days is None:
            return dropped
        entries = DroppedEntries(days, len(old)) if dry_run else access.drop(old, days, now, by=str(by))
        return msgspec.structs.replace(dropped, entries=entries)

    def _retain_runs(self, config: Config, now: datetime, *, by: Actor, dry_run: bool) -> Dropped:
        days = config.audit_retention_days
        if days is None:
            return Dropped()
        buried = self._buried()
        candidates = [run.run_id for run in self._ended_before(now - timedelta(days=days)) if run.run_id not in buried]
        if candidates:
            check_clock(self._shelf.log, self._shelf.log, now)
        retention = Retention(
            self._shelf.log,
            self._shelf.log,
            self._sealer.key,
            checkpointer=self._sealer.checkpointer()[0],
            places=(self._workspace.runs / TOMBSTONES,),
        )
        if dry_run:
            return Dropped(retention.choose(candidates, days=days, now=now))
        dropped = retention.sweep(candidates, days=days, now=now, by=str(by))
        failures = forget_files(self._workspace.runs, self._left_over(buried | set(dropped.run_ids)))
        return Dropped(dropped.runs, dropped.failures + failures)

    def _knows(self, run_id: str) -> bool:
        if self._shelf.log.run_entries(run_id, 0, 1) or self._shelf.summary(run_id) is not None:
            return True
        return run_id in self._buried()

    def _keys(self) -> frozenset[str]:
        return known_keys(self._workspace.keys)

    def _ended_before(self, at: datetime) -> list[RunSummary]:
        """Only to look at fewer of them: what counts is their last event."""
        summaries, _total = self._shelf.summaries(RunFilter())
        return [run for run in summaries if run.ended_at is not None and run.ended_at < at]

    def _buried(self) -> set[str]:
        found: set[str] = set()
        for line in self._shelf.log.tombstones():
            try:
                found.update(run.run_id for run in read(Tombstone, line).runs)
            except BadStatement:
                continue  # it buries nothing; verification tells
        return found

    def _left_over(self, run_ids: Iterable[str]) -> list[str]:
        """Those of the runs that still have files."""
        try:
            names = {name.partition(".")[0] for name in os.listdir(self._workspace.runs)}  # noqa: PTH208
        except FileNotFoundError:
            return []
        return sorted(names.intersection(run_ids))


def _check_pruner(actor: Actor, config: Config) -> None:
    """NotAllowed for agents, and, where config.json has roles, for whoever lacks the right."""
    if actor.kind is ActorKind.SYSTEM:
        return
    if actor.kind is not ActorKind.HUMAN:
        raise NotAllowed(f"{actor} may not drop records", hint="a person may")
    check_right(actor, Right.PRUNE, Directory(config), "drop records")


def _counted(troubles: tuple[str, ...]) -> tuple[str, ...]:
    """That there are such, for whoever may not know the places that they name."""
    if not troubles:
        return ()
    count = (
        "1 trouble with checkpointCopies is"
        if len(troubles) == 1
        else f"{len(troubles)} troubles with checkpointCopies are"
    )
    return (f"{count} told to who may manage it",)


def _compared(copy: Copy, report: Report) -> Compared:
    return Compared(copy.name, copy.trusted, report.reached.get(copy.name, 0), copy.problem)


def _sizes(brought: Sequence[Path | Copy]) -> set[int]:
    """The sizes of the checkpoints that the reader holds; what is no checkpoint has none."""
    found: set[int] = set()
    for each in brought:
        for _number, line in (each if isinstance(each, Copy) else read_copy(each, trusted=False)).lines:
            try:
                found.add(read(Checkpoint, line).size)
            except BadStatement:
                continue
    return found
