"""Which moment each event is, over which channels it goes, and when nobody need be told any more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.address import StepId
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.config import Config
from sopwith.core.messages import compose
from sopwith.core.notices import MOMENTS, NOTABLE, asked_by, channels_for, moment_of, moment_of_type, why_stale
from sopwith.core.notifications import ChannelConfig, Moment, Notifications, Route
from sopwith.core.procedure import ExecutionMode, Priority

from .given import BOB, RUN, Story, manual, shell

EVERYTHING = Notifications(moments=tuple(Moment))
CHANNELS = {name: ChannelConfig(kind="command", command=("true",)) for name in ("chat", "page", "hook")}


def moments(story: Story, notifications: Notifications = EVERYTHING) -> list[Moment]:
    """What is told of the whole story."""
    found = (moment_of(event.body, story.run, notifications) for event in story.events)
    return [moment for moment in found if moment is not None]


def test_of_every_event_it_is_decided_whether_it_is_told() -> None:
    assert set(MOMENTS) == set(ev.EventBody.__args__)
    assert set(MOMENTS.values()) == {*Moment, None}
    assert "approval_requested" in NOTABLE
    assert "approval_granted" not in NOTABLE


def gated(on_timeout: TimeoutAction, **more: Any) -> Story:
    rules = ApprovalRules(approvers=("user:bob",), on_timeout=on_timeout, remind_after_mins=(1,), **more)
    return Story(shell(gate=True, approval_timeout_mins=5, approval=rules)).drive()


def test_a_gate_is_told_when_it_asks_when_it_reminds_and_when_its_time_is_over() -> None:
    story = gated(TimeoutAction.PAUSE)
    assert moments(story) == [Moment.APPROVAL_REQUIRED]
    story.tick(61)
    story.remind(1)
    story.tick(300)
    story.expire(1)
    told = [Moment.APPROVAL_REQUIRED, Moment.APPROVAL_REMINDER, Moment.APPROVAL_EXPIRED]
    assert story.last.event_type == "run_paused"
    assert moments(story) == told, "the pause is told with it"
    off = Notifications(moments=tuple(set(Moment) - {Moment.APPROVAL_EXPIRED}))
    assert moments(story, off) == [*told[:2], Moment.RUN_PAUSED]


def test_an_escalation_is_told_to_those_whom_it_asks_now() -> None:
    config = Config(groups={"oncall": ("carol",)})
    rules = ApprovalRules(approvers=("user:bob",), on_timeout=TimeoutAction.ESCALATE, escalate_to=("group:oncall",))
    story = Story(shell(gate=True, approval_timeout_mins=5, approval=rules), config=config).drive()
    assert asked_by(story.last.body, story.run) == ("user:bob",)
    story.tick(300)
    story.expire(1)
    assert moments(story) == [Moment.APPROVAL_REQUIRED, Moment.APPROVAL_ESCALATED]
    assert asked_by(story.last.body, story.run) == ("group:oncall",)


def test_an_answer_is_told_to_nobody_but_what_it_led_to_is() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Reject, actor=BOB, step=1, reason="no")
    assert moments(story) == [Moment.APPROVAL_REQUIRED, Moment.RUN_PAUSED]


def test_a_step_by_hand_is_told_when_it_begins_and_one_of_a_process_is_not() -> None:
    story = Story(shell(), manual()).drive()
    assert moments(story) == []
    story.finish(1)
    story.drive()
    assert moments(story) == [Moment.STEP_COMPLETED, Moment.MANUAL_STEP]


def test_the_end_of_a_run_is_told_and_a_cancelled_one_is_not() -> None:
    done = Story(shell()).drive()
    done.finish(1)
    assert moments(done)[-1] is Moment.RUN_COMPLETED
    failed = Story(shell()).drive()
    failed.finish(1, error="exit code 1")
    assert moments(failed) == [Moment.RUN_FAILED]
    cancelled = Story(shell(gate=True)).drive()
    cancelled.when(cmd.Cancel, reason="not now")
    assert moments(cancelled) == [Moment.APPROVAL_REQUIRED]


def test_a_cancelled_run_that_was_not_rolled_back_is_told_as_a_failure() -> None:
    run = Story(shell()).run
    assert moment_of(ev.RunCancelled(rollback_failed=(1,)), run, EVERYTHING) is Moment.RUN_FAILED
    assert moment_of(ev.RunCancelled(not_rolled_back=(1,)), run, EVERYTHING) is Moment.RUN_FAILED
    assert moment_of(ev.RunCancelled(), run, EVERYTHING) is None


def test_the_end_of_a_run_within_another_is_told_by_the_one_around_it() -> None:
    run = msgspec.structs.replace(Story(shell()).run, parent=ev.ParentRun(run_id=RUN, step=1))
    assert moment_of(ev.RunCompleted(), run, EVERYTHING) is None
    assert moment_of(ev.RunFailed(failed_steps=(1,), error="x"), run, EVERYTHING) is None
    assert moment_of(ev.RunPaused(cause="asked"), run, EVERYTHING) is Moment.RUN_PAUSED


@pytest.mark.parametrize("moment", list(Moment))
def test_what_is_switched_off_is_not_told(moment: Moment) -> None:
    story = Story(shell(gate=True), manual()).drive()
    off = Notifications(moments=tuple(set(Moment) - {moment}))
    assert moment not in moments(story, off)


def test_a_rollback_script_is_no_step_by_hand() -> None:
    body = ev.StepStarted(
        step_number=1, executor="manual", rollback=True, visit=1, attempt=1, digest="", boot_id="", boot_ms=0
    )
    assert moment_of(body, Story(manual()).run, EVERYTHING) is None


def test_a_type_alone_says_too_little_of_steps() -> None:
    assert moment_of_type("approval_requested") is Moment.APPROVAL_REQUIRED
    assert moment_of_type("step_started") is None
    assert moment_of_type("step_completed") is None
    assert moment_of_type("never_heard_of") is None


# routes


def route(**says: Any) -> tuple[str, ...]:
    """The channels of a high deployment's gate that asks the release group, with this route."""
    notifications = Notifications(channels=CHANNELS, routes=(Route(channels=("page",), **says),))
    return channels_for(
        Moment.APPROVAL_REQUIRED,
        notifications,
        procedure="deploy-production",
        priority=Priority.HIGH,
        asked=("user:ann", "group:release"),
    )


def test_without_routes_everything_goes_over_all_channels() -> None:
    found = channels_for(
        Moment.RUN_FAILED, Notifications(channels=CHANNELS), procedure="a", priority=Priority.LOW, asked=()
    )
    assert found == ("chat", "page", "hook")


@pytest.mark.parametrize(
    ("says", "fits"),
    [
        ({}, True),
        ({"procedures": ("deploy-*",)}, True),
        ({"procedures": ("x", "*-production")}, True),
        ({"procedures": ("deploy",)}, False),
        ({"procedures": ("Deploy-*",)}, False),
        ({"priorities": (Priority.HIGH, Priority.CRITICAL)}, True),
        ({"priorities": (Priority.LOW,)}, False),
        ({"groups": ("release",)}, True),
        ({"groups": ("ann",)}, False),
        ({"moments": (Moment.APPROVAL_REQUIRED,)}, True),
        ({"moments": (Moment.RUN_FAILED,)}, False),
        ({"procedures": ("deploy-*",), "priorities": (Priority.LOW,)}, False),
    ],
)
def test_a_route_fits_where_all_that_it_says_does(says: dict[str, Any], *, fits: bool) -> None:
    assert route(**says) == (("page",) if fits else ())


def test_a_channel_of_two_routes_is_told_once_in_the_order_of_the_file() -> None:
    routes = (Route(channels=("hook", "chat")), Route(channels=("chat",)))
    notifications = Notifications(channels=CHANNELS, routes=routes)
    found = channels_for(Moment.RUN_FAILED, notifications, procedure="a", priority=Priority.LOW, asked=())
    assert found == ("chat", "hook")


# what need not be told any more


def document(story: Story, event_type: str) -> dict[str, Any]:
    event = story.latest(event_type)
    moment = moment_of(event.body, story.run, EVERYTHING)
    assert moment is not None
    return compose(event, story.run, moment, message_id="n").document


@pytest.mark.parametrize("step", [1, None])
def test_a_gate_that_was_answered_is_not_asked_about(step: StepId | None) -> None:
    mode = ExecutionMode.SUPERVISED if step is None else ExecutionMode.AUTO
    story = Story(shell(gate=True), mode=mode).drive()
    asked = document(story, "approval_requested")
    assert asked["stepNumber"] == step
    assert why_stale(asked, story.run) == ""
    story.when(cmd.Approve, actor=BOB, step=step)
    assert "answered" in why_stale(asked, story.run)


def test_a_gate_that_asks_anew_is_asked_about_anew() -> None:
    story = Story(shell(gate=True)).drive()
    asked = document(story, "approval_requested")
    assert "anew" in why_stale({**asked, "revision": 2}, story.run)
    assert "anew" in why_stale({**asked, "stepNumber": 9}, story.run)


def test_a_gate_of_a_run_that_has_ended_is_not_asked_about() -> None:
    story = Story(shell(gate=True)).drive()
    asked = document(story, "approval_requested")
    story.when(cmd.Cancel, reason="x")
    assert why_stale(asked, story.run)


def test_a_step_that_was_reported_need_not_be_carried_out() -> None:
    story = Story(manual(), manual()).drive()
    asked = document(story, "step_started")
    assert why_stale(asked, story.run) == ""
    assert why_stale({**asked, "attempt": 2}, story.run)
    story.when(cmd.Complete, step=1)
    assert "reported" in why_stale(asked, story.run)


def test_a_pause_that_is_over_is_not_told_and_an_end_always_is() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Pause, reason="lunch")
    paused = document(story, "run_paused")
    assert why_stale(paused, story.run) == ""
    story.when(cmd.Cancel, reason="x")
    assert "went on" in why_stale(paused, story.run)
    assert why_stale({**paused, "moment": "onRunFailed"}, story.run) == ""
