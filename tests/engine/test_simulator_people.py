"""The simulator's patient person and its servers do what people and servers can: what they miss is no fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.run import RunStatus, StepStatus
from sopwith.testing import simulator
from sopwith.testing.executor import Play
from sopwith.testing.scenario import BEN, bring_on, random_procedure
from sopwith.testing.simulator import simulate

from .bench import ANN, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.mark.parametrize("seed", [0, 3, 13])
def test_what_a_server_started_last_may_hang(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = simulator._Simulation._calm

    async def a_run_for_the_server(simulation: Any) -> None:
        await calm(simulation)
        simulation._start_a_server()
        request = simulator.RunRequest(name=next(iter(simulation._procedures)), params={"to": "staging"})
        process = simulation._process(drives=None)
        simulation._say(process, "create", lambda engine: engine.create_run(request, actor=ANN))
        await simulation._clock.sleep(5)

    monkeypatch.setattr(simulator, "random_plays", lambda _: {number: [Play(seconds=None)] for number in range(1, 7)})
    monkeypatch.setattr(simulator._Simulation, "_calm", a_run_for_the_server)
    assert simulate(seed, acts=0).violations == ()


def test_a_paused_run_whose_child_is_in_the_queue_is_resumed(bench: Bench) -> None:
    bench.procedure("build", {"requiresApproval": True}, maxConcurrent=1)
    bench.procedure("deploy", {"rollback": {"run": "true"}}, {"run": None, "uses": "build"})
    other = bench.run("build").run_id
    run_id = bench.create("deploy")
    bench.begin(run_id)
    bench.pass_time(5)
    bench.engine().pause(run_id, actor=ANN)
    bench.engine().cancel(other, actor=ANN)
    assert bench.now(run_id).paused
    bring_on(bench.engine(), bench.now(run_id))
    assert not bench.now(run_id).paused
    bench.begin(run_id)
    bench.pass_time(5)
    assert bench.now(bench.now(run_id).steps[2].child).ended is None
    assert not bench.now(bench.now(run_id).steps[2].child).queued


def test_a_gate_that_asks_others_after_a_while_is_waited_for_also_where_the_time_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = ApprovalRules(
        approvers=("user:ben", "user:cat"), quorum=2, on_timeout=TimeoutAction.ESCALATE, escalate_to=("user:dan",)
    )

    def short(chance: Random, name: str, **more: Any) -> Any:
        drawn = random_procedure(chance, name, **more)
        step = msgspec.structs.replace(_plain(drawn.steps[0]), requires_approval=True, approval_timeout_mins=0.05)
        return msgspec.structs.replace(drawn, steps=(step,), approval=rules, timeout_secs=20, cooldown_secs=0)

    monkeypatch.setattr(simulator, "random_procedure", short)
    monkeypatch.setattr(simulator, "random_plays", lambda _: {})
    monkeypatch.setattr(simulator, "ANN", BEN)
    reports = [simulate(seed, acts=0) for seed in range(6)]
    assert [violation for report in reports for violation in report.violations] == []
    assert sum(report.events for report in reports) > 6 * len(reports)


def test_what_was_rolled_back_is_retried_also_where_a_gate_was_given_up(bench: Bench) -> None:
    rules = {"approvers": ["group:release"], "quorum": 2, "onTimeout": "reject"}
    bench.config(groups={"release": ["ben", "cat"]})
    bench.procedure("deploy", {"rollback": {"run": "true"}}, {"requiresApproval": True}, approval=rules)
    run_id = bench.create("deploy")
    bench.config(groups={"release": ["ben"]})
    bench.drive(run_id)
    assert bench.now(run_id).steps[2].status is StepStatus.REJECTED
    bench.engine().rollback(run_id, actor=ANN)
    bench.drive(run_id)
    assert bench.now(run_id).ended is RunStatus.FAILED
    bring_on(bench.engine(), bench.now(run_id))
    assert bench.names(run_id)[-1] == "run_retried"


def _plain(step: Any) -> Any:
    """The step as a plain one, whatever was drawn."""
    return type(step)(number=1, title=step.title, executor="shell", script=step.script)
