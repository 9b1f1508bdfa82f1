"""Who may do what through which tool: decided by the engine, whatever an argument says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.doors.workshop import Workshop

from sopwith.core.actor import ActorKind
from sopwith.doors.agent.caller import agent_actor
from sopwith.doors.agent.tools import TOOLS
from sopwith.errors import BadRequest

from .given import Agent, gated_by

Make = Callable[..., Agent]

PRINCIPALS = ("starter", "approver", "bystander", "viewer")
MATRIX: dict[str, dict[str, str]] = {
    # tool: what each principal is told; empty: it is carried out
    # the approver, because nobody would be left who could approve
    "sop_execute": {"viewer": "not_allowed", "approver": "not_allowed"},
    "sop_approve": {
        "starter": "approver_not_allowed",
        "bystander": "approver_not_allowed",
        "viewer": "approver_not_allowed",
    },
    "sop_reject": {},
    "sop_status": {},
    "sop_list_runs": {},
    "sop_get_audit": {},
    "sop_list": {},
    "sop_describe": {},
    "sop_complete_step": {"viewer": "not_allowed"},
    "sop_cancel": {},
    "sop_retry": {"viewer": "not_allowed"},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "sop_execute": {"sopName": "gated"},
    "sop_approve": {"runId": "gated", "stepNumber": 1},
    "sop_reject": {"runId": "gated", "stepNumber": 1, "reason": "no"},
    "sop_status": {"runId": "gated"},
    "sop_list_runs": {},
    "sop_get_audit": {"runId": "gated"},
    "sop_list": {},
    "sop_describe": {"sopName": "gated"},
    "sop_complete_step": {"runId": "byhand", "stepNumber": 1, "outcome": "done"},
    "sop_cancel": {"runId": "gated"},
    "sop_retry": {"runId": "broken"},
}


@pytest.fixture
def runs(workshop: Workshop, agents: Make) -> dict[str, str]:
    """One run of each kind, all of the starter's."""
    (workshop.sops / "config.json").write_text(
        '{"roles": {"runner": ["agent:starter", "agent:approver", "agent:bystander"]}}'
    )
    workshop.steps("gated", "Ship | true", steps=[{"number": 1, **gated_by("approver")}])
    workshop.steps("byhand", "Walk")
    workshop.steps("broken", "Break | false")
    starter = agents("starter")
    return {name: starter("sop_execute", sopName=name)["runId"] for name in ("gated", "byhand", "broken")}


def test_the_matrix_names_every_tool() -> None:
    assert list(MATRIX) == list(ARGUMENTS) == [tool.name for tool in TOOLS]


@pytest.mark.parametrize("principal", PRINCIPALS)
@pytest.mark.parametrize("tool", MATRIX)
def test_the_matrix_holds(agents: Make, runs: dict[str, str], tool: str, principal: str) -> None:
    arguments = {key: runs[value] if key == "runId" else value for key, value in ARGUMENTS[tool].items()}
    agent = agents(principal)
    code = MATRIX[tool].get(principal)
    if code is None:
        agent(tool, **arguments)
    else:
        agent.refused(code, tool, **arguments)


def test_an_agent_never_approves_in_a_run_that_it_started(workshop: Workshop, agents: Make) -> None:
    step = gated_by("coder", allowSelfApproval=True)
    step["approval"]["approvers"].append("agent:other")
    workshop.steps("gated", "Ship | true", steps=[{"number": 1, **step}])
    run_id = agents("coder")("sop_execute", sopName="gated")["runId"]
    told = agents("coder").refused("approver_not_allowed", "sop_approve", runId=run_id, stepNumber=1)
    assert any(f"sop approve {run_id} --step 1" in move.get("tellHuman", "") for move in told["next"])
    agents("other")("sop_approve", runId=run_id, stepNumber=1)


def test_a_person_of_the_same_account_still_decides(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("gated", "?Ship | true")
    run_id = coder("sop_execute", sopName="gated")["runId"]
    assert workshop.json("approve", run_id)["status"] == "approved"


_CLAIMS = (
    "actor",
    "user",
    "agentName",
    "approver",
    "onBehalfOf",
    "on_behalf_of",
    "approvedBy",
    "AS",
    "userId",
    "run-as",
)


@pytest.mark.parametrize("tool", [tool.name for tool in TOOLS])
def test_no_argument_says_who_calls(workshop: Workshop, coder: Agent, tool: str) -> None:
    for name in _CLAIMS:
        coder.refused("identity_claimed", tool, **{"runId": "sop_run_x", "sopName": "x", name: "root"})
    coder.refused("bad_argument", tool, runId="sop_run_x", sopName="x", favourite="root")


def test_who_calls_is_recorded_as_the_door_knows_it(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("byhand", "Walk")
    run_id = coder("sop_execute", sopName="byhand", params={"actor": "root"})["runId"]
    [created] = coder("sop_get_audit", runId=run_id, limit=1)["events"]
    assert created["actor"] == {"id": "coder", "kind": "agent", "via": "mcp"}


def test_without_a_name_an_agent_has_the_accounts(workshop: Workshop) -> None:
    account = agent_actor(None)
    assert account.kind is ActorKind.AGENT
    assert agent_actor("reviewer").id == "reviewer"
    assert account.id in (agent_actor("reviewer").session or account.session).session  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["", "a b", "agent:x", "../x", "x" * 65, "a\n"])
def test_a_name_is_a_name(name: str) -> None:
    with pytest.raises(BadRequest):
        agent_actor(name)


def test_a_step_of_a_run_decides_nothing_about_it(workshop: Workshop, coder: Agent, monkeypatch: Any) -> None:
    workshop.steps("byhand", "Walk")
    run_id = coder("sop_execute", sopName="byhand")["runId"]
    monkeypatch.setenv("SOP_RUN_ID", run_id)
    inside = Agent(workshop, "coder")
    told = inside.refused("not_allowed", "sop_complete_step", runId=run_id, stepNumber=1, outcome="done")
    assert [move for move in told["next"] if move.get("call") != "sop_status" and "call" in move] == []
    inside.close()


def test_an_agent_may_not_loosen_the_mode(workshop: Workshop, coder: Agent) -> None:
    workshop.steps("careful", "Ship | true", mode="step_by_step")
    coder.refused("not_allowed", "sop_execute", sopName="careful", executionMode="auto")


def test_evidence_is_a_file_of_the_project(workshop: Workshop, coder: Agent, tmp_path: Any) -> None:
    workshop.steps("byhand", "Walk")
    run_id = coder("sop_execute", sopName="byhand")["runId"]
    outside = tmp_path / "secret"
    outside.write_text("secret")
    (workshop.root / "link").symlink_to(outside)
    (workshop.root / "graph.txt").write_text("up")
    call = {"runId": run_id, "stepNumber": 1, "outcome": "done"}
    for name in (str(outside), "../secret", "link", ".pi/sops/runs.db", "nothing"):
        coder.refused("bad_request", "sop_complete_step", **call, evidence=[name])
    told = coder("sop_complete_step", **call, evidence=["graph.txt"], output="it went up")
    assert told["status"] == "completed"
    [evidence] = coder("sop_status", runId=run_id)["stepResults"][0]["evidence"]
    assert "graph.txt" in evidence["name"]
