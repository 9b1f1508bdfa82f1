"""What people read: documents and runs as text. Colours are click's, which leaves them out of pipes and NO_COLOR."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from sopwith.core.visible import visible
from sopwith.errors import Problem, Severity, SopwithError

Document = dict[str, Any]

_COLOURS = {
    "completed": "green",
    "running": "blue",
    "approved": "green",
    "failed": "red",
    "rejected": "red",
    "interrupted": "magenta",
    "paused": "yellow",
    "awaiting_approval": "yellow",
    "waiting_approval": "yellow",
    "pending": "bright_black",
    "skipped": "bright_black",
    "cancelled": "bright_black",
}
MARKS = {
    "completed": "✔",
    "running": "▶",
    "failed": "✘",
    "rejected": "✘",
    "interrupted": "!",
    "awaiting_approval": "?",
    "skipped": "-",
    "cancelled": "-",
    "pending": "·",
}


def coloured(status: str) -> str:
    return click.style(status, fg=_COLOURS.get(status))


def dim(text: str) -> str:
    return click.style(text, fg="bright_black")


def bold(text: str) -> str:
    return click.style(text, bold=True)


def error_text(error: SopwithError) -> str:
    """The sentence, the problems if there are any, and the hint."""
    lines = [f"{click.style('error:', fg='red', bold=True)} {visible(error.message)}"]
    problems: Iterable[Problem] = error.details.get("problems", ())
    lines += [problem_text(problem) for problem in problems]
    if error.hint:
        lines.append(f"{click.style('hint:', fg='cyan')} {visible(error.hint)}")
    return "\n".join(lines)


def problem_text(problem: Problem) -> str:
    """`file:line:column: path: message`, and the hint below it."""
    is_error = problem.severity is Severity.ERROR
    label = click.style(problem.severity, fg="red" if is_error else "yellow")
    hint = f"\n    {click.style('hint:', fg='cyan')} {visible(problem.hint)}" if problem.hint else ""
    return f"  {label} {visible(str(problem))}{hint}"


def run_text(run: Document) -> str:
    """A run as `sop status` shows it."""
    lines = [f"{bold(run['sopName'])}  {run['runId']}  {coloured(run['status'])}{_flags(run)}"]
    if run["reason"]:
        lines.append(f"  {visible(run['reason'])}")
    lines += [
        dim(f"  {run['executionMode']}, version {visible(run['version'])}, priority {run['priority']}")
        + dim(f", started by {run['createdBy']['id']} at {local_time(run['createdAt'])}")
    ]
    if run["params"]:
        lines.append(dim("  " + ", ".join(f"{name}={visible(str(value))}" for name, value in run["params"].items())))
    lines.append("")
    lines += [step_line(step) for step in run["stepResults"]]
    if "next" in run:
        lines += ["", f"{click.style('next:', fg='cyan')} {run['next']}"]
    return "\n".join(lines)


def step_line(step: Document) -> str:
    """`✔ 1 Run tests            completed  0.3s`."""
    mark = click.style(MARKS.get(step["status"], " "), fg=_COLOURS.get(step["status"]))
    gate = step.get("approval")
    asked = ""
    if gate is not None and gate["status"] == "open":
        asked = dim(f"  since {local_time(gate['requestedAt'])}") + _deadline(gate)
    elif gate is not None and gate["decidedBy"] is not None and step["status"] != "pending":
        asked = dim(f"  {gate['status'].replace('_', ' ')} by {gate['decidedBy']['id']}")
    elif step["requiresApproval"] and step["status"] == "pending":
        asked = dim("  needs approval")
    took = f"  {step['duration']}" if step["duration"] else ""
    error = f"\n      {click.style(visible(step['error']), fg='red')}" if step["error"] else ""
    title = visible(step["title"])
    return f"  {mark} {step['stepNumber']:>2} {title:<32} {coloured(step['status'])}{took}{asked}{error}"


def step_text(step: Document) -> str:
    """One step in full, as `sop status --step` shows it."""
    lines = [step_line(step), ""]
    if step["description"]:
        lines += [visible(step["description"]), ""]
    if step["script"] is not None:
        lines += [dim(f"{step['interpreter']}:"), indented(visible(step["script"])), ""]
    if step["comment"]:
        lines.append(f"comment: {visible(step['comment'])}")
    lines += [f"output {name} = {visible(str(value))}" for name, value in step["outputs"].items()]
    lines += [f"evidence {visible(each['name'])}, SHA-256 {each['sha256']}" for each in step["evidence"]]
    if step["output"]:
        lines += [dim("printed:"), indented(visible(step["output"].rstrip("\n")))]
    return "\n".join(lines).rstrip()


def gate_text(run_name: str, gate: Document, step: Document | None) -> str:
    """What an approver is asked, whole: title, prose, the script as it will run, the digest."""
    where = "Start" if step is None else f"Step {step['number']}"
    lines = [f"{click.style('approve?', fg='yellow', bold=True)} {run_name}, {where}: {bold(visible(gate['title']))}"]
    if step is not None and step["description"]:
        lines.append(indented(visible(step["description"])))
    if step is not None and step["script"] is not None:
        lines += [dim(f"    {step['interpreter']}:"), indented(visible(step["script"].rstrip("\n")), by=6)]
    lines.append(dim(f"    envelope {gate['digest'][:12]}") + _deadline(gate))
    return "\n".join(lines)


def procedure_text(sop: Document) -> str:
    """A procedure as `sop show` shows it."""
    lines = [f"{bold(visible(sop['title']))}  {sop['name']}  version {visible(sop['version'])}"]
    if sop["description"]:
        lines.append(f"  {visible(sop['description'])}")
    mode = sop["executionMode"]
    mode += f" ({sop['effectiveMode']})" if sop["effectiveMode"] != mode else ""
    limits = [f"priority {sop['priority']}", mode]
    limits += [f"cooldown {sop['cooldownSecs']} s"] if sop["cooldownSecs"] else []
    limits += [f"at most {sop['maxConcurrent']} at once"] if sop["maxConcurrent"] else []
    lines.append(dim("  " + ", ".join(limits)))
    for parameter in sop["params"]:
        needed = "required" if parameter.get("required") else f"default {parameter.get('default', 'none')}"
        about = visible(parameter.get("description", ""))
        lines.append(f"  --param {parameter['name']}=…  {dim(parameter['type'] + ', ' + needed)}  {about}")
    for step in sop["steps"]:
        lines += ["", _defined_step(step)]
    return "\n".join(lines)


def plan_text(plan: Document) -> str:
    """A dry run: what would happen, in order."""
    lines = [
        f"{bold(visible(plan['title']))}  {plan['sopName']}  dry run, {plan['executionMode']}: nothing was started",
    ]
    lines += [f"  {name} = {visible(str(value))}" for name, value in plan["params"].items()]
    if plan["startApproval"] is not None:
        lines += ["", f"  {click.style('?', fg='yellow')} approval before the start{_terms(plan['startApproval'])}"]
    for step in plan["steps"]:
        lines.append("")
        if step["gate"] is not None:
            lines.append(f"  {click.style('?', fg='yellow')} approval of step {step['number']}{_terms(step['gate'])}")
        lines.append(_defined_step(step, with_gate=False))
    return "\n".join(lines)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; styled cells count by what is seen."""
    cells = [[click.unstyle(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headings), *cells]) for i in range(len(headings))]
    lines = [dim("  ".join(h.ljust(w) for h, w in zip(headings, widths, strict=True)).rstrip())]
    for row, plain in zip(rows, cells, strict=True):
        padded = [cell + " " * (w - len(p)) for cell, p, w in zip(row, plain, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def indented(text: str, by: int = 4) -> str:
    return "\n".join(" " * by + line for line in text.split("\n"))


def local_time(timestamp: str | None) -> str:
    """The record's UTC in the reader's own time zone, to the second."""
    if timestamp is None:
        return ""
    return datetime.fromisoformat(timestamp).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _flags(run: Document) -> str:
    told = {
        "failing": "failing, running steps end first",
        "pauseRequested": "pausing after this step",
        "cancelRequested": "being cancelled",
        "nothingRan": "every step was skipped",
        "overdue": "overdue",
    }
    words = [text for key, text in told.items() if run.get(key)]
    if run["status"] == "running" and run.get("drivenBy", True) is None:
        words.append(f"nobody drives it: sop resume {run['runId']}")
    return f"  ({'; '.join(words)})" if words else ""


def _deadline(gate: Document) -> str:
    if gate.get("dueAt") is None:
        return ""
    return click.style(f"  {gate['onTimeout']} at {local_time(gate['dueAt'])} if nobody answers", fg="yellow")


def _terms(terms: Document) -> str:
    if terms["approvalTimeoutMins"] is None:
        return ", waits for ever"
    return f", {terms['onTimeout']} after {terms['approvalTimeoutMins']} min without an answer"


def _defined_step(step: Document, *, with_gate: bool = True) -> str:
    gated = ""
    if with_gate and step["requiresApproval"]:
        minutes = step["approvalTimeoutMins"]
        gated = click.style("  approval required", fg="yellow") + (f" ({minutes} min)" if minutes else "")
    kind = step["interpreter"] or step["executor"]
    lines = [f"  {step['number']:>2} {bold(visible(step['title']))}  {dim(kind)}{gated}"]
    if step["description"]:
        lines.append(indented(visible(step["description"]), by=5))
    if step["script"] is not None:
        lines.append(indented(dim(visible(step["script"].rstrip("\n"))), by=7))
    return "\n".join(lines)
