"""What is told of a moment: a title, a text, and the same as a document for programs.

It says what is asked, of whom, until when, what happens then, and the command that answers. What comes from elsewhere
(titles, reasons, errors) is masked, then shown so that it can neither deceive, nor call somebody, nor be a link.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from sopwith.core import events as ev
from sopwith.core.address import StepId, instance_of, number_of
from sopwith.core.approval import TimeoutAction
from sopwith.core.approvers import approvers_of, gate_of, rules_of
from sopwith.core.events import Event, EventBody
from sopwith.core.instant import iso
from sopwith.core.notifications import Moment
from sopwith.core.refusal import moves_now
from sopwith.core.run import Gate, Run
from sopwith.core.visible import in_one_line, visible

MAX_CHARACTERS = 4000
"""Of a text."""
_MOST_NAMES = 10
_ROOM_FOR_LEFT = 80
_TITLE, _NAME, _REASON = 120, 80, 600
_DIGEST = 12
"""So many characters of a digest name the envelope."""
_ACTIVE = re.compile(
    r"\\?(<|@(?=(?:everyone|here|channel|all)\b)|(?<![\w.])@(?=\w)|(?<=:)/(?=/)|(?<=\])\()", re.IGNORECASE
)
"""What calls people, makes links or marks text up in the programs that messages go to."""
_TORN = re.compile(r"\\(u(\{[0-9a-f]*)?)?$")
_CUT = "…"


class Tone(StrEnum):
    """How a message is meant, for channels that show it."""

    ASKS = "asks"
    NEWS = "news"
    GOOD = "good"
    BAD = "bad"


_HEADS = {
    Moment.APPROVAL_REQUIRED: "Approval needed",
    Moment.APPROVAL_REMINDER: "Still waits for approval",
    Moment.APPROVAL_ESCALATED: "Nobody answered in time, approval needed",
    Moment.APPROVAL_EXPIRED: "Nobody answered in time",
    Moment.MANUAL_STEP: "To be done by hand",
    Moment.STEP_COMPLETED: "Step done",
    Moment.RUN_PAUSED: "Paused",
    Moment.RUN_COMPLETED: "Completed",
    Moment.RUN_FAILED: "Failed",
}
_TONES = {
    Moment.STEP_COMPLETED: Tone.NEWS,
    Moment.RUN_COMPLETED: Tone.GOOD,
    Moment.RUN_FAILED: Tone.BAD,
    Moment.APPROVAL_EXPIRED: Tone.BAD,
}


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a channel is given. `id` is the same each time the same thing is told."""

    id: str
    title: str
    text: str
    tone: Tone = Tone.NEWS
    document: dict[str, Any] = msgspec.field(default_factory=dict)


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from moment to moment. `head` where it is not the moment's own; `answers` are commands."""

    head: str = ""
    asked: str = ""
    of: tuple[str, ...] = ()
    votes_needed: int = 1
    but: str = ""
    """Who may not answer, though asked."""
    until: datetime | None = None
    waits: bool = False
    then: str = ""
    reason: str = ""
    answers: tuple[str, ...] = ()
    more: dict[str, Any] = msgspec.field(default_factory=dict)


def compose(
    event: Event, run: Run, moment: Moment, *, message_id: str, public_url: str = "", mask: Callable[[str], str] = str
) -> Message:
    """The message of an event that is such a moment. `run`: as it is after it, or later."""

    def say(text: str, most: int = _NAME) -> str:
        return harmless(mask(text), most)

    told = _told(event.body, run, say)
    number = getattr(event.body, "step_number", None)
    where = _where(run, number, say)
    lines = [
        *_facts(told),
        *(f"{'Or' if place else 'Answer'}: {command}" for place, command in enumerate(told.answers)),
        f"Look: {_look(run, number, moment)}",
        f"Run: {run.run_id}, started by {say(str(run.created_by))}{_around(run)}",
    ]
    afar = [f"From elsewhere: the same with --server {public_url}"] if public_url else []
    title = f"{told.head or _HEADS[moment]}: {where}"
    return Message(
        id=message_id,
        title=title,
        text=_cut("\n".join([title, "", *lines, *afar]), MAX_CHARACTERS),
        tone=_TONES.get(moment, Tone.ASKS),
        document=_document(event, run, moment, told, say) | ({"server": public_url} if public_url else {}),
    )


def unreadable(run_id: str, name: str, moment: Moment, *, message_id: str) -> Message:
    """What is told of a run whose record cannot be read."""
    title = f"{_HEADS[moment]}: {name}"
    lines = (
        title,
        "",
        "The record of the run cannot be read, so no more is known.",
        f"Look: sop status {run_id}",
        "Or: sop doctor",
        f"Run: {run_id}",
    )
    return Message(
        id=message_id,
        title=title,
        text="\n".join(lines),
        tone=Tone.BAD,
        document={"moment": moment.value, "runId": run_id, "sopName": name, "answers": [f"sop status {run_id}"]},
    )


def gathered(messages: Sequence[Message]) -> Message:
    """Many at once as one: what each is about, and the command that answers it, as far as there is room."""
    heads = Counter(message.title.partition(":")[0] for message in messages)
    title = f"{len(messages)} messages: " + ", ".join(f"{head} ({count})" for head, count in heads.most_common())
    lines: list[str] = []
    room = MAX_CHARACTERS - len(title) - _ROOM_FOR_LEFT
    for message in messages:
        answers = message.document.get("answers") or [f"sop status {message.document.get('runId')}"]
        line = f"{message.title}\n  {answers[0]}"
        room -= len(line) + 1
        if room < 0:
            lines.append(f"and {len(messages) - len(lines)} more: sop inbox, sop history")
            break
        lines.append(line)
    tones = {message.tone for message in messages}
    return Message(
        id=f"{messages[0].id}-{len(messages)}",
        title=title,
        text="\n".join([title, "", *lines]),
        tone=next(tone for tone in (Tone.ASKS, Tone.BAD, Tone.NEWS, Tone.GOOD) if tone in tones),
        document={"moment": "gathered", "messages": [{"id": each.id, **each.document} for each in messages]},
    )


def harmless(text: str, most: int = _REASON) -> str:
    r"""Foreign text in one line of at most so many characters, as `visible` shows it, and nothing in it active.

    What would call people (`@here`), mark text up (`<!channel>`, `[a](b)`) or be a link (`https://`) has an escape
    where it begins.
    """
    shown = _ACTIVE.sub(_escaped, in_one_line(visible(text[: most + 1])))
    return _cut(shown, most)


def _escaped(found: re.Match[str]) -> str:
    # a backslash that stood alone would make the escape look like one that was written so
    before = "" if found[0] == found[1] else "\\\\"
    return f"{before}\\u{{{ord(found[1]):04x}}}"


def _cut(shown: str, most: int) -> str:
    """At most so many characters, with a mark where some are left out, and no escape torn apart."""
    if len(shown) <= most:
        return shown
    return _TORN.sub("", shown[: most - len(_CUT)]) + _CUT


def _told(body: EventBody, run: Run, say: Callable[..., str]) -> _Told:
    match body:
        case ev.ApprovalTimeout():
            return _expired(body, run)
        case ev.GateBody():
            return _gate(body, run)
        case ev.StepStarted():
            step = f" --step {body.step_number}"
            return _Told(
                asked="to carry the step out, and to report it",
                answers=(f"sop complete {run.run_id}{step}", f'sop fail {run.run_id}{step} --reason "why"'),
                more={"visit": body.visit, "attempt": body.attempt},
            )
        case ev.StepCompleted():
            return _Told(more=_lasted(body.duration))
        case ev.RunPaused():
            return _Told(
                asked="what now",
                reason=say(body.reason, _REASON) or body.cause,
                answers=moves_now(run),
                more={"cause": body.cause},
            )
        case ev.RunCompleted():
            how = "every step was skipped" if body.nothing_ran else "with failures" if body.with_failures else ""
            return _Told(reason=how, more=_lasted(body.duration))
        case ev.RunFailed():
            undone = _undone(body)
            return _Told(
                asked="what now",
                reason="; ".join(filter(None, (say(body.error, _REASON), undone))),
                answers=moves_now(run),
                more=_lasted(body.duration),
            )
        case ev.RunCancelled():
            return _Told(head="Cancelled, and not all was rolled back", reason=_undone(body))
        case _:
            return _Told()


def _gate(body: ev.GateBody, run: Run) -> _Told:
    number = body.step_number
    gate = _gate_now(run, body)
    if isinstance(body, ev.ApprovalRequested):
        until, action, is_rollback, digest = body.due_at, body.on_timeout, body.rollback, body.digest
    else:
        until, action = (gate.due_at, gate.on_timeout) if gate is not None else (None, None)
        is_rollback, digest = gate is not None and gate.rollback, gate.digest if gate is not None else ""
    rules = rules_of(run, number)
    of = body.to if isinstance(body, ev.ApprovalEscalated) else approvers_of(run, number)
    return _Told(
        asked=_asked(number, is_rollback),
        of=of,
        votes_needed=rules.votes_needed,
        but="" if rules.self_approval else f"; not {harmless(str(run.created_by), _NAME)}, who started it",
        until=until,
        waits=True,
        then="" if until is None else _then(action, number, run),
        answers=_answers(run, number, digest),
        more={"revision": body.revision, "digest": digest, "rollback": is_rollback},
    )


def _expired(body: ev.ApprovalTimeout, run: Run) -> _Told:
    led_to = {
        TimeoutAction.APPROVE: "it went on without anybody's consent",
        TimeoutAction.REJECT: "it counts as rejected",
        TimeoutAction.SKIP: "the step was skipped",
        TimeoutAction.PAUSE: "the run was paused",
        TimeoutAction.FAIL: "the step failed",
        TimeoutAction.ESCALATE: "others were asked",
    }
    return _Told(
        reason=led_to[body.action],
        answers=moves_now(run) if run.paused else (),
        more={"revision": body.revision, "action": body.action.value, "dueAt": iso(body.due_at)},
    )


def _gate_now(run: Run, body: ev.GateBody) -> Gate | None:
    gate = gate_of(run, body.step_number)
    return gate if gate is not None and gate.revision == body.revision else None


def _asked(number: StepId | None, is_rollback: bool) -> str:
    if number is None:
        return "whether the run may start"
    return f"whether step {number} may be rolled back" if is_rollback else f"whether step {number} may run"


def _then(action: TimeoutAction | None, number: StepId | None, run: Run) -> str:
    match action:
        case TimeoutAction.APPROVE | None:
            return "it goes on without anybody's consent"
        case TimeoutAction.REJECT:
            return "it counts as rejected"
        case TimeoutAction.ESCALATE:
            return f"{_names(rules_of(run, number).escalate_to)} may answer too, and it waits"
        case TimeoutAction.SKIP:
            return "the step is skipped"
        case TimeoutAction.PAUSE:
            return "the run is paused"
        case TimeoutAction.FAIL:
            return "the step fails"


def _answers(run: Run, number: StepId | None, digest: str) -> tuple[str, ...]:
    """With the digest: what is approved is what was asked about here, and nothing that came to be asked since."""
    step = "" if number is None else f" --step {number}"
    envelope = f" --digest {digest[:_DIGEST]}" if digest else ""
    rules = rules_of(run, number)
    comment = ' --comment "why"' if rules.comment_required else ""
    fields = "".join(f" --field {each.name}=…" for each in rules.form if each.required and each.default is None)
    return (
        f"sop approve {run.run_id}{step}{envelope}{comment}{fields}",
        f'sop reject {run.run_id}{step}{envelope} --reason "why"',
    )


def _look(run: Run, number: StepId | None, moment: Moment) -> str:
    if moment in (Moment.APPROVAL_REQUIRED, Moment.APPROVAL_REMINDER, Moment.APPROVAL_ESCALATED):
        return f"sop approve {run.run_id}{'' if number is None else f' --step {number}'} --show"
    return f"sop status {run.run_id}"


def _where(run: Run, number: StepId | None, say: Callable[..., str]) -> str:
    if number is None:
        return run.name
    return f"{run.name}, step {number}: {say(run.procedure.step(number).title, _TITLE)}"


def _facts(told: _Told) -> list[str]:
    facts = []
    if told.reason:
        facts.append(f"Why: {told.reason}")
    if told.asked:
        facts.append(f"Asked: {told.asked}")
    if told.waits:
        quorum = f"; {told.votes_needed} of them must agree" if told.votes_needed > 1 else ""
        facts.append(f"Of: {_names(told.of) if told.of else 'any person'}{quorum}{told.but}")
        facts.append("Until: " + ("somebody answers" if told.until is None else _minute(told.until)))
    if told.then:
        facts.append(f"Then: {told.then}")
    if "duration" in told.more:
        facts.append(f"Took: {told.more['duration']}")
    return facts


def _names(principals: tuple[str, ...]) -> str:
    named = [harmless(each, _NAME) for each in principals[:_MOST_NAMES]]
    left = len(principals) - len(named)
    return ", ".join(named) + (f" and {left} more" if left else "")


def _minute(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _lasted(duration: str) -> dict[str, Any]:
    return {"duration": duration} if duration else {}


def _undone(body: ev.RolledBack) -> str:
    told = (("could not be rolled back", body.rollback_failed), ("not rolled back", body.not_rolled_back))
    return "; ".join(
        f"{words}: step{'s' if len(steps) > 1 else ''} {_names(tuple(map(str, steps)))}"
        for words, steps in told
        if steps
    )


def _around(run: Run) -> str:
    return "" if run.parent is None else f", within {run.parent.run_id}, step {run.parent.step}"


def _document(event: Event, run: Run, moment: Moment, told: _Told, say: Callable[..., str]) -> dict[str, Any]:
    number = getattr(event.body, "step_number", None)
    step: dict[str, Any] = {"stepNumber": None if number is None else number_of(number)}
    if number is not None:
        step["stepTitle"] = say(run.procedure.step(number).title, _TITLE)
        if instance_of(number):
            step["instance"] = instance_of(number)
    return {
        "moment": moment.value,
        "at": iso(event.at),
        "runId": run.run_id,
        "sopName": run.name,
        "sopTitle": say(run.procedure.title, _TITLE),
        "version": say(run.procedure.version),
        "priority": run.procedure.priority.value,
        "startedBy": say(str(run.created_by)),
        **({} if run.parent is None else {"parentRunId": run.parent.run_id}),
        **step,
        "asked": told.asked,
        "of": [harmless(each, _NAME) for each in told.of],
        "votesNeeded": told.votes_needed if told.waits else None,
        "until": None if told.until is None else iso(told.until),
        "then": told.then,
        "reason": told.reason,
        "answers": list(told.answers),
        **told.more,
    }
