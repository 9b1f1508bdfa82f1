"""The JSON shapes that every door shows (specification, "Tool Calls"): one function per shape, camelCase keys.

Longer than other files: whoever changes a key sees here where else it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sopwith.core.actor import ActorKind
from sopwith.core.address import StepId, instance_of, number_of
from sopwith.core.agents import AgentCommand, agent_of, agents_of
from sopwith.core.approval import ApprovalRules
from sopwith.core.approvers import approvers_of, rules_of
from sopwith.core.due import DueKind, is_left, overdue, waits_by_itself
from sopwith.core.gates import is_gated
from sopwith.core.instant import duration_text, iso, whole_ms
from sopwith.core.interruption import rules_of as rules_of_interruption
from sopwith.core.interruption import text_of
from sopwith.core.modes import declared_mode, effective_mode
from sopwith.core.people import AGENT, USER
from sopwith.core.procedure import ExecutionMode, OnInterrupt, Procedure, Step, Trigger
from sopwith.core.refusal import what_now
from sopwith.core.run import (
    Gate,
    GateStatus,
    Run,
    StepState,
    StepStatus,
    Verification,
    current_step,
    is_failing,
    is_manual,
    open_gates,
    run_times_out_at,
    shown_status,
    status_of,
)
from sopwith.engine.auditing import DroppedRecord
from sopwith.errors import Problem, SopwithError

if TYPE_CHECKING:
    from sopwith.core.codec import SealedEvent
    from sopwith.core.config import Config
    from sopwith.engine.engine import Answered
    from sopwith.ports import Lease, Owner, RunSummary

Document = dict[str, Any]


def run_document(
    run: Run, *, now: datetime | None = None, driver: Owner | None = None, lease: Lease | None = None
) -> Document:
    """A run: `{runId, sopName, status, currentStep, totalSteps, stepResults, …}`. With `now`, what is overdue too."""
    document: Document = {
        "runId": run.run_id,
        "sopName": run.name,
        "status": status_of(run),
        "currentStep": current_step(run),
        "totalSteps": len(run.procedure.steps),
        "title": run.procedure.title,
        "version": run.procedure.version,
        "priority": run.procedure.priority,
        "executionMode": run.mode,
        "params": run.params,
        **({"event": event_document(run)} if run.event is not None else {}),
        "concurrencyGroup": run.concurrency_group,
        "procedureDigest": run.procedure_digest,
        "parent": None if run.parent is None else {"runId": run.parent.run_id, **addressed(run.parent.step)},
        "revision": run.seq,
        "createdAt": iso(run.created_at),
        "createdBy": msgspec.to_builtins(run.created_by),
        "startedAt": _iso(run.started_at),
        "endedAt": _iso(run.ended_at),
        "duration": _duration(run),
        "timeoutSecs": run.procedure.timeout_secs,
        "timesOutAt": _iso(run_times_out_at(run)),
        "reason": run.reason,
        "gates": [gate_document(run, number, gate) for number, gate in open_gates(run)],
        "stepResults": [step_document(run, step) for step in run.steps.values()],
        "next": what_now(run),
    }
    for key, holds in (
        ("failing", is_failing(run)),
        ("pauseRequested", run.pause_requested),
        ("stopRequested", bool(run.stopping)),
        ("cancelRequested", run.cancel_requested),
        ("nothingRan", run.nothing_ran),
        ("withFailures", run.with_failures),
        ("rolledBack", run.rolled_back),
        ("timedOut", run.timed_out),
    ):
        if holds:
            document[key] = True
    waits_for = dict.fromkeys(each for gate in document["gates"] for each in gate["waitsFor"])
    if waits_for and not run.paused:
        document["waitsFor"] = list(waits_for)
    document |= _rollback(run)
    if now is not None:
        late = overdue(run, now)
        if late:
            document["overdue"] = [
                {**addressed(item.step), "dueAt": _iso(item.at)}
                | ({"wholeRun": True} if item.kind is DueKind.TIME_OUT_RUN else {})
                for item in late
            ]
        document["drivenBy"] = None if driver is None else {"host": driver.host, "pid": driver.pid}
        if lease is not None:
            # nobody here can see whether that process lives: until then it counts as driving
            driver = lease.owner
            document["drivenBy"] = {"host": driver.host, "pid": driver.pid, "until": iso(lease.until)}
        if driver is None and not run.queued and is_left(run, now):
            document["undriven"] = True
            document["next"] = f"sop resume {run.run_id}"
        elif driver is None and waits_by_itself(run):
            # a server, or whoever resumes it, is there when the time comes
            document["next"] = f"sop resume {run.run_id}"
    return document


def event_document(run: Run) -> Document:
    """What happened outside and started the run. `untrusted`: it is data, whatever it says."""
    return {"digest": run.event_digest, "untrusted": True, "content": run.event}


def _rollback(run: Run) -> Document:
    """What is being undone, the present step first; what could not be, and what was not tried."""
    going = run.rollback
    told = {
        "rollingBack": () if going is None else going.left,
        "rollbackFailed": run.rollback_failed if going is None else going.failed,
        "notRolledBack": run.not_rolled_back if going is None else going.declined,
    }
    return {key: list(steps) for key, steps in told.items() if steps}


def gate_document(run: Run, number: StepId | None, gate: Gate) -> Document:
    """An open or answered gate. `votes` are those who agreed while more must; no `approvers`: any person."""
    rules = rules_of(run, number)
    return {
        **addressed(number),
        "title": run.procedure.title if number is None else run.procedure.step(number).title,
        "status": gate.status,
        "revision": gate.revision,
        "digest": gate.digest,
        "rollback": gate.rollback,
        "requestedAt": iso(gate.requested_at),
        "dueAt": _iso(gate.due_at),
        "onTimeout": gate.on_timeout if gate.due_at or gate.decided_at else None,
        "remindAt": [iso(at) for at in gate.remind_at],
        "escalated": gate.escalated,
        "approvers": list(approvers_of(run, number)),
        "waitsFor": _waits_for(run, number, gate),
        "votesNeeded": rules.votes_needed,
        "votes": [
            {"by": msgspec.to_builtins(vote.actor), "at": iso(vote.at), "comment": vote.comment} for vote in gate.votes
        ],
        "commentRequired": rules.comment_required,
        "form": [_without_empty(msgspec.to_builtins(field)) for field in rules.form],
        "values": gate.form,
        "decidedAt": _iso(gate.decided_at),
        "decidedBy": None if gate.decided_by is None else msgspec.to_builtins(gate.decided_by),
        "comment": gate.comment,
    }


def _waits_for(run: Run, number: StepId | None, gate: Gate) -> list[str]:
    """Whom an open gate names as its approvers, without those who have agreed; nobody where any person may."""
    if gate.status is not GateStatus.OPEN:
        return []
    agreed = {(AGENT if vote.actor.kind is ActorKind.AGENT else USER) + vote.actor.id for vote in gate.votes}
    return [each for each in approvers_of(run, number) if each not in agreed]


def answer_document(answered: Answered) -> Document:
    """What an answer did at its gate: `{runId, stepNumber, status, votes, needed, action?}`.

    `status` is `vote_recorded` while more must agree; `action` is what a rejection led to.
    """
    run, gate = answered.run, answered.gate
    status = "vote_recorded" if gate.status is GateStatus.OPEN else "approved" if gate.passed else "rejected"
    document: Document = {
        "runId": run.run_id,
        **addressed(answered.step),
        "status": status,
        "votes": len(gate.votes),
        "needed": rules_of(run, answered.step).votes_needed,
    }
    return document | ({"action": answered.led_to} if status == "rejected" else {})


def addressed(step: StepId | None) -> Document:
    """`{stepNumber}`, and `instance` where it is one; null: the start."""
    if isinstance(step, str):
        return {"stepNumber": number_of(step), "instance": instance_of(step)}
    return {"stepNumber": step}


def step_document(run: Run, step: StepState) -> Document:
    """One entry of `stepResults`."""
    definition = run.procedure.step(step.number)
    document: Document = {
        **addressed(step.number),
        "title": definition.title,
        "status": shown_status(run, step),
        "executor": definition.executor,
        "requiresApproval": is_gated(run, step.number),
        "visit": step.visit,
        "attempt": step.attempt,
        "startedAt": _iso(step.started.at if step.started else None),
        "endedAt": _iso(step.ended_at),
        "durationMs": step.duration_ms,
        "duration": None if step.duration_ms is None else duration_text(step.duration_ms),
        "wakeAt": _iso(step.wake_at),
        "exitCode": step.exit_code,
        "output": step.output,
        "outputs": step.outputs,
        "error": step.error,
        "comment": step.comment,
        "evidence": [msgspec.to_builtins(each) for each in step.evidence],
        "approval": None if step.gate is None else gate_document(run, step.number, step.gate),
    }
    if rules_of_interruption(definition).policy is not OnInterrupt.ASK:
        document["onInterrupt"] = text_of(definition)
    if step.verification is not None:
        document["verification"] = _verification(step.verification)
    if step.command:
        document |= {"agent": step.agent, "command": list(step.command)}
    if step.child:
        document["childRunId"] = step.child
        document["childStatus"] = step.child_standing
    if step.place:
        document["item"] = step.item
    if step.instances is not None:
        document["instances"] = [instance_of(each) for each in step.instances]
    if definition.verify:
        document["verify"] = definition.verify.text
    if step.to_verify and step.status is StepStatus.RUNNING:
        document["toVerify"] = True
    if is_manual(run, step.number) and step.status is StepStatus.RUNNING:
        document["instructions"] = definition.body
    return document


def _verification(found: Verification) -> Document:
    """`outcome`: done, not_done or unknown; null: it still runs."""
    return {
        "command": found.command,
        "startedAt": iso(found.started.at),
        "outcome": found.outcome or None,
        "exitCode": found.exit_code,
        "output": found.output,
        "because": found.because,
        "ofReport": found.of_report,
    }


def summary_document(summary: RunSummary) -> Document:
    """One line of `history` and of `sop_list_runs`."""
    return {
        "runId": summary.run_id,
        "sopName": summary.name,
        "status": summary.status,
        "currentStep": summary.current_step,
        "totalSteps": summary.total_steps,
        "version": summary.version,
        "priority": summary.priority,
        "executionMode": summary.mode,
        "createdAt": iso(summary.created_at),
        "createdBy": summary.created_by,
        "updatedAt": iso(summary.updated_at),
        "endedAt": _iso(summary.ended_at),
        "dueAt": _iso(summary.due_at),
        "procedureDigest": summary.procedure_digest,
        "concurrencyGroup": summary.concurrency_group,
        "parent": summary.parent or None,
    }


def audit_document(run_id: str, events: Iterable[SealedEvent], dropped: DroppedRecord | None = None) -> Document:
    """`{runId, events: [{timestamp, type, stepNumber?, actor, details, seq, hash}]}`.

    An event without content has `{seq, contentGone, prevHash, hash}`; `dropped: {at, days}` says by which retention.
    """
    shown: list[Document] = []
    for sealed in events:
        if not sealed.payload:
            shown.append({"seq": sealed.seq, "contentGone": True, "prevHash": sealed.prev_hash, "hash": sealed.hash})
            continue
        event = msgspec.json.decode(sealed.payload)
        shown.append(
            {
                "timestamp": event["timestamp"],
                "type": event["eventType"],
                **{key: event[key] for key in ("stepNumber", "instance") if key in event},
                "actor": event["actor"],
                "details": event["details"],
                "seq": event["seq"],
                "prevHash": sealed.prev_hash,
                "hash": sealed.hash,
            }
        )
    document: Document = {"runId": run_id, "events": shown}
    if dropped is not None:
        document["dropped"] = {"at": iso(dropped.at), "days": dropped.days}
    return document


def procedure_document(procedure: Procedure, config: Config) -> Document:
    """`{name, …, steps: [{number, title, requiresApproval, approvalTimeoutMins, …}]}`: as the files say it."""
    declared = declared_mode(procedure, config)
    document = _defined(procedure, declared, effective_mode(declared, procedure.priority, config))
    return document | {"agents": agents_document(agents_of(procedure, config.agents))}


def pinned_document(run: Run) -> Document:
    """The same of the procedure as a run pinned it, with the mode that the run has."""
    document = _defined(run.procedure, run.procedure.execution_mode, run.mode)
    return document | {"agents": agents_document(run.agents)}


def agents_document(agents: Mapping[str, AgentCommand]) -> Document:
    """`{NAME: {command, env: {pass, set}}}`: the commands that carry steps out."""
    return {name: msgspec.to_builtins(agent) for name, agent in agents.items()}


def _defined(procedure: Procedure, mode: ExecutionMode | None, effective: ExecutionMode) -> Document:
    return {
        "name": procedure.name,
        "title": procedure.title,
        "description": procedure.description,
        "overview": procedure.overview,
        "version": procedure.version,
        "priority": procedure.priority,
        "executionMode": mode,
        "effectiveMode": effective,
        "cooldownSecs": procedure.cooldown_secs,
        "maxConcurrent": procedure.max_concurrent,
        "concurrencyGroup": procedure.concurrency_group,
        "timeoutSecs": procedure.timeout_secs,
        "onFailure": procedure.on_failure,
        "runners": list(procedure.runners),
        "approval": rules_document(procedure.approval),
        "triggers": [trigger_definition(trigger) for trigger in procedure.triggers],
        "params": [_without_empty(msgspec.to_builtins(parameter)) for parameter in procedure.parameters],
        "workingDir": procedure.working_dir,
        "env": msgspec.to_builtins(procedure.env),
        "steps": [step_definition(step) for step in procedure.steps],
    }


def trigger_definition(trigger: Trigger) -> Document:
    """A trigger as its file states it, in the manifest's names."""
    stated = _without_empty(msgspec.to_builtins(trigger))
    return {re.sub(_CAMEL, lambda found: found[1].upper(), key): value for key, value in stated.items()}


_CAMEL = "_([a-z])"


def step_definition(step: Step) -> Document:
    """A step as the files say it."""
    return {
        "number": step.number,
        "title": step.title,
        "key": step.key,
        "description": step.body,
        "executor": step.executor,
        "agent": agent_of(step),
        "interpreter": step.script.interpreter if step.script else None,
        "script": step.script.text if step.script else None,
        "requiresApproval": step.requires_approval,
        "approvalTimeoutMins": step.approval_timeout_mins,
        "approval": rules_document(step.approval),
        "pins": list(step.pins),
        "suggestedTools": list(step.suggested_tools),
        "dependsOn": list(step.depends_on),
        "if": step.condition,
        "forEach": step.for_each if step.for_each is None or isinstance(step.for_each, str) else list(step.for_each),
        "maxParallel": step.max_parallel,
        "timeoutSecs": step.timeout_secs,
        "retry": None if step.retry is None else _camelled(msgspec.to_builtins(step.retry)),
        "onFailure": f"goto:{step.goto}" if step.goto is not None else step.on_failure,
        "onInterrupt": text_of(step),
        "onReject": f"goto:{step.reject_goto}" if step.reject_goto is not None else step.on_reject,
        "verify": step.verify.text if step.verify else None,
        "rollback": _rollback_script(step),
        "uses": step.uses,
        "with": step.with_,
        "waitSecs": step.wait_secs,
        "waitUntil": step.wait_until,
        "workingDir": step.working_dir,
        "env": msgspec.to_builtins(step.env),
        "outputs": step.outputs,
    }


def _rollback_script(step: Step) -> Document | None:
    if step.rollback is None:
        return None
    script = step.rollback.script
    return {
        "interpreter": script.interpreter,
        "script": script.text,
        "requiresApproval": step.rollback.requires_approval,
    }


def rules_document(rules: ApprovalRules | None) -> Document | None:
    """The `approval` object as the files may say it."""
    if rules is None:
        return None
    stated = _without_empty(msgspec.to_builtins(rules))
    if rules.form:
        stated["form"] = [_without_empty(field) for field in stated["form"]]
    return {_camel(key): value for key, value in stated.items()}


def inbox_entry(run: Run, number: StepId | None, gate: Gate, now: datetime) -> Document:
    """What waits for a person: a gate."""
    return {
        "runId": run.run_id,
        "sopName": run.name,
        "kind": "approval",
        **parent_of(run),
        **gate_document(run, number, gate),
        "overdue": gate.due_at is not None and gate.due_at <= now,
        "next": f"sop approve {run.run_id}" + ("" if number is None else f" --step {number}"),
    }


def parent_of(run: Run) -> Document:
    """`{parent: {runId, stepNumber, …}}` of a run that a step of another one started."""
    return {} if run.parent is None else {"parent": {"runId": run.parent.run_id, **addressed(run.parent.step)}}


def problem_document(problem: Problem) -> Document:
    """A finding, without the fields that say nothing."""
    return _without_empty(msgspec.to_builtins(problem))


def error_document(error: SopwithError) -> Document:
    """`{success: false, error: {code, message, hint}}`."""
    document: Document = {"code": error.code, "message": error.message, "hint": error.hint}
    for key, value in error.details.items():
        if key == "problems":
            document["problems"] = [problem_document(problem) for problem in value]
        elif isinstance(value, str | int | float | bool | list | tuple):
            document[_camel(key)] = value
    return {"success": False, "error": document}


def _duration(run: Run) -> str | None:
    """From start to end by the wall clock; the exact one stands in the last event."""
    if run.started_at is None or run.ended_at is None:
        return None
    return duration_text(whole_ms(run.ended_at - run.started_at))


def _iso(at: datetime | None) -> str | None:
    return None if at is None else iso(at)


def _camelled(document: Document) -> Document:
    return {_camel(key): value for key, value in document.items()}


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _without_empty(document: Document) -> Document:
    return {key: value for key, value in document.items() if value not in (None, "", [], {})}
