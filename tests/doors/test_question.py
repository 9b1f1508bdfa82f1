"""What an approver is shown: all that steers the script, unmistakably, and never a question about nothing."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from click import unstyle

from sopwith.doors.cli.question import envelope_text, question_text
from sopwith.engine.reading import Reader

from .workshop import Terminal, Workshop

Open = Callable[..., Terminal]


def with_environment(workshop: Workshop, mode: str = "auto") -> str:
    """A gated run with variables of its own, a folder of its own and a variable that is passed."""
    step = {
        "number": 1,
        "title": "Act",
        "requiresApproval": True,
        "workingDir": "sub",
        "env": {"set": {"BASH_ENV": "./pоisоn.sh"}, "pass": ["TOKEN"]},
    }
    (workshop.root / "sub").mkdir()
    workshop.steps("steered", "?Act | ./dеploy", mode=mode, steps=[step], env={"set": {"DEPTH": "2"}})
    return workshop.started("steered", "--param", "where=Zürich")


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")


@pytest.mark.usefixtures("token")
def test_a_gate_shows_the_variables_that_steer_its_script(workshop: Workshop) -> None:
    shown = workshop.sop("approve", with_environment(workshop), "--show").out.split("envelope ")[0]
    for words in (
        "where = Z\\u{00fc}rich",
        "sets BASH_ENV = ./p\\u{043e}is\\u{043e}n.sh",
        "sets DEPTH = 2",
        "passed from your environment: TOKEN",
        "./d\\u{0435}ploy",
        "/sub:",
    ):
        assert words in shown, shown
    assert "\n    environment: " not in shown


@pytest.mark.usefixtures("token")
def test_a_gate_shows_what_was_captured_elsewhere(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("auto", "supervised"):
        monkeypatch.setenv("LC_TIME", "C")
        if mode == "auto":
            run = with_environment(workshop)
        else:
            workshop.steps("asked", "Look | true", mode=mode)
            run = workshop.started("asked")
        monkeypatch.setenv("LC_TIME", "de_DE")
        shown = workshop.sop("approve", run, "--show").out.split("envelope ")[0]
        assert "    environment: LC_TIME = C\n" in shown
        assert shown.count("\n    environment: ") == 1


@pytest.mark.usefixtures("token")
def test_the_start_shows_where_and_with_what_each_step_runs(workshop: Workshop) -> None:
    shown = workshop.sop("approve", with_environment(workshop, "supervised"), "--show").out
    for words in ("in sub\n", "passes TOKEN\n", "sets BASH_ENV = ./p\\u{043e}is\\u{043e}n.sh\n", "sets DEPTH = 2\n"):
        assert words in shown, shown


def test_the_program_is_shown_where_it_is_known(workshop: Workshop) -> None:
    from sopwith.assembly import open_engine
    from sopwith.core.run import open_gates
    from sopwith.ports import Workspace

    workshop.steps("gated", "?Act | true")
    run_id = workshop.started("gated")
    engine = open_engine(Workspace(workshop.root))
    run = engine.runs.load(run_id).run
    ((number, gate),) = open_gates(run)
    envelope = Reader(engine).envelope(gate.digest)
    assert envelope is not None
    known = question_text(run, number, gate, {**envelope, "program": "/opt/bаsh"})
    assert f"bash (/opt/b\\u{{0430}}sh) in {workshop.root}" in known
    assert f"bash in {workshop.root}" in question_text(run, number, gate, {**envelope, "program": None})


def test_what_cannot_be_shown_cannot_be_approved_at_the_terminal(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("gated", "?Act | echo acted > acted")
    run = workshop.started("gated")
    digest = workshop.json("status", run)["gates"][0]["digest"]
    (database,) = workshop.root.rglob("*.db")
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute("DELETE FROM contents WHERE digest = ?", (bytes.fromhex(digest),)).rowcount == 1
    screen = terminal("resume", run)
    asked = screen.expect("etach > ")
    assert "is not in the database any more" in asked
    assert "pprove " not in asked
    screen.type("a\n")
    screen.expect("nothing is decided")
    screen.expect("etach > ")
    screen.type("r\n")
    screen.expect("reason: ")
    screen.type("cannot see it\n")
    screen.expect("eave > ")
    screen.type("l\n")
    assert screen.end() == 3
    assert not (workshop.root / "acted").exists()


def test_what_an_envelope_holds_nothing_in_stands_on_one_line_and_is_told_all_the_same() -> None:
    told = envelope_text({"inputs": {}, "mode": "auto", "script": None, "pins": [], "umask": 0, "working_dir": ""})
    assert unstyle(told).splitlines() == [
        "mode: auto",
        "umask: 0",
        'empty: inputs {}, script null, pins [], working_dir ""',
    ]


def test_every_field_of_a_start_is_shown(workshop: Workshop) -> None:
    workshop.steps("deploy", "Ship | true", mode="supervised")
    run = workshop.started("deploy")
    told = workshop.sop("approve", run, "--show").out
    for name in ("nonce", "policy", "retry", "script", "runners", "timeoutSecs", "verify", "waitUntil"):
        assert re.search(rf"\b{name}\b", told), name
    assert "runners: []" not in told
