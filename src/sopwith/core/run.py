"""The state of a run, as replaying its events gives it, and what can be read off it.

`evolve.py` makes these values; `moves.py` decides on them. Nothing here is stored: the events are.

Longer than other files: one state, whose every field says what it means, and the questions that are asked of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId, number_of
from sopwith.core.agents import AgentCommand
from sopwith.core.approval import FormValue, TimeoutAction
from sopwith.core.events import Evidence, ParamValue, ParentRun, Policy, Used
from sopwith.core.instant import UNHELD, Held, Instant, duration_text, elapsed_ms, lived_ms, whole_ms
from sopwith.core.procedure import ExecutionMode, Procedure
from sopwith.core.request import Carried


class RunStatus(StrEnum):
    PENDING = "pending"
    WAITING_APPROVAL = "waiting_approval"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class StepStatus(StrEnum):
    PENDING = "pending"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    WAITING = "waiting"
    """For the time of a wait, or of its next try."""
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"
    """It was completed, and its rollback script has undone it."""


_WAITS = (RunStatus.WAITING_APPROVAL, RunStatus.AWAITING_APPROVAL, RunStatus.PAUSED)
"""A child run that stands so waits for a person."""
_TELLING = (
    StepStatus.FAILED,
    StepStatus.INTERRUPTED,
    StepStatus.REJECTED,
    StepStatus.RUNNING,
    StepStatus.WAITING,
    StepStatus.AWAITING_APPROVAL,
    StepStatus.ROLLED_BACK,
)
_UNDER_WAY = StepStatus.RUNNING


STEP_STATUSES = frozenset(status.value for status in StepStatus)


class GateStatus(StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    """Its time ran out; `on_timeout` says what that did."""
    CLOSED = "closed"


class Vote(msgspec.Struct, frozen=True):
    """Somebody who agreed, while more must."""

    actor: Actor
    at: datetime
    comment: str = ""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a gate. `left_ms` is set while a pause has stopped its clock."""

    revision: int
    status: GateStatus
    digest: str
    nonce: str = ""
    requested_at: datetime
    rollback: bool = False
    """It asks for the step's rollback, not for the step."""
    due_at: datetime | None = None
    on_timeout: TimeoutAction | None = None
    left_ms: int | None = None
    remind_at: tuple[datetime, ...] = ()
    """Reminders that have not been given, ascending."""
    remind_left_ms: tuple[int, ...] = ()
    clock: Instant | None = None
    """When its clock last started, by both clocks; None while a pause has stopped it."""
    escalated: bool = False
    votes: tuple[Vote, ...] = ()
    form: dict[str, FormValue] = msgspec.field(default_factory=dict)
    """What approvers filled in."""
    decided_at: datetime | None = None
    decided_by: Actor | None = None
    comment: str = ""

    @property
    def passed(self) -> bool:
        """Whether the step behind it may start."""
        if self.status is GateStatus.TIMED_OUT:
            return self.on_timeout is TimeoutAction.APPROVE
        return self.status is GateStatus.APPROVED


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """A command that finds out whether an attempt has done its work. `outcome` empty: it still runs."""

    command: str
    started: Instant
    limit_ms: int
    of_report: bool = False
    """Of a report that the step is done, not of an attempt that was interrupted."""
    outcome: str = ""
    exit_code: int | None = None
    output: str = ""
    because: str = ""
    """Why a person decides all the same."""


class StepState(msgspec.Struct, frozen=True, kw_only=True):
    """`attempt` counts starts within a visit; `gate` is the latest revision and outlives its answer.

    A step that is done for each of several items has a state for each instance beside its own, which is pending
    until all of them are finished.
    """

    number: StepId
    """The address: `3:eu` for an instance."""
    place: int = 0
    """Of an instance among those of its step, from 1."""
    item: Any = None
    """What an instance is done for."""
    instances: tuple[StepId, ...] | None = None
    """The instances of the step, once its items are known."""
    former: dict[StepId, StepState] = msgspec.field(default_factory=dict)
    """Its instances of earlier visits, as they would begin now: should one of them come back, it counts on."""
    status: StepStatus = StepStatus.PENDING
    visit: int = 1
    attempt: int = 0
    gate: Gate | None = None
    tries: int = 0
    """Starts since a person last asked for the step: what automatic retries are counted by."""
    reruns: int = 0
    """How often it was run again by itself after an interruption, in this visit."""
    verification: Verification | None = None
    """Of the present attempt, once it was interrupted, or reported done."""
    verifications: int = 0
    """How many of them the present attempt has had: several reports may come before one is believed."""
    to_verify: bool = False
    """It was reported done, and the report is to be verified."""
    wake_at: datetime | None = None
    """When a wait ends, or the next try begins."""
    resting: tuple[Instant, int] | None = None
    """Since when the step rests before its next try, and for how many milliseconds."""
    condition_held: bool | None = None
    """What the step's own condition came to; None: not asked yet."""
    condition_unknown: bool = False
    """It could not be evaluated; a person skips the step, or resumes to ask again."""
    completed_seq: int = 0
    """The event that completed it: a rollback takes the last one first."""
    rollback_begun: bool = False
    """Its rollback was started, so whatever it did no longer counts."""
    passed_over: bool = False
    """It failed or was rejected, and the procedure goes on all the same."""
    ends_run: bool = False
    """It was rejected, and the run fails by that."""
    waived: bool = False
    """The gate's own condition said that nobody need be asked, this time."""
    gate_void: bool = False
    """The latest revision no longer counts: the next start asks again with a new one."""
    must_ask: bool = False
    """What would have run was not what the start of the run covered: the step asks, though nobody gated it."""
    digest: str = ""
    """The envelope that was started."""
    child: str = ""
    """The run that carries the step out, or did, where a procedure does."""
    child_seq: int = 0
    """How many events it had when the present attempt was started."""
    child_standing: RunStatus | None = None
    """How it rests; None: it has something to do."""
    agent: str = ""
    """Whose `command` carries the step out, or did, where an agent's does."""
    command: tuple[str, ...] = ()
    started: Instant | None = None
    stopped: Instant | None = None
    """Since when a pause has stopped the clock of a step that is carried out by hand."""
    held: Held = UNHELD
    """How long pauses have stopped it, in the present attempt."""
    ended_at: datetime | None = None
    duration_ms: int | None = None
    exit_code: int | None = None
    output: str = ""
    outputs: dict[str, Any] = msgspec.field(default_factory=dict)
    outputs_bytes: int = 0
    """Of an instance: how long its outputs are as JSON."""
    error: str = ""
    comment: str = ""
    evidence: tuple[Evidence, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether what depends on this step may go on."""
        return self.status in (StepStatus.COMPLETED, StepStatus.SKIPPED) or self.passed_over

    @property
    def stuck(self) -> bool:
        """Whether a person must resolve this step before the run goes on."""
        stuck = (StepStatus.FAILED, StepStatus.REJECTED, StepStatus.INTERRUPTED)
        return self.status in stuck and not self.passed_over

    @property
    def verifying(self) -> bool:
        """Whether the process that runs is not the step's own, but the one that verifies it."""
        found = self.verification
        return self.status is StepStatus.RUNNING and found is not None and not found.outcome

    @property
    def gate_open(self) -> bool:
        return self.gate is not None and self.gate.status is GateStatus.OPEN

    @property
    def gate_passed(self) -> bool:
        return self.gate is not None and self.gate.passed and not self.gate_void

    @property
    def rollback_approved(self) -> bool:
        """Whether a gate that asked for the step's rollback was passed."""
        return self.gate is not None and self.gate.rollback and self.gate_passed

    @property
    def approval_values(self) -> dict[str, FormValue]:
        """What the approvers of this step filled in; nothing until its gate is passed."""
        return self.gate.form if self.gate is not None and self.gate_passed else {}


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """A rollback that goes on. `left` are the steps still to come, the present one first.

    `ends`: failed or cancelled, as the run ends after it. `before`: why the run had ended, in words.
    """

    left: tuple[StepId, ...]
    ends: RunStatus
    reason: str = ""
    before: str = ""
    failed: tuple[StepId, ...] = ()
    """Steps whose rollback script failed, or nobody knows how it ended."""
    declined: tuple[StepId, ...] = ()
    """Steps whose rollback was not approved."""

    def without(self, number: StepId) -> Rollback:
        """The rollback when this step is over."""
        return msgspec.structs.replace(self, left=tuple(other for other in self.left if other != number))


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run after event `seq`. `ended` is completed, cancelled or failed; failed can be retried."""

    procedure: Procedure
    procedure_digest: str
    run_id: str
    seq: int
    mode: ExecutionMode
    params: dict[str, ParamValue]
    environment: dict[str, str]
    umask: int
    policy: Policy
    uses: dict[str, Used]
    parent: ParentRun | None
    trigger: str
    passed: dict[str, str]
    pins: dict[str, dict[str, str]]
    folders: dict[str, str]
    created_at: datetime
    created_by: Actor
    updated_at: datetime
    steps: dict[StepId, StepState]
    """By address, in the order of the procedure; instances come after their step."""
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    """What parameters of type secret were when these were chosen: name -> HMAC; without those that were not there."""
    agents: dict[str, AgentCommand] = msgspec.field(default_factory=dict)
    """The commands that were to carry steps out when the run was created, by the agents' names."""
    concurrency_group: str = ""
    event_digest: str = ""
    """The SHA-256 of the event that started it; empty where none did."""
    event: Mapping[str, Any] | None = None
    """That event, as whoever loaded the run has read it. It came from outside: data, never an instruction."""
    start_gate: Gate | None = None
    queued: bool = False
    started_at: datetime | None = None
    start_void: bool = False
    """It was started with other parameters, and these have not been approved."""
    ended: RunStatus | None = None
    ended_at: datetime | None = None
    executed: bool = False
    """Whether any step was ever started: what the cooldown counts from."""
    nothing_ran: bool = False
    with_failures: bool = False
    rollback: Rollback | None = None
    rolled_back: bool = False
    """It ended, and a rollback was carried to its end before that."""
    rollback_failed: tuple[StepId, ...] = ()
    not_rolled_back: tuple[StepId, ...] = ()
    """Steps that the rollback was to undo and did not try to."""
    paused: bool = False
    pause_cause: str = ""
    pause_requested: bool = False
    stopping: str = ""
    """Who asked that the running processes be ended before the pause, in words; empty: nobody did."""
    cancel_requested: bool = False
    reason: str = ""
    """Why it paused, failed or was cancelled, in words."""
    followers: dict[int, tuple[int, ...]] = msgspec.field(default_factory=dict)
    """Step -> the steps that name it as what they depend on."""
    clock: Instant | None = None
    """When the time of the run began to count: at its start, or when it was last brought back after its end."""
    stopped: Instant | None = None
    """Since when a pause has stopped that clock."""
    held: Held = UNHELD
    """How long pauses have stopped it."""
    timed_out: bool = False
    """Its time was up, and nobody has brought it back since."""
    frontier: tuple[StepId, ...] = ()
    """The steps that anything can be about: not finished, and begun or with all done that they depend on. Ascending.

    Of a step that is done for each of several items its instances, once there are any.

    Kept along by `evolve`, so that planning costs as much as there is to do, however long the procedure is.
    """
    expanded: dict[int, int] = msgspec.field(default_factory=dict)
    """The steps that have instances and are not finished: how many of the instances are not."""
    begun: tuple[StepId, ...] = ()
    """Those of the frontier that are not just pending: few, however many may be about to begin."""
    left: int = 0
    """How many steps are not finished."""
    requests: dict[str, Carried] = msgspec.field(default_factory=dict)
    """What callers asked for under names of their own, by key."""
    decided_in: frozenset[str] = frozenset()
    """The runs of whose steps a process has made this run, or decided about it."""
    reporters: frozenset[str] = frozenset()
    """Who has reported a step of it, by id."""

    @property
    def name(self) -> str:
        return self.procedure.name

    @property
    def live(self) -> list[StepState]:
        """The states of the steps of the frontier."""
        return [self.steps[number] for number in self.frontier]

    @property
    def under_way(self) -> list[StepState]:
        """The states of those of the frontier that are not just pending."""
        return [self.steps[number] for number in self.begun]


def asks_items(run: Run, step: StepState) -> bool:
    """Whether the step is to be done for each of several items, and has no instances yet."""
    stated = run.procedure.step(step.number).for_each
    return stated is not None and isinstance(step.number, int) and step.instances is None


def is_manual(run: Run, number: StepId) -> bool:
    """Whether a person or agent carries the step out, so that no process of ours runs. Nobody does a rollback.

    While a report is verified, a process of ours does run.
    """
    by_hand = run.procedure.step(number).executor == "manual"
    return run.rollback is None and by_hand and not run.steps[number].verifying


def is_wait(run: Run, number: StepId) -> bool:
    """Whether the step only waits for a time."""
    return run.rollback is None and run.procedure.step(number).executor == "wait"


def is_child(run: Run, number: StepId) -> bool:
    """Whether a run of its own carries the step out. A script does a rollback."""
    return run.rollback is None and run.procedure.step(number).uses is not None


def takes_a_process(run: Run, number: StepId) -> bool:
    """Whether carrying the step out means a process of ours, or several: those of a child run."""
    runs = run.procedure.step(number).executor not in ("manual", "wait")
    return run.rollback is not None or runs or run.steps[number].verifying


def running_processes(run: Run) -> tuple[StepId, ...]:
    """The steps that a process of ours is carrying out."""
    return tuple(s.number for s in run.under_way if s.status is StepStatus.RUNNING and takes_a_process(run, s.number))


def awaits_report(run: Run, step: StepState) -> bool:
    """Whether somebody is to carry the step out, and has not reported it done."""
    return step.status is StepStatus.RUNNING and is_manual(run, step.number) and not step.to_verify


def busy_processes(run: Run) -> tuple[StepId, ...]:
    """Those of the running processes that a pause waits for: not a child run that rests."""
    return tuple(number for number in running_processes(run) if run.steps[number].child_standing is None)


def children(run: Run) -> tuple[StepState, ...]:
    """The steps that a child run is carrying out."""
    return tuple(
        step for step in run.under_way if step.status is StepStatus.RUNNING and step.child and run.rollback is None
    )


def status_of(run: Run) -> RunStatus:
    """The first that holds (DESIGN section 4)."""
    if run.ended is not None:
        return run.ended
    if run.queued:
        return RunStatus.PENDING
    if run.start_gate is not None and run.start_gate.status is GateStatus.OPEN:
        return RunStatus.PAUSED if run.paused else RunStatus.WAITING_APPROVAL
    if (run.cancel_requested or is_running_out(run)) and running_processes(run):
        return RunStatus.RUNNING  # what runs within it is to be ended, however that rests
    if run.paused:
        return RunStatus.PAUSED
    if run.rollback is not None:
        return RunStatus.AWAITING_APPROVAL if open_gates(run) else RunStatus.RUNNING
    waits = {step.status is StepStatus.AWAITING_APPROVAL or step.child_standing in _WAITS for step in run.under_way}
    busy = any(
        step.status is StepStatus.WAITING or (step.status is StepStatus.RUNNING and step.child_standing not in _WAITS)
        for step in run.under_way
    )
    if not busy and True in waits and not _startable(run):
        return RunStatus.AWAITING_APPROVAL
    return RunStatus.RUNNING


def may_start(run: Run) -> bool:
    """Whether steps may start: execution has begun, with the parameters that the run has now."""
    return run.started_at is not None and not run.start_void


def is_final(run: Run) -> bool:
    """Whether nothing goes on from here. A failed run can be retried; what was done can be rolled back."""
    return run.ended in (RunStatus.COMPLETED, RunStatus.CANCELLED)


def is_failing(run: Run) -> bool:
    """Whether a step is stuck, or the run's time is up, while others still run."""
    stuck = run.timed_out or any(step.stuck for step in run.under_way)
    return run.ended is None and run.rollback is None and not run.paused and stuck


def starts_nothing(run: Run) -> bool:
    """Whether no step may start and no gate open: a pause or cancel was asked, a step is stuck, or the time is up."""
    stuck = run.rollback is None and (run.timed_out or any(step.stuck for step in run.under_way))
    return run.pause_requested or run.cancel_requested or stuck


def current_step(run: Run) -> int:
    """The lowest active step, else the next one, else the number of steps; in a rollback, the one that is undone."""
    if run.rollback is not None and run.rollback.left:
        return number_of(run.rollback.left[0])
    active = (StepStatus.RUNNING, StepStatus.WAITING, StepStatus.AWAITING_APPROVAL)
    for step in run.under_way:
        if step.status in active or step.stuck:
            return number_of(step.number)
    pending = (number_of(n) for n, step in run.steps.items() if step.status is StepStatus.PENDING)
    return next(pending, len(run.procedure.steps))


def dependencies_met(run: Run, number: StepId) -> bool:
    return all(run.steps[other].finished for other in run.procedure.step(number).depends_on)


def ancestors(procedure: Procedure, number: StepId) -> tuple[int, ...]:
    """The steps that this one depends on, directly or through others, ascending."""
    number = number_of(number)
    known, asked, found = _ASKED[0]
    if known is procedure and asked == number:
        return found
    depends_on = procedure.step(number).depends_on
    # each start asks several times about one step, and then about the next
    follows = known is procedure and depends_on == (asked,)
    found = tuple(sorted({*found, asked})) if follows else _reached(procedure, depends_on)
    _ASKED[0] = (procedure, number, found)
    return found


_ASKED: list[tuple[Procedure | None, int, tuple[int, ...]]] = [(None, 0, ())]
"""Of which procedure and step the ancestors were asked for last, and what they are: neither can change."""


def _reached(procedure: Procedure, depends_on: tuple[int, ...]) -> tuple[int, ...]:
    """These steps and those that they depend on, directly or through others, ascending."""
    reached: set[int] = set()
    frontier = list(depends_on)
    while frontier:
        here = frontier.pop()
        if here not in reached:
            reached.add(here)
            frontier.extend(procedure.step(here).depends_on)
    return tuple(sorted(reached))


def descendants(procedure: Procedure, number: StepId) -> frozenset[int]:
    """The step and those that depend on it, directly or through others."""
    followers: dict[int, list[int]] = {}
    for step in procedure.steps:
        for other in step.depends_on:
            followers.setdefault(other, []).append(step.number)
    reached: set[int] = set()
    frontier = [number_of(number)]
    while frontier:
        here = frontier.pop()
        if here not in reached:
            reached.add(here)
            frontier.extend(followers.get(here, ()))
    return frozenset(reached)


def from_here_on(procedure: Procedure, step: StepId) -> frozenset[StepId]:
    """The step and all that depend on it; of a step with instances only the one that is named."""
    reached: frozenset[StepId] = frozenset(descendants(procedure, step))
    return reached if isinstance(step, int) else reached - {number_of(step)} | {step}


def holds_slot(run: Run) -> bool:
    """Whether the run counts against maxConcurrent: from admission until it ends."""
    return run.ended is None and not run.queued


def times_out_at(run: Run, step: StepState) -> datetime | None:
    """When the running attempt of the step has used up its time, by the wall clock; None where nothing limits it."""
    if step.verifying and step.verification is not None:
        return step.verification.started.at + timedelta(milliseconds=step.verification.limit_ms)
    if step.status is not StepStatus.RUNNING or step.started is None or step.stopped is not None:
        return None
    limit = None if run.rollback is not None else run.procedure.step(step.number).timeout_secs
    if limit is None:
        return None
    return step.started.at + timedelta(milliseconds=round(limit * 1000) + step.held.wall_ms)


def recorded_at(run: Run, now: Instant) -> datetime:
    """When the next event says that it was: a clock may be set back, and a record's times never run backwards."""
    return max(now.at, run.updated_at)


def gate_left_ms(gate: Gate, at: datetime, now: Instant) -> int | None:
    """How long it is until `at`, a time that counts from the gate's clock; None where that stands still.

    By the boot clock while one boot lasts: a jump of the wall clock reminds nobody early.
    """
    return None if gate.clock is None else whole_ms(at - gate.clock.at) - elapsed_ms(gate.clock, now)


def time_left_ms(run: Run, step: StepState, now: Instant) -> int | None:
    """What a running attempt has left of its limit, a wait of its length, a rest of its delay; None: none of these.

    By the boot clock while one boot lasts: a jump of the wall clock ends nothing.
    """
    if step.resting is not None:
        since, delay_ms = step.resting
        return delay_ms - elapsed_ms(since, now)
    if step.verifying and step.verification is not None:
        return step.verification.limit_ms - elapsed_ms(step.verification.started, now)
    definition = run.procedure.step(step.number)
    waits = step.status is StepStatus.WAITING and definition.executor == "wait"
    seconds = definition.wait_secs if waits else definition.timeout_secs
    if step.started is None or seconds is None or not (waits or times_out_at(run, step)):
        return None
    return round(seconds * 1000) - lived_ms(step.started, step.held, now)


def run_limit_ms(run: Run) -> int | None:
    """How long the whole run may take; None: as long as it takes."""
    seconds = run.procedure.timeout_secs
    return None if seconds is None else round(seconds * 1000)


def run_times_out_at(run: Run) -> datetime | None:
    """When the run has used up its time, by the wall clock; None where nothing limits it now.

    Rollbacks have no limit, and a run that asks for its start approval anew begins its time anew.
    """
    limit_ms = run_limit_ms(run)
    counts = run.ended is None and run.rollback is None and not run.cancel_requested and not run.timed_out
    if limit_ms is None or run.clock is None or run.stopped is not None or run.start_void or not counts:
        return None
    return run.clock.at + timedelta(milliseconds=limit_ms + run.held.wall_ms)


def run_left_ms(run: Run, now: Instant) -> int | None:
    """How much of its time the run has left, by the boot clock while one boot lasts; None: nothing limits it now."""
    limit_ms = run_limit_ms(run)
    if run.clock is None or limit_ms is None or run_times_out_at(run) is None:
        return None
    return limit_ms - lived_ms(run.clock, run.held, now)


def run_timeout_text(run: Run) -> str:
    """That the time of the run is up, in words: the error of what is ended by it."""
    return f"the run's {duration_text(run_limit_ms(run) or 0)} were up"


def is_running_out(run: Run) -> bool:
    """Whether the run's time is up, and what still runs is being ended."""
    return run.timed_out and run.ended is None and run.rollback is None


def may_verify(run: Run, step: StepState) -> bool:
    """Whether the verification of the step's report may begin: it is part of a step that is under way already.

    So a step that is stuck does not keep it from beginning: the run waits for the end of this one.
    """
    owed = step.to_verify and step.status is StepStatus.RUNNING and is_manual(run, step.number)
    ends = run.paused or bool(run.stopping) or run.cancel_requested or is_running_out(run)
    return owed and not ends and has_room(run)


def has_room(run: Run) -> bool:
    """Whether one more process may be started beside those that run."""
    limit = run.procedure.max_parallel
    return limit is None or len(running_processes(run)) < limit


def held_back(run: Run) -> frozenset[StepId]:
    """The instances whose turn has not come: their step may be under way for fewer items at once."""
    held: set[StepId] = set()
    for number in run.expanded:
        limit = run.procedure.step(number).max_parallel
        if limit is not None:
            unfinished = [step for step in run.live if number_of(step.number) == number]
            waiting = [step.number for step in unfinished if not _is_under_way(step)]
            begun = len(unfinished) - len(waiting)
            held |= set(waiting[max(0, limit - begun) :])
    return frozenset(held)


def _is_under_way(step: StepState) -> bool:
    return step.status is not StepStatus.PENDING or step.gate_passed or step.waived


def shown_status(run: Run, step: StepState) -> StepStatus:
    """The status of a step as people see it: of one with instances, what most needs to be looked at in them."""
    if step.instances is None or step.status not in (StepStatus.PENDING, StepStatus.COMPLETED):
        return step.status
    statuses = {run.steps[each].status for each in step.instances if not run.steps[each].finished}
    return next((status for status in _TELLING if status in statuses), step.status if step.finished else _UNDER_WAY)


def open_gates(run: Run) -> tuple[tuple[StepId | None, Gate], ...]:
    """The step's address (None: the start gate) and gate, lowest first."""
    found: list[tuple[StepId | None, Gate]] = []
    if run.start_gate is not None and run.start_gate.status is GateStatus.OPEN:
        found.append((None, run.start_gate))
    found.extend((s.number, s.gate) for s in run.under_way if s.gate is not None and s.gate_open)
    return tuple(found)


def _startable(run: Run) -> bool:
    held = held_back(run)
    return any(step.status is StepStatus.PENDING and step.number not in held for step in run.live)
