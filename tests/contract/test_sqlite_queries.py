"""The queries: named, used, and answered from an index however many runs there are."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import sopwith.stores
from sopwith.stores.opening import open_database
from sopwith.stores.queries import SQL, queries

NO_INDEX_NEEDED = {
    "insert_run",
    "insert_event",
    "insert_content",
    "take_claim",
    "remember",
    "insert_checkpoint",
    "insert_tombstone",
    "insert_restoration",
    "insert_token",
    "insert_access",
    "insert_notice",
    "move_reading_cursor",
    "insert_delivery",
    "move_trigger_cursor",
    "keep_watched_file",
    "keep_ended_runs",
}
WHOLE_STORE = {
    "runs_with_gaps",
    "runs_with_wrong_head",
    "broken_links",
    "run_without_events",
    "tombstones",
    "restorations",
    "void_claims",
    "all_tokens",
    "newest_access_of",
    "revoke_all_tokens",
    "void_deliveries",
    "forget_watched_files",
    "recount_ended_runs",
    "forget_ended_runs",
}
"""For sop doctor and sop audit --verify-all, which read everything."""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    with closing(open_database(tmp_path_factory.mktemp("store") / "runs.db").connection) as db:
        yield db


def plan(db: apsw.Connection, name: str) -> list[str]:
    sql = queries()[name]
    bindings = dict.fromkeys(re.findall(r":(\w+)", sql))
    return [row[3] for row in db.execute("explain query plan " + sql, bindings)]


@pytest.mark.parametrize("name", sorted(queries().keys() - NO_INDEX_NEEDED - WHOLE_STORE))
def test_a_query_looks_up_an_index(db: apsw.Connection, name: str) -> None:
    """`SCAN runs` without an index is fine only where it is the newest runs in order, up to the limit."""
    steps = plan(db, name)
    assert steps
    for step in steps:
        by_age = name == "newest_runs" and step == "SCAN runs"
        small = name == "slots_of_workspace" and "TEMP B-TREE" in step
        small |= name == "log_high_water"  # a table of one row
        small |= name == "access_high_water"
        small |= step == "SCAN ended_runs"  # three rows for each procedure
        small |= name == "left_runs" and "TEMP B-TREE" in step
        small |= step.startswith(("LIST SUBQUERY", "SCAN json_each", "CREATE BLOOM FILTER"))  # the names asked for
        small |= name == "names_of_runs" and step in ("CO-ROUTINE found", "SETUP", "RECURSIVE STEP", "SCAN found")
        small |= step.startswith("CORRELATED SCALAR SUBQUERY")  # whose own lookup is the next line
        by_age |= name == "waiting_deliveries" and step == "SCAN deliveries USING INDEX deliveries_waiting"
        by_age |= name == "newest_checkpoint" and step == "SCAN checkpoints"
        by_age |= name == "newest_access" and step == "SCAN access"
        by_age |= name == "newest_notices" and step == "SCAN notices"
        assert by_age or small or (" USING " in step and "TEMP B-TREE" not in step), steps


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("newest_runs_of_name", "runs_by_name"),
        ("newest_runs_of_status", "runs_by_status"),
        ("newest_runs_of_name_and_status", "runs_by_name_and_status"),
        ("names_of_runs", "runs_by_name"),
        ("count_open_runs", "runs_by_status"),
        ("count_open_runs_of_name", "runs_by_name_and_status"),
        ("open_runs", "runs_by_status"),
        ("asking_runs", "runs_asking"),
        ("count_asked", "COVERING INDEX runs_asking"),
        ("left_runs", "COVERING INDEX runs_asking"),
        ("slots_of_name", "runs_holding_slots"),
        ("slots_of_workspace", "runs_holding_slots"),
        ("slots_of_group", "runs_of_group"),
        ("queued_before", "runs_by_name_and_status"),
        ("queued_before", "runs_of_group"),
        ("queued_in_group", "runs_of_group"),
        ("last_executed_end", "runs_last_executed"),
        ("due_runs", "runs_due"),
        ("waiting_channels", "notices_waiting"),
        ("due_notices", "notices_waiting"),
        ("prune_notices", "notices_ended"),
        ("void_notices", "notices_waiting"),
        ("settled_deliveries", "deliveries_settled"),
        ("oldest_waiting_delivery", "deliveries_waiting"),
        ("waiting_deliveries", "deliveries_waiting"),
        ("count_waiting_of_trigger", "deliveries_waiting_of_trigger"),
        ("prune_deliveries", "deliveries_settled"),
        ("trigger_of_run", "deliveries_of_run"),
    ],
)
def test_the_index_is_the_one_made_for_the_query(db: apsw.Connection, name: str, index: str) -> None:
    assert any(re.search(rf"\b{index}\b", step) for step in plan(db, name)), plan(db, name)


@pytest.mark.parametrize("name", [name for name, sql in queries().items() if sql.startswith(("select", "with"))])
def test_a_statement_is_planned_once_whatever_it_is_asked_for(db: apsw.Connection, name: str) -> None:
    sql = queries()[name]
    looked_at: list[object] = []

    def noted(*what: object) -> int:
        looked_at.append(what)
        return apsw.SQLITE_OK

    # asked of each part of a statement when that is planned; to set it lets go of all plans
    db.authorizer = noted
    try:
        for value in (1, 2, 3):
            before = len(looked_at)
            db.execute(sql, dict.fromkeys(re.findall(r":(\w+)", sql), value)).fetchall()
            assert (len(looked_at) > before) is (value == 1)
    finally:
        db.authorizer = None


def test_every_query_has_a_sentence_and_no_name_twice() -> None:
    text = (SQL / "queries.sql").read_text()
    named = re.findall(r"^-- name: (\w+)\n-- [A-Z].*\.$", text, re.MULTILINE)
    assert named == list(queries())
    assert len(named) == text.count("-- name:")


def test_every_query_is_used() -> None:
    folder = Path(sopwith.stores.__file__).parent
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    made = {f"newest_runs{kind}" for kind in ("", "_of_name", "_of_status", "_of_name_and_status")}
    made |= {f"count_{kind}_runs{of_name}" for kind in ("ended", "open") for of_name in ("", "_of_name")}
    assert {name for name in queries() if f'"{name}"' not in code} == made
