"""What the tests run in processes of their own: `other_process.py VERB DATABASE`. Each line it prints is a fact.

It prints `ready` when the store is open, and acts when a line arrives on its standard input.
"""

import resource
import sys
from pathlib import Path

from sopwith.errors import Conflict, StoreError
from sopwith.ports import Batch
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch, next_batch, owner

RUN = "sop_run_1"
WINS = 10


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def wait() -> None:
    sys.stdin.readline()


def stored(store: SqliteStore) -> Batch:
    """The run's last batch, as good as the one that was appended."""
    summary = store.summary(RUN)
    assert summary is not None
    return Batch(events=store.events(RUN, summary.seq - 1), summary=summary)


def claim(store: SqliteStore) -> None:
    taken = store.claim(RUN, owner("process"), START)
    say("none" if taken is None else taken.epoch)
    wait()


def append_once(store: SqliteStore) -> None:
    before = stored(store)
    say("read")
    wait()
    try:
        store.append(RUN, before.summary.seq, next_batch(before))
        say("won")
    except Conflict:
        say("conflict")


def append_ten(store: SqliteStore) -> None:
    won = 0
    while won < WINS:
        before = stored(store)
        try:
            store.append(RUN, before.summary.seq, next_batch(before))
            won += 1
        except Conflict:
            continue
    say("done")


def append_forever(store: SqliteStore) -> None:
    batch = stored(store)
    while True:
        batch = next_batch(batch, count=3, contents=[b"x" * 2000 + bytes(str(batch.summary.seq), "ascii")])
        store.append(RUN, batch.events[0].seq - 1, batch)
        say(batch.summary.seq)


def append_until_refused(store: SqliteStore) -> None:
    """Under a limit on the size of files; then without it."""
    batch, soft = stored(store), Path(sys.argv[2] + "-wal").stat().st_size + 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
    try:
        while True:
            following = next_batch(batch, contents=[str(batch.summary.seq).encode() * 2000])
            store.append(RUN, batch.summary.seq, following)
            batch = following
            say(batch.summary.seq)
    except StoreError as error:
        say("refused", error.message)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.append(RUN, batch.summary.seq, next_batch(batch))
    say("room again")


def create_and_append(store: SqliteStore) -> None:
    """Each acknowledged batch is told; a failure is told and the next batch tried all the same."""
    batch = first_batch(RUN)
    store.create("deploy", lambda _: batch)
    say(1)
    for _ in range(3):
        following = next_batch(batch, contents=[b"x" * 5000])
        try:
            store.append(RUN, batch.summary.seq, following)
        except StoreError as error:
            say("refused", error.message, "|", error.hint)
            continue
        batch = following
        say(batch.summary.seq)


VERBS = {
    verb.__name__: verb
    for verb in (claim, append_once, append_ten, append_forever, append_until_refused, create_and_append)
}


if __name__ == "__main__":
    if sys.argv[1] == "open":
        say("ready")
        wait()
        SqliteStore(Path(sys.argv[2])).close()
        say("opened")
    else:
        database = SqliteStore(Path(sys.argv[2]))
        say("ready")
        wait()
        VERBS[sys.argv[1]](database)
