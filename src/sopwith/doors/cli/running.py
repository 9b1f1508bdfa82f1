"""The verb `run`: dry, in the foreground, or detached."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from sopwith.core.procedure import ExecutionMode
from sopwith.doors.cli import text
from sopwith.doors.cli.door import Door, procedure_argument, verb
from sopwith.errors import BadParameter


@click.command()
@procedure_argument
@click.option("--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; may be given many times.")
@click.option(
    "--params-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON object with parameters; --param wins over it.",
)
@click.option("--mode", type=click.Choice([mode.value for mode in ExecutionMode]), help="Run in another mode.")
@click.option("--dry-run", is_flag=True, help="Show what would run, in order; write and start nothing.")
@click.option("--queue", is_flag=True, help="Wait for a slot where a limit is reached, instead of being refused.")
@click.option("--detach", is_flag=True, help="Let a process of its own carry it on, and return at once.")
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
    params = {**_from_file(params_file), **_from_pairs(pairs)}
    wanted = None if mode is None else ExecutionMode(mode)
    if dry_run:
        _show_plan(door, name, params, wanted)
        return
    from sopwith.doors.cli.driving import carry_on_and_leave
    from sopwith.engine.engine import RunRequest

    request = RunRequest(name=name, params=params, mode=wanted, queue=queue)
    created = door.engine.create_run(request, actor=door.actor)
    if detach:
        _detach(door, created.run_id)
        return
    carry_on_and_leave(door, created, ask=True)


def _show_plan(door: Door, name: str, params: dict[str, object], mode: ExecutionMode | None) -> None:
    from sopwith.engine.library import Library
    from sopwith.engine.reading import plan_document

    # without the cache: a dry run writes nothing at all
    library = Library(door.workspace)
    plan = plan_document(door.workspace, library, name, params=params, mode=mode, actor=door.actor)
    door.say({"dryRun": True, **plan}, lambda: text.plan_text(plan))


def _detach(door: Door, run_id: str) -> None:
    from sopwith.doors.cli.detached import start_detached
    from sopwith.engine.documents import run_document

    start_detached(door.workspace, run_id)
    document = run_document(door.engine.runs.load(run_id).run)
    door.say(document, lambda: f"{run_id} was started\nnext: sop status {run_id} --watch")


def _from_pairs(pairs: tuple[str, ...]) -> dict[str, object]:
    params: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadParameter(f"--param {pair} has no value", hint="write it as --param NAME=VALUE")
        if name in params:
            raise BadParameter(f"--param {name} is given twice", hint="give each parameter once")
        params[name] = value
    return params


def _from_file(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError) as error:
        raise BadParameter(f"cannot use {path}: {error}", hint='it must be a JSON object: {"name": "value"}') from error
