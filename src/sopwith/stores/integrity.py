"""What `sop doctor` asks of a database: is the file whole, and does every run's row fit its events."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from sopwith.stores.queries import queries


def findings(db: apsw.Connection) -> Iterator[str]:
    """One sentence for each thing that is wrong; nothing for a sound store."""
    for (line,) in db.execute("pragma quick_check"):
        if line != "ok":
            yield f"the database is damaged: {line}"
    for table, row, parent, _ in db.execute("pragma foreign_key_check"):
        yield f"row {row} of {table} refers to a row of {parent} that is not there"
    sql = queries()
    for run_id, seq, count in db.execute(sql["runs_with_gaps"]):
        yield f"{run_id} should have the events 1 to {seq}, and has {count} that are not these"
    for (run_id,) in db.execute(sql["runs_with_wrong_head"]):
        yield f"the last event of {run_id} is not the one that its row names"
    for run_id, seq in db.execute(sql["broken_links"]):
        yield f"event {seq} of {run_id} does not follow from the event before"
