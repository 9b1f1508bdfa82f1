"""docs/reliability.md promises nothing that no test shows: each test it names exists, each fault has one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.docs import pages

PAGE = pages.ROOT / "docs" / "reliability.md"
NAMED = re.compile(r"(?:\b((?:tests|src)/[\w/]+\.py))?::((?:[A-Z]\w*::)?test_\w+)")
"""`path::test`, and after it `::test` for another one of the same file."""
ROW = re.compile(r"^\| (F\d\d) [^|]+\|[^|]+\|([^|]+)\|$", re.MULTILINE)
FAULTS = {f"F{number:02d}" for number in (*range(1, 24), 32, 33, 36, 37, *range(38, 49))}


@cache
def defined_in(path: Path) -> set[str]:
    """`name` and `Class::name` of all tests that a module defines, and `Class` of each class."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {node.name, *(f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name"))}
    return found


@cache
def shared() -> set[str]:
    """The tests of the suites that every store and executor inherits."""
    modules = (pages.ROOT / "src" / "sopwith" / "testing").glob("*.py")
    return {name.rpartition("::")[2] for module in modules for name in defined_in(module)}


def exists(path: str, name: str) -> bool:
    file = pages.ROOT / path
    if not path or not file.is_file():
        return False
    inherits = name.rpartition("::")[0] in defined_in(file) and name.rpartition("::")[2] in shared()
    return name in defined_in(file) or inherits


def missing(text: str) -> list[str]:
    """The tests that the text names and that do not exist."""
    found, path = [], ""
    for line in text.splitlines():
        for named in NAMED.finditer(line):
            path = named[1] or path
            if not exists(path, named[2]):
                found.append(f"{path}::{named[2]}")
        path = ""
    return found


def test_every_test_that_is_named_exists() -> None:
    text = PAGE.read_text()
    assert NAMED.search(text)
    assert missing(text) == []
    # nothing that looks like a test escapes the look above
    assert text.count("::") == sum(1 + name.count("::") for _path, name in NAMED.findall(text))


def test_several_tests_of_one_file_and_inherited_ones_are_found() -> None:
    here = "tests/docs/test_reliability.py"
    assert missing(f"{here}::test_the_index_leads_to_it, ::test_every_test_that_is_named_exists") == []
    assert missing(f"{here}::test_the_index_leads_to_it, ::test_gone") == [f"{here}::test_gone"]
    store = "tests/contract/test_sqlite_store.py::TestSqliteStore"
    assert missing(f"{store}::test_an_unknown_run_is_a_conflict") == []
    assert missing(f"{store}::test_gone") == [f"{store}::test_gone"]


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
