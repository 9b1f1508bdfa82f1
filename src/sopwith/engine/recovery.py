"""What a driver may still do with an attempt that a dead one recorded: adopt it always, start it only as approved.

The environment of an order is read to start a process and for nothing else. An order that must not start any more is
given one that cannot be read, so that an executor adopts what runs, takes what has ended, and begins nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn

from msgspec.structs import replace

from sopwith.core.run import Run, starts_nothing
from sopwith.engine.envelopes import step_envelope_bytes, what_changed
from sopwith.engine.environment import MissingVariables, work_order
from sopwith.engine.parts import Parts
from sopwith.ports import WorkOrder


class NeverStarted(Exception):
    """The recorded attempt never became a process, and must not become one now."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def recovery_order(parts: Parts, run: Run, number: int) -> WorkOrder:
    """The order of an attempt that was recorded before. An executor that would start it may meet NeverStarted."""
    try:
        order = work_order(parts, run, number)
    except MissingVariables as missing:
        unset = dict.fromkeys(missing.names, "")
        order = work_order(replace(parts, environ={**parts.environ, **unset}), run, number)
        return _withheld(order, f"{', '.join(missing.names)} is not set here")
    if starts_nothing(run):
        return _withheld(order, "nothing more was to be started")
    gate = run.steps[number].gate
    if gate is not None:
        changed = what_changed(parts, gate.digest, step_envelope_bytes(parts, run, number, rebuilding=True))
        if changed:
            return _withheld(order, f"what would run is not what was approved ({', '.join(changed)})")
    return order


def _withheld(order: WorkOrder, reason: str) -> WorkOrder:
    return replace(order, environment=_Unreadable(f"its driver died before it started, and now {reason}"))


class _Unreadable(Mapping[str, str]):
    def __init__(self, reason: str) -> None:
        self._reason = reason

    def _refuse(self) -> NoReturn:
        raise NeverStarted(self._reason)

    def __getitem__(self, name: str) -> str:
        self._refuse()

    def __iter__(self) -> Iterator[str]:
        self._refuse()

    def __len__(self) -> int:  # noqa: PLE0303 - it returns nothing at all
        self._refuse()
