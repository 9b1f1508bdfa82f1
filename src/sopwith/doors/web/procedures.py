"""The routes of procedures: list, show, read, check, draw, plan, create, try out. None of them starts anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from sopwith.core.people import Directory, Right, check_right
from sopwith.core.procedure import ExecutionMode
from sopwith.doors.web import schemas
from sopwith.doors.web.office import Desk
from sopwith.doors.web.schemas import OBJECT, record, text
from sopwith.doors.web.table import API, Answer, Asked, Route
from sopwith.engine.catalog import Catalog
from sopwith.engine.files import read_bounded
from sopwith.engine.library import MANIFEST, SHEET, Library
from sopwith.engine.sight import Sight
from sopwith.errors import BadArgument, InvalidProcedure
from sopwith.parse.source import SourceFile

PROCEDURES = f"{API}/procedures"
PROCEDURE = f"{PROCEDURES}/{{name}}"
_MOST_SCENARIOS = 20
_MOST_SCENARIO = 262_144
_MOST_NAME = 200
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


def _create(desk: Desk, asked: Asked) -> Answer:
    return Answer(_catalog(desk, asked).created(asked.body["name"]))


def _rehearsal(desk: Desk, asked: Asked) -> Answer:
    from sopwith.rehearsal.documents import rehearsal_document
    from sopwith.rehearsal.rehearse import rehearse

    library, name = _library(desk), _seen(desk, asked)
    check_right(asked.who, Right.WRITE, Directory(library.config()), "have scenarios played", procedure=name)
    return Answer(rehearsal_document(rehearse(library, name, [_scenario(s) for s in asked.body.get("scenarios", ())])))


def _scenario(given: Mapping[str, Any]) -> SourceFile:
    name, words = given.get("name"), given.get("text")
    are_texts = isinstance(name, str) and isinstance(words, str) and len(given) == len(("name", "text"))
    if not are_texts or not 0 < len(str(name)) <= _MOST_NAME or len(str(words)) > _MOST_SCENARIO:
        raise BadArgument("scenarios: expected name and text", hint='as: [{"name": "a.toml", "text": "…"}]')
    return SourceFile(str(name), str(words).encode("utf-8", "replace"))


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
    Route(
        method="POST",
        path=PROCEDURES,
        right=Right.WRITE,
        about="Makes a procedure from the template.",
        handler=_create,
        body={"name": text(most=64, minLength=1)},
        required=("name",),
        answer=record(name={"type": "string"}, created={"type": "array", "items": {"type": "string"}}),
        status=201,
    ),
    Route(
        method="POST",
        path=f"{PROCEDURE}/rehearsal",
        right=Right.WRITE,
        about="Plays its scenarios, or those that are sent, and tells what is not as they expect it. Starts nothing.",
        handler=_rehearsal,
        body={
            "scenarios": {
                "type": "array",
                "maxItems": _MOST_SCENARIOS,
                "items": {
                    "type": "object",
                    "properties": {"name": text(most=_MOST_NAME, minLength=1), "text": text(most=_MOST_SCENARIO)},
                    "required": ["name", "text"],
                    "additionalProperties": False,
                },
            }
        },
        answer=record(passed={"type": "boolean"}, scenarios={"type": "array", "items": OBJECT}),
        apart=True,
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
