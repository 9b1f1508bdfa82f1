"""The routes of procedures: list, show, read, check, draw, plan. None of them starts anything."""

from __future__ import annotations

import os
from typing import Any

import click

from sopwith.core.people import Right
from sopwith.core.procedure import ExecutionMode
from sopwith.doors.web import schemas
from sopwith.doors.web.office import Desk
from sopwith.doors.web.schemas import OBJECT, record
from sopwith.doors.web.table import API, Answer, Asked, Route
from sopwith.engine.checks import check_procedure
from sopwith.engine.documents import problem_document, procedure_document
from sopwith.engine.files import read_bounded
from sopwith.engine.library import MANIFEST, SHEET, Library
from sopwith.engine.listing import list_procedures
from sopwith.engine.reading import plan_document
from sopwith.engine.sight import Sight
from sopwith.engine.uses import problems_of_uses
from sopwith.errors import InvalidProcedure, Severity

PROCEDURES = f"{API}/procedures"
PROCEDURE = f"{PROCEDURES}/{{name}}"
_FORMATS = ["text", "mermaid", "svg"]


def _list(desk: Desk, asked: Asked) -> Answer:
    found, problems = list_procedures(_library(desk), asked.who)
    return Answer({"sops": found, "total": len(found), "problems": [problem_document(each) for each in problems]})


def _show(desk: Desk, asked: Asked) -> Answer:
    library, name = _library(desk), _seen(desk, asked)
    return Answer({"sop": procedure_document(library.procedure(name), library.config())})


def _source(desk: Desk, asked: Asked) -> Answer:
    library, name = _library(desk), _seen(desk, asked)
    entry = library.find(name)
    if problems := library.outside(entry):
        raise InvalidProcedure(f"{name} cannot be read", problems=problems, hint="sop validate shows all")
    read = {file: read_bounded(entry.folder / file) for file in (SHEET, MANIFEST)}
    files = {file: data.decode("utf-8", "replace") for file, data in read.items() if data is not None}
    return Answer({"name": name, "files": files})


def _validation(desk: Desk, asked: Asked) -> Answer:
    library, name = _library(desk), _seen(desk, asked)
    parsed = library.parsed(name)
    config, of_config = library.parsed_config()
    problems = [*of_config, *parsed.problems]
    if parsed.procedure is not None and config is not None:
        problems += problems_of_uses(parsed.procedure, library.procedure)
        problems += check_procedure(
            parsed.procedure, desk.engine.parts.kinds, os.environ, config, library.workspace.root
        )
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    return Answer(
        {
            "valid": errors == 0,
            "checked": [name],
            "errors": errors,
            "warnings": len(problems) - errors,
            "problems": [problem_document(problem) for problem in problems],
        }
    )


def _graph(desk: Desk, asked: Asked) -> Answer:
    from sopwith.doors.cli.graph import Format, picture
    from sopwith.doors.cli.graph.flow import flow_of

    library, name = _library(desk), _seen(desk, asked)
    form = Format(asked.query.get("format", "svg"))
    drawn = click.unstyle(picture(flow_of(library.procedure(name), library.config()), form))
    return Answer({"format": form, "graph": drawn})


def _plan(desk: Desk, asked: Asked) -> Answer:
    library, name = _library(desk), _seen(desk, asked)
    body = asked.body
    mode = ExecutionMode(body["executionMode"]) if "executionMode" in body else None
    plan = plan_document(desk.workspace, library, name, params=body.get("params", {}), mode=mode, actor=asked.who)
    return Answer({"dryRun": True, **plan})


def _library(desk: Desk) -> Library:
    # without the cache: to look writes nothing at all
    return Library(desk.workspace)


def _seen(desk: Desk, asked: Asked) -> str:
    """The name in the path. NotFound where the caller may not know of the procedure."""
    name = asked.path["name"]
    Sight(desk.engine.parts.library, asked.who).check_procedure(name)
    return name


def _route(path: str, about: str, handler: Any, **more: Any) -> Route:
    return Route(method="GET", path=path, right=Right.LOOK, about=about, handler=handler, **more)


ROUTES: tuple[Route, ...] = (
    _route(
        PROCEDURES,
        "The procedures that the caller may know of.",
        _list,
        answer=record(sops={"type": "array", "items": OBJECT}, total={"type": "integer"}, problems={"type": "array"}),
    ),
    _route(PROCEDURE, "One procedure: parameters, steps, scripts, gates.", _show, answer=record(sop=OBJECT)),
    _route(
        f"{PROCEDURE}/source",
        "Its files as they are.",
        _source,
        answer=record(name={"type": "string"}, files=OBJECT),
    ),
    _route(f"{PROCEDURE}/validation", "What is wrong with it.", _validation, answer=record(valid={"type": "boolean"})),
    _route(
        f"{PROCEDURE}/graph",
        "A picture of its flow.",
        _graph,
        query={"format": {"type": "string", "enum": _FORMATS}},
        answer=record(format={"type": "string"}, graph={"type": "string"}),
    ),
    Route(
        method="POST",
        path=f"{PROCEDURE}/plan",
        right=Right.LOOK,
        about="What a run would do, in order. Writes nothing and starts nothing.",
        handler=_plan,
        body={
            "params": {"type": "object", "description": "Values by name"},
            "executionMode": {"type": "string", "enum": [mode.value for mode in ExecutionMode]},
        },
        answer=schemas.OBJECT,
        long=True,
    ),
)
