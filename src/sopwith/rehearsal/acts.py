"""What people do in a rehearsal: whether it can be done now, and doing it, by the engine as any door would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sopwith.core import commands as cmd
from sopwith.core.decide import decide
from sopwith.core.people import Directory
from sopwith.core.run import GateStatus, Run
from sopwith.engine.engine import Engine
from sopwith.errors import IllegalMove, SopwithError
from sopwith.parse.scenario import Act, Verb


def is_possible(engine: Engine, run: Run, act: Act) -> bool:
    """Whether the run waits for this. What is refused for another reason than the run's state is answered, not waited
    for."""
    if act.verb in (Verb.APPROVE, Verb.REJECT) and not _is_asked(run, act):
        return False
    if act.verb is Verb.RESUME and not run.paused:
        return False  # a pause that was only asked for could be withdrawn, but nothing waits for that
    try:
        decide(run, _command(engine, act))
    except IllegalMove:
        return False
    except SopwithError:
        pass
    return True


def do(engine: Engine, run_id: str, act: Act) -> SopwithError | None:
    """Does it; tells the refusal, if there is one."""
    try:
        getattr(engine, act.verb)(run_id, actor=act.actor, **_arguments(act))
    except SopwithError as refusal:
        return refusal
    return None


def act_words(act: Act) -> str:
    """`alice approves step 2`."""
    said = _WORDS.get(act.verb) or f"{act.verb}s"
    where = " the start" if act.at_start else "" if act.step is None else f" step {act.step}"
    return f"{act.actor} {said}{where}"


def _is_asked(run: Run, act: Act) -> bool:
    """Whether the gate that the act means is open; an earlier revision of it may have been answered already."""
    if act.step is not None:
        return run.steps[act.step].gate_open
    at_start = run.start_gate is not None and run.start_gate.status is GateStatus.OPEN
    return at_start or (not act.at_start and any(step.gate_open for step in run.live))


def _command(engine: Engine, act: Act) -> cmd.Command:
    people = Directory(engine.parts.library.config())
    return _COMMANDS[act.verb](actor=act.actor, now=engine.parts.clock.now(), people=people, **_arguments(act))


def _arguments(act: Act) -> dict[str, Any]:
    """What the command and the engine's method of the same name are given."""
    match act.verb:
        case Verb.APPROVE:
            return {"step": act.step, "comment": act.comment, "form": act.form}
        case Verb.REJECT | Verb.SKIP:
            return {"step": act.step, "reason": act.reason}
        case Verb.COMPLETE:
            return {"step": act.step, "comment": act.comment, "output": act.output}
        case Verb.FAIL:
            return {"step": act.step, "reason": act.reason, "output": act.output}
        case Verb.RETRY:
            return {"from_step": act.step, "reason": act.reason}
        case Verb.RESUME:
            return {}
        case Verb.PAUSE | Verb.CANCEL | Verb.ROLLBACK:
            return {"reason": act.reason}


_WORDS = {Verb.RETRY: "retries", Verb.ROLLBACK: "rolls back"}
_COMMANDS: Mapping[Verb, type[cmd.Command]] = {
    Verb.APPROVE: cmd.Approve,
    Verb.REJECT: cmd.Reject,
    Verb.COMPLETE: cmd.Complete,
    Verb.FAIL: cmd.Fail,
    Verb.SKIP: cmd.Skip,
    Verb.RETRY: cmd.Retry,
    Verb.RESUME: cmd.Resume,
    Verb.PAUSE: cmd.Pause,
    Verb.CANCEL: cmd.Cancel,
    Verb.ROLLBACK: cmd.Rollback,
}
