"""What a migration cannot say in SQL: columns of older stores that only the events can fill."""

from __future__ import annotations

import apsw

from sopwith.core.asking import asks
from sopwith.core.codec import decode_event
from sopwith.core.due import due, left_at
from sopwith.core.events import RunCreated
from sopwith.core.evolve import replay
from sopwith.core.procedure import decode_procedure
from sopwith.core.run import Run
from sopwith.stores.queries import queries
from sopwith.stores.rows import Row, milliseconds


def fill_inbox(db: apsw.Connection) -> None:
    """What every open run asks, within the transaction of the migrations.

    A run that cannot be read asks once: whoever looks at the inbox is told of it then.
    """
    open_runs: list[Row] = db.execute(queries()["open_runs"]).fetchall()
    for ordinal, run_id in open_runs:
        asked, left = 1, None
        try:
            run = _run(db, run_id)
            asked, left = asks(run), left_at(due(run))
        except Exception:  # noqa: S110 - whatever was done to one record: the store is that of all others too
            pass
        values = {"ordinal": ordinal, "asks": asked, "left_at": None if left is None else milliseconds(left)}
        db.execute(queries()["ask_of_run"], values)


def _run(db: apsw.Connection, run_id: str) -> Run:
    """Raises what it likes where its record is not one that Sopwith wrote."""
    rows: list[Row] = db.execute(queries()["events_after"], {"run_id": run_id, "after_seq": 0}).fetchall()
    events = [decode_event(payload or b"") for _seq, payload, _before, _hash in rows]
    created = events[0].body
    assert isinstance(created, RunCreated)
    digest = bytes.fromhex(created.procedure_digest)
    contents: list[Row] = db.execute(queries()["content_of_digest"], {"digest": digest}).fetchall()
    return replay(decode_procedure(contents[0][0]), events)
