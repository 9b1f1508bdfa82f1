"""One decision as a card on the page: who, what, when, with which meaning, why, and what became of it.

Reads stored JSON, of this version or an older one: what an event does not say is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sopwith.audit.markup import Code, Document, Prose, facts, object_in, plain, text
from sopwith.core.address import address_in

_BY_PEOPLE = {
    "approval_granted": ("Approved", "yes", "approved"),
    "approval_vote_recorded": ("Voted for", "yes", "approved; more votes were needed"),
    "approval_rejected": ("Rejected", "no", "rejected"),
    "step_reported": ("Reported by hand", "other", "reported what was done"),
    "step_skipped": ("Passed over", "other", "passed over"),
    "run_retried": ("Retried", "other", "asked for another try"),
    "run_resumed": ("Resumed", "other", "let it go on"),
    "run_pause_requested": ("Pause asked for", "other", "asked to start nothing more"),
    "run_cancel_requested": ("End asked for", "other", "asked to end it"),
    "run_cancelled": ("Cancelled", "other", "ended it for good"),
}
_BY_RULES = {
    "approval_timeout": "Nobody answered in time",
    "approval_escalated": "Nobody answered in time: others were asked",
    "approval_reminded": "Reminded",
    "approval_postponed": "The clock jumped: the deadline was moved",
    "approval_stale": "Approval void: something had changed",
    "approval_closed": "Question withdrawn",
    "condition_evaluated": "Condition evaluated",
}
_AT_GATES = frozenset({"approval_granted", "approval_vote_recorded", "approval_rejected", *_BY_RULES})
_SETTLES = frozenset({"approval_granted", "approval_vote_recorded", "approval_rejected", "approval_timeout"})
_SYSTEM_ACTS = "the system, by the rules of this gate; no person decided"
_ENDS = {
    "approval_stale": "found void before the start: something had changed",
    "step_completed": "completed",
    "step_failed": "failed",
    "step_interrupted": "interrupted: nobody can know whether it took effect",
    "step_skipped": "passed over",
    "run_completed": "the run completed",
    "run_failed": "the run failed",
    "run_cancelled": "the run was cancelled",
}
_STEP_ENDS = frozenset({"approval_stale", "step_completed", "step_failed", "step_interrupted", "step_skipped"})
_SHOWN_APART = frozenset(
    {"title", "revision", "comment", "reason", "signature", "digest", "bootId", "bootMs", "votes", "needed", "meaning"}
)
_NAMES = {
    "dueAt": "Deadline",
    "foundDigest": "Would have run",
    "changed": "Changed",
    "form": "Form",
    "action": "Action",
    "outcome": "Outcome",
    "to": "Now asked too",
    "jumpedMs": "Jumped by (ms)",
    "clockJumpMs": "Clock jump (ms)",
    "condition": "Condition",
    "expression": "Expression",
    "result": "Result",
    "evidence": "Evidence",
    "output": "Output",
    "steps": "Steps",
    "fromStep": "From step",
    "params": "Parameters from here on",
    "duration": "Duration",
    "durationMs": "Duration (ms)",
    "onTimeout": "If nobody answers",
}
_CODE = frozenset({"params", "expression", "form", "changed", "to", "foundDigest", "output", "evidence"})


def is_decision(event: Document) -> bool:
    """Whether it stands among the decisions: what people did, and what rules did in their place."""
    return event.get("eventType") in _BY_PEOPLE or event.get("eventType") in _BY_RULES


def card(index: int, events: Sequence[Document], contents: Mapping[str, bytes], shown: dict[str, int]) -> str:
    """The decision at `index` of a run. `shown`: which envelopes stand on the page already, and in which card."""
    event = events[index]
    kind, details = event["eventType"], object_in(event, "details")
    title, look, meaning = _BY_PEOPLE.get(kind) or (_BY_RULES[kind], "system", "")
    by_person = _is_person(event) and kind in _BY_PEOPLE
    if not by_person and kind in _BY_PEOPLE:
        look, meaning = "system", ""
    digest = plain(details.get("digest") or "")
    told = {
        "Who": Prose(who(event)) if by_person or kind not in _BY_RULES else Prose(_SYSTEM_ACTS),
        **_signed(object_in(details, "signature")),
        "When": f"{event.get('timestamp', 'unknown')} (UTC)",
        "Meaning": Prose(str(object_in(details, "signature").get("meaning") or meaning)),
        "Comment": Prose(str(details.get("comment") or "")),
        "Reason": Prose(str(details.get("reason") or "")),
        "Votes": _votes(details),
        **{
            _NAMES.get(key, key): Code(plain(value)) if key in _CODE else Prose(plain(value))
            for key, value in details.items()
            if key not in _SHOWN_APART and value not in ("", None, [], {})
        },
        "Envelope": Code(digest),
        "Procedure": Code(_procedure_digest(events)) if kind in _AT_GATES else "",
        "What came of it": Prose(_outcome(index, events) if kind in _BY_PEOPLE or kind in _SETTLES else ""),
        "Event": Code(f"{event['seq']}, hash {event['hash']}"),
    }
    heading = f"{title}: {_where(event)}" + (f": {details['title']}" if details.get("title") else "")
    return (
        f'<section class="decision {look}" id="{text(event.get("runId", ""))}-{event["seq"]}">'
        f"<h3>{text(heading)}</h3>{facts(told)}{_asked(event, contents, shown)}</section>"
    )


def who(event: Document) -> str:
    """`Alice Example, alice (human, via cli on host)`, as far as it is known."""
    actor, signature = event.get("actor"), object_in(object_in(event, "details"), "signature")
    if not isinstance(actor, dict):
        return "unknown"
    printed = f"{signature['printedName']}, " if signature.get("printedName") else ""
    host = f" on {signature['host']}" if signature.get("host") else ""
    inside = f", inside {actor['inside']}" if actor.get("inside") else ""
    return f"{printed}{actor.get('id')} ({actor.get('kind')}, via {actor.get('via')}{host}{inside})"


def _is_person(event: Document) -> bool:
    return object_in(event, "actor").get("kind") not in ("system", "trigger", None)


def _signed(signature: Document) -> dict[str, Any]:
    if not signature:
        return {}
    roles = signature.get("roles")
    seen = "yes" if signature.get("seen") else "no: the answer was for whatever was asked about"
    return {
        "User id": Prose(str(signature.get("userId") or "")),
        "Authenticated": Prose(str(signature.get("authenticatedBy") or "")),
        "Session": Prose(str(signature.get("session") or "")),
        "Groups then": Prose(plain(signature.get("groups") or "")),
        "Roles then": "none are configured" if roles is None else Prose(plain(roles) if roles else "none"),
        "Rights read from": Code(str(signature.get("configDigest") or "")),
        "Named what was shown": seen,
    }


def _votes(details: Document) -> Any:
    votes, needed = details.get("votes"), details.get("needed")
    if votes is None or votes == []:
        return ""
    if isinstance(votes, list):
        return Prose(f"{len(votes)}: {', '.join(map(str, votes))}")
    return f"{votes} of {needed}" if needed is not None else str(votes)


def _where(event: Document) -> str:
    step = address_in(event)
    if step is not None:
        return f"step {step}"
    return "the start" if event["eventType"] in _AT_GATES else "the run"


def _procedure_digest(events: Sequence[Document]) -> str:
    return str(object_in(events[0], "details").get("procedureDigest") or "")


def _outcome(index: int, events: Sequence[Document]) -> str:
    """How the step went after this decision, or the run where it was about the run; up to the next one like it."""
    step = address_in(events[index])
    for event in events[index + 1 :]:
        kind = event.get("eventType")
        if kind == "approval_requested" and address_in(event) == step:
            return f"asked again (event {event['seq']}, {event.get('timestamp', '')})"
        if kind not in _ENDS or (step is not None and kind in _STEP_ENDS and address_in(event) != step):
            continue
        if step is None and kind in _STEP_ENDS:
            continue
        details = object_in(event, "details")
        if kind == "step_interrupted" and details.get("then"):
            continue  # what came of it stands further on
        code = f", exit code {details['exitCode']}" if details.get("exitCode") is not None else ""
        error = f": {details['error']}" if details.get("error") else ""
        what = _ENDS[kind] if kind not in _STEP_ENDS else f"step {address_in(event)} {_ENDS[kind]}"
        return f"{what}{code}{error} (event {event['seq']}, {event.get('timestamp', '')})"
    return "nothing yet"


def _asked(event: Document, contents: Mapping[str, bytes], shown: dict[str, int]) -> str:
    """What was asked about, whole, where the page first speaks of it."""
    digest = object_in(event, "details").get("digest")
    if not isinstance(digest, str) or not digest or event["eventType"] not in _SETTLES:
        return ""
    if digest in shown:
        there = f"#{text(event.get('runId', ''))}-{shown[digest]}"
        return f'<p class="note">What was asked about stands <a href="{there}">at event {shown[digest]}</a>.</p>'
    data = contents.get(digest)
    if data is None:
        return '<p class="note">What was asked about is not in this bundle.</p>'
    shown[digest] = event["seq"]
    envelope = msgspec.json.decode(data)
    scripts = _scripts(envelope, contents)
    hidden = ("script", "instructions")
    rest = {key: Code(plain(value)) for key, value in envelope.items() if key not in hidden}
    prose = f"<h4>Instructions</h4><pre>{text(envelope['instructions'])}</pre>" if envelope.get("instructions") else ""
    return f"{scripts}{prose}<h4>And all that steers it</h4>{facts(rest)}"


def _scripts(envelope: Document, contents: Mapping[str, bytes]) -> str:
    """The script of a step; for the start approval those of all steps, from the procedure that it names."""
    if envelope.get("script"):
        kind = envelope.get("interpreter") or "script"
        return f"<h4>What runs ({text(kind)})</h4><pre>{Code(envelope['script']).html}</pre>"
    procedure = contents.get(str(envelope.get("procedureDigest") or envelope.get("procedure_digest") or ""))
    if envelope.get("step") is not None or procedure is None:
        return ""
    found = []
    for step in msgspec.json.decode(procedure).get("steps") or ():
        script = object_in(step, "script")
        heading = f"Step {step.get('number')}: {step.get('title')} ({script.get('interpreter') or 'by hand'})"
        body = Code(script["text"]).html if script.get("text") else text(step.get("body") or "")
        found.append(f"<h4>{text(heading)}</h4><pre>{body}</pre>")
    return "".join(found)
