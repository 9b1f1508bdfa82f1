"""The SQLite store on a disk that fails: at each write, sync and truncation in turn, once or from then on.

Whatever fails, what was acknowledged is there afterwards, once; and the store goes on when the cause is gone.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest

from sopwith.core.codec import link
from sopwith.errors import StoreError
from sopwith.ports import Batch
from sopwith.stores.migrate import migrations
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch, next_batch, owner

from .faulty_disk import Disk, Fault, failing, faulty_disk

RUN = "sop_run_1"
FULL, EIO_WRITE = failing(apsw.SQLITE_FULL), failing(apsw.SQLITE_IOERR_WRITE)
EIO_SYNC, EIO_TRUNCATE = failing(apsw.SQLITE_IOERR_FSYNC), failing(apsw.SQLITE_IOERR_TRUNCATE)
FAULTS = {
    "full": ("write", FULL, False),
    "short": ("write", FULL, True),
    "eio": ("write", EIO_WRITE, False),
    "sync": ("sync", EIO_SYNC, False),
    "truncate": ("truncate", EIO_TRUNCATE, False),
}
APPENDS = 6


@pytest.fixture
def disk() -> Iterator[Disk]:
    with faulty_disk() as disk:
        yield disk


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: the faults are ours, the real disk has no part in this."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


def last_batch(store: SqliteStore) -> Batch | None:
    summary = store.summary(RUN)
    return None if summary is None else Batch(events=store.events(RUN, summary.seq - 1), summary=summary)


def add(store: SqliteStore) -> int:
    """Reads what is there, as whoever was refused does, and adds to it; tells the seq that was acknowledged."""
    before = last_batch(store)
    if before is None:
        return store.create("deploy", lambda _: first_batch(RUN)).summary.seq
    batch = next_batch(before, count=2, contents=[os.urandom(9000)])
    store.append(RUN, before.summary.seq, batch)
    return batch.summary.seq


def suffer(database: Path) -> int:
    """Opens, creates, appends and checkpoints; what is refused is tried no more. Tells the last acknowledged seq."""
    acknowledged = 0
    with suppress(StoreError):
        store = SqliteStore(database)
        store._db._connection.pragma("wal_autocheckpoint", 6)
        for _ in range(APPENDS):
            with suppress(StoreError):
                acknowledged = add(store)
        with suppress(apsw.Error):
            store.close()
    return acknowledged


def check(database: Path, acknowledged: int) -> None:
    store = SqliteStore(database)
    events = store.events(RUN)
    assert len(events) >= acknowledged
    prev_hash = "0" * 64
    for seq, event in enumerate(events, start=1):
        assert (event.seq, event.prev_hash, event.hash) == (seq, prev_hash, link(prev_hash, event.payload))
        prev_hash = event.hash
    assert store.check() == []
    assert store._db._connection.pragma("integrity_check") == "ok"
    assert add(store) > acknowledged
    store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_call_fails_nothing_acknowledged_is_lost(
    disk: Disk, quick_folder: Path, name: str, lasting: bool
) -> None:
    call, make, short = FAULTS[name]
    for number in range(1, 400):
        database = quick_folder / f"{number}.db"
        disk.counts.clear()
        disk.fault = fault = Fault(call, number, make, lasting=lasting, short=short)
        acknowledged = suffer(database)
        disk.heal()
        check(database, acknowledged)
        if not fault.hit:
            assert number > 1
            return
    pytest.fail("the scenario never got through")


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from-then-on"])
def test_after_a_failed_sync_nothing_is_acknowledged_on_that_connection(
    disk: Disk, tmp_path: Path, lasting: bool
) -> None:
    """The kernel may have dropped the pages: a later sync would succeed and prove nothing."""
    store = SqliteStore(tmp_path / "runs.db")
    add(store)
    connection, version = store._db._connection, store.version()
    disk.fault = Fault("sync", disk.counts["sync"] + 1, EIO_SYNC, lasting=lasting)
    with pytest.raises(StoreError, match="reading or writing it failed"):
        add(store)
    if lasting:
        for _ in range(3):
            with pytest.raises(StoreError, match="and still does"):
                add(store)
        assert store._db._connection is connection
        disk.heal()
    assert add(store) == 3
    assert store._db._connection is not connection
    assert store.version() != version
    store.close()
    check(tmp_path / "runs.db", 3)


def test_a_file_that_was_replaced_meanwhile_is_not_opened_anew(disk: Disk, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    add(store)
    disk.fault = Fault("sync", disk.counts["sync"] + 1, EIO_SYNC, lasting=False)
    with pytest.raises(StoreError):
        add(store)
    (tmp_path / "runs.db").rename(tmp_path / "moved")
    with pytest.raises(StoreError, match="failed to keep"):
        add(store)
    assert not (tmp_path / "runs.db").exists()
    store.close()


def test_a_full_disk_refuses_and_takes_more_as_soon_as_there_is_room(disk: Disk, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    add(store)
    disk.fault = Fault("write", disk.counts["write"] + 2, FULL, lasting=True)
    for _ in range(3):
        with pytest.raises(StoreError, match="the disk is full") as caught:
            add(store)
        assert "make room" in caught.value.hint
        assert len(store.events(RUN)) == 1, "what is there can be read meanwhile"
    disk.heal()
    assert add(store) == 3
    store.close()


def test_a_claim_that_could_not_be_recorded_keeps_nobody_out(disk: Disk, tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "runs.db")
    add(store)
    disk.fault = Fault("write", disk.counts["write"] + 1, FULL, lasting=True)
    with pytest.raises(StoreError, match="the disk is full"):
        store.claim(RUN, owner("me"), START)
    assert store.holder(RUN) is None
    disk.heal()
    claim = other.claim(RUN, owner("another"), START)
    assert claim is not None
    other.release(claim)
    assert store.claim(RUN, owner("me"), START) is not None
    store.close()
    other.close()


def test_a_claim_whose_end_could_not_be_recorded_keeps_nobody_out(disk: Disk, tmp_path: Path) -> None:
    """Else a server would hold a run for as long as it lives, and drive it no more."""
    store, other = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "runs.db")
    add(store)
    claim = store.claim(RUN, owner("me"), START)
    disk.fault = Fault("sync", disk.counts["sync"] + 1, EIO_SYNC, lasting=True)
    with pytest.raises(StoreError, match="reading or writing it failed"):
        add(store)
    with pytest.raises(StoreError, match="and still does"):
        store.release(claim)
    disk.heal()
    assert store.holder(RUN) is None
    again = store.claim(RUN, owner("me"), START)
    assert again is not None
    assert again.epoch > claim.epoch
    store.release(again)
    assert other.claim(RUN, owner("another"), START) is not None
    store.close()
    other.close()


@pytest.mark.parametrize("call", ["write", "sync"])
def test_a_claim_on_a_run_that_could_not_be_created_keeps_nobody_out(disk: Disk, tmp_path: Path, call: str) -> None:
    """The next run to be created gets its row, and with that the place of its lock."""
    store, other = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "runs.db")
    add(store)
    disk.fault = Fault(call, disk.counts[call] + 1, {"write": FULL, "sync": EIO_SYNC}[call], lasting=True)
    with pytest.raises(StoreError):
        store.create("deploy", lambda _: first_batch("sop_run_2"), driver=owner("me"))
    disk.heal()
    created = other.create("deploy", lambda _: first_batch("sop_run_2"), driver=owner("another"))
    assert created.claim is not None
    other.release(created.claim)
    assert store.claim("sop_run_2", owner("me"), START) is not None
    store.close()
    other.close()


def test_a_first_claim_that_cannot_be_written_keeps_nobody_out(tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "runs.db")
    add(store)
    store._db._connection.execute(
        "create temp trigger full before insert on claims begin select raise(abort, 'no more'); end"
    )
    with pytest.raises(StoreError):
        store.create("deploy", lambda _: first_batch("sop_run_2"), driver=owner("me"))
    created = other.create("deploy", lambda _: first_batch("sop_run_2"), driver=owner("another"))
    assert created.claim is not None
    store.close()
    other.close()


# migrations


def test_a_migration_that_is_killed_at_any_write_is_made_anew_by_the_next_opening(disk: Disk, tmp_path: Path) -> None:
    """What a kill leaves is what lies in the files at that write: a copy of them is opened."""
    old = tmp_path / "old"
    old.mkdir()
    with apsw.Connection(str(old / "runs.db")) as db:
        for number, file in enumerate(migrations()[:2], start=1):
            db.execute(file.read_text())
            db.pragma("user_version", number)
        db.execute(
            "insert into runs values (1, 'sop_run_1', 'deploy', '1', 'running', 1, x'00', 'auto', 'normal', 1, 1,"
            " 0, 'ann', 0, null, null, 1, 0, x'00')"
        )
    db.close()
    for number in range(1, 100):
        here, image = tmp_path / f"{number}", tmp_path / f"{number}-image"
        shutil.copytree(old, here)

        def killed(here: Path = here, image: Path = image) -> apsw.Error:
            if not image.exists():
                shutil.copytree(here, image, ignore=shutil.ignore_patterns("*-shm"))
            return FULL()

        disk.counts.clear()
        disk.fault = fault = Fault("write", number, killed, lasting=True)
        with suppress(StoreError):
            SqliteStore(here / "runs.db").close()
        disk.heal()
        for folder in (here, image) if fault.hit else (here,):
            store = SqliteStore(folder / "runs.db")
            assert store.summary(RUN) is not None
            assert store._db._connection.pragma("user_version") == len(migrations())
            assert store._db._connection.pragma("integrity_check") == "ok"
            store.close()
        if not fault.hit:
            assert number > 3
            return
    pytest.fail("the migration never got to its end")


# a damaged file


def test_a_store_that_met_damage_writes_no_more_and_is_read_as_far_as_it_can_be(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    store = SqliteStore(database)
    add(store)
    store.create("deploy", lambda _: first_batch("sop_run_2", contents=[b"x" * 50_000]))
    store.close()
    db = apsw.Connection(str(database))
    (page,) = db.execute("select rootpage from sqlite_schema where name = 'contents'").fetchone()
    db.close()
    content = bytearray(database.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    database.write_bytes(content)
    store = SqliteStore(database)
    with pytest.raises(StoreError, match="damaged"):
        store.content("00" * 32)
    assert len(store.events(RUN)) == 1
    before = last_batch(store)
    assert before is not None
    with pytest.raises(StoreError, match="damaged") as caught:
        store.append(RUN, 1, next_batch(before))
    assert "sop restore" in caught.value.hint
    assert store.check()
    store.close()


@pytest.mark.parametrize("byte", [0, 18, 50, 100, 105])
def test_flipped_bytes_on_any_page_are_refused_found_or_harmless(tmp_path: Path, byte: int) -> None:
    """Header, b-tree header and cell pointers of each page: never a crash, never events that differ and pass."""
    database = tmp_path / "runs.db"
    store = SqliteStore(database)
    for _ in range(3):
        add(store)
    true = store.events(RUN)
    store.close()
    sound = database.read_bytes()
    for page in range(len(sound) // 4096):
        content = bytearray(sound)
        place = page * 4096 + byte
        content[place : place + 4] = bytes(each ^ 0xFF for each in content[place : place + 4])
        database.write_bytes(content)
        found, events = [], None
        try:
            store = SqliteStore(database)
        except StoreError:
            continue
        with suppress(StoreError):
            events = store.events(RUN)
        found = store.check()
        store.close()
        if events is not None and events != true:
            assert found, f"byte {byte} of page {page + 1}"


def test_events_behind_a_deleted_wal_are_missed_and_what_is_there_is_a_true_beginning(tmp_path: Path) -> None:
    """What the WAL held is gone with it: the checkpoints tell (tests/audit); the rest still fits together."""
    database = tmp_path / "runs.db"
    store = SqliteStore(database)
    for _ in range(3):
        add(store)
    true = store.events(RUN)
    copy = tmp_path / "copy.db"
    shutil.copyfile(database, copy)  # without its WAL, as a careless backup does
    store.close()
    again = SqliteStore(copy)
    assert again.check() == []
    assert again.events(RUN) == true[: len(again.events(RUN))]
    again.close()


def test_a_stale_shm_of_another_file_harms_nothing(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    store = SqliteStore(database)
    add(store)
    stale = (tmp_path / "runs.db-shm").read_bytes()
    for _ in range(3):
        add(store)
    true = store.events(RUN)
    store.close()
    (tmp_path / "runs.db-shm").write_bytes(stale)
    again = SqliteStore(database)
    assert again.events(RUN) == true
    again.close()
    check(database, len(true))


# limits of the process, and others who are in the way


def limited(database: Path, statement: str) -> str:
    """What a process of its own prints that opens the store under this limit."""
    script = f"""
import resource, sys
from pathlib import Path
from sopwith.errors import StoreError
from sopwith.stores.sqlite import SqliteStore
{statement}
try:
    SqliteStore(Path(sys.argv[1])).check()
    print("opened")
except StoreError as error:
    print("refused", error.message, "|", error.hint)
"""
    done = subprocess.run([sys.executable, "-c", script, database], capture_output=True, text=True, check=True)
    return done.stdout


def test_too_many_open_files_refuse_the_store(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    SqliteStore(database).close()
    told = limited(
        database,
        "import os\nfrom sopwith.stores.queries import queries\nqueries()\n"
        "free = os.open('/', os.O_RDONLY)\nresource.setrlimit(resource.RLIMIT_NOFILE, (free, free))",
    )
    assert told.startswith("refused cannot open the")
    assert "| " in told


def test_a_locked_database_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    store = SqliteStore(database)
    add(store)
    store._db._connection.set_busy_timeout(20)
    other = subprocess.Popen(
        [
            sys.executable,
            "-c",
            LOCKER,
            database,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(StoreError, match="locked for too long") as caught:
        add(store)
    assert caught.value.hint
    other.communicate(b"")
    assert add(store) == 3
    store.close()


LOCKER = """
import apsw, sys
db = apsw.Connection(sys.argv[1])
db.execute("begin exclusive")
print("held", flush=True)
sys.stdin.read()
"""


def in_own_mounts(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs a shell script that may mount what it likes; skips where that is not allowed."""
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True) if shutil.which("unshare") else None
    if os.geteuid() != 0 or probe is None or probe.returncode:
        pytest.skip("only root can mount, where that is allowed")
    return subprocess.run(
        ["unshare", "-m", "bash", "-euc", script, "bash", *map(str, words)], capture_output=True, text=True
    )


WRITER = Path(__file__).with_name("small_disk.py")


def test_on_a_small_disk_all_that_was_acknowledged_is_there_and_room_lets_it_go_on(tmp_path: Path) -> None:
    done = in_own_mounts('mount -t tmpfs -o size=512k none "$1"; exec "$2" "$3" "$1"', tmp_path, sys.executable, WRITER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused", "read", "went-on", "sound"]


FULL_DISK = """
mount -t tmpfs -o size=2m none "$1"; cd "$1"; mkdir -p .pi/sops/deploy ran
cat > .pi/sops/deploy/manifest.json <<'END'
{"name": "deploy", "description": "d", "version": "1.0.0", "executionMode": "auto", "steps": [
 {"number": 1, "title": "fills the disk", "run": "echo x >> ran/1; cat /dev/zero > fill || true"},
 {"number": 2, "title": "after it", "run": "echo x >> ran/2"}]}
END
sop() { "$2" -c "from sopwith.doors.cli import main; main()" "${@:3}"; }
set +e
sop . "$2" run deploy > /dev/null 2> "$3/said"; echo "run $?"
rm fill
run=$(sop . "$2" history --json | grep -o 'sop_run_[a-z0-9]*' | head -1)
sop . "$2" resume "$run" > /dev/null 2>> "$3/said"
# where not even the result could be written beside the step, a person says that it was done
sop . "$2" status "$run" --json | grep -q interrupted && sop . "$2" complete "$run" --comment done > /dev/null
sop . "$2" status "$run" --json | grep -o '"status":"[a-z]*"' | head -1
cat ran/1 ran/2 | wc -l
"""


def test_a_run_whose_disk_is_full_ends_with_a_sentence_and_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    done = in_own_mounts(FULL_DISK, tmp_path / "disk", sys.executable, tmp_path)
    said = (tmp_path / "said").read_text()
    assert done.stdout.split("\n")[:3] == ["run 1", '"status":"completed"', "2"], done.stdout + said
    assert "Traceback" not in said
    assert "the disk is full" in said or "reading or writing it failed" in said


def test_without_inodes_the_store_is_refused(tmp_path: Path) -> None:
    done = in_own_mounts(
        'mount -t tmpfs -o nr_inodes=1 none "$1"; exec "$2" -c "$3" --workspace "$1" --json list',
        tmp_path,
        sys.executable,
        "from sopwith.doors.cli import main; main()",
    )
    assert done.returncode not in (0, 2)
    assert "Traceback" not in done.stderr


def test_a_file_system_that_became_read_only_refuses_and_makes_nothing(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "runs.db").close()
    script = "import sys\nfrom pathlib import Path\nfrom sopwith.errors import StoreError\n"
    script += "from sopwith.stores.sqlite import SqliteStore\ntry:\n    SqliteStore(Path(sys.argv[1]))\n"
    script += "except StoreError as error:\n    print(error.message, '|', error.hint)"
    done = in_own_mounts(
        'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; exec "$2" -c "$3" "$1/runs.db"',
        tmp_path,
        sys.executable,
        script,
    )
    assert "read" in done.stdout.lower()
    assert "permissions" in done.stdout or "right" in done.stdout
    assert done.returncode == 0, done.stderr


def test_the_size_limit_of_files_is_no_crash() -> None:
    """A process meets SIGXFSZ before EFBIG unless that is ignored: Python ignores it, and so the limit is an error."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN
