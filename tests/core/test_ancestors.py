"""What a step depends on, and what a procedure passes on: asked at each start, so the latest answer is kept.

It is an answer about one procedure, which cannot change; another one is asked anew.
"""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from sopwith.core.confidential import credentials_of
from sopwith.core.procedure import EnvironmentRules, Procedure
from sopwith.core.run import ancestors

from .given import procedure, shell


def reached(given: Procedure, number: int) -> tuple[int, ...]:
    """The rule, in the plainest way."""
    found = {other for before in given.step(number).depends_on for other in (before, *reached(given, before))}
    return tuple(sorted(found))


@pytest.mark.parametrize("seed", range(20))
def test_ancestors_are_the_same_in_whatever_order_they_are_asked_for(seed: int) -> None:
    chance = Random(seed)
    many = [
        procedure(
            *(shell(after=tuple(chance.sample(range(1, n), min(n - 1, chance.randint(0, 2))))) for n in range(1, 9))
        )
        for _ in range(2)
    ]
    chains = [procedure(*(shell() for _ in range(8))) for _ in range(2)]
    for _ in range(200):
        asked, number = chance.choice([*many, *chains]), chance.randint(1, 8)
        assert ancestors(asked, number) == reached(asked, number)
        if number < 8:
            assert ancestors(asked, number + 1) == reached(asked, number + 1)


def test_ancestors_of_an_instance_are_those_of_its_step() -> None:
    chain = procedure(*(shell() for _ in range(3)))
    assert ancestors(chain, "3:eu") == ancestors(chain, 3) == (1, 2)


def test_one_step_after_another_is_not_a_walk_through_all_before(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    step = Procedure.step

    def counted(self: Procedure, number: int) -> object:
        nonlocal looks
        looks += 1
        return step(self, number)

    chain = procedure(*(shell() for _ in range(300)))
    monkeypatch.setattr(Procedure, "step", counted)
    for number in range(1, 301):
        assert len(ancestors(chain, number)) == len(ancestors(chain, number)) == number - 1
    assert looks <= 600


def test_what_one_procedure_passes_on_is_not_taken_for_anothers() -> None:
    plain = procedure(shell(), shell(env=EnvironmentRules(pass_=("PATH",))))
    secret = procedure(shell(), shell(env=EnvironmentRules(pass_=("API_TOKEN",))))
    whole = replace(plain, env=EnvironmentRules(pass_=("DB_PASSWORD",)))
    for _ in range(2):
        assert credentials_of(plain, {}) == ()
        assert credentials_of(secret, {}) == credentials_of(secret, {}) == ("API_TOKEN",)
        assert credentials_of(whole, {}) == ("DB_PASSWORD",)


def test_what_a_procedure_passes_on_is_gathered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Steps(tuple):  # type: ignore[type-arg]
        looks = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            Steps.looks += 1
            return super().__iter__()

    given = procedure(shell(env=EnvironmentRules(pass_=("API_TOKEN",))))
    given = replace(given, steps=Steps(given.steps))
    for _ in range(5):
        assert credentials_of(given, {}) == ("API_TOKEN",)
    assert Steps.looks == 1
