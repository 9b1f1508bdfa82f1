"""What a server writes: one line each, of a known type and level, and nothing that a step or a parameter said."""

from __future__ import annotations

import contextlib
import io
import json
import os
import typing
from typing import Any

import msgspec
import pytest

from sopwith.core.events import EventBody
from sopwith.doors.cli import terminal
from sopwith.doors.cli.door import Door
from sopwith.doors.cli.server_log import DETAILS, OWN_TYPES, WARNINGS, ServerLog
from sopwith.errors import SopwithError

from .test_serve import Serve, detached, serve, status
from .workshop import Workshop, eventually

__all__ = ["serve"]
BODIES = typing.get_args(EventBody)
EVENT_TYPES = {str(body.__struct_config__.tag) for body in BODIES}
HOSTILE = "\x1b]0;owned\x07 \u202e\r\n2026-01-01 forged line\u2028and more \ud800"


def log(workshop: Workshop, *, as_json: bool) -> ServerLog:
    return ServerLog(Door(workspace=str(workshop.root), as_json=False), as_json=as_json)


def written(capfdbinary: Any) -> list[bytes]:
    out, err = capfdbinary.readouterr()
    return list((out + err).splitlines(keepends=True))


def test_every_level_and_detail_is_of_something_that_there_is() -> None:
    assert WARNINGS <= EVENT_TYPES
    assert EVENT_TYPES.isdisjoint(OWN_TYPES)
    fields = {field.encode_name for body in BODIES for field in msgspec.structs.fields(body)}
    assert fields >= DETAILS
    assert DETAILS.isdisjoint({"output", "outputs", "params", "form", "environment", "passed", "items", "expression"})


def test_values_and_output_stay_out_of_it(workshop: Workshop, serve: Serve) -> None:
    step = {"number": 1, "title": "Say", "outputs": {"token": "string"}}
    workshop.steps("telling", 'Say | echo PRINTED; echo "token=PRODUCED" >> "$SOP_OUTPUT"', steps=[step])
    server = serve("--log-format", "json")
    run = workshop.started("telling", "--param", "who=GIVEN", "--detach", code=0)
    eventually(lambda: status(workshop, run) == "completed")
    server.expect("run_completed")
    assert server.end() == 0
    assert not [word for word in ("PRINTED", "PRODUCED", "GIVEN") if word in server.text]
    for line in server.text.splitlines():
        document = json.loads(line)
        assert {"timestamp", "level", "type"} <= set(document)
        assert document["type"] in EVENT_TYPES | set(OWN_TYPES)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_hostile_text_stays_in_its_line(
    workshop: Workshop, capfdbinary: Any, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    told = log(workshop, as_json=as_json)
    told.on_trouble("sop_run_abc", SopwithError(HOSTILE, hint=HOSTILE))
    told.on_adopted("sop_run_abc", HOSTILE, (1, 2))
    lines = written(capfdbinary)
    assert len(lines) == 2
    for line in lines:
        assert line.endswith(b"\n")
        words = json.loads(line)["type"] if as_json else line.decode()
        assert words
        assert b"\x1b" not in line
        assert b"\x07" not in line
        assert b"\r" not in line
        assert as_json or "\u202e" not in words
        assert as_json or "\u2028" not in words


def test_levels(workshop: Workshop, capfdbinary: Any) -> None:
    told = log(workshop, as_json=True)
    told.began(once=False)
    told.on_clock_jump(-3600.0)
    told.on_trouble(None, OSError("no space left"))
    told.looks_anew()
    told.ended(("sop_run_abc",))
    documents = [json.loads(line) for line in written(capfdbinary)]
    assert [(document["type"], document["level"]) for document in documents] == [
        ("serving", "info"),
        ("clock_jump", "warning"),
        ("trouble", "error"),
        ("looking_anew", "info"),
        ("stopped", "info"),
    ]
    assert documents[1]["seconds"] == -3600
    assert documents[2]["runId"] is None


def test_a_disk_that_is_full_ends_nothing(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _data: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(terminal, "give_up_what_fails", lambda: None)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(Full(), 1), "utf-8", write_through=True))
    log(workshop, as_json=True).looks_anew()
    log(workshop, as_json=False).looks_anew()
    monkeypatch.setattr("sys.stdout", io.StringIO())


def test_log_format_is_for_lines_and_json_for_all(workshop: Workshop, serve: Serve) -> None:
    server = serve("--log-format", "json")
    assert json.loads(server.text.splitlines()[0])["type"] == "serving"
    refused = workshop.process("serve", "--log-format", "json")
    assert (refused.code, refused.out) == (5, "")
    assert refused.err.startswith("error: cannot serve")
    assert server.end() == 0
    other = serve("--json", "--log-format", "text")
    assert other.text.startswith("serving ")
    assert detached(workshop, _quick(workshop))


def _quick(workshop: Workshop) -> str:
    workshop.steps("quick", "Say | echo said")
    return "quick"


def test_a_reader_that_takes_nothing_holds_up_nothing_and_is_told(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    with os.fdopen(writing, "w") as pipe, os.fdopen(reading, "rb", buffering=0) as reader:
        monkeypatch.setattr("sys.stdout", pipe)
        told = log(workshop, as_json=True)
        for _ in range(3):
            told.looks_anew()
        os.set_blocking(reading, False)
        while reader.read(65536):
            pass
        told.looks_anew()
        lines = [json.loads(line) for line in reader.read(65536).splitlines()]
    assert [line["type"] for line in lines] == ["lines_lost", "looking_anew"]
    assert lines[0]["count"] == 3
