"""`--on-exit`: what becomes of the run when a signal ends the command that drives it; and `pause --now`."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from sopwith.assembly import open_engine
from sopwith.core.actor import Actor, ActorKind
from sopwith.settings import find_workspace

from .workshop import Workshop, end_process, eventually, lines

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ended_by(workshop: Workshop, number: signal.Signals, *args: str) -> tuple[int, bytes, bytes]:
    """Runs the verb until its step has begun, and sends it the signal: exit code, stdout, stderr."""
    process = workshop.background(*args)
    try:
        eventually((workshop.root / "begun").exists)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        end_process(process)
    assert b"Traceback" not in err
    return process.returncode, out, err


def left(workshop: Workshop, number: signal.Signals, *args: str) -> dict[str, Any]:
    code, out, _err = ended_by(workshop, number, *args, "--json")
    assert code == 128 + number
    document: dict[str, Any] = json.loads(out)
    return document


def status(workshop: Workshop, name: str) -> tuple[str, str]:
    shown = workshop.json("status", workshop.run_id(name))
    return shown["status"], shown["stepResults"][0]["status"]


@pytest.mark.parametrize("number", SIGNALS)
def test_by_default_the_step_goes_on(workshop: Workshop, slow: str, number: signal.Signals) -> None:
    document = left(workshop, number, "run", slow)
    assert (document["leftBy"], document["onExit"], document["status"]) == (number.name, "leave", "running")
    assert "pauseRequested" not in document
    (workshop.root / "go").touch()
    assert workshop.sop("resume", workshop.run_id(slow)).code == 0
    assert lines(workshop, "done") == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_stop_ends_the_step_and_waits_for_that(workshop: Workshop, slow: str, number: signal.Signals) -> None:
    document = left(workshop, number, "run", slow, "--on-exit", "stop")
    assert (document["leftBy"], document["onExit"], document["status"]) == (number.name, "stop", "paused")
    assert "stopped by" in document["reason"]
    assert status(workshop, slow) == ("paused", "interrupted")
    assert lines(workshop, "done") == 0


def test_cancel_cancels_the_run(workshop: Workshop, slow: str) -> None:
    document = left(workshop, signal.SIGTERM, "run", slow, "--on-exit", "cancel")
    assert (document["status"], document["onExit"]) == ("cancelled", "cancel")
    assert status(workshop, slow) == ("cancelled", "cancelled")
    assert lines(workshop, "done") == 0


def test_pause_asks_for_it_and_leaves(workshop: Workshop, slow: str) -> None:
    document = left(workshop, signal.SIGTERM, "run", slow, "--on-exit", "pause")
    assert (document["status"], document["pauseRequested"], document["onExit"]) == ("running", True, "pause")
    assert "stopRequested" not in document
    (workshop.root / "go").touch()
    assert workshop.sop("pause", workshop.run_id(slow)).code == 0  # asked before
    eventually(lambda: lines(workshop, "done") == 1)


def test_in_words_it_says_what_became_of_the_run(workshop: Workshop, slow: str) -> None:
    code, _out, err = ended_by(workshop, signal.SIGTERM, "run", slow, "--on-exit", "stop")
    assert code == 143
    assert b"left: the run is paused" in err


def test_other_driving_verbs_have_it_too(workshop: Workshop, slow: str) -> None:
    left(workshop, signal.SIGTERM, "run", slow)
    process = workshop.background("resume", workshop.run_id(slow), "--on-exit", "stop", "--json")
    try:
        eventually(lambda: _driver(workshop, slow) == process.pid)
        process.terminate()
        out, _err = process.communicate(timeout=30)
    finally:
        end_process(process)
    assert (process.returncode, json.loads(out)["status"]) == (143, "paused")
    (workshop.root / "begun").unlink()
    document = left(workshop, signal.SIGTERM, "retry", workshop.run_id(slow), "--on-exit", "cancel")
    assert document["status"] == "cancelled"


def _driver(workshop: Workshop, name: str) -> int | None:
    driver = workshop.json("status", workshop.run_id(name))["drivenBy"]
    return None if driver is None else int(driver["pid"])


def test_a_second_signal_leaves_at_once(workshop: Workshop) -> None:
    workshop.steps("deaf", "Wait | trap '' TERM; touch begun; while [ ! -e go ]; do sleep 0.02; done")
    process = workshop.background("run", "deaf", "--on-exit", "stop", "--json")
    try:
        eventually((workshop.root / "begun").exists)
        process.send_signal(signal.SIGTERM)
        run = workshop.run_id("deaf")
        eventually(lambda: workshop.json("status", run).get("stopRequested"))
        process.send_signal(signal.SIGINT)
        out, _err = process.communicate(timeout=30)
    finally:
        end_process(process)
        (workshop.root / "go").touch()
    assert process.returncode == 130
    assert (json.loads(out)["leftBy"], json.loads(out)["status"]) == ("SIGINT", "running")


def test_a_hangup_that_is_ignored_stays_ignored(workshop: Workshop, slow: str) -> None:
    process = workshop.background("run", slow, "--on-exit", "cancel", before=("nohup",))
    try:
        eventually((workshop.root / "begun").exists)
        process.send_signal(signal.SIGHUP)
        (workshop.root / "go").touch()
        process.communicate(timeout=30)
    finally:
        end_process(process)
    assert process.returncode == 0


def test_with_detach_it_is_refused(workshop: Workshop, slow: str) -> None:
    told = workshop.sop("run", slow, "--detach", "--on-exit", "stop")
    assert told.code == 2
    assert "--detach drives none" in told.err
    assert workshop.json("history")["total"] == 0


def test_pause_now_ends_the_step_of_another_driver(workshop: Workshop, slow: str) -> None:
    process = workshop.background("run", slow, "--json")
    try:
        eventually((workshop.root / "begun").exists)
        document = workshop.json("pause", workshop.run_id(slow), "--now", "--reason", "wrong cluster")
        out, _err = process.communicate(timeout=30)
    finally:
        end_process(process)
    assert (document["status"], process.returncode) == ("paused", 3)
    assert json.loads(out)["status"] == "paused"
    assert status(workshop, slow) == ("paused", "interrupted")


def test_pause_now_ends_a_step_that_nobody_drives(workshop: Workshop, slow: str) -> None:
    left(workshop, signal.SIGTERM, "run", slow)
    assert workshop.json("pause", workshop.run_id(slow), "--now")["status"] == "paused"
    assert status(workshop, slow) == ("paused", "interrupted")


def test_a_stop_that_nobody_carried_out_is_left_to_whoever_takes_the_run_up(workshop: Workshop, slow: str) -> None:
    left(workshop, signal.SIGTERM, "run", slow)
    run = workshop.run_id(slow)
    open_engine(find_workspace(workshop.root)).pause(run, actor=Actor("ann", ActorKind.HUMAN, "test"), stop=True)
    told = workshop.sop("status", run).out
    assert "(being stopped; nobody drives it)" in told
    assert workshop.sop("resume", run).code == 3
    assert status(workshop, slow) == ("paused", "interrupted")


def test_pause_now_reaches_the_step_of_a_child_run(workshop: Workshop, slow: str) -> None:
    outer = {"name": "outer", "executionMode": "auto", "steps": [{"number": 1, "title": "Inner", "uses": slow}]}
    workshop.procedure("outer", "# Outer\n\n## Steps\n\n### Step 1: Inner\n\nProse.\n", outer)
    process = workshop.background("run", "outer", "--json")
    try:
        eventually((workshop.root / "begun").exists)
        workshop.json("pause", workshop.run_id("outer"), "--now")
        process.communicate(timeout=30)
    finally:
        end_process(process)
    assert status(workshop, "outer") == ("paused", "running")
    assert status(workshop, slow) == ("paused", "interrupted")
