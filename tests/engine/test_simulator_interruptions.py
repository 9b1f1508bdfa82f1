"""That the simulator would find bugs in what follows an interruption by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from sopwith.core import evolve as evolve_module
from sopwith.core import moves_flow, moves_interrupt
from sopwith.core.interruption import rules_of
from sopwith.core.procedure import InterruptRules, OnInterrupt
from sopwith.engine import recovery
from sopwith.engine.driver import _Driver
from sopwith.testing.executor import FakeExecutor, key_of
from sopwith.testing.laws import Laws
from sopwith.testing.simulator import simulate

from .test_simulator import _rewritten, plant_and_find


def a_step_that_is_run_again_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_interrupt, "_too_often", lambda _step: "")


def a_step_that_forgets_how_often_it_was_run_again(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, evolve_module, "_apply_step", {"(body.cause == ev.INTERRUPTED)": "0"})


def a_step_that_is_run_again_unasked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_interrupt, "rules_of", lambda _step: InterruptRules(policy=OnInterrupt.RERUN))


def a_step_that_fails_where_it_is_to_be_verified(patch: pytest.MonkeyPatch) -> None:
    def failing(step):
        stated = rules_of(step)
        return InterruptRules(policy=OnInterrupt.FAIL) if stated.policy is OnInterrupt.VERIFY else stated

    patch.setattr(moves_interrupt, "rules_of", failing)


def a_failure_by_interruption_that_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_flow, "_NOT_TRIED_AGAIN", ("reported", "approval_timeout"))


def a_verification_that_always_says_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_interrupt, "_outcome", lambda _result: "done")


def a_verification_whose_silence_means_not_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_interrupt, "_outcome", lambda result: "not_done" if result.error else "done")


def a_verification_that_is_started_twice(patch: pytest.MonkeyPatch) -> None:
    recover = FakeExecutor.recover

    async def again(self, order, on_output):
        if order.verifies and not order.withheld:
            self._world.checks.started.pop(key_of(order), None)
        return await recover(self, order, on_output)

    patch.setattr(FakeExecutor, "recover", again)


def a_verification_of_what_changed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "changed_since_recorded", lambda *_, **__: "")


def a_cancel_that_leaves_the_verification_alone(patch: pytest.MonkeyPatch) -> None:
    stop = _Driver._stop

    async def spare(self, step):
        return False if self._loaded.run.steps[step].verifying else await stop(self, step)

    patch.setattr(_Driver, "_stop", spare)


def an_end_of_the_run_that_stops_nothing_by_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_interrupt, "_why_over", lambda _run: "")


PLANTED = (
    a_step_that_is_run_again_for_ever,
    a_step_that_forgets_how_often_it_was_run_again,
    a_step_that_is_run_again_unasked,
    a_step_that_fails_where_it_is_to_be_verified,
    a_failure_by_interruption_that_is_tried_again,
    a_verification_that_always_says_done,
    a_verification_whose_silence_means_not_done,
    a_verification_that_is_started_twice,
    a_verification_of_what_changed,
    a_cancel_that_leaves_the_verification_alone,
    an_end_of_the_run_that_stops_nothing_by_itself,
)


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant_and_find(bug, monkeypatch)


def test_every_way_that_an_interruption_can_go_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    note = Laws._check_event

    def counted(self, before, event):
        if event.event_type in ("step_interrupted", "verification_ended"):
            seen[event.event_type, event.body.then] += 1
        note(self, before, event)

    monkeypatch.setattr(Laws, "_check_event", counted)
    for seed in range(60):
        assert simulate(seed).violations == ()
    ways = {("step_interrupted", then) for then in ("", "rerun", "fail", "verify")}
    assert ways | {("verification_ended", then) for then in ("", "rerun", "completed")} <= seen.keys()
