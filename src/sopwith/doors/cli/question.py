"""What an approver is asked, put together from the very bytes that the approval will cover (DESIGN section 5)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from sopwith.core.run import Gate, Run
from sopwith.core.visible import visible, visible_code
from sopwith.doors.cli import text
from sopwith.doors.cli.terminal import safe, shown
from sopwith.engine.documents import gate_document, step_definition

Document = dict[str, Any]
_PROSE = frozenset({"title", "instructions"})


def question_text(run: Run, number: int | None, gate: Gate, envelope: Document | None, *, whole: bool = False) -> str:
    """The question; `whole` adds every field of the envelope, which the terminal's `v` shows too."""
    where = "start" if number is None else f"step {number}"
    document = gate_document(run, number, gate)
    head = (
        f"{click.style('approve?', fg='yellow', bold=True)} {run.name}, {where}: {text.bold(shown(document['title']))}"
    )
    lines = [head, *_body(run, number, envelope)]
    lines.append(text.dim(f"    envelope {gate.digest[:12]}") + text.deadline(document))
    if whole and envelope is not None:
        lines += ["", text.indented(envelope_text(envelope)), text.dim(f"    SHA-256 {gate.digest}")]
    return "\n".join(lines)


def envelope_text(envelope: Document) -> str:
    """Every field of what would be approved; texts of several lines as they are, the rest as JSON."""
    lines = []
    for name, value in envelope.items():
        told = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        told = visible(told) if name in _PROSE else visible_code(told)
        if isinstance(value, str) and "\n" in value:
            lines += [f"{visible_code(name)}:", text.indented(told.rstrip("\n"))]
        else:
            lines.append(f"{visible_code(name)}: {told}")
    return "\n".join(lines)


def _body(run: Run, number: int | None, envelope: Document | None) -> list[str]:
    if envelope is None:
        return ["    what would run is not in the database any more: sop doctor checks it"]
    parameters = [f"    {text.assigned(name, value)}" for name, value in envelope["parameters"].items()]
    rest = _start_body(run, envelope) if number is None else _step_body(run, number, envelope)
    return parameters + rest


def _start_body(run: Run, envelope: Document) -> list[str]:
    """The procedure is pinned under the digest that the envelope names."""
    procedure = run.procedure
    around = text.surroundings(procedure.working_dir, msgspec.to_builtins(procedure.env))
    return [
        text.dim(f"    {envelope['mode']}, version {safe(procedure.version)}"),
        *_captured(envelope["environment"], ()),
        *(text.dim(f"    {line}") for line in around),
        *(text.indented(text.defined_step(step_definition(step)), by=2) for step in procedure.steps),
    ]


def _step_body(run: Run, number: int, envelope: Document) -> list[str]:
    lines = [
        f"    step {step}: {text.assigned(name, value)}"
        for step, outputs in envelope["inputs"].items()
        for name, value in outputs.items()
    ]
    set_here = run.procedure.env.set_ | run.procedure.step(number).env.set_
    environment = envelope["environment"]
    lines += [f"    sets {text.assigned(name, environment[name])}" for name in set_here if name in environment]
    lines += _captured(environment, set_here)
    lines += [f"    passed from your environment: {visible_code(name)}" for name in envelope["passed"]]
    if envelope["instructions"]:
        lines.append(text.indented(visible(envelope["instructions"])))
    if envelope["script"] is not None:
        lines.append(text.dim(f"    {_interpreter(envelope)} in {visible_code(envelope['working_dir'])}:"))
        lines.append(text.indented(visible_code(envelope["script"].rstrip("\n")), by=6))
    return lines


def _captured(environment: dict[str, str], set_here: Iterable[str]) -> list[str]:
    """What the run captured when it was created, where whoever reads this has something else."""
    return [
        f"    environment: {text.assigned(name, value)}"
        for name, value in environment.items()
        if name not in set_here and os.environ.get(name) != value
    ]


def _interpreter(envelope: Document) -> str:
    program = envelope.get("program")
    name = visible_code(envelope["interpreter"])
    return f"{name} ({visible_code(program)})" if program else name
