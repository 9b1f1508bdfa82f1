"""Envelopes with the values that only the edge knows: folders and concealed variables."""

from __future__ import annotations

from sopwith.core.envelope import Envelope, changed_fields, envelope_bytes, start_envelope, step_envelope
from sopwith.core.procedure import ExecutionMode, sha256
from sopwith.core.run import Run
from sopwith.engine.environment import passed_variables, step_variables, working_dir
from sopwith.engine.parts import Parts


def start_envelope_bytes(run: Run, *, rebuilding: bool) -> bytes:
    """The bytes that the start approval covers."""
    return envelope_bytes(start_envelope(run, rebuilding=rebuilding))


def step_envelope_bytes(parts: Parts, run: Run, number: int, *, rebuilding: bool) -> bytes:
    """The bytes that the gate of a step covers. Raises MissingVariables.

    `rebuilding`: as the gate that was asked covers it; else for the gate to be asked next.
    """
    return envelope_bytes(_build(parts, run, number, rebuilding=rebuilding))


def what_changed(parts: Parts, approved_digest: str, found: bytes) -> tuple[str, ...]:
    """The fields in which `found` differs from the envelope that was approved."""
    if sha256(found) == approved_digest:
        return ()
    approved = parts.store.content(approved_digest)
    return ("envelope",) if approved is None else changed_fields(approved, found)


def changed_since_creation(parts: Parts, run: Run, number: int) -> tuple[str, ...]:
    """Which passed variables differ from what they were when the run was created. Raises MissingVariables.

    One that was not set then may be set now, unless somebody has approved the start without it.
    """
    passed = _concealed(parts, run, number)
    known = passed if run.mode is ExecutionMode.SUPERVISED else {n: v for n, v in passed.items() if n in run.passed}
    return tuple(f"passed {name}" for name, value in known.items() if run.passed.get(name) != value)


def _build(parts: Parts, run: Run, number: int, *, rebuilding: bool) -> Envelope:
    definition = run.procedure.step(number)
    folder = working_dir(parts.workspace.root, run.procedure, definition)
    locate = parts.kinds.kind(definition.executor).locate
    return step_envelope(
        run,
        number,
        working_dir=str(folder),
        passed=_concealed(parts, run, number),
        program=None if locate is None else locate(definition, step_variables(parts, run, definition), folder),
        rebuilding=rebuilding,
    )


def _concealed(parts: Parts, run: Run, number: int) -> dict[str, str]:
    passed = passed_variables(run.procedure, run.procedure.step(number), parts.environ)
    return {name: parts.keyring.conceal(value) for name, value in passed.items()}
