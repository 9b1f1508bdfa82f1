"""The rules of a run, read off its events alone: a second opinion that shares no code with `evolve` or `moves`.

Raises AssertionError at the first event that breaks a rule.
"""

from __future__ import annotations

from datetime import timedelta

from sopwith.core import events as ev
from sopwith.core.actor import ActorKind
from sopwith.core.approval import TimeoutAction
from sopwith.core.events import Event
from sopwith.core.procedure import ExecutionMode, Procedure
from sopwith.core.run import descendants

ANSWERS = (ev.ApprovalGranted, ev.ApprovalRejected, ev.ApprovalTimeout)
VOIDING = (ev.ApprovalClosed, ev.ApprovalStale, ev.ApprovalRejected)


class Ledger:
    """What the events so far say. `approved` holds the digest under which a step may start now."""

    def __init__(self, procedure: Procedure, mode: ExecutionMode) -> None:
        self.procedure = procedure
        self.gated = {s.number for s in procedure.steps if s.requires_approval or mode is ExecutionMode.STEP_BY_STEP}
        self.seq = 0
        self.started = self.paused = self.final = False
        self.stopping = False
        self.finished: dict[int, str] = {}
        self.stuck: dict[int, str] = {}
        self.running: set[int] = set()
        self.visit = {step.number: 1 for step in procedure.steps}
        self.starts: set[tuple[int, int, int]] = set()
        self.asked: dict[int | None, ev.ApprovalRequested] = {}
        self.answered: set[tuple[int | None, int]] = set()
        self.open: set[int | None] = set()
        self.approved: dict[int | None, str] = {}

    def read(self, event: Event) -> None:
        body = event.body
        assert event.seq == self.seq + 1, "seq has a gap"
        assert not self.final, "something follows the end"
        self.seq = event.seq
        if isinstance(body, ev.GateBody):
            self._gate(event, body)
        elif isinstance(body, ev.StepBody):
            self._step(body)
        else:
            self._run(body)

    def _gate(self, event: Event, body: ev.GateBody) -> None:
        number = body.step_number
        key = (number, body.revision)
        if isinstance(body, ev.ApprovalRequested):
            self._requested(event, body)
            return
        assert self.asked[number].revision == body.revision, "an answer to an older revision"
        if isinstance(body, ANSWERS):
            assert number in self.open, "an answer to a gate that is not open"
            assert key not in self.answered, "two answers to one revision"
            assert not self.paused, "an answer in a paused run"
            assert body.digest == self.asked[number].digest, "an answer to another envelope"
            self.answered.add(key)
            self.open.discard(number)
        if isinstance(body, ev.ApprovalGranted):
            assert event.actor.kind is ActorKind.HUMAN, "approved by something that is no person"
            self.approved[number] = body.digest
        elif isinstance(body, ev.ApprovalTimeout):
            assert event.actor.kind is ActorKind.SYSTEM
            assert event.at >= body.due_at >= (self.asked[number].due_at or event.at), "settled before its time"
            if body.action is TimeoutAction.APPROVE:
                self.approved[number] = body.digest
            elif number is not None and body.action is TimeoutAction.REJECT:
                self.stuck[number] = "rejected"
        elif isinstance(body, VOIDING):
            self.open.discard(number)
            self.approved.pop(number, None)
            if number is not None and isinstance(body, ev.ApprovalRejected):
                self.stuck[number] = "rejected"

    def _requested(self, event: Event, body: ev.ApprovalRequested) -> None:
        number = body.step_number
        before = self.asked.get(number)
        assert body.revision == (before.revision + 1 if before else 1), "a revision was left out or used twice"
        assert number not in self.open, "an open gate was asked again"
        assert not self.paused
        if number is not None:
            assert self.started, "a step's gate before the start"
            assert number in self.gated, "a gate where none is needed"
            assert number not in self.running | self.stuck.keys() | self.finished.keys()
            self._may_begin(number)
        if body.due_at is not None:
            assert body.due_at >= event.at
            assert body.due_at.microsecond % 1000 == 0
            own = None if number is None else self.procedure.step(number).approval_timeout_mins
            assert own is None or abs(body.due_at - event.at - timedelta(minutes=own)) < timedelta(milliseconds=1)
        self.asked[number] = body
        self.open.add(number)
        self.approved.pop(number, None)

    def _step(self, body: ev.StepBody) -> None:
        number = body.step_number
        match body:
            case ev.StepStarted():
                self._start(body)
            case ev.StepReported():
                pass
            case ev.StepCompleted():
                self._end(number)
                self.finished[number] = "completed"
            case ev.StepFailed():
                self._end(number)
                if body.cause != "cancelled":
                    self.stuck[number] = "failed"
            case ev.StepInterrupted():
                self._end(number)
                self.stuck[number] = "interrupted"
            case ev.StepSkipped():
                assert number not in self.finished
                self.running.discard(number)
                self.stuck.pop(number, None)
                self.finished[number] = "skipped"

    def _start(self, body: ev.StepStarted) -> None:
        number = body.step_number
        assert self.started, "a step before the start approval"
        assert number not in self.running | self.finished.keys()
        self._may_begin(number)
        if number in self.gated:
            assert number not in self.open, "a step before its gate"
            assert self.approved.get(number) == body.digest, "what runs is not what was approved"
        assert body.visit == self.visit[number]
        key = (number, body.visit, body.attempt)
        assert key not in self.starts, "an attempt started twice"
        assert body.attempt == 1 or (number, body.visit, body.attempt - 1) in self.starts, "an attempt was left out"
        self.starts.add(key)
        self.running.add(number)

    def _may_begin(self, number: int) -> None:
        assert not self.paused
        assert not self.stopping, "something new after a pause or cancel was asked"
        assert not self.stuck, "something new in a failing run"
        for other in self.procedure.step(number).depends_on:
            assert other in self.finished, "something new before what it depends on"

    def _end(self, number: int) -> None:
        assert number in self.running or self.stuck.get(number) in ("failed", "interrupted")
        self.running.discard(number)
        self.stuck.pop(number, None)

    def _run(self, body: ev.EventBody) -> None:
        processes = {n for n in self.running if self.procedure.step(n).executor != "manual"}
        match body:
            case ev.RunStarted():
                self.started = True
            case ev.RunPauseRequested() | ev.RunCancelRequested():
                assert processes, "asked to wait for nothing"
                self.stopping = True
            case ev.RunPaused():
                assert not processes, "paused over a running process"
                self.paused, self.stopping = True, False
            case ev.RunResumed():
                self.stopping = False  # a pause that still waited for a process is taken back
                assert "failed" not in self.stuck.values()
                self.paused = False
            case ev.RunRetried():
                self._retried(body)
            case ev.RunFailed():
                assert not self.running
                assert set(body.failed_steps) == {n for n, why in self.stuck.items() if why == "failed"} != set()
                assert not self.open
                self.stopping = self.paused = False
            case ev.RunCancelled():
                assert not processes
                self.final = True
            case ev.RunCompleted():
                assert self.finished.keys() == self.visit.keys(), "completed with a step left"
                assert body.nothing_ran == ("completed" not in self.finished.values())
                self.final = True

    def _retried(self, body: ev.RunRetried) -> None:
        again = descendants(self.procedure, body.from_step) if body.from_step is not None else frozenset()
        assert set(body.steps) == self.stuck.keys() - again, "retry takes all that is stuck"
        assert not again & self.running
        assert not again & self.open, "a gate left open by a retry"
        for number in {*body.steps, *again}:
            self.finished.pop(number, None)
            self.stuck.pop(number, None)
            self.approved.pop(number, None)
        for number in again:
            self.visit[number] += 1
        self.paused = False
