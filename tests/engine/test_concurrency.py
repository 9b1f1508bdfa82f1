"""Concurrency groups in a workspace: one run at a time, in the order in which they came, whatever their procedure."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from msgspec.structs import replace

from sopwith.clock import RandomIds
from sopwith.core.events import RunQueued
from sopwith.core.run import RunStatus
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.planning import plan_document
from sopwith.errors import BadParameter, LimitReached
from sopwith.ports import RunFilter
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, Bench

GATED = {"requiresApproval": True}
GROUP = "'to-' + params.environment"


@pytest.fixture(autouse=True)
def _procedures(bench: Bench) -> None:
    for name in ("deploy", "migrate"):
        bench.procedure(name, GATED, concurrencyGroup=GROUP)


def test_a_second_run_of_a_group_is_refused_whatever_its_procedure(bench: Bench) -> None:
    first = bench.run("deploy", environment="production").run_id
    for name in ("deploy", "migrate"):
        with pytest.raises(LimitReached, match=f"the group to-production may have 1 run at once .*{first}") as caught:
            bench.create(name, environment="production")
        assert caught.value.details["holders"] == (first,)
    assert bench.run("migrate", environment="staging").steps[1].status == "awaiting_approval"
    assert bench.reader.history()["total"] == 2


def test_an_empty_group_is_none(bench: Bench) -> None:
    bench.procedure("free", GATED, concurrencyGroup="has(params.environment) ? params.environment : ''")
    for _ in range(2):
        assert bench.run("free").concurrency_group == ""


def test_a_group_that_is_not_known_makes_nothing(bench: Bench) -> None:
    with pytest.raises(BadParameter, match="its concurrency group is not known"):
        bench.create("deploy", queue=True)
    assert bench.reader.history()["total"] == 0


def test_those_who_wait_go_in_the_order_in_which_they_came(bench: Bench) -> None:
    first = bench.run("deploy", environment="production").run_id
    second = bench.create("migrate", queue=True, environment="production")
    third = bench.create("deploy", queue=True, environment="production")
    bench.engine().cancel(first, actor=ANN)
    assert bench.drive(third).queued
    with pytest.raises(LimitReached, match=f"the group to-production has a queue, and {second} came first"):
        bench.create("deploy", environment="production")
    assert not bench.drive(second).queued
    assert bench.drive(third).queued


def test_the_record_of_who_waits_names_no_other_run(bench: Bench) -> None:
    bench.run("deploy", environment="production")
    waiting = bench.create("deploy", queue=True, environment="production")
    queued = bench.events(waiting)[-1].body
    assert isinstance(queued, RunQueued)
    assert queued.reason == "the group to-production may have 1 run at once (concurrencyGroup)"


def test_who_waits_for_its_group_holds_up_no_other_group(bench: Bench) -> None:
    bench.run("deploy", environment="production")
    waiting = bench.create("deploy", queue=True, environment="production")
    assert bench.drive(waiting).queued
    assert not bench.run("deploy", environment="staging").queued


def test_a_retry_takes_the_slot_of_its_group_again(bench: Bench) -> None:
    bench.procedure("deploy", {}, concurrencyGroup=GROUP)
    bench.world.plays[1] = [Play(result=FAILED), Play()]
    failed = bench.run("deploy", environment="production").run_id
    other = bench.run("migrate", environment="production").run_id
    with pytest.raises(LimitReached, match=other):
        bench.engine().retry(failed, actor=ANN)
    assert bench.now(failed).ended == "failed"
    bench.engine().cancel(other, actor=ANN)
    bench.engine().retry(failed, actor=ANN)
    with pytest.raises(LimitReached, match=failed):
        bench.create("migrate", environment="production")
    assert bench.drive(failed).ended == "completed"


def test_the_group_is_fixed_when_the_run_is_made(bench: Bench) -> None:
    first = bench.run("deploy", environment="production").run_id
    bench.procedure("deploy", GATED, concurrencyGroup="'something else'")
    with pytest.raises(LimitReached, match=first):
        bench.create("migrate", environment="production")
    assert bench.now(first).concurrency_group == "to-production"


def test_the_group_is_shown(bench: Bench) -> None:
    run_id = bench.run("deploy", environment="production").run_id
    assert bench.reader.status(run_id)["concurrencyGroup"] == "to-production"
    assert bench.reader.history()["runs"][0]["concurrencyGroup"] == "to-production"
    plan = plan_document(
        bench.workspace,
        bench.engine().parts.library,
        "deploy",
        params={"environment": "staging"},
        mode=None,
        actor=ANN,
    )
    assert plan["concurrencyGroup"] == "to-staging"


def test_of_eight_who_start_at_once_one_is_admitted(bench: Bench) -> None:
    """On the real store, each with a connection of its own; nothing waits for time to pass."""
    barrier, admitted, refused = threading.Barrier(8), list[str](), list[LimitReached]()

    def start(number: int) -> None:
        name = ("deploy", "migrate")[number % 2]
        request = RunRequest(name=name, params={"environment": "production"}, queue=number >= 4)
        with closing(SqliteStore(bench.workspace.database)) as store:
            engine = Engine(replace(bench.engine().parts, store=store, ids=RandomIds()))
            barrier.wait()
            try:
                run = engine.create_run(request, actor=ANN)
            except LimitReached as error:
                refused.append(error)
            else:
                admitted.append("queued" if run.queued else "admitted")

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert admitted.count("admitted") == 1
    assert len(admitted) + len(refused) == 8
    with closing(SqliteStore(bench.workspace.database)) as store:
        summaries, _total = store.summaries(RunFilter())
    assert sum(summary.holds_slot for summary in summaries) == 1
    assert {summary.status for summary in summaries if not summary.holds_slot} <= {RunStatus.PENDING}
