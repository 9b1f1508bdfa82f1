"""`sop trigger`, and triggers in a real `sop serve`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from sopwith.clock import SystemClock
from sopwith.core.instant import Instant
from sopwith.ports import NewDelivery
from sopwith.stores.sqlite import SqliteStore

from .test_serve import Server
from .workshop import Workshop, eventually

HOOK = {
    "type": "webhook",
    "path": "/deploy",
    "secretEnv": "DEPLOY_HOOK",
    "scheme": "github",
    "condition": "event.body.ref == 'main'",
    "params": {"ref": "event.body.ref"},
}


@pytest.fixture
def serve(workshop: Workshop, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*args: str) -> Server:
        started.append(Server(workshop, tmp_path / f"server-{len(started)}.txt", *args))
        eventually(lambda: "serving" in started[-1].text or started[-1].process.poll() is not None)
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


def event(workshop: Workshop, **content: Any) -> str:
    (workshop.root / "event.json").write_text(json.dumps(content))
    return "event.json"


def test_trigger_listshows_what_is_armed_and_what_lacks(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEPLOY_HOOK", raising=False)
    nightly = {"type": "cron", "expression": "30 2 * * *", "key": "nightly"}
    workshop.steps("deploy", "Go|true", triggers=[{"type": "manual"}, HOOK, nightly])
    workshop.steps("broken", "Go|true", triggers=[{"type": "cron", "expression": "x"}])
    told = workshop.sop("trigger", "list").out
    assert "webhook:/deploy" in told
    assert "POST /hooks/deploy" in told
    assert "not set here: DEPLOY_HOOK" in told
    assert "At 02:30 every day, UTC" in told
    assert "it has errors" in told
    document = workshop.json("trigger", "list")
    manual, hook, cron = document["triggers"]
    assert manual == {"sopName": "deploy", "trigger": "manual", "type": "manual"}
    assert (hook["url"], hook["unset"], hook["admission"], hook["maxQueued"]) == (
        "/hooks/deploy",
        ["DEPLOY_HOOK"],
        "queue",
        100,
    )
    assert cron["trigger"] == "nightly"
    assert cron["nextAt"].endswith("T02:30:00.000Z")
    assert [problem["sopName"] for problem in document["problems"]] == ["broken"]
    monkeypatch.setenv("DEPLOY_HOOK", "set")
    assert "not set" not in workshop.sop("trigger", "list", "deploy").out
    assert workshop.sop("trigger", "list", "nothing").code == 6


def test_trigger_test_tells_what_would_start_and_starts_nothing(workshop: Workshop) -> None:
    workshop.steps("deploy", "Go|true", triggers=[HOOK], params=[{"name": "ref", "pattern": "[a-z]+"}])
    good = workshop.json("trigger", "test", "deploy", "--event", event(workshop, type="webhook", body={"ref": "main"}))
    assert good["wouldStart"] is True
    assert good["triggers"] == [
        {"trigger": "webhook:/deploy", "wouldStart": True, "params": {"ref": "main"}, "outcome": "started"}
    ]
    for content, reason in (
        ({"type": "webhook", "body": {"ref": "x"}}, "does not hold"),
        ({"type": "webhook", "body": {}}, "there is no ref"),
        ({"type": "webhook", "path": "/x", "body": {"ref": "main"}}, "the event came to /x"),
        ({"type": "cron"}, "the event is of type cron"),
    ):
        told = workshop.json("trigger", "test", "deploy", "--event", event(workshop, **content), code=1)
        assert reason in told["triggers"][0]["reason"]
    assert workshop.json("history")["runs"] == []
    assert workshop.json("trigger", "log")["deliveries"] == []


@pytest.mark.parametrize(
    "caller", [{}, 3, "ann", {"id": "x", "kind": "martian"}, {"id": 1, "kind": "agent"}, {"id": "", "kind": "human"}]
)
def test_an_event_by_hand_whose_caller_is_none_is_refused(workshop: Workshop, caller: Any) -> None:
    workshop.steps("deploy", "Go|true", triggers=[{"type": "webhook", "path": "/deploy"}])
    workshop.started("deploy", code=0)
    written = event(workshop, type="webhook", path="/deploy", caller=caller)
    told = workshop.json("trigger", "test", "deploy", "--event", written, code=1)
    assert told["triggers"][0]["reason"] == "expected a caller of the webhook at $.caller"
    (workshop.root / "one.toml").write_text(
        f'trigger = "webhook:/deploy"\nevent = {{caller = {_toml(caller)}}}\nexpect.status = "completed"\n'
    )
    played = workshop.sop("test", "deploy", "--scenario", "one.toml")
    assert (played.code, "expected a caller of the webhook at $.caller" in played.out) == (1, True)


def _toml(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{" + ", ".join(f"{name} = {json.dumps(each)}" for name, each in value.items()) + "}"


@pytest.mark.parametrize(
    ("rule", "code", "said"),
    [
        ("queue", 0, "would make a run that waits, at place 1 of the queue: deploy may have 1 at once"),
        ("reject", 1, "starts nothing: deploy may have 1 at once"),
        ("coalesce", 0, "would make a run that waits, at place 1 of the queue: deploy may have 1 at once"),
    ],
)
def test_trigger_test_tells_what_limits_would_do_and_writes_nothing(
    workshop: Workshop, rule: str, code: int, said: str
) -> None:
    hook = {**HOOK, "admission": rule}
    workshop.steps("deploy", "?Go|true", triggers=[hook], params=[{"name": "ref"}], maxConcurrent=1)
    workshop.started("deploy", "--param", "ref=a")
    before = workshop.json("history")
    told = workshop.sop("trigger", "test", "deploy", "--event", event(workshop, type="webhook", body={"ref": "main"}))
    assert workshop.json("history") == before
    assert said in told.out
    assert told.code == code


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"type": "x"}', '{"type": "cron", "odd": 1}', '{"a": NaN}', "\xff"]
)
def test_an_event_that_cannot_be_read_is_one_sentence_and_a_hint(workshop: Workshop, content: str) -> None:
    workshop.steps("deploy", "Go|true", triggers=[HOOK])
    (workshop.root / "event.json").write_bytes(content.encode("latin-1"))
    told = workshop.sop("trigger", "test", "deploy", "--event", "event.json")
    assert told.code == 2
    assert told.err.startswith("error: ")
    assert "hint: " in told.err
    assert workshop.sop("trigger", "test", "deploy", "--event", "nothing.json").code == 2


def test_validate_warns_of_a_ring_and_of_an_end_that_never_comes(workshop: Workshop) -> None:
    for name, above in (("a", "c"), ("b", "a"), ("c", "b")):
        workshop.steps(name, "Go|true", triggers=[{"type": "procedure", "procedure": above}])
    workshop.steps("d", "Go|true", triggers=[{"type": "procedure", "procedure": "a"}])
    workshop.steps("e", "Go|true", triggers=[{"type": "procedure", "procedure": "nobody"}])
    problems = workshop.json("validate")["problems"]
    rings = {problem["file"]: problem["message"] for problem in problems if problem["code"] == "trigger_ring"}
    assert set(rings) == {"a", "b", "c"}
    assert "a → b → c → a" in rings["a"]
    [unknown] = [problem for problem in problems if problem["code"] == "trigger_unknown"]
    assert "no procedure is called nobody" in unknown["message"]


def test_a_server_starts_a_run_for_a_file_and_shows_what_it_came_from(
    workshop: Workshop, serve: Callable[..., Server]
) -> None:
    inbox = workshop.root / "inbox"
    inbox.mkdir()
    workshop.steps(
        "load",
        'Load|cat "$SOP_EVENT"',
        triggers=[{"type": "filesystem", "path": "inbox/*.csv", "settleSecs": 0.1}],
    )
    server = serve()
    # what is there at the first look starts nothing: it has begun when it says so in the database
    eventually(lambda: _has_begun(workshop))
    (inbox / "a\x1b[31m.csv").write_text("1")
    server.expect("completed in")
    run = workshop.json("status", workshop.run_id("load"))
    assert run["event"]["untrusted"] is True
    assert run["event"]["content"]["name"] == "a\x1b[31m.csv"
    assert '"change":"created"' in run["stepResults"][0]["output"]
    assert run["createdBy"]["kind"] == "trigger"
    for args in (("status", run["runId"]), ("trigger", "log"), ("trigger", "log", "--show", "1")):
        told = workshop.sop(*args)
        assert told.code == 0
        assert "\x1b[31m.csv" not in told.out
    assert "from outside, untrusted" in workshop.sop("status", run["runId"]).out
    assert server.end() == 0


def test_a_server_looks_at_definitions_anew_and_starts_after_another_run(
    workshop: Workshop, serve: Callable[..., Server]
) -> None:
    workshop.steps("build", "Go|true")
    server = serve()
    workshop.steps("deploy", "Go|true", triggers=[{"type": "procedure", "procedure": "build"}])
    eventually(lambda: _has_begun(workshop))
    workshop.sop("run", "build")
    server.expect("procedure:build started")
    eventually(lambda: workshop.json("history", "deploy")["runs"][0]["status"] == "completed")
    assert server.end() == 0


def test_a_server_without_a_port_says_that_webhooks_do_not_reach_it(
    workshop: Workshop, serve: Callable[..., Server]
) -> None:
    hook = {"type": "webhook", "secretEnv": "SECRET", "path": "/one"}
    workshop.steps("one", "Go|true", triggers=[hook])
    server = serve()
    server.expect("no port is served, so that webhooks do not arrive: /hooks/one")
    workshop.steps("two", "Go|true", triggers=[{**hook, "path": "/two"}])
    server.expect("do not arrive: /hooks/two")
    assert server.end() == 0
    assert server.text.count("/hooks/one") == 1


def _has_begun(workshop: Workshop) -> bool:
    """Whether any source of events has a cursor."""
    with apsw.Connection(str(workshop.sops / "runs.db"), flags=apsw.SQLITE_OPEN_READONLY) as db:
        return bool(db.execute("select count(*) from cursors").fetchall()[0][0])


def test_once_does_what_can_be_done_now(workshop: Workshop) -> None:
    workshop.steps("build", "Go|true")
    workshop.steps("deploy", "Go|true", triggers=[{"type": "procedure", "procedure": "build"}])
    assert workshop.sop("serve", "--once").code == 0
    workshop.sop("run", "build")
    assert workshop.sop("serve", "--once").code == 0
    assert [run["status"] for run in workshop.json("history", "deploy")["runs"]] == ["completed"]
    [told] = workshop.json("trigger", "log", "deploy")["deliveries"]
    assert (told["outcome"], told["trigger"], told["runId"]) == (
        "started",
        "procedure:build",
        workshop.run_id("deploy"),
    )
    assert workshop.json("trigger", "log", "build")["deliveries"] == []


def triggered(workshop: Workshop) -> str:
    """A run that the end of another one started; tells its id."""
    workshop.steps("build", "Go|true")
    workshop.steps("deploy", "Go|true", triggers=[{"type": "procedure", "procedure": "build"}])
    workshop.sop("serve", "--once")
    workshop.sop("run", "build")
    workshop.sop("serve", "--once")
    return workshop.run_id("deploy")


def test_a_changed_event_is_found_by_whoever_verifies(workshop: Workshop) -> None:
    run_id = triggered(workshop)
    digest = workshop.json("status", run_id)["event"]["digest"]
    assert workshop.sop("audit", run_id, "--verify").code == 0
    bundle = workshop.root / "bundle"
    exported = workshop.sop("audit", "export", run_id, "--to", str(bundle))
    assert exported.code == 0, exported
    tool = Path(__file__).parents[2] / "tools" / "verify_audit.py"
    verified = subprocess.run([sys.executable, tool, bundle], capture_output=True, text=True)
    assert "is bad" not in verified.stdout + verified.stderr
    assert verified.returncode == 0, verified.stderr
    (bundle / "triggers" / f"{digest}.json").unlink()
    verified = subprocess.run([sys.executable, tool, bundle], capture_output=True, text=True)
    assert verified.returncode != 0
    with apsw.Connection(str(workshop.sops / "runs.db")) as db:
        db.execute("update contents set data = cast(data || ' ' as blob) where digest = ?", [bytes.fromhex(digest)])
    told = workshop.sop("audit", run_id, "--verify")
    assert told.code == 1
    assert "the event that it names was changed" in told.out + told.err


def test_what_retention_drops_takes_the_event_along(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = triggered(workshop)
    digest = workshop.json("status", run_id)["event"]["digest"]
    (workshop.sops / "config.json").write_text('{"auditRetentionDays": 1}')
    real = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda self: _later(real(self), timedelta(days=2)))
    assert workshop.sop("audit", "prune").code == 0
    with apsw.Connection(str(workshop.sops / "runs.db")) as db:
        left = db.execute("select count(*) from contents where digest = ?", [bytes.fromhex(digest)]).fetchall()
    assert left == [(0,)]
    assert workshop.sop("audit", "--verify-all").code == 0


def _later(now: Instant, span: timedelta) -> Instant:
    return replace(now, at=now.at + span)


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [("event = x''", "is lost"), ("event = cast('{}' as blob)", "is not what was accepted")],
)
def test_the_doctor_looks_at_what_deliveries_brought(workshop: Workshop, damage: str, wrong: str) -> None:
    workshop.steps("deploy", "Go|true", triggers=[HOOK])
    workshop.json("run", "deploy")
    database = workshop.sops / "runs.db"
    event_bytes = b'{"type":"webhook","id":"1","at":"2026-01-01T00:00:00.000Z","body":{}}'
    with closing(SqliteStore(database)) as store:
        new = NewDelivery(
            procedure="deploy",
            trigger="webhook:/deploy",
            delivery="1",
            event=event_bytes,
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
            run_id="sop_run_aaaaaaaaaaaa",
        )
        store.deliveries.accept([new])
    assert workshop.json("doctor")["healthy"] is True
    with closing(apsw.Connection(str(database))) as db:
        db.execute(f"update deliveries set {damage}")
    (finding,) = workshop.json("doctor", code=1)["findings"]
    assert finding["message"].endswith(f"brought {wrong}")
    assert "ask whoever sent it" in finding["hint"]
