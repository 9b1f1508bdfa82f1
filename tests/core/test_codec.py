"""The stored form of events: exact JSON, a round trip without loss, and a chain that fixes the whole history."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.address import INSTANCE_NAME
from sopwith.core.approval import TimeoutAction
from sopwith.core.codec import NO_HASH, SealedEvent, decode_event, encode_event, event_json, link, seal, view_line
from sopwith.core.events import Event, EventBody
from sopwith.core.evolve import evolve, replay
from sopwith.core.procedure import ExecutionMode, canonical

from .given import AGENT, ALICE, INSIDE, NOON, RUN, Story, digest_of, manual, shell

BODIES: tuple[type[ev.Body], ...] = EventBody.__args__


def _story() -> Story:
    """A run with an event of nearly every kind."""
    policy = ev.Policy(approval_timeout_mins=5, approval_timeout_action=TimeoutAction.APPROVE)
    story = Story(shell(), manual(gate=True), mode=ExecutionMode.SUPERVISED, policy=policy, params={"tag": "v1"})
    story.when(cmd.Approve, comment="los geht’s")
    story.drive()
    story.finish(1, outputs={"url": "http://é", "n": 1.5, "deep": {"a": [1, None, True]}}, output="ok\n")
    story.drive()
    story.tick(300)
    story.expire(2)
    story.drive()
    story.when(cmd.Complete, evidence=(ev.Evidence(name="scan.pdf", sha256="0" * 64, size_bytes=7),), actor=AGENT)
    return story


def test_every_event_of_a_run_comes_back_from_its_bytes() -> None:
    story = _story()
    for event in story.events:
        assert decode_event(encode_event(event)) == event
        assert encode_event(decode_event(encode_event(event))) == encode_event(event)
    assert replay(story.procedure, [decode_event(encode_event(event)) for event in story.events]) == story.run


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
TIMES = st.integers(0, 10**12).map(lambda ms: NOON + (NOON.resolution * 1000 * (ms % 10**11)))


SMALL = st.integers(0, 2**53 - 1)
STEPS = st.integers(1, 99) | st.from_regex(rf"[1-9][0-9]?:{INSTANCE_NAME}", fullmatch=True)
JSON_SCALARS = st.text() | SMALL | st.booleans() | st.floats(-1e6, 1e6)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "outputs": st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3),
    "params": st.dictionaries(
        st.text(max_size=5), st.text() | SMALL | st.booleans() | st.floats(-1e6, 1e6), max_size=3
    ),
    "policy": st.builds(ev.Policy, approval_timeout_mins=st.none() | st.floats(0, 1e6) | SMALL),
    "evidence": st.tuples(st.builds(ev.Evidence, size_bytes=SMALL)),
    "due_at": TIMES,
    "at": TIMES,
    "until": TIMES,
    "remind_at": st.tuples(TIMES, TIMES),
    "form": st.dictionaries(st.text(max_size=5), JSON_SCALARS, max_size=3),
    "signature": st.none() | st.builds(ev.Signature, roles=st.none() | st.tuples(st.text(max_size=5))),
    "result": st.none() | st.booleans(),
    "step_number": STEPS,
    "steps": st.tuples(STEPS),
    "failed_steps": st.tuples(STEPS, STEPS),
    "exit_code": st.none() | st.integers(-64, 255),
    "from_step": st.none() | STEPS,
    "items": st.tuples(JSON_VALUES),
}
INTEGERS = ("revision", "visit", "attempt", "boot_ms", "duration_ms", "output_bytes", "umask", "total_steps")
INTEGERS += ("limit_ms", "needed", "votes_needed", "jumped_ms", "clock_jump_ms", "max_attempts", "delay_ms")
FIELDS |= dict.fromkeys(INTEGERS, SMALL)


def _body(kind: type[ev.Body]) -> st.SearchStrategy[Any]:
    fields = {name: FIELDS[name] for name in kind.__struct_fields__ if name in FIELDS}
    # how many agreed so far, or who they were
    fields |= {"votes": SMALL} if kind is ev.ApprovalVoteRecorded else {}
    return st.builds(kind, **fields)


@pytest.mark.parametrize("kind", BODIES)
def test_every_kind_of_event_comes_back_from_its_bytes(kind: type[ev.Body]) -> None:
    actors = st.builds(Actor, id=st.text(), kind=st.sampled_from(ActorKind), via=st.text())

    @given(st.builds(Event, run_id=st.just(RUN), seq=st.integers(1, 10**6), at=TIMES, actor=actors, body=_body(kind)))
    def comes_back(event: Event) -> None:
        assert decode_event(encode_event(event)) == event
        assert json.loads(encode_event(event))["eventType"] == event.event_type

    comes_back()


def test_the_json_form_of_a_steps_event() -> None:
    story = Story(shell()).drive()
    story.finish(1, output="ok\n")
    assert event_json(story.latest("step_completed")) == {
        "timestamp": "2026-03-02T12:00:02.000Z",
        "eventType": "step_completed",
        "runId": RUN,
        "stepNumber": 1,
        "seq": 4,
        "actor": {"id": "sopwith", "kind": "system", "via": "engine"},
        "details": {"title": "Step 1", "duration": "1s", "durationMs": 1000, "exitCode": 0, "output": "ok\n"},
    }


def test_the_json_form_of_a_start_gates_event_has_a_null_step_number() -> None:
    policy = ev.Policy(approval_timeout_mins=5, approval_timeout_action=TimeoutAction.REJECT)
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, policy=policy)
    document = event_json(story.last)
    assert "stepNumber" in document
    assert document["stepNumber"] is None
    assert document["details"] == {
        "title": "Deploy",
        "revision": 1,
        "digest": story.gate(None).digest,
        "dueAt": "2026-03-02T12:05:00.000Z",
        "onTimeout": "reject",
        "bootId": "boot-1",
        "bootMs": 1_000_000,
    }


def test_the_json_form_of_a_runs_event_has_no_step_number() -> None:
    story = Story(shell())
    assert event_json(story.last) == {
        "timestamp": "2026-03-02T12:00:00.000Z",
        "eventType": "run_started",
        "runId": RUN,
        "seq": 2,
        "actor": {"id": "sopwith", "kind": "system", "via": "engine"},
        "details": {"bootId": "boot-1", "bootMs": 1_000_000},
    }
    keys = {"timestamp", "eventType", "runId", "seq", "actor", "details"}
    for event in _story().events:
        more = {"stepNumber"} if hasattr(event.body, "step_number") else set()
        assert set(event_json(event)) == keys | more


def test_an_actor_inside_a_run_is_recorded_as_such() -> None:
    event = Event(run_id=RUN, seq=1, at=NOON, actor=INSIDE, body=ev.RunStarted())
    assert event_json(event)["actor"] == {"id": "alice", "kind": "human", "via": "cli", "inside": RUN}
    assert decode_event(encode_event(event)).actor == INSIDE


def test_the_stored_bytes_are_canonical() -> None:
    for event in _story().events:
        payload = encode_event(event)
        assert payload == canonical(json.loads(payload))


NUMBERS = (
    st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(1e-5, 1e-3)
    | st.floats(1e14, 1e22)
    | st.integers(-(10**6), 10**6).map(float)
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(ANY_JSON)
def test_canonical_bytes_are_those_of_rfc_8785(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [
        {"\U0001f600": 1, "\uffff": 2},
        5.0,
        -0.0,
        1e16,
        5e-324,
        0.00001,
        8.263e-06,
        1e21,
        "\x7f\x1f\b\u2028",
        ExecutionMode.AUTO,
    ],
)
def test_what_two_encoders_write_in_two_ways_is_written_as_rfc_8785_does(value: object) -> None:
    assert canonical({"a": [value]}) == rfc8785.dumps({"a": [value]})


@pytest.mark.parametrize(
    "value",
    ["\ud800", {"\ud800": 1}, 2**53, -(2**53), float("nan"), float("inf"), {1: 1}, {True: 1}, b"x", {1}, NOON],
)
def test_what_json_cannot_carry_has_no_canonical_bytes(value: object) -> None:
    with pytest.raises(ValueError, match=r".+") as said:
        rfc8785.dumps({"a": [value]})
    with pytest.raises(type(said.value), match=re.escape(str(said.value))):
        canonical({"a": [value]})


def _array() -> Any:
    array: list[Any] = [1]
    array.append(array)
    return array


def _wide() -> Any:
    wide: list[Any] = []
    wide += [wide] * 100
    return wide


def _mapping() -> Any:
    mapping: dict[str, Any] = {}
    mapping["a"] = [mapping]
    return mapping


def _not_plain() -> Any:
    return ["\N{GREEK SMALL LETTER ALPHA}", {"\N{GREEK SMALL LETTER ALPHA}": _array()}]


def _deep() -> Any:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize("make", [_array, _wide, _mapping, _not_plain, _deep])
def test_what_holds_itself_has_no_canonical_bytes(make: Callable[[], Any]) -> None:
    """As a plugin may make it; no file and no process can."""
    with pytest.raises(ValueError, match="holds itself, or they are nested too deep"):
        canonical(make())


def test_a_long_value_has_canonical_bytes() -> None:
    long = [[number] for number in range(30_000)]
    assert canonical(long) == rfc8785.dumps(long)


def test_an_event_cannot_be_changed_once_made() -> None:
    with pytest.raises(AttributeError):
        Story(shell()).last.seq = 7


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b'{"timestamp":"2026-03-02T12:00:00.000Z","eventType":"run_started","runId":"r","seq":1,"details":{}}',
        encode_event(Event(run_id=RUN, seq=1, at=NOON, actor=ALICE, body=ev.RunStarted())).replace(b"started", b"x"),
    ],
)
def test_bytes_that_no_version_wrote_are_refused(payload: bytes) -> None:
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        decode_event(payload)


def test_replay_refuses_another_beginning_and_a_gap() -> None:
    story = _story()
    for events in ([], story.events[1:]):
        with pytest.raises(ValueError, match="first event is run_created"):
            replay(story.procedure, events)
    with pytest.raises(ValueError, match="does not follow"):
        replay(story.procedure, [story.events[0], *story.events[2:]])
    with pytest.raises(ValueError, match="does not follow"):
        evolve(story.run, story.last)


def test_replay_of_every_beginning_of_a_record_gives_the_run_as_it_was_then() -> None:
    story = _story()
    run = replay(story.procedure, story.events[:1])
    for event in story.events[1:]:
        run = evolve(run, event)
        assert run == replay(story.procedure, story.events[: event.seq])
    assert run == story.run


def test_each_hash_covers_the_hash_before_it() -> None:
    story = _story()
    sealed = seal(story.events, NO_HASH)
    assert [each.prev_hash for each in sealed] == [NO_HASH, *(each.hash for each in sealed[:-1])]
    assert all(each.hash == link(each.prev_hash, each.payload) for each in sealed)
    later = seal(story.events[3:], sealed[2].hash)
    assert later == sealed[3:]


@given(st.data())
def test_flipping_any_byte_of_a_payload_changes_every_later_hash(data: st.DataObject) -> None:
    sealed = CHAIN
    index = data.draw(st.integers(0, len(sealed) - 1))
    payload = bytearray(sealed[index].payload)
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    prev_hash = sealed[index].prev_hash
    for each, found in zip(sealed[index:], [bytes(payload), *(s.payload for s in sealed[index + 1 :])], strict=True):
        prev_hash = link(prev_hash, found)
        assert prev_hash != each.hash


CHAIN: tuple[SealedEvent, ...] = seal(_story().events, NO_HASH)


def test_a_view_line_verifies_by_taking_the_hashes_out_and_making_it_canonical_again() -> None:
    prev_hash = NO_HASH
    for sealed in CHAIN:
        line = view_line(sealed)
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        document = json.loads(line)
        assert document.pop("prevHash") == prev_hash
        prev_hash = document.pop("hash")
        assert canonical(document) == sealed.payload
        assert link(sealed.prev_hash, canonical(document)) == prev_hash


def test_a_queued_run_and_its_digest_free_events_come_back_too() -> None:
    story = Story(shell(gate=True), queued=True)
    story.when(cmd.Admit, start_digest=digest_of(None, 1))
    story.drive()
    story.when(cmd.Reject, reason="no", actor=ALICE)
    story.when(cmd.Retry)
    story.when(cmd.Cancel)
    assert replay(story.procedure, [decode_event(encode_event(event)) for event in story.events]) == story.run
    assert story.events[1].actor == SYSTEM


def test_a_payload_that_was_changed_makes_one_line_of_the_view_all_the_same():
    line = view_line(SealedEvent(1, b'{"seq":\n1,"b":[1,\n2]}', "0" * 64, "1" * 64))
    assert line == b'{"b":[1,2],"hash":"%s","prevHash":"%s","seq":1}\n' % (b"1" * 64, b"0" * 64)
