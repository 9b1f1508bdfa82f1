"""The table of legal moves: what is in it is exact, what is not in it is refused, and no state is a dead end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache

import pytest

from sopwith.core import commands as cmd
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.config import Config
from sopwith.core.due import due
from sopwith.core.events import Policy
from sopwith.core.moves import MOVES
from sopwith.core.procedure import (
    ExecutionMode,
    InterruptRules,
    OnFailure,
    OnInterrupt,
    OnReject,
    RetryRules,
    RollbackScript,
    Script,
)
from sopwith.core.refusal import verb_of, what_now
from sopwith.core.run import Run, RunStatus, children, is_final, open_gates, running_processes, status_of
from sopwith.errors import IllegalMove

from .explore import Outcome, commands_for, every_state
from .given import CHECK, CHILD, RUN, Story, child, manual, shell, wait
from .test_rollback import STORIES as ROLLBACKS
from .test_rollback import states as states_of_rollback

pytestmark = pytest.mark.xdist_group("the table of moves")  # one worker explores, not each of them

SUPERVISED = ExecutionMode.SUPERVISED
RERUNS, FAILS, VERIFIES = (
    InterruptRules(policy=policy, command="test" if policy is OnInterrupt.VERIFY else "")
    for policy in (OnInterrupt.RERUN, OnInterrupt.FAIL, OnInterrupt.VERIFY)
)
UNDO = RollbackScript(script=Script(interpreter="bash", text="true\n"))
APPROVE, REJECT, ESCALATE, SKIP, PAUSE, FAIL = (
    Policy(approval_timeout_mins=5, approval_timeout_action=action) for action in TimeoutAction
)
TWO = ApprovalRules(approvers=("group:release",), quorum=2, allow_self_approval=True)
LISTED = ApprovalRules(approvers=("group:release",), allow_self_approval=True)
REMINDED = ApprovalRules(remind_after_mins=(1,))
HANDED_ON = ApprovalRules(approvers=("group:oncall",), escalate_to=("group:release",), allow_self_approval=True)

RELEASE = Config(groups={"release": ("alice", "bob"), "oncall": ("bob",)})
STORIES: dict[str, Callable[[], Story]] = {
    "two gates": lambda: Story(shell(gate=True), shell(gate=True, after=())),
    "a gate beside a manual step": lambda: Story(shell(gate=True), manual(after=()), policy=PAUSE),
    "a process beside a gate that pauses": lambda: Story(shell(), shell(gate=True, after=()), policy=PAUSE),
    "a process beside a gate that rejects": lambda: Story(shell(), manual(gate=True, after=()), policy=REJECT),
    "a process beside a gate that approves": lambda: Story(shell(), shell(gate=True, after=()), policy=APPROVE),
    "two processes from the queue": lambda: Story(shell(), shell(after=()), queued=True),
    "a process beside a manual step": lambda: Story(shell(), manual(after=())),
    "two manual steps": lambda: Story(manual(), manual(after=())),
    "a gated manual step after another": lambda: Story(manual(), manual(gate=True)),
    "a start gate from the queue that pauses": lambda: Story(shell(), queued=True, mode=SUPERVISED, policy=PAUSE),
    "a start gate that approves": lambda: Story(manual(gate=True), mode=SUPERVISED, policy=APPROVE),
    "a start gate that rejects": lambda: Story(shell(), mode=SUPERVISED, policy=REJECT),
    "a start gate that escalates": lambda: Story(
        shell(), mode=SUPERVISED, policy=ESCALATE, approval=HANDED_ON, config=RELEASE
    ),
    "a start gate from the queue with two votes": lambda: Story(
        shell(), mode=SUPERVISED, approval=TWO, policy=PAUSE, queued=True, config=RELEASE
    ),
    "a start gate with reminders": lambda: Story(shell(), mode=SUPERVISED, approval=REMINDED),
    "two votes": lambda: Story(shell(gate=True, approval=TWO)),
    "two votes beside a process": lambda: Story(manual(gate=True, approval=TWO), shell(after=())),
    "a listed approver": lambda: Story(manual(gate=True, approval=LISTED)),
    "reminders": lambda: Story(manual(gate=True, approval=REMINDED)),
    "reminders beside a manual step": lambda: Story(manual(gate=True, approval=REMINDED), manual(after=())),
    "a gate that escalates": lambda: Story(manual(gate=True, approval=HANDED_ON), policy=ESCALATE),
    "a gate that escalates beside a process": lambda: Story(
        manual(gate=True, approval=HANDED_ON), shell(after=()), policy=ESCALATE
    ),
    "a gate that skips": lambda: Story(manual(gate=True), policy=SKIP),
    "a process beside a gate that skips": lambda: Story(shell(), manual(gate=True, after=()), policy=SKIP),
    "a gate that fails": lambda: Story(manual(gate=True), policy=FAIL),
    "a process beside a gate that fails": lambda: Story(shell(), manual(gate=True, after=()), policy=FAIL),
    "a start gate that skips": lambda: Story(manual(gate=True), mode=SUPERVISED, policy=SKIP),
    "three in a row": lambda: Story(manual(), shell(gate=True), shell(gate=True)),
    "a condition that does not hold": lambda: Story(shell(condition="params.go == 'yes'"), params={"go": "no"}),
    "a condition that does not hold beside a gate": lambda: Story(
        shell(condition="params.go == 'yes'"), manual(gate=True, after=()), params={"go": "no"}
    ),
    "a condition that nobody knows": lambda: Story(manual(gate=True, condition="params.go == 'yes'")),
    "a condition that nobody knows beside a process": lambda: Story(
        shell(condition="params.go == 'yes'"), shell(after=())
    ),
    "a condition that nobody knows beside a gate": lambda: Story(
        shell(condition="params.go == 'yes'"), manual(gate=True, after=())
    ),
    "a wait": lambda: Story(wait(60)),
    "a wait beside a gate": lambda: Story(wait(60, gate=True), manual(gate=True, after=())),
    "a limit by hand": lambda: Story(manual(timeout_secs=60)),
    "a limit by hand beside a gate": lambda: Story(manual(timeout_secs=60), manual(gate=True, after=())),
    "a limit by hand that is passed over": lambda: Story(manual(timeout_secs=60, on_failure=OnFailure.CONTINUE)),
    "a limit by hand beside a gate, passed over": lambda: Story(
        manual(timeout_secs=60, on_failure=OnFailure.CONTINUE), manual(gate=True, after=())
    ),
    "retries": lambda: Story(shell(gate=True, retry=RetryRules(max_attempts=2, delay_secs=60))),
    "retries beside a gate": lambda: Story(
        shell(retry=RetryRules(max_attempts=2, delay_secs=60)), manual(gate=True, after=())
    ),
    "a limit of the run beside a gate": lambda: Story(shell(), manual(gate=True, after=()), timeout_secs=60),
    "a limit of the run and a way around": lambda: Story(
        manual(), shell(gate=True, after=(), retry=RetryRules(max_attempts=2, delay_secs=90)), timeout_secs=60
    ),
    "a limit of the run and a wait": lambda: Story(wait(90), manual(after=()), timeout_secs=60),
    "a rejection that fails the run": lambda: Story(
        shell(), manual(gate=True, after=(), on_reject=OnReject.FAIL), policy=REJECT
    ),
    "a rejection that leads on": lambda: Story(
        manual(gate=True, on_reject=OnReject.GOTO, reject_goto=3), manual(), manual(gate=True), policy=REJECT
    ),
    "a rejection that leads past others": lambda: Story(
        manual(gate=True, on_reject=OnReject.GOTO, reject_goto=3),
        manual(gate=True, after=(), on_reject=OnReject.FAIL),
        shell(after=(1, 2)),
    ),
    "a rejection that leads to a step already done, where nobody may say yes": lambda: Story(
        manual(gate=True, approval=LISTED, on_reject=OnReject.GOTO, reject_goto=2), manual(after=())
    ),
    "two votes, and a rejection that fails the run": lambda: Story(
        manual(gate=True, approval=TWO, on_reject=OnReject.FAIL), wait(60, after=())
    ),
    "two votes, and a rejection that leads to a step already done": lambda: Story(
        manual(gate=True, approval=TWO, on_reject=OnReject.GOTO, reject_goto=2), manual(after=())
    ),
    "a way around": lambda: Story(shell(on_failure=OnFailure.GOTO, goto=3), manual(), manual(gate=True)),
    "changed parameters at the start": lambda: Story(
        shell(), shell(gate=True, after=()), mode=SUPERVISED, params={"go": "no"}
    ),
    "changed parameters beside a wait": lambda: Story(
        shell(rollback=UNDO), shell(), wait(60, after=()), mode=SUPERVISED, params={"go": "no"}
    ),
    "an interruption that is run again": lambda: Story(shell(on_interrupt=RERUNS)),
    "an interruption that fails and is passed over": lambda: Story(
        shell(on_interrupt=FAILS, on_failure=OnFailure.CONTINUE)
    ),
    "an interruption that is verified": lambda: Story(shell(on_interrupt=VERIFIES)),
    "an interruption that is verified beside a gate": lambda: Story(
        shell(on_interrupt=VERIFIES), manual(gate=True, after=())
    ),
    "an interruption that is verified with a limit": lambda: Story(shell(on_interrupt=VERIFIES), timeout_secs=60),
    "a report that is verified": lambda: Story(manual(verify=CHECK)),
    "a report that is verified beside a process": lambda: Story(manual(verify=CHECK), shell(after=())),
    "a report that is verified beside a gate": lambda: Story(
        manual(verify=CHECK, timeout_secs=60), manual(gate=True, after=()), policy=PAUSE
    ),
    "a report that is verified with a limit": lambda: Story(
        manual(verify=CHECK, on_failure=OnFailure.CONTINUE), manual(verify=CHECK), timeout_secs=60
    ),
    "items": lambda: Story(shell(for_each=("eu", "us"))),
    "items one after another, each asked about": lambda: Story(
        manual(gate=True, for_each=("eu", "us"), max_parallel=1)
    ),
    "items that are passed over": lambda: Story(
        manual(for_each=("eu", "us"), on_failure=OnFailure.GOTO, goto=3), shell(), manual()
    ),
    "items that nobody knows beside a process": lambda: Story(shell(), shell(for_each="params.regions", after=())),
    "items of which one is tried again": lambda: Story(
        shell(for_each=("eu", "us"), retry=RetryRules(max_attempts=2, delay_secs=60)),
    ),
    "one of each": lambda: Story(shell(), manual(after=()), shell(gate=True, after=())),
    "a child run": lambda: Story(child(), manual(gate=True)),
    "a child run beside a gate": lambda: Story(child(), manual(gate=True, after=()), policy=PAUSE),
    "a child run with a limit": lambda: Story(child(timeout_secs=60)),
    "a child run that may fail": lambda: Story(child(on_failure=OnFailure.CONTINUE), manual(gate=True)),
    "a child run beside another": lambda: Story(child(), child(after=())),
}

PERSON_VERBS = {command.__name__.lower(): command for command in (cmd.Approve, cmd.Reject, cmd.Pause, cmd.Resume)}
PERSON_VERBS |= {command.__name__.lower(): command for command in (cmd.Cancel, cmd.Retry, cmd.Skip, cmd.Complete)}


@cache
def states(name: str) -> list[tuple[Run, list[Outcome]]]:
    return list(every_state(STORIES[name]().run))


@cache
def a_run(status: RunStatus) -> Run:
    return next(run for name in STORIES for run, _ in states(name) if status_of(run) is status)


@cache
def reached() -> dict[tuple[RunStatus, type[cmd.Command]], set[RunStatus]]:
    found = defaultdict(set)
    for of, names in ((states, STORIES), (states_of_rollback, ROLLBACKS)):
        for run, outcomes in (each for name in names for each in of(name)):
            for command, after in outcomes:
                found[status_of(run), type(command)].add(status_of(after))
    return found


# one story a test, and first: what the tests of the whole table need is explored by then


@pytest.mark.parametrize("name", STORIES)
def test_no_state_is_a_dead_end(name: str) -> None:
    """The world owes the run something or a person can take it further, and what the hint names can be done."""
    for run, outcomes in states(name):
        if is_final(run):
            continue
        accepted = {type(command) for command, _ in outcomes}
        moving = {type(command) for command, after in outcomes if after.seq > run.seq}
        named = {command for verb, command in PERSON_VERBS.items() if f"sop {verb} " in what_now(run)}
        rests = any(step.child_standing is not None for step in children(run)) and not run.paused
        assert due(run) or rests or named & moving - {cmd.Cancel, cmd.Pause}, run
        if rests:
            assert {cmd.Notice, cmd.Finish} <= moving
            assert named & accepted or CHILD in what_now(run), run
        else:
            assert named & accepted, run
        assert cmd.Cancel in accepted, run


@pytest.mark.parametrize(("status", "command"), MOVES)
def test_a_move_leads_exactly_to_the_statuses_that_the_table_names(
    status: RunStatus, command: type[cmd.Command]
) -> None:
    to = MOVES[status, command].to
    assert len(set(to)) == len(to)
    assert reached()[status, command] == set(to)


def test_no_command_is_accepted_outside_the_table() -> None:
    assert set(reached()) == set(MOVES)


ALL_COMMANDS = (*cmd.PersonCommand.__subclasses__(), *cmd.Answer.__subclasses__(), *cmd.Command.__subclasses__())
CONCRETE = [command for command in ALL_COMMANDS if not command.__subclasses__()]
NOT_IN_TABLE = [(status, command) for status in RunStatus for command in CONCRETE if (status, command) not in MOVES]


@pytest.mark.parametrize(("status", "command"), NOT_IN_TABLE)
def test_a_pair_that_is_not_in_the_table_is_refused_naming_run_status_and_way_out(
    status: RunStatus, command: type[cmd.Command]
) -> None:
    run = a_run(status)
    story = STORIES["three in a row"]()
    story.run = run
    for each in commands_for(run):
        if not isinstance(each, command):
            continue
        fields = {name: getattr(each, name) for name in each.__struct_fields__}
        error = story.refused(IllegalMove, command, **fields)
        assert error.message.startswith(f"cannot {verb_of(each)} {RUN}: it is {status}")
        assert (error.exit_code, error.details["status"]) == (5, status)
        assert (RUN in error.hint) == isinstance(each, cmd.PersonCommand)


@pytest.mark.parametrize("name", STORIES)
def test_a_running_process_can_always_end(name: str) -> None:
    for run, outcomes in states(name):
        ended = {command.step for command, _ in outcomes if isinstance(command, cmd.Finish | cmd.EndVerification)}
        assert ended == set(running_processes(run))
        # only of a child run is it known that it rests, and how
        assert not ended or status_of(run) is RunStatus.RUNNING or children(run)


@pytest.mark.parametrize("name", STORIES)
def test_a_gate_is_open_only_where_somebody_can_answer_it_or_resume_to_it(name: str) -> None:
    for run, outcomes in states(name):
        answered = {command.step for command, _ in outcomes if isinstance(command, cmd.Approve) and command.step}
        for number, _ in open_gates(run):
            assert run.paused or number is None or number in answered
            assert number is None or run.steps[number].status == "awaiting_approval"


def test_the_commands_are_all_known_here() -> None:
    story = STORIES["one of each"]().drive()
    assert {type(command) for command in commands_for(story.run)} == set(CONCRETE)
