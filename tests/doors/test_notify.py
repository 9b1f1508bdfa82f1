"""Notifications from end to end: `sop serve` sends, dies between sending and recording, and `sop notify` shows it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from .workshop import SOP, Workshop, eventually


@pytest.fixture
def serve(workshop: Workshop) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts servers, which serve when this returns; they are killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        server = subprocess.Popen(
            [*SOP, "serve"],
            cwd=workshop.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(server)
        assert server.stdout is not None
        assert "serving" in server.stdout.readline()
        return server

    yield start
    for server in started:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def configure(workshop: Workshop, script: str, **more: Any) -> None:
    channels = {"file": {"command": ["bash", "-c", script]}}
    text = json.dumps({"notifications": {"channels": channels, **more}})
    (workshop.sops / "config.json").write_text(text)


def documents(workshop: Workshop) -> list[dict[str, Any]]:
    file = workshop.root / "out"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines() if line.strip()]


def begun(workshop: Workshop) -> None:
    """The server has looked where the log ends: what comes from now on is told."""
    database = workshop.sops / "runs.db"
    eventually(lambda: bool(_cursors(database)))


def _cursors(database: Path) -> list[tuple[str, str]]:
    """How far the log was read for notices, if it was begun."""
    with apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY) as db:
        return db.execute("select name, value from cursors where name = 'notices'").fetchall()


def _end(database: Path) -> list[tuple[str, str]]:
    with apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY) as db:
        return [("notices", str(db.execute("select max(position) from events").fetchall()[0][0]))]


KEEP = "(cat; echo) >> out"


def test_a_gate_is_told_within_a_moment_and_the_end_too(workshop: Workshop, serve: Any) -> None:
    workshop.steps("deploy", "?Ship | true")
    configure(workshop, KEEP)
    serve()
    begun(workshop)
    run = workshop.started("deploy")
    eventually(lambda: len(documents(workshop)) == 1)
    (told,) = documents(workshop)
    command = told["document"]["answers"][0]
    assert command.startswith(f"sop approve {run} --step 1 --digest ")
    assert workshop.sop(*command.split()[1:]).code == 0, "the command in the message answers"
    eventually(lambda: len(documents(workshop)) == 2)
    assert documents(workshop)[1]["title"] == "Completed: deploy"
    found = workshop.json("notify", "list")["notices"]
    eventually(lambda: {each["status"] for each in workshop.json("notify", "list")["notices"]} == {"sent"})
    assert [each["moment"] for each in found] == ["onRunCompleted", "onApprovalRequired"]


def test_a_server_that_is_killed_between_sending_and_recording_repeats_and_loses_nothing(
    workshop: Workshop, serve: Any
) -> None:
    workshop.steps("quick", "Go | true")
    configure(workshop, f"{KEEP}; test -e killed || {{ touch killed; kill -9 $PPID; sleep 5; }}")
    first = serve()
    begun(workshop)
    workshop.started("quick", code=0)
    assert first.wait(timeout=30) == -9
    assert len(documents(workshop)) == 1
    serve()
    eventually(lambda: len(documents(workshop)) == 2)
    assert documents(workshop)[0] == documents(workshop)[1]
    eventually(lambda: workshop.json("notify", "list")["notices"][0]["status"] == "sent")


def test_a_channel_that_hangs_delays_no_run(workshop: Workshop, serve: Any) -> None:
    workshop.steps("quick", "Go | true")
    configure(workshop, "sleep 15")
    serve()
    begun(workshop)
    for _ in range(3):
        workshop.started("quick", "--detach", code=0)
    eventually(lambda: len(workshop.json("history", "--status", "completed")["runs"]) == 3)
    eventually(lambda: len(workshop.json("notify", "list")["notices"]) == 3)
    assert {each["status"] for each in workshop.json("notify", "list")["notices"]} == {"waiting"}


def test_serve_once_tells_too(workshop: Workshop) -> None:
    workshop.steps("quick", "Go | true")
    configure(workshop, KEEP)
    assert workshop.process("serve", "--once").code == 0
    workshop.started("quick", code=0)
    assert documents(workshop) == []
    assert workshop.process("serve", "--once").code == 0
    assert [each["title"] for each in documents(workshop)] == ["Completed: quick"]


def test_a_server_that_ends_keeps_how_far_it_read(workshop: Workshop) -> None:
    workshop.steps("quick", "Go | true")
    configure(workshop, KEEP, onRunCompleted=False)
    workshop.process("serve", "--once")
    workshop.started("quick", code=0)
    workshop.process("serve", "--once")
    database = workshop.sops / "runs.db"
    assert _cursors(database) == _end(database)


# sop notify


def test_a_test_message_says_what_came_back_of_each_channel(workshop: Workshop) -> None:
    channels = {
        "good": {"command": ["bash", "-c", f"{KEEP}; echo fine"]},
        "bad": {"command": ["false"]},
        "hook": {"webhook": "https://example.com/", "secretEnv": "NOT_SET_HERE"},
    }
    (workshop.sops / "config.json").write_text(json.dumps({"notifications": {"channels": channels}}))
    told = workshop.sop("notify", "test")
    assert told.code == 1
    assert [line.strip()[2:] for line in told.out.splitlines()] == [
        "good (command): exit code 0: fine",
        "bad (command): exit code 1",
        "hook (webhook): NOT_SET_HERE is not set here",
        "t NOT_SET_HERE in the environment of sop serve",
    ]
    found = workshop.json("notify", "test", "good")["channels"]
    assert found == [{"channel": "good", "kind": "command", "sent": True, "told": "exit code 0: fine", "hint": ""}]
    assert documents(workshop)[0]["title"] == "Test: this channel works"
    assert workshop.json("notify", "list") == {"success": True, "notices": []}


def test_mistakes_are_told_in_a_sentence(workshop: Workshop) -> None:
    told = workshop.sop("notify", "test")
    assert told.code == 2
    assert "config.json has no channels" in told.err
    configure(workshop, "true")
    told = workshop.sop("notify", "test", "chat")
    assert told.code == 6
    assert told.err.splitlines() == ["error: config.json has no channel chat", "hint: it has file"]
    assert workshop.sop("notify").code == 2


def test_a_step_sends_no_test_messages(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(workshop, KEEP)
    monkeypatch.setitem(os.environ, "SOP_RUN_ID", "sop_run_abcdefghijkl")
    assert workshop.sop("notify", "test").code == 5
    assert documents(workshop) == []


def test_the_list_is_empty_where_nothing_was_ever_run(workshop: Workshop) -> None:
    assert workshop.sop("notify", "list").out == "nothing was to be told yet\n"
    assert not (workshop.sops / "runs.db").exists()


def test_the_list_shows_what_became_of_each(workshop: Workshop) -> None:
    workshop.steps("quick", "Go | true")
    configure(workshop, "echo no; exit 3")
    workshop.process("serve", "--once")
    workshop.started("quick", code=0)
    workshop.process("serve", "--once")
    (line,) = workshop.sop("notify", "list").out.splitlines()
    assert line.startswith("retrying")
    assert "Completed: quick, next try" in line
    assert line.endswith("exit code 3: no")
    configure(workshop, "exit 0", onRunCompleted=False)
    assert workshop.sop("notify", "list", "--limit", "1").out.startswith("retrying")
