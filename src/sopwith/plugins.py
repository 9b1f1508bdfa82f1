"""Kinds of steps and of channels by name: the built-in ones in a table, an outsider's through the entry points
`sopwith.executors` and `sopwith.channels`.

Both pass the same registration. Entry points are scanned only for a name that the table lacks.
"""

from __future__ import annotations

import threading
from importlib import import_module

from sopwith.errors import BadRequest
from sopwith.ports import ChannelKind, ExecutorKind

ENTRY_POINTS = "sopwith.executors"
_BUILT_IN = {
    "shell": "sopwith.executors.shell:KIND",
    "manual": "sopwith.executors.manual:KIND",
    "wait": "sopwith.executors.wait:KIND",
    "procedure": "sopwith.executors.procedure:KIND",
    "agent": "sopwith.executors.agent:KIND",
}
CHANNELS = "sopwith.channels"
_BUILT_IN_CHANNELS = {
    "apprise": "sopwith.notify.apprise:KIND",
    "webhook": "sopwith.notify.webhook:KIND",
    "command": "sopwith.notify.command:KIND",
}


class Registry:
    """Kinds that are known so far."""

    def __init__(self) -> None:
        self._kinds: dict[str, ExecutorKind] = {}
        self._loading = threading.RLock()

    def register(self, kind: ExecutorKind) -> None:
        """Adds a kind of step. Raises BadRequest for a name that is taken or a kind that nobody could carry out."""
        if kind.name in self._kinds:
            raise BadRequest(f"executor {kind.name} is registered twice", hint="give one of them another name")
        if kind.by_hand == (kind.make is not None):
            raise BadRequest(
                f"executor {kind.name} must either be by_hand or make an Executor", hint="see ports.ExecutorKind"
            )
        self._kinds[kind.name] = kind

    def kind(self, name: str) -> ExecutorKind:
        """The kind called `name`. Raises BadRequest if nothing registers it."""
        with self._loading:
            if name not in self._kinds:
                self.register(_load(name))
            return self._kinds[name]


def _load(name: str) -> ExecutorKind:
    place = _BUILT_IN.get(name)
    if place is not None:
        module, attribute = place.split(":")
        return _checked(name, getattr(import_module(module), attribute))
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=name):
        return _checked(name, point.load())
    raise BadRequest(
        f"no executor is called {name}",
        hint=f"built in: {', '.join(_BUILT_IN)}; others register the entry point {ENTRY_POINTS}",
    )


def _checked(name: str, kind: object) -> ExecutorKind:
    if not isinstance(kind, ExecutorKind) or kind.name != name:
        raise BadRequest(f"the entry point {name} is not an ExecutorKind of that name", hint="see ports.ExecutorKind")
    return kind


class Channels:
    """Kinds of channels that are known so far."""

    def __init__(self) -> None:
        self._kinds: dict[str, ChannelKind] = {}
        self._loading = threading.RLock()

    def register(self, kind: ChannelKind) -> None:
        """Adds a kind of channel. Raises BadRequest for a name that is taken."""
        if kind.name in self._kinds:
            raise BadRequest(f"channel {kind.name} is registered twice", hint="give one of them another name")
        self._kinds[kind.name] = kind

    def kind(self, name: str) -> ChannelKind:
        """The kind called `name`. Raises BadRequest if nothing registers it."""
        with self._loading:
            if name not in self._kinds:
                self.register(_load_channel(name))
            return self._kinds[name]


def _load_channel(name: str) -> ChannelKind:
    place = _BUILT_IN_CHANNELS.get(name)
    if place is not None:
        module, attribute = place.split(":")
        return _checked_channel(name, getattr(import_module(module), attribute))
    from importlib.metadata import entry_points

    for point in entry_points(group=CHANNELS, name=name):
        return _checked_channel(name, point.load())
    raise BadRequest(
        f"no channel is called {name}",
        hint=f"built in: {', '.join(_BUILT_IN_CHANNELS)}; others register the entry point {CHANNELS}",
    )


def _checked_channel(name: str, kind: object) -> ChannelKind:
    if not isinstance(kind, ChannelKind) or kind.name != name:
        raise BadRequest(f"the entry point {name} is not a ChannelKind of that name", hint="see ports.ChannelKind")
    return kind
