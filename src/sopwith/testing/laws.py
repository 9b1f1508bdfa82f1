"""What must hold in every history, whatever crashes: the simulator's own bookkeeping, kept apart from the engine's.

Each law is checked as soon as an event is stored or a process begins, with the seed in the sentence that says what
was broken. Gates are read off the events here, not asked of `core/gates.py`.

Longer than other files: the laws share one bookkeeping, and a law that is read apart from it says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from sopwith.core import events as ev
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.address import StepId, instance_of, number_of, step_id
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.codec import NO_HASH, SealedEvent, decode_event, link
from sopwith.core.config import Config
from sopwith.core.events import Event
from sopwith.core.evolve import begin, evolve, replay
from sopwith.core.instant import UNHELD
from sopwith.core.procedure import ExecutionMode, Procedure, Step
from sopwith.core.run import Run, RunStatus, StepStatus, from_here_on, open_gates
from sopwith.engine.runs import summarise
from sopwith.ports import Batch, Claim, Store, WorkOrder
from sopwith.testing import memo
from sopwith.testing.executor import STOPPED, FakeWorld, Key, key_of
from sopwith.testing.laws_children import ChildLaws
from sopwith.testing.laws_interruption import InterruptionLaws, is_stopping
from sopwith.testing.laws_limits import LimitLaws
from sopwith.testing.laws_rollback import RollbackLaws
from sopwith.testing.mortal import Process
from sopwith.testing.story import Story

_TOLERANCE_MS = 100
_SLACK = timedelta(seconds=5)


class Laws:
    """Keeps its own copy of all that was stored. `store` is a handle that nobody else uses."""

    def __init__(self, seed: int, store: Store, world: FakeWorld, now_ms: Callable[[], int]) -> None:
        self.seed = seed
        self.broken: list[str] = []
        self.runs: dict[str, Run] = {}
        self.history: dict[str, list[Event]] = {}
        self.story = Story(now_ms)
        self.unread: Callable[[], bool] = lambda: False
        """Whether the end of some process could not be read, so that it counts as lost."""
        self.broken_at: int | None = None
        """How long the story was when the first law was broken."""
        self._store = store
        self._world = world
        self._now_ms = now_ms
        self._sealed: dict[str, list[SealedEvent]] = {}
        self._states: dict[str, list[Run]] = {}
        """Each run after each of its events."""
        self._procedures: dict[str, Procedure] = {}
        self._acknowledged: list[tuple[str, SealedEvent]] = []
        self._drivers: dict[str, tuple[Claim, Process]] = {}
        self._epochs: Counter[str] = Counter()
        self._launched: Counter[Key] = Counter()
        self._configs: dict[str, Config] = {}
        self._boots = 0
        self._waits: dict[tuple[str, StepId | None], _Wait] = {}
        self._reminded: Counter[tuple[str, StepId | None]] = Counter()
        """How often people were reminded of a gate since it was asked."""
        self._timed: dict[tuple[str, StepId], _Timed] = {}
        self._begun: dict[str, _Timed | None] = {}
        """When a run last began, None where it was paused since: what its own limit is counted from."""
        self._spent: dict[str, _Wait] = {}
        """What of its limit a run has really used up, its pauses left out."""
        self._out: set[str] = set()
        """Runs whose time is up, and that nobody has brought back."""
        self._rollbacks = RollbackLaws(self.breaks, self._is_busy)
        self._interruptions = InterruptionLaws(self.breaks)
        self._verified: Counter[Key] = Counter()
        """How often a process was launched to verify an attempt."""
        self._checked: Counter[tuple[Key, int]] = Counter()
        """The same for each verification of an attempt: reports of it may be verified several times."""
        self._children = ChildLaws(self.breaks, self.runs, self.history)
        self._limits = LimitLaws(self.breaks, self.runs)

    @property
    def events(self) -> int:
        return sum(len(events) for events in self.history.values())

    def breaks(self, law: str) -> None:
        """Records that a law was broken."""
        if self.broken_at is None:
            self.broken_at = len(self.story)
        self.broken.append(f"seed {self.seed}, at {self._now_ms()} ms: {law}")

    def note(self, *what: object) -> None:
        """Adds to the story, by whose hash two simulations of one seed are compared."""
        self.story.note(*what)

    def configured(self, config: Config) -> None:
        """This is config.json from now on; a decision says under which one it was made."""
        self._configs[config.digest] = config
        self._limits.config = config

    def restarted(self) -> None:
        """The boot clock tells nothing any more about what began before."""
        self._boots += 1

    @property
    def began(self) -> Counter[Key]:
        """How often the process of each attempt was begun."""
        return self._launched

    # events

    def created(self, batch: Batch, procedure: Procedure) -> None:
        """The first events of a run are stored."""
        run_id = batch.summary.run_id
        if run_id in self._sealed:
            self.breaks(f"{run_id} was created twice")
        self._sealed[run_id], self.history[run_id], self._states[run_id] = [], [], []
        self._procedures[run_id] = procedure
        self._take(run_id, batch)

    def appended(self, process: Process, batch: Batch, claim: Claim | None) -> None:
        """More events of a run are stored."""
        run_id = batch.summary.run_id
        if claim is not None or (process.drives == run_id and not process.speaks):
            self._check_writer(process, run_id, batch, claim)
        self._take(run_id, batch)

    def acknowledged(self, batch: Batch) -> None:
        """A living process was told that the batch is stored."""
        self._acknowledged.extend((batch.summary.run_id, sealed) for sealed in batch.events)

    def _take(self, run_id: str, batch: Batch) -> None:
        stood = self.runs.get(run_id)
        for sealed in batch.events:
            self._check_link(run_id, sealed)
            self._sealed[run_id].append(sealed)
            event = memo.decode(sealed.payload)
            self.story.event(event, sealed.hash)
            before = self.runs.get(run_id)
            if before is not None:
                self._check_event(before, event)
            self.history[run_id].append(event)
            self._time_gates(run_id, event)
            self._time_run(before, event)
            try:
                self.runs[run_id] = begin(self._procedures[run_id], event) if before is None else evolve(before, event)
            except (ValueError, AssertionError) as error:
                self.breaks(f"{run_id}: event {event.seq} ({event.event_type}) cannot follow: {error}")
                return
            self._states[run_id].append(self.runs[run_id])
            self._check_after(self.runs[run_id], event)
            if before is None:
                self._children.created(self.runs[run_id])
        self._limits.after(stood, self.runs[run_id], self.history[run_id][-len(batch.events) :])
        if summarise(self.runs[run_id]) != batch.summary:
            self.breaks(f"{run_id}: replay up to event {self.runs[run_id].seq} does not give the live run's summary")

    def _check_link(self, run_id: str, sealed: SealedEvent) -> None:
        kept = self._sealed[run_id]
        if sealed.seq != len(kept) + 1:
            self.breaks(f"{run_id}: event {sealed.seq} was stored after event {len(kept)}: seq has a gap or a double")
        if sealed.prev_hash != (kept[-1].hash if kept else NO_HASH):
            self.breaks(f"{run_id}: event {sealed.seq} is not chained to the one before")
        if link(sealed.prev_hash, sealed.payload) != sealed.hash:
            self.breaks(f"{run_id}: the hash of event {sealed.seq} is wrong")

    def _check_event(self, before: Run, event: Event) -> None:
        run_id = before.run_id
        undone = before.ended is RunStatus.CANCELLED and isinstance(event.body, ev.RollbackStarted)
        if before.ended in (RunStatus.COMPLETED, RunStatus.CANCELLED) and not undone:
            self.breaks(f"{run_id}: {event.event_type} after the run had {before.ended}")
        self._rollbacks.check(before, event, self.history[run_id])
        self._children.check(before, event)
        match event.body:
            case ev.StepStarted(rollback=True):
                pass
            case ev.StepRolledBack() as body:
                self._check_process(before, body, failed=bool(body.error))
            case ev.ApprovalRequested(step_number=number) if number is not None and before.rollback is None:
                self._check_turn(before, number)
            case ev.StepExpanded() as body:
                self._check_expanded(before, body)
            case ev.StepStarted() as body:
                self._check_started(before, body)
                self._check_room(before, body.step_number)
                self._timed[run_id, body.step_number] = _Timed(self._now_ms(), self._boots)
            case ev.WaitStarted() as body:
                self._check_started(before, body)
                self._timed[run_id, body.step_number] = _Timed(self._now_ms(), self._boots)
            case ev.WaitEnded(step_number=number):
                self._check_time(before, number, before.procedure.step(number).wait_secs, "the wait has ended")
            case ev.StepRetryScheduled(cause=ev.INTERRUPTED) as body:
                self._timed[run_id, body.step_number] = _Timed(self._now_ms(), self._boots)
                self._interruptions.rerun(before, body, self.history[run_id])
            case ev.StepRetryScheduled() as body:
                self._check_scheduled(before, event, body)
            case ev.StepCompleted() | ev.StepFailed() as body:
                self._check_end(before, body)
            case ev.StepInterrupted(step_number=number) as body:
                if self._is_known_well(before, number):
                    self.breaks(f"{run_id}: step {number} is interrupted, and its process is known well")
                self._interruptions.told(before, body)
                if self._was_stopped(before, number) and not self.unread():
                    self._interruptions.stopped(before, body, self.history[run_id])
            case ev.VerificationStarted() as body:
                self._interruptions.begun(before, body, self.history[run_id][-1].body)
                if body.of_report:
                    self._check_room(before, body.step_number, verified=True)
            case ev.VerificationEnded() as body:
                self._interruptions.ended(before, body, self.is_verified(_key(before, body.step_number)))
            case ev.ApprovalVoteRecorded() | ev.ApprovalGranted() as body:
                self._check_vote(before, event, body)
            case ev.ApprovalTimeout() | ev.ApprovalEscalated() as body:
                self._check_silence(before, body)
            case ev.ApprovalReminded(step_number=number):
                self._check_reminder(before, number)
            case ev.RunTimedOut():
                self._check_run_time(before)
            case ev.RunRetried() as body if event.actor.kind is ActorKind.AGENT:
                self._check_agents_retry(before, body)
            case _:
                pass

    def _check_agents_retry(self, before: Run, body: ev.RunRetried) -> None:
        """That no agent brings back what a person has rejected."""
        said_no: dict[StepId, bool] = {}
        for event in self.history[before.run_id]:
            if isinstance(event.body, ev.ApprovalRejected) and event.body.step_number is not None:
                said_no[event.body.step_number] = event.actor.kind is ActorKind.HUMAN
            elif isinstance(event.body, ev.RunRetried):
                said_no = {n: no for n, no in said_no.items() if not _is_retried(before.procedure, event.body, n)}
            elif isinstance(event.body, ev.StepSkipped):
                said_no.pop(event.body.step_number, None)
        for number, no in said_no.items():
            rejected = number in before.steps and before.steps[number].status is StepStatus.REJECTED
            if no and rejected and _is_retried(before.procedure, body, number):
                self.breaks(f"{before.run_id}: an agent brings step {number} back, which a person had rejected")

    def _check_started(self, before: Run, body: ev.StepStarted | ev.WaitStarted) -> None:
        where = f"{before.run_id}: step {body.step_number}"
        step = before.procedure.step(body.step_number)
        if any(not before.steps[other].finished for other in step.depends_on):
            self.breaks(f"{where} started before what it depends on")
        if before.paused or before.pause_requested or before.cancel_requested or before.ended is not None:
            self.breaks(f"{where} started in a run that is paused, being cancelled or ended")
        if any(state.stuck for state in before.steps.values()):
            self.breaks(f"{where} started while another step is stuck")
        if before.run_id in self._out:
            self.breaks(f"{where} started in a run whose time was up")
        if (step.for_each is not None) != bool(instance_of(body.step_number)):
            self.breaks(f"{where} started, and it is no step and no instance of one")
        self._check_turn(before, body.step_number)
        if self._started_since_retry(before, body.step_number):
            self._check_next_try(before, body.step_number)
        if step.condition is not None and not self._condition_held(before, step):
            self.breaks(f"{where} started, and its condition was not found to hold")
        if before.mode is ExecutionMode.SUPERVISED and self._answer(before, None) is None:
            self.breaks(f"{where} started without the start approval")
        if self._gated(before, body.step_number):
            approved = self._answer(before, body.step_number)
            if approved is None:
                self.breaks(f"{where} started without an approval")
            elif approved != body.digest:
                self.breaks(f"{where} started as {body.digest[:12]}, and {approved[:12]} was approved")

    def _check_turn(self, before: Run, number: StepId) -> None:
        """That the step is under way for no more items at once than it says."""
        limit = before.procedure.step(number).max_parallel
        under_way = (StepStatus.RUNNING, StepStatus.WAITING, StepStatus.AWAITING_APPROVAL)
        others = [
            each
            for each, state in before.steps.items()
            if instance_of(each) and number_of(each) == number_of(number) and state.status in under_way
        ]
        if limit is not None and len({*others, number}) > limit:
            self.breaks(f"{before.run_id}: step {number} is under way beside {others}, and {limit} may be")

    def _check_expanded(self, before: Run, body: ev.StepExpanded) -> None:
        where = f"{before.run_id}: step {body.step_number}"
        step = before.procedure.step(body.step_number)
        if any(not before.steps[other].finished for other in step.depends_on):
            self.breaks(f"{where} got its items before what it depends on had ended")
        if isinstance(step.for_each, tuple) and body.items != step.for_each:
            self.breaks(f"{where} is done for {body.items}, and its file says {step.for_each}")
        if any(step_id(step.number, name) in before.steps for name in body.instances):
            self.breaks(f"{where} got its items twice")

    def _check_next_try(self, before: Run, number: StepId) -> None:
        where = f"{before.run_id}: step {number}"
        step = before.procedure.step(number)
        starts, scheduled = 0, None
        for past in reversed(self.history[before.run_id]):
            if isinstance(past.body, ev.RunRetried) and _is_retried(before.procedure, past.body, number):
                break
            if isinstance(past.body, ev.StepRetryScheduled) and past.body.step_number == number:
                scheduled = scheduled or (None if starts else past.body)
            starts += isinstance(past.body, ev.StepStarted) and past.body.step_number == number
        if scheduled is not None and scheduled.cause == ev.INTERRUPTED:
            return  # as often as `InterruptionLaws` allows
        if step.retry is None or scheduled is None:
            self.breaks(f"{where} started again, and nobody had asked for a retry")
        elif starts >= step.retry.max_attempts:
            self.breaks(f"{where} started {starts + 1} times, and {step.retry.max_attempts} were allowed")
        else:
            self._check_time(before, number, scheduled.delay_ms / 1000, "it was tried again")

    def _condition_held(self, run: Run, step: Step) -> bool:
        for event in reversed(self.history[run.run_id]):
            match event.body:
                case ev.RunRetried() as body if _is_retried(run.procedure, body, step.number):
                    return False
                case ev.ConditionEvaluated(step_number=number, condition=ev.IF, result=result) if number == step.number:
                    return result is True
                case _:
                    continue
        return False

    def _check_room(self, before: Run, number: StepId, *, verified: bool = False) -> None:
        limit = before.procedure.max_parallel
        if not (verified or _is_process(before, number)) or _has_room(before):
            return
        what = "verified" if verified else "started"
        self.breaks(f"{before.run_id}: step {number} {what} beside {_at_work(before)}, and {limit} may run at once")

    def _check_scheduled(self, before: Run, event: Event, body: ev.StepRetryScheduled) -> None:
        rules = before.procedure.step(body.step_number).retry
        where = f"{before.run_id}: step {body.step_number}"
        self._timed[before.run_id, body.step_number] = _Timed(self._now_ms(), self._boots)
        last = self.history[before.run_id][-1].body
        if not isinstance(last, ev.StepFailed) or last.step_number != body.step_number:
            self.breaks(f"{where} is to be tried again, and it has not failed")
        elif last.cause == ev.INTERRUPTED:
            self.breaks(f"{where} is to be tried again, and it was interrupted")
        if rules is None or body.attempt > rules.max_attempts:
            self.breaks(f"{where} is to be tried more often than its rules allow")
        elif body.at < event.at:
            self.breaks(f"{where} is to be tried again at a time that has passed")

    def _check_run_time(self, before: Run) -> None:
        """That the time of a run was really over, as long as nothing was restarted."""
        spent = self._spent.get(before.run_id)
        if spent is not None and (missing := spent.missing_ms(self._now_ms(), self._boots)) > 0:
            self.breaks(f"{before.run_id} was ended, and {missing} ms of its time were left beside its pauses")
        begun = self._begun.get(before.run_id)
        if begun is None or begun.boots != self._boots:
            return
        if self._now_ms() - begun.since_ms < (before.procedure.timeout_secs or 0) * 1000:
            self.breaks(f"{before.run_id} was ended before its time was up")

    def _check_time(self, before: Run, number: StepId, seconds: float | None, what: str) -> None:
        """That a time was really over, as long as nothing was restarted."""
        timed = self._timed.get((before.run_id, number))
        if timed is None or seconds is None or timed.boots != self._boots:
            return
        if self._now_ms() - timed.since_ms < seconds * 1000:
            self.breaks(f"{before.run_id}: step {number}: {what} before its time")

    def _started_since_retry(self, run: Run, number: StepId) -> bool:
        for event in reversed(self.history[run.run_id]):
            if isinstance(event.body, ev.RunRetried) and _is_retried(run.procedure, event.body, number):
                return False
            if isinstance(event.body, ev.StepStarted) and event.body.step_number == number:
                return True
        return False

    def _answer(self, run: Run, number: StepId | None) -> str | None:
        """The digest of the approval that covers the next start behind this gate, or None."""
        for event in reversed(self.history[run.run_id]):
            match event.body:
                case ev.RunRetried() as body if number is not None and _is_retried(run.procedure, body, number):
                    return None
                case ev.RunRetried(params=changed) if number is None and changed:
                    return None
                case ev.GateBody(step_number=asked) if asked != number:
                    continue
                case ev.ApprovalGranted(digest=digest):
                    return digest
                case ev.ApprovalTimeout(digest=digest, action=TimeoutAction.APPROVE):
                    return digest
                case ev.GateBody():
                    return None
                case _:
                    continue
        return None

    def _gated(self, run: Run, number: StepId) -> bool:
        """Whether this try takes an approval: by the files, the mode, or because something had changed."""
        history = self.history[run.run_id]
        if run.mode is ExecutionMode.STEP_BY_STEP:
            return True
        if any(isinstance(each.body, ev.ApprovalStale) and each.step_number == number for each in history):
            return True
        return run.procedure.step(number).requires_approval and not self._waived(run, number)

    def _waived(self, run: Run, number: StepId) -> bool:
        """Whether the gate's own condition was found not to hold, since a retry last asked for the step."""
        for event in reversed(self.history[run.run_id]):
            match event.body:
                case ev.RunRetried() as body if _is_retried(run.procedure, body, number):
                    return False
                case ev.ConditionEvaluated(step_number=asked, condition=ev.WHEN, result=result) if asked == number:
                    return result is False
                case _:
                    continue
        return False

    # gates

    def _check_vote(self, before: Run, event: Event, body: ev.ApprovalVoteRecorded | ev.ApprovalGranted) -> None:
        where = f"{before.run_id}: the gate of step {body.step_number}"
        rules = _rules(before.procedure, body.step_number)
        asked, voters, escalated = self._asked(before.run_id, body.step_number)
        needed = rules.quorum or 1
        if asked is None or asked.revision != body.revision:
            self.breaks(f"{where} was answered, and that revision was not asked about")
        if event.actor.id in voters:
            self.breaks(f"{where} counts {event.actor.id} twice")
        given = len({*voters, event.actor.id})
        if isinstance(body, ev.ApprovalGranted) and given != needed:
            self.breaks(f"{where} was passed with {given} of {needed} votes")
        config = self._configs.get(body.signature.config_digest if body.signature else "")
        if config is None:
            self.breaks(f"{where} was answered without a signature that names a config.json")
        elif not _may_agree(event.actor, before.created_by, rules, config, escalated=escalated) or (
            event.actor.kind is ActorKind.AGENT and self._worked(before.run_id, event.actor)
        ):
            self.breaks(f"{where} was passed by {event.actor}, who may not")

    def _worked(self, run_id: str, actor: Actor) -> bool:
        """Whether somebody of this name has reported a step of the run."""
        told = (event for event in self.history[run_id] if isinstance(event.body, ev.StepReported))
        return any(event.actor.id == actor.id for event in told)

    def _asked(self, run_id: str, number: StepId | None) -> tuple[ev.ApprovalRequested | None, list[str], bool]:
        """The latest question at this gate, who has agreed since, and whether it was handed on."""
        voters: list[str] = []
        escalated = False
        for event in reversed(self.history[run_id]):
            if not isinstance(event.body, ev.GateBody) or event.body.step_number != number:
                continue
            match event.body:
                case ev.ApprovalRequested() as asked:
                    return asked, voters, escalated
                case ev.ApprovalVoteRecorded():
                    voters.append(event.actor.id)
                case ev.ApprovalEscalated():
                    escalated = True
                case _:
                    continue
        return None, voters, escalated

    def _check_silence(self, before: Run, body: ev.ApprovalTimeout | ev.ApprovalEscalated) -> None:
        where = f"{before.run_id}: the gate of step {body.step_number}"
        asked, _, _ = self._asked(before.run_id, body.step_number)
        action = TimeoutAction.ESCALATE if isinstance(body, ev.ApprovalEscalated) else body.action
        if asked is None or asked.on_timeout is not action:
            self.breaks(f"{where} met its deadline with {action}, which nobody had named")
        wait = self._waits.get((before.run_id, body.step_number))
        if wait is not None and (missing := wait.missing_ms(self._now_ms(), self._boots)) > 0:
            self.breaks(f"{where} was settled by a jump of the wall clock, {missing} ms too early")

    def _check_reminder(self, before: Run, number: StepId | None) -> None:
        """That people are reminded as often as the file says, and never before the first time for it."""
        where = f"{before.run_id}: the gate of step {number}"
        self._reminded[before.run_id, number] += 1
        wanted = _rules(before.procedure, number).remind_after_mins
        if self._reminded[before.run_id, number] > len(wanted):
            self.breaks(f"{where} reminded people {self._reminded[before.run_id, number]} times, and not {len(wanted)}")
        wait = self._waits.get((before.run_id, number))
        if wait is None or not wanted or not wait.is_known(self._boots):
            return
        if (missing := wanted[0] * 60_000 - wait.spent_ms(self._now_ms()) - wait.tolerance_ms) > 0:
            self.breaks(f"{where} reminded people {missing} ms too early")

    def _check_reminded(self, run: Run, number: StepId | None) -> None:
        """That somebody who looks at an open gate tells people of it, once it is time."""
        wanted = _rules(run.procedure, number).remind_after_mins
        wait = self._waits.get((run.run_id, number))
        if wait is None or not wanted or not wait.is_known(self._boots) or self._reminded[run.run_id, number]:
            return
        if self._asked(run.run_id, number)[2] or run.rollback is not None:
            return
        if wait.spent_ms(self._now_ms()) > wanted[0] * 60_000 + wait.tolerance_ms:
            self.breaks(f"{run.run_id}: the gate of step {number} waits, and nobody was reminded of it")

    def _time_gates(self, run_id: str, event: Event) -> None:
        match event.body:
            case ev.ApprovalRequested(step_number=number, due_at=due_at):
                wanted = None if due_at is None else round((due_at - event.at).total_seconds() * 1000)
                self._waits[run_id, number] = _Wait(wanted, self._now_ms(), self._boots)
                self._reminded[run_id, number] = 0
            case ev.RunPauseRequested() | ev.RunPaused() | ev.RunCancelRequested():
                for wait in self._waits_of(run_id):
                    wait.stop(self._now_ms(), self._boots)
            case ev.RunResumed() | ev.RunRetried():
                for wait in self._waits_of(run_id):
                    wait.start(self._now_ms(), self._boots)
            case _:
                pass

    def _time_run(self, before: Run | None, event: Event) -> None:
        ended = before is not None and before.ended is not None
        match event.body:
            case ev.RunStarted():
                self._begin_time(event.run_id)
            case ev.RunTimedOut():
                self._out.add(event.run_id)
            case ev.RunRetried() | ev.RunResumed() if ended:
                self._out.discard(event.run_id)
                self._begin_time(event.run_id)
            case ev.RunRetried() | ev.RunResumed() if event.run_id in self._spent:
                self._spent[event.run_id].go_on(self._now_ms(), self._boots)
            case ev.RunPaused():
                self._begun[event.run_id] = None
                if event.run_id in self._spent:
                    self._spent[event.run_id].stop(self._now_ms(), self._boots)
            case _:
                pass

    def _begin_time(self, run_id: str) -> None:
        self._begun[run_id] = _Timed(self._now_ms(), self._boots)
        seconds = self.runs[run_id].procedure.timeout_secs
        wanted_ms = None if seconds is None else round(seconds * 1000)
        self._spent[run_id] = _Wait(wanted_ms, self._now_ms(), self._boots)

    def _waits_of(self, run_id: str) -> list[_Wait]:
        return [wait for (waiting, _), wait in self._waits.items() if waiting == run_id]

    def _check_end(self, before: Run, body: ev.StepCompleted | ev.StepFailed) -> None:
        state = before.steps[body.step_number]
        if isinstance(body, ev.StepFailed) and body.cause == "timeout" and not before.timed_out:
            self._check_time(before, state.number, before.procedure.step(state.number).timeout_secs, "it was ended")
        self._interruptions.settled(before, body, self.history[before.run_id][-1].body)
        left = [each for each in state.instances or () if not before.steps[each].finished]
        if left:
            self.breaks(f"{before.run_id}: step {state.number} has ended, and {left} have not")
        if before.procedure.step(state.number).executor == "shell" and state.status is StepStatus.RUNNING:
            self._check_process(before, body, failed=isinstance(body, ev.StepFailed))

    def _check_process(self, before: Run, body: ev.StepEnd, *, failed: bool) -> None:
        """That a step has ended as its process did."""
        key = _key(before, body.step_number)
        where = f"{before.run_id}: step {body.step_number}"
        if before.steps[body.step_number].verifying:
            self.breaks(f"{where} has ended, and it is being verified")
        if isinstance(body, ev.StepRolledBack) and body.cause == "interrupted":
            if self._is_known_well(before, body.step_number):
                self.breaks(f"{where}: its rollback is told as lost, and its process is known well")
            return
        if self._was_stopped(before, body.step_number):
            self.breaks(f"{where} was ended because somebody stopped the run, and is told otherwise")
        if key not in self._world.results or key in self._world.lost:
            self.breaks(f"{where} has ended, and its process never did")
        elif self.is_running(key):
            self.breaks(f"{where} has ended, and its process still runs")
        elif bool(self._world.results[key].error) != failed:
            self.breaks(f"{where} has ended otherwise than its process")

    def _is_known_well(self, before: Run, number: StepId) -> bool:
        """Whether its process has told how it ended, and was not ended by a stop."""
        key = _key(before, number)
        known = key in self._launched and key not in self._world.lost and not self.unread()
        return known and not self._was_stopped(before, number)

    def _was_stopped(self, before: Run, number: StepId) -> bool:
        """Whether its process was ended because somebody had stopped the run, and not for another reason."""
        key = _key(before, number)
        if before.cancel_requested or before.timed_out or key in self._world.lost or key not in self._launched:
            return False
        ended = self._world.results.get(key) is STOPPED and not self.is_running(key)
        return ended and is_stopping(self.history[before.run_id])

    def _check_after(self, after: Run, event: Event) -> None:
        if isinstance(event.body, ev.RunCancelled):
            left = [key for key in self._launched if key[0] == after.run_id and self.is_running(key)]
            left += [key for key in self._verified if key[0] == after.run_id and self.is_verified(key)]
            if left:
                self.breaks(f"{after.run_id} is cancelled, and {left} still run")
        interrupted = [s.number for s in after.steps.values() if s.status is StepStatus.INTERRUPTED]
        if interrupted and event.body.__class__ is ev.RunCompleted:
            self.breaks(f"{after.run_id} is completed, and steps {interrupted} are interrupted")

    # processes

    def _is_busy(self, run_id: str) -> bool:
        """Whether a process of this run is alive now."""
        return any(key[0] == run_id and self.is_running(key) for key in self._launched)

    def is_running(self, key: Key) -> bool:
        """Whether the process of this attempt is alive now."""
        ends_at = self._world.finish_at.get(key, 0)
        return key not in self._world.lost and (ends_at is None or ends_at > self._now_ms())

    def is_verified(self, key: Key) -> bool:
        """Whether the process that verifies this attempt is alive now."""
        checks = self._world.checks
        ends_at = checks.finish_at.get(key, 0)
        return key not in checks.lost and (ends_at is None or ends_at > self._now_ms())

    def _check_verification(self, order: WorkOrder) -> None:
        """The process of a verification begins: once, after its intent, in the same boot, and as it was approved."""
        key = key_of(order)
        self.note("verify", key, self._now_ms())
        self._verified[key] += 1
        where = f"{order.run_id}: the verification of attempt {key[1:]}"
        self._checked[key, order.verifies] += 1
        if self._checked[key, order.verifies] > 1:
            self.breaks(f"{where} was launched {self._checked[key, order.verifies]} times")
        run = self.runs[order.run_id]
        told = [
            event.body
            for event in self.history[order.run_id]
            if isinstance(event.body, ev.VerificationStarted)
            and (event.body.step_number, event.body.visit, event.body.attempt) == key[1:]
        ]
        if not told:
            self.breaks(f"{where} was launched without a verification_started before it")
        elif not run.steps[key[1]].verifying or _key(run, key[1]) != key:
            self.breaks(f"{where} was launched after it had ended")
        elif told[-1].boot_id != order.this_boot:
            self.breaks(f"{where} was launched after a restart, and nobody can know whether it was before")
        elif self._gated(run, key[1]):
            approved = msgspec.json.decode(self._store.content(told[-1].digest) or b"{}")
            script = order.step.script.text if order.step.script else ""
            shown = approved.get("verify", {}).get("script") or f"{approved.get('on_interrupt', {}).get('command')}\n"
            passed = {name: conceal(order.environment[name]) for name in approved.get("passed", {})}
            if script != shown or passed != approved.get("passed"):
                self.breaks(f"{where} was launched with another command or environment than was approved")

    def launched(self, order: WorkOrder, driver: Process | None) -> None:
        """A process begins: of a step, or of its verification."""
        if order.verifies:
            self._check_verification(order)
            return
        key = key_of(order)
        self.note("launch", key, self._now_ms())
        self._launched[key] += 1
        where = f"{order.run_id}: attempt {key[1:]}"
        if self._launched[key] > 1:
            self.breaks(f"{where} was launched {self._launched[key]} times")
        run = self.runs[order.run_id]
        started = [
            event.body
            for event in self.history[order.run_id]
            if isinstance(event.body, ev.StepStarted)
            and (event.body.step_number, event.body.visit, event.body.attempt) == key[1:]
        ]
        if started and started[0].boot_id != order.this_boot:
            self.breaks(f"{where} was launched after a restart, and nobody can know whether it was before")
        if not started:
            self.breaks(f"{where} was launched without a step_started before it")
        elif run.steps[key[1]].status is not StepStatus.RUNNING or _key(run, key[1]) != key:
            self.breaks(f"{where} was launched after its step had ended")
        elif driver is not None and driver.drives == order.run_id and _knew_of_an_end(driver, order.run_id):
            self.breaks(f"{where} was launched by a driver that knew that nothing more was to start")
        elif not started[0].rollback and self._gated(run, key[1]):
            self._check_bytes(where, order, started[0].digest)

    def _check_bytes(self, where: str, order: WorkOrder, digest: str) -> None:
        approved = msgspec.json.decode(self._store.content(digest) or b"{}")
        runs = {
            "script": order.step.script.text if order.step.script else None,
            "parameters": msgspec.json.decode(order.parameters_json),
            "passed": {name: conceal(order.environment[name]) for name in approved.get("passed", {})},
            "visit": order.visit,
            "instance": order.instance,
        }
        for name, value in runs.items():
            if approved.get(name) != value:
                self.breaks(f"{where} was launched with another {name} than was approved")

    # drivers

    def claimed(self, process: Process, claim: Claim) -> None:
        """A process got the right to drive a run."""
        held = self._drivers.get(claim.run_id)
        if held is not None and held[1].alive and not held[1].superseded:
            self.breaks(f"{claim.run_id}: {process.name} may drive it, and {held[1].name} does")
        if claim.epoch <= self._epochs[claim.run_id]:
            self.breaks(f"{claim.run_id}: claim {claim.epoch} came after claim {self._epochs[claim.run_id]}")
        self._epochs[claim.run_id] = claim.epoch
        self._drivers[claim.run_id] = (claim, process)

    def released(self, claim: Claim) -> None:
        """A driver gave its right back."""
        held = self._drivers.get(claim.run_id)
        if held is not None and held[0] == claim:
            del self._drivers[claim.run_id]

    def let_go(self, process: Process) -> None:
        """A living driver has returned."""
        held = self.held_by(process)
        if held and not process.superseded:
            self.breaks(f"{process.name} has returned, and still holds {held}")

    def held_by(self, process: Process) -> list[str]:
        return [run_id for run_id, (_, driver) in self._drivers.items() if driver is process]

    def _check_writer(self, process: Process, run_id: str, batch: Batch, claim: Claim | None) -> None:
        if claim is None:
            if not self._children.may_be_told(self.runs[run_id], batch):
                self.breaks(f"{run_id}: the driver {process.name} wrote without a claim")
        elif claim.epoch != self._epochs[run_id]:
            self.breaks(f"{run_id}: {process.name} wrote under claim {claim.epoch} after claim {self._epochs[run_id]}")

    # the end

    def check_driven(self, run: Run) -> None:
        """What a driver returned is what the events say."""
        if self._states[run.run_id][run.seq - 1] != run:
            self.breaks(f"{run.run_id}: the driver's run at event {run.seq} differs from its replay")

    def check_overdue(self, run_id: str, now: datetime) -> None:
        """Somebody has just looked at the run: nothing in it waits whose time had come, by the events alone."""
        run = self.runs[run_id]
        if run.ended is not None or run.queued or run.paused or run.pause_requested or run.cancel_requested:
            return
        for number, gate in open_gates(run):
            self._check_reminded(run, number)
            if gate.due_at is not None and gate.due_at < now - _SLACK:
                self.breaks(f"{run_id}: the gate of step {number} waits, and its deadline was {gate.due_at}")
        if run.rollback is not None or run.timed_out:
            return
        for step in run.steps.values():
            limit = run.procedure.step(step.number).timeout_secs
            timed = self._timed.get((run_id, step.number))
            if step.status is not StepStatus.RUNNING or limit is None or timed is None or timed.boots != self._boots:
                continue
            if step.to_verify and not _has_room(run):
                continue  # a report is verified before the time of its step ends it, and that waits for its turn
            if step.stopped is None and step.held == UNHELD and self._now_ms() - timed.since_ms > limit * 1000 + 5000:
                self.breaks(f"{run_id}: step {step.number} still runs, and its time was up")
        begun = self._begun.get(run_id)
        limit = run.procedure.timeout_secs
        if begun is None or limit is None or begun.boots != self._boots or run.start_void:
            return
        if self._now_ms() - begun.since_ms > limit * 1000 + 5000:
            self.breaks(f"{run_id} goes on, and its time was up")

    def may_begin(self, run: Run, now: datetime) -> bool:
        """Whether the run waits for a slot, and nothing stands in its way."""
        return self._limits.may_begin(run, now)

    def check_children(self) -> None:
        """All is quiet, and whoever should have been told of a child run has been."""
        self._children.check_known()

    def check_record(self) -> None:
        """All that was acknowledged is there, and all that is there is sound."""
        for run_id, sealed in self._sealed.items():
            if not self._replays(run_id, sealed):
                self.breaks(f"{run_id}: what is stored does not replay to the run as it was seen")
            if list(self._store.events(run_id)) != sealed:
                self.breaks(f"{run_id}: the stored events are not those that were appended")
        for run_id, one in self._acknowledged:
            if one not in self._store.events(run_id, one.seq - 1)[:1]:
                self.breaks(f"{run_id}: event {one.seq} was acknowledged, and is gone")
        for trouble in self._store.check():
            self.breaks(f"the store is damaged: {trouble}")

    def _replays(self, run_id: str, sealed: list[SealedEvent]) -> bool:
        try:
            found = replay(self._procedures[run_id], [decode_event(each.payload) for each in sealed])
        except (ValueError, AssertionError):
            return False
        return found == self.runs[run_id]


class _Timed(msgspec.Struct, frozen=True):
    """When the present try of a step, or its wait, began, and how often the machine had been restarted by then."""

    since_ms: int
    boots: int


class _Wait:
    """How long people really had to answer one gate, or a run to end, as long as nothing was restarted."""

    def __init__(self, wanted_ms: int | None, now_ms: int, boots: int) -> None:
        self._wanted_ms = wanted_ms
        self._spent_ms = 0
        self._since: int | None = now_ms
        self._boots = boots
        self._restarted = False
        self._pauses = 1

    def stop(self, now_ms: int, boots: int) -> None:
        if self._since is not None:
            self._spent_ms += now_ms - self._since
            self._restarted |= boots != self._boots
            self._since = None

    def start(self, now_ms: int, boots: int) -> None:
        if self._since is None:
            self._since, self._boots = now_ms, boots
            self._pauses += 1

    def go_on(self, now_ms: int, boots: int) -> None:
        """The same where it all counts from one reading of the boot clock, which a restart has made useless."""
        self._restarted |= boots != self._boots
        self.start(now_ms, boots)

    def missing_ms(self, now_ms: int, boots: int) -> int:
        """By how much it was too short, beyond what the wall clock may be ahead each time it runs."""
        if self._wanted_ms is None or not self.is_known(boots):
            return 0
        return self._wanted_ms - self.spent_ms(now_ms) - self.tolerance_ms

    def is_known(self, boots: int) -> bool:
        """Whether it runs now, and nothing was restarted."""
        return not self._restarted and self._since is not None and boots == self._boots

    def spent_ms(self, now_ms: int) -> int:
        """How long it has run by now."""
        return self._spent_ms + (0 if self._since is None else now_ms - self._since)

    @property
    def tolerance_ms(self) -> int:
        """What the wall clock may be ahead, each time it runs."""
        return _TOLERANCE_MS * self._pauses


def _rules(procedure: Procedure, number: StepId | None) -> ApprovalRules:
    own = None if number is None else procedure.step(number).approval
    return own or procedure.approval or ApprovalRules()


def _may_agree(actor: Actor, starter: Actor, rules: ApprovalRules, config: Config, *, escalated: bool) -> bool:
    """Whether this one's vote counts, by the words of decision 0008."""
    own = actor.id == starter.id
    listed = {*rules.approvers, *(rules.escalate_to if escalated and rules.approvers else ())}
    if actor.kind is ActorKind.AGENT:
        return f"agent:{actor.id}" in listed and not own
    if actor.kind is not ActorKind.HUMAN:
        return False
    free = not rules.approvers and rules.quorum is None
    if own and not (free if rules.allow_self_approval is None else rules.allow_self_approval):
        return False
    groups = {f"group:{name}" for name, members in config.groups.items() if actor.id in members}
    return not rules.approvers or bool(listed & {f"user:{actor.id}", *groups})


def conceal(value: str) -> str:
    """What the simulator's keyring makes of a secret."""
    return sha256(b"simulated\0" + value.encode()).hexdigest()


def _key(run: Run, number: StepId) -> Key:
    state = run.steps[number]
    return (run.run_id, number, state.visit, state.attempt)


def _knew_of_an_end(driver: Process, run_id: str) -> bool:
    known = driver.knew.get(run_id)
    return known is not None and _stops(known)


def _stops(run: Run) -> bool:
    out_of_time = run.timed_out and run.rollback is None
    return run.pause_requested or run.paused or run.cancel_requested or out_of_time or run.ended is not None


def _is_retried(procedure: Procedure, body: ev.RunRetried, number: StepId) -> bool:
    """Whether a retry asked for the step again; with a step all its instances."""
    again = from_here_on(procedure, body.from_step) if body.from_step is not None else frozenset()
    return not {number, number_of(number)}.isdisjoint({*body.steps, *again, *body.again})


def _is_process(run: Run, number: StepId) -> bool:
    """Whether a process carries the step out, or a run of its own does."""
    return run.procedure.step(number).executor not in ("manual", "wait")


def _at_work(run: Run) -> list[StepId]:
    """The steps that take a place of `maxParallel`: a script, an agent, a child run, or what verifies a report."""
    running = (number for number, step in run.steps.items() if step.status is StepStatus.RUNNING)
    return [number for number in running if _is_process(run, number) or run.steps[number].verifying]


def _has_room(run: Run) -> bool:
    limit = run.procedure.max_parallel
    return limit is None or len(_at_work(run)) < limit
