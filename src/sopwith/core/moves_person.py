"""What a person or an agent may do to a run besides answering a gate.

Longer than other files: what people may say of a run belongs on one page, with what agents may not.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from sopwith.core import events as ev
from sopwith.core.actor import ActorKind
from sopwith.core.address import StepId, number_of
from sopwith.core.approvers import check_approver, signature
from sopwith.core.commands import Block, Cancel, Command, Complete, Fail, Pause, Resume, Retry, Skip
from sopwith.core.conclude import pause_asked, paused
from sopwith.core.gates import is_gated
from sopwith.core.instant import duration_text
from sopwith.core.moves_flow import after_failure, step_ms
from sopwith.core.moves_gate import make_good
from sopwith.core.refusal import by_instance, no_such_step, refuse
from sopwith.core.rollback import outcome, undone
from sopwith.core.run import (
    Run,
    RunStatus,
    StepState,
    StepStatus,
    awaits_report,
    busy_processes,
    from_here_on,
    is_manual,
    open_gates,
    running_processes,
    shown_status,
)
from sopwith.errors import BadRequest, NotAllowed, Refused

RESTORED = "restored"
"""Why a run is paused whose record may lack what it did after a backup."""

_ENDED_BY_A_STEP = ("rejected", "interrupted", "condition", "blocked")
"""Causes of a pause that is over when nothing is stuck any more."""


def pause(run: Run, command: Pause) -> list[ev.EventBody]:
    """At once where no process runs, else after it has ended, or has been ended. To ask for that later is news too."""
    stops = command.stop and not run.stopping and bool(busy_processes(run))
    if run.cancel_requested or (run.pause_requested and not stops):
        return []
    if run.pause_requested:
        return [pause_asked(command.now, run.pause_cause, command.reason or run.reason, stop=True)]
    made_good = make_good(run, command)
    if busy_processes(run):
        return [*made_good, pause_asked(command.now, command.cause, command.reason, stop=command.stop)]
    return [*made_good, paused(command.now, command.cause, command.reason)]


def resume(run: Run, command: Resume) -> list[ev.EventBody]:
    """Goes on after a pause. A rejected, failed or interrupted step is not passed: that takes a retry or a skip."""
    stuck = [step for step in run.steps.values() if step.stuck]
    if stuck and run.rollback is None:
        step = stuck[0]
        done = f", sop complete {run.run_id} if it was done after all" if step.status is StepStatus.INTERRUPTED else ""
        raise refuse(
            run,
            command,
            because=f"step {step.number} was {step.status}",
            hint=f"sop retry {run.run_id} asks again, sop skip {run.run_id} passes over it{done}",
        )
    if run.pause_cause == RESTORED and command.actor.kind is ActorKind.AGENT:
        raise NotAllowed(
            f"{command.actor} may not resume {run.run_id}: its record was restored, and may lack what has run since",
            hint="a person may, who has found that out",
        )
    return [_resumed(command)]


def withdraw_pause(run: Run, command: Resume) -> list[ev.EventBody]:
    """Takes back a pause that still waits for a running process."""
    if run.stopping:
        raise refuse(run, command, because="what runs is being ended")
    stuck = run.rollback is None and any(step.stuck for step in run.steps.values())
    if not run.pause_requested or run.cancel_requested or stuck:
        raise refuse(run, command)
    return [_resumed(command)]


def cancel(run: Run, command: Cancel) -> list[ev.EventBody]:
    """Ends the run for good; a running process is ended first."""
    if run.cancel_requested:
        return []
    if running_processes(run):
        return [ev.RunCancelRequested(reason=command.reason)]
    return [ev.RunCancelled(reason=command.reason, **outcome(run))]


def retry(run: Run, command: Retry) -> list[ev.EventBody]:
    """From the stuck steps; with `from_step` also from there on, as a new visit whose gates ask again.

    What a rollback undid runs again too, from the first such step on. With other parameters whatever was asked about
    steps that have not finished is asked again.
    """
    if command.from_step is not None and command.from_step not in run.steps:
        raise no_such_step(run, command.from_step)
    if run.started_at is None or (run.start_void and run.ended is None):
        why = "has not started" if run.started_at is None else "its changed parameters have not been approved"
        raise refuse(run, command, because=why, hint=f"sop resume {run.run_id} goes on")
    interrupted = [number for number, step in run.steps.items() if step.stuck and step.status is StepStatus.INTERRUPTED]
    if interrupted and command.actor.kind is ActorKind.AGENT:
        raise NotAllowed(
            f"{command.actor} may not retry {run.run_id}: step {interrupted[0]} was interrupted, and nobody knows how "
            "far it came",
            hint="a person may, who has found that out",
        )
    changes = changes_params(run, command)
    if changes and run.parent is not None:
        raise refuse(
            run,
            command,
            because=f"{run.parent.run_id}, within which it runs, hands its parameters to it",
            hint=f"sop retry {run.parent.run_id} --param NAME=VALUE",
        )
    rolled_back = undone(run.procedure, run)
    from_there = from_here_on(run.procedure, command.from_step) if command.from_step is not None else frozenset()
    again = _with_instances(run, from_there | rolled_back)
    steps = tuple(n for n, s in run.steps.items() if n not in again and (s.stuck or (changes and _was_asked(s))))
    _check_not_rejected(run, command, again.union(steps))
    unknown = [n for n, step in run.steps.items() if step.condition_unknown and n not in again]
    stuck = any(run.steps[n].stuck for n in steps)
    if not stuck and not again and unknown and not changes and run.ended is None:
        raise refuse(
            run,
            command,
            because=f"the condition of step {unknown[0]} could not be evaluated",
            hint=f"sop resume {run.run_id} asks again, sop retry {run.run_id} --param NAME=VALUE with other values",
        )
    if not stuck and not again and not unknown and run.ended is None:
        raise refuse(
            run,
            command,
            because="no step failed, was rejected or interrupted",
            hint=f"sop resume {run.run_id} goes on, sop retry {run.run_id} --from N goes back",
        )
    busy = [n for n, s in run.steps.items() if s.status is StepStatus.RUNNING and (changes or n in again)]
    if busy:
        raise refuse(run, command, because=f"step {busy[0]} is still being carried out")
    closed = [
        ev.ApprovalClosed(
            step_number=number,
            title=run.procedure.step(number).title,
            revision=gate.revision,
            reason=f"the run goes back to step {command.from_step}",
        )
        for number, gate in open_gates(run)
        if number in again
    ]
    void = _void(run, steps) if changes else []
    now = command.now
    retried = ev.RunRetried(
        steps=steps,
        from_step=command.from_step,
        again=tuple(number for number in run.steps if number in rolled_back),
        params=dict(command.params or {}) if changes else {},
        secrets=dict(command.secrets) if changes else {},
        reason=command.reason,
        boot_id=now.boot_id,
        boot_ms=now.boot_ms,
    )
    return [*closed, *void, retried]


def _check_not_rejected(run: Run, command: Retry, steps: frozenset[StepId]) -> None:
    """NotAllowed where an agent would bring back what a person rejected, or nobody approved."""
    if command.actor.kind is not ActorKind.AGENT:
        return
    for number, step in run.steps.items():
        if number in steps and is_rejected_for_good(step):
            raise NotAllowed(
                f"{command.actor} may not retry {run.run_id}: step {number} was rejected, and no agent takes that back",
                hint=f"a person may: sop retry {run.run_id}",
            )


def is_rejected_for_good(step: StepState) -> bool:
    """Whether it stands rejected by a person, or because nobody answered; not by an agent."""
    by = step.gate.decided_by if step.gate is not None else None
    return step.status is StepStatus.REJECTED and not (by is not None and by.kind is ActorKind.AGENT)


def changes_params(run: Run, command: Retry) -> bool:
    """Whether the run is to go on with other parameters than it has."""
    return command.params is not None and dict(command.params) != run.params


def _was_asked(step: StepState) -> bool:
    """Whether something was asked or tried that parameters decide, and that is not over. A wait that goes on is not."""
    if step.instances is not None:
        return False  # its instances are asked about one by one, and stay what they were made for
    if step.status is StepStatus.PENDING:
        held = step.condition_held is not None and not step.place
        return held or step.condition_unknown or step.waived or step.gate_passed
    return step.status is StepStatus.AWAITING_APPROVAL or (
        step.status is StepStatus.WAITING and step.resting is not None
    )


def _void(run: Run, steps: tuple[StepId, ...]) -> list[ev.EventBody]:
    """The gates of these steps that were asked about, or passed, with the old parameters."""
    return [
        ev.ApprovalClosed(
            step_number=number,
            title=run.procedure.step(number).title,
            revision=gate.revision,
            reason="the parameters have changed",
        )
        for number in steps
        if (step := run.steps[number]) and not step.stuck
        if (gate := step.gate) is not None and (step.gate_open or step.gate_passed)
    ]


def _with_instances(run: Run, steps: frozenset[StepId]) -> frozenset[StepId]:
    return steps.union(each for each in run.steps if number_of(each) in steps)


def skip(run: Run, command: Skip) -> list[ev.EventBody]:
    """Passes over a step that waits at its gate, is stuck, or is carried out by hand."""
    if not command.reason.strip():
        raise BadRequest(
            f"skipping a step needs a reason: {run.run_id} was left as it is",
            hint=f'sop skip {run.run_id} --reason "why it is not needed"',
        )
    _check_not_rolled_back(run, command)
    step = _chosen(run, command, command.step, _can_be_skipped)
    if command.actor.kind is ActorKind.AGENT:
        raise NotAllowed(
            f"{command.actor} may not skip step {step.number} of {run.run_id}: that is a person's decision",
            hint="a person may; an agent reports the step that it was given done, failed or blocked",
        )
    signed = _signed(run, step, command, "skipped")
    title = run.procedure.step(step.number).title
    events: list[ev.EventBody] = []
    if step.gate is not None and step.gate_open:
        events.append(
            ev.ApprovalClosed(
                step_number=step.number, title=title, revision=step.gate.revision, reason="the step is skipped"
            )
        )
    events.append(ev.StepSkipped(step_number=step.number, title=title, reason=command.reason, signature=signed))
    return [*events, *_going_on(run, step, command)]


def complete(run: Run, command: Complete) -> list[ev.EventBody]:
    """A manual step is done, or a failed or interrupted one turned out or was made done."""
    _check_not_rolled_back(run, command)
    step = _chosen(run, command, command.step, _can_be_completed)
    _check_reporter(run, step, command)
    if run.procedure.step(step.number).verify:
        told = _reported(run, step, command, outcome="completed", comment=command.comment, signed=None)
        return [replace(told, to_verify=True), *_going_on(run, step, command)]
    signed = _signed(run, step, command, "done by hand") if step.stuck else None
    title = run.procedure.step(step.number).title
    milliseconds = step_ms(step, command.now)
    return [
        _reported(run, step, command, outcome="completed", comment=command.comment, signed=signed),
        ev.StepCompleted(
            step_number=step.number,
            title=title,
            duration=duration_text(milliseconds),
            duration_ms=milliseconds,
            output=command.output,
        ),
        *_going_on(run, step, command),
    ]


def fail(run: Run, command: Fail) -> list[ev.EventBody]:
    """A manual step did not work out."""
    if not command.reason.strip():
        raise BadRequest(
            f"reporting a failure needs a reason: {run.run_id} was left as it is",
            hint=f'sop fail {run.run_id} --reason "what went wrong"',
        )
    step = _chosen(run, command, command.step, _is_open_manual)
    _check_reporter(run, step, command)
    title = run.procedure.step(step.number).title
    milliseconds = step_ms(step, command.now)
    failed = ev.StepFailed(
        step_number=step.number,
        title=title,
        error=command.reason,
        cause="reported",
        duration=duration_text(milliseconds),
        duration_ms=milliseconds,
        output=command.output,
    )
    return [
        _reported(run, step, command, outcome="failed", comment=command.reason, signed=None),
        *after_failure(run, step, failed, command),
    ]


def block(run: Run, command: Block) -> list[ev.EventBody]:
    """The run pauses until a person has looked; the step stays open, to be reported by whoever can."""
    if not command.reason.strip():
        raise BadRequest(
            f"reporting a step as blocked needs a reason: {run.run_id} was left as it is",
            hint="say what stands in the way",
        )
    step = _chosen(run, command, command.step, _is_open_manual)
    because = f"step {step.number} is blocked: {command.reason}"
    asked = Pause(actor=command.actor, now=command.now, people=command.people, cause="blocked", reason=because)
    reported = _reported(run, step, command, outcome="blocked", comment=command.reason, signed=None)
    return [reported, *pause(run, asked)]


def _check_reporter(run: Run, step: StepState, command: Complete | Fail) -> None:
    """NotAllowed where an agent would settle what a person is to look at: it reports open steps by hand, no more."""
    if command.actor.kind is not ActorKind.AGENT:
        return
    if step.stuck:
        how = "was interrupted" if step.status is StepStatus.INTERRUPTED else "failed"
        raise NotAllowed(
            f"{command.actor} may not report step {step.number} of {run.run_id}: it {how}, and a person looks first",
            hint=f"a person may call it done; sop retry {run.run_id} tries a failed step again",
        )
    if run.paused and run.pause_cause == "blocked":
        raise NotAllowed(
            f"{command.actor} may not report step {step.number} of {run.run_id}: the run waits for a person to look",
            hint=f"a person may, or lets it go on: sop resume {run.run_id}",
        )


def _signed(run: Run, step: StepState, command: Skip | Complete, meaning: str) -> ev.Signature | None:
    """What stands in for an approval takes an approver, and a signature; nothing where there is no gate."""
    if not is_gated(run, step.number):
        return None
    check_approver(run, step.number, command.actor, command.people)
    return signature(meaning, command.actor, command.people, procedure=run.name)


def _reported(
    run: Run,
    step: StepState,
    command: Complete | Fail | Block,
    *,
    outcome: str,
    comment: str,
    signed: ev.Signature | None,
) -> ev.StepReported:
    return ev.StepReported(
        step_number=step.number,
        title=run.procedure.step(step.number).title,
        outcome=outcome,
        comment=comment,
        output=command.output,
        evidence=command.evidence,
        signature=signed,
    )


def _check_not_rolled_back(run: Run, command: Command) -> None:
    """To pass over a step would go on from what is no longer there."""
    if any(step.rollback_begun for step in run.steps.values()):
        raise refuse(
            run, command, because="was rolled back", hint=f"sop retry {run.run_id} runs what was rolled back again"
        )


def _chosen(
    run: Run,
    command: Skip | Complete | Fail | Block,
    number: StepId | None,
    eligible: Callable[[Run, StepState], bool],
) -> StepState:
    candidates = [step for step in run.steps.values() if eligible(run, step)]
    if number is not None:
        if number not in run.steps:
            raise no_such_step(run, number)
        if not eligible(run, run.steps[number]):
            raise refuse(
                run,
                command,
                because=_standing(run, run.steps[number], command),
                hint=by_instance([each.number for each in candidates if number_of(each.number) == number]),
            )
        return run.steps[number]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        verified = [step for step in run.under_way if step.to_verify or step.verifying]
        raise refuse(run, command, because=_standing(run, verified[0], command) if verified else "")
    listed = ", ".join(str(step.number) for step in candidates)
    raise Refused(f"{run.run_id} could mean step {listed}: say which one", hint="name it with --step N")


def _standing(run: Run, step: StepState, command: Command) -> str:
    """How the step stands, as the reason for a refusal."""
    if step.verifying:
        return f"step {step.number} is being verified"
    if step.to_verify and step.status is StepStatus.RUNNING:
        return f"step {step.number} was reported done, and that is still to be verified"
    verify = isinstance(command, Complete) and run.procedure.step(step.number).verify
    only = ", and only a report of an open step can be verified" if verify and step.stuck else ""
    return f"step {step.number} is {shown_status(run, step)}{only}"


def _is_open_manual(run: Run, step: StepState) -> bool:
    return step.status is StepStatus.RUNNING and is_manual(run, step.number)


def _can_be_skipped(run: Run, step: StepState) -> bool:
    waits = step.status in (StepStatus.AWAITING_APPROVAL, StepStatus.WAITING)
    return step.stuck or waits or step.condition_unknown or _is_open_manual(run, step)


def _can_be_completed(run: Run, step: StepState) -> bool:
    # not what the procedure went on after, which holds nothing up
    by_hand = step.stuck and step.status in (StepStatus.FAILED, StepStatus.INTERRUPTED)
    # to call done by hand what failed would be a way around its verification
    if by_hand and run.procedure.step(step.number).verify:
        return False
    return by_hand or awaits_report(run, step)


def _resumed(command: Command) -> ev.RunResumed:
    return ev.RunResumed(boot_id=command.now.boot_id, boot_ms=command.now.boot_ms)


def _going_on(run: Run, resolved: StepState, command: Command) -> list[ev.EventBody]:
    """A run that stopped because of this step goes on once nothing else holds it."""
    others = [step for step in run.steps.values() if step.number != resolved.number]
    left = [step for step in others if step.stuck or step.condition_unknown]
    if run.ended is RunStatus.FAILED:
        return [] if any(step.status is StepStatus.FAILED or step.ends_run for step in left) else [_resumed(command)]
    if (run.paused or run.pause_requested) and run.pause_cause in _ENDED_BY_A_STEP and not left:
        return [_resumed(command)]
    return []
