"""Where a workspace keeps its files."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import msgspec

from sopwith.errors import BadRequest

FOLDER = Path(".pi") / "sops"


class Workspace(msgspec.Struct, frozen=True, dict=True):
    """Where a workspace keeps its files. `root` is the project folder, absolute: the one that holds `.pi`.

    Its path is recorded and printed as text: one that is not UTF-8 is a BadRequest.
    """

    root: Path

    def __post_init__(self) -> None:
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            shown = str(self.root).encode(errors="backslashreplace").decode()
            raise BadRequest(
                f"the path of the workspace is not UTF-8: {shown}", hint="rename the folder, or use another"
            ) from None

    @cached_property
    def sops(self) -> Path:
        return self.root / FOLDER

    @cached_property
    def database(self) -> Path:
        return self.sops / "runs.db"

    @cached_property
    def runs(self) -> Path:
        return self.sops / "runs"

    @cached_property
    def keys(self) -> Path:
        return self.sops / "keys"

    @cached_property
    def index(self) -> Path:
        return self.sops / "index.json"

    @cached_property
    def config(self) -> Path:
        return self.sops / "config.json"

    def run_folder(self, run_id: str, *within: str) -> Path:
        """Logs, attempts and evidence of one run; or what is within that folder."""
        return self.runs.joinpath(run_id, *within)


VERIFICATIONS = "verify*"
"""Matches the names that `verification_name` gives."""


def verification_name(number: int) -> str:
    """The folder, in that of its attempt, of the attempt's first, second … verification."""
    return "verify" if number == 1 else f"verify-{number}"
