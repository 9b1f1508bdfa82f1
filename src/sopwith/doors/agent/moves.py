"""`next`: what the caller may do now, as calls that would be carried out, or what to tell the person, word for word.

The engine is asked about each move, so none is offered that it would refuse. Nothing that others wrote stands in here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

from sopwith.core import commands as cmd
from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.people import AGENT
from sopwith.core.refusal import what_now
from sopwith.core.run import Gate, Run, RunStatus, open_gates, status_of
from sopwith.doors.agent.tools import MOST_WAIT_MS
from sopwith.engine.asked import is_too_long, names_agents_only
from sopwith.engine.documents import Document, addressed, gate_document
from sopwith.engine.engine import Engine
from sopwith.engine.waiting import (
    WaitingOn,
    is_undriven,
    may_approve,
    may_report,
    open_by_hand,
    resting_children,
)

Move = dict[str, Any]
DIGEST_SHOWN = 16


def moves(engine: Engine, run: Run, actor: Actor, waiting: WaitingOn, *, asked: Sequence[Document] = ()) -> list[Move]:
    """The moves, what takes the run further first; to wait, and to end it, last.

    `asked`: what the same answer shows of gates. At others a look comes before a decision.
    """
    found: list[Move] = []
    shown = {(gate["runId"], gate["digest"]) for gate in asked}
    for each in (run, *resting_children(engine, run)):
        found += _at_gates(engine, each, actor, shown)
        found += _by_hand(engine, each, actor)
        found += _stuck(engine, each, actor)
    if is_undriven(engine, run):
        found.append(_tell(f"Nobody carries {run.run_id} on. Please run: sop resume {run.run_id}"))
    if waiting in (WaitingOn.ENGINE, WaitingOn.HUMAN, WaitingOn.TIMER) and run.ended is None:
        arguments = {"runId": run.run_id, "sinceSeq": run.seq, "waitMs": MOST_WAIT_MS}
        found.append({"call": "sop_status", "arguments": arguments, "when": "to wait until it moves on"})
    if run.ended is None and _is_taken(engine, run, cmd.Cancel, actor):
        found.append(_call("sop_cancel", run, when="the run has to be given up"))
    return found


def _at_gates(engine: Engine, run: Run, actor: Actor, shown: Set[tuple[str, str]]) -> Iterator[Move]:
    if run.paused:
        return
    for step, gate in open_gates(run):
        if not may_approve(engine, run, step, actor):
            yield _tell(_ask(run, step, gate) + _at_length(engine, run, step, gate))
        elif (run.run_id, gate.digest) in shown:
            answer = {**_step(step), "digest": gate.digest[:DIGEST_SHOWN]}
            yield _call("sop_approve", run, when="you have checked all that `asked` shows", **answer)
        else:
            yield _call("sop_status", run, when="to read `asked`, before you decide", **_step(step))
        if _is_taken(engine, run, cmd.Reject, actor, step=step, reason="?"):
            yield _call("sop_reject", run, when="it must not go on like this", needs=("reason",), **_step(step))


def _by_hand(engine: Engine, run: Run, actor: Actor) -> Iterator[Move]:
    for step in open_by_hand(run):
        if may_report(engine, run, step, actor):
            when = "you have done what `task` says, or cannot"
            yield _call("sop_complete_step", run, when=when, needs=("outcome", "output"), **_step(step))
        else:
            yield _tell(f"Step {step} of {run.run_id} is to be done by hand. Please run: {_complete(run, step)}")


def _stuck(engine: Engine, run: Run, actor: Actor) -> Iterator[Move]:
    """A run that failed or stands still."""
    if not run.paused and status_of(run) is not RunStatus.FAILED:
        return
    if _is_taken(engine, run, cmd.Retry, actor):
        yield _call("sop_retry", run, when="what was in the way is gone")
    elif not run.paused:
        yield _tell(f"{run.run_id} failed and needs a person. Please run: {what_now(run)}")
    if run.paused:
        on = f"sop resume {run.run_id} to let it go on, or " if run.pause_cause == "blocked" else ""
        yield _tell(f"{run.run_id} is paused and needs a person. Please run: {on}{what_now(run)}")


def _ask(run: Run, step: StepId | None, gate: Gate) -> str:
    document = gate_document(run, step, gate)
    where = "Its start" if step is None else f"Step {step}"
    by = f" by {' or '.join(document['waitsFor'])}" if document["waitsFor"] else ""
    named = "" if step is None else f" --step {step}"
    run_step = f"{run.run_id}{named}"
    return (
        f"{where} in {run.name} ({run.run_id}) waits for approval{by}. To look at it: sop approve {run_step} --show. "
        f'To decide: sop approve {run_step}, or sop reject {run_step} --reason "why".'
    )


def _at_length(engine: Engine, run: Run, step: StepId | None, gate: Gate) -> str:
    """What a person has to know of a gate that names an agent, and shows more than any agent is shown."""
    names_agent = any(each.startswith(AGENT) for each in gate_document(run, step, gate)["waitsFor"])
    if not names_agent or not is_too_long(engine.parts, run, step, gate):
        return ""
    said = " What is asked is too long to be shown to an agent."
    if names_agents_only(run, step):
        said += " Its gate names agents only: shorten what runs there, or name a person."
    return said


def _complete(run: Run, step: StepId) -> str:
    return f"sop complete {run.run_id} --step {step}"


def _step(step: StepId | None) -> dict[str, Any]:
    return {} if step is None else addressed(step)


def _call(tool: str, run: Run, *, when: str, needs: tuple[str, ...] = (), **arguments: Any) -> Move:
    move: Move = {"call": tool, "arguments": {"runId": run.run_id, **arguments}, "when": when}
    return move | ({"add": list(needs)} if needs else {})


def _tell(sentence: str) -> Move:
    return {"tellHuman": sentence}


def _is_taken(engine: Engine, run: Run, verb: type[cmd.Command], actor: Actor, **fields: Any) -> bool:
    return engine.refusal(run, lambda now: verb(actor=actor, now=now, **fields)) is None
