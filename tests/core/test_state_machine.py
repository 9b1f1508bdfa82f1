"""Random runs under random commands, checked by a second opinion (`ledger.py`) and against the table of moves.

SOPWITH_EXAMPLES multiplies the number of runs; SOPWITH_COVERAGE=1 prints which moves they reached (with -s).
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import UNSET
from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.address import StepId
from sopwith.core.approval import ApprovalRules, FormField, TimeoutAction
from sopwith.core.approvers import rules_of
from sopwith.core.asking import asks, waiting_steps
from sopwith.core.codec import NO_HASH, decode_event, encode_event, seal
from sopwith.core.config import Config, Role
from sopwith.core.decide import decide
from sopwith.core.due import Due, DueKind, due, left_at, next_due_at
from sopwith.core.events import Policy
from sopwith.core.evolve import begin, evolve, replay
from sopwith.core.instant import Instant
from sopwith.core.moves import MOVES
from sopwith.core.procedure import (
    ExecutionMode,
    InterruptRules,
    OnFailure,
    OnInterrupt,
    OnReject,
    Priority,
    RetryRules,
)
from sopwith.core.run import (
    GateStatus,
    RunStatus,
    StepStatus,
    awaits_report,
    current_step,
    holds_slot,
    is_final,
    is_manual,
    open_gates,
    running_processes,
    status_of,
)
from sopwith.errors import BadRequest, IllegalMove, Refused

from .given import AGENT, ALICE, BOB, CAROL, CHECK, INSIDE, TRIGGER, MakeStep, Story, digest_of, manual, shell, wait
from .ledger import Ledger

DORA = Actor("dora", ActorKind.HUMAN, "cli")
CODEX = Actor("codex", ActorKind.AGENT, "mcp")
SAME_USER = Actor("alice", ActorKind.AGENT, "mcp")
"""An agent in the session of the person who starts most runs."""

EXAMPLES = int(200 * float(os.environ.get("SOPWITH_EXAMPLES", "1")))
REACHED: Counter[tuple[RunStatus, type[cmd.Command]]] = Counter()
STATUSES: Counter[RunStatus] = Counter()

MODES = st.sampled_from([ExecutionMode.AUTO, ExecutionMode.AUTO, ExecutionMode.SUPERVISED, ExecutionMode.STEP_BY_STEP])
MINUTES = st.sampled_from([None, None, 1, 5, 0.05, 0.0123456])
POLICIES = st.builds(
    Policy, approval_timeout_mins=MINUTES, approval_timeout_action=st.sampled_from([None, *TimeoutAction])
)
PEOPLE = [ALICE, BOB, CAROL, DORA]
ACTORS = st.sampled_from([ALICE, ALICE, *PEOPLE, BOB, AGENT, CODEX, SAME_USER, INSIDE, SYSTEM, TRIGGER])
NAMES = ("alice", "bob", "carol", "dora", "claude")
GROUPS = st.fixed_dictionaries(
    {name: st.lists(st.sampled_from(NAMES), unique=True).map(tuple) for name in ("release", "oncall")}
)
FULL = {"release": ("alice", "bob", "carol"), "oncall": ("carol", "dora")}
RUNNERS = ("user:alice", "user:bob", "agent:claude", "agent:alice")
ROLES = st.sampled_from(
    [
        {},
        {},
        {Role.RUNNER: RUNNERS, Role.APPROVER: ("group:release",)},
        {Role.RUNNER: RUNNERS, Role.ADMIN: ("user:dora",)},
    ]
)
CONFIGS = st.builds(Config, groups=st.one_of(st.just(FULL), st.just(FULL), GROUPS), roles=ROLES)
APPROVERS = st.sampled_from(
    [
        (),
        (),
        ("group:release",),
        ("group:release", "group:oncall"),
        ("user:bob", "agent:claude"),
        ("user:alice", "user:bob", "agent:alice"),
        ("user:carol", "group:nobody"),
    ]
)
RULES = st.builds(
    ApprovalRules,
    when=st.sampled_from([None, None, None, "params.go == 'yes'", "params.nothing == 1"]),
    approvers=APPROVERS,
    quorum=st.sampled_from([None, None, 1, 2, 2, 3]),
    allow_self_approval=st.sampled_from([None, None, True, False]),
    comment_required=st.sampled_from([False, False, True]),
    form=st.sampled_from([(), (), (FormField(name="ticket"),), (FormField(name="ticket", required=True),)]),
    on_timeout=st.sampled_from([None, *TimeoutAction]),
    escalate_to=st.sampled_from([(), ("group:oncall",), ("user:dora", "agent:claude")]),
    remind_after_mins=st.sampled_from([(), (), (1, 3), (0.5,)]),
)
OF_THE_PROCEDURE = RULES.map(
    lambda rules: replace(
        rules,
        when=None,
        form=(),
        on_timeout=rules.on_timeout if rules.on_timeout in (TimeoutAction.ESCALATE, TimeoutAction.PAUSE) else None,
    )
)
FORMS = st.sampled_from([{}, {}, {"ticket": "OPS-1"}, {"ticket": "OPS-2"}])
REASONS = st.sampled_from(["because", "no", "again", "", " "])
STOPPED = cmd.StepResult(signal="SIGTERM", error="killed by SIGTERM", cause="cancelled")
RESULTS = st.sampled_from(
    [
        cmd.StepResult(exit_code=0, output="done\n", output_bytes=5, outputs={"url": "http://é", "n": 1.5}),
        cmd.StepResult(exit_code=0),
        *(cmd.StepResult(exit_code=0, outputs={"list": given}) for given in (["eu", "us"], ["us", 1], ["eu"], [])),
        cmd.StepResult(exit_code=1, error="exit code 1", warnings=("it left children behind",)),
        cmd.StepResult(signal="SIGKILL", error="killed by SIGKILL", cause="signal"),
        STOPPED,
    ]
)

VERDICTS = st.sampled_from(
    [
        cmd.StepResult(exit_code=0, output="it is there\n"),
        cmd.StepResult(exit_code=1, error="exit status 1"),
        cmd.StepResult(exit_code=2, error="exit status 2"),
        cmd.StepResult(error="its keeper was killed", cause="lost"),
        STOPPED,
    ]
)


CONDITIONS = st.sampled_from(
    [*[None] * 5, "params.go == 'yes'", "params.go != 'yes'", "params.nothing == 1", "steps['1'].status == 'failed'"]
)
ITEMS = st.sampled_from([None, None, None, ("eu", "us"), ("eu",), ("eu", "us", "ap"), "steps['1'].outputs.list"])
ADDRESSES = st.sampled_from(
    [*range(1, 9), *(f"{number}:{name}" for number in range(1, 5) for name in ("eu", "us", "1"))]
)
RETRIES = st.none() | st.builds(
    RetryRules,
    max_attempts=st.integers(2, 4),
    delay_secs=st.sampled_from([0, 1, 30]),
    backoff=st.sampled_from([1, 2, 1.5]),
    max_delay_secs=st.sampled_from([None, 40]),
    on_exit_codes=st.sampled_from([(), (), (1,), (2,)]),
)


INTERRUPTIONS = st.sampled_from(
    [
        UNSET,
        UNSET,
        InterruptRules(policy=OnInterrupt.RERUN),
        InterruptRules(policy=OnInterrupt.FAIL),
        InterruptRules(policy=OnInterrupt.VERIFY, command="test -e done"),
    ]
)


@st.composite
def flows(draw: st.DrawFn) -> dict[str, Any]:
    """When a step runs, and what its failure leads to."""
    more: dict[str, Any] = {"condition": draw(CONDITIONS)}
    more["timeout_secs"] = draw(st.sampled_from([None, None, 5, 120]))
    leads = draw(st.sampled_from([*[OnFailure.STOP] * 3, OnFailure.CONTINUE, OnFailure.GOTO]))
    # a step that is no descendant is passed to, too: nothing lies between
    return {**more, "on_failure": leads, "goto": draw(st.integers(1, 8)) if leads is OnFailure.GOTO else None}


@st.composite
def procedures(draw: st.DrawFn) -> list[MakeStep]:
    steps = []
    plain = draw(st.booleans())
    last = draw(st.integers(1, 8))
    for number in range(1, last + 1):
        before = st.sets(st.integers(1, number - 1), max_size=2) if number > 1 else st.just(set())
        more: dict[str, Any] = {"gate": draw(st.booleans()), "approval_timeout_mins": draw(MINUTES)}
        more["never_times_out"] = draw(st.sampled_from([False, False, False, True]))
        more["after"] = tuple(sorted(draw(before)))
        more["approval"] = draw(st.one_of(st.none(), RULES))
        more["on_reject"] = draw(st.sampled_from([*[OnReject.PAUSE] * 3, OnReject.FAIL, OnReject.GOTO]))
        more["reject_goto"] = draw(st.integers(1, last)) if more["on_reject"] is OnReject.GOTO else None
        make = draw(st.sampled_from([shell, shell, manual] if plain else [shell, shell, shell, manual, wait]))
        more |= {} if plain else draw(flows())
        if not plain and (for_each := draw(ITEMS)) is not None and (number > 1 or not isinstance(for_each, str)):
            more |= {"for_each": for_each, "max_parallel": draw(st.sampled_from([None, None, 1, 2]))}
            if more["on_reject"] is OnReject.GOTO:
                more |= {"on_reject": OnReject.PAUSE, "reject_goto": None}
        if not plain and more["goto"] is not None:
            more["goto"] = min(more["goto"], last)
        if not plain and make is shell:
            more["retry"] = draw(RETRIES)
        if make is shell:
            more["on_interrupt"] = draw(INTERRUPTIONS)
        if make is manual:
            more["verify"] = draw(st.sampled_from([UNSET, CHECK]))
        if make is wait:
            timed = st.sampled_from([{"wait_secs": 0.5}, {"wait_secs": 300}, {"wait_until": "2026-03-02T12:05:00Z"}])
            more |= {**draw(timed), "timeout_secs": None}
        steps.append(make(**more))
    return steps


class RunUnderRandomCommands(RuleBasedStateMachine):
    story: Story

    @initialize(
        steps=procedures(),
        mode=MODES,
        policy=POLICIES,
        queued=st.sampled_from([False, False, False, True]),
        priority=st.sampled_from(Priority),
        approval=st.one_of(st.none(), OF_THE_PROCEDURE),
        config=CONFIGS,
        starter=st.sampled_from([ALICE, ALICE, BOB, AGENT, SAME_USER, TRIGGER]),
        go=st.sampled_from(["yes", "no"]),
        max_parallel=st.sampled_from([None, None, 1, 2]),
        timeout_secs=st.sampled_from([None, None, None, 20, 150, 900.5]),
    )
    def create(self, steps: list[MakeStep], starter: Actor, go: str, **more: Any) -> None:
        self.story = Story(*steps, actor=starter, params={"go": go}, **more)
        self.ledger = Ledger(self.story.procedure, more["mode"], starter)
        self.from_bytes = begin(self.story.procedure, decode_event(encode_event(self.story.events[0])))
        self.read = 0
        self._check_new_events()

    @rule(data=st.data())
    @precondition(lambda self: due(self.story.run))
    def the_driver_carries_out_something_due(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(due(self.story.run)), "item")
        if item.at is not None:
            late = max(timedelta(0), item.at - self.story.now.at)
            self.story.tick(late.total_seconds() - data.draw(st.sampled_from([0, 0, 1.001]), "too early by"))
        self._do(*self._carried_out(data, item))

    @rule(
        which=st.integers(0, 4),
        actor=st.sampled_from([*PEOPLE, *PEOPLE, AGENT]),
        no=st.sampled_from([False, False, False, True]),
        form=FORMS,
        comment=st.sampled_from(["fine", "fine", ""]),
    )
    @precondition(lambda self: open_gates(self.story.run) and not self.story.run.paused)
    def a_person_answers_an_open_gate(
        self, which: int, actor: Actor, no: bool, form: dict[str, str], comment: str
    ) -> None:
        gates = dict(open_gates(self.story.run))
        number = [*gates][which % len(gates)]
        fields: dict[str, Any] = {"actor": actor, "digest": gates[number].digest[:12]}
        if no:
            self._do(cmd.Reject, {**fields, "reason": "no"})
        else:
            self._do(cmd.Approve, {**fields, "form": form, "comment": comment})

    @rule(data=st.data(), turns=st.integers(2, 12), chance=st.randoms(use_true_random=False))
    def the_work_goes_on(self, data: st.DataObject, turns: int, chance: Random) -> None:
        """Several sensible turns, so that runs come far."""
        for _ in range(turns):
            run = self.story.run
            now = [item for item in due(run) if item.at is None]
            later = [item for item in due(run) if item.at is not None]
            gates = [] if run.paused else open_gates(run)
            if now and chance.random() < 0.8:
                self._do(*self._carried_out(data, chance.choice(now)))
            elif gates and (not later or chance.random() < 0.7):
                number, gate = chance.choice(gates)
                fields = {"form": {"ticket": "OPS-1"}} if rules_of(run, number).form else {}
                who = chance.choice([*PEOPLE, AGENT])
                self._do(cmd.Approve, {"actor": who, "digest": gate.digest, "comment": "fine", **fields})
            elif later:
                item = chance.choice(later)
                assert item.at is not None
                self.story.tick(max(0.0, (item.at - self.story.now.at).total_seconds()))
                self._do(*self._carried_out(data, item))
            else:
                by_hand = [s.number for s in run.steps.values() if s.status is StepStatus.RUNNING]
                verb = (
                    cmd.Complete if by_hand else cmd.Retry if any(s.stuck for s in run.steps.values()) else cmd.Resume
                )
                self._do(verb, {"step": by_hand[0]} if by_hand else {})

    @rule(config=CONFIGS)
    def the_people_change(self, config: Config) -> None:
        self.story.config = replace(config, roles=self.story.config.roles)

    @rule(seconds=st.sampled_from([1, 30, 60, 180, 300]))
    def time_passes(self, seconds: float) -> None:
        self.story.tick(seconds)

    @rule(
        command=st.sampled_from([cmd.Approve, cmd.Reject, cmd.Skip, cmd.Complete, cmd.Fail, cmd.Retry, cmd.Resume]),
        step=ADDRESSES,
        reason=REASONS,
        actor=ACTORS,
        digest=st.sampled_from([None, None, "", "0" * 12, digest_of(1, 1), digest_of(2, 2)[:12]]),
    )
    def anybody_asks_for_anything(
        self, command: type[cmd.Command], step: StepId, reason: str, actor: Actor, digest: str | None
    ) -> None:
        self._do(command, self._person(command, step, reason, actor, digest))

    @rule(
        step=st.sampled_from([None, 1, 2, 3, "1:eu", "2:eu"]),
        command=st.sampled_from([cmd.Approve, cmd.Reject]),
        actor=ACTORS,
    )
    def somebody_answers_once_more(self, step: StepId | None, command: type[cmd.Command], actor: Actor) -> None:
        run = self.story.run
        gate = run.start_gate if step is None or step not in run.steps else run.steps[step].gate
        digest = gate.digest if gate is not None else digest_of(step, 1)
        self._do(command, {"actor": actor, "digest": digest, **({"reason": "no"} if command is cmd.Reject else {})})

    @rule(
        command=st.sampled_from([cmd.Pause, cmd.Resume, cmd.Resume, cmd.Retry, cmd.Skip, cmd.Complete, cmd.Fail]),
        actor=ACTORS,
    )
    def somebody_moves_the_run_on(self, command: type[cmd.Command], actor: Actor) -> None:
        self._do(command, {"actor": actor, **({"reason": "so"} if command in (cmd.Skip, cmd.Fail) else {})})

    @rule(
        go=st.sampled_from(["yes", "no", "perhaps"]),
        actor=st.sampled_from([ALICE, *PEOPLE]),
        step=st.sampled_from([None, None, *range(1, 9)]),
    )
    def somebody_retries_with_other_parameters(self, go: str, actor: Actor, step: int | None) -> None:
        self._do(cmd.Retry, {"actor": actor, "params": {"go": go}, "from_step": step})

    @rule(actor=ACTORS)
    def somebody_stops_what_runs(self, actor: Actor) -> None:
        self._do(cmd.Pause, {"actor": actor, "stop": True})

    @rule(actor=ACTORS, sure=st.integers(0, 5))
    def somebody_cancels(self, actor: Actor, sure: int) -> None:
        if sure == 0:
            self._do(cmd.Cancel, {"actor": actor, "reason": "enough"})

    @rule(
        data=st.data(),
        command=st.sampled_from(
            [
                *(cmd.OpenGate, cmd.Expire, cmd.Remind, cmd.Start, cmd.Finish, cmd.Interrupt),
                *(cmd.BeginVerification, cmd.EndVerification),
                *(cmd.Evaluate, cmd.EndWait, cmd.TimeOut, cmd.TimeOutRun, cmd.Start),
            ]
        ),
    )
    def the_driver_is_late_or_confused(self, data: st.DataObject, command: type[cmd.Command]) -> None:
        number = data.draw(st.sampled_from([*self.story.run.steps]), "step")
        near = data.draw(st.integers(-1, 1), "off by")
        step = self.story.run.steps[number]
        revision = (step.gate.revision if step.gate else 0) + near
        fields: dict[type[cmd.Command], dict[str, Any]] = {
            cmd.OpenGate: {"digest": digest_of(number, revision)},
            cmd.Expire: {"revision": revision},
            cmd.Remind: {"revision": revision},
            cmd.Start: {"digest": digest_of(number, revision)},
            cmd.Finish: {"attempt": step.attempt + near, "result": cmd.StepResult()},
            cmd.Interrupt: {"attempt": step.attempt + near, "reason": "gone"},
            cmd.BeginVerification: {"attempt": step.attempt + near},
            cmd.EndVerification: {"attempt": step.attempt + near, "result": cmd.StepResult()},
            cmd.Evaluate: {},
            cmd.EndWait: {},
            cmd.TimeOut: {"attempt": step.attempt + near},
        }
        self._do(command, {} if command is cmd.TimeOutRun else {"step": number, **fields[command]})

    @rule(command=st.sampled_from([cmd.Halt, cmd.Admit, cmd.OpenGate]))
    def the_driver_asks_about_the_whole_run(self, command: type[cmd.Command]) -> None:
        fields: dict[type[cmd.Command], dict[str, Any]] = {
            cmd.Halt: {"reason": "a variable is missing"},
            cmd.Admit: {"start_digest": digest_of(None, 1)},
            cmd.OpenGate: {"step": None, "digest": digest_of(None, 7)},
        }
        self._do(command, fields[command])

    @rule(seconds=st.sampled_from([-86_400, -3600, -1, 0.001, 59, 3600, 10**6]), reboot=st.booleans())
    def the_clock_jumps(self, seconds: float, reboot: bool) -> None:
        now = self.story.now
        boot = (0, now.boot_id + "+") if reboot else (now.boot_ms, now.boot_id)
        self.story.now = Instant(now.at + timedelta(seconds=seconds), *boot)

    def _carried_out(self, data: st.DataObject, item: Due) -> tuple[type[cmd.Command], dict[str, Any]]:
        run, number = self.story.run, item.step
        step = run.steps[number] if number is not None else None
        gate = step.gate if step is not None else run.start_gate
        match item.kind:
            case DueKind.ADMIT:
                return cmd.Admit, {"start_digest": digest_of(None, 1)}
            case DueKind.OPEN_GATE:
                return cmd.OpenGate, {"step": number, "digest": digest_of(number, gate.revision + 1 if gate else 1)}
            case DueKind.EXPIRE_GATE:
                return cmd.Expire, {"step": number, "revision": item.revision}
            case DueKind.REMIND:
                return cmd.Remind, {"step": number, "revision": item.revision}
            case DueKind.EVALUATE:
                return cmd.Evaluate, {"step": number}
            case DueKind.END_WAIT:
                return cmd.EndWait, {"step": number}
            case DueKind.TIME_OUT if step is not None and number in running_processes(run):
                return cmd.EndVerification if step.verifying else cmd.Finish, {
                    "step": number,
                    "attempt": step.attempt,
                    "result": STOPPED,
                }
            case DueKind.TIME_OUT:
                assert step is not None
                return cmd.TimeOut, {"step": number, "attempt": step.attempt}
            case DueKind.VERIFY:
                assert step is not None
                held = data.draw(st.sampled_from(["", "", "", "the pins have changed"]), "held")
                return cmd.BeginVerification, {"step": number, "attempt": step.attempt, "held": held}
            case DueKind.TIME_OUT_RUN:
                return cmd.TimeOutRun, {}
            case DueKind.START_STEP:
                same = digest_of(number, gate.revision if gate else 0)
                changed = data.draw(st.sampled_from([same, same, same, digest_of(number, -1)]), "digest")
                what = ("passed TOKEN",) if changed != same else ()
                return cmd.Start, {"step": number, "digest": changed, "changed": what}
            case DueKind.WATCH_STEP | DueKind.STOP_STEP:
                assert step is not None
                found = {"step": number, "attempt": step.attempt}
                if step.verifying:
                    return cmd.EndVerification, {**found, "result": data.draw(VERDICTS, "verdict")}
                if data.draw(st.integers(0, 4), "lost if 0") == 0:
                    return cmd.Interrupt, {**found, "reason": "the machine went down"}
                return cmd.Finish, {**found, "result": data.draw(RESULTS, "result")}

    def _person(
        self, command: type[cmd.Command], step: StepId, reason: str, actor: Actor, digest: str | None
    ) -> dict[str, Any]:
        known = set(command.__struct_fields__)
        fields = {"actor": actor, "step": step, "from_step": step, "reason": reason, "digest": digest}
        return {name: value for name, value in fields.items() if name in known}

    def _do(self, command: type[cmd.Command], fields: dict[str, Any]) -> None:
        before, story = self.story.run, self.story
        status = status_of(before)
        story.tick()
        asked = story.command(command, **fields)
        try:
            decision = decide(before, asked)
        except (Refused, BadRequest) as error:
            self._check_refusal(asked, error)
            return
        assert before == self.from_bytes, "deciding changed the run it looked at"
        REACHED[status, command] += 1
        assert status_of(decision.run) in MOVES[status, command].to
        story.run = decision.run
        story.events.extend(decision.events)
        if not decision.events:
            assert decision.run == before
        self._check_new_events()
        self._check_that_rejected_steps_are_not_passed(asked)

    def _check_refusal(self, asked: cmd.Command, error: Refused | BadRequest) -> None:
        run = self.story.run
        assert run == self.from_bytes, "refusing changed the run it looked at"
        assert error.message
        assert error.hint or not isinstance(asked, cmd.PersonCommand)
        if isinstance(error, IllegalMove):
            assert f" {run.run_id}: it is {status_of(run)}" in error.message

    def _check_new_events(self) -> None:
        for event in self.story.events[self.read :]:
            self.ledger.read(event, self.story.config, self.story.now)
            if event.seq > 1:
                self.from_bytes = evolve(self.from_bytes, decode_event(encode_event(event)))
        self.read = len(self.story.events)

    def _check_that_rejected_steps_are_not_passed(self, asked: cmd.Command) -> None:
        if isinstance(asked, cmd.Resume):
            assert not any(step.stuck for step in self.story.run.steps.values())

    @invariant()
    def what_is_stored_is_what_lives(self) -> None:
        assert self.from_bytes == self.story.run

    @invariant()
    def the_status_is_the_first_that_holds(self) -> None:
        run = self.story.run
        status = status_of(run)
        STATUSES[status] += 1
        statuses = {step.status for step in run.steps.values()}
        start_is_asked = run.start_gate is not None and run.start_gate.status is GateStatus.OPEN
        if self.ledger.final:
            assert status in (RunStatus.COMPLETED, RunStatus.CANCELLED)
        elif run.ended is not None:
            assert status is RunStatus.FAILED
            assert run.timed_out or StepStatus.FAILED in statuses or any(step.ends_run for step in run.steps.values())
        elif run.queued:
            assert status is RunStatus.PENDING
        elif start_is_asked and not run.paused:
            assert status is RunStatus.WAITING_APPROVAL
        elif running_processes(run):
            assert status is RunStatus.RUNNING
        elif run.paused:
            assert status is RunStatus.PAUSED
        else:
            only_gates = statuses & {StepStatus.RUNNING, StepStatus.WAITING} == set() and not self._can_begin()
            assert (status is RunStatus.AWAITING_APPROVAL) == (only_gates and bool(open_gates(run)))

    def _can_begin(self) -> bool:
        run = self.story.run
        kinds = (DueKind.EVALUATE, DueKind.OPEN_GATE, DueKind.START_STEP)
        return any(item.kind in kinds for item in due(run))

    @invariant()
    def slots_ends_and_deadlines_agree(self) -> None:
        run = self.story.run
        status = status_of(run)
        ended = (RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.FAILED)
        assert holds_slot(run) == (status not in (RunStatus.PENDING, *ended))
        assert (run.ended is not None) == (status in ended) == (run.ended_at is not None)
        assert is_final(run) == self.ledger.final
        assert next_due_at(run) == min((item.at for item in due(run) if item.at is not None), default=None)
        assert 1 <= current_step(run) <= len(run.procedure.steps)
        assert run.executed == bool(self.ledger.starts)

    @invariant()
    def the_frontier_is_what_all_steps_together_make_it(self) -> None:
        run = self.story.run
        done = {n for n, step in run.steps.items() if step.finished}
        wanted = {step.number: set(step.depends_on) for step in run.procedure.steps}
        live = [
            n
            for n, step in run.steps.items()
            if n not in done | self.ledger.instances.keys()
            and (step.status != "pending" or wanted[int(str(n).split(":")[0])] <= done)
        ]
        assert (run.frontier, run.left) == (tuple(live), len(run.steps) - len(done))
        assert run.begun == tuple(n for n in live if run.steps[n].status != "pending")

    @invariant()
    def nothing_that_waits_for_a_person_is_forgotten(self) -> None:
        run = self.story.run
        if run.ended is not None:
            assert (asks(run), left_at(due(run))) == (0, None)
            return
        by_hand = [number for number, step in run.steps.items() if awaits_report(run, step)]
        stuck = [n for n, step in run.steps.items() if step.stuck and run.paused and run.rollback is None]
        assert [step.number for step in waiting_steps(run)] == [n for n in run.steps if n in (*by_hand, *stuck)]
        gates = [run.start_gate, *(step.gate for step in run.steps.values())]
        opened = sum(gate is not None and gate.status is GateStatus.OPEN for gate in gates)
        found = (0 if run.paused else opened) + len(by_hand) + len(stuck)
        assert asks(run) == (1 if run.paused and not found else found)
        # whatever has not ended asks for somebody, or for a driver, now or at its time
        assert asks(run) or left_at(due(run)) is not None

    @invariant()
    def a_step_ends_with_the_last_of_its_instances(self) -> None:
        run = self.story.run
        left = {n: sum(each not in self.ledger.finished for each in of) for n, of in self.ledger.instances.items()}
        assert run.expanded == {n: left[n] for n in left if n not in self.ledger.finished}
        assert run.ended is not None or run.cancel_requested or all(run.expanded.values())
        assert set(run.steps) == self.ledger._everything()

    @invariant()
    def there_is_always_a_way_on(self) -> None:
        run = self.story.run
        if is_final(run):
            assert not due(run)
            return
        decide(run, self.story.command(cmd.Cancel, actor=DORA))
        if due(run):
            return
        if open_gates(run) and not run.paused:
            for number, gate in open_gates(run):
                # whoever may approve: there is always somebody who can say no, and then ask again
                after = decide(run, self.story.command(cmd.Reject, reason="no", step=number, digest=gate.digest)).run
                way_out = number is not None and after.steps[number].passed_over
                assert way_out or is_final(after) or any(step.stuck for step in after.steps.values())
            return
        by_hand = any(step.status is StepStatus.RUNNING and is_manual(run, step.number) for step in run.steps.values())
        stuck = run.ended is RunStatus.FAILED or any(step.stuck for step in run.steps.values())
        assert by_hand or stuck or (run.paused and (status_of(run), cmd.Resume) in MOVES)
        if stuck and not by_hand and not run.pause_requested:
            decide(run, self.story.command(cmd.Retry, actor=ALICE))

    def teardown(self) -> None:
        if not hasattr(self, "story"):
            return
        story = self.story
        assert replay(story.procedure, [decode_event(encode_event(event)) for event in story.events]) == story.run
        sealed = seal(story.events, NO_HASH)
        assert [each.seq for each in sealed] == list(range(1, len(story.events) + 1))


RunUnderRandomCommands.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestRunUnderRandomCommands = pytest.mark.timeout(3600)(RunUnderRandomCommands.TestCase)


@pytest.fixture(scope="module", autouse=True)
def _coverage() -> Iterator[None]:
    yield
    if os.environ.get("SOPWITH_COVERAGE"):
        missed = sorted(f"{status} {command.__name__}" for status, command in MOVES.keys() - REACHED.keys())
        reached = f"{len(STATUSES)} of {len(RunStatus)} statuses, {len(REACHED)} of {len(MOVES)} moves"
        sys.stdout.write(f"\n{reached}; missed: {missed}\n")
