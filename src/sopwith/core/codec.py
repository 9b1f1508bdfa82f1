"""Events to stored bytes and back: one canonical form (RFC 8785) for the database, the JSONL view and the hash.

A stored payload is the event's JSON object without `prevHash` and `hash`. Each hash covers the hash before it and the
payload, so the bytes of one event fix the whole history up to it.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import instance_of, number_of, step_id
from sopwith.core.events import Event, EventBody
from sopwith.core.instant import iso
from sopwith.core.procedure import canonical, sha256
from sopwith.core.request import Request

NO_HASH = "0" * 64
_BESIDE_DETAILS = ("eventType", "stepNumber")
_AS_IT_IS = frozenset((str, int, bool, type(None)))


class SealedEvent(msgspec.Struct, frozen=True):
    """An event in its stored form. `prev_hash` and `hash` are lower-case hex SHA-256."""

    seq: int
    payload: bytes
    prev_hash: str
    hash: str


class _Stored(msgspec.Struct, rename="camel"):
    timestamp: datetime
    event_type: str
    run_id: str
    seq: int
    actor: Actor
    details: dict[str, Any]
    step_number: int | msgspec.UnsetType | None = msgspec.UNSET
    instance: str = ""
    request: Request | None = None


# made at import: msgspec crashes where several threads meet a type for the first time
_DECODER = msgspec.json.Decoder(_Stored)
_RAW = msgspec.Raw
_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SORTING = msgspec.json.Encoder(order="sorted")
_KINDS: dict[str, Any] = {str(kind.__struct_config__.tag): kind for kind in EventBody.__args__}
"""The body of each event type: many times as quick to find as among all that a body may be."""


def event_json(event: Event) -> dict[str, Any]:
    """The event as the specification prints it, plus `seq` and `actor`; without the hashes."""
    details = msgspec.to_builtins(event.body, builtin_types=(datetime,))
    beside = {key: details.pop(key) for key in _BESIDE_DETAILS if key in details}
    if isinstance(address := beside.get("stepNumber"), str):
        beside |= {"stepNumber": number_of(address), "instance": instance_of(address)}
    return {
        "timestamp": iso(event.at),
        **beside,
        "runId": event.run_id,
        "seq": event.seq,
        "actor": msgspec.to_builtins(event.actor),
        **({} if event.request is None else {"request": msgspec.to_builtins(event.request)}),
        "details": {key: item if type(item) in _AS_IT_IS else _plain(item) for key, item in details.items()},
    }


def encode_event(event: Event) -> bytes:
    """The canonical payload."""
    return canonical(event_json(event))


def decode_event(payload: bytes) -> Event:
    """The reverse of `encode_event`. Raises msgspec.ValidationError for what no version of Sopwith wrote."""
    stored = _DECODER.decode(payload)
    fields = dict(stored.details, eventType=stored.event_type)
    if stored.step_number is not msgspec.UNSET:
        number = stored.step_number
        fields["stepNumber"] = number if number is None else step_id(number, stored.instance)
    return Event(
        run_id=stored.run_id,
        seq=stored.seq,
        at=stored.timestamp,
        actor=stored.actor,
        body=msgspec.convert(fields, _KINDS.get(stored.event_type, EventBody)),
        request=stored.request,
    )


def seal(events: Iterable[Event], prev_hash: str) -> tuple[SealedEvent, ...]:
    """The events chained after `prev_hash` (NO_HASH for a run's first)."""
    sealed = []
    for event in events:
        payload = encode_event(event)
        digest = link(prev_hash, payload)
        sealed.append(SealedEvent(event.seq, payload, prev_hash, digest))
        prev_hash = digest
    return tuple(sealed)


def link(prev_hash: str, payload: bytes) -> str:
    """SHA-256 over the raw bytes of the previous hash followed by the payload."""
    return sha256(bytes.fromhex(prev_hash) + payload)


def first_changed(sealed: Iterable[SealedEvent], prev_hash: str = NO_HASH) -> int | None:
    """The seq of the first event that does not fit the one before (`prev_hash`), or its own hash; None if all do."""
    for each in sealed:
        if each.prev_hash != prev_hash or link(prev_hash, each.payload) != each.hash:
            return each.seq
        prev_hash = each.hash
    return None


def view_line(sealed: SealedEvent) -> bytes:
    """The event's line in `<run id>.audit.jsonl`: the payload's object with the two hashes, in canonical form."""
    if b"\n" in sealed.payload:  # somebody has changed it: no view of it has a line of its own making
        document = msgspec.json.decode(sealed.payload)
        return canonical(dict(document, prevHash=sealed.prev_hash, hash=sealed.hash)) + b"\n"
    # what stands in the payload is canonical already: only its parts are put in order anew
    parts = _PARTS.decode(sealed.payload)
    parts["prevHash"], parts["hash"] = (_RAW(b'"%s"' % each.encode()) for each in (sealed.prev_hash, sealed.hash))
    return _SORTING.encode(parts) + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
