"""What the driving verbs share: carry the run on, then say how it stands and leave with its exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sopwith.core.run import Run
from sopwith.core.visible import visible
from sopwith.doors.cli import text
from sopwith.doors.cli.display import choose_display, is_interactive
from sopwith.doors.cli.door import Door
from sopwith.engine.documents import run_document

Document = dict[str, Any]


def wait_option(function: Callable[..., None]) -> Callable[..., None]:
    """`--wait`, for verbs that may meet another driver."""
    return click.option("--wait", is_flag=True, help="Follow the run where somebody else drives it already.")(function)


def carry_on_and_leave(
    door: Door,
    run: Run,
    *,
    wait: bool = False,
    ask: bool = False,
    document: Callable[[Document], Document] | None = None,
) -> None:
    """Drives the run in the foreground until it waits or ends; `ask`: on a terminal, asks and goes on."""
    from sopwith.doors.cli.foreground import carry_on, exit_code

    interactive = ask and is_interactive(as_json=door.as_json)
    display = choose_display(as_json=door.as_json)
    display.show(run)
    run = carry_on(door, run.run_id, display, interactive=interactive, wait=wait or interactive)
    driver = door.engine.parts.store.holder(run.run_id)
    shown = run_document(run, now=door.engine.parts.clock.now().at, driver=driver)
    door.say(document(shown) if document else shown, lambda: _closing_words(shown))
    door.leave(exit_code(run, driven=driver is not None))


def _closing_words(run: Document) -> str:
    if run["status"] == "completed":
        return f"{run['runId']} {text.coloured('completed')}"
    if run.get("drivenBy"):
        return f"{run['runId']} goes on in process {run['drivenBy']['pid']}: sop status {run['runId']} --watch"
    reason = f": {visible(run['reason'])}" if run["reason"] else ""
    return f"{run['runId']} is {text.coloured(run['status'])}{reason}\n{click.style('next:', fg='cyan')} {run['next']}"
