"""Steps done for each of several items, as the driver carries them out: at once, with what each is given, and again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sopwith.core.actor import Actor, ActorKind
from sopwith.engine.documents import run_document
from sopwith.errors import NotFound
from sopwith.testing.executor import FAILED, SUCCEEDED, Play

from .bench import ANN, Bench

EU_US: dict[str, Any] = {"forEach": ["eu", "us"]}
BEN = Actor("ben", ActorKind.HUMAN, "cli")


def key(run_id: str, name: str, visit: int = 1, attempt: int = 1, step: int = 1) -> Any:
    return (run_id, f"{step}:{name}", visit, attempt)


def test_instances_run_at_the_same_time(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", {"forEach": ["eu", "us", "ap"]}, {})
    before = bench.clock.now().boot_ms
    run = bench.run("deploy")
    assert run.ended == "completed"
    assert 60_000 <= bench.clock.now().boot_ms - before < 61_000
    assert [each[1] for each in bench.starts(run.run_id)] == ["1:eu", "1:us", "1:ap", 2]


@pytest.mark.parametrize(("limit", "seconds"), [({"maxParallel": 2}, 120), ({"maxParallel": 1}, 180)])
def test_no_more_instances_run_at_once_than_the_step_says(bench: Bench, limit: dict[str, int], seconds: int) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", {"forEach": ["eu", "us", "ap"], **limit})
    before = bench.clock.now().boot_ms
    assert bench.run("deploy").ended == "completed"
    assert seconds * 1000 <= bench.clock.now().boot_ms - before < (seconds + 1) * 1000


def test_each_process_is_told_its_item_and_has_a_key_and_a_folder_of_its_own(bench: Bench) -> None:
    result = msgspec.structs.replace(SUCCEEDED, outputs={"list": ["eu", {"region": "us", "size": 2}]})
    bench.world.plays[1] = [Play(result=result)]
    bench.procedure("deploy", {"outputs": {"list": "json"}}, {"forEach": "steps['1'].outputs.list"})
    run = bench.run("deploy")
    orders = [bench.world.orders[each] for each in bench.starts(run.run_id)]
    given = [
        {name: order.environment.get(name) for name in ("SOP_STEP", "SOP_INSTANCE", "SOP_ITEM")} for order in orders
    ]
    assert given == [
        {"SOP_STEP": "1", "SOP_INSTANCE": None, "SOP_ITEM": None},
        {"SOP_STEP": "2", "SOP_INSTANCE": "1", "SOP_ITEM": "eu"},
        {"SOP_STEP": "2", "SOP_INSTANCE": "2", "SOP_ITEM": '{"region":"us","size":2}'},
    ]
    for unique in (
        {order.folder for order in orders},
        {order.environment["SOP_IDEMPOTENCY_KEY"] for order in orders},
    ):
        assert len(unique) == 3
    assert orders[1].folder.name == "step-2:1.1.1"


def test_a_later_step_is_given_the_lists(bench: Bench) -> None:
    said = [msgspec.structs.replace(SUCCEEDED, outputs={"url": f"https://{n}"}) for n in (1, 2)]
    bench.world.plays[1] = [Play(result=said[0]), Play(result=said[1])]
    bench.procedure("deploy", {**EU_US, "outputs": {"url": "string"}}, {})
    run = bench.run("deploy")
    order = bench.world.orders[bench.starts(run.run_id)[-1]]
    assert order.environment["SOP_STEP_1_URL"] == '["https://1","https://2"]'


def test_the_idempotency_key_stays_over_tries_and_changes_with_a_new_visit(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    bench.world.plays[2] = [Play(result=FAILED), Play()]
    bench.procedure("deploy", {"forEach": ["eu"], "retry": {"maxAttempts": 2, "delaySecs": 1}}, {})
    run = bench.run("deploy")
    bench.engine().retry(run.run_id, actor=ANN, from_step="1:eu")
    bench.drive(run.run_id)
    keys = [
        order.environment["SOP_IDEMPOTENCY_KEY"].removeprefix(run.run_id)
        for each in bench.starts(run.run_id)
        if (order := bench.world.orders[each]).step.number == 1
    ]
    assert keys == [".1:eu.1", ".1:eu.1", ".1:eu.2"]


def test_a_killed_driver_leaves_its_instances_and_the_next_one_starts_none_twice(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", {"forEach": ["eu", "us", "ap"], "maxParallel": 2})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(10)
    driving.cancel()
    bench.pass_time(0)
    assert len(bench.starts(run_id)) == 2
    run = bench.drive(run_id)
    assert run.ended == "completed"
    assert [each[1] for each in bench.starts(run_id)] == ["1:eu", "1:us", "1:ap"]


def test_an_instance_of_which_nobody_knows_the_end_is_interrupted_alone(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=60)]
    bench.procedure("deploy", EU_US)
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(10)
    bench.world.lose(key(run_id, "us"))
    run = bench.finish(driving)
    assert (run.paused, run.pause_cause) == (True, "interrupted")
    assert bench.statuses(run_id) == ["pending", "completed", "interrupted"]
    bench.engine().complete(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"


def test_an_approval_covers_the_instance_that_it_was_given_for(bench: Bench) -> None:
    bench.procedure("deploy", {**EU_US, "requiresApproval": True})
    run = bench.run("deploy")
    bench.engine().approve(run.run_id, actor=BEN, step="1:us")
    bench.drive(run.run_id)
    assert [each[1] for each in bench.starts(run.run_id)] == ["1:us"]
    content = bench.store.content(run.steps["1:us"].gate.digest)  # type: ignore[union-attr]
    assert content is not None
    envelope = msgspec.json.decode(content)
    assert (envelope["step"], envelope["instance"], envelope["item"]) == (1, "us", "us")


def test_a_variable_that_changes_asks_each_instance_again(bench: Bench) -> None:
    bench.environ["TOKEN"] = "one"
    bench.procedure("deploy", {**EU_US, "maxParallel": 1, "env": {"pass": ["TOKEN"]}})
    bench.world.plays[1] = [Play(seconds=60)]
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(10)
    driving.cancel()
    bench.pass_time(0)
    run = bench.drive(run_id, environ={**bench.environ, "TOKEN": "two"})
    assert [each[1] for each in bench.starts(run_id)] == ["1:eu"]
    assert run.steps["1:us"].gate_open
    assert not run.steps["1:eu"].must_ask


def test_documents_name_number_instance_and_item(bench: Bench) -> None:
    bench.procedure("deploy", {**EU_US, "requiresApproval": True}, {})
    run = bench.run("deploy")
    document = run_document(run)
    assert (document["totalSteps"], document["currentStep"]) == (2, 1)
    told = [(each["stepNumber"], each.get("instance"), each.get("item")) for each in document["stepResults"]]
    assert told == [(1, None, None), (1, "eu", "eu"), (1, "us", "us"), (2, None, None)]
    assert document["stepResults"][0]["instances"] == ["eu", "us"]
    assert document["stepResults"][0]["status"] == "awaiting_approval"
    assert [(gate["stepNumber"], gate["instance"]) for gate in document["gates"]] == [(1, "eu"), (1, "us")]
    waiting = bench.reader.inbox()["items"]
    assert [(each["stepNumber"], each["instance"]) for each in waiting] == [(1, "eu"), (1, "us")]
    assert bench.reader.step(run.run_id, "1:us")["item"] == "us"
    with pytest.raises(NotFound) as caught:
        bench.reader.step(run.run_id, "1:mars")
    assert caught.value.hint == "it is done for eu, us"


def test_a_limit_ends_the_process_of_the_instance_that_overran(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=5), Play(seconds=500)]
    bench.procedure("deploy", {**EU_US, "timeoutSecs": 30, "onFailure": "continue"})
    run = bench.run("deploy")
    assert (run.ended, run.with_failures) == ("completed", True)
    assert run.steps[1].error == "us: not done within 30s"


def test_many_items_are_done(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=msgspec.structs.replace(SUCCEEDED, outputs={"list": [*range(200)]}))]
    bench.procedure("deploy", {"outputs": {"list": "json"}}, {"forEach": "steps['1'].outputs.list", "maxParallel": 20})
    run = bench.run("deploy")
    assert run.ended == "completed"
    assert len(bench.starts(run.run_id)) == 201
