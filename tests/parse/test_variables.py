"""What scripts see of parameters: patterns in linear time, and names that keep apart."""

from __future__ import annotations

import json
import time

from sopwith.core.patterns import matches
from sopwith.parse.procedure import SourceFile, parse_procedure


def problems_of(parameter: dict[str, object]) -> list[tuple[str, str]]:
    manifest = {"name": "a", "params": [parameter], "steps": [{"number": 1, "title": "x", "run": "true"}]}
    parsed = parse_procedure("a", sop_md=None, manifest=SourceFile("manifest.json", json.dumps(manifest).encode()))
    return [(problem.code, problem.path) for problem in parsed.problems]


def test_a_pattern_that_needs_backtracking_is_refused() -> None:
    assert problems_of({"name": "a", "pattern": "(?=x)y"}) == [("bad_pattern", "$.params[0].pattern")]
    assert problems_of({"name": "a", "pattern": r"(.)\1"}) == [("bad_pattern", "$.params[0].pattern")]


def test_a_default_that_its_pattern_refuses_is_an_error() -> None:
    found = problems_of({"name": "a", "pattern": "[a-z]+", "default": "A1"})
    assert found == [("bad_default", "$.params[0].default")]


def test_the_whole_value_must_match() -> None:
    assert matches("[a-z]+", "abc")
    assert not matches("[a-z]+", "abc1")
    assert not matches("[a-z]+", "abc\n")


def test_a_hostile_value_takes_no_longer_than_a_harmless_one() -> None:
    start = time.process_time()
    assert not matches("(a|a)*(a|a)*b", "a" * 60_000)
    assert time.process_time() - start < 1.0  # backtracking would take longer than the universe has existed


def test_a_file_cannot_set_what_the_engine_tells_a_script() -> None:
    for env in ({"set": {"SOP_PARAM_VERSION": "evil"}}, {"pass": ["SOPWITH_ACTOR_KIND"]}):
        manifest = {"name": "a", "env": env, "steps": [{"number": 1, "title": "x", "run": "true", "env": env}]}
        parsed = parse_procedure("a", sop_md=None, manifest=SourceFile("manifest.json", json.dumps(manifest).encode()))
        assert [problem.code for problem in parsed.problems] == ["reserved_variable", "reserved_variable"]


def test_parameters_that_scripts_could_not_tell_apart_are_an_error() -> None:
    params = [{"name": "env"}, {"name": "ENV"}]
    manifest = {"name": "a", "params": params, "steps": [{"number": 1, "title": "x", "run": "true"}]}
    parsed = parse_procedure("a", sop_md=None, manifest=SourceFile("manifest.json", json.dumps(manifest).encode()))
    assert [problem.code for problem in parsed.problems] == ["duplicate_parameter"]
