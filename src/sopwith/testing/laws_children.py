"""What must hold of runs within runs, whatever crashes: read off the events of both, by its own bookkeeping.

A child is made at most once, by an intent of its parent that still stands; its parent's step ends when it has ended; no
parent ends before it; and the parent either knows how its child rests, or knows that it has to look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM
from sopwith.core.child import standing
from sopwith.core.events import Event
from sopwith.core.run import Run, RunStatus, StepState, StepStatus, children, is_child
from sopwith.ports import Batch
from sopwith.testing.memo import decode

_ENDS = (ev.RunCompleted, ev.RunFailed, ev.RunCancelled)

_KEPT_IN_LINE = (
    ev.RunPauseRequested | ev.RunPaused | ev.RunResumed | ev.RunRetried | ev.RunCancelRequested | ev.RunCancelled
)


class ChildLaws:
    """`runs` and `history` are those of all runs, as the laws keep them."""

    def __init__(
        self, breaks: Callable[[str], None], runs: Mapping[str, Run], history: Mapping[str, Sequence[Event]]
    ) -> None:
        self._breaks = breaks
        self._runs = runs
        self._history = history

    def created(self, child: Run) -> None:
        """A run was made within another one."""
        if child.parent is None:
            return
        around = self._runs.get(child.parent.run_id)
        if around is None:
            self._breaks(f"{child.run_id} was made within {child.parent.run_id}, which is not there")
            return
        step = around.steps.get(child.parent.step)
        if step is None or step.child != child.run_id or step.status is not StepStatus.RUNNING:
            self._breaks(f"{child.run_id} was made, and no step of {around.run_id} waits for it")

    def check(self, before: Run, event: Event) -> None:
        """Looks at one event of the run, which stood like this before it."""
        match event.body:
            case ev.StepStarted(rollback=False) as body if is_child(before, body.step_number):
                self._starts(before, body)
            case ev.StepCompleted() | ev.StepFailed() | ev.StepInterrupted() as body:
                step = before.steps[body.step_number]
                if step.child and step.status is StepStatus.RUNNING and is_child(before, step.number):
                    self._ends(before, step, body)
            case ev.RunCompleted() | ev.RunFailed() | ev.RunCancelled():
                left = [s.child for s in children(before) if s.child in self._runs and not self._runs[s.child].ended]
                if left:
                    self._breaks(f"{before.run_id} has ended, and within it {left} goes on")
            case _:
                pass
        if isinstance(event.body, ev.StepStarted | ev.WaitStarted) and before.parent is not None:
            around = self._runs[before.parent.run_id]
            if around.ended is RunStatus.CANCELLED and not self._was_brought_back(before):
                self._breaks(f"{before.run_id}: a step started, and {around.run_id} around it is cancelled")

    def _was_brought_back(self, run: Run) -> bool:
        """Whether a person has let it go on by itself after it had ended."""
        asked = (ev.RunRetried, ev.RollbackStarted, ev.RunResumed)
        return any(isinstance(past.body, asked) and past.actor != SYSTEM for past in self._history[run.run_id])

    def check_known(self) -> None:
        """All is quiet: each run knows how those within it rest, or that it has to look."""
        for run in self._runs.values():
            self._check_known(run)

    def may_be_told(self, run: Run, batch: Batch) -> bool:
        """Whether a driver's write without a claim only tells its run of a child, or a child how its parent stands."""
        bodies = [decode(sealed.payload).body for sealed in batch.events]
        body = bodies[0]
        if isinstance(body, ev.ApprovalPostponed):
            # a pause stops the clocks of the gates, and gives back first what a jump took from them
            body = next((each for each in bodies if not isinstance(each, ev.ApprovalPostponed)), body)
        if isinstance(body, ev.ChildRunChanged) or (run.parent is not None and isinstance(body, _KEPT_IN_LINE)):
            return True
        number = getattr(body, "step_number", None)
        told = isinstance(body, ev.StepCompleted | ev.StepFailed | ev.StepInterrupted)
        return told and number is not None and is_child(run, number)

    def _starts(self, before: Run, body: ev.StepStarted) -> None:
        where = f"{before.run_id}: step {body.step_number}"
        if not body.child_run_id:
            self._breaks(f"{where} started, and no run is named that carries it out")
            return
        if any(step.child == body.child_run_id for step in children(before)):
            self._breaks(f"{where} started with {body.child_run_id}, which carries another step out")
        child = self._runs.get(body.child_run_id)
        own = child is None or (child.parent is not None and child.parent.run_id == before.run_id)
        if (child is None) != (body.child_seq == 0) or not own:
            self._breaks(f"{where} started with {body.child_run_id} after its event {body.child_seq}")

    def _ends(self, before: Run, step: StepState, body: ev.StepCompleted | ev.StepFailed | ev.StepInterrupted) -> None:
        where = f"{before.run_id}: step {step.number}"
        child = self._runs.get(step.child)
        if isinstance(body, ev.StepCompleted):
            if child is None or child.ended is not RunStatus.COMPLETED:
                self._breaks(f"{where} is completed, and {step.child} is not")
        elif child is not None:
            # somebody may have brought it back by itself since
            ended = child.ended or any(isinstance(past.body, _ENDS) for past in self._history[step.child])
            if not ended:
                self._breaks(f"{where} has ended, and {step.child} never did")

    def _check_known(self, around: Run) -> None:
        for step in children(around):
            child = self._runs.get(step.child)
            # one that had to wait for a slot tells only afterwards that it has one
            if child is None or step.child_standing in (None, RunStatus.PENDING):
                continue
            stands = standing(child)
            if child.ended is RunStatus.FAILED and child.seq == step.child_seq:
                # it is tried again once the run around it goes on
                stands = RunStatus.PAUSED
            if stands is not step.child_standing:
                self._breaks(f"{around.run_id}: {step.child} is told as {step.child_standing}, and it is {stands}")


def in_one_line(runs: Mapping[str, Run], one: Run, other: Run) -> bool:
    """Whether one of the two runs within the other: they share what they hold."""
    return one.run_id in _around(runs, other) or other.run_id in _around(runs, one)


def _around(runs: Mapping[str, Run], run: Run) -> set[str]:
    found: set[str] = set()
    while run.parent is not None and run.parent.run_id in runs:
        run = runs[run.parent.run_id]
        found.add(run.run_id)
    return found
