"""Many people answer one gate at the same time: one decision counts, and everybody is told which.

In threads on both stores, each with an engine of its own, and in processes of several threads on SQLite. All are let
loose together; nothing waits for time to pass.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from sopwith.assembly import open_engine
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.admission import Occupancy
from sopwith.core.approval import ApprovalRules
from sopwith.core.codec import NO_HASH, decode_event, link
from sopwith.core.decide import Decision, NewRun, create
from sopwith.core.events import ApprovalGranted, ApprovalRejected, ApprovalVoteRecorded, Event, Policy
from sopwith.core.instant import Instant
from sopwith.core.procedure import ExecutionMode, Procedure, Step, encode_procedure, sha256
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine
from sopwith.engine.runs import Runs
from sopwith.ports import Workspace
from sopwith.testing.memory import MemoryStore, NoViews

from .decider_process import PATIENCE_SECS, Outcome, Plan, answer_all

SCRIPT = [sys.executable, str(Path(__file__).with_name("decider_process.py"))]
PROCESSES = 8
ANN = Actor("ann", ActorKind.HUMAN, "cli")
EVERYBODY = tuple(f"user:p{number}" for number in range(32))

Race = Callable[[ApprovalRules | None, Plan], tuple[list[Event], list[Outcome]]]
"""Opens a gate with these rules, lets all answer, and tells the run's events and what became of each answer."""


def ask(engine: Engine, rules: ApprovalRules | None) -> str:
    """A run that waits at the gate of its only step."""
    step = Step(number=1, title="Release", requires_approval=True, approval=rules)
    procedure = Procedure(name="deploy", title="Deploy", steps=(step,))
    pinned = encode_procedure(procedure)
    new = NewRun(
        run_id=engine.parts.ids.run_id(),
        procedure=procedure,
        procedure_digest=sha256(pinned),
        mode=ExecutionMode.AUTO,
        declared_mode=ExecutionMode.AUTO,
        params={},
        environment={},
        umask=0o022,
        policy=Policy(),
        trigger="manual",
    )

    def plan(_occupancy: Occupancy, now: Instant) -> tuple[Decision, tuple[bytes, ...]]:
        return create(new, actor=ANN, now=now), (pinned,)

    Runs(engine.parts).create("deploy", plan)
    run = asyncio.run(drive(engine.parts, new.run_id))
    assert run.steps[1].gate is not None
    return new.run_id


def record(engine: Engine, run_id: str) -> list[Event]:
    """The run's events, which are one chain."""
    head, events = NO_HASH, []
    for seq, sealed in enumerate(engine.parts.store.events(run_id), start=1):
        assert (sealed.seq, sealed.prev_hash, sealed.hash) == (seq, head, link(head, sealed.payload))
        head = sealed.hash
        events.append(decode_event(sealed.payload))
    assert engine.parts.store.check() == []
    assert engine.runs.load(run_id).run.seq == len(events)
    return events


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.sops.mkdir(parents=True)
    return workspace


@pytest.fixture
def opened(workspace: Workspace) -> Iterator[Callable[[], Engine]]:
    """Opens engines on the workspace's database, which are closed in the end."""
    with ExitStack() as stack:

        def opens() -> Engine:
            engine = open_engine(workspace)
            stack.callback(engine.parts.store.close)
            return engine

        yield opens


def threads_on_memory(opened: Callable[[], Engine], _workspace: Workspace) -> Race:
    shared, parts = MemoryStore(), opened().parts

    def engine() -> Engine:
        return Engine(replace(parts, store=MemoryStore(shared), views=NoViews()))

    return in_threads(engine)


def threads_on_sqlite(opened: Callable[[], Engine], _workspace: Workspace) -> Race:
    return in_threads(opened)


def in_threads(engine: Callable[[], Engine]) -> Race:
    def race(rules: ApprovalRules | None, plan: Plan) -> tuple[list[Event], list[Outcome]]:
        mine = engine()
        run_id = ask(mine, rules)
        outcomes = answer_all(engine, run_id, plan, then=lambda: None)
        return record(mine, run_id), outcomes

    return race


def processes(opened: Callable[[], Engine], workspace: Workspace) -> Race:
    def race(rules: ApprovalRules | None, plan: Plan) -> tuple[list[Event], list[Outcome]]:
        mine = opened()
        run_id = ask(mine, rules)
        shares = [share for first in range(PROCESSES) if (share := plan[first::PROCESSES])]
        with ExitStack() as stack:
            others = []
            for share in shares:
                command = [*SCRIPT, str(workspace.root), run_id, json.dumps(share)]
                other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                stack.enter_context(other)
                stack.callback(other.kill)
                others.append(other)
            for other in others:
                assert other.stdout is not None
                assert other.stdout.readline() == "ready\n"
            for other in others:
                assert other.stdin is not None
                other.stdin.write("go\n")
                other.stdin.flush()
            texts = [other.communicate(timeout=PATIENCE_SECS)[0] for other in others]
            assert [other.returncode for other in others] == [0] * len(others)
            told = [json.loads(text) for text in texts]
        return record(mine, run_id), [tuple(outcome) for outcomes in told for outcome in outcomes]

    return race


@pytest.fixture(params=[threads_on_memory, threads_on_sqlite, processes])
def race(request: pytest.FixtureRequest, opened: Callable[[], Engine], workspace: Workspace) -> Race:
    made: Race = request.param(opened, workspace)
    return made


def people(number: int, verb: str = "approve") -> list[tuple[str, str]]:
    return [(f"p{each}", verb) for each in range(number)]


def voters(events: list[Event]) -> list[str]:
    return [event.actor.id for event in events if isinstance(event.body, ApprovalVoteRecorded)]


def decisions(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event.body, ApprovalGranted | ApprovalRejected)]


@pytest.mark.parametrize("number", [2, 8, 32])
def test_of_many_answers_one_counts_and_all_others_are_told_which(race: Race, number: int) -> None:
    plan = [(f"p{each}", "approve" if each % 2 else "reject") for each in range(number)]
    events, outcomes = race(None, plan)
    assert sorted(outcome[:2] for outcome in outcomes) == sorted(plan)
    (decision,) = decisions(events)
    won = "approve" if isinstance(decision.body, ApprovalGranted) else "reject"
    assert (decision.actor.id, won) in plan
    for _person, verb, code, message in outcomes:
        if verb == won:
            assert code == "ok", "the same answer to the same gate"
        else:
            assert code == "already_decided", message
            assert f"{won.removesuffix('e')}ed by {decision.actor.id} at " in message


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_the_same_answer_by_all_is_recorded_once(race: Race, verb: str) -> None:
    events, outcomes = race(None, people(8, verb))
    assert len(decisions(events)) == 1
    assert [outcome[2] for outcome in outcomes] == ["ok"] * 8


def test_of_all_who_agree_the_quorum_is_counted_and_no_more(race: Race) -> None:
    events, outcomes = race(ApprovalRules(approvers=EVERYBODY, quorum=3), people(32))
    (granted,) = decisions(events)
    assert isinstance(granted.body, ApprovalGranted)
    counted = (*voters(events), granted.actor.id)
    assert (len(counted), len(set(counted))) == (3, 3)
    assert granted.body.votes == counted
    votes = [event.body for event in events if isinstance(event.body, ApprovalVoteRecorded)]
    assert [(vote.votes, vote.needed) for vote in votes] == [(1, 3), (2, 3)]
    assert {outcome[2] for outcome in outcomes} == {"ok"}


def test_who_votes_many_times_at_once_counts_once(race: Race) -> None:
    events, outcomes = race(ApprovalRules(approvers=EVERYBODY, quorum=3), people(2) * 8)
    assert sorted(voters(events)) == ["p0", "p1"]
    assert decisions(events) == []
    assert {outcome[2] for outcome in outcomes} == {"ok"}


def test_a_quorum_is_reached_by_different_people_however_often_each_votes(race: Race) -> None:
    events, _outcomes = race(ApprovalRules(approvers=EVERYBODY, quorum=3), people(4) * 8)
    (granted,) = decisions(events)
    assert isinstance(granted.body, ApprovalGranted)
    assert max(Counter(granted.body.votes).values()) == 1
    assert len(granted.body.votes) == 3


def test_one_rejection_among_all_votes_ends_it(race: Race) -> None:
    # all but one agree and all are needed, so whenever it comes, it decides
    plan = [*people(32)[1:], ("p0", "reject")]
    events, outcomes = race(ApprovalRules(approvers=EVERYBODY, quorum=32), plan)
    (rejected,) = decisions(events)
    assert (type(rejected.body), rejected.actor.id) == (ApprovalRejected, "p0")
    before = voters(events)
    assert len(set(before)) == len(before)
    for person, _verb, code, message in outcomes:
        assert code == ("ok" if person in (*before, "p0") else "already_decided"), message
        assert code == "ok" or "rejected by p0 at " in message


def test_a_rejection_and_a_quorum_that_race_leave_one_decision(race: Race) -> None:
    plan = [*people(7), ("p7", "reject"), ("p0", "reject")]
    events, outcomes = race(ApprovalRules(approvers=EVERYBODY, quorum=3), plan)
    (decision,) = decisions(events)
    was_granted = isinstance(decision.body, ApprovalGranted)
    assert len(voters(events)) == 2 if was_granted else len(voters(events)) <= 2
    for person, verb, code, _message in outcomes:
        told_so = code == "ok"
        agrees = verb == ("approve" if was_granted else "reject")
        assert told_so == (agrees or (verb == "approve" and person in voters(events)))


def test_who_may_not_answer_does_not_win_a_race(race: Race) -> None:
    plan = [*(("mallory", "approve") for _ in range(8)), ("p0", "approve")]
    events, outcomes = race(ApprovalRules(approvers=EVERYBODY), plan)
    (granted,) = decisions(events)
    assert (type(granted.body), granted.actor.id) == (ApprovalGranted, "p0")
    assert Counter((person, code) for person, _, code, _ in outcomes) == {
        ("mallory", "approver_not_allowed"): 8,
        ("p0", "ok"): 1,
    }
