"""What one file says about a procedure: SOP.md or manifest.json, both in the manifest's own model."""

from __future__ import annotations

from msgspec import Struct

from sopwith.core.procedure import Script
from sopwith.parse.findings import Place
from sopwith.parse.model import ManifestFile, StepFile
from sopwith.parse.shape import Places
from sopwith.parse.strict_json import Path


class Sheet(Struct, frozen=True, kw_only=True):
    """One file's statements. `scripts`, `rollbacks` and `verifications` have one entry per step; `never_times_out`
    holds indexes.
    """

    said: ManifestFile
    places: Places
    scripts: tuple[Script | None, ...] = ()
    rollbacks: tuple[Script | None, ...] = ()
    verifications: tuple[Script | None, ...] = ()
    never_times_out: frozenset[int] = frozenset()
    overview: str = ""

    @property
    def steps(self) -> tuple[StepFile, ...]:
        return self.said.steps or ()

    def at(self, *path: str | int) -> Place:
        """Where the value at `path` stands, in this file."""
        return self.places.at(path)

    def at_step(self, index: int, *path: str | int) -> Place:
        """Where a step, or one of its values, stands."""
        return self.places.at(("steps", index, *path))


def script_path(index: int, key: str = "run") -> Path:
    """The path under which a step's script is placed, whichever file it comes from; `key` for its others."""
    return ("steps", index, key)
