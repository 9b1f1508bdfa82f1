"""The key lines of SOP.md: how one is written, which keys there are, and which key of the manifest each one is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from sopwith.parse import values
from sopwith.parse.findings import nearest

_KEY_LINE = re.compile(r"[ \t]*\*\*([^*:]{1,60})(?:\*\*[ \t]*:|:[ \t]*\*\*)(.*)")
_LEAST_LIKENESS = 0.75
_LEAST_LIKENESS_OF_APPROVAL = 0.5


class Key(Struct, frozen=True):
    """A key: its name in SOP.md, its name in the manifest (`approval.quorum`), and the reader of its value."""

    name: str
    manifest_key: str
    read: Callable[[str], Any]

    @property
    def path(self) -> tuple[str, ...]:
        """Where its value stands in the manifest's object."""
        return tuple(self.manifest_key.split("."))


class KeyLine(Struct, frozen=True):
    """A key line as it stands in the file: the name as written, the raw value, the line counted from 1."""

    name: str
    value: str
    line: int

    @property
    def known_as(self) -> str:
        """The name as the tables have it: `approval-required` is `approval required`."""
        return " ".join(re.split(r"[\s_-]+", self.name.strip().casefold()))


def _table(*keys: Key) -> dict[str, Key]:
    return {key.name.casefold(): key for key in keys}


_APPROVAL_KEYS = (
    Key("Approvers", "approval.approvers", values.principals),
    Key("Quorum", "approval.quorum", values.integer),
    Key("On Timeout", "approval.onTimeout", values.word),
    Key("Escalate To", "approval.escalateTo", values.principals),
    Key("Comment Required", "approval.commentRequired", values.yes_or_no),
)
"""What SOP.md can say of an `approval` object; the rest takes a manifest."""

DOCUMENT_KEYS = _table(
    Key("Version", "version", values.text),
    Key("Description", "description", values.text),
    Key("Priority", "priority", values.word),
    Key("Execution Mode", "executionMode", values.word),
    Key("Cooldown", "cooldownSecs", values.cooldown_secs),
    Key("Max Concurrent", "maxConcurrent", values.integer),
    Key("Concurrency Group", "concurrencyGroup", values.text),
    Key("Triggers", "triggers", values.triggers),
    Key("Runners", "runners", values.principals),
    *_APPROVAL_KEYS,
    Key("Parameters", "params", values.items),
    Key("Env", "env", values.environment),
    Key("Working Dir", "workingDir", values.text),
    Key("Timeout", "timeoutSecs", values.seconds),
    Key("Max Parallel", "maxParallel", values.integer),
    Key("On Failure", "onFailure", values.on_failure),
    Key("On Reject", "onReject", values.on_failure),
)

STEP_KEYS = _table(
    Key("Approval Required", "requiresApproval", values.yes_or_no),
    Key("Approval Timeout", "approvalTimeoutMins", values.minutes),
    *_APPROVAL_KEYS,
    Key("Pins", "pins", values.items),
    Key("Depends On", "dependsOn", values.dependencies),
    Key("If", "if", values.text),
    Key("For Each", "forEach", values.for_each),
    Key("Max Parallel", "maxParallel", values.integer),
    Key("Timeout", "timeoutSecs", values.seconds),
    Key("Retries", "retry", values.retries),
    Key("On Failure", "onFailure", values.on_failure),
    Key("Uses", "uses", values.text),
    Key("With", "with", values.handed_over),
    Key("On Reject", "onReject", values.on_failure),
    Key("On Interrupt", "onInterrupt", values.on_interrupt),
    Key("Verify", "verify", values.text),
    Key("Wait", "waitSecs", values.seconds),
    Key("Wait Until", "waitUntil", values.text),
    Key("Outputs", "outputs", values.outputs),
    Key("Tools", "suggestedTools", values.items),
    Key("Executor", "executor", values.word),
    Key("Agent", "agent", values.text),
    Key("Env", "env", values.environment),
    Key("Working Dir", "workingDir", values.text),
    Key("Key", "key", values.text),
)

DESIGNED_KEYS = frozenset(
    {
        "runners",
    }
)

GATE_KEYS = (
    "Approval Required",
    "Approval Timeout",
    *(key.name for key in _APPROVAL_KEYS),
    "On Reject",
    "Execution Mode",
    "Pins",
    "Runners",
)
"""Keys that decide who is asked, when and about what: never passed over in silence."""
_GATES = {name.casefold(): name for name in GATE_KEYS}


def read_key_line(line: str, number: int, *, last: bool) -> KeyLine | None:
    """The key line that `line` is, or None. `last`: the last line of its paragraph, where no hard break can be."""
    found = _KEY_LINE.fullmatch(line)
    if found is None:
        return None
    value = found[2].strip()
    if not last and value.endswith("\\"):
        value = value[:-1].rstrip()
    return KeyLine(found[1].strip(), values.unwrapped(value), number)


def misspelt_gate(known_as: str) -> str | None:
    """The gate key that an unknown key was meant to be, or None. Errs on the side of asking."""
    cutoff = _LEAST_LIKENESS_OF_APPROVAL if "approv" in known_as else _LEAST_LIKENESS
    # Sorted words, so that "Requires Approval" is near "Approval Required".
    guess = nearest(known_as, _GATES, cutoff=cutoff) or nearest(
        " ".join(sorted(known_as.split())), _GATES, cutoff=cutoff
    )
    return _GATES[guess] if guess else None


def is_gate(known_as: str) -> bool:
    """Whether the key is one of GATE_KEYS."""
    return known_as in _GATES


def gate_name(known_as: str) -> str:
    """The name of a gate key as GATE_KEYS has it."""
    return _GATES[known_as]
