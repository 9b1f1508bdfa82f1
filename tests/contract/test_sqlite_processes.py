"""The SQLite store among processes, of which some die at the worst moment. Nothing here waits for time to pass."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from sopwith.core.codec import link
from sopwith.errors import Conflict
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch, next_batch, owner

RUN = "sop_run_1"
SCRIPT = [sys.executable, str(Path(__file__).with_name("other_process.py"))]
WINS = 10
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the faults")


class Others:
    """Processes that end with the test."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.stack = ExitStack()
        self.numbers = count()

    def start(self, verb: str, *, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*under, *SCRIPT, verb, str(self.database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.stack.enter_context(process)
        self.stack.callback(process.kill)
        return process

    def start_all(self, number: int, verb: str) -> list[subprocess.Popen[str]]:
        processes = [self.start(verb) for _ in range(number)]
        assert [hear(process) for process in processes] == ["ready"] * number
        return processes

    def suffer(self, fault: str) -> tuple[list[str], int]:
        """What a writer of a new database tells while strace makes a fault, and how the process ended."""
        self.database = self.database.with_name(f"{next(self.numbers)}.db")
        process = self.start("create_and_append", under=("strace", "-qq", "-o", "/dev/null", "-e", fault))
        told = process.communicate("go\n")[0].splitlines()
        return [line for line in told if line not in ("", "ready")], process.returncode


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def is_linear(store: SqliteStore) -> bool:
    prev_hash = "0" * 64
    for seq, event in enumerate(store.events(RUN), start=1):
        if (event.seq, event.prev_hash, event.hash) != (seq, prev_hash, link(prev_hash, event.payload)):
            return False
        prev_hash = event.hash
    return store.check() == []


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def others(database: Path) -> Iterator[Others]:
    others = Others(database)
    with others.stack:
        yield others


@pytest.fixture
def store(database: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(database)
    batch = first_batch(RUN)
    store.create("deploy", lambda _: batch)
    yield store
    store.close()


def test_of_two_processes_that_claim_a_run_one_wins(store: SqliteStore, others: Others) -> None:
    processes = others.start_all(2, "claim")
    go(*processes)
    assert sorted(hear(process) for process in processes) == ["1", "none"]
    assert store.holder(RUN) == owner("process")


def test_a_killed_process_frees_its_claim_at_once_and_can_write_no_more(store: SqliteStore, others: Others) -> None:
    (holder,) = others.start_all(1, "claim")
    go(holder)
    assert hear(holder) == "1"
    assert store.claim(RUN, owner("me"), START) is None
    holder.kill()
    holder.wait()
    assert store.holder(RUN) is None
    claim = store.claim(RUN, owner("me"), START)
    assert claim is not None
    assert claim.epoch == 2


def test_a_writer_with_an_older_claim_is_fenced_off(store: SqliteStore, database: Path) -> None:
    """Should the lock file be lost, two may hold 'the' lock: the epoch still lets only the newer one write."""
    old = store.claim(RUN, owner("old"), START)
    database.with_name("runs.db.locks").unlink()
    other = SqliteStore(database)
    new = other.claim(RUN, owner("new"), START)
    assert old is not None
    assert new is not None
    with pytest.raises(Conflict, match="claim 2 was made since"):
        store.append(RUN, 1, next_batch(first_batch(RUN)), claim=old)
    other.append(RUN, 1, next_batch(first_batch(RUN)), claim=new)
    store.release(old)
    assert other.holder(RUN) == owner("new")
    other.close()


def test_of_eight_processes_that_append_the_same_event_one_wins(store: SqliteStore, others: Others) -> None:
    processes = others.start_all(8, "append_once")
    go(*processes)
    assert [hear(process) for process in processes] == ["read"] * 8
    go(*processes)
    assert sorted(hear(process) for process in processes) == ["conflict"] * 7 + ["won"]
    assert is_linear(store)


def test_eight_processes_that_read_again_after_a_conflict_write_one_history(store: SqliteStore, others: Others) -> None:
    processes = others.start_all(8, "append_ten")
    go(*processes)
    assert [hear(process) for process in processes] == ["done"] * 8
    assert len(store.events(RUN)) == 1 + 8 * WINS
    assert is_linear(store)


@pytest.mark.parametrize("acknowledged", [1, 2, 7, 40, 150])
def test_a_killed_writer_loses_no_acknowledged_batch(
    store: SqliteStore, others: Others, database: Path, acknowledged: int
) -> None:
    store.close()
    (writer,) = others.start_all(1, "append_forever")
    go(writer)
    told = [int(hear(writer)) for _ in range(acknowledged)]
    writer.kill()
    assert writer.stdout is not None
    told += [int(line) for line in writer.stdout.read().splitlines()]
    again = SqliteStore(database)
    assert len(again.events(RUN)) in (told[-1], told[-1] + 3)
    assert is_linear(again)
    again.close()


def test_processes_that_open_a_new_store_at_once_all_succeed(others: Others, database: Path) -> None:
    processes = others.start_all(8, "open")
    go(*processes)
    assert [hear(process) for process in processes] == ["opened"] * 8
    store = SqliteStore(database)
    assert store.check() == []
    store.close()


def test_what_does_not_fit_is_refused_and_what_was_acknowledged_stays(
    store: SqliteStore, others: Others, database: Path
) -> None:
    process = others.start("append_until_refused")
    assert hear(process) == "ready"
    go(process)
    *told, refused, again = process.communicate()[0].splitlines()
    assert refused.startswith(f"refused cannot use the store {database}: ")
    assert again == "room again"
    assert len(store.events(RUN)) == int(told[-1]) + 1
    assert is_linear(store)


@needs_strace
@pytest.mark.parametrize(("call", "stride"), [("pwrite64", 9), ("fdatasync,fsync", 2), ("ftruncate,unlink,mknod", 1)])
def test_a_process_killed_at_any_write_leaves_what_it_acknowledged(others: Others, call: str, stride: int) -> None:
    """From making the file to closing it: the n-th such system call is the last thing the process does.

    Under strace each try takes half a second; SOPWITH_ALL_FAULTS=1 tries every n.
    """
    for number in range(1, 500, 1 if "SOPWITH_ALL_FAULTS" in os.environ else stride):
        told, returncode = others.suffer(f"inject={call}:signal=KILL:when={number}")
        store = SqliteStore(others.database)
        assert len(store.events(RUN)) in (len(told), len(told) + 1), f"killed at {call} number {number}"
        assert is_linear(store)
        store.close()
        if returncode == 0:
            return
    pytest.fail("the process never got to its end")


@needs_strace
def test_a_full_disk_refuses_a_batch_and_is_forgotten_when_there_is_room(others: Others) -> None:
    for number in range(1, 500, 7):
        told, _ = others.suffer(f"inject=pwrite64:error=ENOSPC:when={number}")
        if told[:1] == ["1"] and len(told) == 4:
            (refusal,) = [line for line in told if line.startswith("refused")]
            assert "the disk is full" in refusal
            assert told[-1] == "3", "one batch was refused, two were taken"
            return
    pytest.fail("no write of an append was hit")


@needs_strace
@pytest.mark.parametrize("lasting", ["", "+"], ids=["once", "from-then-on"])
def test_a_quota_that_is_used_up_refuses_a_batch_in_words_and_loses_none(others: Others, lasting: str) -> None:
    """SQLite has a word for a full disk only; of a quota it says what it says of any disk that takes no write."""
    for number in range(1, 500, 7):
        told, _ = others.suffer(f"inject=pwrite64:error=EDQUOT:when={number}{lasting}")
        refusals = [line for line in told if line.startswith("refused")]
        if told[:1] == ["1"] and len(refusals) == (3 if lasting else 1):
            assert all("a quota" in line for line in refusals)
            store = SqliteStore(others.database)
            assert len(store.events(RUN)) == 4 - len(refusals)
            assert is_linear(store)
            store.close()
            return
    pytest.fail("no write of an append was hit")


@needs_strace
def test_a_store_whose_disk_fails_to_sync_acknowledges_nothing_more(others: Others) -> None:
    """The kernel may have dropped the pages: a later sync would succeed and prove nothing."""
    for number in range(1, 50):
        told, _ = others.suffer(f"inject=fdatasync,fsync:error=EIO:when={number}+")
        refusals = [line for line in told if line.startswith("refused")]
        if len(refusals) == 3:
            assert "failed to keep" not in refusals[0]
            assert all("and still does" in line for line in refusals[1:])
            return
    pytest.fail("no sync of an append was hit")


@needs_strace
def test_a_store_whose_disk_failed_to_sync_once_goes_on(others: Others) -> None:
    for number in range(1, 50):
        told, _ = others.suffer(f"inject=fdatasync:error=EIO:when={number}")
        refusals = [line for line in told if line.startswith("refused")]
        if told[:1] == ["1"] and len(refusals) == 1:
            assert told[-1] == "3", "one batch was refused, two were taken"
            store = SqliteStore(others.database)
            assert len(store.events(RUN)) == 3
            assert is_linear(store)
            store.close()
            return
    pytest.fail("no sync of an append was hit")
