"""Verbs that report on a step: skip, complete, fail. Each drives the run on, unless somebody else does."""

from __future__ import annotations

from pathlib import Path

import click

from sopwith.core.address import StepId
from sopwith.doors.cli.door import Door, run_argument, verb
from sopwith.doors.cli.driving import carry_on_and_leave, on_exit_option, step_option, wait_option

_evidence = click.option(
    "--evidence",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file that shows it; a copy stays with the run. May be given many times.",
)
_output = click.option("--output", default="", help="What came out of it, in words.")


@click.command()
@run_argument
@step_option
@click.option("--reason", default="", help="Why it is not needed, for the record.")
@wait_option
@on_exit_option
@verb
def skip(door: Door, run_id: str, step: StepId | None, reason: str, wait: bool) -> None:
    """Pass over a step that waits, is stuck, or is done by hand, and carry the run on."""
    carry_on_and_leave(door, door.engine.skip(run_id, actor=door.actor, step=step, reason=reason), wait=wait)


@click.command()
@run_argument
@step_option
@click.option("--comment", default="", help="What was done, for the record.")
@_output
@_evidence
@wait_option
@on_exit_option
@verb
def complete(
    door: Door,
    run_id: str,
    step: StepId | None,
    comment: str,
    output: str,
    evidence: tuple[Path, ...],
    wait: bool,
) -> None:
    """Report a manual step done, or a failed or interrupted one as done by hand, and carry the run on."""
    run = door.engine.complete(run_id, actor=door.actor, step=step, comment=comment, output=output, evidence=evidence)
    carry_on_and_leave(door, run, wait=wait, reported_at=run.seq)


@click.command()
@run_argument
@step_option
@click.option("--reason", default="", help="What went wrong, for the record.")
@_output
@_evidence
@wait_option
@on_exit_option
@verb
def fail(
    door: Door, run_id: str, step: StepId | None, reason: str, output: str, evidence: tuple[Path, ...], wait: bool
) -> None:
    """Report that a manual step did not work out."""
    run = door.engine.fail(run_id, actor=door.actor, step=step, reason=reason, output=output, evidence=evidence)
    carry_on_and_leave(door, run, wait=wait)
