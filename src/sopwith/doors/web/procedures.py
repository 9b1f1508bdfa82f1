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
from sopwith.engine.catalog import Catalog
from sopwith.engine.files import read_bounded
from sopwith.engine.library import MANIFEST, SHEET, Library
from sopwith.engine.sight import Sight
from sopwith.errors import InvalidProcedure

PROCEDURES = f"{API}/procedures"
PROCEDURE = f"{PROCEDURES}/{{name}}"
_FORMATS = ["text", "mermaid", "svg"]


def _list(desk: Desk, asked: Asked) -> Answer:
    return Answer(_catalog(desk, asked).listed())


def _show(desk: Desk, asked: Asked) -> Answer:
    return Answer(_catalog(desk, asked).shown(asked.path["name"]))


def _source(desk: Desk, asked: Asked) -> Answer:
    library, name = _library(desk), _seen(desk, asked)
    entry = library.find(name)
    if problems := library.outside(entry):
        raise InvalidProcedure(f"{name} cannot be read", problems=problems, hint="sop validate shows all")
    read = {file: read_bounded(entry.folder / file) for file in (SHEET, MANIFEST)}
    files = {file: data.decode("utf-8", "replace") for file, data in read.items() if data is not None}
    return Answer({"name": name, "files": files})


def _validation(desk: Desk, asked: Asked) -> Answer:
    return Answer(_catalog(desk, asked).validated(asked.path["name"]))


def _graph(desk: Desk, asked: Asked) -> Answer:
    from sopwith.doors.cli.graph import Format, picture
    from sopwith.doors.cli.graph.flow import flow_of

    library, name = _library(desk), _seen(desk, asked)
    form = Format(asked.query.get("format", "svg"))
    drawn = click.unstyle(picture(flow_of(library.procedure(name), library.config()), form))
    return Answer({"format": form, "graph": drawn})


def _plan(desk: Desk, asked: Asked) -> Answer:
    body = asked.body
    mode = ExecutionMode(body["executionMode"]) if "executionMode" in body else None
    catalog = _catalog(desk, asked)
    return Answer(catalog.planned(asked.path["name"], params=body.get("params", {}), mode=mode, actor=asked.who))


def _catalog(desk: Desk, asked: Asked) -> Catalog:
    return Catalog(_library(desk), desk.engine.parts.kinds, os.environ, asked.who)


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
