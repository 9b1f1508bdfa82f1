"""What admission would do with an event now is what it then does, and nothing is written to find out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core.actor import Actor
from sopwith.core.config import Role
from sopwith.core.grants import Grant
from sopwith.engine.library import Library
from sopwith.engine.outside import Outside

from .bench import ANN, Bench
from .triggers import HOOK, SECRET, Desk

PUSH = {"ref": "main"}


class Oracle:
    """One procedure with a webhook, at which so many events have arrived already."""

    def __init__(self, bench: Bench, arrived: int, **rules: Any) -> None:
        limits = {key: rules.pop(key) for key in ("maxConcurrent", "cooldownSecs", "concurrencyGroup") if key in rules}
        bench.environ["HOOK"] = SECRET
        bench.procedure("deploy", {"requiresApproval": True}, triggers=[{**HOOK, **rules}], **limits)
        self.bench = bench
        self.desk = Desk(bench).begin()
        for number in range(arrived):
            self.desk.github("/deploy", PUSH, delivery=str(number))

    def says(self, actor: Actor | None = None) -> dict[str, Any]:
        engine = self.bench.engine()
        outside = Outside(
            Library(self.bench.workspace),
            {},
            self.bench.clock,
            engine=engine,
            deliveries=self.desk.deliveries,
            actor=actor,
        )
        event = json.dumps({"type": "webhook", "path": "/deploy", "body": PUSH}).encode()
        document = outside.foreseen("deploy", event)
        assert document["wouldStart"] is document["triggers"][0]["wouldStart"]
        found: dict[str, Any] = document["triggers"][0]
        return found

    def comes(self) -> tuple[str, str]:
        """The outcome and the reason of the next delivery."""
        self.desk.github("/deploy", PUSH, delivery="next")
        return self.desk.outcomes[-1][1], self.desk.reasons[-1]


@pytest.mark.parametrize(
    ("arrived", "rules", "outcome", "place", "reason"),
    [
        (0, {}, "started", None, None),
        (3, {}, "started", None, None),
        (1, {"maxConcurrent": 1}, "queued", 1, "deploy may have 1 at once"),
        (3, {"maxConcurrent": 1}, "queued", 3, "deploy may have 1 at once"),
        (1, {"concurrencyGroup": "'all'"}, "queued", 1, "the group all may have 1 run at once"),
        (1, {"maxConcurrent": 1, "admission": "reject"}, "refused", None, "deploy may have 1 at once"),
        (0, {"maxConcurrent": 1, "admission": "reject"}, "started", None, None),
        (2, {"maxConcurrent": 1, "maxQueued": 1}, "refused", None, "the queue of webhook:/deploy is full"),
        (1, {"maxConcurrent": 1, "admission": "coalesce"}, "queued", 1, "deploy may have 1 at once"),
        (2, {"maxConcurrent": 1, "admission": "coalesce"}, "coalesced", None, "join"),
    ],
)
def test_what_is_foreseen_is_what_comes(
    bench: Bench, arrived: int, rules: dict[str, Any], outcome: str, place: int | None, reason: str | None
) -> None:
    oracle = Oracle(bench, arrived, **rules)
    before = oracle.desk.runs(), oracle.desk.outcomes
    told = oracle.says()
    assert (oracle.desk.runs(), oracle.desk.outcomes) == before
    assert (told["outcome"], told.get("place")) == (outcome, place)
    assert told["wouldStart"] is (outcome != "refused")
    assert reason in told["reason"] if reason else "reason" not in told
    came, because = oracle.comes()
    assert came == outcome
    if outcome == "coalesced":
        assert because == f"joined {told['runId']}"
    if outcome == "refused":
        assert because == told["reason"]


def test_a_procedure_that_could_not_be_started_says_why(bench: Bench) -> None:
    oracle = Oracle(bench, 0)
    bench.config(groups={"ops": ["ann"]})
    approval = {"approvers": ["group:ops"], "quorum": 2, "onTimeout": "reject"}
    bench.procedure("deploy", {"requiresApproval": True, "approval": approval}, triggers=[HOOK])
    told = oracle.says()
    assert (told["outcome"], told["wouldStart"]) == ("refused", False)
    assert "could never end well" in told["reason"]


def test_the_cooldown_is_asked(bench: Bench) -> None:
    oracle = Oracle(bench, 0, cooldownSecs=60)
    bench.procedure("deploy", {}, triggers=[HOOK], cooldownSecs=60)
    bench.run("deploy")
    told = oracle.says()
    assert (told["outcome"], told["place"]) == ("queued", 1)
    assert "rests for 60 s" in told["reason"]


def test_who_may_not_know_of_the_run_that_holds_the_slot_is_not_told_its_name(bench: Bench) -> None:
    oracle = Oracle(bench, 0)
    bench.config(maxConcurrentRuns=1)
    bench.procedure("secret", {"requiresApproval": True})
    other = bench.run("secret").run_id
    assert other in oracle.says()["reason"]
    told = oracle.says(replace(ANN, grant=Grant(role=Role.VIEWER, procedures=("deploy",))))
    assert told["outcome"] == "queued"
    assert other not in told["reason"]
