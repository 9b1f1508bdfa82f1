"""One workspace as a door uses it: found first, and opened only as far as it is asked for."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sopwith.errors import NotFound, NoWorkspace
from sopwith.ports import Workspace
from sopwith.settings import find_workspace
from sopwith.stores.traces import refuse_lost

if TYPE_CHECKING:
    from sopwith.engine.engine import Engine
    from sopwith.engine.library import Library
    from sopwith.engine.parts import Parts
    from sopwith.engine.reading import Reader


class Opened:
    """What is opened stays open until the process ends, or `close`."""

    def __init__(self, override: str | None) -> None:
        """`override`: the folder that holds `.pi/sops`; else SOPWITH_WORKSPACE says it, else it is looked for."""
        self.override = override

    @functools.cached_property
    def workspace(self) -> Workspace:
        """Raises NoWorkspace."""
        override = self.override or os.environ.get("SOPWITH_WORKSPACE") or None
        start = Path("/") if override is not None and Path(override).is_absolute() else here()
        return find_workspace(start, override=override)

    @functools.cached_property
    def parts(self) -> Parts:
        """Makes the database where there is none."""
        from sopwith.assembly import open_parts

        return open_parts(self.workspace)

    @functools.cached_property
    def engine(self) -> Engine:
        """On the same parts; who only looks never asks for it, and has no move loaded."""
        from sopwith.engine.engine import Engine

        return Engine(self.parts)

    @functools.cached_property
    def reader(self) -> Reader:
        from sopwith.engine.reading import Reader

        return Reader(self)

    @functools.cached_property
    def library(self) -> Library:
        from sopwith.assembly import open_library

        return open_library(self.workspace)

    @property
    def has_runs(self) -> bool:
        """Whether a run was ever made here. Calls that only look make no database. StoreError where it was lost."""
        refuse_lost(self.workspace)
        return self.workspace.database.exists()

    def check_run(self, run_id: str) -> None:
        """Raises BadName, or NotFound where there is no database to look into, and makes none."""
        from sopwith.engine.records import check_run_id

        check_run_id(run_id)
        if not self.has_runs:
            raise NotFound(f"no run is called {run_id}", hint="nothing was run in this workspace yet: sop run NAME")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be signed or copied since it was opened. Harms nothing that was done."""
        parts = self.__dict__.get("parts")  # a call that opened nothing has nothing opened now
        return () if parts is None else tuple(parts.auditing.warnings)


def here() -> Path:
    """The current directory. Raises NoWorkspace if it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise NoWorkspace(
            "the current directory does not exist any more", hint="change to one that does: cd DIR"
        ) from None
