"""docs/reliability.md promises nothing that no test shows: each test it names exists, each fault has one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.docs import pages

PAGE = pages.ROOT / "docs" / "reliability.md"
NAMED = re.compile(r"\b((?:tests|src)/[\w/]+\.py)::([\w:]+)")
ROW = re.compile(r"^\| (F\d\d) [^|]+\|[^|]+\|([^|]+)\|$", re.MULTILINE)
FAULTS = {f"F{number:02d}" for number in (*range(1, 24), 32, *range(39, 48))}


@cache
def named_in(path: Path) -> set[str]:
    """`name` and `Class::name` of all that pytest would collect in a module."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


def missing(text: str) -> list[str]:
    """The tests that the text names and that do not exist."""
    named = NAMED.findall(text)
    return [
        f"{path}::{name}"
        for path, name in named
        if not (pages.ROOT / path).is_file() or name not in named_in(pages.ROOT / path)
    ]


def test_every_test_that_is_named_exists() -> None:
    text = PAGE.read_text()
    assert NAMED.search(text)
    assert missing(text) == []
    # nothing that looks like a test escapes the look above
    assert text.count("::") == sum(1 + name.count("::") for _path, name in NAMED.findall(text))


@pytest.mark.parametrize("wrong", ["tests/no/such_file.py::test_x", "tests/docs/test_reliability.py::test_nothing"])
def test_a_test_that_is_gone_is_noticed(wrong: str) -> None:
    assert missing(f"| F99 | it goes on | {wrong} |") == [wrong]


def test_every_fault_is_told_once_with_a_test() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert sorted(name for name, _tests in rows) == sorted({name for name, _tests in rows})
    assert {name for name, _tests in rows} >= FAULTS
    assert [name for name, tests in rows if not NAMED.search(tests)] == []


def test_the_index_leads_to_it() -> None:
    index = pages.ROOT / "docs" / "index.md"
    assert PAGE in {(index.parent / target.partition("#")[0]).resolve() for target in pages.links(index)}
