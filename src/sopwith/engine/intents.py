"""What is recorded before a step starts, with all that is found about the step at that moment.

Nothing is recorded or started here: the driver does both, in this order (`driver.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from sopwith.core import commands as cmd
from sopwith.core.actor import SYSTEM
from sopwith.core.address import StepId
from sopwith.core.agents import agent_of
from sopwith.core.confidential import has_secrets
from sopwith.core.due import DueKind, ready_now
from sopwith.core.gates import is_gated
from sopwith.core.interruption import EXECUTOR as VERIFIER
from sopwith.core.procedure import sha256
from sopwith.core.rollback import definition_of
from sopwith.core.run import Run, is_child, takes_a_process
from sopwith.engine.children import NO_CHILD, next_child
from sopwith.engine.envelopes import agent_in, changed_since_creation, step_envelope_bytes, what_changed
from sopwith.engine.files import ensure_private_folder
from sopwith.engine.folders import next_attempt_folder
from sopwith.engine.parts import Parts
from sopwith.engine.runs import Runs
from sopwith.errors import BadRequest
from sopwith.ports import Executor, ExecutorKind


class Intent(NamedTuple):
    """What is recorded before a step starts, and what then starts it; None: no process does."""

    step: StepId
    command: cmd.Start
    executor: Executor | None


class Intents:
    """Looks at the steps of a run that may start; keeps the executors that it made for them."""

    def __init__(self, parts: Parts, runs: Runs) -> None:
        self._parts = parts
        self._runs = runs
        self._executors: dict[str, Executor] = {}

    def of(self, run: Run, step: StepId) -> Intent:
        """What is to be recorded before the step starts, with all that is found now. Raises Lacking or BadRequest."""
        envelope = step_envelope_bytes(self._parts, run, step)
        changed = self._changed(run, step, envelope)
        executor = self.executor(run, step)
        if executor is not None and self._kind(run, step).keeps_files:
            # made before the intent is recorded: from then on, no folder means that somebody took it away
            ensure_private_folder(next_attempt_folder(self._parts, run, step))
        child = next_child(self._parts, self._runs, run, step) if is_child(run, step) else NO_CHILD
        agent, argv = agent_in(envelope) if agent_of(definition_of(run, step)) is not None else ("", ())
        command = cmd.Start(
            actor=SYSTEM,
            now=self._parts.clock.now(),
            step=step,
            digest=sha256(envelope),
            changed=changed,
            child_run_id=child.run_id,
            child_seq=child.seq,
            agent=agent,
            command=argv,
        )
        return Intent(step, command, executor)

    def first_in(self, run: Run) -> Intent | None:
        """The intent to start what is due first in this run, where that is a script that is quickly looked at.

        Whatever might keep the result of the step before from being recorded at once is left to the next look.
        """
        first = next(iter(ready_now(run, self._parts.clock.now())), None)
        if first is None or first.kind is not DueKind.START_STEP or run.parent is not None:
            return None
        assert first.step is not None
        step = first.step
        definition = definition_of(run, step)
        if definition.pins or is_child(run, step) or has_secrets(run.procedure, run.agents):
            return None
        if agent_of(definition) is not None or not takes_a_process(run, step):
            return None
        try:
            return self.of(run, step)
        except Exception:  # a plugin may raise anything: the next look meets it again, when the result is recorded
            return None

    def executor(self, run: Run, step: StepId) -> Executor | None:
        """What carries the step out; None where no process does. Raises BadRequest if nothing here can."""
        kind = self._kind(run, step)
        if not takes_a_process(run, step) or is_child(run, step):
            return None
        if kind.make is None:
            raise BadRequest(f"executor {kind.name} makes nothing that could carry a step out")
        if kind.name not in self._executors:
            self._executors[kind.name] = kind.make()
        return self._executors[kind.name]

    def _kind(self, run: Run, step: StepId) -> ExecutorKind:
        """The kind of what would be started now: of the step, or of what verifies it."""
        return self._parts.kinds.kind(VERIFIER if run.steps[step].verifying else definition_of(run, step).executor)

    def _changed(self, run: Run, step: StepId, found: bytes) -> tuple[str, ...]:
        """In what the step differs from what was approved, or from what the start of the run covered."""
        gate = run.steps[step].gate
        if is_gated(run, step) and gate is not None:
            return what_changed(self._parts, gate.digest, found)
        return changed_since_creation(self._parts, run, step)
