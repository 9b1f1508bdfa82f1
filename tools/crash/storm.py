"""Many writers at once, beside readers that keep one state of the database open for as long as it lasts.

Each writer is a process with a store of its own: it adds to a run of its own, and every so often to one that all of
them write. What it is acknowledged it notes in a file of its own before it goes on. Afterwards every run must hold
what was acknowledged, in one chain. A reader counts the events that it sees again and again, until all writers are
done: always as many.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from sopwith.core.codec import NO_HASH, SealedEvent, link
from sopwith.errors import Conflict, StoreError
from sopwith.ports import Batch
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.samples import first_batch, next_batch

SHARED = "sop_run_of_all"
EVERY = 5
"""Every so-many-th write is to the run that all of them write."""
CONTENT = 2000
"""Bytes beside each event, so that the log grows as it does with real runs."""


def campaign(folder: Path, *, writers: int, readers: int, seconds: float, least: int = 1) -> dict[str, Any]:
    """The whole of it; `breaches` says what did not hold. Each writer goes on until it has written `least` times."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "runs.db"
    with closing(SqliteStore(database)) as store:
        store.create("deploy", lambda _: first_batch(SHARED))
        reading = [("read", str(number)) for number in range(readers)]
        writing = [("write", str(number), str(seconds), str(least)) for number in range(writers)]
        reports, grown = _blow(folder, reading, writing)
        afterwards = _write_on(store, database)
        breaches = [*_breaches(store, folder), *(each for report in reports for each in report.get("breaches", []))]
    written = [report for report in reports if "written" in report]
    breaches += [f"a write was refused: {refusal}" for report in written for refusal in report["refused"]]
    return {
        "writers": writers,
        "readers": readers,
        "seconds": seconds,
        "acknowledged": sum(report["written"] for report in written),
        "conflicts": sum(report["conflicts"] for report in written),
        "refused": sum(sum(report["refused"].values()) for report in written),
        "leastByOneWriter": min(report["written"] for report in written),
        "longestWriteMs": max(report["longestMs"] for report in written),
        "seenByReaders": [report["seen"] for report in reports if "seen" in report],
        "largestLogBytes": grown,
        "logBytesAfterwards": afterwards,
        "breaches": sorted(set(breaches)),
    }


def _blow(
    folder: Path, reading: list[tuple[str, ...]], writing: list[tuple[str, ...]]
) -> tuple[list[dict[str, Any]], int]:
    """What each process tells at its end, and how large SQLite's log became meanwhile."""
    grown = 0
    with ExitStack() as stack:
        readers = [_begin(stack, folder, words) for words in reading]
        writers = [_begin(stack, folder, words) for words in writing]
        _say_to(readers)
        _say_to(writers)
        while any(writer.poll() is None for writer in writers):
            grown = max(grown, _log_bytes(folder / "runs.db"))
            time.sleep(0.05)
        told = [process.communicate("enough\n" if process in readers else None)[0] for process in readers + writers]
    return [json.loads(each) if each else {"breaches": ["a process of it died"]} for each in told], grown


def _say_to(processes: list[subprocess.Popen[str]]) -> None:
    """All of them begin, once each is ready."""
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def _begin(stack: ExitStack, folder: Path, words: tuple[str, ...]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tools.crash.storm", words[0], str(folder), *words[1:]]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def _log_bytes(database: Path) -> int:
    try:
        return database.with_name(database.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _write_on(store: SqliteStore, database: Path) -> int:
    """The size of the log once nobody else writes or reads: it begins again, and is cut to its limit."""
    for _ in range(3):
        batch = _next(store, SHARED, b"afterwards")
        store.append(SHARED, batch.events[0].seq - 1, batch)
    return _log_bytes(database)


def _breaches(store: SqliteStore, folder: Path) -> list[str]:
    found = store.check()
    acknowledged: dict[str, dict[int, str]] = {}
    for notes in folder.glob("*.notes"):
        for line in notes.read_text().splitlines():
            run_id, seq, head = line.split()
            acknowledged.setdefault(run_id, {})[int(seq)] = head
    for run_id, heads in acknowledged.items():
        events = store.events(run_id)
        there = {event.seq: event.hash for event in events}
        lost = [seq for seq, head in heads.items() if there.get(seq) != head]
        found += [f"event {seq} of {run_id} was acknowledged and is not there" for seq in lost]
        found += [] if _is_chained(events) else [f"{run_id} is no chain"]
    return found


def _is_chained(events: Sequence[SealedEvent]) -> bool:
    prev_hash = NO_HASH
    for seq, event in enumerate(events, start=1):
        if (event.seq, event.prev_hash, event.hash) != (seq, prev_hash, link(prev_hash, event.payload)):
            return False
        prev_hash = event.hash
    return True


def _next(store: SqliteStore, run_id: str, content: bytes) -> Batch:
    summary = store.summary(run_id)
    assert summary is not None
    last = Batch(events=store.events(run_id, summary.seq - 1), summary=summary)
    return next_batch(last, contents=[content.ljust(CONTENT, b".")])


# in a process of its own


def write(store: SqliteStore, folder: Path, number: str, seconds: str, least: str) -> dict[str, Any]:
    """Writes as fast as it can until the time is up."""
    own = f"sop_run_of_{number}"
    conflicts, written, longest = 0, 0, 0.0
    refused: Counter[str] = Counter()
    deadline = time.monotonic() + float(seconds)
    with (folder / f"{number}.notes").open("w") as notes:
        while time.monotonic() < deadline or written + refused.total() < int(least):
            began = time.monotonic()
            try:
                batch = _add(store, own, number, written)
                written += 1
                notes.write(f"{batch.summary.run_id} {batch.summary.seq} {batch.events[-1].hash}\n")
                notes.flush()
            except Conflict:
                conflicts += 1
            except StoreError as error:
                refused[error.message.rpartition(": ")[2]] += 1
            longest = max(longest, time.monotonic() - began)
    return {"written": written, "conflicts": conflicts, "refused": refused, "longestMs": round(longest * 1000)}


def _add(store: SqliteStore, own: str, number: str, written: int) -> Batch:
    if written == 0:
        return store.create("deploy", lambda _: first_batch(own))
    run_id = SHARED if written % EVERY == 0 else own
    batch = _next(store, run_id, f"{number} {written}".encode())
    store.append(run_id, batch.events[0].seq - 1, batch)
    return batch


def read(store: SqliteStore, _folder: Path, _number: str) -> dict[str, Any]:
    """Keeps one state open until it is told that it is enough, and looks at all of it again and again."""
    seen = set()
    with store._db.snapshot() as connection:
        while not seen or not select.select([sys.stdin], [], [], 0.1)[0]:
            seen.add(connection.execute("select count(*), total(length(payload)) from events").fetchone())
    return {"seen": len(seen), "breaches": [] if len(seen) == 1 else [f"a reader saw {len(seen)} states in one"]}


def main() -> None:
    verb, folder, *words = sys.argv[1:]
    with closing(SqliteStore(Path(folder, "runs.db"))) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps({"write": write, "read": read}[verb](store, Path(folder), *words)))


if __name__ == "__main__":
    main()
