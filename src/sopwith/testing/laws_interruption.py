"""What must hold of interruptions in every history: what follows by itself was said in the file, and is bounded.

Part of `laws.py`, read off the events alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sopwith.core import events as ev
from sopwith.core.actor import SYSTEM
from sopwith.core.address import StepId
from sopwith.core.events import Event
from sopwith.core.run import Run

_MOST_RERUNS = 3


class InterruptionLaws:
    """What may follow by itself where nobody can know how an attempt ended: what its step says, and not for ever."""

    def __init__(self, breaks: Callable[[str], None]) -> None:
        self._breaks = breaks

    def told(self, before: Run, body: ev.StepInterrupted) -> None:
        said = self._says(before, body.step_number)
        if body.then not in ("", said):
            self._breaks(
                f"{self._where(before, body)} was interrupted and leads to {body.then}; it says {said or 'ask'}"
            )
        if body.then and (before.cancel_requested or before.timed_out):
            self._breaks(f"{self._where(before, body)} was interrupted and leads to {body.then} in a run that ends")
        if before.steps[body.step_number].verifying:
            self._breaks(f"{self._where(before, body)} was interrupted again while it was verified")

    def stopped(self, before: Run, body: ev.StepInterrupted, history: Sequence[Event]) -> None:
        """A stop interrupts what it ended: a person decides, and the record says who wanted it."""
        asked = next(each for each in reversed(history) if _asks_to_stop(each))
        # where the run around it is stopped, the reason names that run
        who = "stopped: sop_run_" if asked.actor == SYSTEM else f"stopped by {asked.actor}"
        if body.then or not body.reason.startswith(who):
            self._breaks(f"{self._where(before, body)} was stopped, and is told as {body.reason}: {body.then or 'ask'}")

    def begun(self, before: Run, body: ev.VerificationStarted, last: ev.EventBody) -> None:
        if body.of_report:
            if not before.steps[body.step_number].to_verify or before.paused:
                self._breaks(f"{self._where(before, body)} is verified, and no report is to be, or not now")
        elif not isinstance(last, ev.StepInterrupted) or (last.step_number, last.then) != (body.step_number, "verify"):
            self._breaks(f"{self._where(before, body)} is verified, and no interruption led to that")

    def ended(self, before: Run, body: ev.VerificationEnded, runs: bool) -> None:
        if not before.steps[body.step_number].verifying:
            self._breaks(f"{self._where(before, body)} was verified, and no verification had begun")
        if runs:
            self._breaks(f"{self._where(before, body)} was verified, and what verifies it still runs")
        said = {0: "completed", 1: "rerun"}.get(-1 if body.exit_code is None else body.exit_code, "")
        found = before.steps[body.step_number].verification
        if found is not None and found.of_report:
            confirmed = (body.exit_code, body.cause) == (0, "exit")
            if body.then != ("completed" if confirmed else "open"):
                self._breaks(
                    f"{self._where(before, body)}: a report that was verified with {body.exit_code} is believed"
                )
        elif body.then not in ("", said):
            self._breaks(f"{self._where(before, body)} was verified with {body.exit_code}, and leads to {body.then}")

    def rerun(self, before: Run, body: ev.StepRetryScheduled, history: Sequence[Event]) -> None:
        last = history[-1].body
        told = isinstance(last, ev.StepInterrupted | ev.VerificationEnded) and last.then == "rerun"
        if not told or getattr(last, "step_number", None) != body.step_number:
            self._breaks(f"{self._where(before, body)} is run again after an interruption, and nothing led to that")
        visit = before.steps[body.step_number].visit
        reruns = sum(
            _is_rerun(event.body, body.step_number) for event in _since_visit(history, body.step_number, visit)
        )
        if reruns >= _MOST_RERUNS:
            self._breaks(f"{self._where(before, body)} is run again {reruns + 1} times by itself")

    def settled(self, before: Run, body: ev.StepCompleted | ev.StepFailed, last: ev.EventBody) -> None:
        """That what ends an interrupted step by itself was said to."""
        if isinstance(body, ev.StepCompleted):
            told, led = body.verified, isinstance(last, ev.VerificationEnded) and last.then == "completed"
        else:
            told, led = body.cause == ev.INTERRUPTED, isinstance(last, ev.StepInterrupted) and last.then == "fail"
        if told != led:
            self._breaks(f"{self._where(before, body)} has ended by an interruption, and nothing led to that")
        step = before.procedure.step(body.step_number)
        if (
            step.verify
            and isinstance(body, ev.StepCompleted)
            and not led
            and not before.steps[body.step_number].instances
        ):
            self._breaks(f"{self._where(before, body)} is done, and nothing has verified that")
        if led and isinstance(body, ev.StepCompleted) and body.outputs:
            self._breaks(f"{self._where(before, body)} hands on what nobody has seen")

    def _says(self, run: Run, number: StepId) -> str:
        rules = run.procedure.step(number).on_interrupt
        return str(rules.policy) if rules else ""

    def _where(self, run: Run, body: ev.StepBody) -> str:
        return f"{run.run_id}: step {body.step_number}"


def is_stopping(history: Sequence[Event]) -> bool:
    """Whether somebody has asked to end what runs, and nothing has answered that yet."""
    for event in reversed(history):
        if _asks_to_stop(event):
            return True
        if isinstance(event.body, ev.RunPaused | ev.RunResumed | ev.RunRetried | ev.RollbackStarted):
            return False
    return False


def _asks_to_stop(event: Event) -> bool:
    return isinstance(event.body, ev.RunPauseRequested) and event.body.stop


def _is_rerun(body: ev.EventBody, number: StepId) -> bool:
    return isinstance(body, ev.StepRetryScheduled) and (body.step_number, body.cause) == (number, ev.INTERRUPTED)


def _since_visit(history: Sequence[Event], number: StepId, visit: int) -> Iterator[Event]:
    """The events since the step's present visit began with its first start."""
    begun = False
    for event in history:
        body = event.body
        begun |= isinstance(body, ev.StepStarted) and (body.step_number, body.visit) == (number, visit)
        if begun:
            yield event
