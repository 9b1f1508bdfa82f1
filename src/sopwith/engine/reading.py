"""What can be asked without changing anything. Readers never write: what is overdue is shown as overdue.

Longer than other files: a door finds all that it may ask in one class.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId, number_of
from sopwith.core.approvers import why_not
from sopwith.core.asking import waiting_steps
from sopwith.core.codec import SealedEvent, decode_event
from sopwith.core.due import at_rest, is_left, waits_by_itself
from sopwith.core.events import OPEN, StepBody, StepReported, VerificationEnded, VerificationStarted
from sopwith.core.instant import iso
from sopwith.core.people import Directory
from sopwith.core.refusal import no_such_step, what_now
from sopwith.core.run import Run, RunStatus, StepState, StepStatus, awaits_report, current_step, open_gates
from sopwith.engine.claiming import driver_of, is_driven, lease_elsewhere
from sopwith.engine.documents import (
    Document,
    addressed,
    audit_document,
    inbox_entry,
    parent_of,
    run_document,
    step_definition,
    step_document,
    summary_document,
)
from sopwith.engine.folders import attempt_folder, verification_folder
from sopwith.engine.outputs import Output, output_of, verifications_of
from sopwith.engine.parts import Parts
from sopwith.engine.records import Loaded, Records, check_run_id, envelope_of
from sopwith.engine.sight import Sight, no_such_run
from sopwith.errors import NotFound, UnreadableRecord, VerificationFailed
from sopwith.ports import AskingFilter, Owner, RunFilter

PENDING = "pending"
_PAGE = 200
"""So many runs are read at a time, where all are asked for."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a record. `more`: there is more already; `over`: the run has ended."""

    events: tuple[Document, ...]
    more: bool
    over: bool


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a record as it is kept. `more`: there is more already."""

    revision: int
    events: tuple[SealedEvent, ...]
    more: bool
    driver: Owner | None


class Equipped(Protocol):
    """Who has the parts of a workspace: an engine, or a door that has made none, for it only looks."""

    @property
    def parts(self) -> Parts: ...


class Reader:
    """Questions about runs."""

    def __init__(self, equipped: Equipped, actor: Actor | None = None) -> None:
        """`actor`: who asks, where that one came through a token: what it may not know of is not found or listed."""
        self._parts = equipped.parts
        self._records = Records(self._parts)
        self._asking = actor

    @property
    def _sight(self) -> Sight:
        return Sight(self._parts.library, self._asking)

    def check(self, run_id: str) -> None:
        """BadName, or NotFound where whoever asks may not know of the run."""
        check_run_id(run_id)
        self._sight.check_run(self._parts.store, run_id)

    def run(self, run_id: str) -> Run:
        """The run as it is now. Raises NotFound."""
        self.check(run_id)
        return self._records.load(run_id).run

    def status(self, run_id: str) -> Document:
        """The run with what is overdue, who drives it, and whether its record was changed by hand. Raises NotFound."""
        self.check(run_id)
        return self._status(self._records.load(run_id))

    def status_since(self, known: Loaded) -> Document:
        """The same of a run that this process has recorded itself, up to `known`: only what came since is read."""
        return self._status(self._records.refresh(known)[0])

    def _status(self, loaded: Loaded) -> Document:
        run, run_id = loaded.run, loaded.run.run_id
        driver = self._parts.store.holder(run_id)
        lease = lease_elsewhere(self._parts, run_id) if driver is None else None
        document = run_document(run, now=self._parts.clock.now().at, driver=driver, lease=lease)
        return document if loaded.changed_at is None else {**document, "recordChangedAt": loaded.changed_at}

    def record(self, run_id: str, after_seq: int, limit: int) -> Record:
        """The events after this one as they are kept, and who drives the run, or, where it is a server's, is about to.

        Raises NotFound.
        """
        run = self.run(run_id)
        events = self._parts.store.events(run_id, after_seq)
        driver = driver_of(self._parts, run_id) if run.ended is None else None
        if driver is None and not run.queued and (waits_by_itself(run) or not at_rest(run)):
            driver = self._parts.owner()
        return Record(revision=run.seq, events=events[:limit], more=len(events) > limit, driver=driver)

    def content(self, run_id: str, digest: str) -> bytes:
        """The bytes that a run names by their digest: its procedures, and what is or was asked at its gates as they
        are now. Nothing else, whatever the database holds. Raises NotFound.
        """
        run = self.run(run_id)
        gates = (run.start_gate, *(step.gate for step in run.steps.values()))
        named = {run.procedure_digest, run.event_digest, *(used.digest for used in run.uses.values())}
        named |= {gate.digest for gate in gates if gate is not None}
        data = self._parts.store.content(digest) if digest in named else None
        if data is None:
            raise NotFound(f"{run_id} names no content {digest[:64]!r}", hint="its record names what there is")
        return data

    def step(self, run_id: str, number: StepId) -> Document:
        """One step of a run, with its definition. Raises NotFound."""
        run = self.run(run_id)
        _check_step(run, number)
        return {**step_definition(run.procedure.step(number)), **step_document(run, run.steps[number])}

    def history(
        self,
        *,
        name: str | None = None,
        statuses: tuple[RunStatus, ...] = (),
        limit: int | None = None,
        before: str | None = None,
    ) -> Document:
        """`{runs, total}`, newest first; `total` counts all that match. `before`: only runs older than this one.

        Where whoever asks may not know of all of them, nothing tells how many there are: `total` is null.
        """
        which = RunFilter(name=name, statuses=statuses, limit=limit, before=before)
        sight = self._sight
        if sight.is_whole or (name is not None and sight.sees(name)):
            summaries, total = self._parts.store.summaries(which)
            return {"runs": [summary_document(summary) for summary in summaries], "total": total}
        names = () if name is not None else self._names(sight)
        seen, _total = self._parts.store.summaries(msgspec.structs.replace(which, name=None, names=names))
        return {"runs": [summary_document(summary) for summary in seen], "total": None}

    def _names(self, sight: Sight) -> tuple[str, ...] | None:
        """The procedures whose runs whoever asks may know of; None: all of them."""
        if sight.is_whole:
            return None
        return tuple(name for name in self._parts.store.names() if sight.sees(name))

    def audit(self, run_id: str) -> Document:
        """`{runId, events}`: the whole record of a run, or what retention left of it. Raises NotFound."""
        self.check(run_id)
        events = self._parts.store.events(run_id)
        if not events:
            raise no_such_run(run_id)
        gone = not all(event.payload for event in events)
        return audit_document(run_id, events, self._parts.auditing.dropped(run_id) if gone else None)

    def events_after(self, run_id: str, after_seq: int, limit: int) -> Recorded:
        """The next events of a run's record, as `audit` shows them. Raises NotFound."""
        self.check(run_id)
        summary = self._parts.store.summary(run_id)
        if summary is None:
            raise no_such_run(run_id)
        sealed = self._parts.store.events(run_id, after_seq)
        events = audit_document(run_id, sealed[:limit])["events"]
        return Recorded(events=tuple(events), more=len(sealed) > limit, over=summary.ended_at is not None)

    def inbox(
        self, actor: Actor | None = None, *, limit: int | None = None, after: str | None = None, mine: bool = False
    ) -> Document:
        """`{items, total, nextAfter}`: what waits for a person, the oldest run first.

        With `actor`, each gate tells whether this actor could approve it now, and if not, why; `mine` leaves out the
        gates where not. `limit`: no more runs are looked at once so much was found; what one run asks is never cut
        apart. `nextAfter`: the run after which to go on (`after`), None where nothing is left. `total` counts all
        there is; None where nobody knows it without looking at all of them. Raises NotFound for an `after` that is
        not there.
        """
        self._check_place(after)
        people = None if actor is None else Directory(self._parts.library.config())
        which = AskingFilter(now=self._parts.clock.now().at, names=self._names(self._sight), after=after)
        items: list[Document] = []
        last: str | None = None
        for run_id in self._candidates(which, _PAGE if limit is None else limit):
            if limit is not None and len(items) >= limit:
                break
            found = self._asked(run_id, actor, people)
            items += (item for item in found if not mine or item.get("mayApprove", True))
            last = run_id
        else:
            last = None
        if last is None and after is None:
            total: int | None = len(items)
        else:
            total = None if mine else self._parts.store.asked(which)
        return {"items": items, "total": total, "nextAfter": last}

    def _check_place(self, after: str | None) -> None:
        if after is not None:
            self.check(after)
            if self._parts.store.summary(after) is None:
                raise no_such_run(after)

    def _candidates(self, which: AskingFilter, at_once: int) -> Iterator[str]:
        """The runs that the inbox may have something of, the oldest first; one more than `at_once` are read at once."""
        while True:
            page = self._parts.store.asking(msgspec.structs.replace(which, limit=at_once + 1))
            yield from (summary.run_id for summary in page)
            if len(page) <= at_once:
                return
            which = msgspec.structs.replace(which, after=page[-1].run_id)

    def _asked(self, run_id: str, actor: Actor | None, people: Directory | None) -> list[Document]:
        """What waits in the run of this id; of one whose record cannot be read, just that: it hides no other."""
        try:
            run = self._records.load(run_id).run
        except UnreadableRecord as error:
            return [self._unreadable(run_id, error)]
        return self._asked_in(run, actor, people)

    def _unreadable(self, run_id: str, error: UnreadableRecord) -> Document:
        summary = self._parts.store.summary(run_id)
        assert summary is not None
        return {
            "runId": run_id,
            "sopName": summary.name,
            "kind": "unreadable",
            "stepNumber": None,
            "title": None,
            "requestedAt": iso(summary.updated_at),
            "reason": str(error),
            "next": f"sop audit {run_id} --verify",
        }

    def _asked_in(self, run: Run, actor: Actor | None, people: Directory | None) -> list[Document]:
        """What waits in one run, which may have gone on since it was found."""
        now = self._parts.clock.now().at
        gates = () if run.paused else open_gates(run)
        waiting = [
            inbox_entry(run, number, gate, now) | self._around(run) | _open_to(run, number, actor, people)
            for number, gate in gates
        ]
        waiting += [_waiting_step(run, step) for step in waiting_steps(run)]
        return waiting or self._standing_still(run)

    def _around(self, run: Run) -> Document:
        """The run around it by its procedure's name, where there is one: people know that one."""
        summary = self._parts.store.summary(run.parent.run_id) if run.parent is not None else None
        document = parent_of(run)
        if summary is None:
            return document
        if not self._sight.sees(summary.name):
            return {"parent": None}
        return {"parent": {**document["parent"], "sopName": summary.name}}

    def _standing_still(self, run: Run) -> list[Document]:
        """A run that was paused, or is queued, or that a driver left: nothing waits in it, and nothing happens."""
        now = self._parts.clock.now().at
        left = not run.paused and is_left(run, now) and not is_driven(self._parts, run.run_id)
        if not run.paused and not left:
            return []
        number = current_step(run)
        kind, reason = "undriven", "nobody drives it"
        if run.paused:
            kind, reason = "paused", run.reason
        elif run.queued:
            kind, reason = "queued", "it waits for a slot"
        return [
            {
                "runId": run.run_id,
                "sopName": run.name,
                "kind": kind,
                "stepNumber": number,
                "title": run.procedure.step(number).title,
                "requestedAt": iso(run.updated_at),
                "reason": reason,
                "next": what_now(run) if run.paused and run.pause_cause == "condition" else f"sop resume {run.run_id}",
            }
        ]

    def log_files(self, run_id: str, step: StepId | None) -> tuple[tuple[StepId, Path], ...]:
        """The address and the log folder of the latest attempts that exist, in order. Raises NotFound.

        Of a step with instances those of all of them; of a step by hand that of the verification of its report.
        """
        run = self.run(run_id)
        if step is not None:
            _check_step(run, step)
        wanted = [
            state for number, state in run.steps.items() if state.attempt and step in (None, number, number_of(number))
        ]
        return tuple(
            (
                state.number,
                verification_folder(self._parts, run, state.number)
                if state.verification is not None and state.verification.of_report
                else attempt_folder(self._parts, run_id, state.number, visit=state.visit, attempt=state.attempt),
            )
            for state in wanted
        )

    def outputs(self, run_id: str, step: StepId | None = None) -> tuple[Output, ...]:
        """The output of the latest attempts that exist, each followed by that of its verifications. Raises NotFound."""
        found: list[Output] = []
        for number, folder in self.log_files(run_id, step):
            found.append(Output(number, False, output_of(folder)))
            found += (Output(number, True, output_of(each)) for each in verifications_of(folder))
        return tuple(found)

    def envelope(self, digest: str) -> Document | None:
        """The fields of an envelope as they were asked about, or None if the database has lost or changed it."""
        return envelope_of(self._parts, digest)

    def went_stale(self, run_id: str, after_seq: int) -> bool:
        """Whether an approval was found stale since: what was to run was not what had been approved."""
        return any(
            decode_event(sealed.payload).event_type == "approval_stale"
            for sealed in self._parts.store.events(run_id, after_seq)
        )

    def verification_of(self, run_id: str, report_seq: int) -> Document | None:
        """What became of the verification of a report: `{outcome, then, …}`; `then` is pending where it has not ended.

        `report_seq`: an event that the report made. None: what was reported there is not verified.
        """
        sealed = self._parts.store.events(run_id)
        bodies = [(each.seq, decode_event(each.payload).body) for each in sealed if each.payload]
        reports = [(seq, body) for seq, body in bodies if seq <= report_seq and isinstance(body, StepReported)]
        if not reports or not reports[-1][1].to_verify:
            return None
        seq, report = reports[-1]
        for body in (body for later, body in bodies if later > seq):
            if isinstance(body, StepBody) and body.step_number == report.step_number:
                if isinstance(body, VerificationEnded):
                    return {"outcome": body.outcome, "then": body.then, "because": body.because}
                if not isinstance(body, VerificationStarted):
                    return None  # withdrawn, or passed over
        return {"outcome": None, "then": PENDING, "because": ""}

    def check_believed(self, run_id: str, report_seq: int) -> str:
        """`passed`, `pending`, or nothing where the report is not verified. Raises VerificationFailed."""
        found = self.verification_of(run_id, report_seq)
        if found is None or found["then"] == PENDING:
            return "" if found is None else PENDING
        if found["then"] != OPEN:
            return "passed"
        run = self._records.load(run_id).run
        raise VerificationFailed(f"{run_id}: {found['because']}", hint=what_now(run))


def _check_step(run: Run, number: StepId) -> None:
    if number not in run.steps:
        found = no_such_step(run, number)
        raise NotFound(found.message, hint=found.hint)


def _open_to(run: Run, number: StepId | None, actor: Actor | None, people: Directory | None) -> Document:
    if actor is None or people is None:
        return {}
    reason = why_not(run, number, actor, people)
    return {"mayApprove": not reason, "whyNot": reason}


def _since(run: Run, state: StepState) -> datetime:
    """When a step began to need a person: its start by hand, its end, or the answer at its gate."""
    if state.status is StepStatus.RUNNING and state.started is not None:
        return state.started.at
    decided_at = state.gate.decided_at if state.gate is not None else None
    return state.ended_at or decided_at or run.updated_at


def _waiting_step(run: Run, step: StepState) -> Document:
    by_hand = awaits_report(run, step)
    return {
        "runId": run.run_id,
        "sopName": run.name,
        "kind": "manual" if by_hand else step.status.value,
        **addressed(step.number),
        "title": run.procedure.step(step.number).title,
        "requestedAt": iso(_since(run, step)),
        "reason": step.error,
        "next": f"sop complete {run.run_id} --step {step.number}" if by_hand else f"sop retry {run.run_id}",
    }
