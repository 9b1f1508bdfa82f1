"""The verbs against a server: the same answers, the same exit codes, and nothing that the token does not give."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable

import pytest
from tests.doors.workshop import SOP, Terminal, Workshop, eventually
from tests.web.given import Served

from .conftest import Away

STEPS = ("Build | echo built", "?Ship | echo shipped $SOP_PARAM_V", "Look")


def test_a_run_from_its_start_to_its_end(workshop: Workshop, away: Away) -> None:
    workshop.steps("deploy", *STEPS)
    told = away.sop("run", "deploy", "--param", "V=1.2")
    assert told.code == 3
    assert "built" in told.out
    run_id = away.run_id("deploy")
    shown = away.sop("approve", run_id, "--show").out
    assert "echo shipped $SOP_PARAM_V" in shown
    assert 'V = "1.2"' in shown
    told = away.sop("approve", run_id, "--comment", "looked at it", "--wait")
    # what the server had done before this began to follow is in the logs
    assert told.code == 3
    told = away.sop("complete", run_id, "--comment", "saw it", "--wait")
    assert told.code == 0
    events = away.json("audit", run_id)["events"]
    granted = next(event for event in events if event["type"] == "approval_granted")
    assert granted["actor"] == {"id": "ann", "kind": "human", "via": "http"}
    assert away.sop("audit", run_id, "--verify").code == 0
    assert "shipped 1.2" in away.sop("logs", run_id).out


READERS: list[Callable[[str], list[str]]] = [
    lambda run_id: ["list"],
    lambda run_id: ["show", "deploy"],
    lambda run_id: ["show", "deploy", "--graph", "--format", "mermaid"],
    lambda run_id: ["validate", "deploy"],
    lambda run_id: ["validate"],
    lambda run_id: ["run", "deploy", "--dry-run", "--param", "V=1"],
    lambda run_id: ["status", run_id],
    lambda run_id: ["status", run_id, "--step", "1"],
    lambda run_id: ["approve", run_id, "--show"],
    lambda run_id: ["audit", run_id],
    lambda run_id: ["audit", run_id, "--verify"],
    lambda run_id: ["token", "list"],
    lambda run_id: ["trigger", "list"],
    lambda run_id: ["trigger", "list", "deploy"],
    lambda run_id: ["trigger", "log"],
    lambda run_id: ["notify", "list"],
]


@pytest.mark.parametrize("args", READERS, ids=lambda args: " ".join(args("RUN")))
def test_what_a_server_shows_is_what_the_workspace_shows(
    workshop: Workshop, away: Away, args: Callable[[str], list[str]]
) -> None:
    workshop.steps("deploy", *STEPS)
    run_id = away.json("run", "deploy", "--param", "V=1", code=3)["runId"]
    told = away.json(*args(run_id))
    away.here()
    assert told == workshop.json(*args(run_id))


def test_lists_are_told_page_by_page(workshop: Workshop, away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.steps("quick", "A | true")
    made = [away.json("run", "quick")["runId"] for _ in range(5)]
    monkeypatch.setattr("sopwith.doors.remote.reader._PAGE", 2)
    assert [run["runId"] for run in away.json("history")["runs"]] == made[::-1]
    assert [run["runId"] for run in away.json("history", "--limit", "3")["runs"]] == made[:1:-1]
    assert [event["seq"] for event in away.json("audit", made[0])["events"]] == [1, 2, 3, 4, 5]


def test_the_inbox_is_told_page_by_page(workshop: Workshop, away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.steps("gated", "?Act | true")
    made = [away.json("run", "gated", code=3)["runId"] for _ in range(5)]
    monkeypatch.setattr("sopwith.doors.remote.reader._PAGE", 2)
    first = away.json("inbox", "--limit", "3")
    assert ([item["runId"] for item in first["items"]], first["total"]) == (made[:3], 5)
    rest = away.json("inbox", "--limit", "5", "--after", first["nextAfter"])
    assert ([item["runId"] for item in rest["items"]], rest["total"], rest["nextAfter"]) == (made[3:], 5, None)
    whole = away.json("inbox", "--mine")
    assert ([item["runId"] for item in whole["items"]], whole["total"], whole["nextAfter"]) == (made, 5, None)
    assert f"2 more: sop inbox --after {first['nextAfter']}" in away.sop("inbox", "--limit", "3").out


def test_the_inbox_goes_on_after_a_run_as_it_does_at_home(workshop: Workshop, away: Away) -> None:
    workshop.steps("manual", "Look")
    first, second, third = (away.json("run", "manual", code=3)["runId"] for _ in range(3))
    assert [each["runId"] for each in away.json("inbox", "--after", first)["items"]] == [second, third]
    told = away.sop("inbox", "--after", "sop_run_unknown")
    assert (told.code, "no run is called" in told.err) == (6, True)


@pytest.mark.parametrize(
    ("verb", "code"),
    [
        (("pause",), 0),
        (("cancel", "--reason", "enough"), 0),
        (("reject", "--reason", "no"), 0),
        (("approve", "--wait"), 3),
        (("skip", "--reason", "not needed", "--wait"), 3),
        (("resume",), 3),
        (("retry",), 5),
        (("rollback",), 5),
        (("complete",), 5),
        (("fail", "--reason", "broken"), 5),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)
def test_each_verb_that_steers_ends_as_it_does_here(
    workshop: Workshop, away: Away, verb: tuple[str, ...], code: int
) -> None:
    workshop.steps("deploy", *STEPS)
    run_id = away.json("run", "deploy", "--param", "V=1", code=3)["runId"]
    told = away.sop(verb[0], run_id, *verb[1:], "--json")
    assert told.code == code, told
    assert told.json["success"] is (code != 5)


def test_a_token_gives_its_role_and_its_procedures_and_nothing_else(
    workshop: Workshop, served: Served, away: Away
) -> None:
    workshop.steps("deploy", *STEPS)
    workshop.steps("other", "A | true")
    run_id = away.json("run", "deploy", "--param", "V=1", code=3)["runId"]
    away.here()
    viewer, elsewhere = served.token("vic", "viewer"), served.token("eve", "admin", "--procedures", "oth*")
    away.use(viewer)
    assert away.sop("status", run_id).code == 0
    assert away.sop("run", "deploy").code == 5
    assert away.sop("approve", run_id).code == 5
    away.use(elsewhere)
    assert away.sop("status", run_id).code == 6
    assert away.sop("approve", run_id).code == 6
    assert [sop["name"] for sop in away.json("list")["sops"]] == ["other"]


def test_a_server_is_examined_from_afar_and_mended_where_it_is(workshop: Workshop, away: Away) -> None:
    workshop.steps("deploy", *STEPS)
    (workshop.sops / "index.json").write_text("{}\n")
    told = away.sop("doctor")
    assert (told.code, "mended where its files are" in told.err) == (2, True)
    assert "deploy" in away.json("doctor", "--dry-run", code=1)["findings"][0]["message"]
    assert (workshop.sops / "index.json").read_text() == "{}\n"


def test_which_place_is_meant(workshop: Workshop, away: Away) -> None:
    workshop.steps("deploy", *STEPS)
    assert away.sop("schema", "manifest").code == 0
    assert away.sop("--workspace", str(workshop.root), "doctor", "--dry-run").code == 0
    assert away.sop("list", "--workspace", str(workshop.root), "--json").json["total"] == 1
    both = away.sop("list", "--workspace", str(workshop.root), "--server", "http://127.0.0.1:1")
    assert (both.code, "name two places" in both.err) == (2, True)


def test_a_person_at_a_terminal_is_asked_there(
    workshop: Workshop, away: Away, terminal: Callable[..., Terminal]
) -> None:
    workshop.steps("deploy", "Build | echo built", "?Ship | echo shipped")
    screen = terminal("run", "deploy")
    screen.expect("[d]etach")
    screen.type("a\n")
    screen.expect("completed in")
    assert screen.end() == 0
    away.here()
    run_id = workshop.run_id("deploy")
    granted = [e for e in workshop.json("audit", run_id)["events"] if e["type"] == "approval_granted"]
    assert granted[0]["actor"]["id"] == "ann"


def test_deliveries_and_what_would_start_are_told_from_afar(workshop: Workshop, served: Served, away: Away) -> None:
    """Of what a token is not for, there is none."""
    hook = {"type": "webhook", "path": "/plain", "condition": "event.body.go == true"}
    workshop.steps("hooked", "A | true", triggers=[hook])
    workshop.steps("other", "A | true")
    token = os.environ["SOPWITH_TOKEN"]
    eventually(lambda: served.call("POST", "/hooks/plain", token, body={"go": True}).status == 202)
    eventually(lambda: away.json("trigger", "log")["deliveries"][-1]["outcome"] == "started")
    delivery = away.json("trigger", "log", "hooked")["deliveries"][-1]
    shown = away.json("trigger", "log", "--show", str(delivery["number"]))
    assert shown["event"]["content"]["body"] == {"go": True}
    for go, code in ((True, 0), (False, 1)):
        event = {"type": "webhook", "path": "/plain", "body": {"go": go}}
        (away.root / "event.json").write_text(json.dumps(event))
        told = away.json("trigger", "test", "hooked", "--event", "event.json", code=code)
        assert told["wouldStart"] is go
    away.here()
    away.use(served.token("eve", "viewer", "--procedures", "oth*"))
    assert away.json("trigger", "log")["deliveries"] == []
    assert [each["sopName"] for each in away.json("trigger", "list")["triggers"]] == ["other"]
    assert away.sop("trigger", "log", "--show", str(delivery["number"])).code == 6
    assert away.sop("trigger", "test", "hooked", "--event", "event.json").code == 6
    assert away.sop("notify", "list").code == 5
    assert away.sop("notify", "test").code == 5


def test_a_run_that_an_event_started_is_decided_from_afar(workshop: Workshop, served: Served, away: Away) -> None:
    """Its event belongs to what is approved, and is shown."""
    hook = {"type": "webhook", "path": "/plain"}
    workshop.steps("hooked", "?A | echo out", triggers=[hook])
    token = os.environ["SOPWITH_TOKEN"]
    eventually(lambda: served.call("POST", "/hooks/plain", token, body={"go": True}).status == 202)
    eventually(lambda: away.json("history")["runs"])
    run_id = away.run_id("hooked")
    eventually(lambda: "approval" in away.json("status", run_id)["status"])
    assert away.sop("approve", run_id, "--show").code == 0
    assert away.sop("approve", run_id, "--wait").code == 0


def test_what_a_step_printed_before_it_was_followed_is_shown(
    workshop: Workshop, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step has begun and ended by the time that the command looks; what others printed before is passed over."""
    from sopwith.doors.remote.door import RemoteDoor

    workshop.steps("deploy", "Build | echo built", "?Ship | echo shipped")
    run_id = away.json("run", "deploy", code=3)["runId"]
    logs = RemoteDoor.logs

    def late(self: RemoteDoor, asked: str, step: object) -> object:
        eventually(lambda: self.reader.status(asked)["status"] == "completed")
        return logs(self, asked, step)  # type: ignore[arg-type]

    monkeypatch.setattr(RemoteDoor, "logs", late)
    told = away.sop("approve", run_id, "--wait")
    assert told.code == 0
    assert "shipped" in told.out
    assert "built" not in told.out


def test_a_step_that_calls_a_server_is_one_there_too(workshop: Workshop, away: Away) -> None:
    """It comes with a person's token, and counts as what it is: the step of a run, as its keeper has it."""
    token = shlex.quote(os.environ["SOPWITH_TOKEN"])
    server = f"http://{away.served.host}:{away.served.port}"
    sop = f"env -i SOPWITH_TOKEN={token} {shlex.join(SOP)} --server {server}"
    workshop.steps("deploy", *STEPS)
    workshop.steps("outer", f"Start | {sop} run deploy --detach --json")
    away.here()
    outer = workshop.started("outer", code=0)
    created = workshop.json("status", workshop.run_id("deploy"))["createdBy"]
    assert created == {"id": "ann", "kind": "agent", "via": "http", "inside": outer}


@pytest.mark.parametrize(
    ("variable", "value"), [("SOPWITH_ACTOR_KIND", "agent"), ("SOP_RUN_ID", "sop_run_zzzzzzzzzzzz")]
)
def test_an_agent_with_a_persons_token_is_one_there_too(
    workshop: Workshop, away: Away, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    workshop.steps("deploy", *STEPS)
    run_id = away.started("deploy")
    monkeypatch.setenv(variable, value)
    told = away.sop("approve", run_id)
    assert told.code == 5
    assert "may not" in told.err
    monkeypatch.delenv(variable)
    assert "approved step 2" in away.sop("approve", run_id).out


def test_a_run_id_that_is_none_is_told(workshop: Workshop, away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.steps("deploy", *STEPS)
    monkeypatch.setenv("SOP_RUN_ID", "no run\r\nX: y")
    told = away.sop("run", "deploy")
    assert told.code == 2
    assert "names no run" in told.err
