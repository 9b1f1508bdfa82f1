"""What the simulated world is made of: random procedures, what people say, and parts that need no disk.

Longer than other files: each key of a procedure and each verb has its line here, drawn from one source of chance.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.address import StepId
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.commands import StepResult
from sopwith.core.config import Config
from sopwith.core.procedure import (
    EnvironmentRules,
    ExecutionMode,
    InterruptRules,
    OnFailure,
    OnInterrupt,
    OnReject,
    Priority,
    Procedure,
    RetryRules,
    RollbackScript,
    Script,
    Step,
    sha256,
)
from sopwith.core.rollback import to_roll_back
from sopwith.core.run import GateStatus, Run, RunStatus, StepState, StepStatus, awaits_report, descendants, open_gates
from sopwith.engine.engine import Engine
from sopwith.engine.keys import Keyring
from sopwith.engine.library import Library
from sopwith.errors import ApproverNotAllowed, NotAllowed, Refused
from sopwith.ports import Batch, Workspace
from sopwith.testing.executor import FAILED, SUCCEEDED, Play
from sopwith.testing.laws import conceal

ANN, BEN, CAT, DAN = (Actor(name, ActorKind.HUMAN, "cli") for name in ("ann", "ben", "cat", "dan"))
BOT = Actor("bot", ActorKind.AGENT, "mcp")
PEOPLE = (ANN, BEN, CAT, DAN)
SECRET, PLAIN = "TOKEN", "REGION"
"""Variables that steps take from the environment: by its name the one is a secret, and the other is none."""
GROUPS = {"release": ("ann", "ben", "cat"), "oncall": ("cat", "dan")}

WORKSPACE = Workspace(Path(tempfile.gettempdir()) / "sopwith-simulator")


Say = Callable[[Engine, str, Actor, StepId | None], Any]

VERBS: dict[str, tuple[float, bool, Say]] = {
    # verb: how often, whether whoever says it drives the run on, what is said
    "approve": (
        9,
        True,
        lambda engine, run_id, actor, step: engine.approve(run_id, actor=actor, step=step, comment="I looked"),
    ),
    "reject": (
        1,
        False,
        lambda engine, run_id, actor, step: engine.reject(run_id, actor=actor, step=step, reason="no"),
    ),
    "cancel": (0.7, True, lambda engine, run_id, actor, step: engine.cancel(run_id, actor=actor)),
    "pause": (1, False, lambda engine, run_id, actor, step: engine.pause(run_id, actor=actor)),
    "resume": (3, True, lambda engine, run_id, actor, step: engine.resume(run_id, actor=actor)),
    "retry": (4, True, lambda engine, run_id, actor, step: engine.retry(run_id, actor=actor, from_step=step)),
    "retry with other parameters": (
        0.5,
        True,
        lambda engine, run_id, actor, step: engine.retry(run_id, actor=actor, params={"to": "production"}),
    ),
    "rollback": (2.5, True, lambda engine, run_id, actor, step: engine.rollback(run_id, actor=actor)),
    "skip": (1, True, lambda engine, run_id, actor, step: engine.skip(run_id, actor=actor, step=step, reason="so")),
    "complete": (3, True, lambda engine, run_id, actor, step: engine.complete(run_id, actor=actor, step=step)),
    "fail": (0.7, True, lambda engine, run_id, actor, step: engine.fail(run_id, actor=actor, step=step, reason="it")),
}


_TOO_OFTEN = 120
"""After so many events it is clear that the limit of a run is too short for it."""
_MOST_ASKED = 6
"""Nor is there time to answer a gate that was asked so often, each time until the run had used up its own."""
_MOST_REPORTS = 2
"""After so many that were not believed nobody reports a step again."""
_FAR_TOO_OFTEN = 160
"""After so many, the limits of what runs within it are too short."""


def bring_on(engine: Engine, run: Run) -> None:
    """The one thing that brings this run on."""
    if run.seq > _FAR_TOO_OFTEN:
        engine.cancel(run.run_id, actor=ANN)
        return
    if run.rollback is not None and run.paused:
        engine.resume(run.run_id, actor=ANN)
        return
    by_hand = [s.number for s in run.steps.values() if awaits_report(run, s)]
    goes_on = any(step.status is StepStatus.RUNNING for step in run.steps.values())
    gates = open_gates(run)
    unknown = [s.number for s in run.steps.values() if s.condition_unknown]
    beyond_reach = [s.number for s in run.steps.values() if s.stuck and _was_given_up(s)]
    failed = [s.number for s in run.steps.values() if s.stuck]
    if run.ended is RunStatus.FAILED and run.timed_out and run.seq > _TOO_OFTEN:
        engine.cancel(run.run_id, actor=ANN)
    elif run.ended is RunStatus.FAILED and run.timed_out and _is_asked_in_vain(run):
        if run.parent is not None:
            # it would only begin another
            with suppress(Refused):
                engine.cancel(run.parent.run_id, actor=ANN)
        engine.cancel(run.run_id, actor=ANN)
    elif run.ended is RunStatus.FAILED and run.timed_out and failed and not _is_undone(run):
        # it would take too long again
        _pass_over(engine, run, failed[0], "there is no time for it")
    elif (run.paused or run.ended is RunStatus.FAILED) and beyond_reach and not _is_undone(run):
        _pass_over(engine, run, beyond_reach[0], "it cannot be passed")
    elif _is_better_undone(run) and not goes_on:
        engine.rollback(run.run_id, actor=ANN)
    elif run.ended is RunStatus.FAILED or (run.paused and any(step.stuck for step in run.steps.values())):
        engine.retry(run.run_id, actor=ANN, from_step=None if goes_on else _from_further_back(run))
    elif run.paused and unknown:
        _whoever_may(lambda who: engine.skip(run.run_id, actor=who, step=unknown[0], reason="nobody can know"))
    elif run.paused:
        engine.resume(run.run_id, actor=ANN)
    elif gates:
        _answer_all(engine, run)
    elif by_hand and run.steps[by_hand[0]].verifications > _MOST_REPORTS:
        _whoever_may(lambda who: engine.skip(run.run_id, actor=who, step=by_hand[0], reason="nothing confirms it"))
    elif by_hand:
        engine.complete(run.run_id, actor=ANN, step=by_hand[0])


def _pass_over(engine: Engine, run: Run, step: StepId, reason: str) -> None:
    """By whoever may; where nobody may pass all gates of the run within the step, there is no way on but the end."""
    try:
        _whoever_may(lambda who: engine.skip(run.run_id, actor=who, step=step, reason=reason))
    except (ApproverNotAllowed, NotAllowed):
        if not run.steps[step].child:
            raise
        engine.cancel(run.run_id, actor=ANN)


def _is_asked_in_vain(run: Run) -> bool:
    return any(step.gate is not None and step.gate.revision > _MOST_ASKED for step in run.steps.values())


def _is_better_undone(run: Run) -> bool:
    """Once, where somebody had stopped it or a step failed: what is undone can be done again."""
    stopped = run.ended is RunStatus.FAILED or (run.paused and run.pause_cause == "asked")
    return stopped and bool(to_roll_back(run)) and not _is_undone(run)


def _is_undone(run: Run) -> bool:
    return any(step.rollback_begun for step in run.steps.values())


def _answer_all(engine: Engine, run: Run) -> None:
    """One vote at each gate: of several, some close soon. Raises Refused where nobody may vote at any."""
    refused = []
    gates = open_gates(run)
    for number, gate in gates:
        voted = {vote.actor.id for vote in gate.votes}
        say = partial(engine.approve, run.run_id, step=number, digest=gate.digest, comment="I looked")
        try:
            _whoever_may(lambda who, say=say: say(actor=who), but=voted)  # type: ignore[misc]
        except Refused as error:
            refused.append(error)
    if len(refused) == len(gates):
        raise refused[0]


def _from_further_back(run: Run) -> StepId | None:
    """Once from the first step that has items, or else from the very first: what was done is done again."""
    listed = next((number for number, step in run.steps.items() if step.instances), 1)
    return listed if run.steps[listed].visit == 1 else None


def _was_given_up(step: StepState) -> bool:
    """Whether the system rejected its gate, because too few are left who could approve."""
    gate = step.gate
    if gate is None or gate.status is not GateStatus.REJECTED or gate.decided_by is None:
        return False
    return gate.decided_by.kind is ActorKind.SYSTEM


def _whoever_may(say: Callable[[Actor], Any], *, but: Collection[str] = ()) -> None:
    """Said by the first who may, besides those. Raises Refused where nobody may."""
    *others, last = [who for who in (*PEOPLE, BOT) if who.id not in but]
    for who in others:
        try:
            say(who)
        except ApproverNotAllowed:
            continue
        return
    say(last)


def random_plays(chance: Random) -> dict[int, list[Play]]:
    return {number: [_play(chance) for _ in range(chance.randint(1, 4))] for number in range(1, 7)}


def random_checks(chance: Random) -> dict[int, list[Play]]:
    """How verifications go: half of them say something."""
    return {number: [_check(chance) for _ in range(chance.randint(1, 4))] for number in range(1, 7)}


def _check(chance: Random) -> Play:
    exit_code = chance.choice((0, 0, 1, 1, 2, 127))
    result = StepResult(exit_code=exit_code, error=f"exit status {exit_code}" if exit_code else "")
    # the last is longer than an interruption is verified, and short enough for the looks of a driver at a report
    return Play(result=result, seconds=chance.choice((0, 0.2, 1, 5, 20, 90)), output=b"looked")


def _play(chance: Random) -> Play:
    result: StepResult = chance.choices((SUCCEEDED, FAILED), (3, 1))[0]
    if result is SUCCEEDED:
        result = replace(result, outputs={"list": chance.choice((["eu", "us"], ["us"], [], [2, "2"], ["eu", "eu"]))})
    return Play(result=result, seconds=chance.choice((0, 0, 0.1, 0.5, 1, 2.5, 6, None)), output=b"said")


def random_procedure(chance: Random, name: str, *, passes: str = SECRET) -> Procedure:
    """`passes`: the variable that some of its steps take from the environment."""
    graph = chance.random() < 0.5
    steps = tuple(_step(chance, number, passes, graph=graph) for number in range(1, chance.randint(1, 6) + 1))
    # in plain ones, gates and crashes meet more often
    flows = chance.random() < 0.5
    if flows:
        steps = tuple(_with_flow(chance, step) for step in steps)
    if chance.random() < 0.4:
        steps = tuple(_with_items(chance, step) if chance.random() < 0.4 else step for step in steps)
    if chance.random() < 0.5:
        steps = tuple(_with_rollback(chance, step) for step in steps)
    if flows:
        steps = _led_on(chance, steps)
    if chance.random() < 0.7:
        steps = tuple(_with_interruptions(chance, step) for step in steps)
    unattended = chance.random() < 0.25
    if unattended:
        steps = tuple(_unattended(chance, step) for step in steps)
    return Procedure(
        name=name,
        title=name.capitalize(),
        priority=chance.choice(list(Priority)),
        execution_mode=ExecutionMode.AUTO if unattended else chance.choice((None, *ExecutionMode)),
        cooldown_secs=chance.choice((0, 0, 0, 4)),
        max_concurrent=chance.choice((None, None, 1, 2)),
        working_dir="/srv",
        approval=_rules_of_all(chance) if not unattended and chance.random() < 0.3 else None,
        max_parallel=chance.choice((None, None, 1, 2)) if graph and flows else None,
        concurrency_group=_GROUPS[chance.randrange(4)] if flows else None,
        timeout_secs=chance.choice((None, None, 3, 20)) if flows else None,
        steps=steps,
    )


def used_in_one_another(chance: Random, procedures: tuple[Procedure, ...]) -> tuple[Procedure, ...]:
    """Some of the procedures with a step that runs the next one of them."""
    links = chance.choice((0, 0, 1, 1, 2))
    made = [
        _with_child(chance, procedure, after.name) if place < links else procedure
        for place, (procedure, after) in enumerate(pairwise(procedures))
    ]
    return (*made, procedures[-1]) if links else procedures[:2]


def _with_child(chance: Random, procedure: Procedure, name: str) -> Procedure:
    chosen = chance.choice(procedure.steps)
    using = replace(
        chosen,
        executor="procedure",
        script=None,
        verify=UNSET,
        env=EnvironmentRules(),
        wait_secs=None,
        # a person must have time to answer what the other run asks
        timeout_secs=chance.choice((None, None, 600)),
        uses=name,
        with_={"to": chance.choice(("params.to", "'production'"))},
    )
    return replace(procedure, steps=tuple(using if step is chosen else step for step in procedure.steps))


def _step(chance: Random, number: int, passes: str, *, graph: bool) -> Step:
    earlier = range(1, number)
    in_line = tuple(earlier[-1:])
    by_hand = chance.random() < 0.2
    return Step(
        number=number,
        title=f"Step {number}",
        executor="manual" if by_hand else "shell",
        script=None if by_hand else Script(interpreter="bash", text=f"echo {number}\n"),
        verify=Script(interpreter="bash", text=f"test -e {number}\n") if by_hand and number % 2 else UNSET,
        requires_approval=chance.random() < 0.35,
        approval_timeout_mins=chance.choice((None, None, 0.01, 0.05, 0.2, 1)),
        never_times_out=chance.random() < 0.1,
        approval=_rules(chance) if chance.random() < 0.4 else None,
        depends_on=tuple(other for other in earlier if chance.random() < 0.35) if graph else in_line,
        env=EnvironmentRules(pass_=(passes,) if chance.random() < 0.6 else ()),
    )


def _with_flow(chance: Random, step: Step) -> Step:
    """The step with a condition, a limit, retries, or as one that only waits."""
    kind = "wait" if chance.random() < 0.12 else step.executor
    runs = kind == "shell"
    return replace(
        step,
        executor=kind,
        verify=step.verify if kind == "manual" else UNSET,
        script=step.script if runs else None,
        condition=chance.choice((*[None] * 6, *_CONDITIONS)),
        timeout_secs=chance.choice((None, None, None, 0.3, 2, 60)) if kind != "wait" else None,
        retry=_retry(chance) if runs and chance.random() < 0.4 else None,
        wait_secs=chance.choice((0.2, 1, 5, 60)) if kind == "wait" else None,
        on_failure=chance.choice((OnFailure.STOP, OnFailure.STOP, OnFailure.STOP, OnFailure.CONTINUE)),
    )


def _with_items(chance: Random, step: Step) -> Step:
    """The step for each of several items: known ones, or what the first step has handed on."""
    handed_on = ("steps['1'].outputs.list",) if step.depends_on == (1,) else ()
    return replace(
        step,
        for_each=chance.choice((("eu", "us"), ("eu", "us", "ap"), *handed_on)),
        max_parallel=chance.choice((None, 1, 2)),
    )


def _with_rollback(chance: Random, step: Step) -> Step:
    """The step with a script that undoes it, or with a failure that leads to a rollback."""
    rollback = RollbackScript(
        script=Script(interpreter="bash", text=f"echo undo {step.number}\n"), requires_approval=chance.random() < 0.3
    )
    return replace(
        step,
        rollback=rollback if chance.random() < 0.9 else None,
        # what is done again and again must not each time outlast the gates beside it
        wait_secs=None if step.wait_secs is None else min(step.wait_secs, 5),
        on_failure=OnFailure.ROLLBACK if chance.random() < 0.5 else step.on_failure,
    )


def _with_interruptions(chance: Random, step: Step) -> Step:
    """The step with what is done where nobody can know how it ended."""
    policy = chance.choice(list(OnInterrupt))
    if step.script is None or policy is OnInterrupt.ASK:
        return step
    command = f"test -e {step.number}" if policy is OnInterrupt.VERIFY else ""
    return replace(step, on_interrupt=InterruptRules(policy=policy, command=command))


def _unattended(chance: Random, step: Step) -> Step:
    """The step as one that nobody is asked about, and that is verified: interruptions and crashes meet more often."""
    free = replace(step, requires_approval=False, approval=None, condition=None)
    if step.script is None or chance.random() < 0.2:
        return free
    rules = InterruptRules(policy=OnInterrupt.VERIFY, command=f"test -e {step.number}")
    return replace(free, on_interrupt=rules)


_GROUPS = {0: "'to-' + params.to", 1: "run.name + params.to", 2: None, 3: None}
_CONDITIONS = ("params.to == 'staging'", "params.to == 'production'", "params.where == 1")


def _retry(chance: Random) -> RetryRules:
    return RetryRules(
        max_attempts=chance.choice((2, 2, 3, 5)),
        delay_secs=chance.choice((0, 0.5, 3, 30)),
        backoff=chance.choice((1, 2)),
        max_delay_secs=chance.choice((None, 10)),
        on_exit_codes=chance.choice(((), (), (1,), (2,))),
    )


def _led_on(chance: Random, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Some failures and rejections lead to a later step, and some rejections fail the run."""
    made = Procedure(name="made", title="Made", steps=steps)
    chosen = []
    for step in steps:
        later = [other for other in descendants(made, step.number) if other != step.number]
        if later and chance.random() < 0.15:
            step = replace(step, on_failure=OnFailure.GOTO, goto=chance.choice(sorted(later)))
        if later and chance.random() < 0.2 and step.for_each is None:
            step = replace(step, on_reject=OnReject.GOTO, reject_goto=chance.choice(sorted(later)))
        elif chance.random() < 0.2:
            step = replace(step, on_reject=OnReject.FAIL)
        chosen.append(step)
    return tuple(chosen)


def _rules(chance: Random) -> ApprovalRules:
    listed: tuple[str, ...] = chance.choice(
        ((), (), ("group:release",), ("group:release", "agent:bot"), ("user:ben", "user:cat"), ("user:ann", "user:dan"))
    )
    return ApprovalRules(
        when=chance.choice((None, None, "params.to == 'production'", "params.to == 'staging'", "params.where == 1")),
        approvers=listed,
        quorum=chance.choice((None, 1, 2, 2)),
        allow_self_approval=chance.choice((None, True)),
        comment_required=chance.random() < 0.2,
        on_timeout=chance.choice(list(TimeoutAction)),
        escalate_to=chance.choice((("group:oncall",), ("user:dan",))),
        remind_after_mins=chance.choice(((), (), (0.01, 0.03), (0.1,))),
    )


def _rules_of_all(chance: Random) -> ApprovalRules:
    """Of a procedure: for its start, and the gates that have none of their own."""
    silence = chance.choice((TimeoutAction.APPROVE, TimeoutAction.REJECT, TimeoutAction.ESCALATE, TimeoutAction.PAUSE))
    return replace(_rules(chance), when=None, on_timeout=silence)


def random_groups(chance: Random) -> dict[str, tuple[str, ...]]:
    """The groups after somebody left one, or when all are there again."""
    left = chance.choice((None, "ann", "ben", "cat", "dan"))
    return {name: tuple(member for member in members if member != left) for name, members in GROUPS.items()}


def random_config(chance: Random) -> Config:
    return Config(
        default_execution_mode=chance.choice(list(ExecutionMode)),
        approval_timeout_mins=chance.choice((None, None, 0.05, 0.3)),
        approval_timeout_action=chance.choice((None, *TimeoutAction)),
        max_concurrent_runs=chance.choice((None, None, 1, 2)),
        groups=GROUPS,
    )


def saved(config: Config) -> Config:
    """The config as a file of its own digest."""
    bare = replace(config, digest="")
    return replace(config, digest=sha256(msgspec.json.encode(bare)))


class MadeUpLibrary(Library):
    """Procedures that were never files."""

    def __init__(self, procedures: dict[str, Procedure], config: Config) -> None:
        super().__init__(WORKSPACE)
        self._procedures = procedures
        self._config = saved(config)

    def procedure(self, name: str) -> Procedure:
        return self._procedures[name]

    def config(self) -> Config:
        return self._config

    def regroup(self, groups: dict[str, tuple[str, ...]]) -> None:
        """Somebody edits config.json."""
        self._config = saved(replace(self._config, groups=groups))


class FixedKeyring(Keyring):
    """A key that is the same in every simulation."""

    def conceal(self, value: str) -> str:
        return conceal(value)


class DocumentsOnly:
    """Makes the documents, and keeps none."""

    def written(self, batch: Batch, run_json: Callable[[], bytes] | None) -> None:
        if run_json is not None:
            run_json()

    def rebuild(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        return False

    def outdated(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        return False
