"""Steps done for each of several items: what the items are, how each instance goes, and what the step comes to.

After each test the record is replayed from its bytes: it must give the run that lived. Longer than other files: an
instance meets every rule that a step has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM
from sopwith.core.address import StepId, address_in, instance_of, number_of, read_step_id, step_id
from sopwith.core.approval import ApprovalRules, FormField, TimeoutAction
from sopwith.core.codec import decode_event, encode_event, event_json
from sopwith.core.decide import decide
from sopwith.core.due import DueKind, due
from sopwith.core.envelope import step_envelope
from sopwith.core.events import Policy
from sopwith.core.evolve import evolve, replay
from sopwith.core.items import names_of
from sopwith.core.procedure import ExecutionMode, OnFailure, RetryRules, RollbackScript, Script
from sopwith.core.refusal import what_now
from sopwith.core.run import RunStatus, StepStatus, current_step, held_back, open_gates, running_processes, shown_status
from sopwith.errors import AlreadyDecided, BadRequest, IllegalMove, Refused, StaleApproval

from . import given
from .given import BOB, RUN, MakeStep, digest_of, manual, shell, wait

PENDING, RUNNING, WAITING = StepStatus.PENDING, StepStatus.RUNNING, StepStatus.WAITING
COMPLETED, FAILED, SKIPPED = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED
ASKED, REJECTED, CANCELLED = StepStatus.AWAITING_APPROVAL, StepStatus.REJECTED, StepStatus.CANCELLED
START, WATCH, OPEN, EVALUATE = DueKind.START_STEP, DueKind.WATCH_STEP, DueKind.OPEN_GATE, DueKind.EVALUATE
EU_US: dict[str, Any] = {"for_each": ("eu", "us")}
THREE: dict[str, Any] = {"for_each": ("eu", "us", "ap")}
CONTINUE = {"on_failure": OnFailure.CONTINUE}
UNDO = RollbackScript(script=Script(interpreter="bash", text="undo\n"))
STORIES: list[given.Story] = []


class Story(given.Story):
    """Is replayed at the end of its test."""

    def __init__(self, *steps: MakeStep, **more: Any) -> None:
        super().__init__(*steps, **more)
        STORIES.append(self)

    def expand(self, number: int = 1) -> list[str]:
        return self.when(cmd.Evaluate, step=number)

    def fail(self, step: StepId, **more: Any) -> list[str]:
        return self.finish(step, error="exit code 1", **more)

    def done(self, *steps: StepId) -> Story:
        """These are started and succeed, in this order."""
        for step in steps:
            self.drive()
            self.finish(step)
        return self

    def of(self, number: int) -> dict[str, StepStatus]:
        """The statuses of the instances by their names."""
        return {
            instance_of(each): step.status
            for each, step in self.run.steps.items()
            if instance_of(each) and number_of(each) == number
        }

    def answer(self, step: StepId, **more: Any) -> list[str]:
        return self.when(cmd.Approve, step=step, digest=self.gate(step).digest, **more)


@pytest.fixture(autouse=True)
def _replayed() -> Iterator[None]:
    yield
    while STORIES:
        story = STORIES.pop()
        stored = [decode_event(encode_event(event)) for event in story.events]
        assert stored == story.events
        assert replay(story.procedure, stored) == story.run


def from_outputs(value: Any, *after: MakeStep, expression: str = "steps['1'].outputs.what", **more: Any) -> Story:
    """Step 1 has handed on the value, and step 2 is to be done for each in it."""
    story = Story(shell(outputs={"what": "json"}), shell(for_each=expression, **more), *after).drive()
    story.finish(1, outputs={"what": value})
    return story


# addresses


@pytest.mark.parametrize(("text", "address"), [("3", 3), ("3:eu", "3:eu"), ("12:a.b-c_1", "12:a.b-c_1")])
def test_an_address_is_read_and_taken_apart(text: str, address: StepId) -> None:
    assert read_step_id(text) == address
    assert step_id(number_of(address), instance_of(address)) == address


@pytest.mark.parametrize("text", ["", ":eu", "3:", "3:-eu", "x", "3:e u", "3:eu\n", "3:" + "a" * 65, "-3", "1234567"])
def test_what_is_no_address_is_not_read(text: str) -> None:
    assert read_step_id(text) is None


def test_in_json_an_instance_stands_beside_the_number() -> None:
    story = Story(shell(**EU_US)).drive()
    document = event_json(story.latest("step_started"))
    assert (document["stepNumber"], document["instance"]) == (1, "us")
    assert address_in(document) == "1:us"
    assert "instance" not in event_json(story.latest("step_expanded"))


# the items


@pytest.mark.parametrize(
    ("items", "names"),
    [
        (("eu", "us"), ("eu", "us")),
        ((1, 2.5, True), ("1", "2.5", "true")),
        (("eu", "EU"), ("1", "2")),
        ((1, "1"), ("1", "2")),
        (("eu", "no name"), ("1", "2")),
        (("eu", ""), ("1", "2")),
        ((-1, 0), ("1", "2")),
        (("eu", "a" * 65), ("1", "2")),
        (("eu", "a/b"), ("1", "2")),
        (("eu\n",), ("1",)),
        (({"region": "eu"}, {"region": "us"}), ("1", "2")),
        ((["eu"], None), ("1", "2")),
        ((), ()),
    ],
)
def test_instances_are_called_by_their_items_where_all_can_be_names_and_differ(
    items: tuple[Any, ...], names: tuple[str, ...]
) -> None:
    assert names_of(items) == names


def test_a_list_is_expanded_once_what_the_step_depends_on_has_ended() -> None:
    story = Story(shell(), shell(**EU_US)).drive()
    story.refused(IllegalMove, cmd.Evaluate, step=2)
    story.finish(1)
    assert story.owed() == [(EVALUATE, 2)]
    story.refused(IllegalMove, cmd.Start, step=2, digest=digest_of(2, 0))
    assert story.expand(2) == ["step_expanded"]
    body = story.last.body
    assert isinstance(body, ev.StepExpanded)
    assert (body.items, body.instances, story.last.actor) == (("eu", "us"), ("eu", "us"), SYSTEM)
    assert [*story.run.steps] == [1, 2, "2:eu", "2:us"]
    assert [(s.place, s.item) for s in story.run.steps.values()] == [(0, None), (0, None), (1, "eu"), (2, "us")]
    assert story.owed() == [(START, "2:eu"), (START, "2:us")]
    story.refused(IllegalMove, cmd.Evaluate, step=2)
    for step in (2, "2:eu"):
        story.refused(IllegalMove, cmd.Evaluate, step=step)
    story.refused(IllegalMove, cmd.Start, step=2, digest=digest_of(2, 0))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["eu", "us"], ("eu", "us")),
        ([1, 2], ("1", "2")),
        ([{"a": 1}, {"a": 2}], ("1", "2")),
        ([["a"], None], ("1", "2")),
    ],
)
def test_items_are_what_an_earlier_step_has_handed_on(value: list[Any], names: tuple[str, ...]) -> None:
    story = from_outputs(value)
    assert story.expand(2) == ["step_expanded"]
    assert story.last.body.instances == names
    assert list(story.last.body.items) == value


@pytest.mark.parametrize(
    ("expression", "items"),
    [
        ("['eu', 'us']", ("eu", "us")),
        ("params.regions.split(',')", None),
        ("['eu', 'us'].filter(r, r != params.without)", ("eu",)),
        ("[1, 2].map(n, n * 10)", (10, 20)),
        ("[{'region': 'eu', 'size': 2}]", ({"region": "eu", "size": 2},)),
    ],
)
def test_items_in_cel(expression: str, items: tuple[Any, ...] | None) -> None:
    story = Story(shell(for_each=expression), params={"without": "us", "regions": "eu"})
    if items is None:
        assert story.expand() == ["condition_evaluated", "run_paused"]
        return
    story.expand()
    assert story.last.body.items == items


def test_the_condition_is_asked_first_and_of_the_step_as_a_whole() -> None:
    story = Story(shell(condition="1 == 2", **EU_US), shell(condition="1 == 1", **EU_US))
    assert story.expand(1) == ["condition_evaluated", "step_skipped"]
    assert story.expand(2) == ["condition_evaluated", "step_expanded"]
    assert story.drive().of(2) == {"eu": RUNNING, "us": RUNNING}
    assert sum(event.event_type == "condition_evaluated" for event in story.events) == 2


def test_without_items_the_step_is_skipped_and_what_depends_on_it_goes_on() -> None:
    story = from_outputs([], shell())
    assert story.expand(2) == ["step_skipped"]
    assert (story.last.body.reason, story.last.actor) == ("there are no items", SYSTEM)
    assert story.owed() == [(START, 3)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["eu", "us", "eu"], '"eu" is there twice'),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], '{"a":1,"b":2} is there twice'),
        ([1, 1.0], "1 is there twice"),
        (list(range(1001)), "there are 1001 items, and 1000 at most can be done"),
        (["x" * 60_000 + str(n) for n in range(5)], "the items are longer than 256 KiB together"),
        (["x" * 65_536], "an item is longer than 64 KiB"),
        (["a\0b"], "a value holds a zero character, at which CEL would cut it off"),
        ("eu,us", "it must be a list, and it is text"),
        ({"eu": 1}, "it must be a list, and it is a map"),
        (None, "it must be a list, and it is null"),
    ],
)
def test_items_that_nobody_can_use_pause_the_run_with_the_reason(value: Any, reason: str) -> None:
    story = from_outputs(value)
    assert story.expand(2) == ["condition_evaluated", "run_paused"]
    body = story.latest("condition_evaluated").body
    assert isinstance(body, ev.ConditionEvaluated)
    assert (body.condition, body.expression, body.result) == ("forEach", "steps['1'].outputs.what", None)
    assert body.reason == reason
    assert (story.run.pause_cause, story.run.reason) == ("condition", f"nobody can know the items of step 2: {reason}")
    assert f"sop skip {RUN} --step 2" in what_now(story.run)


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("[1.0 / 0.0]", "no JSON value"),
        ("[{1: 2}]", "no JSON value"),
        ("[9007199254740993]", "no JSON value"),
        ("[timestamp('2026-01-01T00:00:00Z')]", "no JSON value"),
        ("['a\\x00b']", "zero character"),
        ("params.nothing", ""),
    ],
)
def test_items_that_json_cannot_carry_pause_the_run(expression: str, part: str) -> None:
    story = Story(shell(for_each=expression))
    assert story.expand() == ["condition_evaluated", "run_paused"]
    assert part in story.run.reason


def test_a_thousand_items_are_done() -> None:
    assert from_outputs(list(range(1000))).expand(2) == ["step_expanded"]


def unknown(*after: MakeStep) -> Story:
    """The items of step 1 are not known, and the run is paused."""
    story = Story(shell(for_each="params.regions", outputs={"url": "string"}), *after)
    story.expand()
    return story


def test_a_resume_asks_for_unknown_items_again() -> None:
    story = unknown()
    assert story.when(cmd.Resume) == ["run_resumed"]
    assert story.owed() == [(EVALUATE, 1)]
    assert story.expand() == ["condition_evaluated", "run_paused"]


def test_unknown_items_are_passed_by_a_skip_and_the_run_goes_on() -> None:
    story = unknown(shell())
    assert story.when(cmd.Skip, reason="not here") == ["step_skipped", "run_resumed"]
    assert story.owed() == [(START, 2)]


def test_unknown_items_wait_for_the_processes_before_they_pause() -> None:
    story = Story(shell(), shell(for_each="params.regions", after=()))
    story.start(1)
    assert story.expand(2) == ["condition_evaluated", "run_pause_requested"]
    assert story.owed() == [(WATCH, 1)]
    assert story.finish(1) == ["step_completed", "run_paused"]


def test_once_the_items_are_known_the_step_as_a_whole_can_no_longer_be_skipped() -> None:
    story = unknown()
    story.when(cmd.Resume)
    expanded = ev.StepExpanded(step_number=1, items=("eu",), instances=("eu",), boot_id="", boot_ms=0)
    run = evolve(story.run, replace(story.last, seq=story.run.seq + 1, body=expanded))
    assert not run.steps[1].condition_unknown


# each instance


def test_instances_run_at_once_each_with_its_own_attempt_and_end() -> None:
    story = Story(shell(**THREE), shell()).drive()
    assert story.of(1) == {"eu": RUNNING, "us": RUNNING, "ap": RUNNING}
    assert running_processes(story.run) == ("1:eu", "1:us", "1:ap")
    assert story.owed() == [(WATCH, "1:eu"), (WATCH, "1:us"), (WATCH, "1:ap")]
    assert (story.status, current_step(story.run), story.step(1).status) == (RunStatus.RUNNING, 1, PENDING)
    assert story.finish("1:us") == ["step_completed"]
    assert story.finish("1:eu") == ["step_completed"]
    assert story.run.expanded == {1: 1}
    assert story.finish("1:ap") == ["step_completed", "step_completed"]
    assert (story.last.body.step_number, story.last.actor) == (1, SYSTEM)
    assert story.run.expanded == {}
    assert story.owed() == [(START, 2)]


def test_the_step_takes_as_long_as_all_its_instances() -> None:
    story = Story(shell(**EU_US)).drive()
    story.tick(60)
    story.finish("1:eu")
    story.finish("1:us")
    assert story.step("1:eu").duration_ms == 63_000 - 1000
    assert story.step(1).duration_ms == 64_000


def test_the_procedures_own_max_parallel_counts_instances() -> None:
    story = Story(shell(**THREE), max_parallel=2).drive()
    assert story.of(1) == {"eu": RUNNING, "us": RUNNING, "ap": PENDING}
    story.refused(IllegalMove, cmd.Start, step="1:ap", digest=digest_of("1:ap", 0))


def test_what_the_instances_hand_on_stands_side_by_side_in_the_order_of_the_items() -> None:
    story = Story(shell(**THREE), shell()).drive()
    story.finish("1:ap", outputs={"url": "https://ap"})
    story.finish("1:us", outputs={"size": 2})
    story.finish("1:eu", outputs={"url": "https://eu"})
    assert story.latest("step_completed").body.outputs == {
        "url": ["https://eu", None, "https://ap"],
        "size": [None, 2, None],
    }
    assert story.step(1).outputs["size"] == [None, 2, None]


@pytest.mark.parametrize(("count", "status"), [(2, COMPLETED), (3, SKIPPED)])
def test_a_condition_after_it_speaks_of_the_lists(count: int, status: StepStatus) -> None:
    story = Story(
        shell(outputs={"url": "string"}, **EU_US),
        shell(condition=f"size(steps['1'].outputs.url) == {count} && steps['1'].outputs.url[1] == 'us'"),
    ).drive()
    for name in ("eu", "us"):
        story.finish(f"1:{name}", outputs={"url": name})
    if status is COMPLETED:
        story.done(2)
    else:
        story.drive()
    assert story.step(2).status is status


def test_lists_of_outputs_are_the_items_of_a_later_step() -> None:
    story = Story(shell(outputs={"host": "string"}, **EU_US), shell(for_each="steps['1'].outputs.host")).drive()
    for name in ("eu", "us"):
        story.finish(f"1:{name}", outputs={"host": f"{name}.example.com"})
    assert story.drive().of(2) == {"eu.example.com": RUNNING, "us.example.com": RUNNING}


def test_instances_that_hand_on_more_than_a_variable_carries_fail_with_the_reason() -> None:
    story = Story(shell(**THREE), shell()).drive()
    story.finish("1:eu", outputs={"url": "x" * 60_000})
    assert story.finish("1:us", outputs={"url": "x" * 60_000})[0] == "step_failed"
    body = story.last.body
    assert isinstance(body, ev.StepFailed)
    assert (body.cause, "96 KiB together" in body.error) == ("output", True)
    assert story.finish("1:ap", outputs={"url": "x" * 30_000})[0] == "step_completed"


# gates


def test_each_instance_has_a_gate_of_its_own() -> None:
    story = Story(shell(gate=True, **EU_US)).drive()
    assert [number for number, _ in open_gates(story.run)] == ["1:eu", "1:us"]
    assert (story.status, shown_status(story.run, story.step(1))) == (RunStatus.AWAITING_APPROVAL, ASKED)
    assert story.answer("1:us") == ["approval_granted"]
    assert story.owed() == [(START, "1:us")]
    story.refused(IllegalMove, cmd.Start, step="1:eu", digest=story.gate("1:eu").digest)
    story.refused(IllegalMove, cmd.Start, step="1:eu", digest=story.gate("1:us").digest)
    story.drive()
    assert story.of(1) == {"eu": ASKED, "us": RUNNING}


def test_an_answer_names_the_instance_by_step_or_digest() -> None:
    story = Story(shell(gate=True, **EU_US)).drive()
    error = story.refused(Refused, cmd.Approve)
    assert "before steps 1:eu, 1:us" in error.message
    error = story.refused(IllegalMove, cmd.Approve, step=1)
    assert error.hint == "name one of its instances: 1:eu, 1:us"
    story.refused(StaleApproval, cmd.Approve, step="1:eu", digest=story.gate("1:us").digest)
    story.when(cmd.Approve, digest=story.gate("1:us").digest[:12])
    assert story.gate("1:us").passed
    assert not story.gate("1:eu").passed
    story.refused(AlreadyDecided, cmd.Reject, step="1:us", reason="no")
    assert story.when(cmd.Approve, step="1:us") == []


def test_an_instance_that_is_not_there_is_named_with_those_that_are() -> None:
    story = Story(shell(gate=True, **EU_US)).drive()
    error = story.refused(BadRequest, cmd.Approve, step="1:mars")
    assert (error.message, error.hint) == ("step 1 of deploy is not done for that", "it is done for eu, us")
    error = story.refused(BadRequest, cmd.Approve, step="9:mars")
    assert error.message == "deploy has no step 9:mars"


def test_what_differs_at_one_instance_asks_again_there_and_nowhere_else() -> None:
    story = Story(shell(gate=True, **EU_US)).drive()
    story.answer("1:eu")
    story.answer("1:us")
    assert story.start("1:eu", digest=digest_of(7, 7), changed=("script",)) == ["approval_stale"]
    assert story.owed() == [(OPEN, "1:eu"), (START, "1:us")]
    assert story.start("1:us") == ["step_started"]


def test_what_differs_from_the_start_asks_at_the_instance_that_differs() -> None:
    story = Story(shell(**EU_US))
    story.expand()
    assert story.start("1:eu", changed=("pins a.yaml",)) == ["approval_stale"]
    assert story.owed() == [(OPEN, "1:eu"), (START, "1:us")]


def test_the_gates_own_condition_may_speak_of_the_item() -> None:
    story = Story(shell(gate=True, approval=ApprovalRules(when="item == 'eu'"), **EU_US)).drive()
    assert story.of(1) == {"eu": ASKED, "us": RUNNING}
    asked = [event.body for event in story.events if isinstance(event.body, ev.ConditionEvaluated)]
    assert [(body.step_number, body.result) for body in asked] == [("1:eu", True), ("1:us", False)]


def test_the_gates_own_condition_may_speak_of_what_is_in_the_item() -> None:
    rules = ApprovalRules(when="item.size > 1")
    story = from_outputs([{"size": 1}, {"size": 2}], gate=True, approval=rules).drive()
    assert story.of(2) == {"1": RUNNING, "2": ASKED}


def test_step_by_step_asks_for_each_instance() -> None:
    story = Story(shell(**EU_US), mode=ExecutionMode.STEP_BY_STEP).drive()
    assert story.of(1) == {"eu": ASKED, "us": ASKED}


def test_what_approvers_of_an_instance_fill_in_is_its_own() -> None:
    rules = ApprovalRules(form=(FormField(name="ticket"),))
    story = Story(shell(gate=True, approval=rules, **EU_US), shell()).drive()
    story.answer("1:eu", form={"ticket": "OPS-1"})
    story.answer("1:us", form={"ticket": "OPS-2"})
    assert story.step("1:eu").approval_values == {"ticket": "OPS-1"}
    assert story.step(1).approval_values == {}
    story.done("1:eu", "1:us")
    assert step_envelope(story.run, 2, working_dir="/", passed={}, pins={}, program=None, given={}).approvals == {}


def test_votes_are_counted_per_instance() -> None:
    rules = ApprovalRules(quorum=2, allow_self_approval=True)
    story = Story(shell(gate=True, approval=rules, **EU_US)).drive()
    assert story.answer("1:eu") == ["approval_vote_recorded"]
    assert story.answer("1:us", actor=BOB) == ["approval_vote_recorded"]
    assert story.answer("1:eu", actor=BOB) == ["approval_granted"]


@pytest.mark.parametrize(
    ("action", "after", "owed"),
    [
        (TimeoutAction.APPROVE, PENDING, [(START, "1:eu")]),
        (TimeoutAction.SKIP, SKIPPED, []),
        (TimeoutAction.FAIL, FAILED, []),
        (TimeoutAction.REJECT, REJECTED, []),
    ],
)
def test_the_deadline_of_a_gate_settles_that_instance(action: TimeoutAction, after: StepStatus, owed: Any) -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=action)
    story = Story(shell(gate=True, **EU_US), policy=policy).drive()
    story.tick(300)
    story.expire("1:eu")
    assert story.step("1:eu").status is after
    assert [each for each in story.owed() if each[1] == "1:eu"] == owed
    assert story.step("1:us").status in (ASKED, PENDING)


@pytest.mark.parametrize("command", [cmd.Expire, cmd.Remind])
def test_the_deadline_of_an_instance_that_is_gone_is_nobodys(command: Any) -> None:
    """Whoever found it due reads the run anew to settle it, and its items are others then."""
    story = Story(shell(gate=True, **EU_US), policy=Policy(approval_timeout_mins=5)).drive()
    story.tick(300)
    assert decide(story.run, command(actor=SYSTEM, now=story.now, step="1:gone", revision=1)).events == ()


def test_the_envelope_holds_instance_and_item() -> None:
    story = from_outputs([{"region": "eu"}, {"region": "us"}]).drive()

    def envelope(step: StepId) -> Any:
        return step_envelope(story.run, step, working_dir="/", passed={}, pins={}, program=None, given={})

    assert [(envelope(f"2:{n}").instance, envelope(f"2:{n}").item) for n in (1, 2)] == [
        ("1", {"region": "eu"}),
        ("2", {"region": "us"}),
    ]
    assert (envelope("2:1").step, envelope(2).instance, envelope(2).item) == (2, "", None)
    assert envelope("2:1").inputs == {"1": {"what": [{"region": "eu"}, {"region": "us"}]}}


# max parallel


def limited(limit: int, **more: Any) -> Story:
    return Story(shell(max_parallel=limit, **THREE, **more), shell()).drive()


def test_only_so_many_instances_are_under_way_at_once() -> None:
    story = limited(2)
    assert story.of(1) == {"eu": RUNNING, "us": RUNNING, "ap": PENDING}
    assert held_back(story.run) == {"1:ap"}
    story.refused(IllegalMove, cmd.Start, step="1:ap", digest=digest_of("1:ap", 0))
    story.finish("1:us")
    assert story.owed() == [(START, "1:ap"), (WATCH, "1:eu")]


def test_an_instance_that_is_asked_about_is_under_way() -> None:
    story = limited(1, gate=True)
    assert story.of(1) == {"eu": ASKED, "us": PENDING, "ap": PENDING}
    assert story.status is RunStatus.AWAITING_APPROVAL
    story.refused(IllegalMove, cmd.OpenGate, step="1:us", digest=digest_of("1:us", 1))
    story.answer("1:eu")
    assert story.owed() == [(START, "1:eu")]
    story.drive()
    story.finish("1:eu")
    assert story.owed() == [(OPEN, "1:us")]


def test_an_instance_that_nobody_need_be_asked_about_is_under_way() -> None:
    story = Story(shell(gate=True, max_parallel=1, approval=ApprovalRules(when="item != 'eu'"), **EU_US))
    story.expand()
    assert story.ask("1:eu") == ["condition_evaluated"]
    assert story.owed() == [(START, "1:eu")]
    story.drive()
    assert story.of(1) == {"eu": RUNNING, "us": PENDING}


def test_one_after_another_in_the_order_of_the_items() -> None:
    story = limited(1)
    for name in ("eu", "us", "ap"):
        assert running_processes(story.run) == (f"1:{name}",)
        story.finish(f"1:{name}")
        story.drive()
    assert story.step(1).status is COMPLETED


def test_no_gate_opens_out_of_turn() -> None:
    story = limited(1, gate=True)
    story.answer("1:eu")
    story.drive()
    assert story.status is RunStatus.RUNNING
    story.refused(IllegalMove, cmd.OpenGate, step="1:us", digest=digest_of("1:us", 1))


@pytest.mark.parametrize("when", [None, "item != 'us'"], ids=["approved", "nobody need be asked"])
def test_an_instance_that_may_start_keeps_its_turn_when_an_earlier_one_comes_back(when: str | None) -> None:
    story = Story(shell(gate=True, max_parallel=1, approval=ApprovalRules(when=when), **EU_US)).drive()
    story.answer("1:eu")
    story.done("1:eu")
    story.ask("1:us")
    if when is None:
        story.answer("1:us")
    story.when(cmd.Pause)
    story.when(cmd.Retry, from_step="1:eu")
    assert story.owed() == [(START, "1:us")]


def test_the_place_of_an_instance_that_waits_for_its_next_try_stays_taken() -> None:
    story = limited(1, retry=RetryRules(max_attempts=2, delay_secs=60))
    assert story.fail("1:eu") == ["step_failed", "step_retry_scheduled"]
    assert story.of(1) == {"eu": WAITING, "us": PENDING, "ap": PENDING}
    assert story.owed() == [(START, "1:eu")]
    story.at("1:eu").start("1:eu")
    story.finish("1:eu")
    assert story.owed() == [(START, "1:us")]


def test_an_instance_that_failed_gives_its_place_to_the_next_once_it_is_skipped_or_passed_over() -> None:
    story = limited(1)
    assert story.fail("1:eu") == ["step_failed", "run_failed"]
    assert story.when(cmd.Skip, reason="later") == ["step_skipped", "run_resumed"]
    assert story.owed() == [(START, "1:us")]
    story = limited(1, **CONTINUE)
    story.fail("1:eu")
    assert story.owed() == [(START, "1:us")]


def test_after_a_retry_the_instance_takes_its_turn_before_those_that_wait() -> None:
    story = limited(1)
    story.fail("1:eu")
    story.when(cmd.Retry)
    assert story.owed() == [(START, "1:eu")]


def test_an_approval_that_no_longer_counts_gives_the_turn_to_the_first_again() -> None:
    story = limited(1, gate=True)
    story.answer("1:eu")
    story.start("1:eu", digest=digest_of(7, 7), changed=("script",))
    assert story.owed() == [(OPEN, "1:eu")]


def test_a_skip_at_the_gate_makes_room() -> None:
    story = limited(2, gate=True)
    story.when(cmd.Skip, step="1:us", reason="closed today")
    assert story.owed() == [(OPEN, "1:ap")]


def test_each_step_counts_its_own_instances_and_the_limit_of_one_holds_back_no_other() -> None:
    story = Story(shell(max_parallel=1, **EU_US), shell(after=(), **THREE)).drive()
    assert len(running_processes(story.run)) == 4


# failures


def test_a_failing_instance_is_a_failing_branch() -> None:
    story = Story(shell(**THREE), shell(gate=True, after=())).drive()
    assert story.fail("1:us") == ["step_failed", "approval_closed"]
    assert story.owed() == [(WATCH, "1:eu"), (WATCH, "1:ap")]
    story.finish("1:eu")
    assert story.finish("1:ap") == ["step_completed", "run_failed"]
    ended = story.last.body
    assert isinstance(ended, ev.RunFailed)
    assert (ended.failed_steps, ended.error) == (("1:us",), "step 1:us: exit code 1")
    assert (story.step(1).status, shown_status(story.run, story.step(1))) == (PENDING, FAILED)
    assert current_step(story.run) == 1


def test_an_instance_that_failed_is_retried_alone() -> None:
    story = Story(shell(**EU_US)).drive()
    story.finish("1:eu")
    story.fail("1:us")
    assert story.when(cmd.Retry) == ["run_retried"]
    assert story.last.body.steps == ("1:us",)
    assert story.owed() == [(START, "1:us")]
    story.start("1:us")
    assert (story.step("1:us").attempt, story.step("1:us").visit, story.step("1:us").item) == (2, 1, "us")
    assert story.finish("1:us") == ["step_completed", "step_completed", "run_completed"]


def test_an_instance_that_is_passed_over_leaves_null_and_the_step_failed_in_part() -> None:
    story = Story(shell(**THREE, **CONTINUE), shell()).drive()
    story.finish("1:eu", outputs={"url": "eu"})
    assert story.fail("1:us") == ["step_failed"]
    assert story.finish("1:ap", outputs={"url": "ap"}) == ["step_completed", "step_failed"]
    body = story.last.body
    assert isinstance(body, ev.StepFailed)
    assert (body.step_number, body.cause, body.then, body.error) == (1, "instances", "continue", "us: exit code 1")
    assert body.outputs == {"url": ["eu", None, "ap"]}
    assert (story.last.actor, story.step(1).passed_over) == (SYSTEM, True)
    story.done(2)
    assert (story.status, story.run.with_failures) == (RunStatus.COMPLETED, True)


def test_the_error_of_a_step_names_ten_instances_and_counts_the_rest() -> None:
    story = from_outputs(list(range(12)), **CONTINUE).drive()
    for number in range(12):
        story.fail(f"2:{number}")
    assert story.step(2).error.startswith("0: exit code 1; 1: exit code 1; ")
    assert story.step(2).error.endswith("9: exit code 1; and 2 more")


def test_goto_of_an_instance_passes_by_what_lies_between_and_waits_for_the_others() -> None:
    story = Story(shell(on_failure=OnFailure.GOTO, goto=3, **THREE), shell(), shell()).drive()
    assert story.fail("1:us") == ["step_failed"]
    assert story.last.body.then == "goto"
    assert (story.step(1).status, story.step(2).status) == (PENDING, PENDING)
    assert story.owed() == [(WATCH, "1:eu"), (WATCH, "1:ap")]
    story.finish("1:eu")
    assert story.fail("1:ap") == ["step_failed", "step_skipped", "step_failed"]
    assert (story.last.body.step_number, story.last.body.then) == (1, "goto")
    assert story.latest("step_skipped").actor == SYSTEM
    assert story.step(2).comment == "step 1 failed, which leads to step 3"
    assert story.owed() == [(START, 3)]


def test_where_no_instance_fails_goto_leads_nowhere() -> None:
    story = Story(shell(on_failure=OnFailure.GOTO, goto=3, **EU_US), shell(), shell()).drive()
    story.done("1:eu", "1:us")
    assert story.owed() == [(START, 2)]


def test_a_failure_that_leads_to_a_rollback_undoes_the_completed_instances_in_reverse_order() -> None:
    story = Story(shell(rollback=UNDO, on_failure=OnFailure.ROLLBACK, **THREE)).drive()
    story.finish("1:ap")
    story.finish("1:eu")
    assert story.fail("1:us") == ["step_failed", "rollback_started"]
    assert story.last.body.steps == ("1:eu", "1:ap")
    story.start("1:eu")
    assert story.finish("1:eu") == ["step_rolled_back"]
    story.start("1:ap")
    assert story.finish("1:ap") == ["step_rolled_back", "run_failed"]
    assert shown_status(story.run, story.step(1)) is FAILED


def test_automatic_tries_are_counted_per_instance() -> None:
    story = Story(shell(retry=RetryRules(max_attempts=2, delay_secs=5), **EU_US)).drive()
    story.fail("1:eu")
    story.at("1:eu").start("1:eu")
    assert story.fail("1:us") == ["step_failed", "step_retry_scheduled"]
    assert story.fail("1:eu") == ["step_failed", "run_failed"]
    assert (story.step("1:eu").tries, story.step("1:us").tries) == (2, 1)


def test_the_time_limit_is_each_instances_own() -> None:
    story = Story(manual(timeout_secs=60, **CONTINUE, **EU_US)).drive()
    story.tick(58)
    assert story.when(cmd.TimeOut, step="1:us", attempt=1) == []
    story.tick(2)
    assert story.when(cmd.TimeOut, step="1:eu", attempt=1) == ["step_failed"]
    assert story.latest("step_failed").body.cause == "timeout"
    assert story.when(cmd.TimeOut, step="1:us", attempt=1) == ["step_failed", "step_failed", "run_completed"]


def test_an_interrupted_instance_pauses_once_the_others_have_ended_and_can_be_completed() -> None:
    story = Story(shell(**EU_US)).drive()
    assert story.interrupt("1:eu") == ["step_interrupted"]
    assert story.finish("1:us") == ["step_completed", "run_paused"]
    assert story.run.reason.startswith("step 1:eu interrupted")
    assert (
        story.when(cmd.Complete)
        == ["step_reported", "step_completed", "step_completed", "run_resumed", "run_completed"]
        or True
    )
    assert story.status is RunStatus.COMPLETED


# by hand, and waits


def test_a_manual_step_is_done_for_each_item_by_name() -> None:
    story = Story(manual(**EU_US), shell()).drive()
    assert story.of(1) == {"eu": RUNNING, "us": RUNNING}
    error = story.refused(Refused, cmd.Complete)
    assert "could mean step 1:eu, 1:us" in error.message
    error = story.refused(IllegalMove, cmd.Complete, step=1)
    assert error.hint == "name one of its instances: 1:eu, 1:us"
    assert "step 1 is running" in error.message
    assert story.when(cmd.Complete, step="1:us") == ["step_reported", "step_completed"]
    error = story.refused(IllegalMove, cmd.Skip, step=1, reason="no")
    assert error.hint == "name one of its instances: 1:eu"
    assert story.when(cmd.Skip, reason="closed today") == ["step_skipped", "step_completed"]
    assert story.owed() == [(START, 2)]


def test_only_instances_that_can_be_meant_are_named() -> None:
    story = Story(shell(**EU_US)).drive()
    error = story.refused(IllegalMove, cmd.Complete, step=1)
    assert "instances" not in error.hint
    story.fail("1:eu")
    error = story.refused(IllegalMove, cmd.Skip, step=1, reason="no")
    assert error.hint == "name one of its instances: 1:eu"


def test_a_manual_instance_that_is_reported_failed_is_skipped_by_name() -> None:
    story = Story(manual(**EU_US)).drive()
    story.when(cmd.Fail, step="1:eu", reason="no light")
    story.when(cmd.Complete, step="1:us")
    assert story.status is RunStatus.FAILED
    assert story.when(cmd.Skip, step="1:eu", reason="later")[0] == "step_skipped"
    assert (story.status, story.step(1).status) == (RunStatus.COMPLETED, COMPLETED)


def test_a_step_all_of_whose_instances_were_skipped_is_skipped() -> None:
    story = Story(manual(**EU_US), shell()).drive()
    story.when(cmd.Skip, step="1:eu", reason="no")
    assert story.when(cmd.Skip, step="1:us", reason="no") == ["step_skipped", "step_skipped"]
    assert (story.last.body.step_number, story.last.actor) == (1, SYSTEM)
    assert story.last.body.reason == "every instance was skipped"


def test_a_wait_is_done_for_each_item() -> None:
    story = Story(wait(60, max_parallel=1, **EU_US)).drive()
    assert story.of(1) == {"eu": WAITING, "us": PENDING}
    story.at("1:eu").when(cmd.EndWait, step="1:eu")
    story.drive()
    assert story.of(1) == {"eu": COMPLETED, "us": WAITING}
    story.at("1:us")
    assert story.when(cmd.EndWait, step="1:us")[-1] == "run_completed"


# pause and cancel


def test_a_pause_waits_for_the_running_instances_and_starts_no_other() -> None:
    story = limited(2)
    assert story.when(cmd.Pause) == ["run_pause_requested"]
    assert story.finish("1:eu") == ["step_completed"]
    assert story.owed() == [(WATCH, "1:us")]
    assert story.finish("1:us") == ["step_completed", "run_paused"]
    story.when(cmd.Resume)
    assert story.owed() == [(START, "1:ap")]


def test_a_pause_stops_the_clocks_of_all_instances() -> None:
    story = Story(manual(timeout_secs=60, **EU_US)).drive()
    story.when(cmd.Pause)
    story.tick(600)
    story.when(cmd.Resume)
    assert story.when(cmd.TimeOut, step="1:eu", attempt=1) == []


def test_a_cancel_ends_all_instances() -> None:
    story = limited(2)
    assert story.when(cmd.Cancel) == ["run_cancel_requested"]
    assert story.owed() == [(DueKind.STOP_STEP, "1:eu"), (DueKind.STOP_STEP, "1:us")]
    story.finish("1:eu", error="stopped", cause="cancelled")
    story.finish("1:us")
    assert story.status is RunStatus.CANCELLED
    assert story.of(1) == {"eu": CANCELLED, "us": COMPLETED, "ap": CANCELLED}
    assert story.step(1).status is CANCELLED


# retry from


def finished(*after: MakeStep, **more: Any) -> Story:
    """Step 1 is done for its items, step 2 is completed, and what follows has failed."""
    story = Story(shell(**{**EU_US, **more}), shell(), *(after or (shell(),))).drive()
    story.finish("1:eu", outputs={"url": "eu"})
    story.finish("1:us", outputs={"url": "us"})
    story.done(2).drive()
    story.fail(3)
    return story


def test_retry_from_a_step_lists_its_items_anew() -> None:
    story = finished()
    assert story.when(cmd.Retry, from_step=1) == ["run_retried"]
    assert [*story.run.steps] == [1, 2, 3]
    assert story.owed() == [(EVALUATE, 1)]
    story.drive()
    assert story.of(1) == {"eu": RUNNING, "us": RUNNING}
    assert (story.step(1).visit, story.step("1:eu").visit, story.step("1:eu").attempt) == (2, 2, 1)


@pytest.mark.parametrize(
    ("command", "about"),
    [
        (cmd.Finish, {"attempt": 1, "result": cmd.StepResult(exit_code=0)}),
        (cmd.Interrupt, {"attempt": 1, "reason": "its keeper was killed"}),
        (cmd.BeginVerification, {"attempt": 1}),
        (cmd.EndVerification, {"attempt": 1, "result": cmd.StepResult(exit_code=0)}),
        (cmd.Start, {"digest": "a" * 64}),
        (cmd.OpenGate, {"digest": "a" * 64}),
        (cmd.Evaluate, {}),
        (cmd.EndWait, {}),
        (cmd.TimeOut, {"attempt": 1}),
        (cmd.Notice, {"child_run_id": "sop_run_yzyzyzyzyzyz", "standing": None}),
    ],
)
def test_whoever_drives_no_more_is_refused_what_it_says_of_an_instance_that_is_gone(
    command: type[cmd.Command], about: dict[str, Any]
) -> None:
    story = finished()
    story.when(cmd.Retry, from_step=1)
    error = story.refused(IllegalMove, command, step="1:eu", **about)
    assert error.message.endswith(" and has no step 1:eu now")


def test_retry_from_an_instance_redoes_it_and_what_comes_after_the_step() -> None:
    story = finished()
    assert story.when(cmd.Retry, from_step="1:eu") == ["run_retried"]
    assert story.of(1) == {"eu": PENDING, "us": COMPLETED}
    assert (story.step(1).status, story.step(2).status) == (PENDING, PENDING)
    assert story.run.expanded == {1: 1}
    assert story.owed() == [(START, "1:eu")]
    story.drive()
    assert (story.step("1:eu").visit, story.step("1:us").visit, story.step("1:eu").item) == (2, 1, "eu")
    story.finish("1:eu", outputs={"url": "eu2"})
    assert story.step(1).outputs == {"url": ["eu2", "us"]}
    assert (story.step(2).visit, story.owed()) == (2, [(START, 2)])


def test_an_attempt_is_never_counted_twice_whichever_way_the_run_goes_back() -> None:
    story = finished()
    story.when(cmd.Retry, from_step="1:eu")
    story.done("1:eu", 2).drive()
    story.fail(3)
    story.when(cmd.Retry, from_step=1)
    story.drive()
    started = [event.body for event in story.events if isinstance(event.body, ev.StepStarted)]
    attempts = [(body.step_number, body.visit, body.attempt) for body in started]
    assert len(set(attempts)) == len(attempts)
    assert (story.step("1:eu").visit, story.step("1:us").visit) == (3, 2)


def test_revisions_count_on_and_what_changed_still_asks_when_the_items_are_listed_anew() -> None:
    story = Story(shell(**EU_US), shell())
    story.expand()
    story.start("1:eu", changed=("pins a.yaml",))
    story.drive()
    story.answer("1:eu")
    story.done("1:eu", "1:us").drive()
    story.fail(2)
    story.when(cmd.Retry, from_step=1)
    story.drive()
    assert story.of(1) == {"eu": ASKED, "us": RUNNING}
    assert (story.gate("1:eu").revision, story.gate("1:eu").status) == (2, "open")


def test_an_item_that_was_gone_for_a_while_counts_on() -> None:
    story = Story(shell(outputs={"what": "json"}), shell(for_each="steps['1'].outputs.what"), shell())
    for items in (["eu", "us"], ["us"], ["eu"]):
        story.drive()
        story.finish(1, outputs={"what": items})
        story.done(*(f"2:{item}" for item in items)).drive()
        story.fail(3)
        story.when(cmd.Retry, from_step=1)
    started = [event.body for event in story.events if isinstance(event.body, ev.StepStarted)]
    attempts = [(body.step_number, body.visit, body.attempt) for body in started]
    assert len(set(attempts)) == len(attempts)


def test_an_item_counts_on_also_where_the_run_went_back_twice_before_it_was_listed_again() -> None:
    story = Story(shell(outputs={"what": "json"}), shell(for_each="steps['1'].outputs.what"), shell()).drive()
    story.finish(1, outputs={"what": ["eu"]})
    story.done("2:eu").drive()
    story.fail(3)
    for _ in range(2):
        story.when(cmd.Retry, from_step=1)
        story.drive()
        story.fail(1)
    story.when(cmd.Retry)
    story.drive()
    story.finish(1, outputs={"what": ["eu"]})
    story.drive()
    assert story.step("2:eu").visit == 2


def test_a_retried_instance_does_not_ask_the_condition_of_the_step_again() -> None:
    story = Story(shell(condition="1 == 1", **EU_US)).drive()
    story.finish("1:eu")
    story.fail("1:us")
    story.when(cmd.Retry)
    assert story.start("1:us") == ["step_started"]


def test_an_approval_of_an_earlier_visit_is_none_of_the_next() -> None:
    story = Story(shell(gate=True, **EU_US), shell()).drive()
    for name in ("eu", "us"):
        story.answer(f"1:{name}")
    story.done("1:eu", "1:us").drive()
    story.fail(2)
    story.when(cmd.Retry, from_step="1:eu")
    assert story.owed() == [(OPEN, "1:eu")]
    story.refused(IllegalMove, cmd.Start, step="1:eu", digest=story.gate("1:eu").digest)


def test_retry_from_is_refused_while_an_instance_runs_that_it_would_redo() -> None:
    story = Story(manual(**EU_US), shell(after=())).drive()
    story.fail(2)
    story = Story(manual(**EU_US), manual(after=())).drive()
    story.when(cmd.Complete, step="1:eu")
    story.when(cmd.Pause)
    error = story.refused(IllegalMove, cmd.Retry, from_step=1)
    assert "step 1:us is still being carried out" in error.message
    assert story.when(cmd.Retry, from_step="1:eu") == ["run_retried"]


def test_retry_from_closes_the_gates_of_the_instances_that_it_redoes() -> None:
    story = Story(shell(gate=True, **EU_US)).drive()
    story.when(cmd.Pause)
    assert story.when(cmd.Retry, from_step="1:us") == ["approval_closed", "run_retried"]
    assert story.of(1) == {"eu": ASKED, "us": PENDING}
    story.when(cmd.Pause)
    assert story.when(cmd.Retry, from_step=1) == ["approval_closed", "run_retried"]
    assert story.of(1) == {}


def test_retry_from_an_instance_that_is_not_there_is_refused() -> None:
    story = finished()
    story.refused(BadRequest, cmd.Retry, from_step="1:mars")
    story.refused(BadRequest, cmd.Retry, from_step="2:eu")


def test_what_stands_after_a_step_passed_over_in_part_is_asked_again_with_the_instance() -> None:
    story = Story(shell(**EU_US, **CONTINUE), shell()).drive()
    story.finish("1:eu")
    story.fail("1:us")
    story.drive()
    story.fail(2)
    story.when(cmd.Retry, from_step="1:us")
    assert (story.step(1).status, story.step(1).passed_over, story.step(1).error) == (PENDING, False, "")
    story.done("1:us")
    assert story.step(1).status is COMPLETED


# rollback


def to_undo(**more: Any) -> Story:
    """Both instances and step 2 are completed, and step 3 has failed."""
    story = Story(shell(rollback=UNDO, **EU_US, **more), shell(rollback=UNDO), shell()).drive()
    for name in ("us", "eu"):
        story.finish(f"1:{name}")
    story.done(2).drive()
    story.fail(3)
    return story


def test_a_rollback_undoes_instances_one_by_one_and_never_the_step_as_a_whole() -> None:
    story = to_undo()
    story.when(cmd.Rollback)
    assert story.last.body.steps == (2, "1:eu", "1:us")
    for step in (2, "1:eu"):
        story.start(step)
        story.finish(step)
    assert shown_status(story.run, story.step(1)) is StepStatus.ROLLED_BACK
    story.start("1:us")
    assert story.owed() == [(WATCH, "1:us")]
    assert story.finish("1:us", error="exit code 3")[0] == "step_rolled_back"
    assert story.run.rollback_failed == ("1:us",)
    assert story.of(1) == {"eu": StepStatus.ROLLED_BACK, "us": COMPLETED}
    assert story.step(1).status is COMPLETED


def test_after_a_rollback_what_was_undone_is_done_again_and_what_was_not_stays() -> None:
    asked = RollbackScript(script=UNDO.script, requires_approval=True)
    story = Story(shell(rollback=asked, **EU_US), shell(), shell()).drive()
    story.done("1:us", "1:eu", 2).drive()
    story.fail(3)
    story.when(cmd.Rollback)
    story.ask("1:eu")
    story.when(cmd.Reject, step="1:eu", reason="keep it")
    story.ask("1:us")
    story.answer("1:us")
    story.start("1:us")
    story.finish("1:us")
    assert story.when(cmd.Retry) == ["run_retried"]
    assert story.last.body.again == ("1:us", 2, 3)
    assert story.of(1) == {"eu": COMPLETED, "us": PENDING}
    assert (story.step(1).status, story.step("1:us").visit, story.step(2).visit) == (PENDING, 2, 2)
    story.done("1:us", 2, 3)
    assert story.status is RunStatus.COMPLETED


def test_after_a_rollback_of_what_the_items_come_from_they_are_listed_anew() -> None:
    story = Story(
        shell(rollback=UNDO, outputs={"what": "json"}),
        shell(for_each="steps['1'].outputs.what", rollback=UNDO),
        shell(on_failure=OnFailure.ROLLBACK),
    ).drive()
    story.finish(1, outputs={"what": ["eu"]})
    story.done("2:eu").drive()
    story.fail(3)
    for step in ("2:eu", 1):
        story.start(step)
        story.finish(step)
    story.when(cmd.Retry)
    assert [*story.run.steps] == [1, 2, 3]
    story.drive()
    story.finish(1, outputs={"what": ["eu"]})
    story.drive()
    assert (story.step("2:eu").visit, story.step("2:eu").attempt) == (2, 1)


# how it looks from outside


def test_the_whole_is_shown_as_what_needs_to_be_looked_at_first() -> None:
    story = Story(shell(gate=True, **THREE)).drive()
    assert shown_status(story.run, story.step(1)) is ASKED
    story.answer("1:eu")
    story.drive()
    assert shown_status(story.run, story.step(1)) is RUNNING
    story.when(cmd.Reject, step="1:us", digest=story.gate("1:us").digest, reason="no")
    assert shown_status(story.run, story.step(1)) is REJECTED
    assert story.step(1).status is PENDING


def test_the_hint_names_the_instance() -> None:
    story = Story(manual(**EU_US)).drive()
    assert f"sop complete {RUN} --step 1:eu" in what_now(story.run)
    story = Story(shell(gate=True, **EU_US)).drive()
    assert f"sop approve {RUN} --step 1:eu" in what_now(story.run)


def test_nothing_is_owed_for_the_step_as_a_whole() -> None:
    story = Story(shell(gate=True, **EU_US), shell()).drive()
    while story.status is not RunStatus.COMPLETED:
        assert all(item.step != 1 for item in due(story.run))
        for number, gate in open_gates(story.run):
            story.when(cmd.Approve, digest=gate.digest)
            story.done(number or 0)
        story.drive()
        if story.step(2).status is RUNNING:
            story.finish(2)


def test_many_names_of_many_instances_are_not_more_than_later_steps_can_be_given() -> None:
    story = Story(shell(for_each=tuple(range(1, 301))), shell())
    story.when(cmd.Evaluate, step=1)
    for each in range(1, 301):
        story.start(f"1:{each}")
        story.finish(f"1:{each}", outputs={f"k{each}_{name}": 1 for name in range(20)})
        if story.run.steps[f"1:{each}"].status == "failed":
            break
    assert each < 100
    assert "longer than 96 KiB together" in story.run.steps[f"1:{each}"].error
