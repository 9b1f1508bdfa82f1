"""What can be asked of a run. Verbs; each carries who asks and when, so that deciding needs no clock."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.events import Evidence, ParamValue
from sopwith.core.instant import Instant
from sopwith.core.people import NO_PEOPLE, Directory
from sopwith.core.request import Request
from sopwith.core.run import RunStatus


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """`actor` comes from the door, `now` from the edge, `people` are config.json's as just read.

    `request`: the caller's own name for it; a request that was carried out before is not carried out again.
    `expected_seq`: the last event the caller knew of; None: whichever it is.
    """

    actor: Actor
    now: Instant
    people: Directory = NO_PEOPLE
    request: Request | None = None
    expected_seq: int | None = None


class PersonCommand(Command, frozen=True, kw_only=True):
    """A command that a door brings from outside, as opposed to the driver's own."""


class Answer(PersonCommand, frozen=True, kw_only=True):
    """An answer to a gate. Without `step` and `digest` it means the one gate that is open.

    `digest` is the envelope the caller saw, whole or its first 12 or more characters. `seen`: the caller named it.
    """

    step: StepId | None = None
    digest: str | None = None
    seen: bool = False


class Approve(Answer, frozen=True, kw_only=True):
    """`form` holds what the gate's form asks for, as text or as JSON values."""

    comment: str = ""
    form: Mapping[str, Any] = msgspec.field(default_factory=dict)


class Reject(Answer, frozen=True, kw_only=True):
    reason: str


class Pause(PersonCommand, frozen=True, kw_only=True):
    """`cause` is another one where the run is paused because its parent is. `stop`: running processes are ended."""

    reason: str = ""
    cause: str = "asked"
    stop: bool = False


class Resume(PersonCommand, frozen=True, kw_only=True):
    pass


class Cancel(PersonCommand, frozen=True, kw_only=True):
    reason: str = ""


class Retry(PersonCommand, frozen=True, kw_only=True):
    """Again from the stuck steps, or further back from `from_step`.

    `params`: all parameters as they are to be from now on, resolved; None: as they are. `secrets`: what those of type
    secret are now, name -> HMAC.
    """

    from_step: StepId | None = None
    params: Mapping[str, ParamValue] | None = None
    secrets: Mapping[str, str] = MappingProxyType({})
    reason: str = ""


class Rollback(PersonCommand, frozen=True, kw_only=True):
    """Undo the completed steps that have a rollback script, the last one first."""

    reason: str = ""


class Skip(PersonCommand, frozen=True, kw_only=True):
    """`step` None means the one step that can be skipped now."""

    step: StepId | None = None
    reason: str


class Complete(PersonCommand, frozen=True, kw_only=True):
    """A manual step is done, or a stuck one was done by hand."""

    step: StepId | None = None
    comment: str = ""
    output: str = ""
    evidence: tuple[Evidence, ...] = ()


class Fail(PersonCommand, frozen=True, kw_only=True):
    """A manual step did not work out."""

    step: StepId | None = None
    reason: str
    output: str = ""
    evidence: tuple[Evidence, ...] = ()


class Block(PersonCommand, frozen=True, kw_only=True):
    """Whoever carries out a manual step cannot go on, and a person has to look; the step stays open."""

    step: StepId | None = None
    reason: str
    output: str = ""
    evidence: tuple[Evidence, ...] = ()


class Admit(Command, frozen=True, kw_only=True):
    """A queued run has got its slot. `start_digest` is the envelope of the start approval."""

    start_digest: str
    nonce: str = ""


class OpenGate(Command, frozen=True, kw_only=True):
    """Ask for approval of the envelope `digest`; `step` None is the start gate."""

    step: StepId | None
    digest: str
    nonce: str = ""
    """What makes the envelope one that nobody could have foreseen."""


class Expire(Command, frozen=True, kw_only=True):
    """The deadline of this revision of a gate has passed."""

    step: StepId | None
    revision: int


class Remind(Command, frozen=True, kw_only=True):
    """The time of a reminder of this revision of a gate has come."""

    step: StepId | None
    revision: int


class Evaluate(Command, frozen=True, kw_only=True):
    """Ask the step's own condition."""

    step: StepId


class EndWait(Command, frozen=True, kw_only=True):
    """The time of a wait has come."""

    step: StepId


class TimeOut(Command, frozen=True, kw_only=True):
    """Attempt `attempt` of a step that somebody carries out has used up its time."""

    step: StepId
    attempt: int


class Notice(Command, frozen=True, kw_only=True):
    """How the child run stands that carries the step out; `standing` None: it goes on."""

    step: StepId
    child_run_id: str
    standing: RunStatus | None


class TimeOutRun(Command, frozen=True, kw_only=True):
    """The run has used up its time."""


class Start(Command, frozen=True, kw_only=True):
    """Record the intent to start; `digest` was computed just now. `changed` tells the fields if it differs."""

    step: StepId
    digest: str
    changed: tuple[str, ...] = ()
    child_run_id: str = ""
    """The run that carries the step out, where a procedure does; `child_seq`: how many events it has."""
    child_seq: int = 0
    agent: str = ""
    """Whose `command` carries the step out, where an agent's does."""
    command: tuple[str, ...] = ()


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a step's process ended. `error` is empty exactly when it succeeded."""

    exit_code: int | None = None
    signal: str | None = None
    error: str = ""
    cause: str = "exit"
    output: str = ""
    output_bytes: int = 0
    output_sha256: str = ""
    outputs: dict[str, Any] = msgspec.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    ended_boot_ms: int | None = None
    """When it ended, by the boot clock of the boot in which it was started; None: just now."""


class Finish(Command, frozen=True, kw_only=True):
    """The process of attempt `attempt` has ended."""

    step: StepId
    attempt: int
    result: StepResult


class Interrupt(Command, frozen=True, kw_only=True):
    """Attempt `attempt` was started, and nobody can know how it ended.

    `held`: why nothing may follow from that by itself, whatever the step says.
    """

    step: StepId
    attempt: int
    reason: str
    output: str = ""
    held: str = ""


class BeginVerification(Command, frozen=True, kw_only=True):
    """Record the intent to verify the report of attempt `attempt`. `held`: why its script must not be run."""

    step: StepId
    attempt: int
    held: str = ""


class EndVerification(Command, frozen=True, kw_only=True):
    """The process that verifies attempt `attempt` has ended; with the cause lost, nobody can know how."""

    step: StepId
    attempt: int
    result: StepResult


class Halt(Command, frozen=True, kw_only=True):
    """The world around the run lacks something that a step needs; the run pauses."""

    reason: str
