"""The envelope: the very bytes an approval covers (DESIGN section 5). Two equal envelopes run the same thing.

Values that must not be readable are kept as HMACs; the engine makes those, because the key lives at the edge.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sopwith.core.address import StepId, instance_of, number_of
from sopwith.core.agents import AgentCommand, agent_of, equipped
from sopwith.core.approval import NO_RULES, ApprovalRules
from sopwith.core.approvers import rules_of
from sopwith.core.events import Policy, Used
from sopwith.core.gates import gate_terms
from sopwith.core.interruption import INTERPRETER, REPORT_VERIFY_SECS, VERIFY_SECS
from sopwith.core.interruption import rules_of as interrupt_rules_of
from sopwith.core.procedure import OnInterrupt, RetryRules, Step, canonical
from sopwith.core.rollback import definition_of
from sopwith.core.run import Gate, Run, ancestors

FORMAT = 3


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """`step` None is the start approval, which covers the procedure, its parameters and mode as a whole."""

    format: int = FORMAT
    procedure_name: str
    procedure_digest: str
    run_id: str
    mode: str
    step: int | None
    instance: str = ""
    item: Any = None
    """Of a step that is done for each of several items."""
    title: str
    visit: int
    revision: int
    nonce: str = ""
    """Drawn when the gate opened; empty where nothing asks."""
    umask: int = 0o022
    rollback: bool = False
    """What would run is the step's rollback script."""
    executor: str = ""
    interpreter: str | None = None
    program: str | None = None
    """Where the interpreter was found on the step's PATH."""
    script: str | None = None
    instructions: str = ""
    """The prose of a manual step; a shell step's prose is shown beside its script."""
    working_dir: str = ""
    parameters: dict[str, Any]
    inputs: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Outputs of the steps this one depends on, directly or not: step number as text -> name -> value."""
    approvals: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """What the approvers of those steps filled in, likewise."""
    pins: dict[str, Any] = msgspec.field(default_factory=dict)
    """Pinned files: name -> SHA-256; at the start approval, step number as text -> name -> SHA-256."""
    environment: dict[str, str]
    """The allow-listed environment as captured at creation, and what `env.set` adds."""
    passed: dict[str, str] = msgspec.field(default_factory=dict)
    """Variables passed from the driver's environment: name -> HMAC-SHA-256 under the workspace key, hex."""
    secrets: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """Parameters of type secret, likewise. Left out where there are none, as is `on_interrupt`."""
    policy: Policy
    working_dirs: dict[str, str] = msgspec.field(default_factory=dict)
    """At the start approval: where steps that name a working directory will run, by step number as text."""
    approval: ApprovalRules = NO_RULES
    uses: dict[str, Used] = msgspec.field(default_factory=dict)
    """Procedures that run within this, by name, with their digests, pins and passed variables."""
    given: dict[str, Any] = msgspec.field(default_factory=dict)
    """The parameters that the step hands to the procedure it uses."""
    timeout_mins: int | float | None = None
    on_timeout: str | None = None
    timeout_secs: int | float | None = None
    """How long the step itself may take."""
    retry: RetryRules | None = None
    on_interrupt: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    """What is done by itself after an interruption, with the command that verifies. Left out where a person is asked:
    the bytes of such an envelope are what they were before there was it."""
    verify: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    """The script that must end with exit code 0 before a report that the step is done is believed. Left out likewise
    where there is none."""
    agent: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    """Whose command carries the step out, and the command. Left out likewise."""
    agents: dict[str, AgentCommand] | msgspec.UnsetType = msgspec.UNSET
    """At the start approval: those of all steps, by name."""
    event: str | msgspec.UnsetType = msgspec.UNSET
    """The SHA-256 of the event that started the run, which its steps may read. Left out likewise."""


def step_envelope(
    run: Run,
    number: StepId,
    *,
    working_dir: str,
    passed: dict[str, str],
    pins: dict[str, str],
    program: str | None,
    given: dict[str, Any],
    secrets: dict[str, str] | None = None,
    verifier: str | None = None,
    agent: AgentCommand | None = None,
    asking: str | None = None,
) -> Envelope:
    """The envelope of a step's next start, as its gate asked about it; `asking` is the nonce of a gate to ask next."""
    step = run.steps[number]
    definition = equipped(definition_of(run, number), agent)
    terms = gate_terms(run, number)
    before = ancestors(run.procedure, number)
    return Envelope(
        procedure_name=run.name,
        procedure_digest=run.procedure_digest,
        run_id=run.run_id,
        mode=run.mode,
        step=number_of(number),
        instance=instance_of(number),
        item=step.item,
        title=definition.title,
        visit=step.visit,
        revision=_revision(step.gate, asking),
        nonce=_nonce(step.gate, asking),
        umask=run.umask,
        rollback=run.rollback is not None,
        executor=definition.executor,
        interpreter=definition.script.interpreter if definition.script else None,
        program=program,
        script=definition.script.text if definition.script else None,
        instructions=definition.body,
        working_dir=working_dir,
        parameters=dict(run.params),
        inputs={
            str(other): run.steps[other].outputs
            for other in (before if run.rollback is None else (*before, number))
            if run.steps[other].outputs
        },
        approvals={
            str(other): values
            for other in before
            if run.steps[other].gate is not None and (values := run.steps[other].approval_values)
        },
        pins=pins,
        environment=run.environment | run.procedure.env.set_ | definition.env.set_,
        passed=passed,
        secrets=secrets or msgspec.UNSET,
        policy=run.policy,
        uses=run.uses if definition.uses is not None else {},
        given=given,
        approval=rules_of(run, number),
        timeout_mins=terms.timeout_mins,
        on_timeout=terms.action,
        timeout_secs=definition.timeout_secs,
        retry=definition.retry,
        on_interrupt=_on_interrupt(definition, verifier),
        verify=_verify(definition, verifier),
        agent=msgspec.UNSET if agent is None else {"name": agent_of(definition), **msgspec.to_builtins(agent)},
        event=run.event_digest or msgspec.UNSET,
    )


def _on_interrupt(step: Step, verifier: str | None) -> dict[str, Any] | msgspec.UnsetType:
    rules = interrupt_rules_of(step)
    if rules.policy is OnInterrupt.ASK:
        return msgspec.UNSET
    if rules.policy is not OnInterrupt.VERIFY:
        return {"policy": rules.policy}
    return {
        "policy": rules.policy,
        "command": rules.command,
        "interpreter": INTERPRETER,
        "program": verifier,
        "timeout_secs": VERIFY_SECS,
    }


def _verify(step: Step, verifier: str | None) -> dict[str, Any] | msgspec.UnsetType:
    if not step.verify:
        return msgspec.UNSET
    return {
        "script": step.verify.text,
        "interpreter": step.verify.interpreter,
        "program": verifier,
        "timeout_secs": REPORT_VERIFY_SECS,
    }


def start_envelope(run: Run, *, asking: str | None = None) -> Envelope:
    """The envelope of the start approval: the pinned procedure as a whole, its parameters and its mode."""
    terms = gate_terms(run, None)
    return Envelope(
        procedure_name=run.name,
        procedure_digest=run.procedure_digest,
        run_id=run.run_id,
        mode=run.mode,
        step=None,
        title=run.procedure.title,
        visit=1,
        revision=_revision(run.start_gate, asking),
        nonce=_nonce(run.start_gate, asking),
        umask=run.umask,
        parameters=dict(run.params),
        environment=dict(run.environment),
        passed=run.passed,
        secrets=run.secrets or msgspec.UNSET,
        pins=run.pins,
        working_dirs=run.folders,
        policy=run.policy,
        uses=run.uses,
        approval=rules_of(run, None),
        timeout_mins=terms.timeout_mins,
        on_timeout=terms.action,
        agents=run.agents or msgspec.UNSET,
        event=run.event_digest or msgspec.UNSET,
    )


def envelope_bytes(envelope: Envelope) -> bytes:
    """Canonical bytes; `sha256` of them is the digest a decision stores."""
    return canonical(msgspec.to_builtins(envelope))


def changed_fields(before: bytes, after: bytes) -> tuple[str, ...]:
    """The names of the fields in which two envelopes differ; `passed TOKEN` for one value among many."""
    old, new = msgspec.json.decode(before), msgspec.json.decode(after)
    return tuple(sorted(named for name in {*old, *new} for named in _differences(name, old.get(name), new.get(name))))


def _differences(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [f"{name} {key}" for key in {*old, *new} if old.get(key) != new.get(key)]
    return [] if old == new else [name]


def _revision(gate: Gate | None, asking: str | None) -> int:
    current = 0 if gate is None else gate.revision
    return current if asking is None else current + 1


def _nonce(gate: Gate | None, asking: str | None) -> str:
    if asking is not None:
        return asking
    return "" if gate is None else gate.nonce
