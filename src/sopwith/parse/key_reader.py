"""Reads the key lines of a part of SOP.md into the manifest's keys, and reports the ones that would not count.

The rule behind every choice here: a gate that somebody wrote down is never lost without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sopwith.parse import values
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.keys import (
    DESIGNED_KEYS,
    DOCUMENT_KEYS,
    STEP_KEYS,
    Key,
    KeyLine,
    gate_name,
    is_gate,
    misspelt_gate,
    read_key_line,
)
from sopwith.parse.markdown import Block, Kind
from sopwith.parse.mentions import Mention, gate_in, mode_in, without_comments
from sopwith.parse.parameters import read_parameter
from sopwith.parse.strict_json import Path
from sopwith.parse.values import Unreadable

_MAX_UNKNOWN = 100
_EXAMPLES = {
    "Approval Required": "Yes",
    "Approval Timeout": "10 minutes",
    "Approvers": "group:release",
    "Quorum": "2",
    "On Timeout": "pause",
    "On Reject": "fail",
    "Escalate To": "group:oncall",
    "Comment Required": "Yes",
}
_STEERING = frozenset({"parameters", "env"})
"""Keys besides gates that change what a run may be given: lost, they would be missed only when it runs."""


class MarkdownPlaces:
    """Where the values of an SOP.md stand. `titles` names the steps, for problems to be told by."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[Path, tuple[int, str]] = {}
        self.titles: list[str] = []

    def put(self, path: Path, line: int, subject: str = "") -> None:
        """The value at `path` stands in `line` (from 1), as the key line `subject`."""
        self._lines[path] = (line, subject)

    def at(self, path: Path) -> Place:
        """The place of the value at `path`, or of what surrounds it."""
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        line, subject = self._lines.get(known, (1, ""))
        return self.at_line(line, path, subject)

    at_key = at

    def at_line(self, line: int, path: Path = (), subject: str = "") -> Place:
        """A line of the file, in the part that `path` leads to."""
        index = path[1] if len(path) > 1 and path[0] == "steps" else None
        title = self.titles[index] if isinstance(index, int) and index < len(self.titles) else ""
        return Place(file=self._file, line=line, path=title, subject=subject)


class KeyReader:
    """Reads parts of one document; `never_times_out` collects the indexes of steps whose gate waits for ever."""

    def __init__(self, places: MarkdownPlaces, findings: Findings) -> None:
        self._places = places
        self._findings = findings
        self._unknown = 0
        self.never_times_out: set[int] = set()

    def read(self, blocks: Iterable[Block], table: Mapping[str, Key], path: Path) -> tuple[dict[str, Any], set[int]]:
        """The manifest's keys that the blocks state, and the numbers (from 1) of the lines that state them."""
        stated: dict[str, Any] = {}
        first: dict[str, KeyLine] = {}
        lines: set[int] = set()
        blocks = list(blocks)
        for index, block in enumerate(blocks):
            for line in _key_lines(block):
                key = table.get(line.known_as)
                if key is None:
                    self._not_taken(line, table, path)
                    continue
                lines.add(line.line)
                if key.manifest_key in first:
                    self._twice(key, first[key.manifest_key], line, path)
                    continue
                first[key.manifest_key] = line
                self._places.put((*path, *key.path), line.line, key.name)
                if key.manifest_key == "params":
                    stated["params"] = self._parameters(line, block, blocks[index + 1 :])
                else:
                    self._take(key, line, path, stated)
            self._report_hidden(block, path)
        return stated, lines

    def refuse(self, blocks: Iterable[Block]) -> None:
        """Reports keys in parts of the document where none counts."""
        for block in blocks:
            for line in _key_lines(block):
                if is_gate(line.known_as) or line.known_as in STEP_KEYS or line.known_as in DOCUMENT_KEYS:
                    self._misplaced(line, ())
            self._report_hidden(block, (), counts=False)

    def refuse_in_rollback(self, blocks: Iterable[Block], path: Path) -> None:
        """Reports keys under `#### Rollback`: whether they speak of the step or of its rollback, nobody can know."""
        for block in blocks:
            for line in _key_lines(block):
                if is_gate(line.known_as) or line.known_as in STEP_KEYS:
                    self._findings.error(
                        "misplaced_key",
                        f"expected `{line.name}` above `#### Rollback`, got it below, where it does not count",
                        at=self._places.at_line(line.line, path),
                        hint="move it up; that a rollback needs approval is said in the manifest: "
                        '"rollback": {"requiresApproval": true}',
                    )
            self._report_hidden(block, path, counts=False)

    def _take(self, key: Key, line: KeyLine, path: Path, stated: dict[str, Any]) -> None:
        at = self._places.at((*path, *key.path))
        *outer, last = key.path
        try:
            value = key.read(line.value)
            for name in outer:
                stated = stated.setdefault(name, {})
            stated[last] = value
        except Unreadable as reason:
            if key.manifest_key == "requiresApproval":
                stated[key.manifest_key] = True
                self._caution("unreadable_approval", reason, at, "the step is gated")
            elif key.manifest_key == "approvalTimeoutMins":
                self.never_times_out.update(part for part in path if isinstance(part, int))
                if line.value.lower() not in values.NOTHING | {"no timeout"}:
                    self._caution("unreadable_timeout", reason, at, "the gate never approves itself")
            else:
                self._findings.unexpected(
                    "bad_value", expected=reason.expected, got=reason.got, at=at, hint=f"write {reason.expected}"
                )

    def _caution(self, code: str, reason: Unreadable, at: Place, so: str) -> None:
        self._findings.warning(
            code,
            f"expected {reason.expected}, got {reason.got}: {so}",
            at=at,
            expected=reason.expected,
            got=reason.got,
            hint=f"write {reason.expected}",
        )

    def _twice(self, key: Key, first: KeyLine, second: KeyLine, path: Path) -> None:
        at = self._places.at_line(second.line, path, key.name)
        message = f"expected this key once, got it again; line {first.line} says {shown(first.value)}"
        if is_gate(first.known_as) and first.value != second.value:
            self._findings.error("duplicate_key", message, at=at, hint="keep the one that is meant")
        else:
            self._findings.warning("duplicate_key", f"{message}, which counts", at=at, hint="keep one of them")

    def _not_taken(self, line: KeyLine, table: Mapping[str, Key], path: Path) -> None:
        at = self._places.at_line(line.line, path)
        if line.known_as == "rollback":
            return self._findings.error(
                "rollback_as_key",
                "expected the rollback under a heading, got it as a key",
                at=at,
                hint="write `#### Rollback` in the step, and the script in a fence below it",
            )
        if line.known_as in DESIGNED_KEYS:
            return self._findings.not_supported(f"`{line.name}`", at=at)
        if line.known_as in STEP_KEYS or line.known_as in DOCUMENT_KEYS:
            return self._misplaced(line, path)
        self._unknown += 1
        if self._unknown > _MAX_UNKNOWN:
            if self._unknown == _MAX_UNKNOWN + 1:
                self._findings.error(
                    "too_many_unknown_keys",
                    f"expected at most {_MAX_UNKNOWN} unknown `**Key**:` lines, got more",
                    at=at,
                    hint="write prose without `**…**:` at the start of the line",
                )
            return None
        gate = misspelt_gate(line.known_as)
        if gate is not None:
            return self._findings.error(
                "misspelt_gate", f"expected a known key, got `{line.name}`", at=at, hint=f'did you mean "{gate}"?'
            )
        hint = self._findings.did_you_mean(line.known_as, table) or "if it is prose, all is well"
        return self._findings.warning("unknown_key", f"`{line.name}` is no key: it stays prose", at=at, hint=hint)

    def _misplaced(self, line: KeyLine, path: Path) -> None:
        if line.known_as == "description":
            return
        belongs = "in a step" if line.known_as in STEP_KEYS else "before the first `## ` heading"
        message = f"expected `{line.name}` {belongs}, got it here, where it does not count"
        matters = is_gate(line.known_as) or line.known_as in _STEERING
        tell = self._findings.error if matters else self._findings.warning
        tell("misplaced_key", message, at=self._places.at_line(line.line, path), hint=f"move it {belongs}")

    def _parameters(self, line: KeyLine, block: Block, following: list[Block]) -> list[dict[str, Any]]:
        if line.value.lower() in values.NOTHING:
            return []
        parameters: list[dict[str, Any]] = []
        items = 0
        for item in following:
            if item.list_depth <= block.list_depth:
                break
            # Only the line with the marker declares; what follows it in the item is prose.
            if item.kind is Kind.PARAGRAPH and item.first == item.item:
                items += 1
                self._parameter(item, parameters)
        if line.value or not items:
            self._findings.unexpected(
                "bad_value",
                expected="a list below it, `- name (required): text`",
                got=shown(line.value) if line.value else "none",
                at=self._places.at(("params",)),
                hint="write each parameter as an item of a list below, or `none`",
            )
        return parameters

    def _parameter(self, item: Block, parameters: list[dict[str, Any]]) -> None:
        path = ("params", len(parameters))
        self._places.put(path, item.line, "Parameters")
        try:
            parameters.append(read_parameter(item.text))
        except Unreadable as reason:
            at = self._places.at(path)
            self._findings.unexpected(
                "bad_value", expected=reason.expected, got=reason.got, at=at, hint=f"write {reason.expected}"
            )

    def report_heading(self, heading: Block, path: Path) -> None:
        """A gate in the heading of a step (`path` leads to it) or of a section, or a mode in the latter."""
        for number, line in enumerate(without_comments(heading.text).split("\n"), start=heading.line):
            found = gate_in(line.partition(":")[2] if path else line, heading=bool(path))
            if not path:
                found = found or mode_in(line)
            if found is not None:
                self._hidden(found, self._places.at_line(number, path), sure=found.key_like)

    def _report_hidden(self, block: Block, path: Path, *, counts: bool = True) -> None:
        """A gate or mode in a form that is no key line; `counts`: in a part where key lines would count."""
        if block.kind in (Kind.FENCE, Kind.RULE) or block.underlined:
            return
        taken = {line.line: line for line in _key_lines(block)}
        for number, line in enumerate(without_comments(block.text).split("\n"), start=block.line):
            found = _hidden_in(line, taken.get(number), number)
            if found is None or (not found.key_like and (block.quoted or not counts)):
                continue
            at = self._places.at_line(number, path)
            if block.quoted:
                self._findings.warning(
                    "hidden_key",
                    f"`{found.name}` in a quotation does not count",
                    at=at,
                    hint="if it is meant, take the `>` away",
                )
            else:
                in_wrong_part = not counts or (bool(path) and found.name == "Execution Mode")
                self._hidden(found, at, sure=found.key_like and not in_wrong_part)

    def _hidden(self, found: Mention, at: Place, *, sure: bool) -> None:
        example = "step_by_step" if found.name == "Execution Mode" else _EXAMPLES.get(found.name, "value")
        if sure:
            self._findings.error(
                "hidden_key",
                f"expected `**{found.name}**: {example}` on a line of its own, got a form that does not count",
                at=at,
                hint=f"write `**{found.name}**: {example}` on a line of its own: "
                "not in a heading, a table, a task, HTML or indented code",
            )
        else:
            what = "the mode" if found.name == "Execution Mode" else "a gate"
            self._findings.warning(
                "hidden_key",
                f"this names `{found.name}` and sets nothing",
                at=at,
                hint=f"if {what} is meant, write `**{found.name}**: {example}` on a line of its own",
            )


def _key_lines(block: Block) -> Iterator[KeyLine]:
    if block.kind is not Kind.PARAGRAPH or block.quoted or "**" not in block.text:
        return
    last = block.line + block.text.count("\n")
    for number, line in _visible_lines(block):
        found = read_key_line(line, number, last=number == last)
        if found is not None:
            yield found


def _visible_lines(block: Block) -> Iterator[tuple[int, str]]:
    """The block's lines and their numbers, without those that a comment inside a paragraph hides."""
    in_comment = False
    for number, line in enumerate(block.text.split("\n"), start=block.line):
        if not in_comment:
            yield number, line
        if block.kind is Kind.PARAGRAPH:
            in_comment = line.rfind("<!--") > line.rfind("-->") or (in_comment and "-->" not in line)


def _hidden_in(line: str, taken: KeyLine | None, number: int) -> Mention | None:
    """What the line names and no key line takes up; `taken` is the key line that it is."""
    if taken is not None:
        # Whatever stands after `**Approval Required**:` gates, unless it says No.
        gates = taken.known_as == "approval required"
        return (None if gates else gate_in(taken.value, whole=False)) or mode_in(taken.value)
    key_line = read_key_line(line.strip(), number, last=True) if "**" in line else None
    if key_line is not None and is_gate(key_line.known_as):
        return Mention(gate_name(key_line.known_as), True)
    return gate_in(line) or mode_in(line)
