"""A run with every kind of decision, as stored JSON: for the page, which reads JSON and no types of ours."""

from __future__ import annotations

from typing import Any

from sopwith.audit.page import Record, page
from sopwith.audit.statements import Checkpoint
from sopwith.core.procedure import canonical, sha256
from sopwith.ports import LogEntry

RUN = "sop_run_k3v9x2m4q7ab"
SCRIPT = "set -e\nkubectl rollout restart deploy/web   # p\u0430ypal, caf\u00e9\necho '\u202edone'\n"
ENVELOPE = canonical(
    {
        "format": 1,
        "procedure_name": "deploy-web",
        "procedure_digest": "0" * 64,
        "run_id": RUN,
        "step": 2,
        "title": "Roll out",
        "interpreter": "bash",
        "script": SCRIPT,
        "instructions": "Looks at the dashboard first. Größe zählt.",
        "working_dir": "/srv/web",
        "parameters": {"environment": "production", "version": "1.4.0"},
        "environment": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        "passed": {"KUBECONFIG": "9f2c" * 16},
        "timeout_mins": 30,
    }
)
PROCEDURE = canonical(
    {"name": "deploy-web", "steps": [{"number": 1, "title": "Build", "script": {"interpreter": "sh", "text": "make"}}]}
)
START = canonical({"step": None, "procedure_digest": sha256(PROCEDURE), "parameters": {"version": "1.4.0"}})
HUMAN = {"id": "ann", "kind": "human", "via": "cli"}
BOB = {"id": "bob", "kind": "human", "via": "cli"}
BOT = {"id": "bot", "kind": "agent", "via": "mcp", "inside": RUN}
SYSTEM = {"id": "sopwith", "kind": "system", "via": "engine"}


def signature(meaning: str, name: str, user_id: str) -> dict[str, Any]:
    return {
        "meaning": meaning,
        "printedName": name,
        "userId": user_id,
        "host": "ops-1",
        "session": "pts/3",
        "authenticatedBy": "operating system account",
        "groups": ["release"],
        "roles": ["approver"],
        "configDigest": "c" * 64,
        "seen": True,
    }


def events() -> list[dict[str, Any]]:
    digest, start = sha256(ENVELOPE), sha256(START)
    gate = {"title": "Roll out", "revision": 1, "digest": digest}
    told = [
        (
            "run_created",
            None,
            HUMAN,
            {
                "sopName": "deploy-web",
                "version": "1.4",
                "mode": "supervised",
                "params": {"environment": "production", "version": "1.4.0"},
                "procedureDigest": sha256(PROCEDURE),
            },
        ),
        ("approval_requested", None, SYSTEM, {"title": "Deploy web", "revision": 1, "digest": start}),
        (
            "approval_granted",
            None,
            HUMAN,
            {"title": "Deploy web", "revision": 1, "digest": start, "comment": "Ticket 4711"},
        ),
        ("run_started", None, SYSTEM, {}),
        (
            "step_started",
            1,
            SYSTEM,
            {"title": "Build", "executor": "shell", "visit": 1, "attempt": 1, "digest": "a" * 64},
        ),
        (
            "step_completed",
            1,
            SYSTEM,
            {"title": "Build", "duration": "45s", "durationMs": 45000, "exitCode": 0, "output": "built\n"},
        ),
        (
            "condition_evaluated",
            2,
            SYSTEM,
            {
                "title": "Roll out",
                "condition": "approval.when",
                "expression": "params.environment == 'production'",
                "result": True,
            },
        ),
        ("approval_requested", 2, SYSTEM, {**gate, "approvers": ["group:release"], "votesNeeded": 2}),
        ("approval_reminded", 2, SYSTEM, {**gate, "dueAt": "2026-11-22T10:04:00.000Z"}),
        (
            "approval_vote_recorded",
            2,
            HUMAN,
            {
                **gate,
                "comment": "Dashboards are green",
                "form": {"ticket": "OPS-7"},
                "votes": 1,
                "needed": 2,
                "signature": signature("approved", "Ann Example", "1000"),
            },
        ),
        (
            "approval_granted",
            2,
            BOB,
            {
                **gate,
                "comment": "Looks right",
                "votes": ["ann", "bob"],
                "signature": signature("approved", "Bob Müller", "1001"),
            },
        ),
        ("approval_stale", 2, SYSTEM, {**gate, "foundDigest": "b" * 64, "changed": ["script", "environment PATH"]}),
        ("approval_requested", 2, SYSTEM, {**gate, "revision": 2}),
        ("approval_postponed", 2, SYSTEM, {**gate, "jumpedMs": 3600000, "dueAt": "2026-11-22T12:04:00.000Z"}),
        ("approval_escalated", 2, SYSTEM, {**gate, "to": ["group:oncall"], "dueAt": "2026-11-22T12:04:00.000Z"}),
        (
            "approval_rejected",
            2,
            BOT,
            {**gate, "reason": "The error rate rises.\nWho: Ann Example", "action": "paused"},
        ),
        ("run_paused", None, SYSTEM, {"cause": "rejected"}),
        ("run_retried", None, HUMAN, {"steps": [2], "reason": "fixed"}),
        ("approval_requested", 2, SYSTEM, {**gate, "revision": 3}),
        ("approval_timeout", 2, SYSTEM, {**gate, "action": "approve", "dueAt": "2026-11-22T13:04:00.000Z"}),
        (
            "step_started",
            2,
            SYSTEM,
            {"title": "Roll out", "executor": "shell", "visit": 1, "attempt": 2, "digest": digest},
        ),
        (
            "step_failed",
            2,
            SYSTEM,
            {"title": "Roll out", "error": "exit status 1", "cause": "exit", "exitCode": 1, "output": "x" * 300},
        ),
        (
            "step_skipped",
            2,
            HUMAN,
            {"title": "Roll out", "reason": "done by hand", "signature": signature("skipped", "Ann Example", "1000")},
        ),
        ("run_completed", None, SYSTEM, {"duration": "3h", "durationMs": 10800000}),
    ]
    return [
        {
            "timestamp": f"2026-11-22T10:{seq:02}:00.000Z",
            "eventType": kind,
            **({} if step is None else {"stepNumber": step}),
            "runId": RUN,
            "seq": seq,
            "actor": actor,
            "details": details,
        }
        for seq, (kind, step, actor, details) in enumerate(told, start=1)
    ]


def page_of(shown: list[dict[str, Any]]) -> str:
    entries = [
        LogEntry(
            position=event["seq"],
            run_id=RUN,
            seq=event["seq"],
            event_type=str(event.get("eventType")),
            at_ms=0,
            prev_hash=bytes(32),
            hash=bytes([event["seq"]] * 32),
            payload=canonical(event),
            run_seq=len(shown),
            run_head=bytes(32),
        )
        for event in shown
    ]
    contents = {sha256(data): data for data in (ENVELOPE, PROCEDURE, START)}
    checkpoint = Checkpoint(
        origin="0" * 16, timestamp="2026-11-22T14:00:00.000Z", public_key="0" * 64, signature="", size=24, root="1" * 64
    )
    return page([Record(RUN, entries)], contents, checkpoint)
