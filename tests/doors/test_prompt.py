"""Questions at a real terminal: what decides, what does not, and answers from elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .workshop import Terminal, Workshop, eventually

Open = Callable[..., Terminal]
GATE = "etach > "
WHAT_NOW = "eave > "


@pytest.fixture
def gated(workshop: Workshop) -> str:
    workshop.steps("gated", "Look | echo looked", "?Act | echo acted >> acted", "Check | echo checked")
    return "gated"


def acted(workshop: Workshop) -> int:
    """How often the gated step ran."""
    path = workshop.root / "acted"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_approves_and_the_run_goes_on(workshop: Workshop, gated: str, terminal: Open) -> None:
    screen = terminal("run", gated)
    asked = screen.expect(GATE)
    assert "approve? gated, step 2: Act" in asked
    assert "echo acted >> acted" in asked
    screen.type("a\n")
    screen.expect("completed in")
    assert (screen.end(), acted(workshop)) == (0, 1)


@pytest.mark.parametrize("keys", ["\n", "y\n", "yes\n", "ar\n", " \n", "\x1b[A\n", "é\n"])
def test_enter_alone_and_other_words_decide_nothing(workshop: Workshop, gated: str, terminal: Open, keys: str) -> None:
    screen = terminal("run", gated)
    screen.expect(GATE)
    screen.type(keys)
    assert "nothing is decided" in screen.expect(GATE)
    assert workshop.json("inbox")["total"] == 1
    screen.type("d\n")
    assert (screen.end(), acted(workshop)) == (3, 0)


@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_what_was_typed_before_the_question_is_no_answer(workshop: Workshop, terminal: Open, kind: str) -> None:
    workshop.steps("hasty", "Wait | until [ -e go ]; do sleep 0.02; done", "?Act | echo acted >> acted")
    screen = terminal("run", "hasty", env={"TERM": kind})
    screen.expect("Wait")
    screen.type("a\n")
    (workshop.root / "go").touch()
    screen.expect(GATE)
    screen.type("d\n")
    assert (screen.end(), acted(workshop)) == (3, 0)


def test_r_asks_for_a_reason_and_rejects(workshop: Workshop, gated: str, terminal: Open) -> None:
    screen = terminal("run", gated)
    screen.expect(GATE)
    screen.type("r\n")
    screen.expect("reason: ")
    screen.type("\n")
    assert "a rejection needs a reason" in screen.expect(GATE)
    screen.type("r\n")
    screen.expect("reason: ")
    screen.type("tests are red\n")
    assert "rejected: gated, step 2: Act" in screen.expect(WHAT_NOW)
    screen.type("l\n")
    screen.expect("is paused: step 2 rejected: tests are red")
    assert (screen.end(), acted(workshop)) == (3, 0)


def test_v_shows_the_whole_envelope_and_asks_again(workshop: Workshop, gated: str, terminal: Open) -> None:
    screen = terminal("run", gated)
    screen.expect(GATE)
    screen.type("v\n")
    shown = screen.expect(GATE)
    assert "procedure_digest:" in shown.replace("\n    ", "\n")
    assert "SHA-256" in shown
    assert workshop.json("inbox")["total"] == 1


def test_d_and_the_end_of_input_leave_it_waiting(workshop: Workshop, gated: str, terminal: Open) -> None:
    for keys in ("d\n", "\x04"):
        screen = terminal("run", gated)
        screen.expect(GATE)
        screen.type(keys)
        screen.expect("left waiting")
        screen.expect("sop approve sop_run_")
        assert screen.end() == 3
    assert workshop.json("inbox")["total"] == 2


def test_the_end_of_input_at_the_reason_rejects_nothing(workshop: Workshop, gated: str, terminal: Open) -> None:
    screen = terminal("run", gated)
    screen.expect(GATE)
    screen.type("r\n")
    screen.expect("reason: ")
    screen.type("\x04")
    screen.expect("left waiting")
    assert screen.end() == 3
    assert workshop.json("inbox")["total"] == 1


def test_an_answer_in_another_process_is_noticed(workshop: Workshop, gated: str, terminal: Open) -> None:
    screen = terminal("run", gated)
    screen.expect(GATE)
    approving = workshop.json("approve", workshop.run_id(gated), "--comment", "from afar")
    assert approving["status"] == "approved"
    screen.expect("from afar")
    screen.expect("completed in")
    assert (screen.end(), acted(workshop)) == (0, 1)


def test_a_rejection_in_another_process_is_noticed(workshop: Workshop, gated: str, terminal: Open) -> None:
    screen = terminal("run", gated)
    screen.expect(GATE)
    workshop.json("reject", workshop.run_id(gated), "--reason", "not now")
    screen.expect("rejected by")
    screen.expect(WHAT_NOW)
    screen.type("l\n")
    screen.expect("is paused")
    assert (screen.end(), acted(workshop)) == (3, 0)


def test_a_timeout_settles_while_the_question_stands(workshop: Workshop, terminal: Open) -> None:
    workshop.steps(
        "timed",
        "?Act | echo acted >> acted",
        steps=[{"number": 1, "title": "Act", "requiresApproval": True, "approvalTimeoutMins": 0.01}],
    )
    screen = terminal("run", "timed")
    screen.expect(GATE)
    screen.expect("its time has come")
    screen.expect("completed in")
    assert (screen.end(), acted(workshop)) == (0, 1)


def test_the_start_is_asked_with_every_step_in_sight(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("asked", "Look | echo looked", "Act | echo acted", mode="supervised")
    screen = terminal("run", "asked", "--param", "where=here")
    asked = screen.expect(GATE)
    assert all(words in asked for words in ("where = here", "echo looked", "echo acted", "supervised"))
    screen.type("a\n")
    assert screen.end() == 0


def test_a_manual_step_is_completed_with_a_comment(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("byhand", "Walk over", "Look")
    screen = terminal("run", "byhand")
    assert "do this: byhand, step 1: Walk over" in screen.expect(GATE)
    screen.type("c\n")
    screen.expect("comment, or Enter for none: ")
    screen.type("all green\n")
    screen.expect("completed")
    screen.expect(GATE)
    screen.type("f\n")
    screen.expect("reason: ")
    screen.type("too dark\n")
    screen.expect(WHAT_NOW)
    screen.type("l\n")
    assert screen.end() == 4
    steps = workshop.json("status", workshop.run_id("byhand"))["stepResults"]
    assert (steps[0]["comment"], steps[1]["status"]) == ("all green", "failed")


def test_a_manual_step_is_skipped_with_a_reason(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("byhand", "Walk over", "Look | echo looked")
    screen = terminal("run", "byhand")
    screen.expect(GATE)
    screen.type("s\n")
    screen.expect("reason: ")
    screen.type("was here yesterday\n")
    assert screen.end() == 0


def test_a_queued_run_waits_at_the_terminal_and_starts_by_itself(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("single", "?Act | echo acted >> acted", maxConcurrent=1)
    first = workshop.started("single")
    screen = terminal("run", "single", "--queue")
    screen.expect("waits for its turn")
    workshop.json("cancel", first)
    screen.expect(GATE)
    screen.type("a\n")
    assert (screen.end(), acted(workshop)) == (0, 1)


def test_every_step_is_printed_once(workshop: Workshop, gated: str, terminal: Open) -> None:
    screen = terminal("run", gated)
    screen.expect(GATE)
    screen.type("a\n")
    screen.end()
    lasting = [line for line in screen.text.split("\n") if "completed" in line and "Look" in line]
    assert len(lasting) == 1


def test_resume_comes_back_to_the_question(workshop: Workshop, gated: str, terminal: Open) -> None:
    run = workshop.started(gated)
    screen = terminal("resume", run)
    screen.expect(GATE)
    screen.type("a\n")
    assert (screen.end(), acted(workshop)) == (0, 1)


def test_a_terminal_that_goes_away_leaves_the_run_waiting(workshop: Workshop, gated: str, terminal: Open) -> None:
    screen = terminal("run", gated)
    screen.expect(GATE)
    screen.process.terminate()
    eventually(lambda: screen.process.poll() is not None)
    assert workshop.json("inbox")["total"] == 1
    assert workshop.json("approve", workshop.run_id(gated))["run"]["status"] == "completed"
