"""What doors ask about notifications: whether a channel works, and what became of what was to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import MsgspecError

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.instant import iso
from sopwith.core.messages import Message, harmless
from sopwith.core.notifications import ChannelConfig
from sopwith.core.people import Directory, Right, check_right
from sopwith.engine.noticing import MESSAGE
from sopwith.engine.parts import Parts
from sopwith.errors import BadRequest, NotAllowed, NotFound, NotSent
from sopwith.ports import Messenger, Notice

Document = dict[str, Any]


def try_channels(
    parts: Parts, messenger: Callable[[ChannelConfig], Messenger], only: str | None = None, *, actor: Actor
) -> list[Document]:
    """`[{channel, kind, sent, told, hint}]`: one test message over each channel, or over the one that is named.

    Raises NotAllowed for a step, and for a token that is no administrator's; NotFound for a name that config.json
    lacks, BadRequest where it has no channels, InvalidProcedure.
    """
    _check_tester(actor, Directory(parts.library.config()))
    channels = parts.library.config().notifications.channels
    if not channels:
        raise BadRequest(
            "config.json has no channels: nobody is told anything",
            hint='add one: {"notifications": {"channels": {"chat": {"apprise": {"env": "CHAT_URL"}}}}}',
        )
    if only is not None and only not in channels:
        raise NotFound(f"config.json has no channel {harmless(only, 64)}", hint=f"it has {', '.join(channels)}")
    message = _test_message(parts)
    chosen = channels if only is None else {only: channels[only]}
    return [
        {"channel": name, "kind": channel.kind, **_tried(messenger, channel, message)}
        for name, channel in chosen.items()
    ]


def _check_tester(actor: Actor, people: Directory) -> None:
    if actor.inside is not None:
        raise NotAllowed(f"a step of {actor.inside} cannot send test messages", hint="run sop notify test from a shell")
    if actor.grant is None:
        return
    check_right(actor, Right.MANAGE, people, "send test messages")
    if actor.kind is not ActorKind.HUMAN:
        raise NotAllowed(f"{actor} may not send test messages: a person looks whether they come", hint="ask one")


def notices_document(notices: Iterable[Notice]) -> list[Document]:
    """One entry each. `status`: waiting, retrying, sent, dropped or given_up; `told`: what came back, or why."""
    return [
        {
            "id": notice.id,
            "channel": notice.channel,
            "moment": notice.moment,
            "runId": notice.run_id,
            "title": _title(notice),
            "status": notice.ended.value if notice.ended else "retrying" if notice.attempts else "waiting",
            "attempts": notice.attempts,
            "madeAt": iso(notice.made_at),
            "nextAt": None if notice.next_at is None else iso(notice.next_at),
            "endedAt": None if notice.ended_at is None else iso(notice.ended_at),
            "told": notice.told,
        }
        for notice in notices
    ]


def _title(notice: Notice) -> str:
    try:
        return MESSAGE.decode(notice.message).title
    except MsgspecError:
        return notice.moment


def _tried(messenger: Callable[[ChannelConfig], Messenger], channel: ChannelConfig, message: Message) -> Document:
    try:
        return {"sent": True, "told": messenger(channel).send(message), "hint": ""}
    except NotSent as error:
        return {"sent": False, "told": error.message, "hint": error.hint}


def _test_message(parts: Parts) -> Message:
    now = parts.clock.now().at
    root = harmless(str(parts.workspace.root), 200)
    return Message(
        id=f"notice_test_{parts.ids.nonce()[:24]}",
        title="Test: this channel works",
        text=f"Test: this channel works\n\nSent by: sop notify test\nWorkspace: {root}\nNothing is asked of anybody.",
        document={"moment": "test", "at": iso(now), "workspace": root, "answers": []},
    )
