"""Runs as their records tell them: loaded by replay. Changes nothing, and knows no move that would.

Whoever only looks needs this and not `runs.py`, which brings all the moves with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import msgspec

from sopwith.core.codec import decode_event, first_changed
from sopwith.core.events import Event, RunCreated
from sopwith.core.evolve import evolve, replay
from sopwith.core.procedure import Procedure, decode_procedure, sha256
from sopwith.core.run import Run
from sopwith.engine.parts import Parts
from sopwith.engine.sight import no_such_run
from sopwith.errors import BadName, SopwithError, UnreadableRecord

RUN_ID = r"sop_run_[a-z0-9_-]{1,48}"


class Loaded(msgspec.Struct, frozen=True):
    """A run as of its last event, whose hash is `head`.

    `changed_at`: the first event whose bytes are not what was recorded; None where the chain of hashes holds.
    """

    run: Run
    head: str
    changed_at: int | None = None


class Records:
    """Loads the runs of one store."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def load(self, run_id: str) -> Loaded:
        """The run as it is now. Raises BadName, NotFound, RecordDropped or UnreadableRecord."""
        check_run_id(run_id)
        sealed = self._parts.store.events(run_id)
        if not sealed:
            raise no_such_run(run_id)
        payloads = [each.payload for each in sealed]
        if not all(payloads):
            raise self._parts.auditing.why_empty(run_id)
        with self._readable(run_id):
            events = [decode_event(payload) for payload in payloads]
            run = self._with_event(replay(self._procedure_of(events[0]), events))
            return Loaded(run, sealed[-1].hash, first_changed(sealed))

    def refresh(self, loaded: Loaded) -> tuple[Loaded, tuple[Event, ...]]:
        """The same run with what others have appended since, and those events."""
        sealed = self._parts.store.events(loaded.run.run_id, loaded.run.seq)
        if not sealed:
            return loaded, ()
        if not all(each.payload for each in sealed):
            raise self._parts.auditing.why_empty(loaded.run.run_id)
        with self._readable(loaded.run.run_id):
            events = tuple(decode_event(each.payload) for each in sealed)
            changed_at = loaded.changed_at or first_changed(sealed, loaded.head)
            return Loaded(reduce(evolve, events, loaded.run), sealed[-1].hash, changed_at), events

    def as_of(self, run_id: str, seq: int) -> tuple[Run, Event]:
        """The run as it was after event `seq`, and the first of the events that were made in one with it."""
        sealed = [each for each in self._parts.store.events(run_id) if each.seq <= seq]
        with self._readable(run_id):
            events = [decode_event(each.payload) for each in sealed]
            last = events[-1]
            first = next(each for each in events if each.request == last.request)
            return self._with_event(replay(self._procedure_of(events[0]), events)), first

    @contextmanager
    def _readable(self, run_id: str) -> Iterator[None]:
        try:
            yield
        except SopwithError:
            raise
        except Exception as error:
            # whoever changes a record may make anything of it: what is nested too deep, or has no such step
            raise UnreadableRecord(
                f"the record of {run_id} cannot be read: {error}",
                hint="it was changed: sop doctor tells more",
            ) from error

    def _procedure_of(self, first: Event) -> Procedure:
        assert isinstance(first.body, RunCreated)
        data = self._parts.store.content(first.body.procedure_digest)
        if data is None or sha256(data) != first.body.procedure_digest:
            what = "missing from the database" if data is None else "not what its digest says"
            raise UnreadableRecord(f"the procedure that {first.run_id} runs is {what}", hint="sop doctor checks it")
        return decode_procedure(data)

    def event_bytes(self, run: Run) -> bytes:
        """The event that started the run, empty where none did. Raises UnreadableRecord where it is not what it was."""
        if not run.event_digest:
            return b""
        data = self._parts.store.content(run.event_digest)
        if data is None or sha256(data) != run.event_digest:
            what = "missing from the database" if data is None else "not what its digest says"
            raise UnreadableRecord(f"the event that started {run.run_id} is {what}", hint="sop doctor checks it")
        return data

    def _with_event(self, run: Run) -> Run:
        if not run.event_digest:
            return run
        return msgspec.structs.replace(run, event=msgspec.json.decode(self.event_bytes(run)))


def envelope_of(parts: Parts, digest: str) -> dict[str, Any] | None:
    """The fields of an envelope as they were asked about, or None if the database has lost or changed it."""
    data = parts.store.content(digest)
    if data is None or sha256(data) != digest:
        return None
    return dict(msgspec.json.decode(data))


def check_run_id(run_id: str) -> str:
    """`run_id`, if a run may be called that; BadName otherwise, before any path is built from it."""
    if not re.fullmatch(RUN_ID, run_id):
        raise BadName(f"{run_id[:80]!r} is not a run id", hint="a run id looks like sop_run_k3v9x2m4q7ab")
    return run_id
