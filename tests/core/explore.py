"""Every state that a small run can reach, and what each command does in it. Times, counters and texts are forgotten.

Breadth first and without chance, so that a test can say "exactly these" and "nowhere", not only "sometimes".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM, Actor
from sopwith.core.address import StepId
from sopwith.core.config import Config
from sopwith.core.decide import decide
from sopwith.core.instant import Instant
from sopwith.core.moves import MOVES
from sopwith.core.people import Directory
from sopwith.core.run import Gate, Run, RunStatus, run_times_out_at, status_of, times_out_at
from sopwith.errors import SopwithError

from .given import ALICE, BOB, CHILD, DRIVER_COMMANDS, child_of, digest_of

Outcome = tuple[cmd.Command, Run]

EVERYBODY = Directory(Config(groups={"release": ("alice", "bob"), "oncall": ("bob",)}))
STANDINGS = (RunStatus.AWAITING_APPROVAL, RunStatus.PENDING)
"""How a child run may rest: so that it waits for a person, or for something else."""
NOBODY = Directory(Config())
"""The same groups when everybody has left them."""


def every_state(start: Run, *, not_after: tuple[type[cmd.Command], ...] = ()) -> Iterator[tuple[Run, list[Outcome]]]:
    """Each state once, with each command that is accepted there and the run it leads to.

    `not_after`: what these commands lead to is not looked at further.
    """
    known = {_key(start)}
    frontier = deque([start])
    while frontier:
        run = frontier.popleft()
        outcomes = list(_outcomes(run))
        for command, after in outcomes:
            if not isinstance(command, not_after) and (key := _key(after)) not in known:
                known.add(key)
                frontier.append(after)
        yield run, outcomes


def _outcomes(run: Run) -> Iterator[Outcome]:
    status = status_of(run)
    refused: set[type[cmd.Command]] = set()
    for command in commands_for(run):
        # what the table leaves out is refused whatever the step: one of a kind is tried in each state
        if type(command) in refused:
            continue
        if (status, type(command)) not in MOVES:
            refused.add(type(command))
        try:
            yield command, decide(run, command).run
        except SopwithError:
            continue


def commands_for(run: Run) -> Iterator[cmd.Command]:
    """Every command about every step, sensible or not; a second after the run's last event, or at a deadline."""
    yield _command(run, cmd.Admit, start_digest=digest_of(None, 1))
    yield _command(run, cmd.Halt, reason="a variable is missing")
    yield _command(run, cmd.TimeOutRun)
    if (over := run_times_out_at(run)) is not None:
        yield _command(run, cmd.TimeOutRun, now=_after_a_restart(over))
    for verb in (cmd.Pause, cmd.Resume, cmd.Cancel, cmd.Retry, cmd.Rollback, cmd.Approve):
        yield _command(run, verb)
    yield _command(run, cmd.Pause, stop=True)
    if _has_rules(run):
        yield _command(run, cmd.Admit, start_digest=digest_of(None, 1), people=NOBODY)
        yield from _votes(run, None)
    yield _command(run, cmd.Reject, reason="no")
    yield from _about_gate(run, None, run.start_gate)
    if run.params or any(step.condition for step in run.procedure.steps):
        yield _command(run, cmd.Retry, params={"go": "yes"})
    for number in run.steps:
        yield from _about_step(run, number)


def _about_step(run: Run, number: StepId) -> Iterator[cmd.Command]:
    step = run.steps[number]
    yield from _about_gate(run, number, step.gate)
    yield _command(run, cmd.Approve, step=number)
    if _has_rules(run):
        yield from _votes(run, number)
    yield _command(run, cmd.Retry, from_step=number)
    yield _command(run, cmd.Complete, step=number)
    for verb in (cmd.Reject, cmd.Skip, cmd.Fail, cmd.Block):
        yield _command(run, verb, step=number, reason="no")
    child = child_of(run, number)
    digest = step.gate.digest if step.gate else digest_of(number, 0)
    yield _command(run, cmd.Start, step=number, digest=digest, child_run_id=child)
    yield _command(run, cmd.Start, step=number, digest=digest_of(number, -1), changed=("script",), child_run_id=child)
    for standing in (None, *STANDINGS):
        yield _command(run, cmd.Notice, step=number, child_run_id=CHILD, standing=standing)
    yield from _about_time(run, number)
    yield _command(run, cmd.Interrupt, step=number, attempt=step.attempt, reason="gone")
    for error, cause in (("", "exit"), ("exit code 1", "exit"), ("killed", "cancelled")):
        result = cmd.StepResult(error=error, cause=cause)
        yield _command(run, cmd.Finish, step=number, attempt=step.attempt, result=result)
    if run.procedure.step(number).verify:
        for held in ("", "what would run is not what was recorded"):
            yield _command(run, cmd.BeginVerification, step=number, attempt=step.attempt, held=held)
    else:
        yield _command(run, cmd.BeginVerification, step=number, attempt=step.attempt)
    for exit_code in (0, 1, 2):
        result = cmd.StepResult(exit_code=exit_code, error="no" if exit_code else "")
        yield _command(run, cmd.EndVerification, step=number, attempt=step.attempt, result=result)


def _about_time(run: Run, number: StepId) -> Iterator[cmd.Command]:
    step = run.steps[number]
    yield _command(run, cmd.Evaluate, step=number)
    yield _command(run, cmd.EndWait, step=number)
    yield _command(run, cmd.TimeOut, step=number, attempt=step.attempt)
    if (over := times_out_at(run, step)) is not None:
        yield _command(run, cmd.TimeOut, step=number, attempt=step.attempt, now=_after_a_restart(over))
    if step.wake_at is not None:
        now = _after_a_restart(step.wake_at)
        yield _command(run, cmd.EndWait, step=number, now=now)
        digest = step.gate.digest if step.gate else digest_of(number, 0)
        yield _command(run, cmd.Start, step=number, digest=digest, now=now)


def _votes(run: Run, step: StepId | None) -> Iterator[cmd.Command]:
    """Bob, who did not start the run, agrees; and Alice and he, at a moment when nobody else is left."""
    yield _command(run, cmd.Approve, step=step, actor=BOB)
    for actor, name in ((ALICE, "alice"), (BOB, "bob")):
        alone = Directory(Config(groups={"release": (name,), "oncall": (name,)}))
        yield _command(run, cmd.Approve, step=step, actor=actor, people=alone)


def _about_gate(run: Run, number: StepId | None, gate: Gate | None) -> Iterator[cmd.Command]:
    revision = gate.revision if gate is not None else 0
    digest = digest_of(number, revision + 1)
    yield _command(run, cmd.OpenGate, step=number, digest=digest)
    if _has_rules(run):
        yield _command(run, cmd.OpenGate, step=number, digest=digest, people=NOBODY)
    for verb in (cmd.Expire, cmd.Remind):
        yield _command(run, verb, step=number, revision=revision)
    if gate is not None and gate.due_at is not None:
        yield _command(run, cmd.Expire, step=number, revision=revision, now=_after_a_restart(gate.due_at))
        if gate.clock is not None:
            jump = Instant(gate.due_at, gate.clock.boot_ms, gate.clock.boot_id)
            yield _command(run, cmd.Expire, step=number, revision=revision, now=jump)
    for at in gate.remind_at if gate is not None else ():
        yield _command(run, cmd.Remind, step=number, revision=revision, now=_after_a_restart(at))


def _after_a_restart(at: datetime) -> Instant:
    """When only the wall clock tells the time."""
    return Instant(at, 0, "restarted")


def _has_rules(run: Run) -> bool:
    return run.procedure.approval is not None or any(step.approval for step in run.procedure.steps)


def _command(run: Run, command: type[cmd.Command], **fields: Any) -> cmd.Command:
    actor: Actor = SYSTEM if command in DRIVER_COMMANDS else ALICE
    now = Instant(run.updated_at + timedelta(seconds=1), 0, "")
    return command(**{"actor": actor, "now": now, "people": EVERYBODY, **fields})


def _key(run: Run) -> tuple[object, ...]:
    steps = tuple(
        (
            *(step.status, step.gate_void, step.waived, step.attempt > 0, _gate(step.gate), min(step.tries, 2)),
            *(step.wake_at is None, step.condition_held, step.condition_unknown, step.passed_over),
            *(step.stopped is None, step.ends_run, step.child_standing, step.verifying),
            step.to_verify,
        )
        for step in run.steps.values()
    )
    flags = (
        run.queued,
        run.ended,
        run.paused,
        run.pause_cause,
        run.pause_requested,
        bool(run.stopping),
        run.cancel_requested,
    )
    undoing = (
        None if run.rollback is None else (run.rollback.left, run.rollback.ends, run.rollback.declined),
        tuple(step.rollback_begun for step in run.steps.values()),
    )
    asked_with = (run.start_void, tuple(sorted(run.params.items())))
    limit = (run.timed_out, run_times_out_at(run) is None)
    start = (run.started_at is None, asked_with, run.executed, _gate(run.start_gate))
    return (tuple(run.steps), steps, flags, start, undoing, limit)


def _gate(gate: Gate | None) -> tuple[object, ...]:
    if gate is None:
        return ()
    voters = tuple(sorted(vote.actor.id for vote in gate.votes))
    clock = (gate.due_at is None, gate.left_ms is None, len(gate.remind_at), len(gate.remind_left_ms))
    return (gate.status, gate.on_timeout, gate.escalated, gate.rollback, voters, *clock)
