"""What the driving verbs share: carry the run on, then say how it stands and leave with its exit code."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from sopwith.core.due import at_rest
from sopwith.core.run import Run
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.display import choose_display, ended_words, is_interactive
from sopwith.doors.cli.door import INTERRUPTED, Document, Door
from sopwith.engine.documents import run_document
from sopwith.engine.engine import Answered
from sopwith.errors import StaleApproval

_TRIES = 20
_BETWEEN_TRIES_SECS = 0.05
"""How often a run that its driver let go of in the middle is taken up before this is reported."""


def wait_option(function: Callable[..., None]) -> Callable[..., None]:
    """`--wait`, for verbs that may meet another driver."""
    return click.option("--wait", is_flag=True, help="Follow the run where somebody else drives it already.")(function)


def carry_on_and_leave(
    door: Door,
    run: Run,
    *,
    wait: bool = False,
    ask: bool = False,
    answered: Answered | None = None,
    document: Callable[[Document], Document] | None = None,
) -> None:
    """Drives the run in the foreground until it waits or ends; `ask`: on a terminal, asks and goes on.

    `answered`: an approval that may turn out stale, which is a refusal whatever the run does.
    """
    from sopwith.doors.cli.foreground import carry_on, exit_code

    interactive = ask and is_interactive(as_json=door.as_json)
    display = choose_display(door)
    display.show(run)
    driver = None
    try:
        run = carry_on(door, run.run_id, display, interactive=interactive, wait=wait or interactive)
        for _ in range(_TRIES):
            driver = door.engine.parts.store.holder(run.run_id)
            if driver is not None or run.queued or at_rest(run):
                break
            # whoever drove it has let go since, or a driver is only just taking it up
            time.sleep(_BETWEEN_TRIES_SECS)
            run = carry_on(door, run.run_id, display, interactive=interactive, wait=wait or interactive)
    except (KeyboardInterrupt, SystemExit) as left:
        terminated = isinstance(left, SystemExit)
        with terminal.optional():
            if door.as_json:
                shown = door.reader.status(run.run_id)
                door.say(document(shown) if document else shown, str)
            elif not terminated:
                terminal.echo(_left_words(door, run.run_id), err=True)
        if terminated:
            raise
        door.leave(INTERRUPTED)
    shown = run_document(run, now=door.engine.parts.clock.now().at, driver=driver)
    with terminal.optional():
        door.say(document(shown) if document else shown, lambda: ended_words(shown))
    if answered is not None and door.reader.went_stale(run.run_id, answered.run.seq):
        door.leave(StaleApproval.exit_code)
    door.leave(exit_code(run, driven=driver is not None))


def _left_words(door: Door, run_id: str) -> str:
    from sopwith.core.run import running_processes

    running = running_processes(door.engine.runs.load(run_id).run)
    going_on = f"step {running[0]} goes on by itself; " if running else ""
    return f"\n{click.style('left:', fg='yellow')} {going_on}{text.bold(f'sop resume {run_id}')} comes back to it"
