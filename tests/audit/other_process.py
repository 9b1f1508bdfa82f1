"""Takes checkpoints in a process of its own: `other_process.py FOLDER COUNT`, beginning when a line arrives."""

import sys
from datetime import timedelta
from pathlib import Path

from sopwith.audit.checkpoints import Checkpointer
from sopwith.audit.signing import SigningKey
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START
from sopwith.testing.samples import first_batch

if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    store = SqliteStore(folder / "runs.db")
    places = (folder / "runs" / "checkpoints.jsonl", folder / "elsewhere.jsonl")
    checkpointer = Checkpointer(store.log, store.log, SigningKey(folder / "keys"), places)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for number in range(count):
        batch = first_batch(f"sop_run_{sys.argv[3]}_{number}", count=3)
        store.create("deploy", lambda _, batch=batch: batch)
        checkpointer.take(START + timedelta(seconds=number))
        for failure in checkpointer.failures:
            sys.stdout.write(failure + "\n")
