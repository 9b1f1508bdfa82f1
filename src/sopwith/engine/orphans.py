"""Orphans: processes of steps that are over as far as the record knows, because their keeper was killed.

Which they are is found by the executor; whether the record has done with their attempt is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator

from sopwith.core.address import read_step_id
from sopwith.core.run import RunStatus, StepStatus
from sopwith.engine.engine import Engine
from sopwith.errors import SopwithError
from sopwith.ports import ExecutorKind, RunFilter, Stray

EXECUTOR = "shell"
"""The kind of steps whose processes outlive the engine."""
_MAY_BE_LEFT = (RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL, RunStatus.PAUSED, RunStatus.FAILED)


def find_orphans(engine: Engine) -> tuple[Stray, ...]:
    """Processes of this workspace's runs that nobody watches and nobody will take up."""
    kind = engine.parts.kinds.kind(EXECUTOR)
    if kind.find_strays is None:
        return ()
    summaries, _total = engine.parts.store.summaries(RunFilter(statuses=_MAY_BE_LEFT))
    found = kind.find_strays(engine.parts.workspace.runs, [summary.run_id for summary in summaries])
    return tuple(stray for stray in found if _is_over(engine, stray))


def end_orphans(engine: Engine) -> Iterator[tuple[Stray, bool]]:
    """Ends each orphan, and what these start meanwhile; with each, whether it has ended."""
    kind: ExecutorKind = engine.parts.kinds.kind(EXECUTOR)
    found = find_orphans(engine)
    if kind.end_strays is None or not found:
        return
    left = {(stray.pid, stray.started) for stray in kind.end_strays(lambda: find_orphans(engine))}
    for stray in found:
        yield stray, (stray.pid, stray.started) not in left


def _is_over(engine: Engine, stray: Stray) -> bool:
    """Whether the record has done with the attempt: it is not the one that is running, to be taken up or given up."""
    try:
        run = engine.runs.load(stray.run_id).run
    except SopwithError:
        return False
    step = run.steps.get(read_step_id(stray.step) or 0)
    if step is None:
        return False
    return step.status is not StepStatus.RUNNING or (step.visit, step.attempt) != (stray.visit, stray.attempt)
