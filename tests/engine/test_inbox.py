"""The inbox page by page: what was there as a whole is there in pages, and nobody sees more, or less, than before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from sopwith.assembly import open_engine
from sopwith.core.actor import Actor
from sopwith.core.config import Role
from sopwith.core.due import AT_ONCE
from sopwith.core.grants import Grant
from sopwith.core.people import Directory
from sopwith.engine.doctor import examine
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.reading import Reader
from sopwith.errors import BadName, NotFound, StoreError
from sopwith.ports import ExecutorKind, RunFilter, Workspace

from .bench import ANN, BOB, Bench

GATED = {"requiresApproval": True}
BY_HAND = {"run": None, "executor": "manual"}


def pages(reader: Reader, limit: int, actor: Actor | None = None, **which: Any) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = reader.inbox(actor, limit=limit, after=after, **which)
        yield page
        after = page["nextAfter"]
        if after is None:
            return


def resting(bench: Bench) -> str:
    """A run in the middle of a wait, which nobody drives."""
    run_id = bench.create("rests")
    bench.loop.run_until_complete(drive(bench.engine().parts, run_id, linger=False))
    return run_id


@pytest.fixture
def waiting(bench: Bench) -> list[str]:
    """Runs of all sorts, the oldest first: three gates in one, a paused one, one by hand, one queued, one left."""
    bench.procedure("wide", *[{**GATED, "dependsOn": []}] * 3)
    bench.procedure("gated", GATED)
    bench.procedure("manual", {**BY_HAND})
    bench.procedure("single", GATED, maxConcurrent=1)
    bench.procedure("quick", {})
    bench.kinds.known["wait"] = ExecutorKind(name="wait", needs_script=False)
    bench.procedure("rests", {"run": None, "executor": "wait", "waitSecs": 3600})
    made = [bench.run(name).run_id for name in ("wide", "gated", "quick", "manual")]
    made += [resting(bench), bench.run("single").run_id]
    made += [bench.create("single", queue=True), bench.create("quick"), bench.run("gated").run_id]
    bench.engine().pause(made[1], actor=ANN, reason="lunch")
    return made


def test_all_that_waits_is_told_the_longest_waiting_first(bench: Bench, waiting: list[str]) -> None:
    found = bench.reader.inbox()
    wide, paused, _quick, manual, _rests, single, queued, left, last = waiting
    told = [(item["runId"], item["kind"]) for item in found["items"]]
    assert told == [
        *[(wide, "approval")] * 3,
        (paused, "paused"),
        (manual, "manual"),
        (single, "approval"),
        (queued, "queued"),
        (left, "undriven"),
        (last, "approval"),
    ]
    assert (found["total"], found["nextAfter"]) == (9, None)


def test_no_run_that_has_anything_is_left_out(bench: Bench, waiting: list[str]) -> None:
    reader = bench.reader
    each = [reader._asked_in(bench.now(run_id), ANN, Directory(None)) for run_id in waiting]
    assert [item for items in each for item in items] == reader.inbox(ANN)["items"]
    asked = [summary.asks for summary in reversed(bench.store.summaries(RunFilter())[0])]
    assert asked == [3, 1, 0, 1, 0, 1, 0, 0, 1]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8, 9, 200])
def test_pages_hold_what_the_whole_holds_and_each_tells_how_much_that_is(
    bench: Bench, waiting: list[str], limit: int
) -> None:
    whole = bench.reader.inbox(ANN)
    found = list(pages(bench.reader, limit, ANN))
    assert [item for page in found for item in page["items"]] == whole["items"]
    assert {page["total"] for page in found} == {whole["total"]}
    assert all(len(page["items"]) >= limit for page in found[:-1])


def test_what_one_run_asks_is_never_cut_apart(bench: Bench, waiting: list[str]) -> None:
    page = bench.reader.inbox(limit=1)
    assert [item["stepNumber"] for item in page["items"]] == [1, 2, 3]
    assert page["nextAfter"] == waiting[0]


def test_a_page_reads_no_more_runs_than_it_shows(bench: Bench, waiting: list[str]) -> None:
    reader, read = bench.reader, list[str]()
    load = reader._records.load

    def counted(run_id: str) -> Any:
        read.append(run_id)
        return load(run_id)

    reader._records.load = counted  # type: ignore[method-assign]
    reader.inbox(limit=3)
    assert read == waiting[:1]


def test_a_run_that_was_answered_is_gone_and_the_next_page_is_what_it_was(bench: Bench, waiting: list[str]) -> None:
    first = bench.reader.inbox(limit=4)
    for step in (1, 2, 3):
        bench.engine().approve(waiting[0], step=step, actor=ANN)
    bench.drive(waiting[0])
    second = bench.reader.inbox(limit=1, after=first["nextAfter"])
    assert [item["runId"] for item in second["items"]] == [waiting[3]]
    assert second["total"] == 6


def test_a_run_that_somebody_drives_does_not_stand_still_and_is_not_counted(bench: Bench) -> None:
    bench.procedure("slow", {"run": "slow"})
    bench.procedure("gated", GATED)
    run_id = bench.create("slow")
    gated = [bench.run("gated").run_id for _ in range(2)]
    assert bench.reader.inbox(limit=1)["total"] == 3
    claim = bench.store.claim(run_id, bench.engine().parts.owner(), bench.clock.now().at)
    assert claim is not None
    page = bench.reader.inbox(limit=1)
    assert [item["runId"] for item in page["items"]] == gated[:1]
    assert page["total"] == 2


def test_only_what_may_be_approved_is_mine_however_far_back_it_stands(bench: Bench) -> None:
    bench.procedure("theirs", {**GATED, "approval": {"approvers": ["user:bob"], "onTimeout": "pause"}})
    rules = {"approvers": ["user:ann"], "allowSelfApproval": True, "onTimeout": "pause"}
    bench.procedure("mine", {**GATED, "approval": rules})
    bench.procedure("manual", {**BY_HAND})
    for _ in range(3):
        bench.run("theirs")
    mine, manual = bench.run("mine").run_id, bench.run("manual").run_id
    found = bench.reader.inbox(ANN, limit=2, mine=True)
    assert [item["runId"] for item in found["items"]] == [mine, manual]
    assert (found["total"], found["nextAfter"]) == (2, None)
    first = bench.reader.inbox(ANN, limit=1, mine=True)
    assert ([item["runId"] for item in first["items"]], first["total"], first["nextAfter"]) == ([mine], None, mine)
    assert len(bench.reader.inbox(BOB, mine=True)["items"]) == 4
    assert len(bench.reader.inbox(ANN)["items"]) == 5


def token(*procedures: str) -> Actor:
    return replace(ANN, grant=Grant(role=Role.APPROVER, procedures=procedures))


def test_a_page_holds_and_counts_only_what_the_actor_may_know_of(bench: Bench, waiting: list[str]) -> None:
    for names, shown in ((("gated", "man*"), ["gated", "manual", "gated"]), (("nothing",), []), (("*",), None)):
        reader = Reader(bench.engine(), token(*names))
        whole = bench.reader.inbox(ANN)
        expected = [item["sopName"] for item in whole["items"]] if shown is None else shown
        for limit in (1, 2, 20):
            found = list(pages(reader, limit, token(*names)))
            assert [item["sopName"] for page in found for item in page["items"]] == expected
            assert {page["total"] for page in found} == {len(expected)}


def test_history_holds_only_what_the_actor_may_know_of(bench: Bench, waiting: list[str]) -> None:
    reader = Reader(bench.engine(), token("gated", "man*"))
    seen = reader.history()
    assert [run["runId"] for run in seen["runs"]] == [waiting[8], waiting[3], waiting[1]]
    assert seen["total"] is None
    assert [run["runId"] for run in reader.history(limit=1, before=waiting[8])["runs"]] == [waiting[3]]
    assert reader.history(name="wide") == {"runs": [], "total": None}
    assert reader.history(name="manual")["total"] == 1


def test_a_place_that_is_not_there_is_told_and_nothing_is_shown_from_elsewhere(
    bench: Bench, waiting: list[str]
) -> None:
    with pytest.raises(NotFound):
        bench.reader.inbox(after="sop_run_nobody")
    with pytest.raises(BadName):
        bench.reader.inbox(after="nobody")
    with pytest.raises(NotFound):
        Reader(bench.engine(), token("gated")).inbox(after=waiting[0])


def test_a_run_that_rests_is_there_once_its_time_has_come_and_nobody_drives_it(
    bench: Bench, waiting: list[str]
) -> None:
    bench.pass_time(3601)
    found = bench.reader.inbox()
    assert (waiting[4], "undriven") in [(item["runId"], item["kind"]) for item in found["items"]]
    assert [page["total"] for page in pages(bench.reader, 4)] == [found["total"]] * 3


# stores of older versions, and of people who edit them

SHEETS = {
    "gated": {
        "steps": [{"number": 1, "title": "A", "run": "true"}, {"number": 2, "title": "B", "run": "true", **GATED}]
    },
    "manual": {"steps": [{"number": 1, "title": "A"}]},
    "quick": {"steps": [{"number": 1, "title": "A", "run": "true"}]},
    "single": {"steps": [{"number": 1, "title": "A", "run": "true", **GATED}], "maxConcurrent": 1},
}


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Engine]:
    sops = tmp_path / ".pi" / "sops"
    for name, manifest in SHEETS.items():
        (sops / name).mkdir(parents=True)
        document = {"name": name, "description": name, "version": "1.0.0", "executionMode": "auto", **manifest}
        (sops / name / "manifest.json").write_text(json.dumps(document))
    (sops / "index.json").write_text(json.dumps({name: f"{name}/manifest.json" for name in SHEETS}))
    engine = open_engine(Workspace(tmp_path))
    with closing(engine.parts.store):
        for name in SHEETS:
            run = engine.create_run(RunRequest(name=name), actor=ANN)
            asyncio.run(drive(engine.parts, run.run_id))
        engine.create_run(RunRequest(name="single", queue=True), actor=ANN)
        engine.create_run(RunRequest(name="quick"), actor=ANN)
        yield engine


def as_of_version_8(database: Path) -> None:
    """The file as the version before left it."""
    with closing(apsw.Connection(str(database))) as db:
        db.execute(
            "drop trigger runs_ended; drop trigger runs_made_ended; drop table ended_runs; drop index runs_asking;"
            "alter table runs drop column asks; alter table runs drop column left_at;"
            "alter table deliveries drop column digest; pragma user_version = 8"
        )


def test_the_inbox_of_an_older_store_is_what_it_was(real: Engine) -> None:
    whole, history = Reader(real).inbox(ANN), Reader(real).history(name="quick")
    summaries = real.parts.store.summaries(RunFilter())
    assert (whole["total"], history["total"]) == (5, 2)
    real.parts.store.close()
    as_of_version_8(real.parts.workspace.database)
    again = open_engine(real.parts.workspace)
    with closing(again.parts.store):
        assert again.parts.store.summaries(RunFilter()) == summaries
        assert [page["total"] for page in pages(Reader(again), 2, ANN)] == [5] * 3
        assert Reader(again).inbox(ANN) == whole
        assert Reader(again).history(name="quick") == history
        assert examine(again) == ()


def test_a_run_of_an_older_store_that_cannot_be_read_is_not_lost_from_the_inbox(real: Engine) -> None:
    [run] = real.parts.store.summaries(RunFilter(name="manual"))[0]
    real.parts.store.close()
    database = real.parts.workspace.database
    as_of_version_8(database)
    with closing(apsw.Connection(str(database))) as db:
        db.execute("delete from contents where digest = ?", (bytes.fromhex(run.procedure_digest),))
    again = open_engine(real.parts.workspace)
    with closing(again.parts.store):
        found = again.parts.store.summary(run.run_id)
        assert found is not None
        assert (found.asks, found.left_at) == (1, None)
        with pytest.raises(StoreError, match="procedure"):
            Reader(again).inbox()


def test_what_was_edited_by_hand_is_found_and_put_right(real: Engine) -> None:
    whole = Reader(real).inbox()
    with closing(apsw.Connection(str(real.parts.workspace.database))) as db:
        db.execute("update runs set asks = 0, left_at = null; update ended_runs set count = count + 41")
    assert Reader(real).inbox()["items"] == []
    told = [finding.message for finding in examine(real, mend=False)]
    assert sum("asks was 0, is 1" in each for each in told) == 3
    assert sum(f"left_at was None, is {AT_ONCE}" in each for each in told) == 2
    assert "ended runs were not counted right: counted anew" in told
    assert all(finding.mended for finding in examine(real))
    assert examine(real) == ()
    assert Reader(real).inbox() == whole
    assert Reader(real).history()["total"] == 6
