"""Who may do what to a run that somebody has to look at: the SDK's own client at our server, in this process.

A step failed, or was rejected by a person; nobody knows how a step ended; a step that is done by hand was reported
blocked; the run within a step waits at its gate. `person` and `marked` come with the command, as in the matrix of
rights beside this one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from tests.doors.test_children import manifest
from tests.doors.workshop import Workshop

from sopwith.doors.agent.tools import TOOLS
from sopwith.doors.caller import os_actor

from .given import Agent, gated_by
from .test_rights import NAMES, PRINCIPALS, STEPS
from .wire import answered

Make = Callable[..., Agent]

# How the run stands, what is called, and what becomes of it: `ok`, or the refusal: `approver` for
# approver_not_allowed, `may` for not_allowed, `no` for illegal_move, `past` for already_decided. `within` is the run
# that waits at its gate, `around` the one around it.
MATRIX = """
                     starter   named     self      bystander viewer    namesake  system    step      named_in  began     worked    other     person    marked
failed      status   ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
failed      audit    ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
failed      approve  no        no        no        no        no        no        no        may       may       may       no        no        no        no
failed      reject   no        no        no        no        no        no        no        may       may       may       no        no        no        no
failed      done     may       may       may       may       may       may       may       may       may       may       may       may       ok        may
failed      undone   no        no        no        no        may       no        no        may       may       may       no        no        no        no
failed      retry    ok        ok        ok        ok        may       ok        ok        may       may       may       ok        ok        ok        ok
failed      again    ok        ok        ok        ok        may       ok        ok        may       may       may       ok        ok        ok        ok
failed      cancel   ok        ok        ok        ok        ok        ok        ok        may       may       may       ok        ok        ok        ok
interrupted status   ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
interrupted audit    ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
interrupted approve  no        no        no        no        no        no        no        may       may       may       no        no        no        no
interrupted reject   no        no        no        no        no        no        no        may       may       may       no        no        no        no
interrupted done     may       may       may       may       may       may       may       may       may       may       may       may       ok        may
interrupted undone   no        no        no        no        may       no        no        may       may       may       no        no        no        no
interrupted retry    may       may       may       may       may       may       may       may       may       may       may       may       ok        may
interrupted again    may       may       may       may       may       may       may       may       may       may       may       may       ok        may
interrupted cancel   ok        ok        ok        ok        ok        ok        ok        may       may       may       ok        ok        ok        ok
blocked     status   ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
blocked     audit    ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
blocked     approve  no        no        no        no        no        no        no        may       may       may       no        no        no        no
blocked     reject   no        no        no        no        no        no        no        may       may       may       no        no        no        no
blocked     done     may       may       may       may       may       may       may       may       may       may       may       may       ok        may
blocked     undone   may       may       may       may       may       may       may       may       may       may       may       may       ok        may
blocked     retry    no        no        no        no        may       no        no        may       may       may       no        no        no        no
blocked     again    no        no        no        no        may       no        no        may       may       may       no        no        no        no
blocked     cancel   ok        ok        ok        ok        ok        ok        ok        may       may       may       ok        ok        ok        ok
around      status   ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
around      audit    ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
around      approve  no        no        no        no        no        no        no        may       may       may       no        no        no        no
around      reject   no        no        no        no        no        no        no        may       may       may       no        no        no        no
around      done     no        no        no        no        may       no        no        may       may       may       no        no        no        no
around      undone   no        no        no        no        may       no        no        may       may       may       no        no        no        no
around      retry    no        no        no        no        may       no        no        may       may       may       no        no        no        no
around      again    no        no        no        no        may       no        no        may       may       may       no        no        no        no
around      cancel   ok        ok        ok        ok        ok        ok        ok        may       may       may       ok        ok        ok        ok
within      status   ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
within      audit    ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
within      approve  approver  ok        approver  approver  approver  approver  approver  may       may       may       approver  approver  ok        approver
within      reject   ok        ok        ok        ok        ok        ok        ok        may       may       may       ok        ok        ok        ok
within      done     no        no        no        no        may       no        no        may       may       may       no        no        no        no
within      undone   no        no        no        no        may       no        no        may       may       may       no        no        no        no
within      retry    no        no        no        no        may       no        no        may       may       may       no        no        no        no
within      again    no        no        no        no        may       no        no        may       may       may       no        no        no        no
within      cancel   ok        ok        ok        ok        ok        ok        ok        may       may       may       ok        ok        ok        ok
rejected    status   ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
rejected    audit    ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok        ok
rejected    approve  approver  past      approver  approver  approver  approver  approver  may       may       may       past      approver  past      approver
rejected    reject   ok        ok        ok        ok        ok        ok        ok        may       may       may       ok        ok        ok        ok
rejected    done     no        no        no        no        may       no        no        may       may       may       no        no        no        no
rejected    undone   no        no        no        no        may       no        no        may       may       may       no        no        no        no
rejected    retry    may       may       may       may       may       may       may       may       may       may       may       may       ok        may
rejected    again    may       may       may       may       may       may       may       may       may       may       may       may       ok        may
rejected    cancel   ok        ok        ok        ok        ok        ok        ok        may       may       may       ok        ok        ok        ok
"""  # noqa: E501
_HEAD, *_ROWS = [line.split() for line in MATRIX.strip().splitlines()]
EXPECTED = {(row[0], row[1], principal): cell for row in _ROWS for principal, cell in zip(_HEAD, row[2:], strict=True)}
CODES = {"ok": None, "approver": "approver_not_allowed", "may": "not_allowed", "no": "illegal_move"}
CODES["past"] = "already_decided"
_ONE = {"stepNumber": 1}
CALLS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    # its name here: the tool, its arguments, and what a person types for the same
    "status": ("sop_status", {}, ("status", "RUN")),
    "audit": ("sop_get_audit", {}, ("audit", "RUN")),
    "approve": ("sop_approve", _ONE, ("approve", "RUN", "--step", "1")),
    "reject": ("sop_reject", {**_ONE, "reason": "no"}, ("reject", "RUN", "--step", "1", "--reason", "no")),
    "done": ("sop_complete_step", {**_ONE, "outcome": "done"}, ("complete", "RUN", "--step", "1")),
    "undone": (
        "sop_complete_step",
        {**_ONE, "outcome": "failed", "output": "no"},
        ("fail", "RUN", "--step", "1", "--reason", "no"),
    ),
    "retry": ("sop_retry", {}, ("retry", "RUN")),
    "again": ("sop_retry", {"fromStep": 1}, ("retry", "RUN", "--from", "1")),
    "cancel": ("sop_cancel", {}, ("cancel", "RUN")),
}
STATES = tuple(dict.fromkeys(row[0] for row in _ROWS))


@pytest.fixture
def procedures(workshop: Workshop) -> None:
    """One for each state; the gate names an agent, people, and the person of this account."""
    account = os_actor("cli").id
    runners = [f"agent:{name}" for name in ("starter", "approver", "bystander", "ann", "system", "worker", account)]
    (workshop.sops / "config.json").write_text(json.dumps({"roles": {"runner": [*runners, f"user:{account}"]}}))
    gate = gated_by("approver")
    gate["approval"]["approvers"] += ["user:ann", "user:system", f"user:{account}"]
    workshop.steps("inner", "Ship | true", steps=[{"number": 1, **gate}])
    manifest(workshop, "outer", {"number": 1, "title": "Build", "uses": "inner"})
    workshop.steps("rejected", "Ship | true", steps=[{"number": 1, **gate}])
    workshop.steps("inner-too", "Ship | true", steps=[{"number": 1, **gate}])
    also = {"number": 2, "title": "Walk", "executor": "manual", "dependsOn": []}
    manifest(workshop, "worked", {"number": 1, "title": "Build", "uses": "inner-too"}, also)
    workshop.steps("failed", "Break | false")
    workshop.steps("interrupted", "Break | kill -KILL $PPID; sleep 1")
    workshop.steps("blocked", "Walk")
    workshop.steps("free", "Build | true")


def brought_to(workshop: Workshop, state: str, starter: Agent, worker: Agent | None = None) -> str:
    """A new run that stands so; `worker` has done a step around it, where there is one."""
    if state in ("around", "within"):
        run = starter("sop_execute", sopName="outer" if worker is None else "worked")
        if worker is not None:
            worker("sop_complete_step", runId=run["runId"], stepNumber=2, outcome="done")
        child: str = starter("sop_status", runId=run["runId"])["stepResults"][0]["childRunId"]
        return child if state == "within" else str(run["runId"])
    run_id: str = starter("sop_execute", sopName=state)["runId"]
    if state == "rejected":
        assert workshop.sop("reject", run_id, "--reason", "no").code == 0
    if state == "blocked":
        starter("sop_complete_step", runId=run_id, **_ONE, outcome="blocked", output="no access")
    return run_id


def test_each_state_has_every_call_for_everybody() -> None:
    assert [(row[0], row[1]) for row in _ROWS] == [(state, call) for state in STATES for call in CALLS]
    assert tuple(_HEAD) == PRINCIPALS
    about_a_run = {tool.name for tool in TOOLS if "runId" in tool.arguments}
    assert {tool for tool, _arguments, _typed in CALLS.values()} == about_a_run


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("principal", PRINCIPALS)
def test_the_matrix_holds(
    workshop: Workshop, agents: Make, procedures: None, principal: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = agents("approver" if principal == "self" else "starter")
    other = starter("sop_execute", sopName="free")["runId"]
    about = ""
    for call, (tool, arguments, command) in CALLS.items():
        about = about or brought_to(workshop, state, starter, agents("approver") if principal == "worked" else None)
        before = starter("sop_status", runId=about)["revision"]
        with monkeypatch.context() as patched:
            if principal in ("person", "marked"):
                patched.setenv("SOPWITH_ACTOR_KIND", "agent" if principal == "marked" else "human")
                typed = (about if word == "RUN" else word for word in command)
                told = json.loads(workshop.sop(*typed, "--json").out)
            else:
                if principal in STEPS:
                    patched.setenv("SOP_RUN_ID", other if principal == "other" else about)
                if principal == "began":
                    patched.setenv("SOP_RUN_ID", agents("approver")("sop_execute", sopName="free")["runId"])
                caller = agents(NAMES.get(principal, principal))
                told = asyncio.run(answered(caller, tool, {"runId": about, **arguments}))
        expected = CODES[EXPECTED[state, call, principal]]
        assert told.get("error", {}).get("code") == expected, (call, told)
        changes = expected is None and call not in ("status", "audit") and (state, call) != ("rejected", "reject")
        assert (starter("sop_status", runId=about)["revision"] != before) is changes, call
        if changes:
            about = ""


@pytest.mark.parametrize("principal", ["starter", "named", "bystander"])
@pytest.mark.parametrize("state", ["failed", "interrupted", "blocked", "around", "rejected"])
def test_an_agent_is_offered_nothing_that_it_may_not_do(
    workshop: Workshop, agents: Make, procedures: None, principal: str, state: str
) -> None:
    about = brought_to(workshop, state, agents("starter"))
    told = asyncio.run(answered(agents(NAMES.get(principal, principal)), "sop_status", {"runId": about}))
    offered = [(move["call"], move["arguments"]) for move in told["next"] if "call" in move]
    for call, (tool, arguments, _command) in CALLS.items():
        if EXPECTED[state, call, principal] != "ok":
            meant = {"runId": about, **arguments}.items()
            assert not [given for name, given in offered if name == tool and meant <= given.items()], call
    is_asked = (state, principal) == ("around", "named")
    assert told["waitingOn"] == ("agent" if is_asked else "nothing" if state == "failed" else "human")
