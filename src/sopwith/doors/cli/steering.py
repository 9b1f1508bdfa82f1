"""Verbs that steer a run: cancel, pause, resume, retry, rollback."""

from __future__ import annotations

import click

from sopwith.core.address import StepId
from sopwith.core.run import Run
from sopwith.doors.cli import text
from sopwith.doors.cli.door import Door, StepType, run_argument, verb
from sopwith.doors.cli.driving import carry_on_and_leave, on_exit_option, wait_option
from sopwith.doors.cli.pairs import from_pairs
from sopwith.engine.claiming import driver_of
from sopwith.engine.documents import run_document
from sopwith.ports import Owner

PATIENCE_SECS = 10.0
"""How long a driver may take to end the processes of a run: TERM and KILL take 5 seconds and a little."""


@click.command()
@run_argument
@click.option("--reason", default="", help="Why, for the record.")
@verb
def cancel(door: Door, run_id: str, reason: str) -> None:
    """End RUN for good. A running step and all it started are ended first: TERM, 5 seconds, KILL."""
    run = door.engine.cancel(run_id, actor=door.actor, reason=reason)
    if run.cancel_requested:
        run = _end_processes(door, run_id)
    door.engine.leave(run)
    _say_ended(door, run, still=run.ended is None)


@click.command()
@run_argument
@click.option("--now", "stop", is_flag=True, help="End a running step and all it started first: TERM, 5 seconds, KILL.")
@click.option("--reason", default="", help="Why, for the record.")
@verb
def pause(door: Door, run_id: str, stop: bool, reason: str) -> None:
    """Start nothing more in RUN. A running step ends by itself, or with --now is ended and interrupted; gates and
    their clocks stop at once.
    """
    run = door.engine.pause(run_id, actor=door.actor, reason=reason, stop=stop)
    if run.stopping:
        run = _end_processes(door, run_id)
    door.engine.leave(run)
    _say_ended(door, run, still=bool(run.stopping))


@click.command()
@run_argument
@wait_option
@on_exit_option
@verb
def resume(door: Door, run_id: str, wait: bool) -> None:
    """Go on with RUN after a pause, a crash or a detach. A rejected or failed step is not passed: see retry, skip."""
    carry_on_and_leave(door, door.engine.resume(run_id, actor=door.actor), wait=wait, ask=True)


@click.command()
@run_argument
@click.option("--from", "from_step", type=StepType(), help="Go back to this step; every gate from there on asks again.")
@click.option(
    "--param",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a parameter; may be given many times. What was approved with the old ones is asked again.",
)
@click.option("--reason", default="", help="Why, for the record.")
@wait_option
@on_exit_option
@verb
def retry(door: Door, run_id: str, from_step: StepId | None, pairs: tuple[str, ...], reason: str, wait: bool) -> None:
    """Run the failed, rejected or interrupted steps of RUN again, and what was rolled back; their gates ask again."""
    params = from_pairs(pairs, option="--param", doing=f"retry {run_id}")
    run = door.engine.retry(run_id, actor=door.actor, from_step=from_step, params=params, reason=reason)
    carry_on_and_leave(door, run, wait=wait, ask=True)


@click.command()
@run_argument
@click.option("--reason", default="", help="Why, for the record.")
@wait_option
@on_exit_option
@verb
def rollback(door: Door, run_id: str, reason: str, wait: bool) -> None:
    """Undo the completed steps of RUN that have a rollback script, the last one first. RUN has failed, is paused or
    was cancelled; after it, it is failed or cancelled.
    """
    run = door.engine.rollback(run_id, actor=door.actor, reason=reason)
    carry_on_and_leave(door, run, wait=wait, ask=True)


def _end_processes(door: Door, run_id: str) -> Run:
    """Whoever drives the run ends its processes; if nobody does, this process does."""
    from sopwith.doors.cli.display import Display
    from sopwith.doors.cli.foreground import carry_on

    return carry_on(door, run_id, Display(), interactive=False, wait=True, patience_secs=PATIENCE_SECS)


def _say_ended(door: Door, run: Run, *, still: bool) -> None:
    """`still`: what was to end has not ended yet, and whoever drives the run must see to it."""
    driver = driver_of(door.engine.parts, run.run_id) if still else None
    if driver is not None:
        _say_accepted(door, run, driver)
    else:
        _say(door, run)


def _say_accepted(door: Door, run: Run, driver: Owner) -> None:
    document = run_document(run, now=door.engine.parts.clock.now().at, driver=driver)
    who = f"process {driver.pid} on {driver.host}"
    door.say(document, lambda: f"{run.run_id}: accepted; {who} must end it (it does not answer)")


def _say(door: Door, run: Run) -> None:
    driver = driver_of(door.engine.parts, run.run_id)
    document = run_document(run, now=door.engine.parts.clock.now().at, driver=driver)
    door.say(document, lambda: text.run_text(document))
