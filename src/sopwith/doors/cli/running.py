"""The verb `run`: dry, in the foreground, or detached."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from sopwith.core.procedure import ExecutionMode, check_name
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import Door, procedure_argument, verb
from sopwith.doors.cli.driving import chosen_exit, on_exit_option
from sopwith.doors.cli.pairs import from_pairs
from sopwith.engine.files import MAX_BYTES, read_bounded
from sopwith.errors import BadParameter


@click.command()
@procedure_argument
@click.option("--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; may be given many times.")
@click.option(
    "--params-file",
    type=click.Path(path_type=Path),
    help="A JSON object with parameters; --param wins over it.",
)
@click.option("--mode", type=click.Choice([mode.value for mode in ExecutionMode]), help="Run in another mode.")
@click.option("--dry-run", is_flag=True, help="Show what would run, in order; write and start nothing.")
@click.option("--queue", is_flag=True, help="Wait for a slot where a limit is reached, instead of being refused.")
@click.option("--detach", is_flag=True, help="Let the server, or a process of its own, carry it on; return at once.")
@on_exit_option
@verb
def run(
    door: Door,
    name: str,
    pairs: tuple[str, ...],
    params_file: Path | None,
    mode: str | None,
    dry_run: bool,
    queue: bool,
    detach: bool,
) -> None:
    """Run procedure NAME: in the foreground until it waits for a person or ends.

    On a terminal it shows the steps live and asks at gates; elsewhere it leaves with exit code 3 at the first gate.
    """
    check_name(name)
    params = {**_from_file(params_file), **from_pairs(pairs, option="--param", doing=f"run {name}")}
    wanted = None if mode is None else ExecutionMode(mode)
    if dry_run:
        _show_plan(door, name, params, wanted)
        return
    if detach and chosen_exit() is not None:
        raise click.UsageError("--on-exit is about a run that this command drives, and --detach drives none")
    from sopwith.doors.cli.driving import carry_on_and_leave
    from sopwith.engine.engine import RunRequest

    request = RunRequest(name=name, params=params, mode=wanted, queue=queue)
    created = door.engine.create_run(request, actor=door.actor)
    if detach:
        _detach(door, created.run_id)
        return
    if not door.as_json and not terminal.is_drawable(sys.stdout):
        # told at once: whoever reads this may have to come back to the run
        with terminal.optional():
            terminal.echo(f"run {created.run_id} of {name} ({created.mode})")
    # a server drives it: this follows, as it would drive itself
    carry_on_and_leave(door, created, ask=True, wait=door.server is not None)


def _show_plan(door: Door, name: str, params: dict[str, object], mode: ExecutionMode | None) -> None:
    from sopwith.doors.cli.plan import plan_text

    plan = door.catalog.planned(name, params=params, mode=mode, actor=door.actor)
    door.say(plan, lambda: plan_text(plan))


def _detach(door: Door, run_id: str) -> None:
    from sopwith.doors.detached import start_detached
    from sopwith.engine.documents import run_document

    if door.server is None:
        start_detached(door.workspace, run_id)
    document = run_document(door.engine.runs.load(run_id).run)
    word = "is queued and starts when its turn comes" if document["status"] == "pending" else "was started"
    door.say(document, lambda: f"{run_id} {word}\n{text.next_line(f'sop status {run_id} --watch')}")


def _from_file(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    hint = 'it must be a JSON object: {"name": "value"}'
    data = read_bounded(path)
    if data is None or len(data) > MAX_BYTES:
        trouble = "there is none" if data is None else f"it is larger than {MAX_BYTES} bytes"
        raise BadParameter(f"cannot use the parameters in {path}: {trouble}", hint=hint)
    try:
        return msgspec.json.decode(data, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadParameter(f"cannot use the parameters in {path}: {error}", hint=hint) from error
