"""Who may do what through which tool: decided by the engine, whatever an argument says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.doors.workshop import Workshop

from sopwith.core.actor import ActorKind
from sopwith.doors.agent.caller import agent_actor
from sopwith.doors.agent.tools import TOOLS
from sopwith.doors.caller import os_actor
from sopwith.errors import BadRequest

from .given import Agent, Document, gated_by

Make = Callable[..., Agent]

# Who calls which tool, and what becomes of it: `ok`, or the refusal: `approver` for approver_not_allowed, `may` for
# not_allowed. starter: the agent that started the run. named: the gate names it. self: both at once. bystander:
# neither. viewer: has no role. namesake, system: agents that are called like a person whom the gate names, like the
# engine's own actor. step: a process of the run's own step. named_in: the agent that the gate names, inside such a
# step. worked: the agent that the gate names, once it has reported a step of the run. began: a step of a run that was
# started from a step of this run. other: a step of another run. person: with the command. marked: so, in a session
# marked as an agent's.
MATRIX = """
                  starter  named    self     bystander viewer   namesake system   step     named_in began    worked   other    person   marked
sop_execute       ok       ok       ok       ok        may      ok       ok       ok       ok       ok       ok       ok       ok       ok
sop_approve       approver ok       approver approver  approver approver approver may      may      may      approver approver ok       approver
sop_reject        ok       ok       ok       ok        ok       ok       ok       may      may      may      ok       ok       ok       ok
sop_status        ok       ok       ok       ok        ok       ok       ok       ok       ok       ok       ok       ok       ok       ok
sop_list_runs     ok       ok       ok       ok        ok       ok       ok       ok       ok       ok       ok       ok       ok       ok
sop_get_audit     ok       ok       ok       ok        ok       ok       ok       ok       ok       ok       ok       ok       ok       ok
sop_list          ok       ok       ok       ok        ok       ok       ok       ok       ok       ok       ok       ok       ok       ok
sop_describe      ok       ok       ok       ok        ok       ok       ok       ok       ok       ok       ok       ok       ok       ok
sop_complete_step ok       ok       ok       ok        may      ok       ok       may      may      may      ok       ok       ok       ok
sop_cancel        ok       ok       ok       ok        ok       ok       ok       may      may      may      ok       ok       ok       ok
sop_retry         ok       ok       ok       ok        may      ok       ok       may      may      may      ok       ok       ok       ok
"""  # noqa: E501
_HEAD, *_ROWS = [line.split() for line in MATRIX.strip().splitlines()]
PRINCIPALS = tuple(_HEAD)
EXPECTED = {(row[0], principal): cell for row in _ROWS for principal, cell in zip(PRINCIPALS, row[1:], strict=True)}
CODES = {"ok": None, "approver": "approver_not_allowed", "may": "not_allowed"}
CALLS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # tool: its arguments, and what a person types for the same; RUN is the run that it is about
    "sop_execute": ({"sopName": "free"}, ("run", "free")),
    "sop_approve": ({"runId": "gated", "stepNumber": 1}, ("approve", "RUN", "--step", "1")),
    "sop_reject": ({"runId": "gated", "stepNumber": 1, "reason": "no"}, ("reject", "RUN", "--reason", "no")),
    "sop_status": ({"runId": "gated"}, ("status", "RUN")),
    "sop_list_runs": ({}, ("history",)),
    "sop_get_audit": ({"runId": "gated"}, ("audit", "RUN")),
    "sop_list": ({}, ("list",)),
    "sop_describe": ({"sopName": "gated"}, ("show", "gated")),
    "sop_complete_step": ({"runId": "byhand", "stepNumber": 1, "outcome": "done"}, ("complete", "RUN", "--step", "1")),
    "sop_cancel": ({"runId": "gated"}, ("cancel", "RUN")),
    "sop_retry": ({"runId": "broken"}, ("retry", "RUN")),
}
NAMES = {"named": "approver", "self": "approver", "namesake": "ann", "step": "worker", "other": "worker"}
NAMES["named_in"] = NAMES["began"] = NAMES["worked"] = "approver"
STEPS = ("step", "named_in", "began", "other")


@pytest.fixture
def procedures(workshop: Workshop) -> None:
    """One of each kind; the gate names an agent, people, and the person of this account."""
    account = os_actor("cli").id
    runners = [f"agent:{name}" for name in ("starter", "approver", "bystander", "ann", "system", "worker", account)]
    (workshop.sops / "config.json").write_text(json.dumps({"roles": {"runner": [*runners, f"user:{account}"]}}))
    gate = gated_by("approver")
    gate["approval"]["approvers"] += ["user:ann", "user:system", f"user:{account}"]
    workshop.steps("gated", "Ship | true", "Walk", steps=[{"number": 1, **gate}, {"number": 2, "dependsOn": []}])
    workshop.steps("free", "Build | true")
    workshop.steps("byhand", "Walk")
    workshop.steps("broken", "Break | false")


def test_the_matrix_names_every_tool() -> None:
    assert [row[0] for row in _ROWS] == list(CALLS) == [tool.name for tool in TOOLS]
    assert set(EXPECTED.values()) == set(CODES)


@pytest.mark.parametrize("principal", PRINCIPALS)
@pytest.mark.parametrize("door", ["tools", "mcp"])
def test_the_matrix_holds(
    workshop: Workshop, agents: Make, procedures: None, door: str, principal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = _by_door(door)
    starter = agents("approver" if principal == "self" else "starter")
    for tool, (arguments, command) in CALLS.items():
        runs = {name: starter("sop_execute", sopName=name)["runId"] for name in ("gated", "byhand", "broken", "free")}
        about = runs[arguments.get("runId", "gated")]
        if principal == "worked":
            agents("approver")("sop_complete_step", runId=runs["gated"], stepNumber=2, outcome="done")
        before = {name: starter("sop_status", runId=run_id)["revision"] for name, run_id in runs.items()}
        with monkeypatch.context() as patched:
            if principal in ("person", "marked"):
                patched.setenv("SOPWITH_ACTOR_KIND", "agent" if principal == "marked" else "human")
                typed = (about if word == "RUN" else word for word in command)
                told = json.loads(workshop.sop(*typed, "--json").out)
            else:
                if principal in STEPS:
                    patched.setenv("SOP_RUN_ID", runs["free"] if principal == "other" else about)
                if principal == "began":
                    patched.setenv("SOP_RUN_ID", agents("approver")("sop_execute", sopName="free")["runId"])
                caller = agents(NAMES.get(principal, principal))
                meant = {key: about if key == "runId" else value for key, value in arguments.items()}
                told = call(caller, tool, meant)
        expected = CODES[EXPECTED[tool, principal]]
        assert told.get("error", {}).get("code") == expected, (tool, principal, told)
        if expected is not None:
            after = {name: starter("sop_status", runId=run_id)["revision"] for name, run_id in runs.items()}
            assert after == before, (tool, principal)


def _by_door(door: str) -> Callable[[Agent, str, Document], Document]:
    """How a tool is called: as any host may, or by the SDK's own client at our server, in this process."""
    if door == "tools":
        return lambda agent, tool, arguments: agent.answer(tool, **arguments).document
    pytest.importorskip("mcp", reason="the extra mcp is not installed")
    from .wire import answered

    return lambda agent, tool, arguments: asyncio.run(answered(agent, tool, arguments))


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
    "approverName",
    "principalId",
    "_meta",
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
