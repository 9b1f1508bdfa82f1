"""Each verb of the command has its place: routes that serve it from afar, or a reason why it is done on the spot.

A verb that is added stands in neither table, and fails here until it has one.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from starlette.routing import compile_path
from tests.doors.workshop import Workshop

from sopwith.doors.cli.app import _VERBS
from sopwith.doors.cli.door import _HERE
from sopwith.doors.remote.client import Client
from sopwith.doors.remote.door import FROM_AFAR
from sopwith.doors.web.routes import ROUTES

from .conftest import Away

RUN = "/api/v1/runs/{runId}"
NAME = "/api/v1/procedures/{name}"
ALWAYS = {
    "GET /api/v1/whoami",
    f"GET {RUN}",
    f"GET {RUN}/record",
    f"GET {RUN}/contents/{{digest}}",
    f"GET {RUN}/logs",
    f"GET {RUN}/steps/{{step}}/output",
}
"""What shows a run, whichever verb is about it."""
BY_ROUTES: dict[str, set[str]] = {
    "create": {"POST /api/v1/procedures"},
    "list": {"GET /api/v1/procedures"},
    "show": {f"GET {NAME}", f"GET {NAME}/graph"},
    "validate": {f"GET {NAME}/validation", "GET /api/v1/procedures"},
    "test": {f"POST {NAME}/rehearsal", "GET /api/v1/procedures"},
    "run": {"POST /api/v1/runs", f"POST {NAME}/plan"},
    "approve": {f"POST {RUN}/approve"},
    "reject": {f"POST {RUN}/reject"},
    "status": {f"GET {RUN}/steps/{{step}}"},
    "history": {"GET /api/v1/runs"},
    "inbox": {"GET /api/v1/inbox"},
    "logs": set(),
    "audit": {
        f"GET {RUN}/audit",
        f"GET {RUN}/verification",
        f"POST {RUN}/verification",
        "POST /api/v1/audit/verification",
    },
    "audit export": {"POST /api/v1/audit/export"},
    "audit prune": {"POST /api/v1/audit/prune"},
    "cancel": {f"POST {RUN}/cancel"},
    "pause": {f"POST {RUN}/pause"},
    "resume": {f"POST {RUN}/resume"},
    "retry": {f"POST {RUN}/retry"},
    "rollback": {f"POST {RUN}/rollback"},
    "skip": {f"POST {RUN}/skip"},
    "complete": {f"POST {RUN}/complete", f"POST {RUN}/evidence"},
    "fail": {f"POST {RUN}/fail", f"POST {RUN}/evidence"},
    "notify test": {"POST /api/v1/notices/test"},
    "notify list": {"GET /api/v1/notices"},
    "trigger list": {"GET /api/v1/triggers"},
    "trigger test": {f"POST {NAME}/foresight"},
    "trigger log": {"GET /api/v1/deliveries", "GET /api/v1/deliveries/{number}"},
    "token create": {"POST /api/v1/tokens"},
    "token list": {"GET /api/v1/tokens"},
    "token revoke": {"POST /api/v1/tokens/{tokenId}/revoke"},
    "token log": {"GET /api/v1/access"},
    "doctor": {"GET /api/v1/doctor"},
    "backup": {"GET /api/v1/backup"},
}
ONLY_HERE: dict[str, str] = {
    "init": "makes the folder that a server needs before it can run",
    "schema": "prints what this version takes: no workspace is asked",
    "serve": "is the server",
    "mcp": "speaks to a host on this machine; from afar the API is what a program calls",
    "tools": "prints what this version takes: no workspace is asked",
    "skill install": "writes a file for the agent on this machine",
    "restore": "puts another record in the place of the one that the server has open",
    "completion": "prints a script for this shell",
}


def test_each_verb_has_one_place() -> None:
    assert not BY_ROUTES.keys() & ONLY_HERE.keys()
    assert BY_ROUTES.keys() | ONLY_HERE.keys() == _VERBS.keys()
    assert BY_ROUTES.keys() == FROM_AFAR
    assert ONLY_HERE.keys() - {"restore"} == _HERE


def test_each_route_that_a_verb_is_served_by_is_there() -> None:
    served = {route.name for route in ROUTES}
    assert set().union(ALWAYS, *BY_ROUTES.values()) <= served


def test_no_route_is_served_for_nothing() -> None:
    """Those that no verb calls are for programs: streams, the description, what the command works out by itself."""
    of_programs = {
        "GET /healthz",
        "GET /metrics",
        "GET /api/v1/openapi.json",
        "POST /hooks/{path:path}",
        f"GET {RUN}/events",
        "GET /api/v1/inbox/events",
        f"GET {RUN}/gates",
        f"POST {RUN}/block",
        f"GET {NAME}/source",
    }
    assert {route.name for route in ROUTES} == set().union(ALWAYS, of_programs, *BY_ROUTES.values())


@pytest.mark.parametrize("verb", sorted(ONLY_HERE.keys() - _HERE))
def test_what_is_done_where_the_files_are_says_so(away: Away, verb: str) -> None:
    told = away.sop(*verb.split(), "x")
    assert (told.code, "works on the files of a workspace" in told.err) == (2, True)
    assert list(away.root.iterdir()) == []


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the routes that are called."""
    found: set[str] = set()
    whole = Client._request

    def noted(self: Client, method: str, path: str, **more: Any) -> urllib.request.Request:
        matching = [r for r in ROUTES if r.method == method and compile_path(r.path)[0].fullmatch(f"/api/v1{path}")]
        found.update(route.name for route in matching)
        return whole(self, method, path, **more)

    monkeypatch.setattr(Client, "_request", noted)
    return found


SCENARIO = 'acts = [{do = "approve", by = "alice"}]\nexpect.status = "completed"\n'
CALLS: dict[str, list[str]] = {
    "create": ["create made"],
    "list": ["list"],
    "show": ["show gated", "show gated --graph"],
    "validate": ["validate", "validate gated"],
    "test": ["test", "test gated --scenario one.toml"],
    "run": ["run quick", "run quick --dry-run"],
    "approve": ["approve GATED"],
    "reject": ["reject GATED --reason no"],
    "status": ["status GATED --step 1"],
    "history": ["history"],
    "inbox": ["inbox"],
    "logs": ["logs QUICK"],
    "audit": [
        "audit QUICK",
        "audit QUICK --verify",
        "audit --verify-all",
        "audit QUICK --verify --checkpoint kept.jsonl",
    ],
    "audit export": ["audit export QUICK --to bundle", "audit export --all --to all"],
    "audit prune": ["audit prune --dry-run", "audit prune"],
    "cancel": ["cancel GATED"],
    "pause": ["pause GATED"],
    "resume": ["resume GATED"],
    "retry": ["retry QUICK"],
    "rollback": ["rollback QUICK"],
    "skip": ["skip GATED --reason no"],
    "complete": ["complete MANUAL --evidence one.toml"],
    "fail": ["fail MANUAL --reason no --evidence one.toml"],
    "notify test": ["notify test"],
    "notify list": ["notify list"],
    "trigger list": ["trigger list"],
    "trigger test": ["trigger test gated --event event.json"],
    "trigger log": ["trigger log", "trigger log --show 7"],
    "token create": ["token create bob --role viewer"],
    "token list": ["token list"],
    "token revoke": ["token revoke bob"],
    "token log": ["token log"],
    "doctor": ["doctor --dry-run"],
    "backup": ["backup saved.tar"],
}


def test_each_verb_calls_its_routes_and_no_other(workshop: Workshop, away: Away, called: set[str]) -> None:
    assert CALLS.keys() == BY_ROUTES.keys()
    workshop.steps("quick", "A | echo out")
    workshop.steps("gated", "?A | echo out")
    workshop.steps("manual", "A")
    (workshop.sops / "gated" / "scenarios").mkdir()
    (workshop.sops / "gated" / "scenarios" / "one.toml").write_text(SCENARIO)
    (workshop.sops / "config.json").write_text('{"auditRetentionDays": 30}')
    (away.root / "one.toml").write_text(SCENARIO)
    (away.root / "event.json").write_text('{"type": "webhook", "path": "/x", "body": {}}')
    (away.root / "kept.jsonl").write_text("{}\n")
    for verb, calls in CALLS.items():
        called.clear()
        for call in calls:
            here = set(called)
            runs = {
                word: away.json("run", word.lower(), code=0 if word == "QUICK" else 3)["runId"]
                for word in {"GATED", "QUICK", "MANUAL"} & set(call.split())
            }
            called.clear()
            called.update(here)
            told = away.sop(*(runs.get(word, word) for word in call.split()), "--json")
            assert told.code in range(7), (call, told)
            assert json.loads(told.out).get("error", {}).get("code", "") not in ("internal", "not_json", "usage"), told
        assert called - ALWAYS == BY_ROUTES[verb] - ALWAYS, verb
