"""What a person is offered where a run has stopped because of a step: each way on that is legal, for this person.

Nothing of the rules is repeated here: a way is offered where the core would take it now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click

from sopwith.core import commands as cmd
from sopwith.core.address import StepId
from sopwith.core.interruption import rules_of, text_of
from sopwith.core.parameters import resolve_parameters
from sopwith.core.procedure import OnInterrupt
from sopwith.core.rollback import to_roll_back
from sopwith.core.run import Run, StepState, StepStatus, is_final
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.asking import Asking, Outcome, Question
from sopwith.doors.cli.terminal import shown
from sopwith.errors import BadParameter

RETRY, PARAMETERS, SKIP, DONE, BACK, CANCEL, LEAVE = (
    "retry",
    "parameters",
    "skip",
    "done by hand",
    "back",
    "cancel",
    "leave",
)


def ask_what_now(asking: Asking) -> Question | None:
    """Shows the first step that stopped the run, and the question about it; None where no step did."""
    step = _in_the_way(asking.run)
    if step is None:
        return None
    ways = _legal(asking, step)
    terminal.echo("\n" + "\n".join(_trouble(asking.run, step, ways)))
    return lambda: _ask(asking, step, ways)


def _in_the_way(run: Run) -> StepState | None:
    """The first step that must be decided about."""
    if run.rollback is not None or is_final(run):
        return None
    steps = list(run.steps.values())
    stuck = next((step for step in steps if step.stuck), None)
    if stuck is not None or not run.paused:
        return stuck
    return next((step for step in steps if step.condition_unknown and step.status is StepStatus.PENDING), None)


def _legal(asking: Asking, step: StepState) -> tuple[str, ...]:
    """The ways that this person may take now, in the order in which they are offered."""
    run, actor = asking.run, asking.actor
    other = {**run.params, "": ""}  # whatever is typed: other than what they are
    commands: dict[str, Callable[..., cmd.Command]] = {
        RETRY: partial(cmd.Retry, actor=actor),
        PARAMETERS: partial(cmd.Retry, actor=actor, params=other),
        SKIP: partial(cmd.Skip, actor=actor, step=step.number, reason="?"),
        DONE: partial(cmd.Complete, actor=actor, step=step.number),
        BACK: partial(cmd.Rollback, actor=actor),
        CANCEL: partial(cmd.Cancel, actor=actor),
    }
    takes = [name for name, make in commands.items() if _is_taken(asking, make)]
    return (*takes, LEAVE)


def _is_taken(asking: Asking, make: Callable[..., cmd.Command]) -> bool:
    return asking.engine.refusal(asking.run, lambda now: make(now=now)) is None


def _trouble(run: Run, step: StepState, ways: tuple[str, ...]) -> list[str]:
    """What stopped the run, and what the ways come to where their names do not say it."""
    word = "not known" if step.condition_unknown else str(step.status)
    head = click.style(f"{word}:", fg=text.COLOURS.get(step.status) if step.stuck else "yellow", bold=True)
    title = text.bold(shown(run.procedure.step(step.number).title))
    lines = [f"{head} {run.name}, step {step.number}: {title}"]
    if told := run.reason if step.condition_unknown else step.error:
        lines.append(f"    {click.style(shown(told), fg='red')}")
    if step.status is StepStatus.INTERRUPTED:
        lines += _interruption(run, step, ways)
    others = [other.number for other in run.steps.values() if other.stuck and other.number != step.number]
    if others:
        lines.append(f"    {_steps(others)} {'is' if len(others) == 1 else 'are'} in the way too; retry takes all")
    if step.attempt and step.status in (StepStatus.FAILED, StepStatus.INTERRUPTED):
        lines.append(text.dim(f"    all it printed: sop logs {run.run_id} --step {step.number}"))
    if BACK in ways:
        lines.append(text.dim(f"    back: rolls back {_steps(to_roll_back(run))}"))
    return lines


def _interruption(run: Run, step: StepState, ways: tuple[str, ...]) -> list[str]:
    """What is known all the same, and what each answer says."""
    lines = []
    definition = run.procedure.step(step.number)
    if rules_of(definition).policy is not OnInterrupt.ASK:
        lines.append(text.dim(f"    onInterrupt {text.code(text_of(definition))}"))
    check = step.verification
    if check is not None and check.output:
        exits = "" if check.exit_code is None else f", exit code {check.exit_code}"
        lines.append(text.dim(f"    the verification printed{exits}:"))
        lines.append(text.framed(terminal.tame(check.output.rstrip("\n")), by=6))
    lines.append("    nobody knows whether its effect happened: look before you answer")
    meanings = {DONE: "it had done its work", RETRY: "it had not, run it again", SKIP: "it is not needed any more"}
    said = [f"{way}: {meaning}" for way, meaning in meanings.items() if way in ways]
    return [*lines, text.dim(f"    {'; '.join(said)}")] if said else lines


def _steps(numbers: Sequence[StepId]) -> str:
    return f"step{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


async def _ask(asking: Asking, step: StepState, ways: tuple[str, ...]) -> Outcome:
    engine, run_id, actor, number = asking.engine, asking.run.run_id, asking.actor, step.number
    match await asking.choice(*ways):
        case "retry":
            return asking.tried(lambda: engine.retry(run_id, actor=actor))
        case "parameters":
            return await _with_parameters(asking)
        case "skip":
            reason = await asking.line("  reason: ")
            return asking.tried(lambda: engine.skip(run_id, actor=actor, step=number, reason=reason))
        case "done by hand":
            return await _done(asking, number)
        case "back":
            reason = await asking.line("  reason, or Enter for none: ")
            return asking.tried(lambda: engine.rollback(run_id, actor=actor, reason=reason))
        case "cancel":
            reason = await asking.line("  reason, or Enter for none: ")
            return asking.tried(lambda: engine.cancel(run_id, actor=actor, reason=reason))
        case _:
            return Outcome.DETACHED


async def _with_parameters(asking: Asking) -> Outcome:
    """Asks for values until Enter ends it; no value at all decides nothing."""
    run, given = asking.run, dict[str, str]()
    for name, value in run.params.items():
        terminal.echo(text.dim(f"  {text.assigned(name, value)}"))
    while line := await asking.line("  NAME=VALUE, or Enter to end: "):
        name, equals, value = line.partition("=")
        try:
            if not equals:
                raise BadParameter(f"{line} has no value", hint="write it as NAME=VALUE")
            resolve_parameters(run.procedure, {**run.params, **given, name: value})
        except BadParameter as error:
            terminal.echo(text.error_text(error), err=True)
        else:
            given[name] = value
    if not given:
        terminal.echo(text.dim("  nothing is decided: no value was given"))
        return Outcome.ASK_AGAIN
    return asking.tried(lambda: asking.engine.retry(run.run_id, actor=asking.actor, params=given))


async def _done(asking: Asking, number: StepId) -> Outcome:
    comment = await asking.line("  comment, or Enter for none: ")
    evidence: list[Path] = []
    while path := await asking.line(f"  {'another ' if evidence else ''}evidence file, or Enter for none: "):
        evidence.append(Path(path).expanduser())
    return asking.tried(
        lambda: asking.engine.complete(
            asking.run.run_id, actor=asking.actor, step=number, comment=comment, evidence=tuple(evidence)
        )
    )
