"""The rules of a run, read off its events alone: a second opinion that shares no code with `evolve` or `moves`.

Raises AssertionError at the first event that breaks a rule.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from sopwith.core import events as ev
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.address import StepId
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.config import Config, Role
from sopwith.core.events import Event
from sopwith.core.instant import Instant
from sopwith.core.procedure import ExecutionMode, InterruptRules, OnInterrupt, Procedure
from sopwith.core.run import descendants

ANSWERS = (ev.ApprovalGranted, ev.ApprovalRejected, ev.ApprovalTimeout)
WHILE_OPEN = (ev.ApprovalVoteRecorded, ev.ApprovalEscalated, ev.ApprovalReminded, ev.ApprovalPostponed)
SECONDS_5 = timedelta(seconds=5)
MS = timedelta(milliseconds=1)


class Clock:
    """One gate's time: by the wall clock as recorded, and as it really passed while one boot lasts."""

    def __init__(self, body: ev.ApprovalRequested, at: datetime, now: Instant) -> None:
        self.due_at = body.due_at
        self.reminders = list(body.remind_at)
        self.wanted = None if body.due_at is None else body.due_at - at
        self.lived = timedelta(0)
        self.allowance = timedelta(0)
        self.since: Instant | None = now
        self.began: tuple[datetime, Instant] = (at, now)
        self.jumped = timedelta(0)
        self.restarted = False
        self.left: timedelta | None = None
        self.reminders_left: list[timedelta] = []

    def stop(self, at: datetime, now: Instant) -> None:
        if self.since is None:
            return
        self._look(now)
        self.since = None
        self.left = None if self.due_at is None else max(timedelta(0), self.due_at - at)
        began_at, began = self.began
        if began.boot_id == now.boot_id:
            # whatever the wall clock says by now, so much has passed
            at = began_at + self.jumped + timedelta(milliseconds=now.boot_ms - began.boot_ms)
        self.reminders_left = [max(timedelta(0), reminder - at) for reminder in self.reminders]
        self.due_at, self.reminders = None, []

    def start(self, at: datetime, now: Instant) -> None:
        if self.since is not None:
            return
        self.since = now
        self.began, self.jumped = (at, now), timedelta(0)
        self.due_at = None if self.left is None else at + self.left
        self.reminders = [at + left for left in self.reminders_left]

    def _look(self, now: Instant) -> None:
        """Counts what has passed since it last started."""
        assert self.since is not None
        self.restarted |= self.since.boot_id != now.boot_id
        self.lived += timedelta(milliseconds=now.boot_ms - self.since.boot_ms)
        self.allowance += SECONDS_5
        self.since = now

    def check_over(self, now: Instant) -> None:
        """That people really had the time that the gate promised, as far as a boot clock can tell."""
        self._look(now)
        if not self.restarted and self.wanted is not None:
            assert self.lived >= self.wanted - self.allowance, "settled by a jump of the wall clock"

    def postpone(self, body: ev.ApprovalPostponed, now: Instant) -> None:
        jump = timedelta(milliseconds=body.jumped_ms)
        assert jump > SECONDS_5, "no jump worth a delay"
        assert self.due_at is not None
        assert body.due_at == self.due_at + jump
        self._look(now)
        self.jumped += jump
        self.due_at += jump
        self.reminders = [reminder + jump for reminder in self.reminders]

    def remind(self, body: ev.ApprovalReminded, at: datetime, now: Instant) -> None:
        assert body.due_at in self.reminders, "a reminder that nobody asked for, or a second time"
        began_at, began = self.began
        # within a boot the time that passed counts, wherever the wall clock was set
        passed = began.boot_id == now.boot_id and timedelta(milliseconds=now.boot_ms - began.boot_ms)
        wanted = body.due_at - self.jumped - began_at
        assert body.due_at <= at or (passed and passed >= wanted - MS), "a reminder before its time"
        self.reminders = [reminder for reminder in self.reminders if reminder > body.due_at]


class Ledger:
    """What the events so far say. `approved` holds the digest under which a step may start now.

    `read` is told the people and the clocks of the moment in which the event was made.
    """

    def __init__(self, procedure: Procedure, mode: ExecutionMode, starter: Actor) -> None:
        self.procedure = procedure
        self.starter = starter
        self.step_by_step = mode is ExecutionMode.STEP_BY_STEP
        self.gated = {s.number for s in procedure.steps if s.requires_approval or self.step_by_step}
        self.waived: set[StepId] = set()
        self.changed: set[StepId] = set()
        self.seq = 0
        self.started = self.paused = self.final = False
        self.stopping = self.ending = False
        self.finished: dict[StepId, str] = {}
        self.stuck: dict[StepId, str] = {}
        self.running: set[StepId] = set()
        self.visit = {step.number: 1 for step in procedure.steps}
        self.starts: set[tuple[StepId, int, int]] = set()
        self.asked: dict[StepId | None, ev.ApprovalRequested] = {}
        self.answered: set[tuple[StepId | None, int]] = set()
        self.open: set[StepId | None] = set()
        self.approved: dict[StepId | None, str] = {}
        self.votes: dict[StepId | None, list[str]] = {}
        self.escalated: set[StepId | None] = set()
        self.clocks: dict[StepId | None, Clock] = {}
        self.next: tuple[type[ev.Body], StepId | None] | None = None
        self.follows: tuple[str, StepId] | None = None
        """What follows from this event, an interruption or verification, and of which step."""
        self.told: tuple[str, StepId] | None = None
        """The same of the event right before it."""
        self.cancelling = False
        self.verifying: set[StepId] = set()
        self.workers: set[str] = set()
        """Whoever told that a step is done: an agent of them approves no gate of this run."""
        self.reported: set[StepId] = set()
        """Steps that were reported done, and that is still to be verified."""
        self.verified: set[tuple[StepId, int, int]] = set()
        self.reruns: dict[tuple[StepId, int], int] = {}
        self.again: set[StepId] = set()
        """Steps that are to be run again after an interruption."""
        self.held: dict[StepId, bool] = {}
        self.unknown: set[StepId] = set()
        self.tries: dict[StepId, int] = {}
        self.retrying: dict[StepId, datetime] = {}
        self.waiting: set[StepId] = set()
        self.begun: dict[StepId, tuple[datetime, Instant]] = {}
        self.skips: list[StepId] = []
        self.failure: ev.StepFailed | None = None
        self.params: dict[str, ev.ParamValue] = {}
        self.clock: tuple[datetime, Instant] | None = None
        self.stopped: tuple[datetime, Instant] | None = None
        self.rested = (timedelta(0), timedelta(0))
        """Between a pause and what follows it: by the wall clock as recorded, and as long as it really was."""
        self.out = self.failed = False
        self.instances: dict[StepId, list[StepId]] = {}
        self.outputs: dict[StepId, dict[str, Any]] = {}
        self.people, self.now = Config(), Instant(datetime.min.replace(tzinfo=UTC), 0, "")

    def read(self, event: Event, people: Config, now: Instant) -> None:
        body = event.body
        assert event.seq == self.seq + 1, "seq has a gap"
        assert not self.final, "something follows the end"
        self.seq, self.people, self.now = event.seq, people, now
        self.told, self.follows = self.follows, None
        if self.next is not None:
            what, number = self.next
            assert isinstance(body, what), f"{what.__name__} must follow, not {type(body).__name__}"
            assert getattr(body, "step_number", None) == number
            self.next = None
        if self.skips:
            assert isinstance(body, ev.StepSkipped), "what lies between is skipped at once"
            assert body.step_number in self.skips
        if isinstance(body, ev.GateBody):
            self._gate(event, body)
        elif isinstance(body, ev.StepBody):
            self._step(event, body)
        else:
            self._run(event, body)

    # gates

    def _rules(self, number: StepId | None) -> ApprovalRules:
        own = None if number is None else self.procedure.step(number).approval
        return own or self.procedure.approval or ApprovalRules()

    def _needs(self, number: StepId) -> bool:
        """Whether this try of the step takes an approval."""
        if number in self.changed or self.step_by_step:
            return True
        return _whole(number) in self.gated and number not in self.waived

    def _gate(self, event: Event, body: ev.GateBody) -> None:
        number = body.step_number
        key = (number, body.revision)
        if isinstance(body, ev.ApprovalRequested):
            self._requested(event, body)
            return
        if isinstance(body, ev.ApprovalStale):
            self._stale(body)
            return
        assert self.asked[number].revision == body.revision, "an answer to an older revision"
        if isinstance(body, WHILE_OPEN):
            assert number in self.open, "something about a gate that is not open"
            assert key not in self.answered, "a settled gate is open again"
            assert body.digest == self.asked[number].digest
            self._while_open(event, body)
        elif isinstance(body, ANSWERS):
            assert number in self.open, "an answer to a gate that is not open"
            assert key not in self.answered, "two answers to one revision"
            assert not self.paused, "an answer in a paused run"
            assert body.digest == self.asked[number].digest, "an answer to another envelope"
            self.answered.add(key)
            self.open.discard(number)
            self._answered(event, body)
        else:
            assert isinstance(body, ev.ApprovalClosed)
            assert number in self.open or number in self.approved, "what is closed was neither open nor approved"
            self.open.discard(number)
            self.approved.pop(number, None)
            self.answered.add(key)

    def _answered(self, event: Event, body: ev.ApprovalGranted | ev.ApprovalRejected | ev.ApprovalTimeout) -> None:
        number = body.step_number
        match body:
            case ev.ApprovalGranted():
                self._agreed(event, body.signature, "approved")
                votes = self.votes[number]
                assert len(votes) == self._needed(number), "passed with too few votes, or one too late"
                assert body.votes == (tuple(votes) if len(votes) > 1 else ())
                self.approved[number] = body.digest
            case ev.ApprovalRejected():
                if number is None:
                    self.next = (ev.RunCancelled, None)
                    assert body.action == "cancelled"
                else:
                    self._rejected(number, body.action)
                if body.signature is None:
                    assert event.actor.kind is ActorKind.SYSTEM, "an unsigned answer"
                    assert self._is_unreachable(number), "given up, and it could still be passed"
                else:
                    assert event.actor.kind in (ActorKind.HUMAN, ActorKind.AGENT), "rejected by nobody"
                    assert body.signature.meaning == "rejected"
            case ev.ApprovalTimeout():
                self._timed_out(event, body)

    def _while_open(self, event: Event, body: ev.GateBody) -> None:
        number = body.step_number
        clock = self.clocks[number]
        match body:
            case ev.ApprovalVoteRecorded():
                self._agreed(event, body.signature, "approved")
                assert (body.votes, body.needed) == (len(self.votes[number]), self._needed(number))
                assert body.votes < body.needed
                self._must_give_up(number)
            case ev.ApprovalEscalated():
                assert event.actor.kind is ActorKind.SYSTEM
                assert self.asked[number].on_timeout is TimeoutAction.ESCALATE
                assert number not in self.escalated, "handed on twice"
                assert body.to == self._rules(number).escalate_to
                assert clock.due_at == body.due_at <= event.at, "handed on before its time"
                clock.check_over(self.now)
                clock.due_at = None
                self.escalated.add(number)
            case ev.ApprovalReminded():
                assert event.actor.kind is ActorKind.SYSTEM
                clock.remind(body, event.at, self.now)
            case ev.ApprovalPostponed():
                assert event.actor.kind is ActorKind.SYSTEM
                clock.postpone(body, self.now)

    def _agreed(self, event: Event, signed: ev.Signature | None, meaning: str) -> None:
        body = event.body
        assert isinstance(body, ev.GateBody)
        assert signed is not None, "an unsigned decision"
        assert signed.meaning == meaning
        assert self._may_pass(event.actor, body.step_number), "agreed by somebody who may not"
        votes = self.votes[body.step_number]
        assert event.actor.id not in votes, "one voter counted twice"
        votes.append(event.actor.id)

    def _needed(self, number: StepId | None) -> int:
        return self._rules(number).quorum or 1

    def _listed(self, number: StepId | None) -> set[str]:
        rules = self._rules(number)
        escalated = rules.escalate_to if number in self.escalated and rules.approvers else ()
        found: set[str] = set()
        for kind, _, name in (principal.partition(":") for principal in (*rules.approvers, *escalated)):
            if kind == "group":
                found.update(f"human {member}" for member in self.people.groups.get(name, ()))
            else:
                found.add(f"agent {name}" if kind == "agent" else f"human {name}")
        return found

    def _may_pass(self, actor: Actor, number: StepId | None) -> bool:
        rules = self._rules(number)
        own = actor.id == self.starter.id
        if actor.kind is ActorKind.AGENT:
            worked = own or actor.id in self.workers
            return not worked and f"agent {actor.id}" in self._listed(number)
        if actor.kind is not ActorKind.HUMAN:
            return False
        named = bool(rules.approvers)
        allowed = rules.allow_self_approval if rules.allow_self_approval is not None else not named and not rules.quorum
        if own and not allowed:
            return False
        if named:
            return f"human {actor.id}" in self._listed(number)
        return self._has_role(actor, Role.APPROVER)

    def _has_role(self, actor: Actor, role: Role) -> bool:
        roles = self.people.roles
        if not roles:
            return True
        groups = {f"group:{name}" for name, members in self.people.groups.items() if actor.id in members}
        names = {f"user:{actor.id}", *groups}
        return bool(names & {*roles.get(role, ()), *roles.get(Role.ADMIN, ())})

    def _is_unreachable(self, number: StepId | None) -> bool:
        rules = self._rules(number)
        if not rules.approvers and not self.people.roles:
            return False
        everybody = {name for members in self.people.groups.values() for name in members}
        everybody |= {each.partition(":")[2] for who in self.people.roles.values() for each in who}
        everybody |= {each.partition(":")[2] for each in (*rules.approvers, *rules.escalate_to)}
        before = set(self.escalated)
        asked = self.asked.get(number)
        if rules.on_timeout is TimeoutAction.ESCALATE and asked is not None and asked.due_at is not None:
            self.escalated.add(number)  # it may come to that
        kinds = (ActorKind.HUMAN, ActorKind.AGENT)
        able = {n for n in everybody for kind in kinds if self._may_pass(Actor(n, kind, "anywhere"), number)}
        self.escalated.clear()
        self.escalated.update(before)
        return len(able | set(self.votes[number])) < self._needed(number)

    def _must_give_up(self, number: StepId | None) -> None:
        if self._is_unreachable(number):
            self.next = (ev.ApprovalRejected, number)

    def _timed_out(self, event: Event, body: ev.ApprovalTimeout) -> None:
        number = body.step_number
        assert event.actor.kind is ActorKind.SYSTEM
        clock = self.clocks[number]
        assert clock.due_at == body.due_at, "settled by another deadline"
        assert event.at >= body.due_at, "settled before its time"
        assert body.action is self.asked[number].on_timeout is not TimeoutAction.ESCALATE
        clock.check_over(self.now)
        match body.action:
            case TimeoutAction.APPROVE:
                self.approved[number] = body.digest
                self.next = (ev.RunStarted, None) if number is None else None
            case TimeoutAction.PAUSE:
                pass
            case _ if number is None:
                self.next = (ev.RunCancelled, None)
            case TimeoutAction.REJECT:
                self._rejected(number, body.then or "paused")
            case TimeoutAction.SKIP:
                self.next = (ev.StepSkipped, number)
            case TimeoutAction.FAIL:
                self.next = (ev.StepFailed, number)

    def _rejected(self, number: StepId, action: str) -> None:
        step = self.procedure.step(number)
        assert action == {"pause": "paused", "fail": "failed", "goto": "goto"}[step.on_reject]
        if action == "goto":
            assert step.reject_goto is not None
            self.finished[number] = "rejected"
            assert isinstance(number, int)
            self.skips = [n for n in self._between(number, step.reject_goto) if n not in self.finished]
        else:
            self.stuck[number] = "failed" if action == "failed" else "rejected"

    def _stale(self, body: ev.ApprovalStale) -> None:
        number = body.step_number
        assert number is not None
        assert number not in self.open | self.running | self.finished.keys()
        before = self.asked.get(number)
        assert body.revision == (before.revision if before else 0)
        self.approved.pop(number, None)
        self.retrying.pop(number, None)
        self.changed.add(number)

    def _requested(self, event: Event, body: ev.ApprovalRequested) -> None:
        number = body.step_number
        before = self.asked.get(number)
        assert body.revision == (before.revision + 1 if before else 1), "a revision was left out or used twice"
        assert number not in self.open, "an open gate was asked again"
        assert not self.paused
        if number is not None:
            assert self.started, "a step's gate before the start"
            assert self._needs(number), "a gate where none is needed"
            assert number not in self.running | self.stuck.keys() | self.finished.keys()
            assert number not in self.waiting | self.retrying.keys(), "an automatic try asks nobody"
            self._may_begin(number)
            self._is_one(number)
        rules = self._rules(number)
        assert (body.approvers, body.votes_needed) == (rules.approvers, self._needed(number))
        minutes = [timedelta(minutes=mins) for mins in rules.remind_after_mins]
        assert [at - event.at for at in body.remind_at] == minutes
        if body.due_at is not None:
            assert body.due_at >= event.at
            assert body.due_at.microsecond % 1000 == 0
            own = None if number is None else self.procedure.step(number).approval_timeout_mins
            assert own is None or abs(body.due_at - event.at - timedelta(minutes=own)) < timedelta(milliseconds=1)
            stated = rules.on_timeout or (TimeoutAction.APPROVE if own is not None else body.on_timeout)
            assert body.on_timeout is stated
        self.asked[number] = body
        self.open.add(number)
        self.approved.pop(number, None)
        self.votes[number] = []
        self.escalated.discard(number)
        self.clocks[number] = Clock(body, event.at, self.now)
        self._check_turns(number)
        self._must_give_up(number)

    # steps

    def _step(self, event: Event, body: ev.StepBody) -> None:
        number = body.step_number
        if number in self.instances and isinstance(body, ev.StepEnd | ev.StepSkipped):
            self._together(event, body)
            return
        match body:
            case ev.StepExpanded():
                self._expand(body)
            case ev.StepStarted():
                self._start(body, event.at)
                self._check_turns(number)
                limit = self.procedure.max_parallel
                assert limit is None or len(self._processes()) <= limit, "more at once than the procedure says"
            case ev.WaitStarted():
                self._start(body, event.at)
                self._check_turns(number)
                self.running.discard(number)
                self.waiting.add(number)
                seconds = self.procedure.step(number).wait_secs
                assert seconds is None or body.until == event.at + timedelta(seconds=seconds)
            case ev.WaitEnded():
                assert number in self.waiting
                self._wait_was_over(body)
                self.waiting.discard(number)
                self.running.add(number)
                self.next = (ev.StepCompleted, number)
            case ev.StepRetryScheduled(cause="interrupted"):
                self._rerun(body, event.at)
            case ev.StepRetryScheduled():
                self._scheduled(body, event.at)
            case ev.StepReported():
                self.workers.add(event.actor.id)
                self._reported(body)
                self._signed(event, body.signature, number, "done by hand", needed=number in self.stuck)
            case ev.StepCompleted():
                assert body.verified == (self.told == ("completed", number)), "done, and nobody said so"
                assert not (body.verified and body.outputs)
                assert body.verified or not self.procedure.step(number).verify, "done, and nothing verified it"
                self._end(number)
                self.finished[number] = "completed"
                self.outputs[number] = body.outputs
            case ev.StepFailed():
                if body.cause == "approval_timeout":
                    assert event.actor.kind is ActorKind.SYSTEM
                    assert self.asked[number].on_timeout is TimeoutAction.FAIL
                else:
                    if self.out and body.cause == "timeout":
                        self._out_of_time(number)
                    assert (body.cause == "interrupted") == (self.told == ("fail", number))
                    self._end(number)
                if body.cause != "cancelled":
                    self.stuck[number] = "failed"
                self._led_on(body)
            case ev.StepInterrupted():
                assert number not in self.verifying, "interrupted while it is verified"
                self._end(number)
                self.stuck[number] = "interrupted"
                self._interrupted(body)
            case ev.VerificationStarted(of_report=True):
                self._verifies_report(body)
            case ev.VerificationEnded() if self.procedure.step(number).verify:
                self._verified_report(body)
            case ev.VerificationStarted():
                assert self.told == ("verify", number), "verified, and nothing said so"
                assert (number, body.visit, body.attempt) in self.starts - self.verified, "verified twice"
                assert body.command == self._policy(number).command
                self.verified.add((number, body.visit, body.attempt))
                del self.stuck[number]
                self.running.add(number)
                self.verifying.add(number)
            case ev.VerificationEnded():
                assert number in self.verifying, "the end of no verification"
                self.verifying.discard(number)
                self.running.discard(number)
                self.stuck[number] = "interrupted"
                self._verified(body)
            case ev.ConditionEvaluated(condition="if"):
                self._may_begin(number)
                assert number not in self.instances
                assert isinstance(number, int)
                assert self.procedure.step(number).condition == body.expression
                assert number not in self.held, "a condition asked twice"
                assert number not in self.running | self.stuck.keys() | self.finished.keys() | self.open
                assert number not in self.approved, "asked after its gate"
                assert self.started, "a condition before the start"
                if body.expression == "params.go == 'yes'":
                    assert body.result == (self.params["go"] == "yes"), "asked with other parameters"
                self.unknown.discard(number)
                if body.result is None:
                    self.unknown.add(number)
                else:
                    self.held[number] = body.result
                    self.skips = [] if body.result else [number]
            case ev.ConditionEvaluated(condition="forEach"):
                self._may_expand(number)
                assert body.result is None
                assert body.reason
                self.unknown.add(number)
            case ev.ConditionEvaluated():
                assert _whole(number) in self.gated
                self._is_one(number)
                held = self.procedure.step(number).condition is None
                assert self.held.get(_whole(number), held), "asked before its if"
                assert not self.step_by_step
                assert number not in self.changed, "a condition where it decides nothing"
                if body.result is False:
                    self.waived.add(number)
                else:
                    self.next = (ev.ApprovalRequested, number)
            case ev.StepSkipped():
                assert number not in self.finished
                if number in self.skips:
                    assert body.signature is None
                    self.skips.remove(number)
                    self.finished[number] = "skipped"
                    return
                if self._is_passed_by(number) or self._items(number) == []:
                    assert (body.signature, event.actor.kind) == (None, ActorKind.SYSTEM)
                    self.finished[number] = "skipped"
                    return
                silence = event.actor.kind is ActorKind.SYSTEM and number in self.asked
                if not silence or self.asked[number].on_timeout is not TimeoutAction.SKIP:
                    self._signed(event, body.signature, number, "skipped", needed=True)
                self.running.discard(number)
                self.waiting.discard(number)
                self.retrying.pop(number, None)
                self.unknown.discard(number)
                self.stuck.pop(number, None)
                self.finished[number] = "skipped"

    def _scheduled(self, body: ev.StepRetryScheduled, at: datetime) -> None:
        """An automatic try follows a failure, as its rules say."""
        assert not self.out, "another try in a run whose time is up"
        number, failed = body.step_number, self.failure
        rules = self.procedure.step(number).retry
        assert rules is not None
        assert failed is not None, "a try that follows no failure"
        assert (failed.step_number, failed.then) == (number, "")
        assert failed.cause not in ("reported", "approval_timeout", "cancelled", "interrupted")
        assert not rules.on_exit_codes or failed.exit_code in rules.on_exit_codes
        assert body.attempt == self.tries[number] + 1 <= rules.max_attempts == body.max_attempts, "one try too many"
        wanted = rules.delay_secs * rules.backoff ** (self.tries[number] - 1)
        wanted = wanted if rules.max_delay_secs is None else min(wanted, rules.max_delay_secs)
        assert abs(body.delay_ms - wanted * 1000) <= 1
        assert body.at == at + timedelta(milliseconds=body.delay_ms)
        del self.stuck[number]
        self.retrying[number] = body.at

    def _policy(self, number: StepId) -> InterruptRules:
        return self.procedure.step(number).on_interrupt or InterruptRules(policy=OnInterrupt.ASK)

    def _interrupted(self, body: ev.StepInterrupted) -> None:
        """Nothing follows by itself unless the step says so, and nothing in a run that ends."""
        policy = self._policy(body.step_number).policy
        # where somebody wanted it ended that is all that is told
        asks = policy is OnInterrupt.ASK or (self.ending and not body.on_interrupt)
        assert body.on_interrupt == ("" if asks else policy)
        assert body.then in ("", body.on_interrupt)
        assert not body.then or not (self.out or self.cancelling), "something follows in a run that ends"
        assert bool(body.because) == (body.on_interrupt != body.then), "asked, and nobody said why"
        self._leads_to(body.then, body.step_number)

    def _verified(self, body: ev.VerificationEnded) -> None:
        says = {"done": "completed", "not_done": "rerun", "unknown": ""}[body.outcome]
        assert body.then in ("", says)
        assert body.outcome == {0: "done", 1: "not_done"}.get(body.exit_code, "unknown") or body.cause != "exit"
        assert bool(body.because) == (not body.then)
        assert body.then != "rerun" or not (self.out or self.cancelling), "run again in a run that ends"
        self._leads_to(body.then, body.step_number)

    def _reported(self, body: ev.StepReported) -> None:
        number = body.step_number
        assert number not in self.verifying, "reported while it is verified"
        done = body.outcome == "completed"
        assert body.to_verify == (done and bool(self.procedure.step(number).verify)), "believed without a look"
        assert not (done and number in self.reported), "reported done twice"
        assert not body.to_verify or number in self.running, "reported though it is not open"
        (self.reported.add if body.to_verify else self.reported.discard)(number)

    def _verifies_report(self, body: ev.VerificationStarted) -> None:
        number = body.step_number
        assert number in self.reported & self.running, "verified, and nobody reported it"
        stands = self.paused or self.cancelling or self.out
        assert not stands, "begun in a run that stands still or ends"
        verify = self.procedure.step(number).verify
        assert verify
        assert body.command == verify.text
        self.reported.discard(number)
        self.verifying.add(number)
        limit = self.procedure.max_parallel
        assert limit is None or len(self._processes()) <= limit, "more at once than the procedure says"

    def _verified_report(self, body: ev.VerificationEnded) -> None:
        assert body.step_number in self.verifying, "the end of no verification"
        self.verifying.discard(body.step_number)
        assert (body.then == "completed") == ((body.exit_code, body.cause, body.signal) == (0, "exit", None))
        assert body.then in ("completed", "open")
        assert bool(body.because) == (body.then == "open")
        self._leads_to("completed" if body.then == "completed" else "", body.step_number)

    def _leads_to(self, then: str, number: StepId) -> None:
        what: dict[str, type[ev.Body]] = {
            "rerun": ev.StepRetryScheduled,
            "fail": ev.StepFailed,
            "verify": ev.VerificationStarted,
            "completed": ev.StepCompleted,
        }
        if then:
            self.next = (what[then], number)
            self.follows = (then, number)

    def _rerun(self, body: ev.StepRetryScheduled, at: datetime) -> None:
        """At once, and three times in a visit."""
        number = body.step_number
        assert self.told == ("rerun", number), "run again, and nothing said so"
        key = (number, self.visit[number])
        self.reruns[key] = self.reruns.get(key, 0) + 1
        assert (body.attempt, body.max_attempts) == (self.reruns[key], 3)
        assert self.reruns[key] <= 3, "run again too often"
        assert (body.delay_ms, body.at) == (0, at)
        del self.stuck[number]
        self.retrying[number] = body.at
        self.again.add(number)

    def _led_on(self, body: ev.StepFailed) -> None:
        """A failure that the procedure goes on after, and what is passed by."""
        number = body.step_number
        self.failure = body
        step = self.procedure.step(number)
        if self.out:
            assert not body.then, "a run whose time is up goes on"
        elif body.cause == "timeout":
            assert step.timeout_secs is not None
            self._time_was_over(number, step.timeout_secs)
        if not body.then:
            return
        assert body.cause not in ("cancelled", "approval_timeout")
        assert step.on_failure == body.then
        del self.stuck[number]
        self.finished[number] = "passed over"
        if step.goto is not None and isinstance(number, int):
            self.skips = [n for n in self._between(number, step.goto) if n not in self.finished]

    def _between(self, number: int, target: int) -> set[int]:
        numbers = {step.number for step in self.procedure.steps}
        before = {n for n in numbers if n != target and target in descendants(self.procedure, n)}
        return before & descendants(self.procedure, number) - {number}

    # items

    def _items(self, number: StepId) -> Any:
        """What the step is to be done for, as far as that can be told from what was handed on."""
        stated = self.procedure.step(number).for_each
        if not isinstance(stated, str):
            return stated if stated is None else list(stated)
        found = re.fullmatch(r"steps\['([0-9]+)'\]\.outputs\.list", stated)
        assert found is not None
        other = int(found[1])
        known = other in self.finished and number in descendants(self.procedure, other)
        return self.outputs.get(other, {}).get("list") if known else None

    def _may_expand(self, number: StepId) -> None:
        self._may_begin(number)
        assert number not in self.instances, "expanded twice"
        assert isinstance(number, int)
        assert number not in self.finished
        assert self.procedure.step(number).for_each is not None
        assert self.procedure.step(number).condition is None or self.held.get(number), "expanded before its if"

    def _expand(self, body: ev.StepExpanded) -> None:
        number = body.step_number
        self._may_expand(number)
        assert list(body.items) == self._items(number), "done for something else"
        assert len(set(body.instances)) == len(body.instances) == len(body.items) > 0
        self.instances[number] = [f"{number}:{name}" for name in body.instances]
        self.unknown.discard(number)
        for each in self.instances[number]:
            self.visit[each] = self.visit[each] + 1 if each in self.visit else self.visit[number]

    def _is_one(self, number: StepId) -> None:
        """That it is a step, or an instance of one; never a step that stands for its instances."""
        several = self.procedure.step(number).for_each is not None
        assert several == isinstance(number, str), "neither a step nor an instance of one"
        assert not several or number in self.instances[_whole(number)], "an instance that is not there"

    def _check_turns(self, number: StepId | None) -> None:
        if number is None or (limit := self.procedure.step(number).max_parallel) is None:
            return
        busy = self.open | self.running | self.waiting | self.retrying.keys() | self.stuck.keys()
        busy |= self.approved.keys() | self.waived
        under_way = [n for n in self.instances[_whole(number)] if n in busy and n not in self.finished]
        assert len(under_way) <= limit, "under way for more items than the step says"

    def _is_passed_by(self, number: StepId) -> bool:
        """Whether it lies between a step whose last instance has just ended and where the failed ones lead."""
        for whole, instances in self.instances.items():
            target = self.procedure.step(whole).goto
            if whole in self.finished or target is None or not all(each in self.finished for each in instances):
                continue
            failed = any(self.finished[each] == "passed over" for each in instances)
            if failed and isinstance(whole, int) and number in self._between(whole, target):
                return True
        return False

    def _together(self, event: Event, body: ev.StepEnd | ev.StepSkipped) -> None:
        """The end of a step that is done for several items."""
        number = body.step_number
        assert isinstance(number, int)
        assert event.actor.kind is ActorKind.SYSTEM
        assert number not in self.finished, "ended twice"
        ways = [self.finished[each] for each in self.instances[number]]
        if isinstance(body, ev.StepSkipped):
            assert set(ways) == {"skipped"}
            self.finished[number] = "skipped"
            return
        assert isinstance(body, ev.StepCompleted | ev.StepFailed)
        assert isinstance(body, ev.StepFailed) == ("passed over" in ways)
        step = self.procedure.step(number)
        if isinstance(body, ev.StepFailed):
            assert (body.cause, body.then) == ("instances", step.on_failure)
            if step.goto is not None:
                assert self._between(number, step.goto) <= self.finished.keys(), (
                    "led on, and something was not passed by"
                )
        lists = [self.outputs.get(each, {}) for each in self.instances[number]]
        names = {name for each in lists for name in each}
        assert body.outputs == {name: [each.get(name) for each in lists] for name in names}
        self.outputs[number] = body.outputs
        self.finished[number] = "passed over" if isinstance(body, ev.StepFailed) else "completed"

    def _everything(self) -> set[StepId]:
        instances = {each for instances in self.instances.values() for each in instances}
        return {step.number for step in self.procedure.steps} | instances

    def _time_was_over(self, number: StepId, seconds: float) -> None:
        at, began = self.begun[number]
        if began.boot_id == self.now.boot_id:
            assert self.now.boot_ms - began.boot_ms >= seconds * 1000, "over before its time"
        else:
            assert self.now.at - at >= timedelta(seconds=seconds), "over before its time"

    def _wait_was_over(self, body: ev.WaitEnded) -> None:
        """A wait for a moment ends by the wall clock alone, which may have been set to before the wait began."""
        step = self.procedure.step(body.step_number)
        if step.wait_secs is not None:
            self._time_was_over(body.step_number, step.wait_secs)
        else:
            assert step.wait_until is not None
            assert self.now.at >= datetime.fromisoformat(step.wait_until) == body.until, "over before its time"

    def _processes(self) -> set[StepId]:
        return {n for n in self.running if self.procedure.step(n).executor == "shell"} | self.verifying

    def _signed(self, event: Event, signed: ev.Signature | None, number: StepId, meaning: str, *, needed: bool) -> None:
        """What stands in for an approval takes who could give one."""
        if not (needed and self._needs(number)):
            assert signed is None
            return
        assert signed is not None, "an unsigned decision"
        assert signed.meaning == meaning
        assert self._may_pass(event.actor, number), "passed over by somebody who may not"

    def _start(self, body: ev.StepStarted | ev.WaitStarted, at: datetime) -> None:
        number = body.step_number
        self._is_one(number)
        held = self.held.get(_whole(number))
        assert self.procedure.step(number).condition is None or held, "its condition does not hold"
        assert number not in self.waiting, "a wait started twice"
        assert at >= self.retrying.pop(number, at), "an automatic try before its time"
        self.tries[number] = self.tries.get(number, 0) + 1
        asked = number in self.again or self.tries[number] == 1 or self._has_tries(number)
        assert asked, "a try that nobody asked for"
        self.again.discard(number)
        self.begun[number] = (at, self.now)
        assert self.started, "a step before the start approval"
        assert number not in self.running | self.finished.keys()
        self._may_begin(number)
        if self._needs(number):
            assert number not in self.open, "a step before its gate"
            assert self.approved.get(number) == body.digest, "what runs is not what was approved"
        assert body.visit == self.visit[number]
        key = (number, body.visit, body.attempt)
        assert key not in self.starts, "an attempt started twice"
        assert body.attempt == 1 or (number, body.visit, body.attempt - 1) in self.starts, "an attempt was left out"
        self.starts.add(key)
        self.running.add(number)

    def _has_tries(self, number: StepId) -> bool:
        rules = self.procedure.step(number).retry
        return rules is not None and self.tries[number] <= rules.max_attempts

    def _may_begin(self, number: StepId) -> None:
        assert not self.paused
        assert not self.stopping, "something new after a pause or cancel was asked"
        assert not self.stuck, "something new in a failing run"
        assert not self.out, "something new in a run whose time is up"
        for other in self.procedure.step(number).depends_on:
            assert other in self.finished, "something new before what it depends on"

    def _out_of_time(self, number: StepId) -> None:
        """What rests or waits ends as what runs does."""
        if number in self.waiting or number in self.retrying:
            self.running.add(number)
        self.waiting.discard(number)
        self.retrying.pop(number, None)

    def _end(self, number: StepId) -> None:
        assert number in self.running or self.stuck.get(number) in ("failed", "interrupted")
        self.running.discard(number)
        self.reported.discard(number)
        self.stuck.pop(number, None)

    def _stop_clocks(self, at: datetime) -> None:
        for number in self.open:
            self.clocks[number].stop(at, self.now)

    def _start_clocks(self, at: datetime) -> None:
        for number in self.open:
            self.clocks[number].start(at, self.now)

    def _run(self, event: Event, body: ev.EventBody) -> None:
        processes = self._processes()
        match body:
            case ev.RunCreated():
                self.params = body.params
            case ev.RunStarted():
                assert not self.started, "started twice"
                assert None not in self.asked or None in self.approved, "started without its approval"
                self.started = True
                # what a start asks anew has all its time, and rested in none of it
                self._count_anew(event.at)
            case ev.RunPauseRequested() | ev.RunCancelRequested():
                assert processes, "asked to wait for nothing"
                self._stop_clocks(event.at)
                self.stopping = True
                self.cancelling |= isinstance(body, ev.RunCancelRequested)
                self.ending |= isinstance(body, ev.RunPauseRequested) and body.stop
            case ev.RunPaused():
                assert not processes, "paused over a running process"
                assert body.cause != "condition" or self.unknown, "paused for a condition that is known"
                self._stop_clocks(event.at)
                self.paused, self.stopping, self.ending = True, False, False
                self.stopped = (event.at, self.now) if self.started else None
            case ev.RunResumed():
                self.stopping = False  # a pause that still waited for a process is taken back
                assert "failed" not in self.stuck.values()
                self._start_clocks(event.at)
                self._goes_on(event.at)
                self.paused = False
            case ev.RunTimedOut():
                assert event.actor.kind is ActorKind.SYSTEM
                self._run_timed_out(body)
            case ev.RunRetried():
                self._retried(body)
                self._goes_on(event.at)
                self._start_clocks(event.at)
            case ev.RunFailed():
                assert not self.running
                assert set(body.failed_steps) == {n for n, why in self.stuck.items() if why == "failed"}
                assert body.failed_steps or self.out, "failed for nothing"
                assert self.out == ("were up" in body.error)
                assert not self.open
                assert not self.out or not self.waiting | self.retrying.keys(), "time goes on where it was up"
                self.stopping = self.ending = self.paused = False
                self.failed = True
            case ev.RunCancelled():
                assert not processes
                self.final = True
            case ev.RunCompleted():
                assert self.finished.keys() == self._everything(), "completed with a step left"
                ways = set(self.finished.values())
                assert body.nothing_ran == (ways <= {"skipped", "rejected"})
                assert body.with_failures == bool(ways & {"passed over", "rejected"})
                self.final = True

    def _goes_on(self, at: datetime) -> None:
        if self.failed:
            self._count_anew(at)
            self.out = False
        elif self.stopped is not None:
            by_wall, really = self.rested
            stopped_at, stopped = self.stopped
            really += timedelta(milliseconds=self.now.boot_ms - stopped.boot_ms)
            self.rested = (by_wall + (at - stopped_at), really)
        self.stopped, self.failed = None, False

    def _count_anew(self, at: datetime) -> None:
        self.clock, self.stopped = (at, self.now), None
        self.rested = (timedelta(0), timedelta(0))

    def _run_timed_out(self, body: ev.RunTimedOut) -> None:
        assert self.started, "over before it began"
        assert self.clock is not None, "over before it began"
        assert True not in (self.paused, self.out, self.failed), "over where no time counts"
        at, began = self.clock
        limit = timedelta(seconds=self.procedure.timeout_secs or 0)
        assert timedelta(milliseconds=body.limit_ms) == limit
        by_wall, really = self.rested
        # a restart lies between the beginning and now, or between neither of the pauses and what followed it
        if began.boot_id == self.now.boot_id:
            lived = timedelta(milliseconds=self.now.boot_ms - began.boot_ms) - really
        else:
            lived = self.now.at - at - by_wall
        assert lived >= limit, "the run was ended before its time"
        self.out = True

    def _retried(self, body: ev.RunRetried) -> None:
        again = self._from_here_on(body.from_step)
        taken = {*body.steps, *again}
        if body.params:
            self._asked_with(body, taken)
        else:
            assert set(body.steps) == self.stuck.keys() - again, "retry takes all that is stuck"
        assert not again & self.running
        assert not again & self.open, "a gate left open by a retry"
        for number in {*body.steps, *again}:
            self.finished.pop(number, None)
            self.stuck.pop(number, None)
            self.approved.pop(number, None)
            self.waived.discard(number)
            self.unknown.discard(number)
            self.waiting.discard(number)
            for kept in (self.held, self.tries, self.retrying):
                kept.pop(number, None)
            self.outputs.pop(number, None)
        for number in again:
            if isinstance(number, int):
                self.visit[number] += 1
                self.instances.pop(number, None)
            elif _whole(number) not in again:
                self.visit[number] += 1
                self.finished.pop(_whole(number), None)
                self.outputs.pop(_whole(number), None)
        self.paused = False

    def _asked_with(self, body: ev.RunRetried, taken: set[StepId]) -> None:
        """Nothing that was asked about the old parameters counts for the new ones."""
        assert body.params != self.params, "changed to what it was"
        assert self.stuck.keys() <= taken, "retry takes all that is stuck"
        assert not self.running, "something goes on with the old parameters"
        assert not self.open, "a gate left open over the old parameters"
        left = self.visit.keys() - taken - self.finished.keys() - self.waiting - self.instances.keys()
        for kind in (self.approved.keys(), self.held.keys(), self.retrying.keys(), self.waived, self.unknown):
            assert not left & set(kind), "something asked with the old parameters"
        self.params = body.params
        if None in self.asked:
            self.started = False
            self.approved.pop(None, None)

    def _from_here_on(self, step: StepId | None) -> set[StepId]:
        """What is done again, with all instances of each step; of a step with an instance named, only that one."""
        if step is None:
            return set()
        again: set[StepId] = set(descendants(self.procedure, _whole(step)))
        if isinstance(step, str):
            again = again - {_whole(step)} | {step}
        return again | {each for n in again for each in self.instances.get(n, [])}


def _whole(step: StepId) -> int:
    return step if isinstance(step, int) else int(step.split(":")[0])
