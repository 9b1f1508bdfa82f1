"""What people read: what is asked, of whom, until when, what happens then, the command; and nothing hostile in it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.approval import ApprovalRules, FieldType, FormField, TimeoutAction
from sopwith.core.config import Config
from sopwith.core.masking import Mask
from sopwith.core.messages import MAX_CHARACTERS, Message, Tone, compose, gathered, harmless, unreadable
from sopwith.core.notices import moment_of
from sopwith.core.notifications import Moment, Notifications

from .given import BOB, RUN, Story, manual, shell
from .test_visible import unescape

ALL = Notifications(moments=tuple(Moment))
HOSTILE = st.text(
    st.one_of(st.sampled_from("\\u{}<>@[]()!:/ehrcanlo \n\t\u202e…"), st.characters(codec="utf-8")), max_size=300
)
ACTIVE = re.compile(r"<|@(everyone|here|channel|all)\b|(?<![\w.])@\w|://|\]\(", re.IGNORECASE)


def told(story: Story, event_type: str, **options: Any) -> Message:
    event = story.latest(event_type)
    moment = moment_of(event.body, story.run, ALL)
    assert moment is not None
    return compose(event, story.run, moment, message_id="notice_1", **options)


def gate(**rules: Any) -> Story:
    known = {"approvers": ("group:release", "user:bob"), "quorum": 2, **rules}
    config = Config(groups={"release": ("bob", "carol"), "oncall": ("dave",)})
    return Story(shell(), shell(gate=True, approval_timeout_mins=5, approval=ApprovalRules(**known)), config=config)


def at_gate(**rules: Any) -> Story:
    story = gate(**rules).drive()
    story.finish(1)
    return story.drive()


def test_a_gate_says_all_that_whoever_is_asked_must_know() -> None:
    story = at_gate(on_timeout=TimeoutAction.PAUSE)
    digest = story.gate(2).digest[:12]
    found = told(story, "approval_requested", public_url="https://sop.example.com")
    assert found.title == "Approval needed: deploy, step 2: Step 2"
    assert found.tone is Tone.ASKS
    assert found.text.splitlines() == [
        "Approval needed: deploy, step 2: Step 2",
        "",
        "Asked: whether step 2 may run",
        "Of: group:release, user:bob; 2 of them must agree; not alice, who started it",
        "Until: 2026-03-02 12:05 UTC",
        "Then: the run is paused",
        f"Answer: sop approve {RUN} --step 2 --digest {digest}",
        f'Or: sop reject {RUN} --step 2 --digest {digest} --reason "why"',
        f"Look: sop approve {RUN} --step 2 --show",
        f"Run: {RUN}, started by alice",
        "From elsewhere: the same with --server https://sop.example.com",
    ]


def test_the_document_says_the_same_to_programs() -> None:
    found = told(at_gate(on_timeout=TimeoutAction.PAUSE), "approval_requested").document
    wanted = {
        "moment": "onApprovalRequired",
        "runId": RUN,
        "sopName": "deploy",
        "stepNumber": 2,
        "stepTitle": "Step 2",
        "priority": "normal",
        "startedBy": "alice",
        "asked": "whether step 2 may run",
        "of": ["group:release", "user:bob"],
        "votesNeeded": 2,
        "then": "the run is paused",
        "revision": 1,
        "rollback": False,
    }
    assert {key: found[key] for key in wanted} == wanted
    assert found["until"].startswith("2026-03-02T12:05:")
    assert found["answers"][0].startswith(f"sop approve {RUN} --step 2 --digest ")
    assert "server" not in found
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (TimeoutAction.APPROVE, "without anybody's consent"),
        (TimeoutAction.REJECT, "counts as rejected"),
        (TimeoutAction.ESCALATE, "group:oncall may answer too"),
        (TimeoutAction.SKIP, "the step is skipped"),
        (TimeoutAction.PAUSE, "the run is paused"),
        (TimeoutAction.FAIL, "the step fails"),
    ],
)
def test_what_happens_then_is_what_the_gate_will_do(action: TimeoutAction, words: str) -> None:
    to = {"escalate_to": ("group:oncall",)} if action is TimeoutAction.ESCALATE else {}
    assert words in told(at_gate(on_timeout=action, **to), "approval_requested").document["then"]


def test_a_gate_without_a_limit_waits_until_somebody_answers() -> None:
    found = told(Story(shell(gate=True)).drive(), "approval_requested")
    assert "Of: any person" in found.text
    assert "Until: somebody answers" in found.text
    assert "Then:" not in found.text
    assert found.document["until"] is None


def test_the_command_has_the_comment_and_the_fields_that_the_gate_wants() -> None:
    form = (
        FormField(name="ticket", required=True),
        FormField(name="note"),
        FormField(name="n", type=FieldType.INTEGER),
    )
    answer = told(at_gate(comment_required=True, form=form), "approval_requested").document["answers"][0]
    assert answer.endswith(' --comment "why" --field ticket=…')


def test_a_step_by_hand_says_how_it_is_reported() -> None:
    found = told(Story(manual()).drive(), "step_started")
    assert found.title == "To be done by hand: deploy, step 1: Step 1"
    assert f"Answer: sop complete {RUN} --step 1" in found.text
    assert (found.document["visit"], found.document["attempt"]) == (1, 1)


def test_a_failure_says_why_and_what_now() -> None:
    story = Story(shell()).drive()
    story.finish(1, error="exit code 1")
    found = told(story, "run_failed")
    assert found.tone is Tone.BAD
    assert "exit code 1" in found.text
    assert found.document["answers"] == [f"sop retry {RUN}", f'sop skip {RUN} --reason "why"']
    assert f'Answer: sop retry {RUN}\nOr: sop skip {RUN} --reason "why"\n' in found.text


def test_where_there_are_three_ways_each_is_told_by_itself() -> None:
    story = Story(shell()).drive()
    story.interrupt(1)
    found = told(story, "run_paused")
    ways = [f"sop retry {RUN}", f"sop complete {RUN} if it was done", f'sop skip {RUN} --reason "why"']
    assert found.document["answers"] == ways
    assert "Answer: {}\nOr: {}\nOr: {}\n".format(*ways) in found.text


@pytest.mark.parametrize("story", [at_gate(), Story(manual()).drive()])
def test_what_programs_are_told_has_no_name_that_the_message_itself_has(story: Story) -> None:
    """They stand side by side in what a webhook gets."""
    event_type = "approval_requested" if story.run.steps[1].status == "completed" else "step_started"
    found = told(story, event_type)
    assert not found.document.keys() & {"title", "text", "tone"}
    assert found.document["sopTitle"] == story.run.procedure.title


def test_an_end_says_how_it_went() -> None:
    story = Story(shell()).drive()
    story.finish(1)
    found = told(story, "run_completed")
    assert found.tone is Tone.GOOD
    assert found.title == "Completed: deploy"


def test_what_could_not_be_rolled_back_is_named() -> None:
    story = Story(shell())
    body = ev.RunCancelled(rollback_failed=(1, 3), not_rolled_back=(2,))
    event = msgspec.structs.replace(story.last, body=body)
    found = compose(event, story.run, Moment.RUN_FAILED, message_id="n")
    assert "could not be rolled back: steps 1, 3; not rolled back: step 2" in found.text


def test_an_expired_gate_says_what_came_of_it() -> None:
    story = at_gate(on_timeout=TimeoutAction.PAUSE)
    story.tick(301)
    story.expire(2)
    found = told(story, "approval_timeout")
    assert found.tone is Tone.BAD
    assert "Why: the run was paused" in found.text


# foreign text


@given(text=HOSTILE)
@example(text="\\<")
@example(text="a\\\\@here ](x)")
@example(text="\\u{003c}<")
def test_foreign_text_stays_in_one_line_with_nothing_active_and_can_be_read_back(text: str) -> None:
    shown = harmless(text, 10_000)
    assert "\n" not in shown
    assert not ACTIVE.search(shown)
    assert unescape(shown) == text


@given(text=HOSTILE, most=st.integers(1, 80))
def test_what_is_cut_says_so_and_no_escape_is_torn(text: str, most: int) -> None:
    shown = harmless(text, most)
    assert len(shown) <= most
    if unescape(shown) != text:
        assert shown.endswith("…")
        assert not re.search(r"(^|[^\\])(\\\\)*\\(u(\{[0-9a-f]*)?)?…$", shown)


@given(title=HOSTILE, reason=HOSTILE, who=HOSTILE)
def test_no_title_reason_or_name_makes_a_message_do_anything(title: str, reason: str, who: str) -> None:
    story = Story(shell(gate=True), actor=Actor(who, ActorKind.HUMAN, "cli")).drive()
    story.when(cmd.Reject, actor=BOB, step=1, reason=reason or "x")
    step = msgspec.structs.replace(story.run.procedure.steps[0], title=title)
    procedure = msgspec.structs.replace(story.run.procedure, steps=(step,))
    story.run = msgspec.structs.replace(story.run, procedure=procedure)
    for kind in ("approval_requested", "run_paused"):
        found = told(story, kind)
        assert not ACTIVE.search(found.text + found.title)
        assert len(found.text) <= MAX_CHARACTERS
        assert len(found.text.splitlines()) <= 11
        assert not ACTIVE.search(str(msgspec.json.encode(found.document)))


@pytest.mark.parametrize("text", ["a -> b", "ann@example.com", "3 > 2 & 1", "C:/temp", "[1] (2)", "Zürich: 50 %"])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


def test_secrets_are_masked_before_anything_else() -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Reject, actor=BOB, step=1, reason="the token is hunter2<hunter2 and more")
    found = told(story, "run_paused", mask=Mask(("hunter2<hunter2",)).text)
    assert "hunter2" not in found.text + str(found.document)
    assert "***" in found.text


def test_many_approvers_are_counted() -> None:
    approvers = tuple(f"user:person{number}" for number in range(40))
    found = told(at_gate(approvers=approvers), "approval_requested")
    assert "and 30 more" in found.text
    assert len(found.document["of"]) == 40


# many at once


def many(count: int) -> list[Message]:
    first = told(at_gate(), "approval_requested")
    return [msgspec.structs.replace(first, id=f"notice_{number}") for number in range(count)]


def test_many_become_one_with_the_command_of_each_as_far_as_there_is_room() -> None:
    found = gathered(many(3))
    assert found.title == "3 messages: Approval needed (3)"
    assert found.text.count("sop approve") == 3
    assert "more:" not in found.text
    large = gathered(many(500))
    assert len(large.text) <= MAX_CHARACTERS
    left = re.search(r"and (\d+) more: sop inbox", large.text)
    assert left is not None
    assert int(left[1]) + large.text.count("sop approve") == 500


def test_programs_get_all_of_them() -> None:
    found = gathered(many(500))
    assert [each["id"] for each in found.document["messages"]] == [f"notice_{number}" for number in range(500)]
    assert found.document["messages"][0]["stepNumber"] == 2


def test_what_asks_somebody_gives_the_whole_its_tone() -> None:
    good = msgspec.structs.replace(many(1)[0], tone=Tone.GOOD)
    bad = msgspec.structs.replace(good, tone=Tone.BAD)
    assert gathered([good, bad]).tone is Tone.BAD
    assert gathered([good, bad, *many(1)]).tone is Tone.ASKS


def test_of_a_record_that_cannot_be_read_the_run_is_named() -> None:
    found = unreadable(RUN, "deploy", Moment.APPROVAL_REQUIRED, message_id="n")
    assert found.title == "Approval needed: deploy"
    assert f"sop status {RUN}" in found.text
