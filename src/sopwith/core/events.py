"""The events a run consists of. Names and JSON keys are a contract (specification, "Audit Events"; DESIGN section 4).

Bodies are past tense and typed; `codec.py` gives them their JSON form. A body's fields, except `step_number`, stand
under `details`.

Longer than other files: it is the list of all events, a contract that is read and reviewed as one.
"""

from datetime import datetime
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.agents import AgentCommand
from sopwith.core.approval import FormValue, TimeoutAction
from sopwith.core.procedure import ExecutionMode
from sopwith.core.request import Request

ParamValue = str | int | float | bool
FOR_EACH = "forEach"
"""The `condition` of `condition_evaluated` where nobody can know the items of a step."""
INTERRUPTED = "interrupted"
"""The `cause` of what follows from `onInterrupt`: a step that is run again, or failed."""
OPEN = "open"
"""The `then` of a verification after which a step that was reported done is still to be done."""
IF = "if"
"""The `condition` of `condition_evaluated` for a step's own condition."""
WHEN = "approval.when"
"""The `condition` of `condition_evaluated` for a gate's own condition."""


class Body(msgspec.Struct, frozen=True, kw_only=True, tag_field="eventType", rename="camel", omit_defaults=True):
    """What every event body shares: nothing but the form."""


class StepBody(Body, frozen=True, kw_only=True):
    """An event about one step. `step_number` is its address; JSON has `instance` beside the number."""

    step_number: StepId
    title: str = ""


class GateBody(Body, frozen=True, kw_only=True):
    """An event about one revision of one gate; `step_number` None is the start gate."""

    step_number: StepId | None
    revision: int
    title: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The config keys that steer this run, as they were when it was created."""

    approval_timeout_mins: int | float | None = None
    approval_timeout_action: TimeoutAction | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A file kept with the run: the name it was given under, its SHA-256 and size, and where the copy lies."""

    name: str
    sha256: str
    size_bytes: int


class Signature(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who decided, as 21 CFR 11.50 and SOC 2 reviewers ask for it; all of it as it was at that moment.

    `meaning`: approved, rejected, skipped or done by hand. `roles` null: config.json has none. `seen`: the answer
    named the digest of what it was about.
    """

    meaning: str
    printed_name: str = ""
    user_id: str = ""
    host: str = ""
    session: str = ""
    authenticated_by: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] | None = None
    config_digest: str = ""
    seen: bool = False


class ParentRun(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The run, and its step, that started this one."""

    run_id: str
    step: StepId


class Used(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A procedure that runs within another, as it was when the outermost run was created: what an approval covers.

    `pins`, `passed`, `folders` and `agents` are as in `run_created`, of its own steps; `secrets` those that are its
    defaults.
    """

    digest: str
    mode: ExecutionMode
    pins: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    passed: dict[str, str] = msgspec.field(default_factory=dict)
    folders: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    agents: dict[str, AgentCommand] = msgspec.field(default_factory=dict)


class RunCreated(Body, frozen=True, kw_only=True, tag="run_created"):
    """Always seq 1. `environment` is the allow-listed environment as captured; `mode` is never priority_based."""

    sop_name: str
    version: str
    procedure_digest: str
    mode: ExecutionMode
    declared_mode: ExecutionMode
    total_steps: int
    params: dict[str, ParamValue] = msgspec.field(default_factory=dict)
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    umask: int = 0o022
    passed: dict[str, str] = msgspec.field(default_factory=dict)
    """Variables that steps pass on, as they were set at creation: name -> HMAC under the workspace key."""
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    """Parameters of type secret, as they could be read at creation: name -> HMAC under the workspace key."""
    pins: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Pinned files as they were at creation: step number as text -> name -> SHA-256, empty where there was none."""
    folders: dict[str, str] = msgspec.field(default_factory=dict)
    """Where steps that name a working directory would have run then: step number as text -> path, links followed."""
    agents: dict[str, AgentCommand] = msgspec.field(default_factory=dict)
    """The commands that were to carry steps out then, by the agents' names."""
    uses: dict[str, Used] = msgspec.field(default_factory=dict)
    """Procedures that its steps run, and those that these run, by name."""
    parent: ParentRun | None = None
    policy: Policy = Policy()
    trigger: str = "manual"
    event_digest: str = ""
    """The SHA-256 of the event that started it, which is kept with the run; empty where none did."""
    concurrency_group: str = ""
    """Only one run of this group may hold a slot at a time; empty: it belongs to none."""
    engine_version: str = ""
    """Of the Sopwith that made the run."""


class RunQueued(Body, frozen=True, kw_only=True, tag="run_queued"):
    """The limits are used up; the run waits for a slot as `pending`."""

    reason: str


class RunStarted(Body, frozen=True, kw_only=True, tag="run_started"):
    """Execution began: steps may start from here on. Once more where changed parameters took a new start approval.

    A limit of the run counts from this reading of the boot clock.
    """

    boot_id: str = ""
    boot_ms: int = 0


class RunPauseRequested(Body, frozen=True, kw_only=True, tag="run_pause_requested"):
    """Asked while a process ran; `run_paused` with the same `cause` follows when it has ended.

    `stop`: it is ended now, and its step is interrupted unless it was done before that. The limits of steps by hand
    stand still from this reading of the boot clock.
    """

    cause: str = "asked"
    reason: str = ""
    stop: bool = False
    boot_id: str = ""
    boot_ms: int = 0


class RunPaused(Body, frozen=True, kw_only=True, tag="run_paused"):
    """`cause`: asked, rejected, interrupted, approval_timeout, blocked or environment.

    A limit of the run stands still from this reading of the boot clock.
    """

    cause: str
    reason: str = ""
    boot_id: str = ""
    boot_ms: int = 0


class RunResumed(Body, frozen=True, kw_only=True, tag="run_resumed"):
    """A person lets a paused run go on. Gate clocks start again, at this reading of the boot clock."""

    boot_id: str = ""
    boot_ms: int = 0


class RunTimedOut(Body, frozen=True, kw_only=True, tag="run_timed_out"):
    """The time of the whole run is up: nothing starts any more, and running processes are ended.

    `run_failed` follows when they have, after the rollback where there is one; `run_completed` where all was done.
    """

    limit_ms: int


class RunCancelRequested(Body, frozen=True, kw_only=True, tag="run_cancel_requested"):
    """Asked while a process ran, which is being ended; `run_cancelled` follows."""

    reason: str = ""


class RolledBack(Body, frozen=True, kw_only=True):
    """The end of a run that may have been rolled back before. Steps are told by number.

    `rolled_back`: a rollback was carried to its end. `rollback_failed`: scripts that failed, or nobody knows how they
    ended. `not_rolled_back`: what was to be undone and was not tried.
    """

    rolled_back: bool = False
    rollback_failed: tuple[StepId, ...] = ()
    not_rolled_back: tuple[StepId, ...] = ()


class RunCancelled(RolledBack, frozen=True, kw_only=True, tag="run_cancelled"):
    """Final: nothing goes on from here, but what was done can still be rolled back."""

    reason: str = ""


class RunFailed(RolledBack, frozen=True, kw_only=True, tag="run_failed"):
    """Ended, and can be retried. `failed_steps` are the steps that failed, or whose rejection did this."""

    failed_steps: tuple[StepId, ...]
    error: str
    duration: str = ""
    duration_ms: int = 0


class RunCompleted(Body, frozen=True, kw_only=True, tag="run_completed"):
    """Final. `nothing_ran`: every step was skipped, or rejected and passed over."""

    nothing_ran: bool = False
    with_failures: bool = False
    """A step failed or was rejected, and the procedure goes on after it."""
    duration: str = ""
    duration_ms: int = 0


class RunRetried(Body, frozen=True, kw_only=True, tag="run_retried"):
    """These steps are asked for and run again; `from_step` marks a new visit of that step and all after it.

    `again`: steps that begin a new visit because a rollback undid them, or what they depend on. `params`: all
    parameters as they are from here on; empty: unchanged. What was asked with the old ones is then asked again, and a
    start that was approved with them takes a new approval. `secrets` goes with `params`, as in `run_created`.
    """

    steps: tuple[StepId, ...]
    from_step: StepId | None = None
    again: tuple[StepId, ...] = ()
    params: dict[str, ParamValue] = msgspec.field(default_factory=dict)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    reason: str = ""
    boot_id: str = ""
    boot_ms: int = 0


class RollbackStarted(Body, frozen=True, kw_only=True, tag="rollback_started"):
    """From now on these completed steps are undone, in this order; after it the run `ends` failed or cancelled.

    `asked`: by the actor; else a step failed whose procedure says so.
    """

    steps: tuple[StepId, ...]
    reason: str
    ends: str
    asked: bool = False


class ApprovalRequested(GateBody, frozen=True, kw_only=True, tag="approval_requested"):
    """A gate opened over the envelope `digest`. Without `due_at` it waits for ever; no `approvers`: any person.

    `rollback`: it asks for the rollback of the step.
    """

    digest: str
    nonce: str = ""
    """Drawn for this question: nobody could prepare two envelopes with digests that look alike."""
    rollback: bool = False
    approvers: tuple[str, ...] = ()
    votes_needed: int = 1
    due_at: datetime | None = None
    on_timeout: TimeoutAction | None = None
    remind_at: tuple[datetime, ...] = ()
    boot_id: str = ""
    boot_ms: int = 0


class ApprovalGranted(GateBody, frozen=True, kw_only=True, tag="approval_granted"):
    """The envelope `digest` is approved. `votes` are the ids of all who agreed, the last one included."""

    digest: str
    comment: str = ""
    form: dict[str, FormValue] = msgspec.field(default_factory=dict)
    votes: tuple[str, ...] = ()
    signature: Signature | None = None


class ApprovalVoteRecorded(GateBody, frozen=True, kw_only=True, tag="approval_vote_recorded"):
    """Somebody agreed, and more must: `votes` of `needed`."""

    digest: str
    comment: str = ""
    form: dict[str, FormValue] = msgspec.field(default_factory=dict)
    votes: int
    needed: int
    signature: Signature | None = None


class ApprovalRejected(GateBody, frozen=True, kw_only=True, tag="approval_rejected"):
    """`action`: what it did: the run was paused, failed or cancelled, or went on at another step (goto), or
    rollback_skipped where it asked for a rollback. What runs beside the step ends first.

    By the system where nobody is left who could approve.
    """

    digest: str
    reason: str
    action: str
    signature: Signature | None = None


class ApprovalTimeout(GateBody, frozen=True, kw_only=True, tag="approval_timeout"):
    """Nobody answered by `due_at`; `action` was taken by the system. Never a person's consent.

    `then`: what a rejection did where it did not pause the run: failed or goto.
    """

    digest: str
    action: TimeoutAction
    due_at: datetime
    clock_jump_ms: int = 0
    """By how much the wall clock ran ahead of the boot clock while the gate was open, where it did."""
    then: str = ""


class ApprovalEscalated(GateBody, frozen=True, kw_only=True, tag="approval_escalated"):
    """Nobody answered by `due_at`: from now on `to` may answer too, and the gate waits for ever."""

    digest: str
    to: tuple[str, ...]
    due_at: datetime


class ApprovalReminded(GateBody, frozen=True, kw_only=True, tag="approval_reminded"):
    """The gate still waits; `due_at` is when this was due, the latest of several that are overdue."""

    digest: str
    due_at: datetime


class ApprovalPostponed(GateBody, frozen=True, kw_only=True, tag="approval_postponed"):
    """The wall clock jumped forward while the gate was open: its deadline moves to `due_at`, nothing is settled."""

    digest: str
    jumped_ms: int
    due_at: datetime
    boot_id: str
    boot_ms: int


class ApprovalClosed(GateBody, frozen=True, kw_only=True, tag="approval_closed"):
    """The question fell away, or the answer is void, because of what happened elsewhere in the run."""

    reason: str


class ApprovalStale(GateBody, frozen=True, kw_only=True, tag="approval_stale"):
    """What would run is not what was approved; nothing was started and the gate asks again."""

    digest: str
    found_digest: str
    changed: tuple[str, ...] = ()


class StepStarted(StepBody, frozen=True, kw_only=True, tag="step_started"):
    """The intent to start, recorded before the process exists. `digest` is the envelope that runs.

    `rollback`: what starts is the step's rollback script.
    """

    executor: str
    rollback: bool = False
    visit: int
    attempt: int
    digest: str
    child_run_id: str = ""
    """The run that carries the step out, where a procedure does."""
    child_seq: int = 0
    """How many events it had; more than none where an earlier attempt is gone on with."""
    agent: str = ""
    """Whose `command` carries the step out, where an agent's does."""
    command: tuple[str, ...] = ()
    boot_id: str
    boot_ms: int


class ChildRunChanged(StepBody, frozen=True, kw_only=True, tag="child_run_changed"):
    """The run that carries the step out `rests` now, as `status` says, or goes on."""

    child_run_id: str
    status: str
    rests: bool


class StepExpanded(StepBody, frozen=True, kw_only=True, tag="step_expanded"):
    """The step is done for each of these items, as an instance of its own; `instances` are their names."""

    items: tuple[Any, ...]
    instances: tuple[str, ...]
    boot_id: str
    boot_ms: int


class StepReported(StepBody, frozen=True, kw_only=True, tag="step_reported"):
    """Somebody said how a step went: `outcome` is completed, failed or blocked. Signed where it stands for approval.

    `to_verify`: it is believed once the step's own script says so too.
    """

    outcome: str
    comment: str = ""
    output: str = ""
    evidence: tuple[Evidence, ...] = ()
    signature: Signature | None = None
    to_verify: bool = False


class StepEnd(StepBody, frozen=True, kw_only=True):
    """What a step left behind. `output` is head and tail of what it printed; the rest is in the run's log file."""

    duration: str = ""
    duration_ms: int = 0
    exit_code: int | None = None
    output: str = ""
    output_bytes: int = 0
    output_sha256: str = ""
    warnings: tuple[str, ...] = ()


class StepCompleted(StepEnd, frozen=True, kw_only=True, tag="step_completed"):
    """`outputs` are the values from `$SOP_OUTPUT`. `verified`: a verification says that it is done; it has none."""

    outputs: dict[str, Any] = msgspec.field(default_factory=dict)
    verified: bool = False


class StepFailed(StepEnd, frozen=True, kw_only=True, tag="step_failed"):
    """`cause`: exit, signal, start, output, reported, timeout, approval_timeout, cancelled, child, instances or
    interrupted.

    `then`: continue or goto, where the run goes on in spite of it; empty: the step is stuck, or tried again.
    """

    error: str
    cause: str
    signal: str | None = None
    then: str = ""
    outputs: dict[str, Any] = msgspec.field(default_factory=dict)
    """Of the other instances, where some of a step failed."""


class StepRolledBack(StepEnd, frozen=True, kw_only=True, tag="step_rolled_back"):
    """The step's rollback script has ended. `error` empty: the step is undone.

    `cause` of an error: as in `step_failed`, or interrupted where nobody can know how it ended.
    """

    error: str = ""
    cause: str = ""
    signal: str | None = None


class StepRetryScheduled(StepBody, frozen=True, kw_only=True, tag="step_retry_scheduled"):
    """The step is tried again by itself at `at`, under the same approval; `attempt` of `max_attempts`.

    `cause` interrupted: `onInterrupt` says so, and the two count only what is run again for that.
    """

    attempt: int
    max_attempts: int
    cause: str = ""
    at: datetime
    delay_ms: int
    boot_id: str = ""
    boot_ms: int = 0


class WaitStarted(StepBody, frozen=True, kw_only=True, tag="wait_started"):
    """The step waits until `until`; no process does. `digest` is the envelope that was approved, where one was."""

    visit: int
    attempt: int
    digest: str
    until: datetime
    boot_id: str
    boot_ms: int


class WaitEnded(StepBody, frozen=True, kw_only=True, tag="wait_ended"):
    """The time of a wait has come."""

    until: datetime


class StepInterrupted(StepBody, frozen=True, kw_only=True, tag="step_interrupted"):
    """Nobody can know whether the step's effect happened. `then`: rerun, fail or verify; empty: a person decides.

    `on_interrupt`: what the step says, where it is not to ask; `because`: why a person decides in spite of it.
    """

    reason: str
    output: str = ""
    on_interrupt: str = ""
    then: str = ""
    because: str = ""


class VerificationStarted(StepBody, frozen=True, kw_only=True, tag="verification_started"):
    """The intent to run `command`, which tells whether the step has done its work; recorded before the process exists.

    `attempt` is the one in question, and `digest` the envelope that covers step and command. `of_report`: it tells
    whether a report of the step is to be believed, and `command` is the whole script.
    """

    visit: int
    attempt: int
    command: str
    digest: str
    limit_ms: int
    boot_id: str
    boot_ms: int
    of_report: bool = False


class VerificationEnded(StepBody, frozen=True, kw_only=True, tag="verification_ended"):
    """`outcome`: done (exit code 0), not_done (1), or unknown, which is all else. `then`: completed or rerun.

    Empty, a person decides, and `because` says why. `cause`: exit, signal, start, timeout, cancelled or lost. Of a
    report every other exit code is not_done too, and `then` open: it is not believed, and the step is not done yet.
    """

    attempt: int
    outcome: str
    then: str = ""
    because: str = ""
    cause: str = ""
    exit_code: int | None = None
    signal: str | None = None
    output: str = ""
    output_bytes: int = 0
    output_sha256: str = ""
    duration: str = ""
    duration_ms: int = 0
    warnings: tuple[str, ...] = ()


class StepSkipped(StepBody, frozen=True, kw_only=True, tag="step_skipped"):
    """The step is passed over; what depends on it goes on. Signed where it had a gate."""

    reason: str
    signature: Signature | None = None


class ConditionEvaluated(StepBody, frozen=True, kw_only=True, tag="condition_evaluated"):
    """What a condition of a step came to. `result` null: it could not be evaluated, and `reason` says why."""

    condition: str
    expression: str
    result: bool | None
    reason: str = ""


EventBody = (
    RunCreated
    | RunQueued
    | RunStarted
    | RunPauseRequested
    | RunPaused
    | RunResumed
    | RunTimedOut
    | RunCancelRequested
    | RunCancelled
    | RunFailed
    | RunCompleted
    | RunRetried
    | RollbackStarted
    | ApprovalRequested
    | ApprovalGranted
    | ApprovalVoteRecorded
    | ApprovalRejected
    | ApprovalTimeout
    | ApprovalEscalated
    | ApprovalReminded
    | ApprovalPostponed
    | ApprovalClosed
    | ApprovalStale
    | StepStarted
    | StepExpanded
    | ChildRunChanged
    | StepReported
    | StepCompleted
    | StepFailed
    | StepRolledBack
    | StepInterrupted
    | VerificationStarted
    | VerificationEnded
    | StepSkipped
    | ConditionEvaluated
    | StepRetryScheduled
    | WaitStarted
    | WaitEnded
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a run's record. `seq` counts from 1 without a gap. `request`: the call that made it, if named."""

    run_id: str
    seq: int
    at: datetime
    actor: Actor
    body: EventBody
    request: Request | None = None

    @property
    def event_type(self) -> str:
        return str(self.body.__struct_config__.tag)

    @property
    def step_number(self) -> StepId | None:
        return getattr(self.body, "step_number", None)
