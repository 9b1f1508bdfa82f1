"""The page that people read: who decided what, when and why, over which exact bytes. One file, nothing from elsewhere.

Every text that a person, a script or a file brought in passes through `markup`, so nothing can hide or pose as
something else. A decision is one card (`decisions.py`); below them stands everything that happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sopwith.audit.decisions import card, is_decision, who
from sopwith.audit.markup import Code, Document, Prose, facts, object_in, plain, text
from sopwith.audit.statements import Checkpoint
from sopwith.core.address import address_in
from sopwith.ports import LogEntry

_STYLE = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }
body { max-width: 64rem; margin: 2rem auto; padding: 0 1.5rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 2px solid #1a1a1a }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem } section.decision > h3:first-child { margin-top: 0 }
h4 { font-size: .95rem; margin: .9rem 0 .3rem }
section.decision { border: 1px solid #999; border-left-width: .5rem; border-radius: .25rem; padding: .8rem 1rem;
  margin: 1rem 0 }
section.yes { border-left-color: #1a7f37 } section.no { border-left-color: #b42318 }
section.other { border-left-color: #555 }
section.system { border-left-color: #8a6d00; background: #fdfaf0; border-style: dashed; border-left-style: solid }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .15rem 1rem; margin: 0 }
dt { color: #555; overflow-wrap: anywhere } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap }
pre, code, dd.code { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace }
pre { background: #f4f4f4; border: 1px solid #ccc; padding: .6rem; margin: 0; white-space: pre-wrap;
  overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; font-size: 13px }
td, th { border: 1px solid #ccc; padding: .25rem .4rem; text-align: left; vertical-align: top }
table.events { table-layout: fixed; overflow-wrap: anywhere }
table.events th:nth-child(1) { width: 2.2rem } table.events th:nth-child(2) { width: 6.6rem }
table.events th:nth-child(3) { width: 9rem } table.events th:nth-child(4) { width: 2.4rem }
table.events th:nth-child(5) { width: 8rem } table.events th:nth-child(7) { width: 5.2rem }
table.events td:nth-child(6) { white-space: pre-wrap } table.events b { font-weight: 600; color: #555 }
thead { display: table-header-group }
.note { color: #555 } a { color: inherit }
@media print { body { margin: 0; max-width: none } section.decision { break-inside: avoid-page } }
"""


class Record(msgspec.Struct, frozen=True):
    """One run's entries in order."""

    run_id: str
    entries: Sequence[LogEntry]


def page(records: Iterable[Record], contents: Mapping[str, bytes], checkpoint: Checkpoint) -> str:
    """The whole document. `contents` are procedures and envelopes by their SHA-256."""
    events = {record.run_id: [_event(entry) for entry in record.entries] for record in records}
    runs = "".join(_run(run_id, found, contents) for run_id, found in events.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width"><title>Run records</title><style>{_STYLE}</style></head>'
        "<body><h1>Run records: who decided what</h1>"
        '<p class="note">This page is for reading. What proves it stands beside it: see README.txt. Characters that '
        "could hide or pose as others are shown as <code>\\u{…}</code>, tabs as ⇥; in scripts and in what steers them, "
        "everything outside ASCII. A dashed frame is what the system did by a rule; no person decided it.</p>"
        f"{facts(_about(checkpoint))}{_contents(events)}{runs}</body></html>\n"
    )


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "Log": f"{checkpoint.size} events, signed {checkpoint.timestamp}",
        "Root": Code(checkpoint.root),
        "Key": Code(checkpoint.public_key),
    }


def _contents(events: Mapping[str, Sequence[Document]]) -> str:
    """The runs of the bundle, where there are several."""
    if len(events) < 2:
        return ""
    rows = "".join(
        f'<tr><td><a href="#{text(run_id)}">{text(run_id)}</a></td><td>{text(_details(found).get("sopName", ""))}</td>'
        f"<td>{text(found[0].get('timestamp', ''))}</td><td>{text(found[-1].get('eventType', 'content dropped'))}</td>"
        f"<td>{sum(map(is_decision, found))}</td></tr>"
        for run_id, found in events.items()
    )
    heads = "".join(f"<th>{name}</th>" for name in ("Run", "Procedure", "Began (UTC)", "Last event", "Decisions"))
    return f"<h2>The runs</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _run(run_id: str, events: Sequence[Document], contents: Mapping[str, bytes]) -> str:
    created = _details(events)
    told = {
        "Procedure": Prose(f"{created.get('sopName', 'unknown')} {created.get('version', '')}"),
        "SHA-256": Code(str(created.get("procedureDigest", ""))),
        "Started by": Prose(who(events[0])),
        "Mode": created.get("mode", ""),
        "Parameters": Code(plain(created.get("params") or {})),
        "Events": len(events),
        "Last event": f"{events[-1].get('eventType', 'unknown')} at {events[-1].get('timestamp', 'unknown')}",
    }
    if not any("eventType" in event for event in events):
        told = {"Events": len(events), "Content": "dropped by retention; tombstones.jsonl says when and by whom"}
    shown: dict[str, int] = {}
    cards = [card(index, events, contents, shown) for index, event in enumerate(events) if is_decision(event)]
    heads = "".join(f"<th>{name}</th>" for name in ("#", "When (UTC)", "What", "Step", "Who", "Details", "Hash"))
    return (
        f'<h2 id="{text(run_id)}">Run {text(run_id)}</h2>{facts(told)}'
        f"<h3>Decisions</h3>{''.join(cards) or '<p>Nobody had to decide anything.</p>'}"
        f'<h3>Everything that happened</h3><table class="events"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(map(_row, events))}</tbody></table>"
    )


def _row(event: Document) -> str:
    # each detail in an element of its own: a text with line breaks cannot pose as another detail
    details = "".join(
        f"<div><b>{text(key)}</b> {text(plain(value))}</div>" for key, value in object_in(event, "details").items()
    )
    what = event.get("eventType", "content dropped")
    step = address_in(event)
    when = str(event.get("timestamp", "")).replace("T", " ").replace("Z", "")
    before = (event["seq"], when, what, "" if step is None else step, who(event))
    cells = [*map(text, before), details, f"<code>{text(event['hash'][:16])}</code>"]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _details(events: Sequence[Document]) -> Document:
    return object_in(events[0], "details")


def _event(entry: LogEntry) -> Document:
    document = {} if entry.payload is None else msgspec.json.decode(entry.payload)
    return {**document, "seq": entry.seq, "hash": entry.hash.hex()}
