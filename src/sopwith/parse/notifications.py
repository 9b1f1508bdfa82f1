"""`notifications` of config.json: what may be written, what is checked beyond the model, and the value it makes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from sopwith.core.notifications import ChannelConfig, Moment, Notifications, Route
from sopwith.core.procedure import Priority
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.model import USER_ID
from sopwith.parse.shape import Places

_KINDS = ("apprise", "webhook", "command", "plugin")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_VARIABLE = r"^(?!SOP_|SOPWITH_)[A-Za-z_][A-Za-z0-9_]{0,127}$"
ChannelName = Annotated[
    str,
    Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", title="the name of a channel: a-z 0-9 _ - (64 at most)"),
]
Variable = Annotated[
    str, Meta(pattern=_VARIABLE, title="the name of a variable that does not start with SOP_ or SOPWITH_")
]
Address = Annotated[
    str, Meta(pattern=r"^[^\x00-\x20\x7f]{1,2000}$", title="a URL (2000 characters at most, without blanks)")
]
Pattern = Annotated[
    str,
    Meta(pattern=r"^[a-z0-9*][a-z0-9._*-]{0,63}$", title="the name of a procedure, or a pattern of names with *"),
]
GroupName = Annotated[str, Meta(pattern=f"^{USER_ID}$", title="the name of a group, without group:")]
Word = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]{1,2000}$",
        title="a word of a command (2000 characters at most, none a control character)",
    ),
]


class FromVariable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address that holds a secret, kept out of the file."""

    env: Annotated[Variable, Meta(description="The variable of the server's environment that holds it.")]


class ChannelFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One way to somebody: exactly one of apprise, webhook, command and plugin."""

    apprise: Annotated[
        Address | FromVariable | None,
        Meta(description="An URL of Apprise, such as slack://…; it holds a secret, so better the variable with it."),
    ] = None
    webhook: Annotated[
        Address | FromVariable | None,
        Meta(description="Where the message is posted as JSON, signed as Standard Webhooks."),
    ] = None
    secret_env: Annotated[
        Variable | None,
        Meta(description="With webhook: the variable with the signing key, whsec_ and 24 bytes or more in base64."),
    ] = None
    command: Annotated[
        Annotated[tuple[Word, ...], Meta(min_length=1, max_length=100)] | None,
        Meta(description="A program and its arguments. It reads the message as JSON; no shell reads the words."),
    ] = None
    plugin: Annotated[
        ChannelName | None, Meta(description="A kind of channel that an installed package registers.")
    ] = None
    settings: Annotated[dict[str, Any] | None, Meta(description="With plugin: what it wants to know.")] = None


class RouteFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What goes over which channels. What is not said holds for all; all that is said must fit."""

    channels: Annotated[
        Annotated[tuple[ChannelName, ...], Meta(min_length=1, max_length=100)], Meta(description="Names of channels.")
    ]
    procedures: Annotated[
        Annotated[tuple[Pattern, ...], Meta(min_length=1, max_length=500)] | None,
        Meta(description="Names of procedures; * stands for any characters."),
    ] = None
    priorities: Annotated[
        Annotated[tuple[Priority, ...], Meta(min_length=1, max_length=10)] | None,
        Meta(description="Priorities of procedures."),
    ] = None
    groups: Annotated[
        Annotated[tuple[GroupName, ...], Meta(min_length=1, max_length=500)] | None,
        Meta(description="Groups that a gate asks: what asks none of them does not fit."),
    ] = None
    moments: Annotated[
        Annotated[tuple[Moment, ...], Meta(min_length=1, max_length=20)] | None,
        Meta(description="Moments, by the names of their switches."),
    ] = None


class NotificationsFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which moments are told to people, and how. Without channels nobody is told; `sop serve` tells."""

    on_approval_required: Annotated[bool, Meta(description="A gate waits for somebody.")] = True
    on_step_completed: Annotated[bool, Meta(description="A step is done.")] = False
    on_run_completed: Annotated[bool, Meta(description="A run is done.")] = True
    on_run_failed: Annotated[bool, Meta(description="A run failed, or was cancelled and could not be rolled back.")] = (
        True
    )
    on_approval_reminder: Annotated[bool, Meta(description="A gate still waits, as remindAfterMins says.")] = True
    on_approval_escalated: Annotated[
        bool, Meta(description="Nobody answered a gate in time, and others are asked too.")
    ] = True
    on_approval_expired: Annotated[bool, Meta(description="Nobody answered a gate in time, and it was settled.")] = True
    on_run_paused: Annotated[bool, Meta(description="A run stands still until somebody decides.")] = True
    on_manual_step: Annotated[bool, Meta(description="A step waits for somebody to carry it out.")] = True
    channels: Annotated[
        Annotated[dict[ChannelName, ChannelFile], Meta(max_length=100)], Meta(description="Ways to people, by name.")
    ] = field(default_factory=dict)
    routes: Annotated[
        Annotated[tuple[RouteFile, ...], Meta(max_length=500)] | None,
        Meta(description="Which channels are told what; all are told everything if not said."),
    ] = None
    public_url: Annotated[
        Address | None,
        Meta(description="Where people reach the server, such as https://sop.example.com; messages name it."),
    ] = None


def check_notifications(stated: NotificationsFile, groups: Collection[str], places: Places, findings: Findings) -> None:
    """What the model cannot say: one kind for each channel, addresses that are some, names that exist."""
    at = ("notifications",)
    if stated.public_url is not None:
        check_web_address(stated.public_url, places.at((*at, "publicUrl")), findings)
    for name, channel in stated.channels.items():
        _check_channel(channel, (*at, "channels", name), places, findings)
    for index, route in enumerate(stated.routes or ()):
        where = (*at, "routes", index)
        for number, name in enumerate(route.channels):
            if name not in stated.channels:
                _unknown("channel", name, stated.channels, places.at((*where, "channels", number)), findings)
        for number, name in enumerate(route.groups or ()):
            if name not in groups:
                _unknown("group", name, groups, places.at((*where, "groups", number)), findings)


def notifications_of(stated: NotificationsFile) -> Notifications:
    """The value, of what has been checked."""
    return Notifications(
        moments=tuple(moment for moment in Moment if getattr(stated, _field(moment))),
        channels={name: _channel(channel) for name, channel in stated.channels.items()},
        routes=tuple(
            Route(
                channels=tuple(dict.fromkeys(route.channels)),
                procedures=route.procedures or (),
                priorities=route.priorities or (),
                groups=route.groups or (),
                moments=route.moments or (),
            )
            for route in stated.routes or ()
        ),
        public_url=(stated.public_url or "").rstrip("/"),
    )


def _field(moment: Moment) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), moment.value)


def _channel(stated: ChannelFile) -> ChannelConfig:
    kind = next(kind for kind in _KINDS if getattr(stated, kind) is not None)
    address = stated.apprise or stated.webhook
    return ChannelConfig(
        kind=stated.plugin or kind,
        url=address if isinstance(address, str) else "",
        url_env=address.env if isinstance(address, FromVariable) else "",
        secret_env=stated.secret_env or "",
        command=stated.command or (),
        settings=stated.settings or {},
    )


def _check_channel(stated: ChannelFile, at: tuple[str | int, ...], places: Places, findings: Findings) -> None:
    kinds = [kind for kind in _KINDS if getattr(stated, kind) is not None]
    if len(kinds) != 1:
        findings.unexpected(
            "bad_channel",
            expected=f"exactly one of {', '.join(_KINDS)}",
            got=" and ".join(kinds) or "none of them",
            at=places.at(at),
            hint="make two channels of it" if kinds else "say where the messages go",
        )
        return
    for key, value, belongs_to in (
        ("secretEnv", stated.secret_env, "webhook"),
        ("settings", stated.settings, "plugin"),
    ):
        if value is not None and kinds != [belongs_to]:
            findings.error(
                "bad_channel",
                f'"{key}" belongs to {belongs_to}, and this is {kinds[0]}',
                at=places.at_key((*at, key)),
                hint="take it out",
            )
    if stated.webhook is not None:
        _check_webhook(stated, at, places, findings)
    if isinstance(stated.apprise, str):
        _check_apprise(stated.apprise, places.at((*at, "apprise")), findings)


def _check_webhook(stated: ChannelFile, at: tuple[str | int, ...], places: Places, findings: Findings) -> None:
    if stated.secret_env is None:
        findings.error(
            "missing_key",
            'expected the key "secretEnv" beside "webhook"',
            at=places.at(at),
            hint="name the variable with the signing key; openssl rand -base64 32 makes one",
        )
    if isinstance(stated.webhook, str):
        check_web_address(stated.webhook, places.at((*at, "webhook")), findings)


def _check_apprise(url: str, at: Place, findings: Findings) -> None:
    if not re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE):
        # what it is may be a secret: it is not repeated
        findings.error(
            "bad_address",
            "expected an URL of Apprise, such as slack://… or mailto://…",
            at=at,
            hint="the list: https://appriseit.com/services/",
        )
        return
    findings.warning(
        "secret_in_file",
        "URLs of Apprise hold secrets, and this file is in version control",
        at=at,
        hint='put the URL into a variable, and write {"env": "NAME"}',
    )


def check_web_address(url: str, at: Place, findings: Findings) -> None:
    """http or https, a host, and neither a name nor a password in it: addresses are shown."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        parts, host = None, ""
    if parts is None or parts.scheme not in ("http", "https") or not host or "\\" in url:
        findings.error(
            "bad_address",
            "expected an address that starts with https:// or http:// and names a host",
            at=at,
            hint="write it as https://HOST/PATH",
        )
    elif parts.username is not None or parts.password is not None or parts.fragment:
        findings.error(
            "bad_address",
            "expected an address without user, password and fragment",
            at=at,
            hint='where it must hold a secret, put it into a variable and write {"env": "NAME"}',
        )
    elif parts.scheme == "http" and host not in _LOOPBACK:
        findings.warning(
            "unencrypted",
            f"{host} is spoken to without encryption: everybody on the way can read it",
            at=at,
            hint="write https://",
        )


def _unknown(noun: str, name: str, known: Collection[str], at: Place, findings: Findings) -> None:
    findings.unexpected(
        f"unknown_{noun}",
        expected=f"a {noun} of this file",
        got=shown(name),
        at=at,
        hint=findings.did_you_mean(name, known) or f'add "{name}" to "{noun}s"',
    )
