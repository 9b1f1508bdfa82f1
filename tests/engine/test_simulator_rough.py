"""What was added to the simulation late, in seeds of its own; and the bugs that only these find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from sopwith.core import due as due_module
from sopwith.engine.claiming import Renewal
from sopwith.engine.driver import _Driver
from sopwith.engine.ticker import _Server
from sopwith.ports import LEASE, Lease
from sopwith.testing.memory import MemoryStore
from sopwith.testing.simulator import simulate

from .test_simulator import plant_and_find

SEEDS = range(7, 2000, 10)
"""Those in which it happens."""


def a_driver_that_notices_only_what_others_decide(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Driver, "_was_told", lambda self: self._told.is_set())


def a_server_that_forgets_who_waits_for_its_own_runs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Server, "_stir_queues", lambda _self: None)


def a_driver_that_does_not_renew_its_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Renewal, "is_due", False)


def a_lease_that_keeps_nobody_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lease, "keeps_out", lambda _lease, _asking, _now: False)


def a_store_in_which_an_older_claim_renews_the_lease(patch: pytest.MonkeyPatch) -> None:
    def renew(self, claim, now):
        self._shelf.runs[claim.run_id].lease_until = now + LEASE

    patch.setattr(MemoryStore, "renew", renew)


def a_gate_that_reminds_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(due_module, "_reminders", lambda _run: ())


PLANTED: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    a_driver_that_notices_only_what_others_decide,
    a_server_that_forgets_who_waits_for_its_own_runs,
    a_driver_that_does_not_renew_its_lease,
    a_lease_that_keeps_nobody_out,
    a_store_in_which_an_older_claim_renews_the_lease,
    a_gate_that_reminds_nobody,
)


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant_and_find(bug, monkeypatch, SEEDS)


def test_these_seeds_meet_what_is_added_to_them() -> None:
    seen: Counter[str] = Counter()
    for seed in SEEDS[:60]:
        report = simulate(seed)
        assert report.violations == ()
        seen.update(report.seen)
    added = {"machine slept", "wall clock slewed", "lease renewed", "said beside a driver", "crowd left to a server"}
    assert added <= seen.keys()
    assert seen["lease ran out under a driver"] > 1
