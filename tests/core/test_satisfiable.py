"""Gates that nobody could ever pass, counted with the groups as they are."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core.actor import Actor
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.config import Config, User
from sopwith.core.people import Directory
from sopwith.core.procedure import ExecutionMode, RollbackScript, Script
from sopwith.core.satisfiable import unsatisfiable
from sopwith.engine.checks import check_procedure
from sopwith.errors import Severity
from sopwith.plugins import Registry

from .given import AGENT, ALICE, TRIGGER, procedure, shell

AUTO, SUPERVISED, STEP_BY_STEP, _ = ExecutionMode
GROUPS = Directory(Config(groups={"release": ("alice", "bob"), "empty": (), "me": ("alice",)}))


def found(
    *, mode: ExecutionMode = AUTO, starter: Actor | None = None, gate: bool = True, whole: Any = None, **rules: Any
) -> list[tuple[int | None, str]]:
    made = procedure(shell(gate=gate, approval=ApprovalRules(**rules) if rules else None), approval=whole)
    problems = list(unsatisfiable(made, GROUPS, starter=starter, mode=mode))
    assert all(hint for _, _, hint in problems)
    return [(number, sentence) for number, sentence, _ in problems]


def test_a_gate_that_lists_nobody_can_always_be_passed() -> None:
    assert found(quorum=50) == []
    assert found() == []


def test_a_gate_of_an_unknown_or_empty_group_cannot_be_passed() -> None:
    sentence = "step 1 needs an approval of group:gone, and nobody could give one"
    assert found(approvers=("group:gone",)) == [(1, sentence)]
    assert len(found(approvers=("group:empty",))) == 1
    assert found(approvers=("group:empty", "user:carol")) == []


def test_a_quorum_counts_distinct_people() -> None:
    assert found(approvers=("group:release",), quorum=2) == []
    assert found(approvers=("group:release", "user:alice", "group:me"), quorum=3) == [
        (1, "step 1 needs 3 approvals of group:release, user:alice, group:me, and only 2 could give one")
    ]
    assert found(approvers=("group:release", "agent:bot"), quorum=3) == []


def test_who_starts_the_run_does_not_count_where_self_approval_does_not_hold() -> None:
    assert found(approvers=("group:release",), starter=ALICE) == []
    assert found(approvers=("group:me",), starter=ALICE) == [
        (1, "step 1 needs an approval of group:me, and nobody else could give one")
    ]
    assert len(found(approvers=("group:release",), quorum=2, starter=ALICE)) == 1
    assert found(approvers=("group:me",), allow_self_approval=True, starter=ALICE) == []
    assert found(approvers=("group:me",)) == []


def test_an_agent_never_counts_in_a_run_that_it_started() -> None:
    assert found(approvers=("agent:claude",)) == []
    assert len(found(approvers=("agent:claude",), allow_self_approval=True, starter=AGENT)) == 1
    assert found(approvers=("agent:claude",), starter=TRIGGER) == []


@pytest.mark.parametrize(
    ("mode", "gate", "count"),
    [(AUTO, False, 0), (AUTO, True, 1), (SUPERVISED, False, 1), (SUPERVISED, True, 2), (STEP_BY_STEP, False, 1)],
)
def test_the_mode_says_which_gates_there_are(mode: ExecutionMode, gate: bool, count: int) -> None:
    whole = ApprovalRules(approvers=("group:gone",))
    assert len(found(mode=mode, gate=gate, whole=whole)) == count


def test_a_steps_own_rules_stand_for_the_procedures() -> None:
    whole = ApprovalRules(approvers=("group:gone",))
    assert found(whole=whole, comment_required=True) == []


def test_a_gate_with_a_condition_counts_before_a_run_only_where_it_is_asked_anyway() -> None:
    rules = {"approvers": ("group:gone",), "when": "true"}
    assert len(found(**rules)) == 1
    assert found(**rules, starter=ALICE) == []
    assert len(found(**rules, starter=ALICE, mode=STEP_BY_STEP)) == 1


def test_runners_who_are_nobody_are_told() -> None:
    made = procedure(shell(), runners=("group:empty",))
    ((number, sentence, _),) = unsatisfiable(made, GROUPS, starter=None, mode=AUTO)
    assert (number, sentence) == (None, "nobody could start it: its runners, group:empty, are nobody")
    assert list(unsatisfiable(procedure(shell(), runners=("group:me",)), GROUPS, starter=None, mode=AUTO)) == []


def told(config: Config, *, runners: tuple[str, ...] = (), **rules: Any) -> list[tuple[Severity, str, str]]:
    made = procedure(shell(gate=True, approval=ApprovalRules(**rules)), runners=runners, execution_mode=AUTO)
    problems = list(check_procedure(made, Registry(), {}, config))
    assert all(problem.hint for problem in problems)
    return [(problem.severity, problem.code, problem.path) for problem in problems]


ONE_ACCOUNT = (Severity.WARNING, "one_account", "step 1")


def test_validation_tells_as_an_error_what_nobody_here_could_pass() -> None:
    unknown = (Severity.ERROR, "unknown_group", "step 1")
    nobody = (Severity.ERROR, "nobody_can_pass", "step 1")
    config = Config(groups={"release": ("alice", "bob"), "empty": ()})
    assert told(config, approvers=("group:release",), quorum=2) == [ONE_ACCOUNT]
    assert told(config, approvers=("group:release",), quorum=3) == [nobody, ONE_ACCOUNT]
    assert told(config, approvers=("group:empty",)) == [nobody]
    assert told(config, approvers=("group:gone",)) == [unknown, nobody]
    assert told(config, approvers=("group:gone", "user:carol")) == [unknown]
    assert told(config, approvers=("user:carol",), escalate_to=("group:gone",)) == [unknown]
    assert told(config, runners=("group:gone",)) == [
        (Severity.ERROR, "unknown_group", ""),
        (Severity.ERROR, "nobody_can_pass", ""),
    ]


def test_where_users_are_listed_a_procedure_names_no_others() -> None:
    config = Config(users={"alice": User()})
    unknown = (Severity.ERROR, "unknown_user", "step 1")
    assert told(config, approvers=("user:alice", "agent:bot")) == []
    assert told(config, approvers=("user:bob",)) == [unknown]
    assert told(Config(), approvers=("user:bob",)) == []


def test_an_action_without_any_timeout_is_a_warning() -> None:
    pause = TimeoutAction.PAUSE
    assert told(Config(), on_timeout=pause) == [(Severity.WARNING, "no_timeout", "step 1")]
    assert told(Config(approval_timeout_mins=5), on_timeout=pause) == []
    assert told(Config(), on_timeout=pause, quorum=1) == []


def test_votes_that_one_account_cannot_give_are_a_warning() -> None:
    pause = TimeoutAction.PAUSE
    assert told(Config(), on_timeout=pause, quorum=2) == [ONE_ACCOUNT]
    assert told(Config(), on_timeout=pause, approvers=("user:bob",)) == []


# gates of rollbacks


def of_rollback(*, asks: bool = True, starter: Actor | None = None, gate: bool = False, **rules: Any) -> list[str]:
    undo = RollbackScript(script=Script(interpreter="bash", text="undo\n"), requires_approval=asks)
    made = procedure(shell(gate=gate, approval=ApprovalRules(**rules), rollback=undo))
    return [sentence for _, sentence, _ in unsatisfiable(made, GROUPS, starter=starter, mode=AUTO)]


def test_the_gate_of_a_rollback_must_be_passable_too() -> None:
    told = ["the rollback of step 1 needs an approval of group:empty, and nobody could give one"]
    assert of_rollback(approvers=("group:empty",)) == told
    assert of_rollback(approvers=("group:release",)) == []
    assert of_rollback(approvers=("group:empty",), asks=False) == []


def test_who_starts_the_run_does_not_count_at_its_rollback_either() -> None:
    assert of_rollback(approvers=("group:me",)) == []
    assert "nobody else could" in of_rollback(approvers=("group:me",), starter=ALICE)[0]


def test_a_rollback_asks_whatever_the_gates_condition_says() -> None:
    assert len(of_rollback(approvers=("group:me",), when="params.x == 'y'", gate=True, starter=ALICE)) == 1


def test_nobody_is_let_in_at_a_rollback_by_an_escalation() -> None:
    rules = {"on_timeout": TimeoutAction.ESCALATE, "escalate_to": ("group:release",)}
    told = of_rollback(approvers=("group:empty",), gate=True, **rules)
    assert told == ["the rollback of step 1 needs an approval of group:empty, and nobody could give one"]


def test_one_thing_that_stands_in_the_way_is_told_once() -> None:
    told = of_rollback(approvers=("group:empty",), gate=True)
    assert told == ["step 1 needs an approval of group:empty, and nobody could give one"]


def test_validation_tells_of_a_rollback_that_nobody_could_approve() -> None:
    undo = RollbackScript(script=Script(interpreter="bash", text="undo\n"), requires_approval=True)
    made = procedure(shell(approval=ApprovalRules(approvers=("group:empty",)), rollback=undo))
    problems = check_procedure(made, Registry(), {}, Config(groups={"empty": ()}))
    assert [each.code for each in problems if each.severity is Severity.ERROR] == ["nobody_can_pass"]
