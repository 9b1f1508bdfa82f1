"""The description says what is served, no more and no less; and a server that is fuzzed by it keeps to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from tests.doors.workshop import Workshop

from sopwith.core.people import Right
from sopwith.doors.web.openapi import description, operation_id
from sopwith.doors.web.routes import ROUTES
from sopwith.doors.web.table import Route

from .house import House

DOCUMENT = json.loads(msgspec.json.encode(description(ROUTES)))
EXAMPLES = os.environ.get("SOPWITH_EXAMPLES", "5")


def test_it_describes_each_route_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {(route.method, re.sub(r":\w+\}", "}", route.path)) for route in ROUTES}
    ids = [operation_id(route) for route in ROUTES]
    assert len(set(ids)) == len(ids)


def test_it_is_what_is_served(house: House) -> None:
    served = house.call("GET", "/api/v1/openapi.json", house.tokens["viewer"])
    assert served.json == DOCUMENT
    assert served.json["openapi"] == "3.1.0"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_what_a_route_takes_is_described(route: Route) -> None:
    told = DOCUMENT["paths"][re.sub(r":\w+\}", "}", route.path)][route.method.lower()]
    named = {(each["in"], each["name"]) for each in told["parameters"]}
    assert {name for place, name in named if place == "query"} == set(route.query)
    assert {name for place, name in named if place == "path"} == set(re.findall(r"\{(\w+)", route.path))
    assert (("header", "Idempotency-Key") in named) is route.repeatable
    assert (("header", "If-Match") in named) is route.conditional
    assert ("requestBody" in told) is (route.body is not None or route.piecemeal)
    assert (told.get("security") == []) is not isinstance(route.right, Right)
    assert route.about.endswith(".")


def test_every_schema_is_one_and_leads_somewhere() -> None:
    for schema in schemas(DOCUMENT):
        jsonschema.Draft202012Validator.check_schema(schema)
    shapes = DOCUMENT["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT))) <= set(shapes)


def schemas(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if "schema" in value:
            yield value["schema"]
        for each in value.values():
            yield from schemas(each)
    elif isinstance(value, list):
        for each in value:
            yield from schemas(each)


_IMPATIENT = (
    "from sopwith.doors.web import streams as s; s.PAUSE_SECS = s.INBOX_PAUSE_SECS = 0.01; "
    "s._Gone = type('Left', (), {'is_gone': True, '__init__': lambda s, r: None, 'forget': lambda s: None})"
)
"""Streams do not end; here each ends after what it has at first, as it does for a client that has left by then."""


@pytest.fixture
def fuzzed(workshop: Workshop, tmp_path: Path) -> Iterator[House]:
    """One that nobody else looks at: who is fuzzed may revoke its tokens and cancel its runs."""
    made = House(tmp_path / "fuzzed", before=_IMPATIENT)
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_a_running_server_keeps_to_it(fuzzed: House, tmp_path: Path) -> None:
    """Whatever is sent: no failure of the server, no answer of another shape, nothing without a token."""
    house = fuzzed
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{house.served.port}/api/v1/openapi.json",
            *("-H", f"Authorization: Bearer {house.tokens['admin']}"),
            *("--max-examples", EXAMPLES, "--seed", "1", "--request-timeout", "10", "--no-color"),
            *("--phases", "examples,coverage,fuzzing", "--continue-on-failure"),
            # what is well-formed may be refused for what state a run is in
            *("--exclude-checks", "positive_data_acceptance"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-1000:]
    assert re.search(r"\b[1-9][0-9]{2,} generated", ran.stdout), ran.stdout[-2000:]
    assert "trouble" not in house.served.text
