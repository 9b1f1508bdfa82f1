"""Ctrl-C: at a terminal first a pause, then the end of the step, then out at once; elsewhere out at once."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from .workshop import Terminal, Workshop, end_process, eventually, lines

Open = Callable[..., Terminal]
CTRL_C = "\x03"


def test_the_first_pauses_after_the_running_step(workshop: Workshop, slow: str, terminal: Open) -> None:
    screen = terminal("run", slow)
    eventually((workshop.root / "begun").exists)
    screen.expect("running")
    screen.type(CTRL_C)
    screen.expect("pausing after the running step; Ctrl-C again stops it")
    (workshop.root / "go").touch()
    screen.expect("is paused")
    screen.expect(f"sop resume {workshop.run_id(slow)}")
    assert screen.end() == 3
    assert (lines(workshop, "done"), lines(workshop, "after")) == (1, 0)
    assert workshop.sop("resume", workshop.run_id(slow)).code == 0


def test_the_second_stops_the_step_and_a_person_decides(workshop: Workshop, slow: str, terminal: Open) -> None:
    screen = terminal("run", slow)
    eventually((workshop.root / "begun").exists)
    screen.expect("running")
    screen.type(CTRL_C)
    screen.expect("pausing")
    screen.type(CTRL_C)
    screen.expect("stopping the running step; Ctrl-C again leaves at once")
    screen.expect("interrupted")
    screen.expect("stopped by")
    screen.expect("is paused")
    assert screen.end() == 3
    run = workshop.run_id(slow)
    assert workshop.json("status", run)["stepResults"][0]["status"] == "interrupted"
    assert (lines(workshop, "done"), lines(workshop, "after")) == (0, 0)
    (workshop.root / "go").touch()
    assert workshop.sop("retry", run).code == 0
    assert (lines(workshop, "done"), lines(workshop, "after")) == (1, 1)


def test_the_third_leaves_at_once(workshop: Workshop, terminal: Open) -> None:
    deaf = "trap '' TERM; touch begun; while [ ! -e go ]; do sleep 0.02; done; echo done >> done"
    workshop.steps("deaf", f"Wait | {deaf}", "After | echo after >> after")
    screen = terminal("run", "deaf")
    eventually((workshop.root / "begun").exists)
    screen.expect("running")
    for said in ("pausing", "stopping"):
        screen.type(CTRL_C)
        screen.expect(said)
    screen.type(CTRL_C)
    screen.expect("left:")
    assert screen.end() == 130
    assert "Traceback" not in screen.text
    (workshop.root / "go").touch()
    # whoever takes the run up carries out what was asked, and begins nothing
    assert workshop.json("pause", workshop.run_id("deaf"), "--now")["status"] == "paused"
    assert lines(workshop, "after") == 0


def test_at_a_question_it_leaves_at_once(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("gated", "?Act | echo acted")
    screen = terminal("run", "gated")
    screen.expect("etach > ")
    screen.type(CTRL_C)
    screen.expect(f"sop resume {workshop.run_id('gated')}")
    assert screen.end() == 130
    assert workshop.json("inbox")["total"] == 1


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_without_a_terminal_it_leaves_at_once(workshop: Workshop, slow: str, more: tuple[str, ...]) -> None:
    process = workshop.background("run", slow, *more)
    try:
        eventually((workshop.root / "begun").exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        end_process(process)
    assert process.returncode == 130
    assert b"Traceback" not in err
    if more:
        assert (json.loads(out)["runId"], json.loads(out)["status"]) == (workshop.run_id(slow), "running")
        assert err == b""
    else:
        assert out.splitlines()[0].decode() == f"run {workshop.run_id(slow)} of slow (auto)"
    (workshop.root / "go").touch()
    assert workshop.sop("resume", workshop.run_id(slow)).code == 0
    assert lines(workshop, "done") == 1


def test_a_terminated_command_leaves_the_terminal_as_it_was(workshop: Workshop, slow: str, terminal: Open) -> None:
    screen = terminal("run", slow)
    eventually((workshop.root / "begun").exists)
    screen.expect("running")
    screen.process.terminate()
    assert screen.end() == 128 + signal.SIGTERM
    assert screen.raw.rfind("\x1b[?25h") > screen.raw.rfind("\x1b[?25l")  # the cursor is there again
    (workshop.root / "go").touch()
    assert workshop.sop("resume", workshop.run_id(slow)).code == 0
    assert lines(workshop, "done") == 1


def test_sigterm_prints_the_document(workshop: Workshop, slow: str) -> None:
    process = workshop.background("run", slow, "--json")
    try:
        eventually((workshop.root / "begun").exists)
        process.terminate()
        out, _err = process.communicate(timeout=30)
    finally:
        end_process(process)
    assert process.returncode == 128 + signal.SIGTERM
    assert json.loads(out)["runId"] == workshop.run_id(slow)


def test_a_reader_that_watches_leaves_with_130(workshop: Workshop) -> None:
    workshop.steps("gated", "?Act | echo acted")
    run = workshop.started("gated")
    process = workshop.background("status", run, "--watch")
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    finally:
        end_process(process)
    assert process.returncode == 130
