"""What an approver is asked, put together from the very bytes that the approval will cover (DESIGN section 5)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from sopwith.core.address import StepId
from sopwith.core.run import Gate, Run, StepStatus
from sopwith.core.visible import visible, visible_code, visible_value
from sopwith.doors.cli import text
from sopwith.doors.cli.terminal import shown
from sopwith.engine.documents import event_document, gate_document, pinned_document, step_definition

Document = dict[str, Any]
_NOTHING = {"None": "null", "''": '""', "[]": "[]", "{}": "{}"}
_PROSE = frozenset({"title", "instructions", "description", "overview"})


def question_text(
    run: Run, number: StepId | None, gate: Gate, envelope: Document | None, *, whole: bool = False
) -> str:
    """The question; `whole` adds every field of the envelope, which the terminal's `v` shows too."""
    where = "start" if number is None else f"{'rollback of ' if gate.rollback else ''}step {number}"
    document = gate_document(run, number, gate)
    head = (
        f"{click.style('approve?', fg='yellow', bold=True)} {run.name}, {where}: {text.bold(shown(document['title']))}"
    )
    lines = [head, *_asked_again(run, number), *_body(run, number, envelope), *_terms(document)]
    lines.append(text.dim(f"    envelope {gate.digest[:12]}") + text.deadline(document))
    if whole and envelope is not None:
        lines += ["", *whole_lines(run, number, gate, envelope)]
    return "\n".join(lines)


def _asked_again(run: Run, number: StepId | None) -> list[str]:
    """Why a start that was approved once is asked about, and what was done with the parameters of that time."""
    if number is not None or not run.start_void:
        return []
    done = [str(step.number) for step in run.steps.values() if step.status is StepStatus.COMPLETED]
    before = f"; done with the old ones: step{'s' if len(done) > 1 else ''} {', '.join(done)}" if done else ""
    return [f"    the parameters have changed{before}"]


def whole_lines(run: Run, number: StepId | None, gate: Gate, envelope: Document) -> list[str]:
    """Every field of the envelope; at the start also of the procedure, which the envelope names by its digest."""
    lines = [text.indented(envelope_text(envelope)), text.dim(f"    SHA-256 {gate.digest}")]
    if number is not None:
        return lines
    procedure = pinned_document(run)
    steps = procedure.pop("steps")
    lines += ["", text.indented(envelope_text(procedure))]
    for step in steps:
        lines += [f"    step {step['number']}:", text.indented(envelope_text(step), by=6)]
    return lines


def envelope_text(envelope: Document) -> str:
    """Every field of what would be approved; texts of several lines behind a margin, the rest as JSON.

    Those that hold nothing stand together on the last line.
    """
    lines = []
    empty = [
        f"{text.code(name)} {_NOTHING[repr(value)]}" for name, value in envelope.items() if repr(value) in _NOTHING
    ]
    for name, value in envelope.items():
        if repr(value) in _NOTHING:
            continue
        told = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        told = visible(told) if name in _PROSE else visible_code(told)
        if isinstance(value, str) and "\n" in value:
            lines += [f"{text.code(name)}:", text.framed(told.rstrip("\n"), by=2)]
        else:
            lines.append(f"{text.code(name)}: {told}")
    return "\n".join([*lines, text.dim(f"empty: {', '.join(empty)}")] if empty else lines)


def _terms(gate: Document) -> list[str]:
    """Who may answer, how many must, who has, and what they are asked to fill in."""
    lines = []
    if gate["approvers"]:
        lines.append(f"    {click.style('approvers:', fg='cyan')} {shown(', '.join(gate['approvers']))}")
    if gate["votesNeeded"] > 1:
        lines.append(f"    {click.style('votes:', fg='cyan')} {text.votes(gate)}")
    lines += [
        text.dim(f"      {shown(vote['by']['id'])} at {text.local_time(vote['at'])}")
        + (f": {shown(vote['comment'])}" if vote["comment"] else "")
        for vote in gate["votes"]
    ]
    for field in gate["form"]:
        name = field["name"]
        value = text.assigned(name, gate["values"][name]) if name in gate["values"] else text.code(name)
        about = [field.get("type", "string"), "required" if field.get("required") else "optional"]
        about += [f"one of {', '.join(map(visible_value, field['values']))}"] if field.get("values") else []
        about += [f"like {text.code(field['pattern'])}"] if field.get("pattern") else []
        about += [f"default {visible_value(field['default'])}"] if field.get("default") is not None else []
        title = f"  {shown(field['title'])}" if field.get("title") else ""
        lines.append(f"    {click.style('form:', fg='cyan')} {value}  {text.dim(', '.join(about))}{title}")
    if gate["commentRequired"]:
        lines.append(f"    {click.style('comment:', fg='cyan')} required")
    return lines


def _body(run: Run, number: StepId | None, envelope: Document | None) -> list[str]:
    if envelope is None:
        return ["    what would run is not in the database any more: sop doctor checks it"]
    parameters = [f"    {text.assigned(name, value)}" for name, value in envelope["parameters"].items()]
    parameters += [text.event_text(event_document(run))] if run.event is not None else []
    rest = _start_body(run, envelope) if number is None else _step_body(run, number, envelope)
    return parameters + rest


def _start_body(run: Run, envelope: Document) -> list[str]:
    """The procedure is pinned under the digest that the envelope names."""
    procedure = run.procedure
    around = text.surroundings(procedure.working_dir, msgspec.to_builtins(procedure.env))
    return [
        text.dim(f"    {envelope['mode']}, version {shown(procedure.version)}"),
        *_captured(envelope["environment"], ()),
        *(
            f"    pinned for step {step}: {text.code(name)}  " + (f"SHA-256 {digest}" if digest else "not there yet")
            for step, pins in envelope.get("pins", {}).items()
            for name, digest in pins.items()
        ),
        *(text.dim(f"    {line}") for line in around),
        *(f"    {line}" for line in text.agent_lines(envelope.get("agents", {}))),
        *(text.indented(text.defined_step(step_definition(step)), by=2) for step in procedure.steps),
    ]


def _step_body(run: Run, number: StepId, envelope: Document) -> list[str]:
    lines = [f"    {text.assigned('item', envelope['item'])}"] if envelope.get("instance") else []
    lines += [
        f"    step {step}: {text.assigned(name, value)}"
        for step, outputs in envelope["inputs"].items()
        for name, value in outputs.items()
    ]
    lines += [
        f"    approvers of step {step}: {text.assigned(name, value)}"
        for step, values in envelope.get("approvals", {}).items()
        for name, value in values.items()
    ]
    agent = envelope.get("agent", {"env": {"set": {}}})
    set_here = run.procedure.env.set_ | run.procedure.step(number).env.set_ | agent["env"]["set"]
    environment = envelope["environment"]
    lines += [
        f"    sets {text.assigned(name, environment[name], only_text=True)}" for name in set_here if name in environment
    ]
    lines += _captured(environment, set_here)
    lines += [f"    passed from your environment: {text.code(name)}" for name in envelope["passed"]]
    lines += [f"    secret: {text.code(name)}" for name in envelope.get("secrets", {})]
    lines += [f"    pinned {text.code(n)}  SHA-256 {digest}" for n, digest in envelope.get("pins", {}).items()]
    uses = run.procedure.step(number).uses
    if uses is not None and uses in envelope.get("uses", {}):
        lines.append(f"    runs the procedure {uses}  {text.dim('SHA-256 ' + envelope['uses'][uses]['digest'])}")
        lines += [f"    with {text.assigned(name, value)}" for name, value in envelope["given"].items()]
    if "name" in agent:
        lines.append(f"    {text.agent_words(agent['name'], agent['command'])}")
        lines.append(text.dim(f"    {_program(envelope)} in {text.code(envelope['working_dir'])}, which is given:"))
    if envelope["instructions"]:
        lines.append(text.framed(visible(envelope["instructions"])))
    if envelope["script"] is not None:
        lines.append(text.dim(f"    {_interpreter(envelope)} in {text.code(envelope['working_dir'])}:"))
        lines.append(text.framed(visible_code(envelope["script"].rstrip("\n")), by=6))
    if told := envelope.get("on_interrupt"):
        lines += text.on_interrupt(told["policy"], told.get("command", ""), by=4)
    if told := envelope.get("verify"):
        lines += text.verify(told["script"], by=4, program=_interpreter(told))
    return lines


def _captured(environment: dict[str, str], set_here: Iterable[str]) -> list[str]:
    """What the run captured when it was created, where whoever reads this has something else."""
    return [
        f"    environment: {text.assigned(name, value, only_text=True)}"
        for name, value in environment.items()
        if name not in set_here and os.environ.get(name) != value
    ]


def _program(envelope: Document) -> str:
    program = envelope.get("program")
    return f"runs {text.code(program)}" if program else "runs a program that is not there now"


def _interpreter(envelope: Document) -> str:
    program = envelope.get("program")
    name = text.code(envelope["interpreter"])
    return f"{name} ({text.code(program)})" if program else name
