"""What the driving verbs share: carry the run on, then say how it stands and leave with its exit code."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

import click

from sopwith.core.due import at_rest
from sopwith.core.run import Run
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.display import choose_display, ended_words, is_interactive
from sopwith.doors.cli.door import Document, Door, StepType
from sopwith.engine.documents import error_document, run_document
from sopwith.engine.engine import Answered
from sopwith.errors import StaleApproval, VerificationFailed

_ON_EXIT = f"{__name__}.on_exit"
_TRIES = 20
_BETWEEN_TRIES_SECS = 0.05
"""How often a run that its driver let go of in the middle is taken up before this is reported."""


class OnExit(StrEnum):
    """What becomes of a run when the command that drives it in the foreground is ended by a signal."""

    LEAVE = "leave"
    PAUSE = "pause"
    STOP = "stop"
    CANCEL = "cancel"


def step_option(function: Callable[..., None]) -> Callable[..., None]:
    """`--step`, for verbs about one of several that wait."""
    return click.option("--step", type=StepType(), help="Which step, where several wait.")(function)


def wait_option(function: Callable[..., None]) -> Callable[..., None]:
    """`--wait`, for verbs that may meet another driver."""
    return click.option("--wait", is_flag=True, help="Follow the run where somebody else drives it already.")(function)


def on_exit_option(function: Callable[..., None]) -> Callable[..., None]:
    """`--on-exit`, for verbs that drive; `chosen_exit` tells what was chosen."""
    return click.option(
        "--on-exit",
        type=click.Choice([each.value for each in OnExit]),
        expose_value=False,
        callback=_choose_exit,
        help="What becomes of the run when this command is ended by Ctrl-C, SIGTERM or SIGHUP: leave it to itself, "
        "pause it after the running step, stop the step and pause, or cancel the run.",
    )(function)


def _choose_exit(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[_ON_EXIT] = None if value is None else OnExit(value)


def chosen_exit() -> OnExit | None:
    """What the person or script that called has chosen; None: nothing, so that Ctrl-C on a terminal asks first."""
    chosen: OnExit | None = click.get_current_context().meta.get(_ON_EXIT)
    return chosen


def carry_on_and_leave(
    door: Door,
    run: Run,
    *,
    wait: bool = False,
    ask: bool = False,
    answered: Answered | None = None,
    reported_at: int | None = None,
    document: Callable[[Document], Document] | None = None,
) -> None:
    """Drives the run in the foreground until it waits or ends; `ask`: on a terminal, asks and goes on.

    `answered`: an approval that may turn out stale, which is a refusal whatever the run does. `reported_at`: the event
    of a report that may not be believed, which is one too.
    """
    from sopwith.doors.cli.foreground import Left, carry_on, exit_code
    from sopwith.engine.claiming import lease_elsewhere

    on_exit = chosen_exit()
    interactive = ask and is_interactive(as_json=door.as_json)
    display = choose_display(door)
    display.show(run)
    driver = lease = None
    try:
        run = carry_on(door, run.run_id, display, interactive=interactive, wait=wait or interactive, on_exit=on_exit)
        for _ in range(_TRIES):
            # whoever holds a paused run has only just looked at it
            driver = None if run.paused else door.engine.parts.store.holder(run.run_id)
            if driver is not None or run.queued or at_rest(run):
                break
            if (lease := lease_elsewhere(door.engine.parts, run.run_id)) is not None:
                break
            # whoever drove it has let go since, or a driver is only just taking it up
            time.sleep(_BETWEEN_TRIES_SECS)
            run = carry_on(
                door, run.run_id, display, interactive=interactive, wait=wait or interactive, on_exit=on_exit
            )
    except Left as left:
        with terminal.optional():
            if door.as_json:
                shown = door.reader.status(run.run_id)
                told = {"leftBy": left.signal.name, "onExit": (on_exit or OnExit.LEAVE).value}
                door.say({**(document(shown) if document else shown), **told}, str)
            else:
                terminal.echo(_left_words(door, run.run_id), err=True)
        door.leave(left.exit_code)
    shown = run_document(run, now=door.engine.parts.clock.now().at, driver=driver, lease=lease)
    unbelieved = _unbelieved(door, run.run_id, reported_at)
    with terminal.optional():
        told = document(shown) if document else shown
        door.say({**told, **error_document(unbelieved)} if unbelieved else told, lambda: ended_words(shown))
    if unbelieved is not None:
        door.leave(unbelieved.exit_code)
    if answered is not None and door.reader.went_stale(run.run_id, answered.run.seq):
        door.leave(StaleApproval.exit_code)
    door.leave(exit_code(run, driven=driver is not None or lease is not None))


def _unbelieved(door: Door, run_id: str, reported_at: int | None) -> VerificationFailed | None:
    """That a report was not believed, where it was not."""
    try:
        if reported_at is not None:
            door.reader.check_believed(run_id, reported_at)
    except VerificationFailed as failed:
        return failed
    return None


def _left_words(door: Door, run_id: str) -> str:
    from sopwith.core.run import running_processes

    run = door.engine.runs.load(run_id).run
    running = running_processes(run)
    going_on = f"step {running[0]} goes on by itself; " if running else ""
    if running and run.pause_requested:
        going_on = f"the run pauses when step {running[0]} has ended; "
    if running and (run.stopping or run.cancel_requested):
        going_on = f"step {running[0]} may not have ended yet; "
    way = f"{text.bold(f'sop resume {run_id}')} comes back to it"
    if run.ended is not None or run.paused:
        way = f"the run {text.status_words(run_document(run))}"
    return f"\n{click.style('left:', fg='yellow')} {going_on}{way}"
