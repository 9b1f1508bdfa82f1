"""What a person at the terminal is asked: about a gate, about a step to do by hand, or what now (`whatnow.py`)."""

from __future__ import annotations

from collections.abc import Callable

import click

from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.approval import FormField
from sopwith.core.approvers import rules_of
from sopwith.core.forms import value_of
from sopwith.core.run import Gate, Run, StepStatus, awaits_report, open_gates, status_of
from sopwith.core.visible import visible, visible_value
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.asking import Asking, Changed, EndOfInput, Outcome, Question, forget_typed_ahead
from sopwith.doors.cli.question import question_text, whole_lines
from sopwith.doors.cli.terminal import shown
from sopwith.doors.cli.whatnow import ask_what_now
from sopwith.engine.engine import Engine
from sopwith.engine.reading import Reader


async def ask(engine: Engine, actor: Actor, run: Run, changed: Callable[[], bool]) -> bool:
    """Asks about the first thing that waits. True: something happened, drive on. False: leave it waiting."""
    question = _first_question(Asking(engine, actor, run, changed))
    if question is None:
        return False
    forget_typed_ahead()
    try:
        while True:
            outcome = await question()
            if outcome is not Outcome.ASK_AGAIN:
                break
    except Changed:
        terminal.echo(text.dim(f"\n  {_what_happened(engine, run)}"))
        return True
    except EndOfInput:
        terminal.echo()
        outcome = Outcome.DETACHED
    if outcome is Outcome.DETACHED:
        terminal.echo(text.dim("  left as it is" if run.ended is not None or run.paused else "  left waiting"))
    return outcome is Outcome.SETTLED


def _first_question(asking: Asking) -> Question | None:
    run = asking.run
    if run.ended is not None or run.paused:
        return ask_what_now(asking)
    for number, gate in open_gates(run):
        envelope = Reader(asking.engine).envelope(gate.digest)
        terminal.echo("\n" + question_text(run, number, gate, envelope))
        reason = asking.engine.why_not(run, number, actor=asking.actor)
        if reason and envelope is not None:
            terminal.echo(text.dim(f"  {shown(reason)}; this waits for somebody else"))
            return lambda: _ask_bystander(asking, number, gate)
        return lambda: _ask_gate(asking, number, gate) if envelope is not None else _ask_blind(asking, gate)
    for state in run.steps.values():
        if awaits_report(run, state):
            step = run.procedure.step(state.number)
            head = click.style("do this:", fg="yellow", bold=True)
            terminal.echo(f"\n{head} {run.name}, step {step.number}: {text.bold(shown(step.title))}")
            if step.body:
                terminal.echo(text.framed(visible(step.body)))
            for line in text.verify(step.verify.text if step.verify else None, by=4):
                terminal.echo(line)
            if state.error:
                terminal.echo(f"    {click.style(shown(state.error), fg='red')}")
            return lambda: _ask_manual(asking, step.number)
    return None


async def _ask_gate(asking: Asking, number: StepId | None, gate: Gate) -> Outcome:
    match await asking.choice("approve", "reject", "view all", "detach"):
        case "approve":
            return await _approve(asking, number, gate)
        case "reject":
            return await _reject(asking, gate)
        case "view all":
            _view(asking, number, gate)
            return Outcome.ASK_AGAIN
        case _:
            return Outcome.DETACHED


async def _approve(asking: Asking, number: StepId | None, gate: Gate) -> Outcome:
    """Asks for what the gate wants filled in, then approves. What an earlier voter gave is not asked again."""
    rules = rules_of(asking.run, number)
    form = {}
    for field in rules.form:
        if field.name not in gate.form and (given := await _filled_in(asking, field)):
            form[field.name] = given
    comment = await asking.line("  comment: ") if rules.comment_required else ""
    return asking.tried(
        lambda: asking.engine.approve(
            asking.run.run_id, actor=asking.actor, digest=gate.digest, comment=comment, form=form
        )
    )


async def _filled_in(asking: Asking, field: FormField) -> str:
    """What was typed for a field, once it fits; empty where nothing was and nothing must be."""
    about = [str(field.type) if not field.values else " or ".join(visible_value(value) for value in field.values)]
    about += [f"Enter for {visible_value(field.default)}"] if field.default is not None else []
    about += ["Enter for none"] if field.default is None and not field.required else []
    title = text.code(field.name) + (f" ({shown(field.title)})" if field.title else "")
    while True:
        given = await asking.line(f"  {title}, {', '.join(about)}: ")
        if not given and (field.default is not None or not field.required):
            return ""
        try:
            value_of(field, given)
        except ValueError as error:
            terminal.echo(text.dim(f"  expected {shown(str(error))}"))
        else:
            return given


async def _ask_bystander(asking: Asking, number: StepId | None, gate: Gate) -> Outcome:
    """Whoever may not approve may still stop it, or wait here until somebody else answers."""
    match await asking.choice("reject", "view all", "detach"):
        case "reject":
            return await _reject(asking, gate)
        case "view all":
            _view(asking, number, gate)
            return Outcome.ASK_AGAIN
        case _:
            return Outcome.DETACHED


async def _ask_blind(asking: Asking, gate: Gate) -> Outcome:
    """Where nobody can see what would run, nobody is asked to approve it."""
    if await asking.choice("reject", "detach") == "reject":
        return await _reject(asking, gate)
    return Outcome.DETACHED


async def _reject(asking: Asking, gate: Gate) -> Outcome:
    reason = await asking.line("  reason: ")
    return asking.tried(
        lambda: asking.engine.reject(asking.run.run_id, actor=asking.actor, digest=gate.digest, reason=reason)
    )


async def _ask_manual(asking: Asking, number: StepId) -> Outcome:
    engine, run_id, actor = asking.engine, asking.run.run_id, asking.actor
    match await asking.choice("complete", "fail", "skip", "detach"):
        case "complete":
            comment = await asking.line("  comment, or Enter for none: ")
            return asking.tried(lambda: engine.complete(run_id, actor=actor, step=number, comment=comment))
        case "fail":
            reason = await asking.line("  reason: ")
            return asking.tried(lambda: engine.fail(run_id, actor=actor, step=number, reason=reason))
        case "skip":
            reason = await asking.line("  reason: ")
            return asking.tried(lambda: engine.skip(run_id, actor=actor, step=number, reason=reason))
        case _:
            return Outcome.DETACHED


def _view(asking: Asking, number: StepId | None, gate: Gate) -> None:
    envelope = Reader(asking.engine).envelope(gate.digest)
    if envelope is None:
        terminal.echo("  the envelope is not in the database: sop doctor checks it")
        return
    terminal.echo("\n".join(whole_lines(asking.run, number, gate, envelope)))


def _what_happened(engine: Engine, before: Run) -> str:
    """Who answered the question that stood here, as far as the run tells."""
    run = engine.runs.load(before.run_id).run
    if run.seq == before.seq:
        return "its time has come"
    for number, earlier in open_gates(before):
        gate = run.start_gate if number is None else run.steps[number].gate
        if gate is not None and gate.decided_by is not None:
            return f"{gate.status.replace('_', ' ')} by {shown(str(gate.decided_by))}" + (
                f": {shown(gate.comment)}" if gate.comment else ""
            )
        if gate is not None and len(gate.votes) > len(earlier.votes):
            return f"{shown(str(gate.votes[-1].actor))} voted for it"
    for state in before.steps.values():
        now = run.steps[state.number]
        if state.status is StepStatus.RUNNING and now.status is not StepStatus.RUNNING:
            return f"step {state.number} was reported {now.status} elsewhere"
    if run.ended is not None or before.ended is not None or before.paused:
        return f"somebody decided elsewhere: the run is {status_of(run).replace('_', ' ')}"
    return "something changed elsewhere"
