"""The database file: private, refused when it cannot be trusted, never replaced by something in memory."""

import gc
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from sopwith.core.admission import Occupancy
from sopwith.errors import Conflict, StoreError
from sopwith.ports import Batch
from sopwith.stores.failures import as_store_error
from sopwith.stores.migrate import migrations
from sopwith.stores.opening import refuse_unsafe_sqlite
from sopwith.stores.queries import SQL
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch, next_batch, owner

RUN = "sop_run_1"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "sops" / "runs.db"


@pytest.fixture
def store(database: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(database)
    store.create("deploy", lambda _: first_batch(RUN))
    yield store
    store.close()


def schema(database: Path) -> str:
    db = apsw.Connection(str(database))
    rows = db.execute("select sql from sqlite_schema where sql is not null and name not like 'sqlite_%' order by name")
    return "".join(f"{sql};\n" for (sql,) in rows)


def refusal(database: Path) -> StoreError:
    with pytest.raises(StoreError) as caught:
        SqliteStore(database)
    assert str(database) in caught.value.message
    assert caught.value.hint
    return caught.value


def damage(database: Path, sql: str) -> None:
    db = apsw.Connection(str(database))
    db.execute(sql)
    db.close()


# who may read it


def test_the_files_are_for_their_owner_alone(store: SqliteStore, database: Path) -> None:
    store.claim(RUN, owner("ann"), START)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in database.parent.iterdir()}
    names = ("runs.db", "runs.db-wal", "runs.db-shm", "runs.db.locks")
    assert modes == dict.fromkeys(names, 0o600)
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(store: SqliteStore, database: Path) -> None:
    store.close()
    database.chmod(0o644)
    SqliteStore(database).close()
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


# what is refused


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.50.6", "3.51.0", "3.51.2"])
def test_a_sqlite_with_the_wal_reset_bug_is_refused(version: str) -> None:
    with pytest.raises(StoreError, match=version) as caught:
        refuse_unsafe_sqlite(version)
    assert "apsw" in caught.value.hint


@pytest.mark.parametrize("version", ["3.44.6", "3.44.9", "3.50.7", "3.51.3", "3.54.1", "4.0.0"])
def test_a_repaired_sqlite_is_taken(version: str) -> None:
    refuse_unsafe_sqlite(version)


def test_an_unsafe_library_keeps_a_store_closed(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreError, match=r"3\.51\.2"):
        SqliteStore(database)
    assert not database.exists()


def test_a_store_of_a_newer_sopwith_is_refused(store: SqliteStore, database: Path) -> None:
    store.close()
    damage(database, "pragma user_version = 99")
    assert "schema is version 99" in refusal(database).message


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "runs.db"
    notes.write_bytes(b"dear diary, " * 1000)
    assert "not a database" in refusal(notes).message
    assert notes.read_bytes() == b"dear diary, " * 1000


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert "not a file" in refusal(tmp_path).message


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sops").write_text("")
    refusal(tmp_path / "sops" / "runs.db")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("chattr") is None, reason="only root can make a file immutable")
def test_a_file_that_can_only_be_read_is_refused(store: SqliteStore, database: Path) -> None:
    store.close()
    if subprocess.run(["chattr", "+i", database], capture_output=True).returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        assert "read" in refusal(database).message
    finally:
        subprocess.run(["chattr", "-i", database], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="no permission binds root")
def test_a_file_without_the_right_to_write_is_refused(store: SqliteStore, database: Path) -> None:
    store.close()
    database.chmod(0o400)
    refusal(database)


# while it is in use


@pytest.mark.parametrize("move", [Path.unlink, lambda path: path.rename(path.with_name("moved"))])
def test_a_store_whose_file_is_gone_takes_nothing_more(
    store: SqliteStore, database: Path, move: Callable[[Path], object]
) -> None:
    move(database)
    with pytest.raises(StoreError, match="deleted or replaced"):
        store.append(RUN, 1, next_batch(first_batch(RUN)))


@pytest.mark.parametrize("move", [Path.unlink, lambda path: path.rename(path.with_name("moved"))])
def test_whoever_waits_for_changes_hears_that_the_file_is_gone(
    store: SqliteStore, database: Path, move: Callable[[Path], object]
) -> None:
    """No change would ever come: others write to another file, and this one takes nothing more."""
    store.version()
    move(database)
    with pytest.raises(StoreError, match="deleted or replaced"):
        store.version()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_store_is_of_no_use_after_a_fork(store: SqliteStore) -> None:
    child = os.fork()
    if child == 0:
        try:
            store.summary(RUN)
        except StoreError:
            store.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    store.append(RUN, 1, next_batch(first_batch(RUN)))


def test_a_fork_cannot_give_back_the_claim_of_its_parent(store: SqliteStore) -> None:
    other, claim = SqliteStore(store._db.path), store.claim(RUN, owner("me"), START)
    child = os.fork()
    if child == 0:
        try:
            store.release(claim)
        except StoreError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert other.holder(RUN) == owner("me")
    other.close()


def test_a_plan_that_dies_leaves_the_store_usable(store: SqliteStore) -> None:
    def plan(_: Occupancy) -> Batch:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.create("deploy", plan)
    store.append(RUN, 1, next_batch(first_batch(RUN)))


def test_an_event_that_cannot_be_stored_takes_its_whole_batch_with_it(store: SqliteStore) -> None:
    batch = next_batch(first_batch(RUN), count=2, contents=[b"x"])
    damage(store._db.path, "create trigger full before insert on contents begin select raise(abort, 'full'); end")
    with pytest.raises(StoreError, match="full"):
        store.append(RUN, 1, batch)
    assert len(store.events(RUN)) == 1
    with pytest.raises(Conflict):
        store.append(RUN, 3, next_batch(batch))


def test_the_own_commits_need_not_change_the_version_but_those_of_others_do(store: SqliteStore, database: Path) -> None:
    other = SqliteStore(database)
    seen = other.version()
    store.remember("key", b"value")
    assert other.version() != seen
    other.close()


def test_a_reading_of_the_log_sees_one_state_while_others_write(store: SqliteStore, database: Path) -> None:
    other = SqliteStore(database)
    with store.log.reading():
        assert store.log.end().high_water == 1
        other.append(RUN, 1, next_batch(first_batch(RUN)))
        assert store.log.end().high_water == len(store.log.entries(0, 9)) == 1
        assert store.log.entries(0, 9)[0].run_seq == 1
    assert store.log.end().high_water == 2
    other.close()


# the schema


def test_the_schema_is_the_sum_of_the_migrations(store: SqliteStore) -> None:
    """`schema.sql` shows it whole; a new migration changes that file in the same commit."""
    assert schema(store._db.path) == Path(__file__).with_name("schema.sql").read_text()


def test_a_store_can_be_brought_up_from_every_version(tmp_path: Path, store: SqliteStore) -> None:
    for reached in range(len(migrations())):
        old = tmp_path / f"{reached}.db"
        with apsw.Connection(str(old)) as db:
            for number, file in enumerate(migrations()[:reached], start=1):
                db.execute(file.read_text())
                db.pragma("user_version", number)
        db.close()
        SqliteStore(old).close()
        assert schema(old) == schema(store._db.path)


def test_runs_from_before_concurrency_groups_belong_to_none(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with apsw.Connection(str(old)) as db:
        for number, file in enumerate(migrations()[:2], start=1):
            db.execute(file.read_text())
            db.pragma("user_version", number)
        db.execute(
            "insert into runs values (1, 'sop_run_1', 'deploy', '1', 'running', 1, x'00', 'auto', 'normal', 1, 1,"
            " 0, 'ann', 0, null, null, 1, 0, x'00')"
        )
    db.close()
    store = SqliteStore(old)
    found = store.summary(RUN)
    assert found is not None
    assert found.concurrency_group == ""
    seen: list[tuple[str, ...]] = []

    def plan(occupancy: Occupancy) -> Batch:
        seen.extend((tuple(occupancy.of_workspace), occupancy.of_group))
        return first_batch("sop_run_2", concurrency_group="production")

    store.create("deploy", plan, group="production")
    assert seen == [(RUN,), ()]
    store.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = [int(file.name.split("_")[0]) for file in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == len(list((SQL / "migrations").iterdir()))


def test_a_migration_that_fails_leaves_nothing_behind(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "0002_bad.sql"
    bad.write_text("create table half (a); create table half (a);")
    monkeypatch.setattr("sopwith.stores.migrate.migrations", lambda: (*migrations(), bad))
    with pytest.raises(StoreError, match="half"):
        SqliteStore(database)
    assert schema(database) == ""


# sop doctor


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        ("delete from events where seq = 2", "should have the events 1 to 3"),
        ("delete from events where seq = 3", "should have the events 1 to 3"),
        ("update runs set seq = 2", "should have the events 1 to 2"),
        ("update runs set head = zeroblob(32)", "not the one that its row names"),
        ("update events set hash = zeroblob(32) where seq = 1", "event 2 of sop_run_1 does not follow"),
        ("update events set prev_hash = randomblob(32) where seq = 1", "event 1 of sop_run_1 does not follow"),
        ("pragma foreign_keys = off; update events set run = 99", "refers to a row of runs"),
        ("drop index runs_due", None),
    ],
)
def test_the_check_finds_what_was_changed_by_hand(
    store: SqliteStore, database: Path, wrong: str, finding: str | None
) -> None:
    store.append(RUN, 1, next_batch(first_batch(RUN), count=2))
    assert store.check() == []
    damage(database, wrong)
    found = store.check()
    assert found == [] if finding is None else any(finding in line for line in found)


def test_the_check_finds_a_damaged_page(store: SqliteStore, database: Path) -> None:
    store.append(RUN, 1, next_batch(first_batch(RUN), contents=[b"x" * 100_000]))
    store.close()
    with apsw.Connection(str(database)) as db:
        roots = [root for (root,) in db.execute("select rootpage from sqlite_schema where rootpage > 0")]
    content = bytearray(database.read_bytes())
    for root in roots:
        content[(root - 1) * 4096 : (root - 1) * 4096 + 8] = b"\xff" * 8
    database.write_bytes(content)
    store = SqliteStore(database)
    assert store.check()
    with pytest.raises(StoreError, match="damaged"):
        store.events(RUN)
    store.close()


def test_a_failure_for_which_sqlite_has_no_word_is_not_called_none(tmp_path: Path) -> None:
    told = as_store_error(apsw.FullError("not an error"), tmp_path / "runs.db")
    assert told.message.endswith("runs.db: the disk is full")


def test_who_holds_slots_is_read_only_where_somebody_looks_and_once(store: SqliteStore) -> None:
    """There may be thousands, and most procedures have no limit."""
    asked: list[str] = []
    store._db._connection.exec_trace = lambda _cursor, sql, _values: asked.append(sql) is None

    def plan(occupancy: Occupancy) -> Batch:
        assert not any("runs_holding_slots" in sql for sql in asked)
        assert (len(occupancy.of_workspace), occupancy.of_workspace[0], list(occupancy.of_workspace)) == (1, RUN, [RUN])
        assert sum("runs_holding_slots" in sql for sql in asked) == 1
        return first_batch("sop_run_2")

    store.create("deploy", plan)


def test_an_event_after_which_a_run_asks_the_same_writes_nothing_for_the_inbox(store: SqliteStore) -> None:
    asked: list[str] = []
    before = next_batch(first_batch(RUN), asks=1)
    store.append(RUN, 1, before)
    store._db._connection.exec_trace = lambda _cursor, sql, _values: asked.append(sql) is None
    after = next_batch(before, current_step=2)
    store.append(RUN, 2, after)
    assert asked
    assert not any("asks =" in sql or "status =" in sql for sql in asked)
    store.append(RUN, 3, next_batch(after, asks=2))
    assert sum("asks =" in sql for sql in asked) == 1
    assert not any("status =" in sql for sql in asked), "no other index is written for it"


def test_a_store_that_nobody_holds_any_more_has_let_go_of_its_file(tmp_path: Path) -> None:
    """At once, and not when garbage is next looked for: others see what is left of it."""
    path = tmp_path / "runs.db"
    gc.collect()
    gc.disable()
    try:
        store = SqliteStore(path)
        assert store.summary("sop_run_1") is None
        del store
        assert {file.name for file in tmp_path.iterdir()} == {"runs.db", "runs.db.locks"}
    finally:
        gc.enable()
