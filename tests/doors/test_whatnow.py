"""What a person is offered at a terminal where a step has stopped the run, and what each answer does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .workshop import Terminal, Workshop, eventually, lines

Open = Callable[..., Terminal]
WHAT_NOW = "eave > "
MIGRATE = 'Migrate | echo "to $SOP_PARAM_TO"; [ -e fixed ] || [ "$SOP_PARAM_TO" = prod ]'


@pytest.fixture
def failing(workshop: Workshop) -> str:
    workshop.steps("failing", "Build | echo built >> built", MIGRATE, "Tell | echo told >> told")
    return "failing"


@pytest.fixture
def screen(workshop: Workshop, failing: str, terminal: Open) -> Terminal:
    """At the question about the second step of `failing`, which failed."""
    screen = terminal("run", failing, "--param", "to=test")
    asked = screen.expect(WHAT_NOW)
    assert "to test" in asked
    assert "failed: failing, step 2: Migrate" in asked
    assert "exit status 1" in asked
    return screen


def statuses(workshop: Workshop, name: str) -> list[str]:
    return [step["status"] for step in workshop.json("status", workshop.run_id(name))["stepResults"]]


@pytest.mark.parametrize("keys", ["\n", "y\n", " \n", "rp\n", "yes\n"])
def test_enter_alone_and_other_words_decide_nothing(workshop: Workshop, screen: Terminal, keys: str) -> None:
    screen.type(keys)
    assert "nothing is decided: type r, p, s, d, c or l" in screen.expect(WHAT_NOW)
    screen.type("l\n")
    assert screen.end() == 4
    assert statuses(workshop, "failing") == ["completed", "failed", "pending"]


def test_what_was_typed_before_the_question_is_no_answer(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("hasty", "Wait | until [ -e go ]; do sleep 0.02; done; exit 1")
    screen = terminal("run", "hasty")
    screen.expect("Wait")
    screen.type("c\n")
    (workshop.root / "go").touch()
    screen.expect(WHAT_NOW)
    screen.type("l\n")
    assert (screen.end(), statuses(workshop, "hasty")) == (4, ["failed"])


def test_r_tries_again_and_goes_on_here(workshop: Workshop, screen: Terminal) -> None:
    screen.type("r\n")
    screen.expect(WHAT_NOW)
    (workshop.root / "fixed").touch()
    screen.type("r\n")
    screen.expect("completed in")
    assert (screen.end(), lines(workshop, "built"), lines(workshop, "told")) == (0, 1, 1)


def test_p_asks_for_values_until_enter_and_tries_again_with_them(workshop: Workshop, screen: Terminal) -> None:
    screen.type("p\n")
    assert "to = test" in screen.expect("Enter to end: ")
    screen.type("prod\n")
    assert "prod has no value" in screen.expect("Enter to end: ")
    screen.type("to=prod\n")
    screen.expect("Enter to end: ")
    screen.type("note=two words\n")
    screen.expect("Enter to end: ")
    screen.type("\n")
    screen.expect("completed in")
    assert screen.end() == 0
    assert workshop.json("status", workshop.run_id("failing"))["params"] == {"to": "prod", "note": "two words"}


def test_p_without_a_value_decides_nothing(workshop: Workshop, screen: Terminal) -> None:
    screen.type("p\n")
    screen.expect("Enter to end: ")
    screen.type("\n")
    assert "nothing is decided: no value was given" in screen.expect(WHAT_NOW)
    screen.type("l\n")
    assert (screen.end(), statuses(workshop, "failing")[1]) == (4, "failed")


def test_s_skips_with_a_reason(workshop: Workshop, screen: Terminal) -> None:
    screen.type("s\n")
    screen.expect("reason: ")
    screen.type("\n")
    assert "needs a reason" in screen.expect(WHAT_NOW)
    screen.type("s\n")
    screen.expect("reason: ")
    screen.type("done last week\n")
    screen.expect("completed in")
    assert (screen.end(), statuses(workshop, "failing")) == (0, ["completed", "skipped", "completed"])


def test_d_reports_it_as_done_by_hand_with_evidence(workshop: Workshop, screen: Terminal) -> None:
    (workshop.root / "shot.txt").write_text("green")
    screen.type("d\n")
    screen.expect("comment, or Enter for none: ")
    screen.type("did it myself\n")
    screen.expect("evidence file, or Enter for none: ")
    screen.type("nowhere.txt\n")
    screen.expect("another evidence file")
    screen.type("\n")
    assert "cannot read the evidence nowhere.txt" in screen.expect(WHAT_NOW)
    screen.type("d\n")
    screen.expect("comment, or Enter for none: ")
    screen.type("did it myself\n")
    screen.expect("evidence file, or Enter for none: ")
    screen.type("shot.txt\n")
    screen.expect("another evidence file")
    screen.type("\n")
    screen.expect("completed in")
    assert screen.end() == 0
    step = workshop.json("status", workshop.run_id("failing"))["stepResults"][1]
    assert (step["comment"], [each["name"] for each in step["evidence"]]) == ("did it myself", ["shot.txt"])


def test_c_cancels(workshop: Workshop, screen: Terminal) -> None:
    screen.type("c\n")
    screen.expect("reason, or Enter for none: ")
    screen.type("no longer needed\n")
    screen.expect("cancelled")
    assert screen.end() == 4
    run = workshop.json("status", workshop.run_id("failing"))
    assert (run["status"], run["reason"]) == ("cancelled", "no longer needed")


@pytest.mark.parametrize("keys", ["l\n", "\x04"])
def test_l_and_the_end_of_input_leave_it_as_it_is(workshop: Workshop, screen: Terminal, keys: str) -> None:
    screen.type(keys)
    screen.expect("left as it is")
    screen.expect("sop retry sop_run_")
    assert (screen.end(), statuses(workshop, "failing")[1]) == (4, "failed")


def test_the_end_of_input_at_the_reason_cancels_nothing(workshop: Workshop, screen: Terminal) -> None:
    screen.type("c\n")
    screen.expect("reason, or Enter for none: ")
    screen.type("\x04")
    assert (screen.end(), workshop.json("status", workshop.run_id("failing"))["status"]) == (4, "failed")


def test_back_is_offered_where_something_done_can_be_undone(workshop: Workshop, terminal: Open) -> None:
    undo = [{"number": 1, "title": "Build", "rollback": "echo undone >> undone"}, {"number": 2, "title": "Fail"}]
    workshop.steps("undoable", "Build | echo built", "Fail | exit 3", steps=undo)
    screen = terminal("run", "undoable")
    assert "back: rolls back step 1" in screen.expect(WHAT_NOW)
    screen.type("b\n")
    screen.expect("reason, or Enter for none: ")
    screen.type("\n")
    offered = screen.expect(WHAT_NOW)
    assert "[s]kip" not in offered
    assert "[b]ack" not in offered
    screen.type("l\n")
    assert (screen.end(), lines(workshop, "undone")) == (4, 1)


def test_a_condition_that_is_not_known_offers_other_values_and_no_plain_retry(
    workshop: Workshop, terminal: Open
) -> None:
    step = {"number": 1, "title": "Act", "if": "params.to == 'prod'"}
    workshop.steps("unknown", "Act | echo acted >> acted", steps=[step])
    screen = terminal("run", "unknown")
    asked = screen.expect(WHAT_NOW)
    assert "not known: unknown, step 1: Act" in asked
    assert "[r]etry" not in asked
    assert "[d]one" not in asked
    screen.type("p\n")
    screen.expect("Enter to end: ")
    screen.type("to=prod\n")
    screen.expect("Enter to end: ")
    screen.type("\n")
    assert (screen.end(), lines(workshop, "acted")) == (0, 1)


def test_of_an_interrupted_step_it_says_that_nobody_knows(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("lost", "Act | kill -KILL $PPID; sleep 30", "After | echo after >> after")
    screen = terminal("run", "lost")
    asked = screen.expect(WHAT_NOW)
    assert "interrupted: lost, step 1: Act" in asked
    assert "nobody knows whether its effect happened" in asked
    screen.type("l\n")
    assert screen.end() == 3


def test_several_failed_steps_are_asked_about_one_after_the_other(workshop: Workshop, terminal: Open) -> None:
    beside = [{"number": n, "title": f"Fail {n}", "dependsOn": []} for n in (1, 2)]
    workshop.steps("both", "Fail 1 | exit 1", "Fail 2 | exit 2", steps=beside)
    screen = terminal("run", "both")
    asked = screen.expect(WHAT_NOW)
    assert "failed: both, step 1" in asked
    assert "step 2 is in the way too" in asked
    screen.type("s\n")
    screen.expect("reason: ")
    screen.type("no\n")
    assert "failed: both, step 2" in screen.expect(WHAT_NOW)
    screen.type("s\n")
    screen.expect("reason: ")
    screen.type("no\n")
    assert screen.end() == 0


def test_an_answer_in_another_process_ends_the_question(workshop: Workshop, screen: Terminal) -> None:
    (workshop.root / "fixed").touch()
    workshop.json("retry", workshop.run_id("failing"))
    screen.expect("somebody decided elsewhere: the run is ")  # running still, or completed already
    screen.expect("completed")
    assert screen.end() == 0


def test_a_cancel_in_another_process_ends_the_question(workshop: Workshop, screen: Terminal) -> None:
    workshop.json("cancel", workshop.run_id("failing"))
    screen.expect("somebody decided elsewhere: the run is cancelled")
    assert screen.end() == 4


def test_who_may_not_pass_the_gate_is_not_offered_to_pass_over_the_step(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("theirs", "?Act | echo acted >> acted", steps=[GATED_BY_OTHERS])
    screen = terminal("run", "theirs")
    screen.expect("etach > ")
    screen.type("r\n")
    screen.expect("reason: ")
    screen.type("no\n")
    offered = screen.expect(WHAT_NOW)
    assert "[s]kip" not in offered
    assert "[r]etry" in offered
    screen.type("l\n")
    assert screen.end() == 3


GATED_BY_OTHERS = {
    "number": 1,
    "title": "Act",
    "requiresApproval": True,
    "approval": {"approvers": ["user:somebody-else"], "onTimeout": "reject"},
}


def test_retry_at_a_terminal_asks_again_where_it_fails_again(workshop: Workshop, failing: str, terminal: Open) -> None:
    run = workshop.started(failing, "--param", "to=test", code=4)
    screen = terminal("retry", run)
    screen.expect(WHAT_NOW)
    screen.type("l\n")
    assert screen.end() == 4


def test_an_approved_start_is_asked_again_with_the_new_values_and_what_was_done(
    workshop: Workshop, terminal: Open
) -> None:
    workshop.steps("watched", "Build | echo built >> built", MIGRATE, mode="supervised")
    run = workshop.started("watched", "--param", "to=test")
    workshop.json("approve", run, code=4)
    screen = terminal("retry", run, "--param", "to=prod")
    asked = screen.expect("etach > ")
    assert "to = prod" in asked
    assert "the parameters have changed; done with the old ones: step 1" in asked
    screen.type("a\n")
    screen.expect("completed in")
    assert (screen.end(), lines(workshop, "built")) == (0, 1)


def test_after_ctrl_c_nothing_is_asked(workshop: Workshop, terminal: Open) -> None:
    workshop.steps("left", "Wait | touch begun; until [ -e go ]; do sleep 0.02; done; exit 1")
    screen = terminal("run", "left")
    eventually((workshop.root / "begun").exists)
    screen.type("\x03")
    screen.expect("pausing after the running step")
    (workshop.root / "go").touch()
    assert screen.end() == 4
    assert WHAT_NOW not in screen.text


def test_without_a_terminal_nothing_is_asked(workshop: Workshop, failing: str) -> None:
    told = workshop.sop("run", failing, "--param", "to=test")
    assert told.code == 4
    assert "eave" not in told.out


def test_retry_with_parameters_in_json(workshop: Workshop, failing: str) -> None:
    run = workshop.started(failing, "--param", "to=test", code=4)
    assert workshop.json("retry", run, "--param", "to=prod")["params"] == {"to": "prod"}
    told = workshop.sop("audit", run, "--json").json["events"]
    retried = next(event for event in told if event["type"] == "run_retried")
    assert (told[0]["details"]["params"], retried["details"]["params"]) == ({"to": "test"}, {"to": "prod"})


def test_a_parameter_without_a_value_is_a_usage_error(workshop: Workshop, failing: str) -> None:
    run = workshop.started(failing, "--param", "to=test", code=4)
    error = workshop.json("retry", run, "--param", "to", code=2)["error"]
    assert f"cannot retry {run}" in error["message"]
