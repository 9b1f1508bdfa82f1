"""Runs that are created to be driven on at once: the simulator plays them, and finds bugs in how they begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from sopwith.engine.begun import Begun
from sopwith.engine.driver import _Driver
from sopwith.engine.recovery import recovery_order
from sopwith.testing.simulator import simulate

from .test_simulator import plant_and_find

SEEDS = range(4, 400, 5)
"""Those in which runs are begun so."""


def a_claim_that_nobody_gives_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Begun, "let_go", lambda _self: None)


def an_intent_that_is_carried_out_though_it_was_not_recorded(patch: pytest.MonkeyPatch) -> None:
    async def unchecked(self, intent, _events):
        if intent.executor is not None:
            order = recovery_order(self._parts, self._loaded.run, intent.step)
            await self._launch(intent.step, order, intent.executor.start)

    patch.setattr(_Driver, "_carry_out_intent", unchecked)


PLANTED: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    a_claim_that_nobody_gives_back,
    an_intent_that_is_carried_out_though_it_was_not_recorded,
)


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant_and_find(bug, monkeypatch, SEEDS)


def test_these_seeds_met_every_way_in_which_a_run_is_begun() -> None:
    seen: Counter[str] = Counter()
    for seed in SEEDS:
        report = simulate(seed)
        assert report.violations == ()
        seen.update(report.seen)
    assert {"begin: done", "begin: died", "begun run let go", "begin: limit_reached"} <= seen.keys()


def test_a_wait_that_a_jump_forward_and_back_would_have_cut_short_is_not() -> None:
    assert simulate(1449).violations == ()
