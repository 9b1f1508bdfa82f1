"""The promises of a store about runs that ask for somebody, and about what is counted along."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from sopwith.core.due import AT_ONCE
from sopwith.core.run import RunStatus
from sopwith.ports import AskingFilter, RunFilter
from sopwith.testing.clock import START
from sopwith.testing.store_suite import ANN, StoreSuite

_ENDED: dict[str, Any] = {"status": RunStatus.FAILED, "ended_at": START, "asks": 0, "left_at": None}


class AskingContract(StoreSuite):
    def test_runs_that_ask_are_the_oldest_first_up_to_the_limit(self) -> None:
        for run_id, asks in (("c", 1), ("b", 0), ("a", 2), ("d", 3)):
            self.begin(run_id, asks=asks)
        assert self._asking() == ["c", "a", "d"]
        assert self._asking(limit=2) == ["c", "a"]
        assert self._asking(limit=0) == []

    def test_a_run_is_among_them_as_it_is_now(self) -> None:
        batch = self.begin(asks=1)
        assert self.store.asking(AskingFilter(now=START)) == (batch.summary,)
        batch = self.go_on(batch, asks=0)
        assert self._asking() == []
        batch = self.go_on(batch, asks=2, current_step=2)
        assert self.store.asking(AskingFilter(now=START)) == (batch.summary,)
        self.go_on(batch, **_ENDED)
        assert self._asking() == []

    def test_a_run_that_has_ended_is_not_among_them_whatever_a_writer_of_an_older_version_left_there(self) -> None:
        batch = self.begin("a", asks=1)
        self.begin("b", asks=1)
        self.go_on(batch, **{**_ENDED, "asks": 1})
        assert self._asking() == ["b"]

    def test_a_run_that_is_left_is_among_them_from_then_on(self) -> None:
        self.begin("a", left_at=START)
        self.begin("b", left_at=AT_ONCE)
        batch = self.begin("c", left_at=START + timedelta(minutes=1))
        assert self._asking() == ["a", "b"]
        self.go_on(batch, left_at=START)
        assert self._asking() == ["a", "b", "c"]

    def test_they_go_on_from_a_place_that_does_not_move_when_one_is_answered(self) -> None:
        batches = {run_id: self.begin(run_id, asks=1) for run_id in "abcd"}
        assert self._asking(after="b") == ["c", "d"]
        self.go_on(batches["b"], asks=0)
        assert self._asking(after="b", limit=1) == ["c"]
        assert self._asking(after="d") == []
        assert self._asking(after="no such run") == []

    def test_they_can_be_chosen_by_procedures(self) -> None:
        for run_id, name in (("a", "deploy"), ("b", "release"), ("c", "it's"), ("d", "deploy")):
            self.begin(run_id, name=name, asks=1)
        assert self._asking(names=("deploy", "it's", "nothing")) == ["a", "c", "d"]
        assert self._asking(names=()) == []
        self.begin("e", name="release", left_at=START)
        assert self._asked(names=("deploy",)) == 2
        assert self._asked(names=("release",)) == 2
        assert self._asked(names=()) == 0

    def test_all_that_is_asked_is_counted_beyond_the_limit_and_before_the_place(self) -> None:
        for run_id, asks in (("a", 1), ("b", 3), ("c", 0)):
            self.begin(run_id, asks=asks)
        assert self._asked(limit=1, after="b") == 4

    def test_a_run_that_is_left_counts_once_unless_somebody_drives_it_or_it_asks(self) -> None:
        self.begin("a", left_at=START)
        self.begin("b", left_at=START, asks=2)
        self.begin("c", left_at=START + timedelta(minutes=1))
        assert self._asked() == 3
        doomed = self.other()
        claim = doomed.claim("a", ANN, START)
        assert claim is not None
        assert self._asked() == 2
        self.kill(doomed, ANN)
        assert self._asked() == 3
        claim = self.store.claim("a", ANN, START)
        assert claim is not None
        self.store.release(claim)
        assert self._asked() == 3

    def test_a_corrected_summary_asks_what_it_says(self) -> None:
        batch = self.begin(asks=1)
        head = batch.events[-1].hash
        told = []
        for changed in ({"asks": 0}, {"asks": 2}, {"asks": 0, "left_at": AT_ONCE}):
            assert self.store.correct(msgspec.structs.replace(batch.summary, **changed), head)
            told.append((len(self._asking()), self._asked()))
        assert told == [(0, 0), (1, 2), (1, 1)]

    def test_the_procedures_of_which_there_are_runs_are_told(self) -> None:
        assert self.store.names() == ()
        for run_id, name in (("a", "deploy"), ("b", "bake"), ("c", "deploy"), ("d", "it's")):
            self.begin(run_id, name=name)
        assert self.store.names() == ("bake", "deploy", "it's")

    def test_summaries_can_be_chosen_by_several_procedures(self) -> None:
        for run_id, name in (("a", "deploy"), ("b", "bake"), ("c", "fry"), ("d", "deploy")):
            self.begin(run_id, name=name)
        assert self._counted(RunFilter(names=("deploy", "bake", "deploy"))) == (["d", "b", "a"], 3)
        assert self._counted(RunFilter(names=("deploy", "bake"), limit=1)) == (["d"], 3)
        assert self._counted(RunFilter(names=())) == ([], 0)

    def test_runs_are_counted_by_the_status_that_they_have_now(self) -> None:
        first = self.begin("a", name="bake")
        self.begin("b", name="bake", status=RunStatus.COMPLETED, ended_at=START)
        second = self.go_on(first, **_ENDED)
        assert self._totals("bake") == {RunStatus.COMPLETED: 1, RunStatus.FAILED: 1}
        third = self.go_on(second, status=RunStatus.RUNNING, ended_at=None)
        assert self._totals("bake") == {RunStatus.COMPLETED: 1, RunStatus.RUNNING: 1}
        self.go_on(third, **{**_ENDED, "status": RunStatus.CANCELLED})
        assert self._totals("bake") == {RunStatus.COMPLETED: 1, RunStatus.CANCELLED: 1}
        assert self._totals("fry") == {}
        assert not self.store.recount(mend=False)

    def test_a_corrected_summary_is_counted_as_what_it_says(self) -> None:
        batch = self.begin(name="bake", status=RunStatus.COMPLETED, ended_at=START)
        true = msgspec.structs.replace(batch.summary, name="fry", status=RunStatus.FAILED)
        assert self.store.correct(true, batch.events[-1].hash)
        assert (self._totals("bake"), self._totals("fry")) == ({}, {RunStatus.FAILED: 1})
        assert not self.store.recount(mend=False)

    def _asking(self, **which: Any) -> list[str]:
        return [run.run_id for run in self.store.asking(AskingFilter(now=START, **which))]

    def _asked(self, **which: Any) -> int:
        asked: int = self.store.asked(AskingFilter(now=START, **which))
        return asked

    def _counted(self, which: RunFilter) -> tuple[list[str], int]:
        found, total = self.store.summaries(which)
        return [run.run_id for run in found], total

    def _totals(self, name: str) -> dict[RunStatus, int]:
        of_each = {
            status: self.store.summaries(RunFilter(name=name, statuses=(status,), limit=0))[1] for status in RunStatus
        }
        assert self.store.summaries(RunFilter(name=name, limit=0))[1] == sum(of_each.values())
        return {status: count for status, count in of_each.items() if count}
