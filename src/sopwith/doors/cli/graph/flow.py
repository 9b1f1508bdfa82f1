"""What a picture of a procedure shows: its steps with their gates, and what follows what. No geometry.

All words are as an approver may trust them (`visible`), on one line each; a picture escapes them for its own format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from sopwith.core.agents import agent_of
from sopwith.core.approval import NO_RULES, ApprovalRules
from sopwith.core.config import Config
from sopwith.core.events import Policy
from sopwith.core.gates import Terms, needs_gate, needs_start_gate, start_terms, step_terms
from sopwith.core.instant import duration_text
from sopwith.core.modes import declared_mode, effective_mode
from sopwith.core.procedure import OnFailure, OnReject, Procedure, RetryRules, Step
from sopwith.core.visible import visible, visible_code
from sopwith.engine.creation import policy_of

START = 0
"""The key of the start approval; every other key is the number of a step."""


class Kind(StrEnum):
    START = "start"
    SCRIPT = "script"
    MANUAL = "manual"
    WAIT = "wait"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A step, or the start approval. `gate` is what is asked before it, empty where nothing is."""

    key: int
    title: str
    kind: Kind
    how: str = ""
    """What carries it out: `bash`, `by hand`, `waits 5m 0s`."""
    gate: str = ""
    notes: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        return self.title if self.kind is Kind.START else f"{self.key} {self.title}"


class Edge(msgspec.Struct, frozen=True):
    """`target` comes after `source`; `on_failure`: only where the source fails, or is rejected."""

    source: int
    target: int
    on_failure: bool = False


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A procedure as nodes and edges without a circle; nodes stand in the order of their numbers."""

    name: str
    title: str
    mode: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def node(self, key: int) -> Node:
        """Raises KeyError."""
        for node in self.nodes:
            if node.key == key:
                return node
        raise KeyError(key)


def flow_of(procedure: Procedure, config: Config) -> Flow:
    """The flow of a procedure without errors, as a run without `--mode` would take it."""
    mode = effective_mode(declared_mode(procedure, config), procedure.priority, config)
    policy = policy_of(config)
    nodes = [
        _node(procedure, step, policy, gated=needs_gate(mode, step), always=not step.requires_approval)
        for step in procedure.steps
    ]
    edges = [*_follows(procedure), *_failures(procedure)]
    if needs_start_gate(mode):
        nodes.insert(0, _start(procedure, policy))
        edges[:0] = [Edge(START, step.number) for step in procedure.steps if not step.depends_on]
    return Flow(
        name=procedure.name,
        title=_line(procedure.title),
        mode=mode,
        nodes=tuple(nodes),
        edges=tuple(edges),
    )


def reduced(needed: Mapping[int, Iterable[int]]) -> dict[int, tuple[int, ...]]:
    """The same dependencies without those that others imply. Raises KeyError for unknown ones; no circles, please."""
    above: dict[int, int] = {}
    """Everything at or above a step, as bits."""
    kept = {}
    for number in in_order(needed):
        direct = sorted(set(needed[number]))
        kept[number] = tuple(
            other for other in direct if not any(above[via] >> other & 1 for via in direct if via != other)
        )
        above[number] = 1 << number
        for other in direct:
            above[number] |= above[other]
    return kept


def in_order(needed: Mapping[int, Iterable[int]]) -> list[int]:
    """All steps, each after those that it needs, otherwise as they are given."""
    done: dict[int, None] = {}
    for first in needed:
        waiting = [first]
        while waiting:
            missing = [other for other in needed[waiting[-1]] if other not in done]
            if missing:
                waiting.append(missing[0])
            else:
                done[waiting.pop()] = None
    return list(done)


def _follows(procedure: Procedure) -> list[Edge]:
    needed = reduced({step.number: step.depends_on for step in procedure.steps})
    return [Edge(other, step.number) for step in procedure.steps for other in needed[step.number]]


def _failures(procedure: Procedure) -> list[Edge]:
    led = ((step.number, target) for step in procedure.steps for target in dict.fromkeys((step.goto, step.reject_goto)))
    return [Edge(number, target, True) for number, target in led if target is not None]


def _start(procedure: Procedure, policy: Policy) -> Node:
    asked = _asked(procedure.approval or NO_RULES, start_terms(procedure, policy), always=True)
    return Node(key=START, title="start", kind=Kind.START, gate=asked)


def _node(procedure: Procedure, step: Step, policy: Policy, *, gated: bool, always: bool) -> Node:
    rules = step.approval or procedure.approval or NO_RULES
    return Node(
        key=step.number,
        title=_line(step.title),
        kind=_kind(step),
        how=_how(step),
        gate=_asked(rules, step_terms(procedure, step, policy), always=always) if gated else "",
        notes=tuple(_notes(step)),
    )


def _asked(rules: ApprovalRules, terms: Terms, *, always: bool) -> str:
    """`approval: 2 votes of group:release; approve after 30 min`."""
    told = [f"{rules.votes_needed} votes"] if rules.votes_needed > 1 else []
    told += [_line(", ".join(rules.approvers))] if rules.approvers else []
    words = "approval" + (f": {' of '.join(told)}" if told else "")
    if rules.when and not always:
        words += f", only if {_line(visible_code(rules.when), safe=True)}"
    if terms.timeout_mins is not None:
        words += f"; {terms.action} after {terms.timeout_mins} min"
    return words


def _kind(step: Step) -> Kind:
    if step.wait_secs is not None or step.wait_until is not None:
        return Kind.WAIT
    return Kind.MANUAL if step.script is None and agent_of(step) is None else Kind.SCRIPT


def _how(step: Step) -> str:
    if step.wait_until is not None:
        return f"waits until {_line(step.wait_until)}"
    if step.wait_secs is not None:
        return f"waits {duration_text(round(step.wait_secs * 1000))}"
    if step.uses is not None:
        return f"procedure {step.uses}"
    if (agent := agent_of(step)) is not None:
        return f"agent {agent}"
    return "by hand" if step.script is None else _line(step.script.interpreter)


def _notes(step: Step) -> Iterable[str]:
    if step.condition is not None:
        yield f"if {_line(visible_code(step.condition), safe=True)}"
    if step.for_each is not None:
        yield _items(step)
    if step.retry is not None:
        yield _retries(step.retry)
    if step.on_failure not in (OnFailure.STOP, OnFailure.GOTO):
        yield f"on failure: {step.on_failure}"
    if step.on_reject is not OnReject.PAUSE:
        yield f"on rejection: {step.on_reject if step.reject_goto is None else f'go to {step.reject_goto}'}"


def _items(step: Step) -> str:
    assert step.for_each is not None
    listed = step.for_each if isinstance(step.for_each, str) else ", ".join(str(item) for item in step.for_each)
    most = f", {step.max_parallel} at once" if step.max_parallel is not None else ""
    return f"for each of {_line(visible_code(listed), safe=True)}{most}"


def _retries(rules: RetryRules) -> str:
    more = rules.max_attempts - 1
    codes = f" on exit {', '.join(str(code) for code in rules.on_exit_codes)}" if rules.on_exit_codes else ""
    return f"{more} {'retry' if more == 1 else 'retries'}{codes}"


def _line(text: str, *, safe: bool = False) -> str:
    """One trustworthy line; `safe`: the text has been made trustworthy, and only lacks being one line."""
    return " ".join((text if safe else visible(text)).split("\n"))
