"""What a run of a procedure would do, without making one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.agents import agents_of
from sopwith.core.approval import ApprovalRules
from sopwith.core.concurrency import group_of
from sopwith.core.events import Policy
from sopwith.core.foresight import Foreseen, Foresight, foresee
from sopwith.core.gates import Terms, needs_gate, needs_start_gate, start_terms, step_terms
from sopwith.core.modes import choose_mode, declared_mode
from sopwith.core.parameters import resolve_parameters
from sopwith.core.procedure import ExecutionMode, Procedure
from sopwith.engine.agents import check_agents
from sopwith.engine.creation import policy_of
from sopwith.engine.documents import Document, agents_document, rules_document, step_definition
from sopwith.engine.environment import working_dir
from sopwith.engine.library import Library
from sopwith.ports import Workspace


def plan_document(
    workspace: Workspace,
    library: Library,
    name: str,
    *,
    params: Mapping[str, Any],
    mode: ExecutionMode | None,
    actor: Actor,
) -> Document:
    """What a run would do, in order: conditions, gates, timeouts, scripts. Writes nothing and starts nothing."""
    procedure = library.procedure(name)
    config = library.config()
    chosen = choose_mode(procedure, config, requested=mode, actor=actor)
    policy = policy_of(config)
    resolved = resolve_parameters(procedure, params)
    check_agents(procedure, config)
    order = _order(procedure)
    foreseen = foresee(procedure, order, mode=chosen, params=resolved, started_by=actor)
    return {
        "sopName": name,
        "title": procedure.title,
        "version": procedure.version,
        "priority": procedure.priority,
        "executionMode": chosen,
        "declaredMode": declared_mode(procedure, config),
        "params": resolved,
        "maxParallel": procedure.max_parallel,
        "timeoutSecs": procedure.timeout_secs,
        "concurrencyGroup": group_of(procedure, resolved, mode=chosen, starter=actor),
        "agents": agents_document(agents_of(procedure, config.agents)),
        "startApproval": (
            _planned_gate(start_terms(procedure, policy), procedure.approval) if needs_start_gate(chosen) else None
        ),
        "steps": [
            _planned(workspace, procedure, chosen, policy, number) | _foreseen(foreseen[number]) for number in order
        ],
    }


def _planned(
    workspace: Workspace, procedure: Procedure, mode: ExecutionMode, policy: Policy, number: StepId
) -> Document:
    step = procedure.step(number)
    gated = needs_gate(mode, step)
    return {
        **step_definition(step),
        "workingDir": str(working_dir(workspace.root, procedure, step)),
        "gate": (
            _planned_gate(step_terms(procedure, step, policy), step.approval or procedure.approval) if gated else None
        ),
    }


def _foreseen(step: Foreseen) -> Document:
    """What is known of a step's conditions. A step that will be skipped asks nobody."""
    told: Document = {
        "condition": _foresight(step.condition),
        "approvalCondition": _foresight(step.when),
        "skipped": step.skipped,
    }
    return told | ({"gate": None} if step.skipped else {})


def _foresight(found: Foresight | None) -> Document | None:
    return None if found is None else msgspec.to_builtins(found)


def _planned_gate(terms: Terms, rules: ApprovalRules | None) -> Document:
    stated = rules_document(rules) or {}
    return {**stated, "approvalTimeoutMins": terms.timeout_mins, "onTimeout": terms.action}


def _order(procedure: Procedure) -> list[int]:
    """Dependencies first, lower numbers first among equals."""
    done: set[int] = set()
    order: list[int] = []
    while len(order) < len(procedure.steps):
        for step in procedure.steps:
            if step.number not in done and done.issuperset(step.depends_on):
                done.add(step.number)
                order.append(step.number)
                break
    return order
