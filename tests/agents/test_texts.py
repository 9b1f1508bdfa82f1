"""The text beside an answer, for hosts that show their model nothing else."""

from __future__ import annotations

from tests.doors.workshop import Workshop

from sopwith.doors.agent.frames import Frames
from sopwith.doors.agent.texts import twin

from .given import Agent, gated_by
from .test_hostile import FRAME


def test_a_failure_is_told_in_its_frame(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("deploy", "Build | true", "Break | exit 3", "Ship | true")
    run_id = coder("sop_execute", sopName="deploy")["runId"]
    text = coder.answer("sop_status", runId=run_id).text
    assert "  2 Break: failed\n  3 Ship: pending\nStep 2: [[untrusted " in text
    [(_id, inside)] = FRAME.findall(text)
    assert inside == "exit status 3"
    assert len(text.splitlines()) <= 15


def test_a_frame_is_told_whole_or_not_at_all(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("byhand", "Walk")
    run_id = coder("sop_execute", sopName="byhand")["runId"]
    coder("sop_complete_step", runId=run_id, stepNumber=1, outcome="failed", output="no light\n" * 400)
    answer = coder.answer("sop_status", runId=run_id)
    assert "no light" in answer.document["stepResults"][0]["error"]
    assert "[[" not in answer.text
    assert len(answer.text.splitlines()) <= 15


def test_a_description_says_which_parameters_are_needed(workshop: Workshop, coder: Agent) -> None:
    params = [{"name": "version", "type": "string", "required": True}, {"name": "count", "type": "integer"}]
    workshop.steps("deploy", "?Ship | true", params=params)
    text = coder.answer("sop_describe", sopName="deploy").text
    assert (
        "  param version: string, required\n  param count: integer, may be left out\n  1 Ship (needs approval)" in text
    )
    assert "(1 step, 1 gate)" in coder.answer("sop_list").text


def test_instances_are_told_apart(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("each", "Ship | true", steps=[{"number": 1, "forEach": ["eu", "us"]}])
    run_id = coder("sop_execute", sopName="each")["runId"]
    text = coder.answer("sop_status", runId=run_id).text
    assert "  1 Ship: completed\n  1:eu Ship: completed\n  1:us Ship: completed" in text


def test_a_reason_is_told_as_it_was_given(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("deploy", "Ship | true", steps=[{"number": 1, **gated_by("reviewer")}])
    run_id = coder("sop_execute", sopName="deploy")["runId"]
    coder("sop_reject", runId=run_id, stepNumber=1, reason='not "today"')
    [(_id, inside)] = FRAME.findall(coder("sop_status", runId=run_id)["reason"])
    assert 'not "today"' in inside
    assert not inside.startswith('"')


def test_what_can_be_done_is_told_however_much_there_is_to_see(workshop: Workshop, coder: Agent) -> None:
    params = [{"name": f"p{number}", "type": "string"} for number in range(20)]
    workshop.steps("long", *(f"Step {number} | true" for number in range(30)), "?Ship | true", params=params)
    run_id = coder("sop_execute", sopName="long")["runId"]
    for tool, arguments in (
        ("sop_status", {"runId": run_id}),
        ("sop_get_audit", {"runId": run_id}),
        ("sop_describe", {"sopName": "long"}),
    ):
        answer = coder.answer(tool, **arguments)
        shown = answer.text.splitlines()
        assert len(shown) <= 15
        told = [line for line in shown if line.startswith(("Tell the person", "You may call"))]
        assert len(told) == len(answer.document["next"])


def test_a_refusal_is_told_however_long_it_is() -> None:
    message = Frames().text("a comment\n" * 40, "an error message")
    text = twin({"error": {"code": "already_decided", "message": message, "remedy": "Look."}, "next": []})
    assert text.startswith("Refused (already_decided): [[untrusted ")
    assert FRAME.search(text)


def test_nothing_is_told_in_words_too(workshop: Workshop, coder: Agent) -> None:
    assert coder.answer("sop_list").text == "no procedures"
    assert coder.answer("sop_list_runs").text == "no runs"
    workshop.steps("byhand", "Walk")
    run = coder("sop_execute", sopName="byhand")
    answer = coder.answer("sop_get_audit", runId=run["runId"], sinceSeq=run["revision"])
    assert "\nno events\n" in answer.text
