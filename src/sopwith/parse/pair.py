"""The same part of a procedure as SOP.md and manifest.json state it, and the rule for when they differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from msgspec import Struct, structs

from sopwith.core.procedure import Script
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.sheet import Sheet


class Side(Struct, frozen=True):
    """What one file says about the procedure, or about its step `index`; or about one object in it, `part`."""

    sheet: Sheet
    index: int | None = None
    part: str | None = None

    @property
    def statement(self) -> Struct:
        whole = self.sheet.said if self.index is None else self.sheet.steps[self.index]
        if self.part is None:
            return whole
        part: Struct = getattr(whole, self.part)
        return part

    @property
    def script(self) -> Script | None:
        return None if self.index is None else self.sheet.scripts[self.index]

    @property
    def rollback(self) -> Script | None:
        return None if self.index is None else self.sheet.rollbacks[self.index]

    @property
    def verification(self) -> Script | None:
        return None if self.index is None else self.sheet.verifications[self.index]

    @property
    def never_times_out(self) -> bool:
        return self.index in self.sheet.never_times_out

    def at(self, *path: str | int) -> Place:
        """Where the value at the manifest's `path` stands in this file."""
        inner = path if self.part is None else (self.part, *path)
        return self.sheet.at(*inner) if self.index is None else self.sheet.at_step(self.index, *inner)

    def within(self, part: str) -> Side | None:
        """The side of one object, None if this file does not state it. Its key is its field's name."""
        return Side(self.sheet, self.index, part) if getattr(self.statement, part) is not None else None


class Pair(Struct, frozen=True):
    """Both sides of one part; one of them may be missing, not both."""

    sop_md: Side | None
    manifest: Side | None
    findings: Findings

    def step(self, index: int) -> Pair:
        """The pair of one step; a manifest without steps has no side there."""
        manifest = Side(self.manifest.sheet, index) if self.manifest and self.manifest.sheet.said.steps else None
        return Pair(Side(self.sop_md.sheet, index) if self.sop_md else None, manifest, self.findings)

    def part(self, name: str) -> Pair | None:
        """The pair of one object of this part; None if neither file states it."""
        ours, theirs = (side.within(name) if side else None for side in (self.sop_md, self.manifest))
        return Pair(ours, theirs, self.findings) if ours or theirs else None

    def both(self, field: str) -> tuple[Any, Any]:
        """What SOP.md and the manifest say; None where one of them says nothing."""
        return _said(self.sop_md, field), _said(self.manifest, field)

    def pick(self, field: str, normal: Callable[[Any], Any] = lambda value: value) -> Any:
        """The value of a field, None if nobody states it: the manifest's, with a warning if SOP.md states another.

        `normal` turns a stated value into the one that counts; only those are compared.
        """
        ours, theirs = (None if value is None else normal(value) for value in self.both(field))
        if ours is not None and theirs is not None and ours != theirs:
            self.drift(field, ours, theirs)
        return ours if theirs is None else theirs

    def drift(self, field: str, ours: Any, theirs: Any, *, wins: str = "the manifest wins") -> None:
        """Warns that the files differ, and says what counts."""
        assert self.sop_md is not None
        assert self.manifest is not None
        key = key_of(self.manifest.statement, field)
        at = self.manifest.at(key)
        self.findings.warning(
            "drift",
            f"{key} is {shown(ours)} at {self.sop_md.at(key)} and {shown(theirs)} at {at}: {wins}",
            at=at,
            expected=shown(ours),
            got=shown(theirs),
            hint="make both files say the same",
        )

    def script(self, ours: Script | None, theirs: Script | None, field: str) -> Script | None:
        """The script that both files, or one of them, give for `field`; they must not give two."""
        if self.sop_md and self.manifest and ours and theirs and ours != theirs:
            which = "another one" if ours.text != theirs.text else f"it run by bash, not {ours.interpreter}"
            key = self.key(field)
            self.findings.error(
                "scripts_differ",
                f"expected the script at {self.sop_md.at(key)}, got {which}",
                at=self.manifest.at(key),
                hint=f'take "{key}" out of the manifest: SOP.md has the script',
            )
        return ours or theirs

    def key(self, field: str) -> str:
        """The manifest's key for a field of this part."""
        side = self.manifest or self.sop_md
        assert side is not None
        return key_of(side.statement, field)

    def at(self, field: str, *inner: str | int) -> Place:
        """Where a field is stated, in the file that counts; else where its part starts. `inner` leads on from there."""
        ours, theirs = self.both(field)
        side = self.sop_md if theirs is None and (ours is not None or self.manifest is None) else self.manifest
        assert side is not None
        return side.at(key_of(side.statement, field), *inner)


def key_of(statement: Struct, field: str) -> str:
    """The manifest's key for a field: `approvalTimeoutMins`."""
    return _keys_of(type(statement))[field]


@cache
def _keys_of(model: type[Struct]) -> dict[str, str]:
    return {info.name: info.encode_name for info in structs.fields(model)}


def _said(side: Side | None, field: str) -> Any:
    return None if side is None else getattr(side.statement, field)
