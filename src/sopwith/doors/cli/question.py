"""What an approver is asked, put together from the very bytes that the approval will cover (DESIGN section 5)."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from sopwith.core.run import Gate, Run
from sopwith.core.visible import visible
from sopwith.doors.cli import text
from sopwith.doors.cli.terminal import safe, shown
from sopwith.engine.documents import gate_document, step_definition

Document = dict[str, Any]


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
        if isinstance(value, str) and "\n" in value:
            lines += [f"{visible(name)}:", text.indented(visible(value.rstrip("\n")))]
        elif isinstance(value, str):
            lines.append(f"{visible(name)}: {visible(value)}")
        else:
            told = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
            lines.append(f"{visible(name)}: {visible(told)}")
    return "\n".join(lines)


def _body(run: Run, number: int | None, envelope: Document | None) -> list[str]:
    if envelope is None:
        return ["    what would run is not in the database any more: sop doctor checks it"]
    lines = [f"    {visible(name)} = {visible(str(value))}" for name, value in envelope["parameters"].items()]
    if number is None:
        lines.append(text.dim(f"    {envelope['mode']}, version {safe(run.procedure.version)}"))
        # the procedure is pinned under the digest that the envelope names
        lines += [text.indented(text.defined_step(step_definition(step)), by=2) for step in run.procedure.steps]
        return lines
    for step, outputs in envelope["inputs"].items():
        lines += [f"    step {step}: {visible(name)} = {visible(str(value))}" for name, value in outputs.items()]
    lines += [f"    passed from your environment: {visible(name)}" for name in envelope["passed"]]
    if envelope["instructions"]:
        lines.append(text.indented(visible(envelope["instructions"])))
    if envelope["script"] is not None:
        lines.append(text.dim(f"    {envelope['interpreter']} in {visible(envelope['working_dir'])}:"))
        lines.append(text.indented(visible(envelope["script"].rstrip("\n")), by=6))
    return lines
