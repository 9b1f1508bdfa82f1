"""Verbs that answer a gate: approve, reject. Each drives the run on, unless somebody else does."""

from __future__ import annotations

from typing import NoReturn

import click

from sopwith.core.address import StepId
from sopwith.core.approvers import rules_of
from sopwith.core.moves_answer import MIN_DIGEST_CHARACTERS
from sopwith.core.run import GateStatus, Run, status_of
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import EXIT_CODES, NEEDS_A_PERSON, Document, Door, run_argument, verb
from sopwith.doors.cli.driving import carry_on_and_leave, on_exit_option, step_option, wait_option
from sopwith.doors.cli.pairs import from_pairs
from sopwith.engine.documents import addressed, gate_document, pinned_document, run_document
from sopwith.engine.engine import Answered
from sopwith.errors import Refused


@click.command()
@run_argument
@step_option
@click.option("--digest", help="Approve only if this is the envelope asked about: its first 12 characters or more.")
@click.option("--comment", default="", help="Why, for the record.")
@click.option(
    "--field", "pairs", multiple=True, metavar="NAME=VALUE", help="What the gate's form asks for; may be given often."
)
@click.option("--show", is_flag=True, help="Show what would be approved, whole, and decide nothing.")
@wait_option
@on_exit_option
@verb
def approve(
    door: Door,
    run_id: str,
    step: StepId | None,
    digest: str | None,
    comment: str,
    pairs: tuple[str, ...],
    show: bool,
    wait: bool,
) -> None:
    """Approve what waits at RUN's gate, and carry the run on. Exit code 3 while more votes are needed."""
    if show:
        _show_gates(door, run_id, step)
        return
    form = from_pairs(pairs, option="--field", doing=f"approve {run_id}")
    before = _vote_of(door, run_id, step, digest)
    if before is not None:
        # a vote stands as it was given; the digest makes sure that this says so of the gate that it was given to
        answered = door.engine.approve(run_id, actor=door.actor, digest=before)
    else:
        answered = door.engine.approve(run_id, actor=door.actor, step=step, digest=digest, comment=comment, form=form)
    if not answered.gate.passed:
        given = [*(["comment"] if comment else []), *(["form"] if form else [])]
        _leave_voted(door, answered, again=before is not None, given=given)
    head = {"runId": run_id, **addressed(answered.step), "status": "approved"}
    if not door.as_json:
        with terminal.optional():
            terminal.echo(f"{click.style(terminal.mark('✔'), fg='green')} approved {_which(answered.step)} of {run_id}")
    carry_on_and_leave(door, answered.run, wait=wait, answered=answered, document=lambda run: {**head, "run": run})


@click.command()
@run_argument
@step_option
@click.option("--digest", help="Reject only if this is the envelope asked about.")
@click.option("--reason", default="", help="What is wrong, for the record.")
@wait_option
@on_exit_option
@verb
def reject(door: Door, run_id: str, step: StepId | None, digest: str | None, reason: str, wait: bool) -> None:
    """Reject what waits at RUN's gate: the run is paused, or does what the step's onReject says. It is cancelled if
    that was the start approval.

    A rollback that is rejected is left out, and the rest of the rollback goes on.
    """
    answered = door.engine.reject(run_id, actor=door.actor, step=step, digest=digest, reason=reason)
    document = {"runId": run_id, **addressed(answered.step), "status": "rejected", "action": answered.led_to}
    if document["action"] in ("rollback_skipped", "goto"):
        carry_on_and_leave(door, answered.run, wait=wait, document=lambda run: {**document, "run": run})
    door.engine.leave(answered.run)
    run = run_document(answered.run)
    door.say(
        {**document, "run": run},
        lambda: (
            f"{click.style(terminal.mark('✘'), fg='red')} rejected {_which(answered.step)} of {run_id}: {run['status']}"
            f"\n{text.next_line(run['next'])}"
        ),
    )


def _show_gates(door: Door, run_id: str, step: StepId | None) -> None:
    from sopwith.core.refusal import no_such_step
    from sopwith.core.run import open_gates
    from sopwith.doors.cli.question import question_text

    door.check_run(run_id)
    run = door.engine.runs.load(run_id).run
    if step is not None and step not in run.steps:
        raise no_such_step(run, step)
    gates = [(number, gate) for number, gate in open_gates(run) if step in (None, number)]
    if not gates:
        raise Refused(f"{run_id} has no open gate to show", hint=f"sop status {run_id} shows where it stands")
    envelopes = [door.reader.envelope(gate.digest) for _number, gate in gates]
    shown = [
        {**gate_document(run, number, gate), "envelope": envelope, **_procedure(run, number)}
        for (number, gate), envelope in zip(gates, envelopes, strict=True)
    ]
    door.say(
        {"runId": run_id, "gates": shown},
        lambda: "\n\n".join(
            question_text(run, number, gate, envelope, whole=True)
            for (number, gate), envelope in zip(gates, envelopes, strict=True)
        ),
    )


def _procedure(run: Run, number: StepId | None) -> Document:
    """At the start the procedure as the run pinned it: the envelope names it by its digest only."""
    return {"procedure": pinned_document(run)} if number is None else {}


def _vote_of(door: Door, run_id: str, step: StepId | None, digest: str | None) -> str | None:
    """The digest of the open gate that this answer addresses, if the actor has voted at it."""
    from sopwith.core.run import open_gates

    gates = [
        (number, gate)
        for number, gate in open_gates(door.engine.runs.load(run_id).run)
        if step in (None, number) and (digest is None or len(digest) >= MIN_DIGEST_CHARACTERS)
        if digest is None or gate.digest.startswith(digest.lower())
    ]
    if len(gates) != 1:
        return None
    gate = gates[0][1]
    return gate.digest if any(vote.actor.id == door.actor.id for vote in gate.votes) else None


def _leave_voted(door: Door, answered: Answered, *, again: bool, given: list[str]) -> NoReturn:
    """The vote is recorded, and did not settle the gate; or nobody is left whose votes could; or it stood already."""
    run, gate = answered.run, answered.gate
    needed = rules_of(run, answered.step).votes_needed
    document: Document = {"runId": run.run_id, **addressed(answered.step), "votes": len(gate.votes), "needed": needed}
    if gate.status is GateStatus.OPEN:
        document["status"] = "vote_recorded"
        told = "you voted already" if again else "vote recorded"
        words = f"{click.style(terminal.mark('✔'), fg='green')} {told} for {_which(answered.step)}"
        words += f" of {run.run_id}: {len(gate.votes)} of {needed}"
        if again:
            document["alreadyVoted"] = True
        if again and given:
            words += f"; the {' and the '.join(given)} {'was' if len(given) == 1 else 'were'} not added"
    else:
        document |= {"status": "rejected", "reason": gate.comment}
        words = f"{click.style(terminal.mark('✘'), fg='red')} {_which(answered.step)} of {run.run_id} was rejected: "
        words += terminal.shown(gate.comment)
    shown = run_document(run)
    door.say({**document, "run": shown}, lambda: f"{words}\n{text.next_line(shown['next'])}")
    door.leave(NEEDS_A_PERSON if run.ended is None else EXIT_CODES[status_of(run)])


def _which(step: StepId | None) -> str:
    return "the start" if step is None else f"step {step}"
