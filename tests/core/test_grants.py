"""What a token gives: never more than config.json gives its principal, than its role, or beyond its procedures."""

from __future__ import annotations

import fnmatch
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.approval import ApprovalRules
from sopwith.core.config import Config, Role
from sopwith.core.grants import Grant, is_pattern, named_by
from sopwith.core.people import FREE, RIGHTS, Directory, Right, check_right, check_runner, matches
from sopwith.errors import NotAllowed, Refused

from .given import Story, shell

NAMES = ("deploy", "deploy-app", "release", "pay")
roles = st.sampled_from(list(Role))
principals = st.lists(st.sampled_from(["user:ann", "user:bob", "group:ops", "agent:ann"]), max_size=2).map(tuple)
held = st.dictionaries(roles, principals, max_size=3)
patterns = st.sampled_from(["*", "deploy", "deploy-*", "*e*", "pay", "x*"])
configs = st.builds(
    Config,
    roles=held,
    procedure_roles=st.dictionaries(patterns, held, max_size=3),
    groups=st.just({"ops": ("ann",)}),
)
grants = st.builds(Grant, role=roles, procedures=st.lists(patterns, max_size=2).map(tuple))
kinds = st.sampled_from([ActorKind.HUMAN, ActorKind.AGENT])


def ann(grant: Grant | None = None, kind: ActorKind = ActorKind.HUMAN) -> Actor:
    return Actor("ann", kind, "http", grant=grant)


@given(configs, grants, kinds, st.sampled_from(list(Right)), st.sampled_from((*NAMES, None)))
def test_a_token_only_takes_away(config: Config, grant: Grant, kind: ActorKind, right: Right, name: str | None) -> None:
    people = Directory(config)
    with_token, without = people.standing(ann(grant, kind), name), people.standing(ann(None, kind), name)
    if with_token.may(right):
        assert without.may(right)
        assert right in RIGHTS[grant.role]
        assert not grant.procedures or (name is not None and named_by(grant.procedures, name))
    elif without.may(right) and right not in FREE:
        assert right not in RIGHTS[grant.role] or not grant.covers(name)


@given(configs, grants, kinds, st.sampled_from(list(Right)), st.sampled_from((*NAMES, None)))
def test_a_right_is_refused_just_where_it_is_not_there(
    config: Config, grant: Grant, kind: ActorKind, right: Right, name: str | None
) -> None:
    people, actor = Directory(config), ann(grant, kind)
    if people.standing(actor, name).may(right):
        check_right(actor, right, people, "do it", procedure=name)
    else:
        with pytest.raises(NotAllowed):
            check_right(actor, right, people, "do it", procedure=name)


@given(configs, grants, kinds, st.sampled_from(NAMES))
def test_somebody_sees_what_they_may_do_anything_with(config: Config, grant: Grant, kind: ActorKind, name: str) -> None:
    people, actor = Directory(config), ann(grant, kind)
    assert people.sees(actor, name) or not any(people.standing(actor, name).may(right) for right in Right)
    assert people.sees(ann(None, kind), name), "whoever is at the machine can read the files"


RUNNER = {Role.RUNNER: ("user:ann",)}


@pytest.mark.parametrize(
    ("config", "grant", "right", "name", "may"),
    [
        (Config(), None, Right.START, "deploy", True),
        (Config(), Grant(role=Role.RUNNER), Right.START, "deploy", True),
        (Config(), Grant(role=Role.VIEWER), Right.START, "deploy", False),
        (Config(), Grant(role=Role.VIEWER), Right.LOOK, "deploy", True),
        (Config(), Grant(role=Role.VIEWER), Right.STOP, "deploy", False),
        (Config(), None, Right.STOP, "deploy", True),
        (Config(), Grant(role=Role.ADMIN, procedures=("deploy-*",)), Right.START, "deploy", False),
        (Config(), Grant(role=Role.ADMIN, procedures=("deploy-*",)), Right.START, "deploy-app", True),
        (Config(), Grant(role=Role.ADMIN, procedures=("deploy-*",)), Right.MANAGE, None, False),
        (Config(), Grant(role=Role.ADMIN, procedures=("*",)), Right.MANAGE, None, False),
        (Config(), Grant(role=Role.ADMIN), Right.MANAGE, None, True),
        (Config(roles=RUNNER), Grant(role=Role.ADMIN), Right.START, "deploy", True),
        (Config(roles=RUNNER), Grant(role=Role.ADMIN), Right.APPROVE, "deploy", False),
        (Config(roles={Role.RUNNER: ("user:bob",)}), Grant(role=Role.ADMIN), Right.LOOK, "deploy", False),
        (Config(roles={Role.RUNNER: ("user:bob",)}), None, Right.LOOK, "deploy", True),
        (Config(roles={Role.RUNNER: ("user:bob",)}), None, Right.START, "deploy", False),
        (Config(procedure_roles={"deploy*": RUNNER}), None, Right.START, "deploy-app", True),
        (Config(procedure_roles={"deploy*": RUNNER}), None, Right.START, "release", False),
        (Config(procedure_roles={"deploy*": RUNNER}), Grant(role=Role.RUNNER), Right.LOOK, "release", False),
        (Config(procedure_roles={"deploy*": RUNNER}), Grant(role=Role.RUNNER), Right.LOOK, "deploy", True),
        (
            Config(roles=RUNNER, procedure_roles={"pay": {Role.APPROVER: ("user:ann",)}}),
            None,
            Right.APPROVE,
            "pay",
            True,
        ),
        (Config(roles=RUNNER, procedure_roles={"pay": {Role.APPROVER: ("user:ann",)}}), None, Right.START, "pay", True),
        (
            Config(roles=RUNNER, procedure_roles={"pay": {Role.APPROVER: ("user:ann",)}}),
            None,
            Right.APPROVE,
            "deploy",
            False,
        ),
        (Config(procedure_roles={"pay": RUNNER}), None, Right.PRUNE, None, False),
    ],
)
def test_cases(config: Config, grant: Grant | None, right: Right, name: str | None, may: bool) -> None:
    assert Directory(config).standing(ann(grant), name).may(right) is may


def test_every_role_looks_and_only_the_administrator_manages() -> None:
    assert all(Right.LOOK in rights for rights in RIGHTS.values())
    assert [role for role, rights in RIGHTS.items() if Right.MANAGE in rights] == [Role.ADMIN]
    assert RIGHTS[Role.VIEWER] == {Right.LOOK}


def test_a_grant_is_recorded_nowhere() -> None:
    assert ann(Grant(role=Role.ADMIN)).recorded == ann()


@given(st.text("ab-*", min_size=1, max_size=8), st.text("ab-", max_size=8))
def test_a_star_stands_for_any_characters(pattern: str, name: str) -> None:
    assert named_by((pattern,), name) is fnmatch.fnmatchcase(name, pattern)


def test_a_pattern_of_many_stars_is_matched_as_well() -> None:
    """One that tries every split would not come to an end."""
    assert not named_by(("*a" * 32,), "a" * 31 + "b" * 33)
    assert not named_by(("*ab" * 20 + "*c",), "ab" * 32)


@pytest.mark.parametrize("text", ["", ".", "-x", "A", "a/b", "../a", "a b", "a\n", "x" * 65, "[a]", "a?"])
def test_what_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)


# where the engine asks

TAKES: dict[type[cmd.Command], tuple[Right, dict[str, Any]]] = {
    cmd.Reject: (Right.STOP, {"reason": "no"}),
    cmd.Pause: (Right.STOP, {}),
    cmd.Cancel: (Right.STOP, {}),
    cmd.Resume: (Right.STEER, {}),
    cmd.Retry: (Right.STEER, {}),
    cmd.Rollback: (Right.STEER, {}),
    cmd.Skip: (Right.STEER, {"reason": "not needed"}),
    cmd.Complete: (Right.STEER, {}),
    cmd.Fail: (Right.STEER, {"reason": "no"}),
    cmd.Block: (Right.STEER, {"reason": "no"}),
    cmd.Approve: (Right.APPROVE, {}),
}
LISTS_BOB = ApprovalRules(approvers=("user:bob", "agent:bob"))


def bob(grant: Grant | None, kind: ActorKind = ActorKind.HUMAN) -> Actor:
    return Actor("bob", kind, "http", grant=grant)


def test_every_decision_of_a_person_takes_a_right_of_a_token() -> None:
    decisions = {*cmd.PersonCommand.__subclasses__(), *cmd.Answer.__subclasses__()} - {cmd.Answer}
    assert set(TAKES) == {each for each in decisions if not each.__subclasses__()}


@pytest.mark.parametrize("kind", [ActorKind.HUMAN, ActorKind.AGENT])
@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("command", list(TAKES), ids=lambda command: command.__name__)
def test_a_token_decides_only_what_its_role_and_procedures_let_it(
    command: type[cmd.Command], role: Role, kind: ActorKind
) -> None:
    right, fields = TAKES[command]
    grants = [Grant(role=role, procedures=("other-*",)), *([] if right in RIGHTS[role] else [Grant(role=role)])]
    for grant in grants:
        story = Story(shell(gate=True, approval=LISTS_BOB)).drive()
        story.refused(NotAllowed, command, actor=bob(grant, kind), **fields)
    if right in RIGHTS[role]:
        story = Story(shell(gate=True, approval=LISTS_BOB)).drive()
        with suppress(Refused):
            story.when(command, actor=bob(Grant(role=role, procedures=("dep*",)), kind), **fields)
        if command in (cmd.Approve, cmd.Reject, cmd.Pause, cmd.Cancel):
            assert story.last.actor == bob(None, kind), "done, and recorded without the grant"


@pytest.mark.parametrize("command", [cmd.Reject, cmd.Pause, cmd.Cancel], ids=lambda command: command.__name__)
def test_whom_config_json_makes_a_viewer_stops_nothing_over_the_network(command: type[cmd.Command]) -> None:
    _right, fields = TAKES[command]
    config = Config(roles={Role.VIEWER: ("user:bob",), Role.ADMIN: ("user:alice",)})
    story = Story(shell(gate=True), config=config).drive()
    story.refused(NotAllowed, command, actor=bob(Grant(role=Role.ADMIN)), **fields)
    story.when(command, actor=bob(None), **fields)
    assert story.last.actor == bob(None), "at the machine to stop something is easy"


def test_a_gate_that_nobody_has_the_role_for_counts_the_roles_of_its_procedure() -> None:
    config = Config(procedure_roles={"dep*": {Role.APPROVER: ("user:bob",)}, "pay": {Role.APPROVER: ("user:eve",)}})
    people = Directory(config)
    assert people.electorate(ApprovalRules(), None, procedure="deploy") == {"bob"}
    assert people.electorate(ApprovalRules(), None, procedure="pay") == {"eve"}
    assert people.electorate(ApprovalRules(), None, procedure="other") == frozenset()


# a person's token in the hands of an agent


@given(configs, grants, st.sampled_from(list(Right)), st.sampled_from((*NAMES, None)))
def test_an_agent_with_a_persons_token_may_just_what_the_token_gives_the_person(
    config: Config, grant: Grant, right: Right, name: str | None
) -> None:
    people, lent = Directory(config), replace(grant, lent=True)
    person, agent = people.standing(ann(grant), name), people.standing(ann(lent, ActorKind.AGENT), name)
    assert agent.may(right) is person.may(right)
    assert agent.groups == ()


@pytest.mark.parametrize("names", ["agent:ann", "user:ann", "group:ops"])
def test_no_gate_means_an_agent_with_a_persons_token(names: str) -> None:
    agent = ann(Grant(role=Role.ADMIN, lent=True), ActorKind.AGENT)
    assert not matches((names,), agent, ("ops",))
    assert matches((names,), ann(), ("ops",)) is (names != "agent:ann")


@pytest.mark.parametrize(("runner", "may"), [("user:ann", True), ("group:ops", True), ("agent:ann", False)])
def test_it_starts_what_the_person_may_start(runner: str, may: bool) -> None:
    procedure = replace(Story(shell()).procedure, runners=(runner,))
    agent = ann(Grant(role=Role.RUNNER, lent=True), ActorKind.AGENT)
    people = Directory(Config(groups={"ops": ("ann",)}))
    with nullcontext() if may else pytest.raises(NotAllowed):
        check_runner(procedure, agent, people)


def test_it_has_the_roles_of_the_persons_groups() -> None:
    people = Directory(Config(roles={Role.RUNNER: ("group:ops",)}, groups={"ops": ("ann",)}))
    standing = people.standing(ann(Grant(role=Role.RUNNER, lent=True), ActorKind.AGENT), "deploy")
    assert standing.may(Right.START)
    assert standing.groups == ()
