"""The page that people read: who decided what, when and why, over which exact bytes. One file, nothing from elsewhere.

Every text that a person, a script or a file brought in passes through `visible`, so nothing can hide or pose as
something else, and is then escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sopwith.audit.statements import Checkpoint
from sopwith.core.visible import visible
from sopwith.ports import LogEntry

_DECISIONS = {
    "approval_granted": "Approved",
    "approval_rejected": "Rejected",
    "approval_timeout": "Nobody answered in time",
    "step_reported": "Reported by hand",
    "step_skipped": "Skipped",
    "run_retried": "Retried",
    "run_resumed": "Resumed",
    "run_cancelled": "Cancelled",
}
_GATE = ("approval_granted", "approval_rejected", "approval_timeout")
_TEXTS = ("script", "instructions")
_STYLE = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1.5rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 2px solid #1a1a1a }
h3 { font-size: 1.05rem; margin: 1rem 0 .5rem } section.decision > h3:first-child { margin-top: 0 }
section.decision { border: 1px solid #999; border-left-width: .5rem; border-radius: .25rem; padding: .8rem 1rem;
  margin: 1rem 0 }
section.yes { border-left-color: #1a7f37 } section.no { border-left-color: #b42318 }
section.other { border-left-color: #555 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 }
dt { color: #555 } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap }
pre { background: #f4f4f4; border: 1px solid #ccc; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.45 ui-monospace, monospace }
table { border-collapse: collapse; width: 100%; font-size: 13px }
td, th { border: 1px solid #ccc; padding: .25rem .4rem; text-align: left; vertical-align: top; white-space: nowrap }
td:nth-child(5) { white-space: normal } td:nth-child(6) { white-space: pre-wrap; overflow-wrap: anywhere }
thead { display: table-header-group }
code { font: 13px ui-monospace, monospace } .note { color: #555 }
@media print { body { margin: 0; max-width: none } section.decision { break-inside: avoid-page } }
"""


class Record(msgspec.Struct, frozen=True):
    """One run's entries in order."""

    run_id: str
    entries: Sequence[LogEntry]


def page(records: Iterable[Record], contents: Mapping[str, bytes], checkpoint: Checkpoint) -> str:
    """The whole document. `contents` are procedures and envelopes by their SHA-256."""
    runs = "".join(_run(record, contents) for record in records)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width"><title>Run records</title><style>{_STYLE}</style></head>'
        "<body><h1>Run records: who decided what</h1>"
        '<p class="note">This page is for reading. What proves it stands beside it: see README.txt. Characters that '
        "could hide or pose as others are shown as <code>\\u{…}</code>, tabs as ⇥.</p>"
        f"{_facts(_about(checkpoint))}{runs}</body></html>\n"
    )


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "Log": f"{checkpoint.size} events, signed {checkpoint.timestamp}",
        "Root": checkpoint.root,
        "Key": checkpoint.public_key,
    }


def _run(record: Record, contents: Mapping[str, bytes]) -> str:
    events = [_event(entry) for entry in record.entries]
    created = events[0].get("details", {}) if events else {}
    facts = {
        "Procedure": f"{created.get('sopName', 'unknown')} {created.get('version', '')}",
        "SHA-256": created.get("procedureDigest", ""),
        "Started by": _who(events[0]),
        "Mode": created.get("mode", ""),
        "Parameters": _plain(created.get("params", {})),
        "Events": len(events),
        "Last event": f"{events[-1].get('eventType', '')} at {events[-1].get('timestamp', 'unknown')}",
    }
    decisions = "".join(_decision(event, contents) for event in events if event.get("eventType") in _DECISIONS)
    return (
        f"<h2>Run {_text(record.run_id)}</h2>{_facts(facts)}"
        f"<h3>Decisions</h3>{decisions or '<p>Nobody had to decide anything.</p>'}"
        "<h3>Everything that happened</h3><table><thead><tr><th>#</th><th>When (UTC)</th><th>What</th><th>Step</th>"
        f"<th>Who</th><th>Details</th><th>Hash</th></tr></thead><tbody>{''.join(map(_row, events))}</tbody></table>"
    )


def _decision(event: dict[str, Any], contents: Mapping[str, bytes]) -> str:
    kind, details = event["eventType"], dict(event["details"])
    step = event.get("stepNumber")
    where = f"step {step}" if step is not None else "the run" if kind not in _GATE else "the start"
    title = f": {details['title']}" if details.get("title") else ""
    facts = {
        "Who": _who(event),
        "When": event["timestamp"],
        "Comment": details.get("comment") or details.get("reason", ""),
        "Action": details.get("action", ""),
        "Outcome": details.get("outcome", ""),
        "Over the bytes": details.get("digest", ""),
        "Event": f"{event['seq']}, hash {event['hash']}",
    }
    look = {"approval_granted": "yes", "approval_rejected": "no"}.get(kind, "other")
    return (
        f'<section class="decision {look}"><h3>{_text(f"{_DECISIONS[kind]}: {where}{title}")}</h3>'
        f"{_facts(facts)}{_envelope(details.get('digest'), contents)}</section>"
    )


def _envelope(digest: str | None, contents: Mapping[str, bytes]) -> str:
    """What was asked about, whole."""
    if not digest:
        return ""
    data = contents.get(digest)
    if data is None:
        return '<p class="note">What was asked about is not in this bundle.</p>'
    envelope = msgspec.json.decode(data)
    texts = "".join(
        f"<h3>{name.capitalize()}</h3><pre>{_text(envelope[name])}</pre>" for name in _TEXTS if envelope.get(name)
    )
    rest = {key: _plain(value) for key, value in envelope.items() if key not in _TEXTS and value not in ("", None, {})}
    return f"{texts}<h3>And all that steers it</h3>{_facts(rest)}"


def _row(event: dict[str, Any]) -> str:
    # each detail in an element of its own: a text with line breaks cannot pose as another detail
    details = "".join(
        f"<div><b>{_text(key)}</b> {_text(_plain(value))}</div>" for key, value in event.get("details", {}).items()
    )
    what = event.get("eventType", "content dropped")
    step = event.get("stepNumber")
    before = (event["seq"], event.get("timestamp", ""), what, "" if step is None else step, _who(event))
    cells = [*map(_text, before), details, _text(event["hash"][:16])]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _event(entry: LogEntry) -> dict[str, Any]:
    document = {} if entry.payload is None else msgspec.json.decode(entry.payload)
    return {**document, "seq": entry.seq, "hash": entry.hash.hex()}


def _who(event: dict[str, Any]) -> str:
    actor = event.get("actor")
    if actor is None:
        return "unknown"
    inside = f", inside {actor['inside']}" if actor.get("inside") else ""
    return f"{actor['id']} ({actor['kind']}, via {actor['via']}{inside})"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _facts(facts: Mapping[str, Any]) -> str:
    shown = "".join(f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in facts.items() if value != "")
    return f"<dl>{shown}</dl>"


def _text(value: Any) -> str:
    return html.escape(visible(str(value)))
