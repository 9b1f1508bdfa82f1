"""What the calls of the Python API give back: frozen, typed, the same facts as the JSON documents of the command.

Times are aware datetimes in UTC, durations whole milliseconds where a name ends in `_ms`. `step_number` is the number
of a step, from 1; `instance` names one of the instances of a `forEach` step. More fields may come; none will go.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId, step_id
from sopwith.core.events import Evidence
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import GateStatus, RunStatus, StepStatus
from sopwith.errors import Problem


class _Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class Vote(_Result, frozen=True, kw_only=True):
    """One who agreed at a gate where more must."""

    by: Actor
    at: datetime
    comment: str


class Gate(_Result, frozen=True, kw_only=True):
    """A question to a person, and its answer once there is one. `step_number` None: the start of the run.

    `digest` names the envelope, which is what is approved: hand it to `approve_step` to approve only what you have
    seen. No `approvers`: any person may answer.
    """

    step_number: int | None
    instance: str | None = None
    title: str
    status: GateStatus
    revision: int
    digest: str
    rollback: bool
    requested_at: datetime
    due_at: datetime | None
    on_timeout: str | None
    approvers: tuple[str, ...]
    waits_for: tuple[str, ...]
    votes_needed: int
    votes: tuple[Vote, ...]
    comment_required: bool
    form: tuple[dict[str, Any], ...]
    values: dict[str, Any]
    remind_at: tuple[datetime, ...]
    escalated: bool
    decided_at: datetime | None
    decided_by: Actor | None
    comment: str


class StepResult(_Result, frozen=True, kw_only=True):
    """How one step stands. `output` is an excerpt: `sop logs` has all of it; `outputs` are the values it handed on."""

    step_number: int
    instance: str | None = None
    title: str
    status: StepStatus
    executor: str
    requires_approval: bool
    visit: int
    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    wake_at: datetime | None
    exit_code: int | None
    output: str
    outputs: dict[str, Any]
    error: str
    comment: str
    evidence: tuple[Evidence, ...]
    approval: Gate | None
    agent: str | None = None
    """Whose `command` carries the step out, or did, where an agent's does."""
    command: tuple[str, ...] | None = None
    child_run_id: str | None = None
    child_status: str | None = None
    item: Any = None
    instances: tuple[str, ...] | None = None
    instructions: str | None = None
    """What is to be done by hand, while it is."""

    @property
    def step(self) -> StepId:
        """What the calls take as `step_number`: 3, or "3:eu" for an instance."""
        return step_id(self.step_number, self.instance or "")


class Overdue(_Result, frozen=True, kw_only=True):
    """A deadline that has passed and that nobody has settled yet; `whole_run`: the run's own."""

    step_number: int | None
    instance: str | None = None
    due_at: datetime
    whole_run: bool = False


class Driver(_Result, frozen=True, kw_only=True):
    """The process that carries a run on."""

    host: str
    pid: int


class Place(_Result, frozen=True, kw_only=True):
    """The step of another run that started this one."""

    run_id: str
    step_number: int
    instance: str | None = None


class Run(_Result, frozen=True, kw_only=True):
    """A run as it was when asked. `revision` counts its events; `next` says in words what can be done now.

    `undriven`: it has something to do and nobody does it: `resume_run` goes on with it.
    """

    run_id: str
    sop_name: str
    status: RunStatus
    current_step: int
    total_steps: int
    title: str
    version: str
    priority: str
    execution_mode: ExecutionMode
    params: dict[str, Any]
    concurrency_group: str
    procedure_digest: str
    parent: Place | None
    revision: int
    created_at: datetime
    created_by: Actor
    started_at: datetime | None
    ended_at: datetime | None
    duration: str | None
    timeout_secs: float | None
    times_out_at: datetime | None
    reason: str
    gates: tuple[Gate, ...]
    step_results: tuple[StepResult, ...]
    next: str
    failing: bool = False
    pause_requested: bool = False
    cancel_requested: bool = False
    nothing_ran: bool = False
    with_failures: bool = False
    rolled_back: bool = False
    timed_out: bool = False
    undriven: bool = False
    waits_for: tuple[str, ...] = ()
    overdue: tuple[Overdue, ...] = ()
    driven_by: Driver | None = None

    def step(self, number: StepId) -> StepResult:
        """The result of one step, by its number or as "3:eu". Raises KeyError."""
        for result in self.step_results:
            if result.step == number:
                return result
        raise KeyError(number)


class Decision(_Result, frozen=True, kw_only=True):
    """What an answer at a gate did, and the run after it.

    `status` is `vote_recorded` where more people must agree, and `rejected` also where nobody is left who could.
    `action` says what a rejection led to: paused, cancelled, failed, goto or rollback_skipped.
    """

    run_id: str
    step_number: int | None
    instance: str | None = None
    status: Literal["approved", "vote_recorded", "rejected"]
    votes: int
    needed: int
    action: str | None = None
    run: Run


class RunSummary(_Result, frozen=True, kw_only=True):
    """One line of `list_runs`. `parent` is the id of the run that a step of it belongs to."""

    run_id: str
    sop_name: str
    status: RunStatus
    current_step: int
    total_steps: int
    version: str
    priority: str
    execution_mode: ExecutionMode
    created_at: datetime
    created_by: str
    updated_at: datetime
    ended_at: datetime | None
    due_at: datetime | None
    procedure_digest: str
    concurrency_group: str
    parent: str | None


class RunList(_Result, frozen=True, kw_only=True):
    """Runs, the newest first; `total` counts all that match, however few were asked for."""

    runs: tuple[RunSummary, ...]
    total: int


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a run's record. After retention took the content, only `seq`, `prev_hash` and `hash` are left."""

    seq: int
    hash: str
    prev_hash: str = msgspec.field(name="prevHash")
    event_type: str = msgspec.field(name="type", default="")
    timestamp: datetime | None = None
    step_number: int | None = msgspec.field(name="stepNumber", default=None)
    instance: str | None = None
    actor: Actor | None = None
    details: dict[str, Any] = msgspec.field(default_factory=dict)
    content_gone: bool = msgspec.field(name="contentGone", default=False)


class AuditLog(_Result, frozen=True, kw_only=True):
    """The whole record of one run, in order."""

    run_id: str
    events: tuple[AuditEvent, ...]


class Procedure(_Result, frozen=True, kw_only=True):
    """One procedure of a workspace. Where `valid` is False it cannot run, and `problems` or `error` say why."""

    name: str
    valid: bool
    title: str = ""
    description: str = ""
    version: str = ""
    priority: str = ""
    execution_mode: ExecutionMode | None = None
    total_steps: int = 0
    gates: int = 0
    registered: bool = True
    error: str = ""
    problems: tuple[Problem, ...] = ()
