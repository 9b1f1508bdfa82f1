"""Verbs about procedures as files: init, create, show, validate, schema. `listing.py` has list."""

from __future__ import annotations

from pathlib import Path

import click

from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import Door, complete_procedure, procedure_argument, verb
from sopwith.doors.cli.listing import problems_of
from sopwith.doors.cli.terminal import shown
from sopwith.doors.opened import here
from sopwith.errors import BadRequest, Problem


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@verb
def init(door: Door, folder: Path | None) -> None:
    """Make a workspace in FOLDER, or here: .pi/sops with its index.json and .gitignore."""
    from sopwith.engine.template import make_workspace

    workspace, made = make_workspace(folder or here())
    files = [str(path) for path in made]
    door.say(
        {"workspace": str(workspace.root), "created": files},
        lambda: _init_text(str(workspace.root), files),
    )


@click.command()
@click.argument("name")
@verb
def create(door: Door, name: str) -> None:
    """Make .pi/sops/NAME/SOP.md, manifest.json and a scenario from a template and register them."""
    document = door.catalog.created(name)
    where = "edit SOP.md" if door.server is None else "edit SOP.md where the server has it"
    door.say(
        document,
        lambda: "\n".join(
            [
                *(f"made {path}" for path in document["created"][:3]),
                text.next_line(f"{where}, then sop run {name} --dry-run"),
            ]
        ),
    )


@click.command()
@procedure_argument
@click.option("--graph", "as_graph", is_flag=True, help="Draw which step follows which, and where gates stand.")
@click.option(
    "--format", "format_", type=click.Choice(["text", "mermaid", "svg"]), help="Of the graph; text if not said."
)
@click.option(
    "--output", "-o", "file", metavar="FILE", type=click.Path(path_type=Path), help="Write the graph to FILE."
)
@verb
def show(door: Door, name: str, *, as_graph: bool, format_: str | None, file: Path | None) -> None:
    """Show one procedure: parameters, steps, scripts and gates; or its graph."""
    if as_graph:
        _show_graph(door, name, format_ or "text", file)
        return
    if format_ is not None or file is not None:
        raise BadRequest("--format and -o are for --graph", hint=f"sop show {name} --graph")
    document = door.catalog.shown(name)
    door.say(document, lambda: text.procedure_text(document["sop"]))


@click.command()
@click.argument("name", required=False, shell_complete=complete_procedure)
@verb
def validate(door: Door, name: str | None) -> None:
    """Check NAME, or every procedure, index.json and config.json. Exit code 1 if there are errors."""
    document = door.catalog.validated(name)
    errors = document["errors"]
    door.say(document, lambda: _validation_text(document["checked"], problems_of(document), errors))
    door.leave(1 if errors else 0)


@click.command()
@click.argument("kind", type=click.Choice(["manifest", "config", "scenario"]))
@verb
def schema(door: Door, kind: str) -> None:
    """Print the JSON Schema of manifest.json, config.json or a scenario, for an editor.

    With --json it stands under the key `schema`.
    """
    import json

    from sopwith.parse import schema as schemas

    made = {"manifest": schemas.manifest_schema, "config": schemas.config_schema, "scenario": schemas.scenario_schema}
    document = made[kind]()
    door.say({"kind": kind, "schema": document}, lambda: json.dumps(document, indent=2, ensure_ascii=False))


def _show_graph(door: Door, name: str, format_: str, file: Path | None) -> None:
    """In the file, or as JSON, or on the screen, which alone limits its columns and characters."""
    from sopwith.doors.cli.graph import Format, picture
    from sopwith.doors.cli.graph.flow import flow_of
    from sopwith.doors.cli.graph.pen import pen_for_stdout

    form = Format(format_)
    if door.server is not None:
        _write_graph(door, form, door.server.catalog.drawn(name, form), file)
        return
    flow = flow_of(door.library.procedure(name), door.library.config())
    if not door.as_json and file is None and form is Format.TEXT:
        terminal.echo(picture(flow, form, columns=terminal.columns(), pen=pen_for_stdout()))
        return
    _write_graph(door, form, click.unstyle(picture(flow, form)), file)


def _write_graph(door: Door, form: str, drawn: str, file: Path | None) -> None:
    if file is not None:
        file.write_text(drawn + "\n", encoding="utf-8")
        door.say({"format": form, "file": str(file)}, lambda: f"wrote {shown(str(file))}")
    elif door.as_json:
        door.say({"format": form, "graph": drawn}, str)
    else:
        terminal.echo_bytes(f"{drawn}\n".encode())


def _init_text(root: str, made: list[str]) -> str:
    lines = [f"workspace {root}", *(f"  made {path}" for path in made)]
    if not made:
        lines.append("  everything was there already")
    return "\n".join([*lines, text.next_line("sop create NAME")])


def _validation_text(checked: list[str], problems: tuple[Problem, ...], errors: int) -> str:
    lines = [text.problem_text(problem) for problem in problems]
    what = f"{checked[0]}" if len(checked) == 1 else f"{len(checked)} procedures"
    warnings = len(problems) - errors
    verdict = click.style("no errors", fg="green") if not errors else click.style(_count(errors, "error"), fg="red")
    lines.append(f"{what}: {verdict}" + (f", {_count(warnings, 'warning')}" if warnings else ""))
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
