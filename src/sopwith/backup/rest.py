"""Brings the runs of a restored database to rest, before anybody can open it.

A backup knows nothing of what happened after it. A step that was under way in it has long ended, and a step that was
about to start may have run. So what was under way is `interrupted`, whatever files say, and every other run that had
not ended is paused, until a person who knows what happened lets it go on.
"""

from __future__ import annotations

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.address import StepId
from sopwith.core.due import DueKind, due
from sopwith.core.moves_person import RESTORED
from sopwith.core.run import Run, RunStatus, is_child, running_processes, status_of
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Loaded, Runs
from sopwith.errors import StoreError
from sopwith.ports import RunFilter

_MOVING = (RunStatus.WAITING_APPROVAL, RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL)
_BEGINNING = frozenset(
    (
        DueKind.ADMIT,
        DueKind.START_STEP,
        DueKind.VERIFY,
        DueKind.EVALUATE,
        DueKind.END_WAIT,
        DueKind.OPEN_GATE,
        DueKind.EXPIRE_GATE,
    )
)
"""After which a step may start without anybody's say. A child run that is watched is at rest itself."""


def bring_to_rest(parts: Parts, backup_at: str) -> tuple[str, ...]:
    """Stops every run of the store that had not ended; tells which. Raises StoreError if one cannot be stopped."""
    runs = Runs(parts)
    summaries, _total = parts.store.summaries(RunFilter())
    # the newest first: a run that another one started comes to rest before that one does
    moving = [summary.run_id for summary in summaries if summary.ended_at is None]
    for run_id in moving:
        _stop(parts, runs, run_id, backup_at)
    for run_id in moving:
        run = runs.load(run_id).run
        if any(item.kind in _BEGINNING for item in due(run)) or _under_way(run):
            raise StoreError(
                f"cannot restore: {run_id} would go on by itself, though nobody knows what it did after the backup",
                hint="report this; nothing was changed",
            )
    return tuple(reversed(moving))


def failed_runs(parts: Parts) -> tuple[str, ...]:
    """Those that had failed, oldest first: they are at rest, and may have been retried after the backup."""
    summaries, _total = parts.store.summaries(RunFilter(statuses=(RunStatus.FAILED,)))
    return tuple(reversed([summary.run_id for summary in summaries]))


def _stop(parts: Parts, runs: Runs, run_id: str, backup_at: str) -> None:
    loaded = runs.load(run_id)
    for step in _under_way(loaded.run):
        loaded = _commit(parts, runs, loaded, _interruption(parts, loaded.run, step, backup_at))
    status, now = status_of(loaded.run), parts.clock.now()
    if status is RunStatus.PENDING:
        reason = f"it was queued in a backup of {backup_at}, which was restored, and may have run since"
        _commit(parts, runs, loaded, cmd.Cancel(actor=SYSTEM, now=now, reason=reason))
    elif status in _MOVING or _is_merely_paused(loaded.run):
        if loaded.run.paused:  # it may have been resumed since: it says anew why it rests
            loaded = _commit(parts, runs, loaded, cmd.Resume(actor=SYSTEM, now=now))
        reason = f"the record was restored from a backup of {backup_at}: find out what happened after it, then resume"
        _commit(parts, runs, loaded, cmd.Pause(actor=SYSTEM, now=now, reason=reason, cause=RESTORED))


def _is_merely_paused(run: Run) -> bool:
    """Whether a resume is all that it waits for."""
    return status_of(run) is RunStatus.PAUSED and not any(step.stuck for step in run.steps.values())


def _interruption(parts: Parts, run: Run, step: StepId, backup_at: str) -> cmd.Command:
    """Nothing follows from it by itself, whatever the step says: the backup may know less than has happened."""
    state, now = run.steps[step], parts.clock.now()
    restored = f"the record was restored from a backup of {backup_at}, when this step was under way"
    if state.verifying:
        result = cmd.StepResult(error=restored, cause="lost")
        return cmd.EndVerification(actor=SYSTEM, now=now, step=step, attempt=state.attempt, result=result)
    return cmd.Interrupt(
        actor=SYSTEM,
        now=now,
        step=step,
        attempt=state.attempt,
        reason=f"{restored}: nobody knows from it how the step ended",
        held="nothing follows from a restored record by itself",
    )


def _under_way(run: Run) -> tuple[StepId, ...]:
    return tuple(step for step in running_processes(run) if not is_child(run, step))


def _commit(parts: Parts, runs: Runs, loaded: Loaded, command: cmd.Command) -> Loaded:
    return runs.commit(loaded, command)[0]
