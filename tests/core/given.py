"""Given a procedure and what has happened, when a command comes, then these events: the words of the core's tests.

A `Story` is one run with a clock that ticks a second per command. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.address import StepId
from sopwith.core.approval import ApprovalRules
from sopwith.core.config import Config
from sopwith.core.decide import NewRun, create, decide
from sopwith.core.due import DueKind, due, ready
from sopwith.core.events import Event, Policy
from sopwith.core.instant import Instant
from sopwith.core.people import Directory
from sopwith.core.procedure import ExecutionMode, Priority, Procedure, Script, Step, sha256
from sopwith.core.run import Gate, Run, RunStatus, StepState, StepStatus, is_child, status_of
from sopwith.errors import SopwithError

RUN = "sop_run_abcdefghijkl"
CHILD = "sop_run_mnopqrstuvwx"
"""The run that carries a step out which a procedure does."""
ALICE = Actor("alice", ActorKind.HUMAN, "cli")
BOB = Actor("bob", ActorKind.HUMAN, "cli")
CAROL = Actor("carol", ActorKind.HUMAN, "cli")
AGENT = Actor("claude", ActorKind.AGENT, "mcp")
TRIGGER = Actor("nightly", ActorKind.TRIGGER, "cron")
INSIDE = Actor("alice", ActorKind.HUMAN, "cli", inside=RUN)
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DRIVER_COMMANDS = (
    cmd.Admit,
    cmd.OpenGate,
    cmd.Expire,
    cmd.Remind,
    cmd.Start,
    cmd.Finish,
    cmd.Interrupt,
    cmd.BeginVerification,
    cmd.EndVerification,
    cmd.Halt,
    cmd.Evaluate,
    cmd.EndWait,
    cmd.TimeOut,
    cmd.TimeOutRun,
    cmd.Notice,
)

MakeStep = Callable[[int], Step]


def shell(*, gate: bool = False, after: tuple[int, ...] | None = None, **more: Any) -> MakeStep:
    """A step that runs a script, after the step before it unless `after` says otherwise."""
    return _step("shell", gate, after, script=Script(interpreter="bash", text="true\n"), **more)


def manual(*, gate: bool = False, after: tuple[int, ...] | None = None, **more: Any) -> MakeStep:
    """A step that somebody carries out by hand."""
    return _step("manual", gate, after, **more)


CHECK = Script(interpreter="bash", text="test -e done\n")
"""What verifies reports of the steps that have it."""


def wait(
    wait_secs: float | None = None, *, gate: bool = False, after: tuple[int, ...] | None = None, **more: Any
) -> MakeStep:
    """A step that only waits."""
    return _step("wait", gate, after, wait_secs=wait_secs, **more)


def child(*, gate: bool = False, after: tuple[int, ...] | None = None, uses: str = "test", **more: Any) -> MakeStep:
    """A step that a run of another procedure carries out."""
    return _step("procedure", gate, after, uses=uses, **more)


def _step(executor: str, gate: bool, after: tuple[int, ...] | None, **more: Any) -> MakeStep:
    def make(number: int) -> Step:
        before = (number - 1,) if number > 1 else ()
        return Step(
            number=number,
            title=f"Step {number}",
            executor=executor,
            requires_approval=gate,
            depends_on=before if after is None else after,
            **more,
        )

    return make


def procedure(*steps: MakeStep, **more: Any) -> Procedure:
    numbered = tuple(make(number) for number, make in enumerate(steps, 1))
    return Procedure(name="deploy", title="Deploy", steps=numbered, **more)


def digest_of(step: StepId | None, revision: int) -> str:
    """A stand-in for an envelope's digest: another one for each gate and revision."""
    return sha256(f"{step} {revision}".encode())


def child_of(run: Run, step: StepId) -> str:
    """The run that is to carry the step out, where one does."""
    return CHILD if is_child(run, step) else ""


class Story:
    """One run and all its events. `mode` is auto here, so that only the gates a test names are there.

    `approval` are the procedure's rules, `more` is what else it says; `config` says who is who, and may be replaced
    between two commands.
    """

    def __init__(
        self,
        *steps: MakeStep,
        mode: ExecutionMode = ExecutionMode.AUTO,
        policy: Policy | None = None,
        queued: bool = False,
        actor: Actor = ALICE,
        priority: Priority = Priority.NORMAL,
        params: dict[str, Any] | None = None,
        approval: ApprovalRules | None = None,
        config: Config | None = None,
        **more: Any,
    ) -> None:
        self.procedure = procedure(*steps, priority=priority, approval=approval, **more)
        self.config = config or Config()
        self.now = Instant(NOON, 1_000_000, "boot-1")
        new = NewRun(
            run_id=RUN,
            procedure=self.procedure,
            procedure_digest=sha256(b"procedure"),
            mode=mode,
            declared_mode=mode,
            params=params or {},
            environment={"LANG": "C.UTF-8"},
            umask=0o022,
            policy=policy or Policy(),
            trigger="manual",
            queued_because="deploy may have 1 at once" if queued else "",
        )
        decision = create(new, actor=actor, now=self.now, people=Directory(self.config))
        self.run: Run = decision.run
        self.events: list[Event] = list(decision.events)

    def tick(self, seconds: float = 1) -> None:
        step = timedelta(seconds=seconds)
        self.now = Instant(self.now.at + step, self.now.boot_ms + round(seconds * 1000), self.now.boot_id)

    def set_wall_by(self, seconds: float) -> None:
        """Somebody sets the wall clock; no time passes."""
        self.now = Instant(self.now.at + timedelta(seconds=seconds), self.now.boot_ms, self.now.boot_id)

    def reboot(self) -> None:
        """The boot clock starts anew; the wall clock goes on."""
        self.now = Instant(self.now.at, 0, self.now.boot_id + "+")

    def when(self, command: type[cmd.Command], **fields: Any) -> list[str]:
        """The types of the events that the command made, a second later."""
        self.tick()
        decision = decide(self.run, self.command(command, **fields))
        self.run = decision.run
        self.events.extend(decision.events)
        return [event.event_type for event in decision.events]

    def refused(self, error: type[SopwithError], command: type[cmd.Command], /, **fields: Any) -> SopwithError:
        """The error with which the command was refused; `exactly` that class."""
        self.tick()
        before = self.run
        with pytest.raises(error) as caught:
            decide(self.run, self.command(command, **fields))
        assert type(caught.value) is error
        assert self.run == before
        return caught.value

    def command(self, command: type[cmd.Command], /, **fields: Any) -> cmd.Command:
        actor = SYSTEM if command in DRIVER_COMMANDS else ALICE
        return command(**{"actor": actor, "now": self.now, "people": Directory(self.config), **fields})

    def drive(self) -> Story:
        """Asks every condition, opens every gate, starts every step that is owed now; answers and ends nothing."""
        kinds = (DueKind.EVALUATE, DueKind.OPEN_GATE, DueKind.START_STEP)
        while todo := [item for item in ready(due(self.run), self.now.at) if item.kind in kinds]:
            if todo[0].kind is DueKind.OPEN_GATE:
                self.ask(todo[0].step)
            elif todo[0].kind is DueKind.EVALUATE:
                self.when(cmd.Evaluate, step=todo[0].step)
            else:
                self.start(todo[0].step or 0)
        return self

    def at(self, number: StepId) -> Story:
        """Lets the time pass until the step wakes up; the next command comes a moment after it."""
        wake_at = self.run.steps[number].wake_at
        assert wake_at is not None
        self.tick(max(0.0, (wake_at - self.now.at).total_seconds() - 1))
        return self

    def ask(self, step: StepId | None) -> list[str]:
        gate = self.run.start_gate if step is None else self.run.steps[step].gate
        return self.when(cmd.OpenGate, step=step, digest=digest_of(step, gate.revision + 1 if gate else 1))

    def start(self, step: StepId, **more: Any) -> list[str]:
        gate = self.run.steps[step].gate
        given = {"digest": gate.digest if gate else digest_of(step, 0), "child_run_id": child_of(self.run, step)}
        return self.when(cmd.Start, step=step, **{**given, **more})

    def notice(self, step: StepId, standing: RunStatus | None, **more: Any) -> list[str]:
        return self.when(cmd.Notice, step=step, **{"child_run_id": CHILD, "standing": standing, **more})

    def finish(self, step: StepId, *, error: str = "", **more: Any) -> list[str]:
        result = cmd.StepResult(exit_code=1 if error else 0, error=error, **more)
        return self.when(cmd.Finish, step=step, attempt=self.run.steps[step].attempt, result=result)

    def interrupt(self, step: StepId) -> list[str]:
        attempt = self.run.steps[step].attempt
        return self.when(cmd.Interrupt, step=step, attempt=attempt, reason="the machine went down")

    def expire(self, step: StepId | None, **more: Any) -> list[str]:
        return self.when(cmd.Expire, step=step, **{"revision": self.gate(step).revision, **more})

    def remind(self, step: StepId | None, **more: Any) -> list[str]:
        return self.when(cmd.Remind, step=step, **{"revision": self.gate(step).revision, **more})

    def gate(self, step: StepId | None) -> Gate:
        gate = self.run.start_gate if step is None else self.run.steps[step].gate
        assert gate is not None
        return gate

    def step(self, number: StepId) -> StepState:
        return self.run.steps[number]

    @property
    def status(self) -> RunStatus:
        return status_of(self.run)

    @property
    def statuses(self) -> tuple[StepStatus, ...]:
        return tuple(step.status for step in self.run.steps.values())

    @property
    def last(self) -> Event:
        return self.events[-1]

    def owed(self) -> list[tuple[DueKind, StepId | None]]:
        return [(item.kind, item.step) for item in due(self.run)]

    def latest(self, event_type: str) -> Event:
        """The latest event of this type."""
        return next(event for event in reversed(self.events) if event.event_type == event_type)
