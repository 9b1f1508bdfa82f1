"""SOP.md -> a sheet: its parts, key lines and fences, in the manifest's own model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from msgspec import Struct

from sopwith.core.procedure import Script
from sopwith.parse.findings import Findings, Place
from sopwith.parse.key_reader import KeyReader, MarkdownPlaces
from sopwith.parse.keys import DOCUMENT_KEYS, STEP_KEYS
from sopwith.parse.manifest import bash_script
from sopwith.parse.markdown import Block, Kind, TooComplex, read_blocks
from sopwith.parse.model import ManifestFile
from sopwith.parse.outline import Outline, StepOutline, read_outline
from sopwith.parse.scripts import INTERPRETERS, check_script
from sopwith.parse.shape import read_shape
from sopwith.parse.sheet import Sheet, script_path
from sopwith.parse.source import SourceFile, read_text


def read_sop_md(source: SourceFile, findings: Findings) -> Sheet | None:
    """What SOP.md says; None, and errors in `findings`, if it cannot be read."""
    text = read_text(source, findings)
    if text is None:
        return None
    places = MarkdownPlaces(source.path)
    try:
        blocks = read_blocks(text)
    except TooComplex as reason:
        findings.error(
            "too_complex",
            reason.message,
            at=places.at_line(reason.line),
            hint="split the document, or make its lists, quotations and HTML simpler",
        )
        return None
    lines = text.split("\n")
    _check_closed(blocks, places, findings)
    blocks = blocks[_front_matter(lines, blocks, places, findings) :]
    outline = read_outline(source.path, blocks, len(lines), findings)
    return _SheetReader(lines, outline, places, findings).read()


_MAX_FRONT_MATTER = 500
_STEERING_KEYS = frozenset(
    {"approval", "approvalrequired", "approvaltimeout", "approvaltimeoutmins", "pins", "requiresapproval", "steps"}
    | {key.manifest_key.lower() for key in DOCUMENT_KEYS.values()} - {"version", "description"}
    | {name.replace(" ", "") for name in DOCUMENT_KEYS} - {"version", "description"}
)
"""Keys of front matter, folded, that would be missed: all but those that only describe."""


_ROLLBACK_LIKE = re.compile(r"roll(ing)?[ -]?back", re.IGNORECASE)


class _StepRead(Struct, frozen=True):
    said: dict[str, Any]
    script: Script | None
    rollback: Script | None
    verification: Script | None


class _SheetReader:
    def __init__(self, lines: list[str], outline: Outline, places: MarkdownPlaces, findings: Findings) -> None:
        self._lines = lines
        self._outline = outline
        self._places = places
        self._findings = findings
        self._keys = KeyReader(places, findings)

    def read(self) -> Sheet | None:
        outline = self._outline
        said, _ = self._keys.read(outline.preamble, DOCUMENT_KEYS, ())
        if outline.title is not None:
            said["title"] = outline.title.text.strip()
            self._places.put(("title",), outline.title.line)
            self._keys.report_heading(outline.title, ())
        steps = [self._step(index, step) for index, step in enumerate(outline.steps)]
        self._keys.refuse(outline.strays)
        self._keys.refuse(outline.elsewhere)
        for heading in outline.sections:
            self._keys.report_heading(heading, ())
        self._report_strays()
        said["steps"] = [step.said for step in steps]
        model = read_shape(said, ManifestFile, self._places, self._findings)
        if model is None:
            return None
        return Sheet(
            said=model,
            places=self._places,
            scripts=tuple(step.script for step in steps),
            rollbacks=tuple(step.rollback for step in steps),
            verifications=tuple(step.verification for step in steps),
            never_times_out=frozenset(self._keys.never_times_out),
            overview=_text(self._lines[slice(*outline.overview)]),
        )

    def _step(self, index: int, step: StepOutline) -> _StepRead:
        path = ("steps", index)
        self._places.titles.append(f"Step {step.number}: {step.title}")
        self._places.put(path, step.heading.line)
        self._keys.report_heading(step.heading, path)
        blocks, undoing = self._without_rollback(step.blocks, index)
        said, key_lines = self._keys.read(blocks, STEP_KEYS, path)
        self._keys.refuse_in_rollback(undoing, path)
        fences = [block for block in blocks if self._is_runnable(block)]
        undo_fences = [block for block in undoing if self._is_runnable(block)]
        checks = [block for block in blocks if _is_verification(block)]
        self._refuse_checks(checks if "verify" in said else [], index, "as a key too", "keep one of them")
        astray = [block for block in undoing if _is_verification(block)]
        self._refuse_checks(astray, index, "below `#### Rollback`", "move it above: only reports are verified")
        for block in step.blocks:
            self._refuse_unbuilt(block, index)
        if undoing and not undo_fences:
            self._bad_rollback(undoing[0], index, "expected a fence with the rollback script below it, got none")
        # a heading with nothing but scripts below it is no prose
        scripts_only = all(block in undo_fences or block.kind is Kind.RULE for block in undoing[1:])
        taken = [*fences, *checks, *undo_fences, *(undoing[:1] if scripts_only else [])]
        body = _text(self._prose(step, taken, key_lines))
        return _StepRead(
            {"number": _number(step.number), "title": step.title, "description": body, **said},
            self._script(fences, index),
            self._script(undo_fences, index, key="rollback"),
            bash_script(said.get("verify")) or self._script(checks, index, key="verify"),
        )

    def _refuse_checks(self, checks: list[Block], index: int, where: str, hint: str) -> None:
        for block in checks:
            self._findings.error(
                "bad_verify",
                f"expected one `verify`, above any rollback, got a fence {where}",
                at=self._places.at_line(block.line, ("steps", index)),
                hint=hint,
            )

    def _without_rollback(self, blocks: tuple[Block, ...], index: int) -> tuple[list[Block], list[Block]]:
        """The blocks of the step itself, and those of its rollback with the heading, which the next heading ends."""
        own: list[Block] = []
        undoing: list[Block] = []
        inside = False
        doubtful: Block | None = None
        for block in blocks:
            if block.kind is Kind.HEADING and not block.quoted:
                is_proper = _is_rollback(block) and block.level == 4 and not block.list_depth and not block.underlined
                if is_proper and undoing:
                    self._bad_rollback(block, index, "expected one rollback in a step, got another")
                doubtful = block if not is_proper and _ROLLBACK_LIKE.search(block.text) else None
                inside = is_proper or (inside and block.level > 4)
            elif doubtful is not None and self._is_runnable(block):
                # what it undoes would run as part of the step
                self._bad_rollback(doubtful, index, f"expected `#### Rollback`, got `{doubtful.text.strip()[:60]}`")
                doubtful = None
            (undoing if inside else own).append(block)
        return own, undoing

    def _bad_rollback(self, heading: Block, index: int, message: str) -> None:
        self._findings.error(
            "bad_rollback",
            message,
            at=self._places.at_line(heading.line, ("steps", index)),
            hint="write `#### Rollback` once in the step, and the script in a `bash` fence below it",
        )

    def _script(self, fences: list[Block], index: int, *, key: str = "run") -> Script | None:
        if not fences:
            return None
        first = fences[0]
        self._places.put(script_path(index, key), first.line)
        for fence in fences:
            if _interpreter(fence) != _interpreter(first):
                self._findings.error(
                    "mixed_interpreters",
                    f"expected one interpreter in a step, got {_interpreter(first)} and {_interpreter(fence)}",
                    at=self._places.at_line(fence.line, ("steps", index)),
                    hint="make two steps of it",
                )
            at = partial(self._at_line_after, fence, index)
            check_script(fence.text, at, self._findings, interpreter=_interpreter(fence))
        text = "\n".join(fence.text.removesuffix("\n") for fence in fences)
        return Script(interpreter=_interpreter(first), text=text + "\n")

    def _at_line_after(self, fence: Block, index: int, line: int) -> Place:
        return self._places.at_line(fence.line + 1 + line, ("steps", index))

    def _refuse_unbuilt(self, block: Block, index: int) -> None:
        at = self._places.at_line(block.line, ("steps", index))
        if block.kind is Kind.FENCE and _word(block) == "http" and not block.quoted:
            self._findings.not_supported("an `http` fence", at=at)

    def _report_strays(self) -> None:
        for block in self._outline.strays:
            if self._is_runnable(block) or _is_verification(block):
                self._findings.warning(
                    "stray_fence",
                    f"this `{_word(block)}` block stands before the first step and never runs",
                    at=self._places.at_line(block.line),
                    hint="move it into a step, or fence it as `console`",
                )

    def _prose(self, step: StepOutline, blocks: list[Block], key_lines: set[int]) -> Iterable[str]:
        """The step's lines without key lines, these blocks and the separator, and without the gaps that they leave."""
        taken = {line - 1 for line in key_lines}
        taken.update(line for block in blocks for line in range(block.first, block.end))
        taken.update(_separator(step))
        kept: list[str] = []
        in_gap = False
        for number in range(step.heading.end, step.end):
            line = self._lines[number]
            if number in taken:
                in_gap = True
            elif line.strip() or not in_gap or (kept and kept[-1].strip()):
                in_gap = in_gap and not line.strip()
                kept.append(line)
        return kept

    @staticmethod
    def _is_runnable(block: Block) -> bool:
        return block.kind is Kind.FENCE and not block.quoted and _word(block) in INTERPRETERS


def _is_rollback(heading: Block) -> bool:
    return heading.text.strip().rstrip(":").rstrip().casefold() == "rollback"


def _front_matter(lines: list[str], blocks: tuple[Block, ...], places: MarkdownPlaces, findings: Findings) -> int:
    """How many blocks are front matter that states keys, which is an error; 0 if there is none."""
    if lines[0].rstrip() != "---":
        return 0
    end = next((at for at, line in enumerate(lines[1:_MAX_FRONT_MATTER], 1) if line.rstrip() in ("---", "...")), None)
    keys = {at: line.partition(":")[0] for at, line in enumerate(lines[1:end], 2) if ":" in line} if end else {}
    found = {at: key.strip(" \t-\"'") for at, key in keys.items() if _plain(key) in _STEERING_KEYS}
    if end is None or not found:
        return 0
    findings.error(
        "hidden_key",
        f"front matter is not read, and it states {', '.join(f'`{key[:40]}`' for key in list(found.values())[:10])}",
        at=places.at_line(min(found)),
        hint="write each as a line `**Execution Mode**: step_by_step` below the title, or into manifest.json",
    )
    return next((at for at, block in enumerate(blocks) if block.first > end), len(blocks))


def _plain(key: str) -> str:
    return "".join(char for char in key.lower() if char.isalnum())


def _check_closed(blocks: Iterable[Block], places: MarkdownPlaces, findings: Findings) -> None:
    for block in blocks:
        if block.kind is Kind.FENCE and not block.closed:
            findings.error(
                "unclosed_fence",
                "expected a line that closes this fence, got none",
                at=places.at_line(block.line),
                hint="close it with as many ` or ~ as open it",
            )
        elif block.is_comment and "-->" not in block.text:
            findings.error(
                "unclosed_comment",
                "expected `-->` at the end of this comment, got none: it hides all that follows",
                at=places.at_line(block.line),
                hint="close it with `-->`",
            )


def _separator(step: StepOutline) -> Iterable[int]:
    last = step.blocks[-1] if step.blocks else None
    return (last.first,) if last is not None and last.kind is Kind.RULE and not last.list_depth else ()


def _word(fence: Block) -> str:
    words = fence.info.split()
    return words[0].lower() if words else ""


def _is_verification(block: Block) -> bool:
    return block.kind is Kind.FENCE and not block.quoted and _word(block) == "verify"


def _interpreter(fence: Block) -> str:
    return INTERPRETERS.get(_word(fence), "bash")


def _number(text: str) -> int | float | str:
    if text.isdigit():
        return int(text)
    return float(text) if text.count(".") == 1 else text


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).strip("\n").rstrip()
