"""Envelopes with the values that only the edge knows: folders and concealed variables."""

from __future__ import annotations

from sopwith.core.envelope import Envelope, changed_fields, envelope_bytes, start_envelope, step_envelope
from sopwith.core.procedure import sha256
from sopwith.core.run import Run
from sopwith.engine.environment import passed_variables, working_dir
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


def _build(parts: Parts, run: Run, number: int, *, rebuilding: bool) -> Envelope:
    definition = run.procedure.step(number)
    passed = passed_variables(run.procedure, definition, parts.environ)
    return step_envelope(
        run,
        number,
        working_dir=str(working_dir(parts.workspace.root, run.procedure, definition)),
        passed={name: parts.keyring.conceal(value) for name, value in passed.items()},
        rebuilding=rebuilding,
    )
