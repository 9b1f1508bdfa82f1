"""The triggers of the workspace as their files have them: read again where a file has changed, without a restart."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from sopwith.core.procedure import Procedure, Trigger, TriggerType
from sopwith.core.triggers import find_trigger, name_of
from sopwith.engine.library import MANIFEST, SHEET, Entry, Library
from sopwith.errors import InvalidProcedure, Severity, SopwithError
from sopwith.ports import CURSOR

Stamp = tuple[tuple[int, int, int] | None, ...]


class Armed(msgspec.Struct, frozen=True):
    """A trigger that is no `manual`, of a procedure without errors."""

    procedure: Procedure
    trigger: Trigger

    @property
    def name(self) -> str:
        return name_of(self.trigger)

    @property
    def cursor(self) -> str:
        """What its source keeps its place under; another one where what it watches is another."""
        about = (self.trigger.path, self.trigger.expression, self.trigger.timezone, self.trigger.procedure)
        parts = ("" if each is None or isinstance(each, msgspec.UnsetType) else each for each in about)
        return f"{CURSOR}{self.procedure.name}/{self.name}/{self.trigger.type}/{'|'.join(parts)}"


class Armory:
    """All armed triggers. `tell` hears of a procedure whose triggers start nothing because it has errors, once."""

    def __init__(self, library: Library, tell: Callable[[str, SopwithError], None]) -> None:
        self._library = library
        self._tell = tell
        self._known: dict[str, tuple[Stamp, Procedure | None]] = {}
        self.all: tuple[Armed, ...] = ()
        self.has_looked = False
        """Until then nobody knows which triggers there are."""

    def look(self) -> None:
        """Reads what has changed. Raises WorkspaceError, InvalidProcedure."""
        entries, _ = self._library.entries()
        known: dict[str, tuple[Stamp, Procedure | None]] = {}
        for entry in entries:
            stamp = _stamp(entry)
            before = self._known.get(entry.name)
            known[entry.name] = before if before and before[0] == stamp else (stamp, self._read(entry))
        self._known = known
        self.all = tuple(
            Armed(procedure, trigger)
            for _, procedure in known.values()
            if procedure is not None
            for trigger in procedure.triggers
            if trigger.type != TriggerType.MANUAL
        )
        self.has_looked = True

    def of(self, kind: TriggerType) -> tuple[Armed, ...]:
        """Those of one type."""
        return tuple(each for each in self.all if each.trigger.type == kind)

    def find(self, procedure: str, trigger: str) -> Armed:
        """The trigger as its files have it at this moment. Raises NotFound, InvalidProcedure, or `Disarmed`."""
        found = self._library.procedure(procedure)
        stated = find_trigger(found, trigger)
        if stated is None or stated.type == TriggerType.MANUAL:
            raise Disarmed(f"{procedure} has no trigger {trigger} any more", hint="sop trigger list shows all")
        return Armed(found, stated)

    def _read(self, entry: Entry) -> Procedure | None:
        try:
            parsed = self._library.read(entry)
        except SopwithError as error:
            self._tell(entry.name, error)
            return None
        if parsed.procedure is None:
            errors = [problem for problem in parsed.problems if problem.severity is Severity.ERROR]
            self._tell(
                entry.name,
                InvalidProcedure(
                    f"{entry.name} has errors, and its triggers start nothing: {errors[0]}",
                    problems=parsed.problems,
                    hint=f"sop validate {entry.name} shows all",
                ),
            )
        return parsed.procedure


class Disarmed(SopwithError):
    """The trigger was taken out of its file."""

    code = "disarmed"


def _stamp(entry: Entry) -> Stamp:
    return tuple(_file_stamp(os.path.join(entry.folder, file)) for file in (SHEET, MANIFEST))  # noqa: PTH118


def _file_stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
