"""Making a run: all that fixes it, read once, and stored with its first events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.admission import Limits, Occupancy, admit, rule_of
from sopwith.core.agents import agents_of
from sopwith.core.child import EXECUTOR as PROCEDURE
from sopwith.core.commands import Command
from sopwith.core.concurrency import group_of
from sopwith.core.config import Config
from sopwith.core.decide import Decision, NewRun, create
from sopwith.core.events import ParentRun, Policy, Used
from sopwith.core.instant import Instant
from sopwith.core.modes import choose_mode, declared_mode
from sopwith.core.parameters import check_chooser, resolve_parameters
from sopwith.core.people import Directory, check_runner
from sopwith.core.procedure import ExecutionMode, Procedure, encode_procedure, sha256
from sopwith.core.request import Request, run_id_of
from sopwith.core.rollback import EXECUTOR
from sopwith.core.run import Run, children, holds_slot
from sopwith.core.satisfiable import unsatisfiable
from sopwith.engine.agents import check_agents
from sopwith.engine.envelopes import start_envelope_bytes
from sopwith.engine.environment import captured_environment, folders_at_creation, passed_at_creation
from sopwith.engine.parts import Parts
from sopwith.engine.pins import pinned_at_creation
from sopwith.engine.runs import Made, Runs, joined, with_event
from sopwith.engine.secrets import default_secrets, secrets_at_creation
from sopwith.errors import BadName, BadRequest, Conflict, CoolingDown, LimitReached, NotAllowed, NotFound
from sopwith.ports import Owner
from sopwith.version import __version__

MANUAL = "manual"
WITHOUT_PROCESS = (MANUAL, "wait", PROCEDURE)


class Within(msgspec.Struct, frozen=True, kw_only=True):
    """The run that starts another one: what the child has from it."""

    run_id: str
    """Of the child, drawn when the intent to start it was recorded."""
    parent: ParentRun
    environment: dict[str, str]
    umask: int
    used: Used
    """The child as it was when the outermost run was created."""
    uses: Mapping[str, Used]
    """All that may run within the parent."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of. `uses`: every procedure that runs within it, by name."""

    procedure: Procedure
    uses: Mapping[str, Procedure]
    params: Mapping[str, Any]
    mode: ExecutionMode | None = None
    queue: bool = False
    trigger: str = "manual"
    event: bytes = b""
    """What happened outside, as `core/trigger_events.py` encodes it; empty: a person or a program asks for the run."""
    within: Within | None = None
    request: Request | None = None


class Driving(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever creates a run to drive it on at once adds to its creation."""

    owner: Owner
    """Who drives: the run is claimed as it is created."""
    first: Callable[[Run], Command | None]
    """What follows at once, if anything: the intent to start the first step."""


def make_run(parts: Parts, runs: Runs, order: Order, *, actor: Actor, driving: Driving | None = None) -> Made:
    """A new run, admitted or queued. Raises NotAllowed, BadRequest, BadParameter, LimitReached, CoolingDown."""
    procedure, within = order.procedure, order.within
    config = parts.library.config()
    people = Directory(config)
    mode = within.used.mode if within else choose_mode(procedure, config, requested=order.mode, actor=actor)
    modes = {
        name: within.uses[name].mode if within else choose_mode(each, config, requested=None, actor=actor)
        for name, each in order.uses.items()
    }
    for each in (procedure, *order.uses.values()):
        check_executors(parts, each)
        check_agents(each, config)
        check_runner(each, actor, people)
        _check_passable(each, mode if each is procedure else modes[each.name], actor, people)
    params = resolve_parameters(procedure, order.params)
    if within is None:
        check_chooser(procedure, params, actor)
    group = group_of(procedure, params, mode=mode, starter=actor)
    pinned = encode_procedure(procedure)
    contents = {name: encode_procedure(each) for name, each in sorted(order.uses.items())}
    own = within.used if within else _used(parts, procedure, pinned, mode, config)
    new = NewRun(
        run_id=within.run_id if within else run_id_of(order.request) if order.request else parts.ids.run_id(),
        procedure=procedure,
        procedure_digest=sha256(pinned),
        mode=mode,
        declared_mode=declared_mode(procedure, config),
        params=params,
        environment=within.environment if within else captured_environment(parts.environ),
        umask=within.umask if within else parts.umask,
        passed=own.passed,
        secrets=_secrets_of(parts, procedure, params, own),
        pins=own.pins,
        uses={
            name: within.uses[name] if within else _used(parts, order.uses[name], data, modes[name], config)
            for name, data in contents.items()
        },
        parent=within.parent if within else None,
        folders=own.folders,
        agents=own.agents,
        policy=policy_of(config),
        trigger=order.trigger,
        event_digest=sha256(order.event) if order.event else "",
        concurrency_group=group,
        engine_version=__version__,
        nonce=parts.ids.nonce(),
        request=order.request,
    )
    line = line_of(runs, within.parent.run_id) if within else ()
    limits = limits_of(procedure, config, group, line)

    def plan(occupancy: Occupancy, now: Instant) -> tuple[Decision, tuple[bytes, ...]]:
        if within is not None:
            _check_awaited(runs, within)
        planned = _queued_if_full(new, order, limits, occupancy, now)
        decision = with_event(create(planned, actor=actor, now=now, people=people), order.event)
        event = (order.event,) if order.event else ()
        kept = (pinned, *contents.values(), *event, *_start_contents(decision.run))
        following = None if driving is None else driving.first(decision.run)
        return decision if following is None else joined(decision, following), kept

    return runs.create(procedure.name, plan, group=group, driver=None if driving is None else driving.owner)


def _check_awaited(runs: Runs, within: Within) -> None:
    """Raises Conflict where the step waits for this run no longer: whoever drives the run around it was overtaken."""
    around = runs.load(within.parent.run_id).run
    if not any((step.number, step.child) == (within.parent.step, within.run_id) for step in children(around)):
        raise Conflict(
            f"cannot create {within.run_id}: step {within.parent.step} of {around.run_id} no longer waits for it",
            hint=f"see: sop status {around.run_id}",
        )


def _used(parts: Parts, procedure: Procedure, pinned: bytes, mode: ExecutionMode, config: Config) -> Used:
    root = parts.workspace.root
    agents = agents_of(procedure, config.agents)
    return Used(
        digest=sha256(pinned),
        mode=mode,
        pins=pinned_at_creation(root, procedure),
        passed=passed_at_creation(procedure, parts, agents),
        folders=folders_at_creation(root, procedure),
        secrets=default_secrets(parts, procedure),
        agents=agents,
    )


def _secrets_of(parts: Parts, procedure: Procedure, params: Mapping[str, Any], own: Used) -> dict[str, str]:
    """What the secrets are now; of a run within another, its defaults are what they were when that was created."""
    defaults = {each.name: each.default for each in procedure.parameters}
    kept = {name: value for name, value in own.secrets.items() if params.get(name) == defaults.get(name)}
    return secrets_at_creation(parts, procedure, params) | kept


def check_executors(parts: Parts, procedure: Procedure) -> None:
    """Raises BadRequest for a step that nothing installed here could carry out."""
    for step in procedure.steps:
        kind = parts.kinds.kind(step.executor)
        if step.rollback is not None:
            parts.kinds.kind(EXECUTOR)
        if kind.make is None and kind.name not in WITHOUT_PROCESS:
            raise BadRequest(
                f"step {step.number} of {procedure.name} wants executor {kind.name}, which makes nothing that "
                "could carry it out",
                hint=f"steps that people carry out have executor {MANUAL}",
            )
        if kind.needs_script and step.script is None:
            raise BadRequest(
                f"step {step.number} of {procedure.name} has no script, and executor {kind.name} needs one",
                hint=f"give it a script, or executor {MANUAL}",
            )


def line_of(runs: Runs, run_id: str) -> tuple[Run, ...]:
    """The run and those within which it runs, the outermost last; as far as they can be read."""
    line: list[Run] = []
    while run_id and run_id not in {run.run_id for run in line}:
        try:
            run = runs.load(run_id).run
        except (BadName, NotFound):
            break
        line.append(run)
        run_id = run.parent.run_id if run.parent is not None else ""
    return tuple(line)


def limits_now(runs: Runs, run: Run, config: Config) -> Limits:
    """What a run that is there has to meet where it takes a slot."""
    line = line_of(runs, run.parent.run_id) if run.parent is not None else ()
    return limits_of(run.procedure, config, run.concurrency_group, line)


def limits_of(procedure: Procedure, config: Config, group: str, line: tuple[Run, ...] = ()) -> Limits:
    """`line`: the runs around it. While the outermost one has a place in the workspace, it stands for all within."""
    is_within = bool(line) and holds_slot(line[-1])
    return Limits(
        max_concurrent=procedure.max_concurrent,
        max_concurrent_runs=None if is_within else config.max_concurrent_runs,
        cooldown_secs=procedure.cooldown_secs,
        concurrency_group=group,
        line=frozenset(run.run_id for run in line),
        in_queue=not is_within,
    )


def policy_of(config: Config) -> Policy:
    """The config keys that a run keeps from its creation on."""
    return Policy(
        approval_timeout_mins=config.approval_timeout_mins, approval_timeout_action=config.approval_timeout_action
    )


def _check_passable(procedure: Procedure, mode: ExecutionMode, actor: Actor, people: Directory) -> None:
    """NotAllowed where some gate of the run could be passed by nobody."""
    for _number, sentence, hint in unsatisfiable(procedure, people, starter=actor, mode=mode):
        raise NotAllowed(f"a run of {procedure.name} could never end well: {sentence}", hint=hint)


def _queued_if_full(new: NewRun, order: Order, limits: Limits, occupancy: Occupancy, now: Instant) -> NewRun:
    try:
        admit(new.procedure.name, limits, occupancy, now.at)
    except (LimitReached, CoolingDown) as refusal:
        if not order.queue:
            raise
        return msgspec.structs.replace(new, queued_because=rule_of(refusal))
    return new


def _start_contents(run: Run) -> tuple[bytes, ...]:
    return () if run.start_gate is None else (start_envelope_bytes(run),)
