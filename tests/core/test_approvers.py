"""Who may do what (decision 0008): the whole matrix of actors, verbs and rules, and what stands beside a decision.

The tables are the expectation, written by hand: `+` may, `-` may not, `v` gives a vote that more must follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM, Actor, ActorKind, Session
from sopwith.core.approval import ApprovalRules, FormField, TimeoutAction
from sopwith.core.approvers import signature, votes_left
from sopwith.core.config import Config, Role, User
from sopwith.core.decide import decide
from sopwith.core.modes import choose_mode
from sopwith.core.moves import MOVES
from sopwith.core.people import Directory, check_runner, matches
from sopwith.core.procedure import ExecutionMode, OnReject
from sopwith.core.run import Gate, GateStatus, RunStatus, StepStatus
from sopwith.errors import AlreadyDecided, ApproverNotAllowed, BadRequest, NotAllowed, SopwithError

from .given import ALICE, BOB, CAROL, INSIDE, NOON, RUN, TRIGGER, Story, manual, procedure, shell

DORA, ERIK = (Actor(name, ActorKind.HUMAN, "cli") for name in ("dora", "erik"))
CLAUDE, CODEX = (Actor(name, ActorKind.AGENT, "mcp") for name in ("claude", "codex"))

ACTORS: dict[str, tuple[Actor, Actor]] = {
    # who, and who started the run
    "listed": (BOB, ALICE),
    "member": (DORA, ALICE),
    "unlisted": (ERIK, ALICE),
    "starter": (ALICE, ALICE),
    "agent": (CLAUDE, ALICE),
    "starting-agent": (CLAUDE, CLAUDE),
    "other-agent": (CODEX, ALICE),
    "trigger": (TRIGGER, ALICE),
    "system": (SYSTEM, ALICE),
    "inside": (replace(BOB, inside=RUN), ALICE),
}
# agents and triggers belong to no group, whatever it says
GROUPS = {"release": ("dora", "claude", "nightly", "sopwith"), "empty": ()}
ROLES: dict[Role, tuple[str, ...]] = {
    Role.RUNNER: ("user:alice", "user:bob", "agent:claude"),
    Role.APPROVER: ("group:release", "user:bob", "agent:claude"),
}
ALL_LISTED = ("user:bob", "group:release", "agent:claude")

RULES: dict[str, tuple[ApprovalRules | None, Config]] = {
    "none": (None, Config(groups=GROUPS)),
    "user": (ApprovalRules(approvers=("user:bob",)), Config(groups=GROUPS)),
    "group": (ApprovalRules(approvers=("group:release",)), Config(groups=GROUPS)),
    "agent": (ApprovalRules(approvers=("agent:claude",)), Config(groups=GROUPS)),
    "two": (ApprovalRules(approvers=ALL_LISTED, quorum=2), Config(groups=GROUPS)),
    "any-two": (ApprovalRules(quorum=2), Config(groups=GROUPS)),
    "self": (ApprovalRules(approvers=("user:alice", "user:bob"), allow_self_approval=True), Config(groups=GROUPS)),
    "no-self": (ApprovalRules(approvers=("user:alice", "user:bob")), Config(groups=GROUPS)),
    "any-no-self": (ApprovalRules(allow_self_approval=False), Config(groups=GROUPS)),
    "roles": (None, Config(groups=GROUPS, roles=ROLES)),
    "no-role": (None, Config(groups=GROUPS, roles={Role.RUNNER: ROLES[Role.RUNNER], Role.APPROVER: ("user:zoe",)})),
    "listed-no-role": (
        ApprovalRules(approvers=("user:bob", "group:release")),
        Config(groups=GROUPS, roles={Role.RUNNER: ("user:alice", "agent:claude")}),
    ),
}

APPROVE = """
                none  user  group  agent  two  any-two  self  no-self  any-no-self  roles  no-role  listed-no-role
listed          +     +     -      -      v    v        +     +        +            +      -        +
member          +     -     +      -      v    v        -     -        +            +      -        +
unlisted        +     -     -      -      -    v        -     -        +            -      -        -
starter         +     -     -      -      -    -        +     -        -            -      -        -
agent           -     -     -      +      v    -        -     -        -            -      -        -
starting-agent  -     -     -      -      -    -        -     -        -            -      -        -
other-agent     -     -     -      -      -    -        -     -        -            -      -        -
trigger         -     -     -      -      -    -        -     -        -            -      -        -
system          -     -     -      -      -    -        -     -        -            -      -        -
inside          -     -     -      -      -    -        -     -        -            -      -        -
"""
"""The starter of a run has the role runner only; the agent's gate that the agent itself started rejects itself."""

REJECT = """
                none  user  group  agent  two  any-two  self  no-self  any-no-self  roles  no-role  listed-no-role
listed          +     +     +      +      +    +        +     +        +            +      +        +
member          +     +     +      +      +    +        +     +        +            +      +        +
unlisted        +     +     +      +      +    +        +     +        +            +      +        +
starter         +     +     +      +      +    +        +     +        +            +      +        +
agent           +     +     +      +      +    +        +     +        +            +      +        +
starting-agent  +     +     +      -      +    +        +     +        +            +      +        +
other-agent     +     +     +      +      +    +        +     +        +            +      +        +
trigger         -     -     -      -      -    -        -     -        -            -      -        -
system          -     -     -      -      -    -        -     -        -            -      -        -
inside          -     -     -      -      -    -        -     -        -            -      -        -
"""

SETTINGS: dict[str, tuple[ApprovalRules, Config]] = {
    "free": (ApprovalRules(on_timeout=TimeoutAction.FAIL), Config(groups=GROUPS)),
    "listed": (ApprovalRules(approvers=ALL_LISTED, on_timeout=TimeoutAction.FAIL), Config(groups=GROUPS)),
    "roles": (
        ApprovalRules(on_timeout=TimeoutAction.FAIL),
        Config(
            groups=GROUPS,
            roles={
                Role.RUNNER: ("user:alice", "user:bob", "agent:claude"),
                Role.APPROVER: ("group:release",),
                Role.ADMIN: ("user:erik",),
                Role.VIEWER: ("agent:codex",),
            },
        ),
    ),
}

STEERING = {
    "free": """
                cancel pause resume retry skip skip-gated complete complete-gated fail start looser stricter
listed          +      +     +      +     +    +          +        +              +    +     +      +
member          +      +     +      +     +    +          +        +              +    +     +      +
unlisted        +      +     +      +     +    +          +        +              +    +     +      +
starter         +      +     +      +     +    +          +        +              +    +     +      +
agent           +      +     +      -     -    -          +        -              +    +     -      +
starting-agent  +      +     +      -     -    -          +        -              +    +     -      +
other-agent     +      +     +      -     -    -          +        -              +    +     -      +
trigger         +      +     +      +     +    -          +        -              +    +     -      +
system          +      +     +      +     +    -          +        -              +    +     -      +
inside          -      -     -      -     -    -          -        -              -    +     +      +
""",
    "listed": """
                cancel pause resume retry skip skip-gated complete complete-gated fail start looser stricter
listed          +      +     +      +     +    +          +        +              +    +     +      +
member          +      +     +      +     +    +          +        +              +    +     +      +
unlisted        +      +     +      +     +    -          +        -              +    +     +      +
starter         +      +     +      +     +    -          +        -              +    +     +      +
agent           +      +     +      -     -    -          +        -              +    +     -      +
starting-agent  +      +     +      -     -    -          +        -              +    +     -      +
other-agent     +      +     +      -     -    -          +        -              +    +     -      +
trigger         +      +     +      +     +    -          +        -              +    +     -      +
system          +      +     +      +     +    -          +        -              +    +     -      +
inside          -      -     -      -     -    -          -        -              -    +     +      +
""",
    # a runner, an approver, an admin, a runner, an agent that is a runner, an agent that may look
    "roles": """
                cancel pause resume retry skip skip-gated complete complete-gated fail start looser stricter
listed          +      +     +      +     +    -          +        -              +    +     -      +
member          +      +     -      -     -    -          -        -              -    -     -      +
unlisted        +      +     +      +     +    +          +        +              +    +     +      +
starter         +      +     +      +     +    -          +        -              +    +     -      +
agent           +      +     +      -     -    -          +        -              +    +     -      +
starting-agent  +      +     +      -     -    -          +        -              +    +     -      +
other-agent     +      +     -      -     -    -          -        -              -    -     -      +
trigger         +      +     -      -     -    -          -        -              -    +     -      +
system          +      +     -      -     -    -          -        -              -    +     -      +
inside          -      -     -      -     -    -          -        -              -    +     -      +
""",
}
"""Verbs beside the two answers. A gated step is skipped or done by hand only by whom its gate would let pass; no agent
skips anything, calls done what failed, or retries what a person rejected."""


def _cells(table: str) -> list[tuple[str, str, str]]:
    head, *rows = table.strip("\n").splitlines()
    columns = head.split()
    lines = [row.split() for row in rows]
    return [(line[0], *cell) for line in lines for cell in zip(columns, line[1:], strict=True)]


def test_the_tables_are_whole() -> None:
    for table in (APPROVE, REJECT):
        assert {(row, column) for row, column, _ in _cells(table)} == {(a, r) for a in ACTORS for r in RULES}
    for table in STEERING.values():
        assert {(row, column) for row, column, _ in _cells(table)} == {(a, v) for a in ACTORS for v in VERBS}


def _at_a_gate(actor: str, rules: ApprovalRules | None, config: Config) -> Story:
    return Story(shell(gate=True, approval=rules), actor=ACTORS[actor][1], config=config).drive()


@pytest.mark.parametrize(("actor", "rules", "cell"), _cells(APPROVE))
def test_who_may_approve(actor: str, rules: str, cell: str) -> None:
    story = _at_a_gate(actor, *RULES[rules])
    events = _made(story, cmd.Approve, actor)
    assert events == {"+": ["approval_granted"], "v": ["approval_vote_recorded"], "-": []}[cell]
    if events:
        assert story.last.body.signature.meaning == "approved"


@pytest.mark.parametrize(("actor", "rules", "cell"), _cells(REJECT))
def test_who_may_reject(actor: str, rules: str, cell: str) -> None:
    story = _at_a_gate(actor, *RULES[rules])
    assert _made(story, cmd.Reject, actor, reason="no") == {"+": ["approval_rejected", "run_paused"], "-": []}[cell]


@pytest.mark.parametrize(("actor", "rules", "cell"), _cells(APPROVE))
def test_who_may_approve_the_start(actor: str, rules: str, cell: str) -> None:
    approval, config = RULES[rules]
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, approval=approval, config=config, actor=ACTORS[actor][1])
    expected = {"+": ["approval_granted", "run_started"], "v": ["approval_vote_recorded"], "-": []}
    assert _made(story, cmd.Approve, actor) == expected[cell]


def _made(story: Story, command: type[cmd.Command], actor: str, **more: Any) -> list[str]:
    """The events that it made; none where the actor may not."""
    who, starter = ACTORS[actor]
    try:
        return story.when(command, actor=who, **more)
    except (ApproverNotAllowed, NotAllowed):
        return []
    except SopwithError:
        assert starter == CLAUDE
        assert story.run.ended or story.statuses == (StepStatus.REJECTED,), "the gate that nobody could pass"
        return []


Act = Callable[[str, ApprovalRules, Config], object]


def _at(make: Callable[[Actor, ApprovalRules, Config], Story], command: type[cmd.Command], **more: Any) -> Act:
    def act(actor: str, rules: ApprovalRules, config: Config) -> object:
        who, starter = ACTORS[actor]
        return make(starter, rules, config).when(command, actor=who, **more)

    return act


def _gated(starter: Actor, rules: ApprovalRules, config: Config) -> Story:
    return Story(shell(gate=True, approval=rules), actor=starter, config=config).drive()


def _paused(starter: Actor, rules: ApprovalRules, config: Config) -> Story:
    story = _gated(starter, rules, config)
    story.when(cmd.Pause)
    return story


def _rejected(starter: Actor, rules: ApprovalRules, config: Config) -> Story:
    story = _gated(starter, rules, config)
    story.when(cmd.Reject, reason="no")
    return story


def _timed_out(starter: Actor, rules: ApprovalRules, config: Config) -> Story:
    story = Story(shell(gate=True, approval=rules, approval_timeout_mins=1), actor=starter, config=config).drive()
    story.tick(60)
    story.expire(1)
    return story


def _by_hand(starter: Actor, rules: ApprovalRules, config: Config) -> Story:
    return Story(manual(), actor=starter, config=config).drive()


def _start(actor: str, _rules: ApprovalRules, config: Config) -> object:
    return check_runner(procedure(shell()), ACTORS[actor][0], Directory(config)) or True


def _mode(requested: ExecutionMode) -> Act:
    def act(actor: str, _rules: ApprovalRules, config: Config) -> object:
        supervised = procedure(shell(), execution_mode=ExecutionMode.SUPERVISED)
        return choose_mode(supervised, config, requested=requested, actor=ACTORS[actor][0])

    return act


VERBS: dict[str, Act] = {
    "cancel": _at(_gated, cmd.Cancel),
    "pause": _at(_gated, cmd.Pause),
    "resume": _at(_paused, cmd.Resume),
    "retry": _at(_rejected, cmd.Retry),
    "skip": _at(_by_hand, cmd.Skip, reason="not needed"),
    "skip-gated": _at(_gated, cmd.Skip, reason="not needed"),
    "complete": _at(_by_hand, cmd.Complete),
    "complete-gated": _at(_timed_out, cmd.Complete),
    "fail": _at(_by_hand, cmd.Fail, reason="it broke"),
    "start": _start,
    "looser": _mode(ExecutionMode.AUTO),
    "stricter": _mode(ExecutionMode.STEP_BY_STEP),
}


@pytest.mark.parametrize(
    ("setting", "actor", "verb", "cell"), [(name, *cell) for name, table in STEERING.items() for cell in _cells(table)]
)
def test_who_may_steer(setting: str, actor: str, verb: str, cell: str) -> None:
    rules, config = SETTINGS[setting]
    if cell == "+":
        assert VERBS[verb](actor, rules, config)
    else:
        with pytest.raises((NotAllowed, ApproverNotAllowed)):
            VERBS[verb](actor, rules, config)


# votes

TWO = ApprovalRules(approvers=("group:release",), quorum=2)
THREE = Config(groups={"release": ("bob", "carol", "dora"), "oncall": ("erik",)})


def _votes(rules: ApprovalRules = TWO, config: Config = THREE, **more: Any) -> Story:
    return Story(shell(gate=True, approval=rules, **more), config=config).drive()


def test_a_gate_with_a_quorum_is_passed_by_the_last_vote_which_lists_all() -> None:
    story = _votes()
    assert story.latest("approval_requested").body.votes_needed == 2
    assert story.when(cmd.Approve, actor=BOB, comment="fine") == ["approval_vote_recorded"]
    assert (story.last.body.votes, story.last.body.needed, story.last.body.comment) == (1, 2, "fine")
    assert (story.status, story.owed()) == (RunStatus.AWAITING_APPROVAL, [])
    assert story.when(cmd.Approve, actor=CAROL) == ["approval_granted"]
    assert story.last.body.votes == ("bob", "carol")
    assert [vote.actor for vote in story.gate(1).votes] == [BOB]


def test_the_same_vote_twice_has_no_effect() -> None:
    story = _votes()
    story.when(cmd.Approve, actor=BOB)
    assert story.when(cmd.Approve, actor=BOB) == []
    assert story.when(cmd.Approve, actor=replace(BOB, via="web")) == []
    assert len(story.gate(1).votes) == 1


def test_the_same_vote_twice_has_no_effect_though_it_leaves_out_the_comment() -> None:
    story = _votes(ApprovalRules(quorum=2, comment_required=True))
    story.when(cmd.Approve, actor=BOB, comment="fine")
    assert story.when(cmd.Approve, actor=BOB) == []


def test_a_person_and_an_agent_of_the_same_id_are_one_voter() -> None:
    rules = ApprovalRules(approvers=("user:bob", "agent:bob", "user:carol"), quorum=2)
    story = _votes(rules)
    story.when(cmd.Approve, actor=BOB)
    assert story.when(cmd.Approve, actor=Actor("bob", ActorKind.AGENT, "mcp")) == []
    assert story.when(cmd.Approve, actor=CAROL) == ["approval_granted"]


@pytest.mark.parametrize("who", [BOB, CAROL, ERIK, CODEX])
def test_one_rejection_ends_the_gate_also_by_somebody_who_voted_for_it(who: Actor) -> None:
    story = _votes()
    story.when(cmd.Approve, actor=BOB)
    assert story.when(cmd.Reject, actor=who, reason="on second thoughts") == ["approval_rejected", "run_paused"]
    assert story.latest("approval_rejected").body.signature.meaning == "rejected"
    story.refused(AlreadyDecided, cmd.Approve, step=1, actor=CAROL)


def test_votes_are_for_one_revision() -> None:
    story = _votes()
    story.when(cmd.Approve, actor=BOB)
    story.when(cmd.Reject, actor=CAROL, reason="no")
    story.when(cmd.Retry)
    story.drive()
    assert story.gate(1).votes == ()
    assert story.when(cmd.Approve, actor=CAROL) == ["approval_vote_recorded"]


def test_a_vote_while_a_pause_holds_the_run_is_refused_and_earlier_ones_outlive_it() -> None:
    story = _votes()
    story.when(cmd.Approve, actor=BOB)
    story.when(cmd.Pause)
    with pytest.raises(SopwithError):
        story.when(cmd.Approve, actor=CAROL)
    story.when(cmd.Resume)
    assert story.when(cmd.Approve, actor=CAROL) == ["approval_granted"]


FORM = (FormField(name="ticket", required=True), FormField(name="note"))


def test_what_an_earlier_voter_filled_in_holds() -> None:
    story = _votes(replace(TWO, form=FORM))
    story.refused(BadRequest, cmd.Approve, actor=BOB)
    story.when(cmd.Approve, actor=BOB, form={"ticket": "OPS-1"})
    error = story.refused(BadRequest, cmd.Approve, actor=CAROL, form={"ticket": "OPS-2"})
    assert "OPS-1" in error.message
    story.refused(BadRequest, cmd.Approve, actor=CAROL, form={"note": "added later"})
    assert story.when(cmd.Approve, actor=CAROL) == ["approval_granted"]
    assert story.last.body.form == story.gate(1).form == {"ticket": "OPS-1"}
    assert story.step(1).approval_values == {"ticket": "OPS-1"}


def test_the_same_values_may_be_given_again() -> None:
    story = _votes(replace(TWO, form=FORM))
    story.when(cmd.Approve, actor=BOB, form={"ticket": "OPS-1"})
    assert story.when(cmd.Approve, actor=CAROL, form={"ticket": "OPS-1"}) == ["approval_granted"]


def test_values_count_only_once_the_gate_is_passed() -> None:
    story = _votes(replace(TWO, form=FORM))
    story.when(cmd.Approve, actor=BOB, form={"ticket": "OPS-1"})
    assert story.step(1).approval_values == {}


def test_every_vote_needs_a_comment_where_one_is_required() -> None:
    story = _votes(replace(TWO, comment_required=True))
    for blank in ("", " \n"):
        error = story.refused(BadRequest, cmd.Approve, actor=BOB, comment=blank)
        assert "--comment" in error.hint
    story.when(cmd.Approve, actor=BOB, comment="tests are green")
    story.refused(BadRequest, cmd.Approve, actor=CAROL)
    assert story.when(cmd.Approve, actor=CAROL, comment="so they are") == ["approval_granted"]


# nobody is left

SHRUNK = Config(groups={"release": ("bob",)})


@pytest.mark.parametrize(
    ("approvers", "quorum", "self_approval", "left"),
    [
        (("group:release",), 2, None, 3),
        (("group:release", "user:bob", "agent:claude"), 2, None, 4),
        (("user:alice", "user:bob"), None, None, 1),
        (("user:alice", "user:bob"), None, True, 2),
        (("agent:alice", "user:bob"), None, True, 1),
        (("user:bob", "agent:bob"), None, None, 1),
        (("group:gone",), None, None, 0),
        ((), 2, None, None),
    ],
)
def test_how_many_could_still_agree(
    approvers: tuple[str, ...], quorum: int | None, self_approval: bool | None, left: int | None
) -> None:
    rules = ApprovalRules(approvers=approvers, quorum=quorum, allow_self_approval=self_approval)
    story = Story(shell(gate=True, approval=rules), config=THREE)
    people = Directory(THREE)
    gate = Gate(revision=1, status=GateStatus.OPEN, digest="", requested_at=NOON)
    assert votes_left(story.run, 1, gate, people) == left
    assert votes_left(story.run, 1, gate, people, voted=["bob"]) == (left if left in (None, 0) else left - 1)


def test_a_gate_that_nobody_could_pass_is_rejected_by_the_system_when_it_opens() -> None:
    story = Story(shell(gate=True, approval=TWO), config=SHRUNK)
    assert story.ask(1) == ["approval_requested", "approval_rejected", "run_paused"]
    rejected = story.latest("approval_rejected")
    assert (rejected.actor, rejected.body.signature) == (SYSTEM, None)
    assert "needs 2 more of group:release, and only 1 could still approve" in rejected.body.reason
    assert (story.status, story.last.actor) == (RunStatus.PAUSED, SYSTEM)


def test_it_asks_again_once_the_group_is_filled_and_somebody_retries() -> None:
    story = Story(shell(gate=True, approval=TWO), config=SHRUNK)
    story.ask(1)
    story.config = THREE
    story.when(cmd.Retry)
    assert story.ask(1) == ["approval_requested"]


def test_a_start_approval_that_nobody_could_give_cancels_the_run() -> None:
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, approval=TWO, config=SHRUNK)
    assert [event.event_type for event in story.events][1:] == [
        "approval_requested",
        "approval_rejected",
        "run_cancelled",
    ]
    assert {event.actor for event in story.events[1:]} == {SYSTEM}


def test_a_start_approval_that_nobody_could_give_any_more_after_a_pause_cancels_the_run() -> None:
    rules = replace(TWO, on_timeout=TimeoutAction.PAUSE)
    policy = ev.Policy(approval_timeout_mins=5)
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, approval=rules, config=THREE, policy=policy)
    story.tick(300)
    story.expire(None)
    story.when(cmd.Resume)
    story.config = SHRUNK
    assert story.ask(None) == ["approval_requested", "approval_rejected", "run_cancelled"]
    assert story.status is RunStatus.CANCELLED


def test_a_vote_after_which_too_few_are_left_ends_the_gate_by_the_system_and_so_does_what_follows() -> None:
    story = _votes()
    story.config = SHRUNK
    events = story.when(cmd.Approve, actor=BOB)
    assert events == ["approval_vote_recorded", "approval_rejected", "run_paused"]
    vote, rejected, paused = story.events[-3:]
    assert (vote.actor, rejected.actor, paused.actor) == (BOB, SYSTEM, SYSTEM)
    assert (vote.body.signature is None, rejected.body.signature) == (False, None)
    assert "needs 1 more of group:release, and nobody could still approve" in rejected.body.reason


def test_a_vote_that_ends_the_gate_may_end_the_run_where_all_else_is_done() -> None:
    last = shell(gate=True, approval=TWO, on_reject=OnReject.GOTO, reject_goto=2)
    story = Story(last, shell(after=()), config=THREE).drive()
    story.finish(2)
    story.config = SHRUNK
    assert story.status is RunStatus.AWAITING_APPROVAL
    assert story.when(cmd.Approve, actor=BOB)[-2:] == ["approval_rejected", "run_completed"]
    assert story.status in MOVES[RunStatus.AWAITING_APPROVAL, cmd.Approve].to


def test_a_rejection_by_a_person_leaves_what_follows_to_that_person() -> None:
    story = _votes()
    story.when(cmd.Reject, actor=BOB, reason="no")
    assert (story.events[-2].actor, story.last.actor, story.last.event_type) == (BOB, BOB, "run_paused")


def test_rights_are_read_at_each_decision() -> None:
    story = _votes()
    story.when(cmd.Approve, actor=BOB)
    story.config = Config(groups={"release": ("dora", "erik")})
    story.refused(ApproverNotAllowed, cmd.Approve, actor=CAROL)
    assert story.when(cmd.Approve, actor=ERIK) == ["approval_granted"]
    assert story.last.body.votes == ("bob", "erik"), "a vote holds that was good when it was given"


def test_a_start_gate_takes_votes_too() -> None:
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, approval=TWO, config=THREE)
    assert story.when(cmd.Approve, actor=BOB) == ["approval_vote_recorded"]
    assert story.status is RunStatus.WAITING_APPROVAL
    assert story.when(cmd.Approve, actor=CAROL) == ["approval_granted", "run_started"]


# escalation

HANDED_ON = ApprovalRules(
    approvers=("user:bob",), escalate_to=("group:oncall",), on_timeout=TimeoutAction.ESCALATE, quorum=1
)


def _escalated(rules: ApprovalRules = HANDED_ON) -> Story:
    story = _votes(rules, approval_timeout_mins=5)
    story.tick(300)
    assert story.expire(1) == ["approval_escalated"]
    return story


def test_only_after_an_escalation_may_others_answer_too() -> None:
    before = _votes(HANDED_ON, approval_timeout_mins=5)
    before.refused(ApproverNotAllowed, cmd.Approve, actor=ERIK)
    assert _escalated().when(cmd.Approve, actor=ERIK) == ["approval_granted"]
    assert _escalated().when(cmd.Approve, actor=BOB) == ["approval_granted"]
    _escalated().refused(ApproverNotAllowed, cmd.Approve, actor=CAROL)


def test_an_escalation_keeps_the_votes_and_the_quorum() -> None:
    rules = replace(TWO, on_timeout=TimeoutAction.ESCALATE, escalate_to=("group:oncall",))
    story = _votes(rules, approval_timeout_mins=5)
    story.when(cmd.Approve, actor=BOB)
    story.tick(300)
    story.expire(1)
    assert story.when(cmd.Approve, actor=ERIK) == ["approval_granted"]
    assert story.last.body.votes == ("bob", "erik")


def test_an_escalation_takes_nothing_from_a_gate_that_everybody_may_pass() -> None:
    story = _escalated(ApprovalRules(on_timeout=TimeoutAction.ESCALATE, escalate_to=("group:oncall",)))
    assert story.when(cmd.Approve, actor=CAROL) == ["approval_granted"]


def test_the_next_revision_of_a_gate_asks_its_own_approvers_first() -> None:
    story = _escalated()
    story.when(cmd.Reject, actor=ERIK, reason="no")
    story.when(cmd.Retry)
    story.drive()
    assert story.latest("approval_requested").body.approvers == ("user:bob",)
    story.refused(ApproverNotAllowed, cmd.Approve, actor=ERIK)


def test_whom_an_earlier_revision_was_handed_on_to_counts_for_nothing_when_it_opens_again() -> None:
    story = _escalated(replace(HANDED_ON, approvers=("group:release",)))
    story.when(cmd.Reject, actor=ERIK, reason="no")
    story.config = Config(groups={"oncall": ("erik",)})
    story.when(cmd.Retry)
    assert story.ask(1) == ["approval_requested"], "it can be handed on again"
    story.refused(ApproverNotAllowed, cmd.Approve, actor=ERIK)


def test_whom_a_gate_may_be_handed_on_to_could_still_pass_it() -> None:
    rules = replace(HANDED_ON, approvers=("group:gone",))
    story = Story(shell(gate=True, approval_timeout_mins=5, approval=rules), config=THREE).drive()
    assert story.step(1).gate_open
    never = Story(shell(gate=True, approval=rules), config=THREE).drive()
    assert never.status is RunStatus.PAUSED, "without a deadline it is never handed on"
    left = replace(rules, on_timeout=TimeoutAction.PAUSE, escalate_to=())
    assert Story(shell(gate=True, approval=left), config=THREE).drive().status is RunStatus.PAUSED


def test_where_roles_are_given_a_gate_that_lists_nobody_needs_somebody_with_the_role() -> None:
    nobody = Config(roles={Role.RUNNER: ("user:alice",), Role.APPROVER: ("group:gone",)})
    assert Story(shell(gate=True), config=nobody).drive().status is RunStatus.PAUSED
    somebody = Config(roles={Role.RUNNER: ("user:alice",), Role.ADMIN: ("user:erik",)})
    assert Story(shell(gate=True), config=somebody).drive().status is RunStatus.AWAITING_APPROVAL


def test_the_same_answer_again_is_a_success_for_somebody_it_was_handed_on_to() -> None:
    story = _escalated()
    story.when(cmd.Approve, actor=ERIK)
    assert story.when(cmd.Approve, actor=ERIK, step=1) == []


# one's own run

SAME_USER = Actor("alice", ActorKind.AGENT, "mcp")


def test_an_agent_of_the_starters_os_user_counts_as_the_starter() -> None:
    rules = ApprovalRules(approvers=("agent:alice", "user:bob"), allow_self_approval=True)
    story = _votes(rules)
    error = story.refused(ApproverNotAllowed, cmd.Approve, actor=SAME_USER)
    assert "somebody of the same name started the run" in error.message


@pytest.mark.parametrize(
    ("rules", "may"),
    [
        (None, True),
        (ApprovalRules(allow_self_approval=False), False),
        (ApprovalRules(approvers=("user:alice",), allow_self_approval=True), True),
        (ApprovalRules(approvers=("user:alice", "user:bob")), False),
    ],
)
def test_whose_agent_started_the_run_approves_only_where_self_approval_holds(
    rules: ApprovalRules | None, may: bool
) -> None:
    story = Story(shell(gate=True, approval=rules), actor=SAME_USER).drive()
    if may:
        assert story.when(cmd.Approve, actor=ALICE) == ["approval_granted"]
    else:
        error = story.refused(ApproverNotAllowed, cmd.Approve, actor=ALICE)
        assert "started" in error.message


def test_with_self_approval_the_starters_vote_is_one_of_two() -> None:
    story = _votes(ApprovalRules(quorum=2, allow_self_approval=True))
    assert story.when(cmd.Approve, actor=ALICE) == ["approval_vote_recorded"]
    assert story.when(cmd.Approve, actor=ALICE) == []
    assert story.when(cmd.Approve, actor=BOB) == ["approval_granted"]


def test_a_process_of_another_run_is_judged_as_who_it_is() -> None:
    story = _votes(ApprovalRules())
    assert story.when(cmd.Approve, actor=replace(INSIDE, inside="sop_run_other")) == ["approval_granted"]


# what stands beside a decision

SESSION = Session(
    printed_name="Bob (account)", user_id="1001", host="build-7", session="/dev/pts/3", authenticated_by="os user"
)
SIGNED_BOB = replace(BOB, session=SESSION)
SIGNING = Config(
    digest="c" * 64,
    users={"bob": User(name="Bob Example")},
    groups={"release": ("bob",), "all": ("bob", "carol"), "other": ("carol",)},
    roles={Role.APPROVER: ("group:release",), Role.RUNNER: ("user:alice", "user:bob")},
)


def test_a_signature_says_who_it_was_and_by_which_rights() -> None:
    story = Story(shell(gate=True), config=SIGNING).drive()
    story.when(cmd.Approve, actor=SIGNED_BOB, seen=True)
    signed = story.last.body.signature
    digest = Directory(SIGNING).standing(BOB).config_digest
    assert len(digest) == 64
    assert signed == ev.Signature(
        meaning="approved",
        printed_name="Bob Example",
        user_id="1001",
        host="build-7",
        session="/dev/pts/3",
        authenticated_by="os user",
        groups=("all", "release"),
        roles=("approver", "runner"),
        config_digest=digest,
        seen=True,
    )
    assert story.last.actor == BOB, "the session stands in the signature only"


def test_a_signature_without_config_or_session_has_the_config_digest_and_no_roles() -> None:
    signed = signature("approved", CAROL, Directory(Config()))
    assert (signed.printed_name, signed.groups, signed.roles, signed.seen) == ("", (), None, False)
    assert signed.config_digest != Directory(SIGNING).standing(CAROL).config_digest
    assert signature("approved", SIGNED_BOB, Directory(Config())).printed_name == "Bob (account)"
    assert signature("approved", CAROL, Directory(SIGNING)).roles == ()


def test_an_agents_signature_has_no_groups() -> None:
    signed = signature("approved", CLAUDE, Directory(Config(groups=GROUPS, users={"claude": User(name="Claude P.")})))
    assert (signed.groups, signed.printed_name) == ((), "")


def test_principals_name_an_agent_by_its_name_and_by_no_group() -> None:
    assert matches(("agent:claude",), CLAUDE, ())
    assert matches(("group:release",), CAROL, ("release",))
    assert not matches(("group:release", "user:claude"), CLAUDE, ("release",))


@pytest.mark.parametrize(
    ("make", "command", "more", "event", "meaning"),
    [
        (_gated, cmd.Approve, {}, "approval_granted", "approved"),
        (_gated, cmd.Reject, {"reason": "no"}, "approval_rejected", "rejected"),
        (_gated, cmd.Skip, {"reason": "no"}, "step_skipped", "skipped"),
        (_rejected, cmd.Skip, {"reason": "no"}, "step_skipped", "skipped"),
        (_timed_out, cmd.Complete, {}, "step_reported", "done by hand"),
    ],
)
def test_whatever_stands_for_an_answer_is_signed(
    make: Callable[..., Story], command: type[cmd.Command], more: dict[str, Any], event: str, meaning: str
) -> None:
    story = make(ALICE, ApprovalRules(on_timeout=TimeoutAction.FAIL), SIGNING)
    story.when(command, actor=SIGNED_BOB, **more)
    signed = story.latest(event).body.signature
    assert (signed.meaning, signed.user_id, signed.printed_name) == (meaning, "1001", "Bob Example")


@pytest.mark.parametrize(
    ("command", "more", "event"), [(cmd.Skip, {"reason": "no"}, "step_skipped"), (cmd.Complete, {}, "step_reported")]
)
def test_a_report_about_a_step_without_a_gate_is_not_signed(
    command: type[cmd.Command], more: dict[str, Any], event: str
) -> None:
    story = Story(manual()).drive()
    story.when(command, **more)
    assert story.latest(event).body.signature is None


def test_one_approver_is_enough_to_skip_behind_a_quorum() -> None:
    story = _votes()
    assert story.when(cmd.Skip, actor=BOB, reason="not needed") == ["approval_closed", "step_skipped", "run_completed"]
    assert story.gate(1).status is GateStatus.CLOSED


def test_a_right_is_refused_before_anything_else_is_looked_at() -> None:
    config = Config(roles={Role.VIEWER: ("user:bob",), Role.RUNNER: ("user:alice",)})
    story = Story(shell(), config=config)
    error = story.refused(NotAllowed, cmd.Retry, actor=BOB)
    assert "config.json gives that to the role runner or admin" in error.message
    assert (error.exit_code, error.http_status) == (5, 403)


def test_only_its_runners_start_a_procedure_that_names_some() -> None:
    people = Directory(Config(groups=GROUPS))
    named = procedure(shell(), runners=("group:release", "agent:codex"))
    for actor in (DORA, CODEX, TRIGGER, SYSTEM):
        check_runner(named, actor, people)
    for actor in (BOB, CLAUDE):
        with pytest.raises(NotAllowed, match="its runners are group:release, agent:codex"):
            check_runner(named, actor, people)


def test_deciding_needs_the_people_of_the_command_only() -> None:
    story = _votes()
    nobody = cmd.Approve(actor=BOB, now=story.now)
    with pytest.raises(ApproverNotAllowed):
        decide(story.run, nobody)
