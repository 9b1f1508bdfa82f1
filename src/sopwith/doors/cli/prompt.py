"""Questions at the terminal. Enter alone decides nothing; an answer given elsewhere ends the question."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import click
import msgspec

from sopwith.core.actor import Actor
from sopwith.core.run import Gate, Run, StepStatus, is_manual, open_gates
from sopwith.core.visible import visible
from sopwith.doors.cli import text
from sopwith.engine.documents import gate_document, step_definition
from sopwith.engine.engine import Engine
from sopwith.errors import SopwithError

_LOOK_SECS = 0.2
_CHANGED = None

Changed = Callable[[], bool]


async def ask(engine: Engine, actor: Actor, run: Run, changed: Changed) -> bool:
    """Asks about the first thing that waits. True: something happened, drive on. False: leave it waiting."""
    gates = open_gates(run)
    if gates:
        return await _ask_gate(engine, actor, run, *gates[0], changed)
    for state in run.steps.values():
        if state.status is StepStatus.RUNNING and is_manual(run, state.number):
            return await _ask_manual(engine, actor, run, state.number, changed)
    return False


async def _ask_gate(engine: Engine, actor: Actor, run: Run, number: int | None, gate: Gate, changed: Changed) -> bool:
    step = None if number is None else step_definition(run.procedure.step(number))
    click.echo("\n" + text.gate_text(run.name, gate_document(run, number, gate), step))
    while True:
        answer = await _line(f"  {_keys('approve', 'reject', 'view all', 'detach')} ", changed)
        if answer is _CHANGED:
            return _note_change()
        match answer.strip().lower():
            case "a" | "approve":
                if _tried(lambda: engine.approve(run.run_id, actor=actor, digest=gate.digest)):
                    return True
            case "r" | "reject":
                if await _reject(engine, actor, run, gate, changed):
                    return True
            case "v" | "view" | "view all":
                _view(engine, gate)
            case "d" | "detach" | "q":
                return _detached(run)


async def _reject(engine: Engine, actor: Actor, run: Run, gate: Gate, changed: Changed) -> bool:
    reason = await _line("  reason: ", changed)
    if reason is _CHANGED:
        return _note_change()
    return _tried(lambda: engine.reject(run.run_id, actor=actor, digest=gate.digest, reason=reason.strip()))


async def _ask_manual(engine: Engine, actor: Actor, run: Run, number: int, changed: Changed) -> bool:
    step = run.procedure.step(number)
    title = click.style("do this:", fg="yellow", bold=True)
    click.echo(f"\n{title} {run.name}, Step {number}: {text.bold(visible(step.title))}")
    if step.body:
        click.echo(text.indented(visible(step.body)))
    while True:
        answer = await _line(f"  {_keys('complete', 'fail', 'skip', 'detach')} ", changed)
        if answer is _CHANGED:
            return _note_change()
        match answer.strip().lower():
            case "c" | "complete":
                if _tried(lambda: engine.complete(run.run_id, actor=actor, step=number)):
                    return True
            case "f" | "fail":
                reason = (await _line("  reason: ", changed)) or ""
                if _tried(lambda why=reason: engine.fail(run.run_id, actor=actor, step=number, reason=why.strip())):  # type: ignore[misc]
                    return True
            case "s" | "skip":
                reason = (await _line("  reason: ", changed)) or ""
                if _tried(lambda why=reason: engine.skip(run.run_id, actor=actor, step=number, reason=why.strip())):  # type: ignore[misc]
                    return True
            case "d" | "detach" | "q":
                return _detached(run)


def _view(engine: Engine, gate: Gate) -> None:
    data = engine.parts.store.content(gate.digest)
    if data is None:
        click.echo("  the envelope is not in the database")
        return
    shown = msgspec.json.format(data, indent=2).decode()
    click.echo(text.indented(visible(shown)))
    click.echo(text.dim(f"    SHA-256 {gate.digest}"))


def _tried(action: Callable[[], object]) -> bool:
    """Whether it worked; a refusal is shown and the question stays."""
    try:
        action()
    except SopwithError as error:
        click.echo(text.error_text(error), err=True)
        return False
    return True


def _note_change() -> bool:
    click.echo(text.dim("\n  settled elsewhere"))
    return True


def _detached(run: Run) -> bool:
    click.echo(text.dim(f"  left waiting: sop resume {run.run_id} comes back to it"))
    return False


def _keys(*words: str) -> str:
    return "  ".join(f"[{click.style(word[0], bold=True)}]{word[1:]}" for word in words) + " >"


async def _line(prompt: str, changed: Changed) -> str | None:
    """One line from the terminal; None if something changed elsewhere first. End of input means detach."""
    click.echo(prompt, nl=False)
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    descriptor = sys.stdin.fileno()
    loop.add_reader(descriptor, readable.set)
    try:
        while not readable.is_set():
            if changed():
                return _CHANGED
            try:
                await asyncio.wait_for(readable.wait(), _LOOK_SECS)
            except TimeoutError:
                continue
    finally:
        loop.remove_reader(descriptor)
    data = os.read(descriptor, 64 * 1024)
    return data.decode("utf-8", "replace") if data else "detach"
