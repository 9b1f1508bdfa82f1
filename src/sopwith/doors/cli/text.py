"""What people read: documents and runs as text, styled; `terminal.echo` leaves styles out where they are not wanted.

Longer than other files: the words for one run, from its head to its last step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
import msgspec

from sopwith.core.address import address_in
from sopwith.core.instant import duration_text
from sopwith.core.visible import in_one_line, visible, visible_code, visible_value
from sopwith.doors.cli import terminal
from sopwith.doors.cli.terminal import columns, crop, pad, safe, shown, tame, width
from sopwith.errors import Problem, Severity, SopwithError

Document = dict[str, Any]

COLOURS = {
    "completed": "green",
    "running": "blue",
    "waiting": "blue",
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
    "rolled_back": "yellow",
}
_LEAST_TITLE = 12
_BESIDE_TITLE = 44
"""Columns that mark, number, status, duration and approver usually take."""
MARKS = {
    "completed": "✔",
    "running": "▶",
    "waiting": "▶",
    "failed": "✘",
    "rejected": "✘",
    "interrupted": "!",
    "awaiting_approval": "?",
    "skipped": "-",
    "cancelled": "-",
    "rolled_back": "<",
    "pending": "·",
}


def coloured(status: str, words: str = "") -> str:
    return click.style(words or status, fg=COLOURS.get(status))


def status_mark(status: str) -> str:
    """The one-column mark of a step's status, in its colour."""
    return click.style(terminal.mark(MARKS.get(status, " ")), fg=COLOURS.get(status))


def status_words(run: Document) -> str:
    """`is paused`, `failed`; and for a step that a person carries out, that it waits for one."""
    if run["status"] in ("failed", "cancelled"):
        return coloured(run["status"])
    by_hand = [address_in(step) for step in run["stepResults"] if "instructions" in step]
    if run["status"] == "running" and by_hand:
        return f"waits for step {by_hand[0]}, which is done by hand"
    return f"is {coloured(run['status'])}"


def next_line(next_: str) -> str:
    """`next: COMMAND`, and an alternative on a line of its own."""
    return f"{click.style('next:', fg='cyan')} " + next_.replace(
        " or sop ", f"\n  {click.style('or:', fg='cyan')} sop "
    )


def waits_lines(run: Document) -> list[str]:
    """For whom a run waits, where its gates do not wait for just anybody; several gates on a line each."""
    waiting = [gate for gate in run["gates"] if gate["waitsFor"]] if "waitsFor" in run else []
    alone = len(run["gates"]) == 1
    return [
        f"{'' if alone else f'step {address_in(gate)} '}waits for {shown(', '.join(gate['waitsFor']))}"
        for gate in waiting
    ]


def dim(text: str) -> str:
    return click.style(text, fg="bright_black")


def bold(text: str) -> str:
    return click.style(text, bold=True)


def error_text(error: SopwithError) -> str:
    """The sentence, the problems if there are any, and the hint."""
    lines = [f"{click.style('error:', fg='red', bold=True)} {safe(error.message)}"]
    problems: Iterable[Problem] = error.details.get("problems", ())
    lines += [problem_text(problem) for problem in problems]
    if error.hint:
        lines.append(f"{click.style('hint:', fg='cyan')} {safe(error.hint)}")
    return "\n".join(lines)


def problem_text(problem: Problem) -> str:
    """`file:line:column: path: message`, and the hint below it."""
    is_error = problem.severity is Severity.ERROR
    label = click.style(problem.severity, fg="red" if is_error else "yellow")
    hint = f"\n    {click.style('hint:', fg='cyan')} {safe(problem.hint)}" if problem.hint else ""
    return f"  {label} {safe(str(problem))}{hint}"


def event_text(event: Document) -> str:
    """What happened outside and started the run, whole and escaped."""
    content = visible_code(msgspec.json.format(msgspec.json.encode(event["content"]), indent=2).decode())
    return dim("  event (from outside, untrusted):") + "\n" + framed(content, by=2)


def run_text(run: Document) -> str:
    """A run as `sop status` shows it."""
    lines = [f"{bold(run['sopName'])}  {run['runId']}  {coloured(run['status'])}{_flags(run)}"]
    if changed_at := run.get("recordChangedAt"):
        told = f"its record was changed by hand: event {changed_at} does not fit the one before"
        lines.append(click.style(f"  {told}; sop audit {run['runId']} --verify", fg="red"))
    if run["parent"] is not None:
        lines.append(dim(f"  {within(run['parent'])}"))
    if run["reason"]:
        lines.append(f"  {shown(run['reason'])}")
    if told := rollback_words(run):
        lines.append(f"  {told}")
    lines += [
        dim(f"  {run['executionMode']}, version {shown(run['version'])}, priority {run['priority']}")
        + dim(f", started by {shown(run['createdBy']['id'])} at {local_time(run['createdAt'])}")
    ]
    lines += [dim(f"  {assigned(name, value)}") for name, value in run["params"].items()]
    lines += [event_text(run["event"])] if "event" in run else []
    if run["timesOutAt"]:
        lines.append(dim(f"  {duration(run['timeoutSecs'])} in all, until {local_time(run['timesOutAt'])}"))
    lines += [dim(f"  {group_words(run)}")] if run["concurrencyGroup"] else []
    lines += ["", *step_lines(run["stepResults"]), "", *waits_lines(run), next_line(run["next"])]
    return "\n".join(lines)


def within(parent: Document) -> str:
    """`within sop_run_…, step 3`: the run, and its step, that started another one."""
    name = f"{parent['sopName']} " if parent.get("sopName") else ""
    return f"within {name}{parent['runId']}, step {address_in(parent)}"


def rollback_words(run: Document) -> str:
    """What is being undone, what was, and what could not be; empty where nothing was to be."""
    told = [f"rolling back {_steps(run['rollingBack'])}"] if run.get("rollingBack") else []
    told += ["rolled back"] if run.get("rolledBack") else []
    told += [f"rollback failed: {_steps(run['rollbackFailed'])}"] if run.get("rollbackFailed") else []
    told += [f"not rolled back: {_steps(run['notRolledBack'])}"] if run.get("notRolledBack") else []
    return ", ".join(told)


def _steps(numbers: Sequence[int]) -> str:
    return f"step{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def step_lines(steps: Sequence[Document]) -> list[str]:
    """One line a step, titles in a column that leaves room for what happened."""
    widest = max((width(_label(step)) for step in steps), default=0)
    room = max(_LEAST_TITLE, columns() - _BESIDE_TITLE)
    return [step_line(step, title_width=min(widest, room)) for step in steps]


def _label(step: Document) -> str:
    return f"  {step['instance']}" if step.get("instance") else shown(step["title"])


def step_line(step: Document, *, title_width: int = _BESIDE_TITLE) -> str:
    """`✔ 1 Run tests            completed  0.3s`."""
    gate = step.get("approval")
    told = coloured(step["status"])
    if step.get("childRunId"):
        told += f"  as {step['childRunId']}" + (f" ({_standing(step)})" if step["childStatus"] else "")
    if step["duration"]:
        told += f"  {step['duration']}"
    elif step["status"] == "waiting" and step["wakeAt"]:
        told += dim(f"  until {local_time(step['wakeAt'])}")
    elif (check := step.get("verification")) is not None and check["outcome"] is None:
        why = "reported done" if check["ofReport"] else "it was interrupted"
        told += dim(f"  {why}, being verified since {clock_time(check['startedAt'])}")
    elif step.get("toVerify"):
        told += dim("  reported done, and that is still to be verified")
    elif step["status"] == "running":
        told += dim(f"  since {clock_time(step['startedAt'])}")
    if gate is not None and gate["status"] == "open":
        told += dim(f"  since {clock_time(gate['requestedAt'])}") + deadline(gate)
        told += f"  {votes(gate)} votes" if gate["votesNeeded"] > 1 else ""
    elif gate is not None and gate["decidedBy"] is not None and step["status"] != "pending":
        told += dim(f"  {gate['status'].replace('_', ' ')} by {shown(gate['decidedBy']['id'])}")
    elif step["requiresApproval"] and step["status"] == "pending":
        told += dim("  needs approval")
    error = f"\n       {click.style(shown(step['error']), fg='red')}" if step["error"] else ""
    # an instance stands below its step, under its own name
    number = "" if step.get("instance") else step["stepNumber"]
    title = pad(crop(_label(step), title_width), title_width)
    return f"  {status_mark(step['status'])} {number:>2} {title}  {told}{error}"


def _standing(step: Document) -> str:
    """How the run that carries the step out rests."""
    return "in the queue" if step["childStatus"] == "pending" else coloured(step["childStatus"])


def step_text(step: Document) -> str:
    """One step in full, as `sop status --step` shows it."""
    if step.get("instance"):
        lines = [f"  {bold(shown(step['title']))}: {assigned('item', step['item'])}", step_line(step), ""]
    else:
        lines = [step_line(step), ""]
    if step["description"]:
        lines += [framed(visible(step["description"]), by=2), ""]
    if step["script"] is not None:
        lines += [dim(f"{step['interpreter']}:"), framed(visible_code(step["script"].rstrip("\n")), by=2), ""]
    if (agent := step.get("agent")) and step.get("command"):
        lines += [f"{agent_words(agent, step['command'])}", ""]
    if step["comment"]:
        lines.append(f"comment: {shown(step['comment'])}")
    lines += [f"output {assigned(name, value)}" for name, value in step["outputs"].items()]
    lines += _verification(step.get("verification"))
    lines += [f"evidence {shown(each['name'])}, SHA-256 {each['sha256']}" for each in step["evidence"]]
    if step["output"]:
        lines += [dim("printed:"), framed(tame(step["output"].rstrip("\n")), by=2)]
    return "\n".join(lines).rstrip()


def _verification(check: Document | None) -> list[str]:
    """What was run to find out whether the step is done, and what came of it."""
    if check is None:
        return []
    lines = [dim("verified with:"), framed(visible_code(check["command"].rstrip("\n")), by=2)]
    if check["outcome"] is None:
        return [*lines, dim(f"  runs since {clock_time(check['startedAt'])}")]
    exits = "no exit code" if check["exitCode"] is None else f"exit code {check['exitCode']}"
    lines.append(f"  {exits}: {check['outcome'].replace('_', ' ')}")
    if check["output"]:
        lines += [dim("  it printed:"), framed(tame(check["output"].rstrip("\n")), by=2)]
    return lines


def procedure_text(sop: Document) -> str:
    """A procedure as `sop show` shows it."""
    lines = [f"{bold(shown(sop['title']))}  {sop['name']}  version {shown(sop['version'])}"]
    if sop["description"]:
        lines.append(framed(visible(sop["description"]), by=2))
    mode = sop["executionMode"]
    mode += f" ({sop['effectiveMode']})" if sop["effectiveMode"] != mode else ""
    limits = [f"priority {sop['priority']}", mode]
    limits += [f"cooldown {sop['cooldownSecs']} s"] if sop["cooldownSecs"] else []
    limits += [f"at most {sop['maxConcurrent']} at once"] if sop["maxConcurrent"] else []
    limits += [f"one at a time in {code(sop['concurrencyGroup'])}"] if sop["concurrencyGroup"] else []
    limits += [f"{duration(sop['timeoutSecs'])} in all"] if sop["timeoutSecs"] else []
    limits += [f"started by {shown(', '.join(sop['runners']))}"] if sop["runners"] else []
    lines.append(dim("  " + ", ".join(limits)))
    if sop["approval"]:
        lines.append(dim("  approvals: " + ", ".join(_rules(sop["approval"]))))
    for parameter in sop["params"]:
        default = visible_value(parameter["default"]) if "default" in parameter else "none"
        needed = "required" if parameter.get("required") else f"default {default}"
        about = shown(parameter.get("description", ""))
        lines.append(f"  --param {parameter['name']}=…  {dim(parameter['type'] + ', ' + needed)}  {about}")
    lines += [f"  {line}" for line in agent_lines(sop["agents"])]
    for step in sop["steps"]:
        lines += ["", defined_step(step)]
    return "\n".join(lines)


def agent_lines(agents: Document) -> list[str]:
    """What each agent runs, and its variables beyond those of its steps."""
    return [
        line
        for name, agent in agents.items()
        for line in (
            agent_words(name, agent["command"]),
            *(dim(f"  {told}") for told in surroundings(None, agent["env"])),
        )
    ]


def agent_words(name: str, command: Sequence[str]) -> str:
    """`agent default: claude -p`, each word as a shell would have to be given it."""
    import shlex

    return f"{dim(f'agent {name}:')} {code(shlex.join(command))}"


def duration(seconds: float) -> str:
    """`1h 30m`."""
    return duration_text(round(seconds * 1000))


def group_words(document: Document) -> str:
    """The concurrency group of a run that is, or would be, made."""
    return f"one at a time in the group {code(document['concurrencyGroup'])}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; styled cells count by what is seen."""
    widths = [max(terminal.seen_width(row[i]) for row in (headings, *rows)) for i in range(len(headings))]
    lines = [dim("  ".join(pad(h, w) for h, w in zip(headings, widths, strict=True)).rstrip())]
    lines += ["  ".join(pad(cell, w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def indented(text: str, by: int = 4) -> str:
    return "\n".join(" " * by + line for line in text.split("\n"))


def framed(text: str, by: int = 4) -> str:
    """A block of lines that others wrote, each with a mark in the margin: none can pose as a line around the block."""
    margin = " " * by + dim(terminal.mark("│")) + " "
    return "\n".join(margin + line for line in text.split("\n"))


def local_time(timestamp: str | None) -> str:
    """The record's UTC in the reader's own time zone, to the second."""
    if timestamp is None:
        return ""
    return datetime.fromisoformat(timestamp).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_time(timestamp: str | None) -> str:
    """The time of day alone."""
    return local_time(timestamp)[11:]


_PAUSING = "pauseRequested"


def _flags(run: Document) -> str:
    told = {
        "failing": "failing, running steps end first",
        "stopRequested": "being stopped",
        _PAUSING: "pausing after this step",
        "cancelRequested": "being cancelled",
        "nothingRan": "every step was skipped",
        "withFailures": "with failures",
        "overdue": "overdue",
    }
    words = [text for key, text in told.items() if run.get(key) and not (key == _PAUSING and run.get("stopRequested"))]
    if run.get("undriven"):
        words.append("nobody drives it")
    driver = run.get("drivenBy")
    if driver and driver.get("until"):
        words.append(driver_elsewhere(driver))
    return f"  ({'; '.join(words)})" if words else ""


def driver_elsewhere(driver: Document) -> str:
    """A driver whose life nobody here can see, and until when it counts as one."""
    return f"driven by process {driver['pid']} on {shown(driver['host'])}, until {clock_time(driver['until'])}"


def deadline(gate: Document) -> str:
    """What happens to a gate if nobody answers, and when; empty where it waits for ever."""
    if gate.get("dueAt") is None:
        return ""
    return click.style(f"  {gate['onTimeout']} at {local_time(gate['dueAt'])} if nobody answers", fg="yellow")


def votes(gate: Document) -> str:
    """`1 of 2`."""
    return f"{len(gate['votes'])} of {gate['votesNeeded']}"


def gate_terms(terms: Document) -> str:
    rules = "".join(f", {each}" for each in _rules(terms))
    if terms["approvalTimeoutMins"] is None:
        return f"{rules}, waits for ever"
    return f"{rules}, {terms['onTimeout']} after {terms['approvalTimeoutMins']} min without an answer"


def _rules(rules: Document) -> list[str]:
    """Who must agree and when they are asked, as far as the rules say so."""
    told = [f"by {shown(', '.join(rules['approvers']))}"] if rules.get("approvers") else []
    told += [f"{rules['quorum']} votes"] if rules.get("quorum") else []
    told += ["with a comment"] if rules.get("commentRequired") else []
    told += [f"form: {shown(', '.join(field['name'] for field in rules['form']))}"] if rules.get("form") else []
    return [*told, *([f"only if {code(rules['when'])}"] if rules.get("when") else [])]


def defined_step(step: Document, *, with_gate: bool = True, notes: Sequence[str] = ()) -> str:
    """A step as the files define it: title, prose, notes, where and with which variables it runs, script."""
    gated = ""
    if with_gate and step["requiresApproval"]:
        minutes = step["approvalTimeoutMins"]
        rules = step["approval"] or {}
        told = _rules(rules) + ([f"{rules.get('onTimeout', 'approve')} after {minutes} min"] if minutes else [])
        gated = click.style("  approval required", fg="yellow") + (f" ({', '.join(told)})" if told else "")
    kind = f"agent {step['agent']}" if step["agent"] else step["interpreter"] or step["executor"]
    lines = [f"  {step['number']:>2} {bold(shown(step['title']))}  {dim(kind)}{gated}"]
    if step["description"]:
        lines.append(framed(visible(step["description"]), by=5))
    if step["forEach"] is not None:
        most = f", {step['maxParallel']} at once" if step["maxParallel"] else ""
        items = step["forEach"] if isinstance(step["forEach"], str) else ", ".join(map(str, step["forEach"]))
        lines.append(dim(f"     for each of {code(items)}{most}"))
    if step["uses"] is not None:
        given = ", ".join(f"{name} = {code(str(value))}" for name, value in step["with"].items())
        lines.append(dim(f"     runs the procedure {step['uses']}" + (f" with {given}" if given else "")))
    lines += [f"     {note}" for note in notes]
    lines += [dim(f"     {line}") for line in surroundings(step["workingDir"], step["env"])]
    lines += [dim(f"     pinned {code(name)}") for name in step["pins"]]
    if step["script"] is not None:
        lines.append(framed(visible_code(step["script"].rstrip("\n")), by=7))
    if step["onFailure"] == "rollback":
        lines.append(dim("     on failure: rolls back the completed steps that have a rollback script"))
    if step["onReject"] != "pause":
        lines.append(dim(f"     on rejection: {_on_reject(step['onReject'])}"))
    policy, _, command = step["onInterrupt"].partition(":")
    lines += on_interrupt(policy, command, by=5)
    lines += verify(step["verify"], by=5)
    if step["rollback"] is not None:
        asks = click.style("  approval required", fg="yellow") if step["rollback"]["requiresApproval"] else ""
        lines.append(dim(f"     rollback, {step['rollback']['interpreter']}:") + asks)
        lines.append(framed(visible_code(step["rollback"]["script"].rstrip("\n")), by=7))
    return "\n".join(lines)


def on_interrupt(policy: str, command: str, *, by: int) -> list[str]:
    """What is done where nobody can know how a step ended; nothing where a person is asked, as ever."""
    margin = " " * by
    match policy:
        case "ask":
            return []
        case "verify":
            return [dim(f"{margin}if interrupted, bash verifies:"), framed(visible_code(command), by=by + 2)]
        case _:
            told = "it is run again" if policy == "rerun" else "it fails, and is not run again"
            return [dim(f"{margin}if interrupted: {told}")]


def verify(script: str | None, *, by: int, program: str = "bash") -> list[str]:
    """What must say so too before a report is believed."""
    if not script:
        return []
    told = dim(f"{' ' * by}a report that it is done is believed if {program} says so too, by exit code 0:")
    return [told, framed(visible_code(script.rstrip("\n")), by=by + 2)]


def _on_reject(said: str) -> str:
    target = said.partition(":")[2]
    return f"goes on at step {target}" if target else "the run fails"


def surroundings(working_dir: str | None, env: Document) -> list[str]:
    """`in DIR`, `passes A, B` and `sets K = V`, as far as a procedure or a step says so."""
    lines = [f"in {code(working_dir)}"] if working_dir else []
    if env["pass"]:
        lines.append(f"passes {', '.join(code(name) for name in env['pass'])}")
    return lines + [f"sets {assigned(name, value, only_text=True)}" for name, value in env["set"].items()]


def assigned(name: str, value: object, *, only_text: bool = False) -> str:
    """`name = value` in one line, as an approver may trust it."""
    return f"{code(name)} = {visible_value(value, only_text=only_text)}"


def code(text: str) -> str:
    """A name, path or expression in one line, as an approver may trust it."""
    return in_one_line(visible_code(text))
