"""The catalogue of rules and mutants stands by the source: an entry that no longer matches is found here."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.mutants.__main__ import FOUND, read, table
from tools.mutants.catalogue import MUTANTS, mismatches
from tools.mutants.mutant import SIMULATION, Mutant, rule

ROOT = Path(__file__).parents[2]


def test_each_rule_stands_in_the_source_as_it_is_quoted() -> None:
    assert mismatches(ROOT / "src" / "sopwith") == []


def test_each_rule_has_one_name() -> None:
    named = [(mutant.place, mutant.rule) for mutant in MUTANTS]
    assert len(named) == len(set(named))
    assert len(named) >= 100


def test_what_is_named_as_a_test_is_one() -> None:
    named = {test for mutant in MUTANTS if mutant.found_by != SIMULATION for test in mutant.found_by.split()}
    assert [test for test in sorted(named) if not (ROOT / test.partition("::")[0]).exists()] == []


def test_each_mutant_was_seen_to_be_found_as_it_is_quoted_now() -> None:
    """After a change to one: python -m tools.mutants --only "the rule" --keep"""
    found = {(each.place, each.rule, each.mutant) for hunts in read(FOUND).values() for each in hunts if each.by}
    argued = [mutant for mutant in MUTANTS if mutant.equivalent]
    left = [m.rule for m in MUTANTS if m not in argued and (m.place, m.rule, m.digest) not in found]
    assert left == []


def test_the_table_tells_what_was_found() -> None:
    """Made with python -m tools.mutants --table"""
    page = (ROOT / "docs" / "reliability-simulation.md").read_text().splitlines()
    rows = table(list(MUTANTS), read(FOUND))
    assert page[page.index(rows[0]) :] == rows


@pytest.mark.parametrize(
    ("place", "old", "why"),
    [
        ("engine/driver.py:no_such_function", "x", "there is no"),
        ("engine/driver.py:drive", "no such line", "0 times"),
        ("engine/driver.py:drive", "parts", "not once"),
    ],
)
def test_an_entry_that_does_not_match_fails_loudly(place: str, old: str, why: str) -> None:
    mutant: Mutant = rule("a rule", place, old, "pass")
    with pytest.raises(LookupError, match=why):
        mutant.changed((ROOT / "src" / "sopwith" / "engine" / "driver.py").read_text())
