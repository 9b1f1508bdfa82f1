"""Which runs brought a run about: their steps may decide nothing by it that they may not decide themselves, and the
agents that started them or worked in them may not approve in it.

A driver or a server outlives the step that started a run, so this is asked of the record, not of processes.
"""

from __future__ import annotations

from collections.abc import Iterator

from sopwith.core.actor import Actor
from sopwith.core.approvers import worked_here
from sopwith.core.commands import Retry
from sopwith.core.moves_person import is_rejected_for_good
from sopwith.core.procedure import TriggerType
from sopwith.core.run import Run
from sopwith.engine.runs import Runs
from sopwith.errors import ApproverNotAllowed, BadName, NotAllowed, NotFound, RecordDropped


def check_outside(runs: Runs, run_id: str, actor: Actor) -> None:
    """NotAllowed where the actor is a step of a run that is within this one, around it or beside it, or of one that
    steps of these have started or brought on, by however many others. The run's own steps are the core's to refuse.
    """
    inside = actor.inside
    if inside is None or inside == run_id:
        return
    run = runs.load(run_id).run
    try:
        how = _how_it_belongs(runs, inside, run)
    except (BadName, NotFound):
        if run.created_by.inside == inside:
            return  # what a step of another workspace has begun here is younger than all that brought the step about
        # it may have been started elsewhere, or what started it may be gone
        how = f": nobody can tell here where {inside} comes from"
    if how:
        raise NotAllowed(
            f"a step of {inside} may not decide about {run_id}{how}", hint="let somebody outside the runs do it"
        )


def _how_it_belongs(runs: Runs, inside: str, run: Run) -> str:
    """How a step of `inside` has to do with the run, in words; empty if not at all. Raises NotFound, BadName."""
    own = _outermost(runs, run)
    for place, top in enumerate(_tops(runs, inside)):
        if top.run_id == own.run_id:
            return ", whose steps brought that run about" if place else ", which runs within it, around it or beside it"
    return ""


def _tops(runs: Runs, run_id: str) -> Iterator[Run]:
    """The outermost run around this one, then those around the runs that brought about what is within that, and so
    on; each once. Raises NotFound, BadName.
    """
    left, seen = [run_id], set[str]()
    while left:
        top = _outermost(runs, runs.load(left.pop()).run)
        if top.run_id not in seen:
            seen.add(top.run_id)
            yield top
            left += sorted({by for each in _all_within(runs, top) for by in _brought_by(each)})


def _brought_by(run: Run) -> frozenset[str]:
    """The runs whose steps have made this one or decided about it, and the one whose end has started it."""
    ended = run.event.get("runId") if run.trigger == TriggerType.PROCEDURE and run.event is not None else None
    return run.decided_in | {str(ended)} if ended else run.decided_in


def _outermost(runs: Runs, run: Run) -> Run:
    """The run around it that is within no other one. Raises NotFound where that cannot be told."""
    line = [run.run_id]
    while run.parent is not None:
        run = runs.load(run.parent.run_id).run
        if run.run_id in line:
            raise NotFound(f"{run.run_id} is said to run within itself")
        line.append(run.run_id)
    return run


def _all_within(runs: Runs, run: Run) -> list[Run]:
    """The run and those that carry its steps out, and theirs. Raises RecordDropped where one is gone."""
    found, at = [run], 0
    while at < len(found):
        known = {each.run_id for each in found}
        for step in found[at].steps.values():
            for child in {each.child for each in (step, *step.former.values())} - known - {""}:
                try:
                    found.append(runs.load(child).run)
                except RecordDropped:
                    raise
                except NotFound:
                    continue  # it is only about to be made
        at += 1
    return found


def check_no_work_around(runs: Runs, run: Run, actor: Actor, hint: str) -> None:
    """ApproverNotAllowed where an agent has reported a step of a run around this one, within it or beside it, or has
    started or worked in one that brought these about.
    """
    try:
        tops = list(_tops(runs, run.run_id))
        every = [each for top in tops for each in _all_within(runs, top)]
    except (BadName, NotFound):
        raise ApproverNotAllowed(
            f"{actor} may not approve in {run.run_id}: nobody can tell what it did in the runs around it", hint=hint
        ) from None
    if any(actor.id in each.reporters for each in every):
        raise worked_here(run, actor, hint)
    for before in tops[1:]:
        if actor.id == before.created_by.id:
            raise ApproverNotAllowed(
                f"{actor} may not approve in {run.run_id}: it, or somebody of its name, started {before.run_id}, "
                "which brought that run about",
                hint=hint,
            )


def check_not_rejected_within(runs: Runs, run: Run, command: Retry) -> None:
    """NotAllowed where an agent's retry would bring back what a person rejected in a run within a step."""
    for step in run.steps.values():
        if not step.child or not (step.stuck or command.from_step is not None):
            continue
        try:
            within = _all_within(runs, runs.load(step.child).run)
        except (BadName, NotFound):
            continue  # it is made anew, and asks anew
        for each in within:
            if any(is_rejected_for_good(state) for state in each.steps.values()):
                raise NotAllowed(
                    f"{command.actor} may not retry {run.run_id}: a step of {each.run_id}, which runs within it, was "
                    "rejected, and no agent takes that back",
                    hint=f"a person may: sop retry {run.run_id}",
                )
