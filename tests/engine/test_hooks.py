"""Webhooks: what is believed, what is answered, and that nothing starts twice."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.procedure import Parameter, ParameterType, Procedure, Trigger
from sopwith.core.trigger_events import BadEvent, encode_event, read_body
from sopwith.core.triggers import match
from sopwith.engine import intake
from sopwith.engine.hooks import Hook
from sopwith.errors import ApproverNotAllowed, StoreError

from .bench import ANN, BOB, Bench
from .triggers import HOOK, SECRET, Desk

PUSH = {"ref": "refs/heads/main", "after": "abc"}


@pytest.fixture
def desk(bench: Bench) -> Desk:
    bench.environ["HOOK"] = SECRET
    bench.procedure("deploy", {}, triggers=[HOOK])
    return Desk(bench).begin()


def arm(bench: Bench, *triggers: dict[str, Any], **keys: Any) -> Desk:
    bench.environ["HOOK"] = SECRET
    bench.procedure("deploy", {}, triggers=list(triggers), **keys)
    return Desk(bench).begin()


def test_a_signed_webhook_starts_a_run_and_is_answered_with_its_id(desk: Desk) -> None:
    answer = desk.github("/deploy", PUSH)
    assert answer.status == 202
    [run] = desk.runs()
    assert answer.document["runId"] == run.run_id
    assert run.created_by == Actor("deploy/webhook:/deploy", ActorKind.TRIGGER, "webhook")
    assert run.trigger == "webhook"
    assert desk.outcomes == [("webhook:/deploy", "started")]


def test_before_the_procedures_were_read_a_webhook_is_asked_to_come_again_and_nobody_is_called_unproven(
    bench: Bench,
) -> None:
    bench.environ["HOOK"] = SECRET
    bench.procedure("deploy", {}, triggers=[HOOK])
    young = Desk(bench)
    for send in (young.github, young.post):
        answer = send("/deploy", PUSH)
        assert (answer.status, answer.document["error"]["code"]) == (503, "busy")
        assert dict(answer.headers)["Retry-After"] == "1"
    assert (young.runs(), young.outcomes, young.heard.refusals) == ([], [], [])
    assert young.begin().github("/deploy", PUSH).status == 202


def test_procedures_that_could_not_be_read_at_first_leave_the_server_young(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.environ["HOOK"] = SECRET
    bench.procedure("deploy", {}, triggers=[HOOK])
    young = Desk(bench)
    with monkeypatch.context() as patch:
        patch.setattr(young.triggering.armory, "_library", None)
        young.begin()
    assert len(young.heard.troubles) == 1
    assert young.github("/deploy", PUSH).status == 503
    assert young.begin().github("/deploy", PUSH).status == 202


def test_the_event_is_kept_with_the_run_without_what_proved_it(desk: Desk) -> None:
    headers = {"Authorization": "Bearer x", "Cookie": "y", "X-GitHub-Event": "push"}
    desk.github("/deploy", PUSH, headers=headers, query=(("a", "1"),))
    event = desk.runs()[0].event
    assert event is not None
    assert (event["type"], event["id"], event["path"], event["query"]) == ("webhook", "1", "/deploy", {"a": "1"})
    assert event["body"] == PUSH
    assert event["headers"]["x-github-event"] == "push"
    assert not {"authorization", "cookie", "x-hub-signature-256"} & set(event["headers"])


def test_the_same_delivery_gives_the_same_run(desk: Desk) -> None:
    first, again = desk.github("/deploy", PUSH), desk.github("/deploy", PUSH)
    assert again.document["runId"] == first.document["runId"]
    assert again.document["deliveries"][0]["replayed"] is True
    assert "replayed" not in first.document["deliveries"][0]
    assert len(desk.runs()) == 1
    assert desk.github("/deploy", PUSH, delivery="2").document["runId"] != first.document["runId"]


def test_a_hundred_at_once_make_one_run(desk: Desk) -> None:
    async def send() -> set[str]:
        body = json.dumps(PUSH).encode()
        import hmac

        signature = f"sha256={hmac.digest(SECRET.encode(), body, 'sha256').hex()}"
        headers = (("x-hub-signature-256", signature), ("x-github-delivery", "7"), ("content-type", "application/json"))
        hook = Hook(path="/deploy", headers=headers, body=body)
        answers = await asyncio.gather(*(desk.triggering.receive(hook) for _ in range(100)))
        return {answer.document["runId"] for answer in answers}

    assert len(desk.do(send())) == 1
    desk.carry_out()
    assert len(desk.runs()) == 1


def test_even_without_the_table_a_delivery_starts_nothing_twice(desk: Desk, bench: Bench) -> None:
    first = desk.github("/deploy", PUSH)
    bench.store._shelf.deliveries.clear()
    again = desk.github("/deploy", PUSH)
    assert again.document["runId"] == first.document["runId"]
    assert len(desk.runs()) == 1


@pytest.mark.parametrize(
    ("path", "headers", "may_start", "status"),
    [
        ("/deploy", {}, None, 401),
        ("/deploy", {"X-Hub-Signature-256": "sha256=00"}, None, 401),
        ("/deploy", {}, lambda _name: True, 401),
        ("/nothing", {}, None, 401),
        ("/nothing", {}, lambda _name: True, 404),
        ("/deploy/", {}, None, 401),
    ],
)
def test_what_is_not_proven_is_not_believed(desk: Desk, path: str, headers: Any, may_start: Any, status: int) -> None:
    answer = desk.post(path, PUSH, headers=headers, may_start=may_start)
    assert answer.status == status
    assert answer.document["success"] is False
    assert desk.outcomes == []
    assert desk.runs() == []


def test_nothing_is_parsed_before_it_is_believed(desk: Desk) -> None:
    assert desk.post("/deploy", b"{not json").status == 401
    assert desk.post("/deploy", b"[" * 200_000).status == 401


def test_what_is_too_large_is_refused_before_anything_is_computed(desk: Desk) -> None:
    assert desk.post("/deploy", b"x" * (256 * 1024 + 1)).status == 413
    assert desk.heard.refusals == []


def test_a_secret_that_is_not_set_closes_the_door_and_the_log_names_it(desk: Desk, bench: Bench) -> None:
    del bench.environ["HOOK"]
    assert desk.github("/deploy", PUSH).status == 401
    assert [refusal.reason for refusal in desk.heard.refusals] == ["HOOK is not set"]
    bench.environ["HOOK"] = ""
    assert desk.github("/deploy", PUSH, secret="").status == 401
    bench.environ["HOOK"] = "short"
    assert desk.github("/deploy", PUSH, secret="short").status == 401


def test_a_webhook_without_a_secret_takes_a_token_with_the_right_to_start(bench: Bench) -> None:
    desk = arm(bench, {"type": "webhook", "path": "/deploy/production"})
    path = "/deploy/production"
    assert desk.post(path, PUSH).status == 401
    assert desk.post(path, PUSH, may_start=lambda _name: False).status == 404
    assert desk.post(path, PUSH, may_start=lambda name: name == "deploy").status == 202
    # each call is a delivery of its own, unless the caller names it
    assert desk.post(path, PUSH, may_start=lambda _name: True).status == 202
    assert len(desk.runs()) == 2
    for _ in range(2):
        assert desk.post(path, PUSH, may_start=lambda _name: True, headers={"Idempotency-Key": "k"}).status == 202
    assert len(desk.runs()) == 3


def test_several_procedures_on_one_path_are_each_asked_by_their_own_secret(bench: Bench) -> None:
    bench.environ |= {"ONE": SECRET, "TWO": SECRET + "2"}
    bench.procedure("alpha", {}, triggers=[{**HOOK, "secretEnv": "ONE"}])
    bench.procedure("beta", {}, triggers=[{**HOOK, "secretEnv": "TWO"}])
    bench.procedure("gamma", {}, triggers=[{**HOOK, "secretEnv": "ONE", "condition": "event.body.ref == 'x'"}])
    desk = Desk(bench).begin()
    answer = desk.github("/deploy", PUSH)
    told = [(each["sopName"], each["outcome"]) for each in answer.document["deliveries"]]
    assert told == [("alpha", "accepted"), ("gamma", "unmatched")]
    assert [run.name for run in desk.runs()] == ["alpha"]
    assert [refusal.procedure for refusal in desk.heard.refusals] == ["beta"]


@pytest.mark.parametrize(
    ("condition", "outcome", "reason"),
    [
        ("event.body.ref == 'refs/heads/main'", "started", ""),
        ("event.body.ref == 'other'", "unmatched", "the condition `event.body.ref == 'other'` does not hold"),
        ("event.body.nope == 'x'", "unmatched", "could not be evaluated: there is no nope"),
        ("event.headers['x-github-event'] == 'push'", "unmatched", "could not be evaluated"),
    ],
)
def test_a_condition_decides_and_what_cannot_be_told_starts_nothing(
    bench: Bench, condition: str, outcome: str, reason: str
) -> None:
    desk = arm(bench, {**HOOK, "condition": condition})
    answer = desk.github("/deploy", PUSH)
    assert answer.status == 202
    assert desk.outcomes == [("webhook:/deploy", outcome)]
    assert reason in desk.reasons[0]
    assert (answer.document["runId"] is not None) is (outcome == "started")
    assert len(desk.runs()) == (outcome == "started")


def test_parameters_come_from_the_event_with_their_declared_types(bench: Bench) -> None:
    params = [
        {"name": "ref", "required": True},
        {"name": "count", "type": "integer", "required": True},
        {"name": "where", "type": "enum", "values": ["eu", "us"], "default": "us"},
    ]
    mapped = {"ref": "event.body.ref", "count": "event.body.count", "where": "'eu'"}
    desk = arm(bench, {**HOOK, "params": mapped}, params=params)
    desk.github("/deploy", {**PUSH, "count": "17"})
    assert desk.runs()[0].params == {"ref": "refs/heads/main", "count": 17, "where": "eu"}
    answer = desk.github("/deploy", {**PUSH, "count": "many"}, delivery="2")
    assert answer.status == 409
    assert "count: expected a whole number, got 'many'" in answer.document["error"]["message"]
    assert desk.github("/deploy", PUSH, delivery="3").status == 409
    assert len(desk.runs()) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"a": 1, "a": 2}', 400, "bad_event"),
        (b'{"a": NaN}', 400, "bad_event"),
        (b'{"a": 1e999}', 400, "bad_event"),
        (b'{"a": 123456789012345678901234567890}', 400, "bad_event"),
        (b'{"a": "\\ud800"}', 400, "bad_event"),
        (b"[" * 100 + b"]" * 100, 400, "bad_event"),
        (b"[" * 100_000, 400, "bad_event"),
        (b"\xff", 400, "bad_event"),
        (b'"' + b"x" * 256 * 1024 + b'"', 413, "too_large"),
        (b'"' + b"x" * (256 * 1024 - 100) + b'"', 413, "too_large"),
    ],
)
def test_a_body_that_is_no_sound_event_is_refused_and_nothing_is_kept(
    bench: Bench, body: bytes, status: int, code: str
) -> None:
    desk = arm(bench, {**HOOK, "scheme": "token"})
    answer = desk.post("/deploy", body, headers={"X-Sopwith-Token": SECRET})
    assert (answer.status, answer.document["error"]["code"]) == (status, code)
    assert desk.outcomes == []


@pytest.mark.parametrize(
    ("content_type", "body", "seen"),
    [
        ("application/json; charset=utf-8", b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ("application/vnd.x+json", b"[]", []),
        ("application/x-www-form-urlencoded", b"a=1&b=%C3%A9", {"a": "1", "b": "é"}),
        ("text/plain", "grüß".encode(), "grüß"),
        ("", b"", None),
    ],
)
def test_the_body_is_read_as_its_type_says(bench: Bench, content_type: str, body: bytes, seen: Any) -> None:
    desk = arm(bench, {**HOOK, "scheme": "token"})
    desk.post("/deploy", body, headers={"X-Sopwith-Token": SECRET, "Content-Type": content_type})
    event = desk.runs()[0].event
    assert event is not None
    assert event["body"] == seen


def test_a_step_reads_the_event_in_its_file_and_in_its_conditions(bench: Bench) -> None:
    bench.environ["HOOK"] = SECRET
    step = {"if": "event.type == 'webhook' && event.body.ref.endsWith('main')"}
    bench.procedure("deploy", step, {"if": "event.body.ref == 'other'"}, triggers=[HOOK])
    desk = Desk(bench).begin()
    answer = desk.github("/deploy", PUSH)
    bench.drive(answer.document["runId"])
    assert bench.statuses(answer.document["runId"]) == ["completed", "skipped"]
    [order] = [order for order in bench.world.orders.values() if order.run_id == answer.document["runId"]]
    assert json.loads(order.event_json or b"")["body"] == PUSH


def test_a_run_that_a_person_starts_has_no_event(bench: Bench) -> None:
    bench.procedure("deploy", {"if": "event.type == 'manual'"}, triggers=[{"type": "webhook", "path": "/a"}])
    run = bench.run("deploy")
    assert bench.statuses(run.run_id) == ["completed"]
    assert run.event is None


def test_definitions_change_without_a_restart(bench: Bench) -> None:
    desk = arm(bench, HOOK)
    bench.procedure("deploy", {}, triggers=[{**HOOK, "path": "/elsewhere"}])
    desk.look()
    assert desk.github("/deploy", PUSH).status == 401
    assert desk.github("/elsewhere", PUSH).status == 202


def test_a_procedure_with_errors_starts_nothing_and_says_so_once(bench: Bench) -> None:
    desk = arm(bench, HOOK)
    (bench.workspace.sops / "deploy" / "manifest.json").write_text('{"steps": []}')
    for _ in range(3):
        desk.look()
    assert desk.github("/deploy", PUSH).status == 401
    assert len(desk.heard.troubles) == 1
    assert "deploy has errors" in desk.heard.troubles[0]


LIMITED = {"maxConcurrent": 1}


def test_a_queue_is_bounded(bench: Bench) -> None:
    desk = arm(bench, {**HOOK, "maxQueued": 2}, **LIMITED)
    for number in range(5):
        desk.github("/deploy", PUSH, delivery=str(number))
    assert [outcome for _, outcome in desk.outcomes] == ["started", "queued", "queued", "refused", "refused"]
    assert desk.reasons[-1] == "the queue of webhook:/deploy is full: 2 of its runs wait (maxQueued 2)"


def test_reject_refuses_what_limits_hold_back_and_the_sender_is_told(bench: Bench) -> None:
    desk = arm(bench, {**HOOK, "admission": "reject"}, **LIMITED)
    first, second = (desk.github("/deploy", PUSH, delivery=each) for each in "12")
    assert (first.status, first.document["deliveries"][0]["outcome"]) == (202, "started")
    assert (second.status, second.document["runId"]) == (409, None)
    assert "maxConcurrent" in second.document["error"]["message"]
    assert desk.github("/deploy", PUSH, delivery="2").status == 409
    assert len(desk.runs()) == 1


def test_coalesce_joins_a_run_that_waits_and_none_that_has_begun(bench: Bench) -> None:
    desk = arm(bench, {**HOOK, "admission": "coalesce"}, **LIMITED)
    answers = [desk.github("/deploy", PUSH, delivery=each) for each in "1234"]
    assert [outcome for _, outcome in desk.outcomes] == ["started", "queued", "coalesced", "coalesced"]
    first, second, third, fourth = (answer.document["runId"] for answer in answers)
    assert second == third == fourth != first
    assert len(desk.runs()) == 2


def test_an_answer_waits_for_the_clerk_no_longer_than_it_should(bench: Bench) -> None:
    desk = arm(bench, {**HOOK, "admission": "reject"})
    desk.carry_out = lambda: None  # type: ignore[method-assign]
    before = bench.clock.now().boot_ms
    desk.triggering._clerk.carry_on = lambda: False  # type: ignore[method-assign]
    answer = desk.github("/deploy", PUSH)
    assert answer.document["deliveries"][0]["outcome"] == "accepted"
    assert bench.clock.now().boot_ms - before == 2000


def test_where_too_many_wait_no_more_are_taken(bench: Bench) -> None:
    desk = arm(bench, HOOK)
    desk.triggering.intake._most = 2
    desk.triggering._clerk.carry_on = lambda: False  # type: ignore[method-assign]
    assert [desk.github("/deploy", PUSH, delivery=each).status for each in "123"] == [202, 202, 503]
    assert len(desk.outcomes) == 2


def test_many_webhooks_at_once_share_a_transaction(bench: Bench) -> None:
    desk = arm(bench, {**HOOK, "scheme": "token"})
    sizes: list[int] = []
    real = desk.deliveries.accept
    desk.deliveries.accept = lambda new, moves=(): (sizes.append(len(new)), real(new, moves))[1]

    async def send() -> None:
        hook = Hook(path="/deploy", headers=(("X-Sopwith-Token", SECRET),))
        await asyncio.gather(*(desk.triggering.receive(hook) for _ in range(300)))

    desk.do(send())
    assert sum(sizes) == 300
    assert len(sizes) <= 3


def test_two_who_wait_for_one_delivery_are_both_told_at_once(bench: Bench) -> None:
    desk = arm(bench, {**HOOK, "scheme": "token", "admission": "reject"})

    async def send() -> list[Any]:
        hook = Hook(path="/deploy", headers=(("X-Sopwith-Token", SECRET), ("Idempotency-Key", "1")))
        asking = [asyncio.ensure_future(desk.triggering.receive(hook)) for _ in range(2)]
        asking.append(asyncio.ensure_future(desk.triggering.receive(hook)))
        for _ in range(10):
            await asyncio.sleep(0)
        asking[2].cancel()
        await asyncio.sleep(0)
        await desk._carry_out()
        return await asyncio.gather(*asking[:2])

    before = bench.clock.now().boot_ms
    assert [answer.document["deliveries"][0]["outcome"] for answer in desk.do(send())] == ["started", "started"]
    assert bench.clock.now().boot_ms == before


def test_what_cannot_be_kept_is_not_acknowledged(desk: Desk) -> None:
    def fails(*_args: Any, **_keys: Any) -> Any:
        raise StoreError("cannot use the store: the disk is full")

    real, desk.deliveries.accept = desk.deliveries.accept, fails
    with pytest.raises(StoreError):
        desk.github("/deploy", PUSH)
    desk.deliveries.accept = real
    assert desk.github("/deploy", PUSH).status == 202
    assert len(desk.runs()) == 1


def test_while_the_disk_stands_still_no_more_than_so_many_calls_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_MOST_GATHERED", 10)
    desk = arm(bench, {**HOOK, "scheme": "token"})
    hold = bench.loop.create_future()

    class Slow:
        async def do(self, work: Any) -> Any:
            await hold
            return work()

    desk.triggering.intake._aside = Slow()

    async def send() -> list[int]:
        hook = Hook(path="/deploy", headers=(("X-Sopwith-Token", SECRET),))
        asking = [asyncio.ensure_future(desk.triggering.receive(hook)) for _ in range(30)]
        for _ in range(10):
            await asyncio.sleep(0)
        hold.set_result(None)
        return [answer.status for answer in await asyncio.gather(*asking)]

    statuses = desk.do(send())
    assert 10 <= statuses.count(202) <= 20
    assert statuses.count(503) == 30 - statuses.count(202)


_KINDS = st.sampled_from(["application/json", "application/x-www-form-urlencoded", ""])


@given(body=st.binary(max_size=200), kind=_KINDS)
def test_whatever_the_body_is_it_is_an_event_or_refused(body: bytes, kind: str) -> None:
    with contextlib.suppress(BadEvent):
        assert json.loads(encode_event({"body": read_body(body, kind)}))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(content=_JSON)
def test_whatever_an_event_holds_it_is_matched_or_not(content: Any) -> None:
    """Conditions and parameters raise nothing, and give nothing that the parameter does not take."""
    trigger = Trigger(
        type="webhook",
        path="/a",
        condition="has(event.body.ref) && event.body.ref != ''",
        params={"n": "event.body.n", "ref": "event.body.ref"},
    )
    procedure = Procedure(
        name="deploy",
        title="Deploy",
        parameters=(Parameter(name="n", type=ParameterType.INTEGER), Parameter(name="ref")),
    )
    for body in (content, {"ref": content, "n": 1}, {"ref": "x", "n": content}):
        found = match(procedure, trigger, {"type": "webhook", "body": body})
        if found.outcome is None:
            assert isinstance(found.params["n"], int)
            assert isinstance(found.params["ref"], str)
        else:
            assert found.reason


def test_whoever_calls_by_a_token_starts_the_run_and_gets_around_no_rule(bench: Bench) -> None:
    hook = {"type": "webhook", "path": "/deploy", "maxQueued": 1}
    gate = {"requiresApproval": True, "approval": {"approvers": ["user:ann", "user:bob"], "onTimeout": "pause"}}
    desk = arm(bench, hook, runners=["user:ann"])
    may = {"may_start": lambda _name: True}
    run_id = desk.post("/deploy", PUSH, **may).document["runId"]
    [run] = desk.runs()
    assert (run.created_by.id, run.created_by.kind, run.created_by.via) == ("ann", ActorKind.HUMAN, "webhook")
    assert run.event is not None
    assert run.event["caller"] == {"id": "ann", "kind": "human"}
    # bob may not start it, whatever the door believes
    desk.post("/deploy", PUSH, actor=BOB, **may)
    assert desk.outcomes[-1] == ("webhook:/deploy", "refused")
    assert "bob may not start deploy" in desk.reasons[-1]
    bench.procedure("deploy", gate, triggers=[hook])
    desk.look()
    run_id = desk.post("/deploy", PUSH, **may).document["runId"]
    bench.drive(run_id)
    with pytest.raises(ApproverNotAllowed):
        bench.engine().approve(run_id, actor=ANN)
    bench.engine().approve(run_id, actor=BOB)


def test_a_sender_with_a_secret_cannot_say_who_calls(bench: Bench) -> None:
    desk = arm(bench, {**HOOK, "scheme": "token"})
    headers = {"X-Sopwith-Token": SECRET}
    desk.post("/deploy", {"caller": {"id": "ann", "kind": "human"}}, headers=headers, may_start=lambda _name: True)
    [run] = desk.runs()
    assert run.created_by.kind is ActorKind.TRIGGER
    assert run.event is not None
    assert "caller" not in run.event


def test_the_runs_of_callers_stand_in_the_queue_of_the_trigger(bench: Bench) -> None:
    desk = arm(bench, {"type": "webhook", "path": "/deploy", "maxQueued": 1}, **LIMITED)
    for actor in (ANN, BOB, ANN):
        desk.post("/deploy", PUSH, actor=actor, may_start=lambda _name: True)
    assert [outcome for _, outcome in desk.outcomes] == ["started", "queued", "refused"]
