"""The blocks of an SOP.md sorted into its parts: preamble, overview, steps, and whatever else stands in it.

Only headings at the top level divide. A heading that looks like a step and is none is an error, never prose: a step
that is lost would be a step that nobody runs or approves.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from msgspec import Struct

from sopwith.parse.findings import Findings, Place
from sopwith.parse.keys import read_key_line
from sopwith.parse.markdown import Block, Kind

_STEP = re.compile(r"step\s+([0-9]{1,6}(?:\.[0-9]{1,6})*)\s*:(.*)", re.IGNORECASE | re.DOTALL)
_STEP_LIKE = re.compile(r"\W*step\s*#?\s*[0-9]", re.IGNORECASE)
_HASHED_STEP = re.compile(r"[ \t]*#+[ \t]*step\s*#?[0-9]", re.IGNORECASE)
_SHAPE = "`### Step N: Title` under `## Steps`"


class StepOutline(Struct, frozen=True, kw_only=True):
    """One step's heading and blocks; `end` is the line (from 0) on which the next heading stands."""

    number: str
    title: str
    heading: Block
    blocks: tuple[Block, ...]
    end: int


class Outline(Struct, kw_only=True):
    """The parts. `strays` stand under `## Steps` before the first step; `elsewhere` in any other section.

    `sections` are the headings of these.
    """

    title: Block | None = None
    preamble: list[Block] = []
    overview: tuple[int, int] = (0, 0)
    steps: list[StepOutline] = []
    strays: list[Block] = []
    elsewhere: list[Block] = []
    sections: list[Block] = []


class _Part(Enum):
    PREAMBLE = auto()
    OVERVIEW = auto()
    STEPS = auto()
    STEP = auto()
    OTHER = auto()
    LOST = auto()
    """Under a heading that is an error: its contents are not looked at, one error is enough."""


def read_outline(file: str, blocks: tuple[Block, ...], lines: int, findings: Findings) -> Outline:
    """The parts of a document of `lines` lines, and the errors of its headings."""
    return _Reader(file, findings).read(blocks, lines)


class _Reader:
    def __init__(self, file: str, findings: Findings) -> None:
        self._file = file
        self._findings = findings
        self._outline = Outline()
        self._part = _Part.PREAMBLE
        self._steps_line: int | None = None
        self._misses = 0

    def read(self, blocks: tuple[Block, ...], lines: int) -> Outline:
        start: Block | None = None
        held: list[Block] = []
        for block in blocks:
            self._report_hidden_step(block)
            opened = self._opened_by(block) if block.kind is Kind.HEADING and not block.quoted else None
            if opened is None:
                held.append(block)
            else:
                self._close(start, held, block.first)
                self._part, start, held = opened, block, []
        self._close(start, held, lines)
        self._check_steps()
        return self._outline

    def _opened_by(self, heading: Block) -> _Part | None:
        """The part that a heading opens, or None if it belongs to the one around it."""
        in_steps = self._part in (_Part.STEPS, _Part.STEP) or (self._part is _Part.LOST and self._steps_line)
        step = _STEP.fullmatch(heading.text)
        proper = bool(in_steps) and heading.level == 3 and not heading.list_depth and not heading.underlined
        if proper and step:
            return _Part.STEP
        if _STEP_LIKE.match(heading.text):
            self._bad_step_heading(heading, bool(in_steps))
            return _Part.STEP if in_steps and step else _Part.LOST
        if heading.list_depth:
            return None
        if heading.underlined and (in_steps or _has_key_line(heading)):
            self._underlined(heading)
            return None
        if proper:
            self._bad_step_heading(heading, True)
            return _Part.LOST
        return self._section(heading) if heading.level <= 2 else None

    def _section(self, heading: Block) -> _Part:
        if heading.level == 1:
            return self._title(heading)
        self._outline.sections.append(heading)
        section = heading.text.strip().rstrip(":").casefold()
        if section == "steps":
            return self._steps(heading)
        return _Part.OVERVIEW if section == "overview" and self._outline.overview == (0, 0) else _Part.OTHER

    def _close(self, start: Block | None, held: list[Block], end: int) -> None:
        outline = self._outline
        match self._part:
            case _Part.PREAMBLE:
                outline.preamble += held
            case _Part.STEPS:
                outline.strays += held
            case _Part.STEP:
                assert start is not None
                outline.steps.append(_step(start, tuple(held), end))
            case _Part.OVERVIEW:
                assert start is not None
                outline.overview = (start.end, end)
                outline.elsewhere += held
            case _Part.OTHER:
                outline.elsewhere += held
            case _Part.LOST:
                pass

    def _check_steps(self) -> None:
        if self._outline.steps or self._misses:
            return
        expected = "a section `## Steps`" if self._steps_line is None else f"at least one step, {_SHAPE}"
        self._findings.unexpected(
            "no_steps", expected=expected, got="none", at=self._at(self._steps_line or 1), hint=f"write {_SHAPE}"
        )

    def _report_hidden_step(self, block: Block) -> None:
        """`###Step 2: x`, or a step inside HTML or indented code: no heading to CommonMark, a step to its author."""
        if block.quoted or block.is_comment or block.kind in (Kind.HEADING, Kind.FENCE, Kind.RULE):
            return
        for number, line in enumerate(block.text.split("\n"), start=block.line):
            if "#" in line and _HASHED_STEP.match(line):
                self._misses += 1
                self._findings.unexpected(
                    "hidden_step",
                    expected=_SHAPE,
                    got=f"`{line.strip()[:60]}`, which is no heading here",
                    at=self._at(number),
                    hint="a space after the ###, no indent, not in HTML",
                )

    def _underlined(self, heading: Block) -> None:
        self._findings.error(
            "underlined_text",
            f"expected an empty line above the {'===' if heading.level == 1 else '---'}, got text, now a heading",
            at=self._at(heading.line),
            hint="leave an empty line above it; if a heading is meant, write `## ` before it",
        )

    def _bad_step_heading(self, heading: Block, in_steps: bool) -> None:
        self._misses += 1
        form = ", underlined" if heading.underlined else f", level {heading.level}"
        if in_steps:
            hint = "number it as a step, or write `####` for a heading inside a step"
        else:
            hint = "steps stand in one section, `## Steps`, which the next `## ` heading ends"
        got = f"`{heading.text[:60]}`{form}{', in a list' if heading.list_depth else ''}"
        self._findings.unexpected("bad_step_heading", expected=_SHAPE, got=got, at=self._at(heading.line), hint=hint)

    def _title(self, heading: Block) -> _Part:
        if self._outline.title is not None or self._part is not _Part.PREAMBLE:
            self._findings.warning(
                "second_title",
                "expected one `# Title` at the top, got another",
                at=self._at(heading.line),
                hint="write `## ` before a section's heading",
            )
            return _Part.PREAMBLE if self._part is _Part.PREAMBLE else _Part.OTHER
        self._outline.title = heading
        return _Part.PREAMBLE

    def _steps(self, heading: Block) -> _Part:
        if self._steps_line is not None:
            self._findings.error(
                "duplicate_section",
                f"expected one section `## Steps`, got another; the first is at line {self._steps_line}",
                at=self._at(heading.line),
                hint="put all steps into the first one",
            )
        else:
            self._steps_line = heading.line
        return _Part.STEPS

    def _at(self, line: int) -> Place:
        return Place(file=self._file, line=line)


def _has_key_line(heading: Block) -> bool:
    return any(read_key_line(line, 0, last=True) for line in heading.text.split("\n"))


def _step(heading: Block, blocks: tuple[Block, ...], end: int) -> StepOutline:
    named = _STEP.fullmatch(heading.text)
    assert named is not None
    return StepOutline(number=named[1], title=named[2].strip(), heading=heading, blocks=blocks, end=end)
