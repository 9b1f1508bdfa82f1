"""Who is told what happens while a run is driven."""

from __future__ import annotations

from typing import Protocol

from sopwith.core.address import StepId
from sopwith.core.events import Event
from sopwith.core.run import Run


class Observer(Protocol):
    """Is told what happens, to show it. Must return quickly."""

    def on_event(self, event: Event, run: Run) -> None: ...

    def on_output(self, step: StepId, chunk: bytes) -> None: ...

    def on_related_event(self, event: Event, run: Run) -> None:
        """What happens in a run that is driven along: one within this one, or around it."""
        ...


class Silent:
    """Shows nothing."""

    def on_event(self, event: Event, run: Run) -> None:
        pass

    def on_output(self, step: StepId, chunk: bytes) -> None:
        pass

    def on_related_event(self, event: Event, run: Run) -> None:
        pass


class Related:
    """Shows what happens in one run to somebody who watches another."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def on_event(self, event: Event, run: Run) -> None:
        self._observer.on_related_event(event, run)

    def on_output(self, step: StepId, chunk: bytes) -> None:
        pass

    def on_related_event(self, event: Event, run: Run) -> None:
        self._observer.on_related_event(event, run)
