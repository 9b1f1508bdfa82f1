"""Which runs brought a run about: their steps may decide nothing by it that they may not decide themselves.

A driver or a server outlives the step that started a run, so this is asked of the record, not of processes.
"""

from __future__ import annotations

from sopwith.core.actor import Actor
from sopwith.core.run import Run
from sopwith.engine.runs import Runs
from sopwith.errors import BadName, NotAllowed, NotFound, RecordDropped


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
        # it may have been started elsewhere, or what started it may be gone
        how = f": nobody can tell here where {inside} comes from"
    if how:
        raise NotAllowed(
            f"a step of {inside} may not decide about {run_id}{how}", hint="let somebody outside the runs do it"
        )


def _how_it_belongs(runs: Runs, inside: str, run: Run) -> str:
    """How a step of `inside` has to do with the run, in words; empty if not at all. Raises NotFound, BadName."""
    own = _outermost(runs, run)
    left, seen = [inside], set[str]()
    while left:
        top = _outermost(runs, runs.load(left.pop()).run)
        if top.run_id == own.run_id:
            return ", whose steps brought that run about" if seen else ", which runs within it, around it or beside it"
        if top.run_id not in seen:
            seen.add(top.run_id)
            left += sorted({by for each in _all_within(runs, top) for by in each.decided_in})
    return ""


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
