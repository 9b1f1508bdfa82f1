"""The server's own log: its oldest entries go after their time, a signed statement stays, and the rest is proven."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace
from tests.audit.given import batches, put

from sopwith.assembly import open_keeper
from sopwith.audit.access_retention import AccessRetention, DroppedEntries, stated
from sopwith.audit.signing import SigningKey, known_keys
from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.run import RunStatus
from sopwith.engine.access import REFUSED, entry_maker, examine_access
from sopwith.errors import NotAllowed, Refused, StoreError
from sopwith.ports import AccessEntry, Workspace
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START

NOW = START + timedelta(days=100)


class Logbook:
    """A log of 10 entries, one a day, the newest of which is a day old."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.workspace.runs.mkdir(parents=True)
        self.store = SqliteStore(self.workspace.database)
        self.tokens = self.store.tokens
        for days in range(10, 0, -1):
            self.tell(days)

    def tell(self, days_ago: float) -> None:
        self.tokens.tell(entry_maker(REFUSED, NOW - timedelta(days=days_ago), {"count": 1}))

    def sweep(self, days: int, *, later: float = 0, dry_run: bool = False) -> DroppedEntries:
        retention = AccessRetention(
            self.tokens,
            SigningKey(self.workspace.keys),
            entry_maker,
            troubles=lambda: (),
            check_clock=lambda _now: None,
        )
        now = NOW + timedelta(days=later)
        old = retention.too_old(days, now)
        return DroppedEntries(days, len(old)) if dry_run else retention.drop(old, days, now, by="ann")

    def entries(self) -> tuple[AccessEntry, ...]:
        return self.tokens.entries_after(0, 1000)

    @property
    def left(self) -> list[int]:
        return [entry.position for entry in self.entries()]

    def troubles(self) -> list[str]:
        keys = known_keys(self.workspace.keys)
        return [sentence for sentence, _hint in examine_access(self.tokens, partial(stated, keys=keys))]

    def forge(self, query: str, *values: Any) -> None:
        with apsw.Connection(str(self.workspace.database)) as db:
            db.execute(query, values)

    def rewrite(self, change: Any, *, row: int = -1) -> None:
        """As somebody would who can write to the file: what follows is chained anew."""
        entries = self.entries()
        entries = entries[row:]
        prev = entries[0].prev_hash
        for number, entry in enumerate(entries):
            payload = change(entry.payload) if number == 0 else entry.payload
            digest = hashlib.sha256(prev + payload).digest()
            query = "update access set prev_hash = ?, hash = ?, payload = ? where position = ?"
            self.forge(query, prev, digest, payload, entry.position)
            prev = digest


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Logbook]:
    made = Logbook(tmp_path)
    yield made
    made.store.close()


def test_what_is_older_goes_and_a_signed_entry_says_so(log: Logbook) -> None:
    before = log.entries()
    assert log.sweep(6, dry_run=True) == DroppedEntries(6, 4)
    assert log.entries() == before
    assert log.sweep(6) == DroppedEntries(6, 4)
    assert log.entries()[:-1] == before[4:]
    told = json.loads(log.entries()[-1].payload)
    assert told["type"] == "pruned"
    said = told["details"]
    assert (said["days"], said["by"], said["upTo"], said["head"]) == (6, "ann", 4, before[3].hash.hex())
    assert log.troubles() == []


def test_nothing_younger_goes_and_nothing_goes_twice(log: Logbook) -> None:
    assert log.sweep(11) == DroppedEntries(11, 0)
    assert log.sweep(6).count == 4
    assert log.sweep(6) == DroppedEntries(6, 0)
    assert log.left == list(range(5, 12))


def test_what_comes_after_is_kept_though_it_tells_an_older_time(log: Logbook) -> None:
    log.tell(50)
    assert log.sweep(20) == DroppedEntries(20, 0)
    assert log.left == list(range(1, 12))


def test_later_on_the_next_statement_takes_over_and_no_statement_goes_for_itself(log: Logbook) -> None:
    log.sweep(6)
    assert log.sweep(6, later=20).count == 7
    assert log.left == [12]
    assert log.troubles() == []
    assert log.sweep(6, later=40).count == 0
    assert log.left == [12]
    log.tell(-40)
    assert log.troubles() == []


def test_two_that_sweep_at_once_drop_it_once(log: Logbook) -> None:
    last = log.entries()[3]
    assert log.tokens.prune(last, entry_maker("pruned", NOW, {}))
    assert not log.tokens.prune(last, entry_maker("pruned", NOW, {}))
    assert len(log.left) == 7


def test_a_clock_that_is_wrong_drops_nothing(log: Logbook) -> None:
    log.tell(-1)
    with pytest.raises(Refused, match="the clock is wrong"):
        log.sweep(6)
    assert len(log.left) == 11


def test_more_than_was_said_is_found(log: Logbook) -> None:
    log.sweep(6)
    log.forge("delete from access where position = 5")
    assert "are gone" in log.troubles()[0] or "is not what it was" in log.troubles()[0]


def test_what_is_gone_without_a_statement_is_found(log: Logbook) -> None:
    log.forge("delete from access where position < 5")
    assert log.troubles() == ["entry 1 of the server's own log is not what it was"]


def test_what_was_dropped_and_comes_back_is_found(log: Logbook) -> None:
    first = log.entries()[0]
    log.sweep(6)
    log.forge(
        "insert into access values (?, ?, 0, ?, ?, ?)",
        *(first.position, first.event_type, first.prev_hash, first.hash, first.payload),
    )
    assert log.troubles() == ["entry 1 of the server's own log was dropped, and is there again"]


def test_a_statement_that_was_changed_is_found_even_where_the_chain_is_made_anew(log: Logbook) -> None:
    log.sweep(6)
    log.tell(0)
    log.rewrite(lambda payload: payload.replace(b'"upTo":4', b'"upTo":6'), row=-2)
    (told,) = log.troubles()
    assert "is not valid: its signature is wrong" in told
    log.forge("delete from access where position < 7")
    assert len(log.troubles()) == 1


def test_a_statement_of_another_key_is_none(log: Logbook, tmp_path: Path) -> None:
    log.sweep(6)
    for path in log.workspace.keys.iterdir():
        path.unlink()
    SigningKey(log.workspace.keys).sign(b"")
    (told,) = log.troubles()
    assert "no key of this workspace" in told


def test_an_entry_that_is_no_statement_is_none(log: Logbook) -> None:
    log.sweep(6)
    log.rewrite(lambda _payload: b'{"timestamp":"x","type":"pruned","details":{}}')
    assert "is not valid: it cannot be read" in log.troubles()[0]


# what else stands against it


def retained(log: Logbook, *, by: Actor = SYSTEM, later: float = 0) -> int:
    log.workspace.config.write_text('{"accessLogRetentionDays": 6, "auditRetentionDays": 6}')
    with open_keeper(log.workspace) as keeper:
        return keeper.retain(NOW + timedelta(days=later), by=by).entries.count


def ended_long_ago(log: Logbook) -> str:
    """A run whose record may go."""
    for batch in batches(1, at=NOW - timedelta(days=60)):
        ended = {"ended_at": batch.summary.updated_at} if batch.summary.status is RunStatus.COMPLETED else {}
        put(log.store, replace(batch, summary=replace(batch.summary, **ended)))
    return batches(1)[0].summary.run_id


def test_what_stands_against_dropping_entries_stands_against_all(log: Logbook) -> None:
    """Who is told an error may rely on it: nothing was done by halves."""
    run_id = ended_long_ago(log)
    log.forge("update access set payload = cast(replace(cast(payload as text), '1', '2') as blob) where position = 2")
    with pytest.raises(StoreError, match="entry 2 of the server's own log is not what it was"):
        retained(log)
    assert all(event.payload for event in log.store.events(run_id))
    log.forge("delete from access")
    assert retained(log) == 0
    assert not any(event.payload for event in log.store.events(run_id))


def test_what_was_changed_is_evidence_and_stays(log: Logbook) -> None:
    log.forge("update access set payload = cast(replace(cast(payload as text), '1', '2') as blob) where position = 2")
    with pytest.raises(StoreError, match="entry 2 of the server's own log is not what it was"):
        retained(log)
    assert len(log.left) == 10


def test_it_takes_a_person(log: Logbook) -> None:
    with pytest.raises(NotAllowed):
        retained(log, by=Actor("bot", ActorKind.AGENT, "mcp"))
    assert len(log.left) == 10
    assert retained(log) == 4


def test_a_clock_that_the_record_of_runs_contradicts_drops_nothing(log: Logbook) -> None:
    put(log.store, batches(1, at=NOW + timedelta(days=2))[0])
    with pytest.raises(Refused, match="the clock is wrong"):
        retained(log)
    assert len(log.left) == 10
    assert retained(log, later=3) == 7
