"""Kinds of steps and of channels by name: the built-in ones in a table, an outsider's through the entry points
`sopwith.executors` and `sopwith.channels`.

Both pass the same registration. Entry points are scanned only for a name that the table lacks.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sopwith.errors import BadRequest

if TYPE_CHECKING:
    from sopwith.ports import ChannelKind, ExecutorKind  # noqa: F401 - one is named in a text below

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


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_K = TypeVar("_K", bound=_Named)


class _Kinds(Generic[_K]):
    """Kinds of one sort that are known so far."""

    def __init__(self, sort: str, called: str, built_in: Mapping[str, str], group: str) -> None:
        """`sort`: as people call it, `called`: as ports.py does; `built_in`: name -> where it is; `group`: of the entry
        points.
        """
        self._sort = sort
        self._called = called
        self._built_in = built_in
        self._group = group
        self._kinds: dict[str, _K] = {}
        self._loading = threading.RLock()

    def register(self, kind: _K) -> None:
        """Adds a kind. Raises BadRequest for a name that is taken."""
        if kind.name in self._kinds:
            raise BadRequest(f"{self._sort} {kind.name} is registered twice", hint="give one of them another name")
        self._kinds[kind.name] = kind

    def kind(self, name: str) -> _K:
        """The kind called `name`. Raises BadRequest if nothing registers it."""
        with self._loading:
            if name not in self._kinds:
                self.register(self._load(name))
            return self._kinds[name]

    def _load(self, name: str) -> _K:
        place = self._built_in.get(name)
        if place is not None:
            module, attribute = place.split(":")
            return self._checked(name, getattr(import_module(module), attribute))
        from importlib.metadata import entry_points

        for point in entry_points(group=self._group, name=name):
            return self._checked(name, point.load())
        raise BadRequest(
            f"no {self._sort} is called {name}",
            hint=f"built in: {', '.join(self._built_in)}; others register the entry point {self._group}",
        )

    def _checked(self, name: str, kind: object) -> _K:
        # imported here: most commands look for no kind
        type_: type[_K] = getattr(import_module("sopwith.ports"), self._called)
        if not isinstance(kind, type_) or kind.name != name:
            article = "an" if self._called[0] in "AEIOU" else "a"
            raise BadRequest(
                f"the entry point {name} is not {article} {self._called} of that name", hint=f"see ports.{self._called}"
            )
        return kind


class Registry(_Kinds["ExecutorKind"]):
    """Kinds of steps that are known so far."""

    def __init__(self) -> None:
        super().__init__("executor", "ExecutorKind", _BUILT_IN, ENTRY_POINTS)

    def register(self, kind: ExecutorKind) -> None:
        """Adds a kind of step. Raises BadRequest for a name that is taken or a kind that nobody could carry out."""
        if kind.by_hand == (kind.make is not None):
            raise BadRequest(
                f"executor {kind.name} must either be by_hand or make an Executor", hint="see ports.ExecutorKind"
            )
        super().register(kind)


class Channels(_Kinds["ChannelKind"]):
    """Kinds of channels that are known so far."""

    def __init__(self) -> None:
        super().__init__("channel", "ChannelKind", _BUILT_IN_CHANNELS, CHANNELS)
