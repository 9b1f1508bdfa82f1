"""Runs in the store, changed by decide and append, in one place for every use case. `records.py` loads them.

A conflict means that somebody else was faster; the command is then decided again on what is true now.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

import sopwith.core.bodies  # noqa: F401 - before there are threads
from sopwith.core.actor import SYSTEM
from sopwith.core.admission import Occupancy
from sopwith.core.asking import asks
from sopwith.core.child import standing, told_of
from sopwith.core.codec import NO_HASH, seal
from sopwith.core.commands import (
    Admit,
    Approve,
    Command,
    Complete,
    Notice,
    OpenGate,
    Resume,
    Retry,
    Rollback,
    Skip,
    Start,
)
from sopwith.core.confidential import has_secrets
from sopwith.core.decide import Decision, decide
from sopwith.core.due import Due, at_rest, due, first_at, left_at, settling
from sopwith.core.events import Event
from sopwith.core.instant import Instant
from sopwith.core.run import Run, children, current_step, holds_slot, status_of
from sopwith.engine.documents import run_document
from sopwith.engine.records import RUN_ID, Loaded, Records, check_run_id
from sopwith.engine.secrets import mask_of, recognised
from sopwith.errors import BadRequest, Conflict, IllegalMove, NotFound, Refused, SopwithError
from sopwith.ports import Batch, Claim, Owner, RunSummary

__all__ = ["RUN_ID", "Loaded", "Made", "Runs", "check_run_id", "joined", "summarise", "with_event"]
_TRIES = 64
_BUILDING = (Admit, Approve, Complete, OpenGate, Resume, Retry, Rollback, Skip, Start)
"""What is not done any more in a run whose record was changed by hand. It can be ended, and what ends in it is told."""


class Made(NamedTuple):
    """A run that was created; the claim on it, where one was asked for and could be had; and its first events."""

    loaded: Loaded
    claim: Claim | None = None
    events: tuple[Event, ...] = ()


class Runs(Records):
    """Loads and changes runs of one store."""

    def create(
        self,
        name: str,
        plan: Callable[[Occupancy, Instant], tuple[Decision, tuple[bytes, ...]]],
        *,
        group: str = "",
        driver: Owner | None = None,
    ) -> Made:
        """Stores a new run; `plan` decides inside the transaction, may refuse there, and adds contents to keep.

        `driver`: has its first claim.
        """
        made: list[tuple[Loaded, tuple[Event, ...]]] = []

        def batch(occupancy: Occupancy) -> Batch:
            decision, contents = plan(occupancy, self._parts.clock.now())
            batch, loaded = self._batch(decision, NO_HASH, contents)
            made[:] = [(loaded, decision.events)]
            return batch

        stored = self._parts.store.create(name, batch, group=group, driver=driver)
        loaded, events = made[0]
        self._parts.bell.ring(loaded.run.run_id)
        self._show(stored, loaded)
        return Made(loaded, stored.claim, events)

    def change(
        self,
        run_id: str,
        make: Callable[[Run, Instant], Command],
        *,
        admit: Callable[[Run], Callable[[Occupancy], None] | None] | None = None,
        holds: Callable[[], bool] | None = None,
    ) -> tuple[Loaded, tuple[Event, ...]]:
        """Decides a command on the run as it is and appends the outcome. Tells the run after it and the new events.

        `holds`: as in `commit`; where it does not, the command is made anew.
        """
        loaded = self.load(run_id)
        for _ in range(_TRIES):
            command = make(loaded.run, self._parts.clock.now())
            try:
                admission = admit(loaded.run) if admit else None
                after, events = self.commit(loaded, command, admit=admission, holds=holds)
            except Conflict:
                loaded, events = self.refresh(loaded)
                if not events:
                    loaded = self.load(run_id)  # it may have been dropped
                continue
            if events and at_rest(after.run):
                # nobody will drive it now: whoever does signs for it where the drive rests
                self._parts.auditing.seal(self._parts.clock.now().at)
            return after, events
        raise Conflict(f"{run_id} changed {_TRIES} times while it was to be changed", hint="try again")

    def settle(self, run_id: str, item: Due) -> tuple[Loaded, tuple[Event, ...]]:
        """Records what a clock has brought: `item` is one that `settling` knows."""
        return self.change(run_id, lambda _run, now: settling(item, now))

    def commit(
        self,
        loaded: Loaded,
        command: Command,
        *,
        claim: Claim | None = None,
        admit: Callable[[Occupancy], None] | None = None,
        contents: tuple[bytes, ...] = (),
        holds: Callable[[], bool] | None = None,
        followed_by: Callable[[Run], Command | None] | None = None,
        frees: bool = False,
    ) -> tuple[Loaded, tuple[Event, ...]]:
        """Decides on this very state and appends. Raises Conflict if the run has moved on, or what decide raises.

        `admit` is asked where the outcome takes a slot that the run does not hold yet. `holds`: whether what the
        command tells of another run is still so, asked inside the transaction; Conflict where it is not.
        `followed_by`: what follows at once, if anything, on the state that the command leads to; both are recorded in
        one transaction. `frees`: a run that has ended by it needs no driver, and its claim ends with it.
        """
        decision = decide(loaded.run, self._without_secrets(loaded.run, command))
        if not decision.events:
            return loaded, ()
        if followed_by is not None and loaded.changed_at is None and (following := followed_by(decision.run)):
            decision = joined(decision, self._without_secrets(decision.run, following))
        if loaded.changed_at is not None and isinstance(command, _BUILDING):
            raise Refused(
                f"the record of {loaded.run.run_id} was changed by hand: event {loaded.changed_at} does not fit the "
                "one before, and nothing may be built on it",
                hint=f"sop audit {loaded.run.run_id} --verify tells more; sop cancel ends the run; keep the workspace, "
                "it is evidence",
            )
        batch, after = self._batch(decision, loaded.head, contents)
        after = msgspec.structs.replace(after, changed_at=loaded.changed_at)
        # a command that leaves the run without a slot, or with the one it has, needs none; the queue is always asked
        takes_slot = isinstance(command, Admit) or (holds_slot(after.run) and not holds_slot(loaded.run))
        # only a run within another one has anybody to tell
        before, then = (None, None) if after.run.parent is None else (standing(loaded.run), standing(after.run))
        if before is not None and then is not before and not takes_slot:
            # told first: a run that knows that it has to look finds out whatever dies now
            self._tell_parent(loaded.run, goes_on=True)
        admission = _asked_inside(loaded.run.run_id, admit if takes_slot else None, holds)
        ends = frees and after.run.ended is not None
        self._parts.store.append(loaded.run.run_id, loaded.run.seq, batch, claim=claim, admit=admission, frees=ends)
        self._parts.bell.ring(loaded.run.run_id)
        self._show(batch, after)
        if then is not before:
            # once more of one that goes on: it may be told late that it rested, or had to wait for its slot
            with suppress(SopwithError):
                self._tell_how_it_stands(after.run)
        return after, decision.events

    def _without_secrets(self, run: Run, command: Command) -> Command:
        """What somebody typed, or a process printed, may hold a secret of the run: it is masked before it is kept."""
        if not has_secrets(run.procedure, run.agents):
            return command
        # imported only where there are secrets
        from sopwith.core.redaction import redacted, texts_of

        mask = mask_of(self._parts, run, recognised(self._parts, run, texts_of(command)))
        return command if mask is None else redacted(command, mask)

    def _tell_how_it_stands(self, child: Run) -> None:
        """Tells the run that started this one; again, where this one was changed while that was written."""
        told = None
        while child.parent is not None and told != child.seq:
            told = child.seq
            self._tell_parent(child, goes_on=standing(child) is None)
            child = self._as_it_is(child)

    def tell_around(self, child: Run) -> None:
        """Tells the run that started this one how it stands, should somebody have died before that was done."""
        if child.parent is None:
            return
        with suppress(SopwithError):
            around = self._parts.store.summary(child.parent.run_id)
            if around is not None and around.ended_at is None:
                self._tell_how_it_stands(child)

    def _as_it_is(self, run: Run) -> Run:
        summary = self._parts.store.summary(run.run_id)
        return run if summary is not None and summary.seq == run.seq else self.load(run.run_id).run

    def _tell_parent(self, child: Run, *, goes_on: bool) -> None:
        """Tells the run that started this one how it stands, where it still waits for it."""
        parent = child.parent
        if parent is None:
            return
        look, seen = self._parts.store.summary, child

        def word(run: Run, now: Instant) -> Command:
            nonlocal seen
            stands = None
            step = next((each for each in children(run) if each.number == parent.step), None)
            if step is not None and step.child == child.run_id and not goes_on:
                seen = self._as_it_is(child)
                if told := told_of(run, seen, parent.step, now):
                    return told
                # where somebody else has told of this very rest, nothing is new
                stands = step.child_standing if step.child_standing is standing(seen) else None
            return Notice(actor=SYSTEM, now=now, step=parent.step, child_run_id=child.run_id, standing=stands)

        def holds() -> bool:
            return _is_as_seen(look(child.run_id), seen)

        # it may wait no longer; and where it cannot be told of a rest now, whoever drives it looks
        with suppress(IllegalMove, NotFound) if goes_on else suppress(SopwithError):
            # that it goes on may be said at any time: then the parent looks
            self.change(parent.run_id, word, holds=None if goes_on else holds)

    def unchanged(self, run: Run) -> Callable[[], bool]:
        """Tells whether the run still is as it is here. To be asked inside a transaction, so it is one plain look."""
        look = self._parts.store.summary
        return lambda: _is_as_seen(look(run.run_id), run)

    def _batch(self, decision: Decision, head: str, contents: tuple[bytes, ...]) -> tuple[Batch, Loaded]:
        sealed = seal(decision.events, head)
        batch = Batch(events=sealed, summary=summarise(decision.run), contents=contents)
        return batch, Loaded(decision.run, sealed[-1].hash)

    def _show(self, batch: Batch, loaded: Loaded) -> None:
        run = loaded.run
        # the event file is complete at once; the state file is for looking at a run that rests
        self._parts.views.written(batch, self.state_json(run) if at_rest(run) else None)

    def state_json(self, run: Run) -> Callable[[], bytes]:
        """The content of `<run id>.json`, made when it is asked for."""
        return lambda: msgspec.json.format(msgspec.json.encode(run_document(run)), indent=2)


def _is_as_seen(summary: RunSummary | None, seen: Run) -> bool:
    return summary is not None and summary.seq == seen.seq


def _asked_inside(
    run_id: str, admit: Callable[[Occupancy], None] | None, holds: Callable[[], bool] | None
) -> Callable[[Occupancy], None] | None:
    """All that is asked inside the transaction of an append."""
    if holds is None:
        return admit

    def ask(occupancy: Occupancy) -> None:
        if not holds():
            raise Conflict(f"cannot tell {run_id} of another run: that has changed meanwhile", hint="look at it again")
        if admit is not None:
            admit(occupancy)

    return ask


def joined(decision: Decision, following: Command) -> Decision:
    """Both decisions as one; the first alone where the second is refused, which the next look will find out anew."""
    try:
        more = decide(decision.run, following)
    except (Refused, BadRequest):
        return decision
    return Decision((*decision.events, *more.events), more.run)


def with_event(decision: Decision, event: bytes) -> Decision:
    """The decision with the event that started the run, as it is when the run is loaded."""
    if not event:
        return decision
    run = msgspec.structs.replace(decision.run, event=msgspec.json.decode(event))
    return msgspec.structs.replace(decision, run=run)


def summarise(run: Run) -> RunSummary:
    """What lists, limits and timers need to know of this run."""
    owed = due(run)
    return RunSummary(
        run_id=run.run_id,
        name=run.name,
        version=run.procedure.version,
        status=status_of(run),
        seq=run.seq,
        mode=run.mode,
        priority=run.procedure.priority,
        current_step=current_step(run),
        total_steps=len(run.procedure.steps),
        created_at=run.created_at,
        created_by=str(run.created_by),
        updated_at=run.updated_at,
        ended_at=run.ended_at,
        due_at=first_at(owed),
        holds_slot=holds_slot(run),
        executed=run.executed,
        procedure_digest=run.procedure_digest,
        concurrency_group=run.concurrency_group,
        parent=run.parent.run_id if run.parent is not None else "",
        asks=asks(run),
        left_at=left_at(owed),
    )
