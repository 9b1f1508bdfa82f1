"""What a scenario says: who starts a run, how its steps go, who does what, and what must come of it.

Values only; `scenario_file.py` reads them from TOML, and `rehearsal/` plays them.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.config import Config
from sopwith.core.procedure import ExecutionMode, Trigger
from sopwith.core.run import RunStatus, StepStatus
from sopwith.core.triggers import Outcome


class Verb(StrEnum):
    """What somebody can do to the run; `sop VERB` does the same."""

    APPROVE = "approve"
    REJECT = "reject"
    COMPLETE = "complete"
    FAIL = "fail"
    SKIP = "skip"
    RETRY = "retry"
    RESUME = "resume"
    PAUSE = "pause"
    CANCEL = "cancel"
    ROLLBACK = "rollback"


class Stub(msgspec.Struct, frozen=True, kw_only=True):
    """How the tries of one script go. `exit_codes`: one for each, the last one for all further tries."""

    exit_codes: tuple[int, ...] = (0,)
    outputs: dict[str, Any] = msgspec.field(default_factory=dict)
    output: str = ""
    takes_secs: float = 0
    interrupted: bool = False
    """Nobody knows how the first try ended."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody does. `step` None: the only one that it can mean, or, with `at_start`, the start gate.

    `after_secs`: so long after it has become possible. `refused`: the error code that must answer it.
    """

    verb: Verb
    actor: Actor
    step: StepId | None = None
    at_start: bool = False
    comment: str = ""
    reason: str = ""
    output: str = ""
    form: dict[str, Any] = msgspec.field(default_factory=dict)
    after_secs: float = 0
    refused: str = ""


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody acts for so long."""

    secs: float


class ExpectedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event by its type and, where it is said, its step. `written` is how the scenario has it."""

    event_type: str
    step: StepId | None = None
    at_start: bool = False
    written: str


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold at the end; what is None or empty is not looked at."""

    status: RunStatus | None = None
    steps: dict[StepId, StepStatus] = msgspec.field(default_factory=dict)
    outputs: dict[StepId, dict[str, Any]] = msgspec.field(default_factory=dict)
    events: tuple[ExpectedEvent, ...] = ()
    never: tuple[ExpectedEvent, ...] = ()
    with_failures: bool | None = None
    nothing_ran: bool | None = None
    rolled_back: bool | None = None
    refused: str = ""
    """The start of the run must be refused with this error code."""
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    outcome: Outcome | None = None
    """Of the event, where no run comes of it."""


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something outside that a trigger is told of. `event`: what it brings, without `type`, `id` and `at`."""

    trigger: Trigger
    event: dict[str, Any] = msgspec.field(default_factory=dict)


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario of one procedure. `config` None: the workspace's own."""

    name: str
    description: str = ""
    mode: ExecutionMode | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    starter: Actor
    happening: Happening | None = None
    """What starts the run in place of `starter`; it brings the parameters along."""
    starts_at: datetime | None = None
    config: Config | None = None
    stubs: dict[StepId, Stub] = msgspec.field(default_factory=dict)
    rollbacks: dict[StepId, Stub] = msgspec.field(default_factory=dict)
    """How the rollback scripts of steps go."""
    verifications: dict[StepId, Stub] = msgspec.field(default_factory=dict)
    """What the scripts say that verify reports of steps."""
    acts: tuple[Act | Pass, ...] = ()
    expect: Expectation
