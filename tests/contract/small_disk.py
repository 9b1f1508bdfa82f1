"""Fills a small disk with events, in a process of its own: `small_disk.py FOLDER`. Prints what came of it."""

import os
import sys
from pathlib import Path

from sopwith.errors import StoreError
from sopwith.ports import Batch
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.samples import first_batch, next_batch

RUN = "sop_run_1"


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")


def last(store: SqliteStore) -> Batch:
    summary = store.summary(RUN)
    assert summary is not None
    return Batch(events=store.events(RUN, summary.seq - 1), summary=summary)


def main(folder: Path) -> None:
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * 100_000)
    store = SqliteStore(folder / "runs.db")
    batch = first_batch(RUN)
    store.create("deploy", lambda _: batch)
    acknowledged = 1
    try:
        while True:
            batch = next_batch(batch, contents=[os.urandom(5000)])
            store.append(RUN, acknowledged, batch)
            acknowledged = batch.summary.seq
    except StoreError as error:
        say("refused" if error.hint and ("full" in error.message or "failed" in error.message) else error.message)
    if len(store.events(RUN)) >= acknowledged:
        say("read")
    ballast.unlink()
    before = last(store)
    store.append(RUN, before.summary.seq, next_batch(before, contents=[b"small"]))
    say("went-on")
    store.close()
    if len(SqliteStore(folder / "runs.db").events(RUN)) > acknowledged and not SqliteStore(folder / "runs.db").check():
        say("sound")


main(Path(sys.argv[1]))
