"""`sop show --graph`: what is drawn is what the procedure says, whatever its words are."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doors.workshop import Terminal, Workshop

from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.config import Config
from sopwith.core.procedure import ExecutionMode, OnFailure, Procedure, RetryRules, Script, Step
from sopwith.doors.cli.graph import Format, picture
from sopwith.doors.cli.graph.flow import Edge, flow_of, reduced
from sopwith.doors.cli.graph.layout import lay_out
from sopwith.doors.cli.graph.pen import FINE, PLAIN, Pen
from sopwith.doors.cli.terminal import width

HOSTILE = (
    '"]; click step1 "javascript:alert(1)" %% x',
    "<img src=x onerror=alert(1)>",
    "</title></svg><script>alert(1)</script>",
    "`**bold**` [a](http://x) $$x$$ fa:fa-camera",
    "end\nsubgraph x",
    '%%{init: {"theme":"dark"}}%%',
    "#quot; &quot; #35; \\n ]]> --> {{ }}",
    "\u202eabc\x00\x1b[31mred\x07",
    "日本語のタイトル é 🎉",
)


def step(number: int, title: str, *after: int, **more: Any) -> Step:
    if "wait_secs" in more or more.pop("by_hand", False):
        return Step(number=number, title=title, depends_on=after, **more)
    script = Script(interpreter="bash", text="true\n")
    return Step(number=number, title=title, depends_on=after, executor="shell", script=script, **more)


def procedure(*steps: Step, mode: ExecutionMode = ExecutionMode.AUTO, **more: Any) -> Procedure:
    return Procedure(name="p", title="P", steps=steps, execution_mode=mode, **more)


def drawn(of: Procedure, columns: int = 80, pen: Pen = FINE) -> str:
    return click.unstyle(picture(flow_of(of, Config()), Format.TEXT, columns=columns, pen=pen))


def block(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def test_a_list_is_drawn_from_the_start_approval_down() -> None:
    steps = (step(1, "Check out"), step(2, "Build", 1), step(3, "Tell everybody", 2, by_hand=True))
    assert drawn(procedure(*steps, mode=ExecutionMode.SUPERVISED)) == block("""
        ┌─────────────────────────────┐
        │ ? approval before the start │
        └──────────────┬──────────────┘
        ┌──────────────▼──────────────┐
        │ 1 Check out            bash │
        └──────────────┬──────────────┘
        ┌──────────────▼──────────────┐
        │ 2 Build                bash │
        └──────────────┬──────────────┘
        ┌──────────────▼──────────────┐
        │ 3 Tell everybody    by hand │
        └─────────────────────────────┘
    """)


def test_branches_stand_side_by_side() -> None:
    steps = (step(1, "Build"), step(2, "Unit", 1), step(3, "Smoke", 1), step(4, "Deploy", 1, 2, 3))
    assert drawn(procedure(*steps)) == block("""
                  ┌────────────────┐
                  │ 1 Build   bash │
                  └────────┬───────┘
                 ┌─────────┴─────────┐
        ┌────────▼───────┐  ┌────────▼───────┐
        │ 2 Unit    bash │  │ 3 Smoke   bash │
        └────────┬───────┘  └────────┬───────┘
                 └───────┐   ┌───────┘
                  ┌──────▼───▼─────┐
                  │ 4 Deploy  bash │
                  └────────────────┘
    """)


def test_a_gate_stands_above_its_step_with_who_is_asked_and_what_silence_does() -> None:
    rules = ApprovalRules(
        approvers=("group:release",), quorum=2, on_timeout=TimeoutAction.REJECT, when="params.env == 'prod'"
    )
    gated = step(1, "Deploy", requires_approval=True, approval=rules, approval_timeout_mins=30)
    assert drawn(procedure(gated)) == block("""
        ┌───────────────────────────────────────────────┐
        │ ? approval: 2 votes of group:release, only if │
        │ params.env == 'prod'; reject after 30 min     │
        ├───────────────────────────────────────────────┤
        │ 1 Deploy                                 bash │
        └───────────────────────────────────────────────┘
    """)


def test_a_mode_adds_gates_that_no_condition_takes_away() -> None:
    rules = ApprovalRules(when="false")
    assert "only if" not in drawn(procedure(step(1, "a"), mode=ExecutionMode.STEP_BY_STEP, approval=rules))
    assert drawn(procedure(step(1, "a"), step(2, "b", 1), mode=ExecutionMode.STEP_BY_STEP)).count("? approval") == 2


def test_where_a_failure_leads_is_a_dashed_line() -> None:
    steps = (step(1, "Deploy", on_failure=OnFailure.GOTO, goto=3), step(2, "Smoke test", 1), step(3, "Tidy up", 2))
    assert drawn(procedure(*steps)) == block("""
        ┌────────────────────┐
        │ 1 Deploy      bash │
        └──────────┬───┬─────┘
                   │   └┄┄┄┄┄┄┄┄┄┄┄┄┄┄┐
        ┌──────────▼─────────┐   on failure
        │ 2 Smoke test  bash │        ┆
        └──────────┬─────────┘        ┆
                   │   ┌┄┄┄┄┄┄┄┄┄┄┄┄┄┄┘
        ┌──────────▼───▼─────┐
        │ 3 Tidy up     bash │
        └────────────────────┘
    """)


def test_waits_conditions_retries_and_failures_are_told_in_the_box() -> None:
    first = step(1, "Test", retry=RetryRules(max_attempts=3), on_failure=OnFailure.CONTINUE, condition="params.x == 1")
    assert drawn(procedure(first, step(2, "Settle", 1, wait_secs=300)), pen=PLAIN) == block("""
        +----------------------+
        | 1 Test          bash |
        | if params.x == 1     |
        | 2 retries            |
        | on failure: continue |
        +-----------+----------+
        +-----------v----------+
        | 2 Settle             |
        | waits 5m 0s          |
        +----------------------+
    """)


def test_too_wide_a_graph_becomes_a_list() -> None:
    branches = [step(number, f"region {number}", 1) for number in range(2, 7)]
    gated = step(7, "Deploy", *range(2, 7), requires_approval=True)
    assert drawn(procedure(step(1, "Build"), *branches, gated), columns=40) == "\n".join(
        [
            "  1 Build (bash)",
            *(f"    {number} region {number} (bash)  after 1" for number in range(2, 7)),
            "  7 Deploy (bash)  after 2-6",
            "    ? approval",
        ]
    )


def test_sixty_steps_are_drawn() -> None:
    chain = [step(number, f"step {number}", *([number - 1] if number > 1 else [])) for number in range(1, 61)]
    assert len(drawn(procedure(*chain)).split("\n")) == 180


def test_dependencies_that_others_imply_are_left_out() -> None:
    assert reduced({1: (), 2: (1,), 3: (1, 2), 4: (1, 2, 3)}) == {1: (), 2: (1,), 3: (2,), 4: (3,)}


@st.composite
def procedures(draw: st.DrawFn, titles: st.SearchStrategy[str] | None = None) -> Procedure:
    """Any flow without a circle; the numbers need not be in the order of the steps."""
    count = draw(st.integers(1, 14))
    order = draw(st.permutations(range(1, count + 1)))
    made = []
    for place, number in enumerate(order):
        after = draw(st.sets(st.sampled_from(order[:place]), max_size=3)) if place else set()
        title = draw(titles) if titles is not None else f"t{number}"
        made.append(step(number, title, *sorted(after), requires_approval=draw(st.booleans())))
    made.sort(key=lambda each: each.number)
    below = _below(made)
    for at, each in enumerate(made):
        if below[each.number] and draw(st.integers(0, 4)) == 0:
            target = draw(st.sampled_from(sorted(below[each.number])))
            made[at] = step(
                each.number,
                each.title,
                *each.depends_on,
                requires_approval=each.requires_approval,
                on_failure=OnFailure.GOTO,
                goto=target,
            )
    return procedure(*made, mode=draw(st.sampled_from((ExecutionMode.AUTO, ExecutionMode.SUPERVISED))))


def _below(steps: list[Step]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {each.number: set() for each in steps}
    for _ in steps:
        for each in steps:
            for other in each.depends_on:
                found[other] |= {each.number} | found[each.number]
    return found


@given(of=procedures())
def test_every_edge_goes_down_and_no_boxes_overlap(of: Procedure) -> None:
    flow = flow_of(of, Config())
    layout = lay_out(flow, {node.key: 9 for node in flow.nodes})
    layer_of = {box.node: box.layer for layer in layout.layers for box in layer if box.node is not None}
    assert len(layer_of) == len(flow.nodes)
    assert all(layer_of[edge.source] < layer_of[edge.target] for edge in flow.edges)
    for layer in layout.layers:
        assert all(a.left + a.width < b.left for a, b in pairwise(layer))
        assert all(box.left >= 0 and box.left + box.width <= layout.width for box in layer)


@given(of=procedures())
def test_the_edges_can_be_read_off_the_drawing(of: Procedure) -> None:
    flow = flow_of(of, Config())
    text = click.unstyle(picture(flow, Format.TEXT))
    if "▼" in text:  # else it was too wide, or there is no edge
        headings = sorted(int(number) for number in re.findall(r"│ (\d+) t\d+ ", text))
        assert headings == [each.number for each in of.steps]
        assert edges_in(text) == sorted((edge.source, edge.target) for edge in flow.edges)


@given(of=procedures(titles=st.text(max_size=60)), columns=st.integers(20, 120), pen=st.sampled_from((FINE, PLAIN)))
def test_any_titles_are_drawn_within_the_columns(of: Procedure, columns: int, pen: Pen) -> None:
    text = drawn(of, columns, pen)
    assert max(map(width, text.split("\n"))) <= columns
    for each in of.steps:
        assert len(re.findall(rf"(?:^ *|[│|] ){each.number}(?: |…|\.\.\.|$)", text, re.MULTILINE)) >= 1
    mermaid, svg = (picture(flow_of(of, Config()), each) for each in (Format.MERMAID, Format.SVG))
    check_mermaid(mermaid, flow_of(of, Config()).edges)
    check_svg(svg, of)


@pytest.mark.parametrize("title", HOSTILE)
def test_a_title_cannot_break_out(title: str) -> None:
    of = procedure(step(1, title, condition=f'params.x == "{title}"'), step(2, title, 1, requires_approval=True))
    flow = flow_of(of, Config())
    check_mermaid(picture(flow, Format.MERMAID), flow.edges)
    check_svg(picture(flow, Format.SVG), of)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", drawn(of))


def test_mermaid_tells_gates_failures_and_kinds() -> None:
    steps = (
        step(1, "Build", on_failure=OnFailure.GOTO, goto=3),
        step(2, "Look", 1, by_hand=True, requires_approval=True),
        step(3, "Settle", 2, wait_secs=5),
    )
    assert picture(flow_of(procedure(*steps, mode=ExecutionMode.SUPERVISED), Config()), Format.MERMAID) == block("""
        flowchart TD
            start{{"approval before the start"}}:::gate
            step1["1 Build<br/>bash"]
            gate2{{"approval"}}:::gate
            gate2 --> step2
            step2[/"2 Look<br/>by hand"/]
            step3(["3 Settle<br/>waits 5s"])
            start --> step1
            step1 --> gate2
            step2 --> step3
            step1 -. "on failure" .-> step3
            classDef gate fill:#fff3cd,stroke:#b58900,color:#3d2e00
    """)


def test_the_command_prints_each_format(workshop: Workshop) -> None:
    workshop.steps("deploy", "Build | true", "?Ship | true")
    assert "│ ? approval" in workshop.sop("show", "deploy", "--graph").out
    for format_, begin in (("text", "┌"), ("mermaid", "flowchart TD\n"), ("svg", "<svg ")):
        told = workshop.json("show", "deploy", "--graph", "--format", format_)
        assert told["format"] == format_
        assert told["graph"].lstrip().startswith(begin)
        assert workshop.sop("show", "deploy", "--graph", "--format", format_).out == told["graph"] + "\n"


def test_the_command_writes_a_file(workshop: Workshop, tmp_path: Path) -> None:
    workshop.steps("deploy", "Build | true")
    file = tmp_path / "flow.svg"
    assert workshop.json("show", "deploy", "--graph", "--format", "svg", "-o", str(file)) == {
        "success": True,
        "format": "svg",
        "file": str(file),
    }
    ElementTree.fromstring(file.read_text(encoding="utf-8"))


def test_format_and_file_are_for_the_graph(workshop: Workshop) -> None:
    workshop.steps("deploy", "Build | true")
    assert workshop.sop("show", "deploy", "--format", "svg").code == 2
    assert workshop.sop("show", "deploy", "-o", "x").code == 2


def test_a_screen_without_unicode_gets_ascii(workshop: Workshop) -> None:
    workshop.steps("deploy", "Prüfen | true", "Ship | true")
    told = workshop.process(
        "show", "deploy", "--graph", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    )
    assert told.code == 0
    assert "| 1 Pr\\xfcfen  bash |" in told.out
    assert told.out.isascii()


def test_the_terminal_limits_the_width(workshop: Workshop, terminal: Callable[..., Terminal]) -> None:
    workshop.steps("deploy", "A very long title that says all there is to say about this step | true")
    opened = terminal("show", "deploy", "--graph", columns=40)
    assert opened.end() == 0
    assert "…  bash │" in opened.text
    assert max(map(len, opened.lines)) <= 40


def check_mermaid(text: str, edges: tuple[Edge, ...]) -> None:
    """One statement a line, of these forms only; labels are plain words and entities."""
    word = r"(?:[^\x00-\x7f]|[A-Za-z0-9 ,._=/-]|#\d+;|<br/>)*"
    node = rf'(?:step|gate)\d+(?:\["{word}"\]|\[/"{word}"/\]|\(\["{word}"\]\)|\{{\{{"{word}"\}}\}}:::gate)'
    start = rf'start\{{\{{"{word}"\}}\}}:::gate'
    arrow = r'(?:start|step\d+|gate\d+) (?:-->|-\. "on failure" \.->) (?:step|gate)\d+'
    first, *lines, last = text.split("\n")
    assert first == "flowchart TD"
    assert last.startswith("    classDef gate ")
    for line in lines:
        assert re.fullmatch(rf"    (?:{node}|{start}|{arrow})", line), line
    assert "$$" not in re.sub(r"#36;", "$", text)
    own = sum(line.startswith("    gate") and " --> " in line for line in lines)
    assert sum("->" in line for line in lines) == len(edges) + own


def check_svg(text: str, of: Procedure) -> None:
    """Well-formed, of harmless elements only, with each step in a group of its own."""
    assert text.isascii()
    root = ElementTree.fromstring(text)
    names = [element.tag.partition("}")[2] for element in root.iter()]
    assert set(names) <= {"svg", "title", "desc", "style", "rect", "path", "text", "g"}
    assert names.count("style") == 1
    assert not any(name.startswith("on") or "href" in name for element in root.iter() for name in element.attrib)
    started = of.execution_mode is ExecutionMode.SUPERVISED
    assert names.count("g") == len(of.steps) + started


_SIDES: Mapping[str, str] = {
    "│": "UD", "┆": "UD", "─": "LR", "┄": "LR", "└": "UR", "┘": "UL", "┌": "DR", "┐": "DL",
    "├": "UDR", "┤": "UDL", "┬": "DLR", "┴": "ULR", "┼": "UDLR",
}  # fmt: skip
_STEPS = {"U": (-1, 0), "D": (1, 0), "L": (0, -1), "R": (0, 1)}
_BACK = {"U": "D", "D": "U", "L": "R", "R": "L"}


def edges_in(text: str) -> list[tuple[int, int]]:
    """The edges that somebody sees who follows the lines of the drawing upwards from each arrow."""
    rows = [list(line) for line in text.replace("on failure", "     ┆    ").split("\n")]
    owner = _boxes(rows)
    arrows = [(row, column) for row, line in enumerate(rows) for column, mark in enumerate(line) if mark == "▼"]
    found = []
    for row, column in arrows:
        sources = _sources(rows, owner, row - 1, column)
        assert len(sources) == 1, (row, column, sources)
        found.append((sources.pop(), owner[row, column]))
    return sorted(found)


def _sources(rows: list[list[str]], owner: Mapping[tuple[int, int], int], row: int, column: int) -> set[int]:
    seen: set[tuple[int, int, str]] = set()
    found: set[int] = set()
    ways = [(row, column, "U")]
    while ways:
        row, column, way = ways.pop()
        if (row, column, way) in seen:
            continue
        seen.add((row, column, way))
        if (row, column) in owner:
            if way == "U":
                assert rows[row][column] == "┬"
                found.add(owner[row, column])
            else:
                assert rows[row][column] == "▼"
            continue
        sides = _SIDES[rows[row][column]]
        if _BACK[way] not in sides:  # a line that passes below the one that is drawn here
            sides = way
        for side in sides:
            if side != _BACK[way]:
                ways.append((row + _STEPS[side][0], column + _STEPS[side][1], side))
    return found


def _boxes(rows: list[list[str]]) -> dict[tuple[int, int], int]:
    """Every cell of every box -> the number of its step, 0 for the start approval."""
    cells = {}
    for row, line in enumerate(rows):
        words = "".join(line)
        for match in re.finditer(r"│ (?:(\d+) t\d+ |\? approval before)", words):
            left, top, bottom = match.start(), row, row
            while rows[top][left] != "┌":
                top -= 1
            while rows[bottom][left] != "└":
                bottom += 1
            right = rows[top].index("┐", left)
            for y in range(top, bottom + 1):
                cells.update({(y, x): int(match[1] or 0) for x in range(left, right + 1)})
    return cells


def test_the_reader_of_drawings_notices_a_wrong_one() -> None:
    text = drawn(procedure(step(1, "t1"), step(2, "t2", 1), step(3, "t3", 1)))
    assert edges_in(text) == [(1, 2), (1, 3)]
    with pytest.raises(AssertionError):
        edges_in(text.replace("┴", "─"))
