"""The laws about what agents approve and retry, held against records in which one does what it may not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from tests.core.given import AGENT, BOB, RUN, Story, manual, shell

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.actor import Actor
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.events import Event
from sopwith.core.run import Run
from sopwith.testing.executor import FakeWorld
from sopwith.testing.laws import Laws
from sopwith.testing.memory import MemoryStore


def broken(story: Story, before: Run, past: Sequence[Event], event: Event) -> list[str]:
    """The laws that the event breaks, after these."""
    laws = Laws(0, MemoryStore(), FakeWorld(), lambda: 0)
    laws.configured(story.config)
    laws.history[RUN] = list(past)
    laws._check_event(before, event)
    return laws.broken


@pytest.mark.parametrize("is_own", [True, False])
def test_an_approval_by_who_did_a_step_breaks_a_law(is_own: bool) -> None:
    rules = ApprovalRules(approvers=("agent:claude",), on_timeout=TimeoutAction.REJECT)
    story = Story(manual(), shell(gate=True, approval=rules)).drive()
    story.when(cmd.Complete, step=1, actor=BOB)
    story.drive()
    before, past = story.run, list(story.events)
    story.when(cmd.Approve, step=2, actor=AGENT)
    if is_own:
        past = [replace(e, actor=AGENT) if isinstance(e.body, ev.StepReported) else e for e in past]
    told = broken(story, before, past, story.latest("approval_granted"))
    assert [law.endswith("was passed by claude (agent), who may not") for law in told] == [True] * is_own


@pytest.mark.parametrize(("by", "count"), [(BOB, 1), (replace(AGENT, id="codex"), 0)])
def test_an_agents_retry_of_what_a_person_rejected_breaks_a_law(by: Actor, count: int) -> None:
    story = Story(shell(gate=True)).drive()
    story.when(cmd.Reject, step=1, actor=by, reason="no")
    before, past = story.run, list(story.events)
    story.when(cmd.Retry)
    told = broken(story, before, past, replace(story.last, actor=AGENT))
    assert ["which a person had rejected" in law for law in told] == [True] * count
    assert broken(story, before, past, story.last) == []
