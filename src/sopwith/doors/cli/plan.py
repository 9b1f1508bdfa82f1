"""A dry run as people read it: what would happen, in order, and which conditions nobody can know yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from sopwith.core.cel_messages import shown_name
from sopwith.core.instant import duration_text
from sopwith.doors.cli.terminal import shown
from sopwith.doors.cli.text import (
    agent_lines,
    assigned,
    bold,
    code,
    defined_step,
    dim,
    duration,
    gate_terms,
    group_words,
)

Document = dict[str, Any]


def plan_text(plan: Document) -> str:
    """The whole plan; a step that will be skipped is one line."""
    lines = [
        f"{bold(shown(plan['title']))}  {plan['sopName']}  dry run, {plan['executionMode']}: nothing was started",
    ]
    lines += [f"  {assigned(name, value)}" for name, value in plan["params"].items()]
    lines += [f"  {line}" for line in agent_lines(plan["agents"])]
    if plan["timeoutSecs"]:
        lines.append(dim(f"  at most {duration(plan['timeoutSecs'])} from its start"))
    if plan["concurrencyGroup"]:
        lines.append(dim(f"  {group_words(plan)}"))
    if plan["maxParallel"] is not None:
        lines.append(dim(f"  at most {_counted(plan['maxParallel'], 'script')} at once"))
    if plan["startApproval"] is not None:
        lines += ["", f"  {_asks()} approval before the start{gate_terms(plan['startApproval'])}"]
    for step in plan["steps"]:
        lines += ["", *_step(step)]
    return "\n".join(lines)


def _step(step: Document) -> Iterator[str]:
    if step["skipped"]:
        why = f"skipped: {code(step['condition']['expression'])} does not hold"
        yield f"  {dim('-')} {step['number']:>2} {bold(shown(step['title']))}  {dim(why)}"
        return
    if step["gate"] is not None:
        yield _gate(step)
    yield defined_step(step, with_gate=False, notes=tuple(_notes(step)))


def _gate(step: Document) -> str:
    """What is asked before the step. Without its own condition the rest is told as the files say it."""
    found = step["approvalCondition"]
    # the step's own condition is asked first
    perhaps = " if it runs" if step["condition"] and step["condition"]["result"] is None else ""
    asked = f"  {_asks()} approval of step {step['number']}{perhaps}{gate_terms(step['gate'])}"
    if found is None:
        return asked
    if found["result"] is False:
        return f"  {dim('-')} no approval of step {step['number']}: {code(found['expression'])} does not hold"
    return f"{asked}; {_foreseen(found, otherwise='it asks')}"


def _notes(step: Document) -> Iterator[str]:
    """When the step runs, how long, how often, and what its failure leads to."""
    number, before = step["number"], step["dependsOn"]
    if found := step["condition"]:
        yield f"if {code(found['expression'])}: {_foreseen(found, otherwise='the run pauses')}"
    if before and before != [number - 1]:
        yield dim(f"after {_steps(before)}")
    if not before and number > 1:
        yield dim("waits for no step before it")
    if step["waitSecs"] is not None:
        yield dim(f"waits {_seconds(step['waitSecs'])}")
    if step["waitUntil"] is not None:
        yield dim(f"waits until {code(step['waitUntil'])}")
    if step["timeoutSecs"] is not None:
        yield dim(f"fails where it is not done within {_seconds(step['timeoutSecs'])}")
    if step["retry"] is not None:
        yield dim(_retries(step["retry"]))
    if step["onFailure"] == "continue":
        yield dim("on failure: the run goes on")
    if step["onFailure"].startswith("goto:"):
        yield dim(f"on failure: goes on at step {step['onFailure'].removeprefix('goto:')}")


def _foreseen(found: Document, *, otherwise: str) -> str:
    """`holds`, or why nobody can know; `otherwise`: what comes of a condition that cannot be evaluated."""
    if found["result"] is not None:
        return click.style("holds", fg="green")
    if not found["needs"]:
        return click.style(f"cannot be evaluated, {shown(found['reason'])}: {otherwise}", fg="red")
    until = f"{_steps(found['after'])} {'has' if len(found['after']) == 1 else 'have'} run"
    until = until if found["after"] else "the run is made"
    names = ", ".join(code(shown_name(name)) for name in found["needs"])
    return click.style(f"not known before {until}", fg="yellow") + dim(f" ({names})")


def _retries(retry: Document) -> str:
    """`up to 2 more tries, 5s apart, each wait 2 times as long, 60s at most, only after exit code 1`."""
    told = [f"up to {_counted(retry['maxAttempts'] - 1, 'more try', 'more tries')}"]
    told.append(f"{_seconds(retry['delaySecs'])} apart" if retry["delaySecs"] else "at once")
    told += [f"each wait {retry['backoff']} times as long"] if retry["backoff"] != 1 else []
    told += [f"{_seconds(retry['maxDelaySecs'])} at most"] if retry["maxDelaySecs"] is not None else []
    codes = retry["onExitCodes"]
    told += [f"only after exit code {' or '.join(map(str, codes))}"] if codes else []
    return ", ".join(told)


def _steps(numbers: list[int]) -> str:
    return f"step{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _seconds(seconds: float) -> str:
    return duration_text(round(seconds * 1000))


def _asks() -> str:
    return click.style("?", fg="yellow")
