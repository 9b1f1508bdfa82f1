"""How scenarios go: time, stubs, people; by the real engine, with nothing started."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest
from msgspec.structs import replace

from sopwith.rehearsal import moments

from .given import AGREES, Rehearsal, problems, procedure

GATED = {"requiresApproval": True}
BY_HAND = {"run": None}
QUORUM = {
    "requiresApproval": True,
    "approvalTimeoutMins": 10,
    "approval": {"approvers": ["group:release"], "quorum": 2, "onTimeout": "reject"},
}
PEOPLE = '[config]\ngroups = {release = ["alice", "bob", "cora"]}\n'


def act(verb: str, by: str = "alice", **said: object) -> str:
    lines = [f'do = "{verb}"', f'by = "{by}"']
    lines += [f"{key} = {value!r}" for key, value in said.items()]
    return "\n".join(["[[acts]]", *lines, ""])


def wait(span: str) -> str:
    return f"[[acts]]\nwait = '{span}'\n"


# steps


def test_a_step_that_is_not_named_succeeds_at_once() -> None:
    done = Rehearsal(procedure({}, {}), "")
    assert (done.status, done.steps) == ("completed", ["completed", "completed"])
    assert done.at("run_completed") == 0


def test_a_step_takes_the_time_that_the_scenario_says() -> None:
    done = Rehearsal(procedure({}, {}), "[steps.1]\ntakes = '2h'\n[steps.2]\ntakes = 90\n")
    assert done.at("step_completed 1") == 7200
    assert done.at("run_completed") == 7290


def test_each_try_has_its_own_exit_code() -> None:
    done = Rehearsal(procedure({"retry": {"maxAttempts": 3, "delaySecs": 60}}), "[steps.1]\nexit_codes = [75, 1, 0]\n")
    assert done.events.count("step_started 1") == 3
    assert done.at("step_completed 1") == 120
    assert done.status == "completed"


def test_the_last_exit_code_is_that_of_all_further_tries() -> None:
    done = Rehearsal(procedure({"retry": {"maxAttempts": 4, "delaySecs": 0}}), "[steps.1]\nexit_codes = [0, 3]\n")
    assert done.status == "completed"
    done = Rehearsal(procedure({"retry": {"maxAttempts": 4, "delaySecs": 0}}), "[steps.1]\nexit_codes = [2, 3]\n")
    assert done.events.count("step_started 1") == 4
    assert done.played.run is not None
    assert done.played.run.steps[1].exit_code == 3


def test_retries_look_at_the_exit_code() -> None:
    of = procedure({"retry": {"maxAttempts": 3, "delaySecs": 0, "onExitCodes": [75]}})
    assert Rehearsal(of, "[steps.1]\nexit_codes = [75, 0]\n").status == "completed"
    assert Rehearsal(of, "[steps.1]\nexit_codes = [1, 0]\n").status == "failed"


def test_outputs_are_there_for_conditions() -> None:
    of = procedure({"key": "build"}, {"if": "steps.build.outputs.count == 2", "dependsOn": ["build"]}, {})
    assert Rehearsal(of, "[steps.build]\noutputs = {count = 2}\n").steps == ["completed"] * 3
    assert Rehearsal(of, "[steps.build]\noutputs = {count = 3}\n").steps == ["completed", "skipped", "completed"]


def test_what_a_step_prints_is_in_the_record() -> None:
    done = Rehearsal(procedure({}), "[steps.1]\noutput = 'looked'\n")
    assert done.played.run is not None
    assert done.played.run.steps[1].output == "looked"


def test_a_step_that_takes_longer_than_its_limit_is_ended() -> None:
    done = Rehearsal(procedure({"timeoutSecs": 60}), "[steps.1]\ntakes = '5m'\n")
    assert (done.status, done.at("step_failed 1")) == ("failed", 60)


def test_an_interrupted_try_pauses_the_run_and_the_next_goes_as_the_rest_says() -> None:
    stub = "[steps.1]\ninterrupted = true\n"
    assert Rehearsal(procedure({}), stub).waits_for.startswith("the run is paused: ")
    done = Rehearsal(procedure({}), stub + act("retry"))
    assert done.events.count("step_interrupted 1") == 1
    assert done.status == "completed"


def test_waits_pass_by_themselves() -> None:
    done = Rehearsal(procedure({}, {"run": None, "executor": "wait", "waitSecs": 864000}), "")
    assert done.at("run_completed") == 864000


def test_a_scenario_starts_when_it_says() -> None:
    of = procedure({"run": None, "executor": "wait", "waitUntil": "2026-12-01T08:00:00Z"})
    done = Rehearsal(of, "starts_at = 2026-12-01T09:30:00+02:00\n")
    assert done.at("run_completed") == 1800


def test_nothing_of_this_machine_is_needed() -> None:
    steps = {"pins": ["no-such-file"], "env": {"pass": ["NO_SUCH_VARIABLE"]}, **GATED}
    of = procedure(steps, {}, workingDir="no/such/folder")
    of = replace(of, steps=(of.steps[0], replace(of.steps[1], executor="no-such-executor", script=None)))
    done = Rehearsal(of, AGREES + '[expect.outputs.2]\nsaid = "hello"\n[steps.2.outputs]\nsaid = "hello"\n')
    assert (done.status, done.differences) == ("completed", [])


def test_rollback_scripts_go_as_the_scenario_says() -> None:
    of = procedure({"rollback": {"run": "undo"}}, {"rollback": {"run": "undo"}}, {"onFailure": "rollback"})
    done = Rehearsal(of, "[steps.3]\nexit_code = 1\n[steps.1.rollback]\nexit_code = 1\ntakes = '1m'\n")
    assert done.played.run is not None
    assert (done.status, done.played.run.rollback_failed, done.steps[1]) == ("failed", (1,), "rolled_back")
    assert done.at("step_rolled_back 2") == 0
    assert done.at("step_rolled_back 1") == 60


def test_a_failure_leads_where_the_procedure_says() -> None:
    of = procedure({"key": "try", "onFailure": "goto:mend"}, {}, {"key": "mend"})
    assert Rehearsal(of, "[steps.try]\nexit_code = 1\n").steps == ["failed", "skipped", "completed"]


# people


def test_an_act_is_done_as_soon_as_its_step_waits() -> None:
    done = Rehearsal(procedure({}, GATED, {}), "[steps.1]\ntakes = '10m'\n" + act("approve", step=2))
    assert done.at("approval_granted 2") == 600
    assert done.status == "completed"


def test_after_counts_from_the_moment_at_which_it_is_possible() -> None:
    done = Rehearsal(procedure({}, GATED), "[steps.1]\ntakes = '10m'\n" + act("approve", step=2, after="90s"))
    assert done.at("approval_granted 2") == 690


def test_two_people_are_needed_where_the_gate_says_so() -> None:
    of = procedure(QUORUM)
    one = Rehearsal(of, PEOPLE + act("approve", "bob"))
    assert (one.status, one.waits_for) == (
        "awaiting_approval",
        "step 1 waits for approval, and no more acts are scripted",
    )
    two = Rehearsal(of, PEOPLE + act("approve", "bob") + act("approve", "alice"))
    assert (two.status, two.differences) == ("completed", [])


def test_who_may_not_approve_is_refused_and_the_scenario_may_expect_it() -> None:
    of = procedure(QUORUM)
    told = Rehearsal(of, PEOPLE + act("approve", "mallory") + act("approve", "bob")).differences
    assert len(told) == 1
    assert told[0].startswith(
        "act 1, mallory approves: expected to be done, got approver_not_allowed: mallory is none of the approvers of"
    )
    refused = act("approve", "mallory", refused="approver_not_allowed")
    both = act("approve", "bob") + act("approve", "alice")
    assert Rehearsal(of, PEOPLE + refused + both).status == "completed"


def test_a_refusal_that_does_not_come_is_a_difference() -> None:
    done = Rehearsal(procedure(GATED, {}), act("approve", refused="approver_not_allowed"))
    assert done.differences == [
        "act 1, alice approves: expected the refusal approver_not_allowed, got no refusal",
    ]


def test_acts_after_one_that_went_wrong_are_left_out() -> None:
    of = procedure(GATED, GATED)
    done = Rehearsal(of, act("approve", refused="approver_not_allowed") + act("approve", step=2))
    assert done.steps == ["completed", "awaiting_approval"]


def test_who_starts_the_run_may_not_approve_it() -> None:
    done = Rehearsal(procedure(QUORUM), "started_by = 'bob'\n" + PEOPLE + act("approve", "bob"))
    assert "approver_not_allowed" in done.differences[0]


def test_an_agent_is_an_agent() -> None:
    done = Rehearsal(procedure(GATED), act("approve", "agent:bot"))
    assert "got approver_not_allowed: bot (agent)" in done.differences[0]


def test_an_act_that_is_never_possible_is_told_with_what_the_run_waits_for() -> None:
    done = Rehearsal(procedure({}, GATED, GATED), act("approve", step=3))
    assert done.differences == [
        "act 1, alice approves step 3: expected a moment at which it can be done, got none",
    ]
    assert done.waits_for == "step 2 waits for approval"


def test_an_impossible_act_that_must_be_refused_is_tried() -> None:
    assert Rehearsal(procedure({}), act("pause", refused="illegal_move")).differences == []


def test_an_approval_waits_for_the_next_revision_of_its_gate() -> None:
    acts = act("approve") + act("retry") + act("approve", step=1)
    done = Rehearsal(procedure(GATED), "[steps.1]\nexit_codes = [1, 0]\ntakes = '1m'\n" + acts)
    assert (done.status, done.differences) == ("completed", [])
    assert done.events.count("approval_granted 1") == 2


def test_the_start_approval_can_be_named() -> None:
    of = procedure(GATED, executionMode="supervised")
    done = Rehearsal(of, act("approve", step="start") + act("approve", step=1))
    assert done.status == "completed"
    wrong = Rehearsal(procedure(GATED), act("approve", step="start"))
    assert wrong.differences == [
        "act 1, alice approves the start: expected a moment at which it can be done, got none",
    ]


def test_forms_and_comments_are_given_as_at_any_door() -> None:
    form = {"type": "object", "properties": {"ticket": {"type": "string"}}, "required": ["ticket"]}
    of = procedure({"requiresApproval": True, "approval": {"form": form, "commentRequired": True}})
    assert "a comment" in Rehearsal(of, act("approve") + "form = {ticket = 'T-1'}\n").differences[0]
    assert "ticket" in Rehearsal(of, act("approve", comment="yes")).differences[0]
    done = Rehearsal(of, act("approve", comment="yes") + "form = {ticket = 'T-1'}\n")
    assert done.played.run is not None
    assert done.played.run.steps[1].approval_values == {"ticket": "T-1"}


def test_the_gate_of_a_rollback_is_answered_like_any_other() -> None:
    of = procedure({"rollback": {"run": "undo", "requiresApproval": True}}, {"onFailure": "rollback"})
    failing = "[steps.2]\nexit_code = 1\n"
    assert Rehearsal(of, failing).waits_for.startswith("step 1 waits for approval")
    assert Rehearsal(of, failing + act("approve", step=1)).steps == ["rolled_back", "failed"]
    assert Rehearsal(of, failing + act("reject", reason="no")).steps == ["completed", "failed"]


def test_steps_by_hand_are_reported_by_people() -> None:
    of = procedure(BY_HAND, BY_HAND, BY_HAND)
    acts = act("complete", output="done", comment="by phone") + act("skip", reason="no need", step=2)
    done = Rehearsal(of, acts + act("fail", "bob", reason="it broke", after="1h"))
    assert done.steps == ["completed", "skipped", "failed"]
    assert done.waits_for.startswith("the run failed: ")
    assert done.at("run_failed") == 3600


def test_pause_resume_cancel_and_rollback_are_what_the_commands_do() -> None:
    of = procedure({"rollback": {"run": "undo"}}, {}, {})
    stub = "[steps.2]\ntakes = '10m'\n"
    acts = act("pause", after="1m") + act("resume", "bob", after="1h")
    done = Rehearsal(of, stub + acts)
    assert (done.at("run_paused"), done.at("run_resumed"), done.status) == (600, 4200, "completed")
    done = Rehearsal(of, stub + act("cancel", after="1m", reason="enough") + act("rollback"))
    assert (done.status, done.steps) == ("cancelled", ["rolled_back", "cancelled", "cancelled"])
    assert done.at("run_cancelled") == 60


# the clock


def test_gates_time_out_only_where_time_passes() -> None:
    of = procedure(QUORUM)
    assert Rehearsal(of, PEOPLE).status == "awaiting_approval"
    assert Rehearsal(of, PEOPLE + wait("9m")).status == "awaiting_approval"
    late = Rehearsal(of, PEOPLE + wait("11m"))
    assert (late.status, late.steps, late.at("approval_timeout 1")) == ("paused", ["rejected"], 600)


def test_who_comes_too_late_is_told() -> None:
    of = procedure(QUORUM)
    done = Rehearsal(of, PEOPLE + act("approve", "bob", after="15m", refused="already_decided", step=1))
    assert done.differences == []


def test_a_long_step_lets_a_gate_beside_it_time_out() -> None:
    of = procedure({"dependsOn": []}, {**QUORUM, "dependsOn": []})
    done = Rehearsal(of, PEOPLE + "[steps.1]\ntakes = '1h'\n")
    assert done.at("approval_timeout 2") == 600


def test_a_step_by_hand_can_run_out_of_time() -> None:
    of = procedure({"run": None, "timeoutSecs": 600})
    assert Rehearsal(of, "").status == "running"
    assert Rehearsal(of, wait("601s")).status == "failed"


def test_time_goes_on_after_the_run() -> None:
    assert Rehearsal(procedure({}), wait("1d")).status == "completed"


# the start


def test_parameters_and_mode_are_those_of_the_scenario() -> None:
    of = procedure({"if": "params.to == 'production'"}, {}, params=[{"name": "to"}])
    assert Rehearsal(of, "[params]\nto = 'production'\n").steps == ["completed", "completed"]
    done = Rehearsal(of, "mode = 'step_by_step'\n[params]\nto = 'staging'\n")
    assert done.waits_for.startswith("step 2 waits for approval")


def test_a_start_that_is_refused_is_a_difference_or_expected() -> None:
    of = procedure({}, params=[{"name": "to", "required": True}])
    told = Rehearsal(of, "").differences
    assert len(told) == 1
    assert told[0].startswith("the start of the run: expected to be done, got bad_parameter: ")
    assert Rehearsal(of, "[expect]\nrefused = 'bad_parameter'\n").differences == []
    assert Rehearsal(procedure({}), "[expect]\nrefused = 'bad_parameter'\n").differences == [
        "the start of the run: expected the refusal bad_parameter, got no refusal",
    ]


def test_roles_hold_in_a_scenario() -> None:
    config = '[config.roles]\nrunner = ["user:rita"]\n'
    assert "not_allowed" in Rehearsal(procedure({}), config).differences[0]
    assert Rehearsal(procedure({}), "started_by = 'rita'\n" + config).status == "completed"


# no side effects, no end


def test_no_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    for module, name in ((os, "fork"), (os, "posix_spawn"), (os, "execve"), (subprocess, "Popen")):
        monkeypatch.setattr(module, name, refuse)
    assert Rehearsal(procedure({}, GATED, BY_HAND), AGREES + act("complete")).status == "completed"


def test_what_never_ends_is_stopped_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "MAX_LOOKS", 100)
    done = Rehearsal(procedure({"retry": {"maxAttempts": 900, "delaySecs": 1}}), "[steps.1]\nexit_code = 1\n")
    assert done.differences == ["the scenario: expected an end, got none: it goes on and on"]


def test_a_thousand_steps_stay_far_below_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "MAX_LOOKS", moments.MAX_LOOKS // 10)
    stubs = "".join(f"[steps.{number}]\ntakes = '1h'\n" for number in range(1, 1001))
    assert Rehearsal(procedure(*[{} for _ in range(1000)]), stubs).status == "completed"


def test_a_scenario_leaves_no_task_behind() -> None:
    Rehearsal(procedure({}, {"requiresApproval": True}), "[steps.1]\ntakes = '1h'\n")
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


# instances and procedures within procedures


def test_an_instance_is_named_by_its_step_and_its_item() -> None:
    each = {"key": "deploy", "forEach": ["eu", "us"], "onFailure": "continue"}
    told = """
        [steps.deploy]
        outputs = {url = "e"}
        [steps."1:us"]
        exit_codes = [1]
        [expect]
        status = "completed"
        with_failures = true
        steps = {"1:eu" = "completed", "deploy:us" = "failed", 1 = "failed", 2 = "completed"}
        outputs = {"1:eu" = {url = "e"}}
        events = ["step_expanded 1", "step_failed 1:us", "step_failed 1"]
    """
    assert Rehearsal(procedure(each, {}), told).differences == []
    wrong = Rehearsal(procedure(each, {}), '[expect]\nsteps = {"1:ap" = "completed", "1:eu" = "failed"}\n')
    assert wrong.differences == ["step 1:ap: expected completed, got none", "step 1:eu: expected failed, got completed"]


def test_what_is_no_instance_is_a_problem() -> None:
    found = problems(
        '[steps."2:eu"]\nexit_codes = [1]\n[expect]\nstatus = "failed"\n', procedure({"forEach": ["eu"]}, {})
    )
    assert [problem.code for problem in found] == ["unknown_step"]


def test_a_procedure_within_a_procedure_is_played_as_one_step() -> None:
    used = {"run": None, "uses": "notify", "with": {"n": 1}}
    done = Rehearsal(procedure(used, {}), '[steps.1]\noutputs = {id = "7"}\n')
    assert (done.status, done.steps) == ("completed", ["completed", "completed"])


# reports


VERIFIED = {"run": None, "verify": "test -e done"}


def test_a_report_is_confirmed_where_the_scenario_does_not_say() -> None:
    done = Rehearsal(procedure(VERIFIED), act("complete"))
    assert (done.status, done.events.count("verification_started 1")) == ("completed", 1)


def test_a_scenario_says_what_the_verification_of_each_report_finds() -> None:
    text = "[steps.1]\nverify = {exit_codes = [1, 0], takes = '5m'}\n" + act("complete") + act("complete", by="bob")
    done = Rehearsal(procedure(VERIFIED), text)
    assert (done.status, done.events.count("step_reported 1")) == ("completed", 2)
    assert done.at("step_completed 1") == 600


def test_a_report_that_is_not_confirmed_leaves_the_run_waiting() -> None:
    done = Rehearsal(procedure(VERIFIED), "[steps.1]\nverify = {exit_code = 2}\n" + act("complete"))
    assert (done.status, done.steps) == ("running", ["running"])


def test_a_scenario_of_a_verification_that_is_not_there_is_wrong() -> None:
    [problem] = problems("[steps.1]\nverify = {exit_code = 1}\n[expect]\nstatus = 'completed'\n", procedure(BY_HAND))
    assert (problem.code, "step 1 has no verify" in problem.message) == ("not_played", True)


# agents


AGENTS = {"run": None, "executor": "agent", "description": "Read the diff."}


def test_an_agents_step_is_played_as_a_script_is_whether_it_is_configured_or_not() -> None:
    of = procedure(AGENTS, {**AGENTS, "agent": "reviewer", "retry": {"maxAttempts": 2, "delaySecs": 0}})
    said = "[steps.1]\ntakes = '5m'\noutputs = {verdict = 'ok'}\n[steps.2]\nexit_codes = [1, 0]\n"
    done = Rehearsal(of, said)
    assert (done.status, done.steps) == ("completed", ["completed", "completed"])
    assert done.at("step_completed 1") == 300
    assert done.events.count("step_started 2") == 2


def test_an_agents_step_needs_no_report_of_a_person() -> None:
    failed = Rehearsal(procedure(AGENTS), "[steps.1]\nexit_codes = [1]\n")
    assert failed.status == "failed"
