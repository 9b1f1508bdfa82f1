"""A server, and the command somewhere else, where there is no workspace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doors.workshop import Told, Workshop, slow, terminal, workshop
from tests.web.given import Served

__all__ = ["slow", "terminal", "workshop"]


class Away(Workshop):
    """The command as somebody uses it who has an address and a token."""

    def __init__(self, folder: Path, served: Served, patch: pytest.MonkeyPatch) -> None:
        self.root = folder
        self.root.mkdir()
        self.served = served
        self._patch = patch

    def use(self, token: str) -> Away:
        self._patch.setenv("SOPWITH_SERVER", f"http://{self.served.host}:{self.served.port}")
        self._patch.setenv("SOPWITH_TOKEN", token)
        return self

    def here(self) -> None:
        """Back to the workspace."""
        self._patch.delenv("SOPWITH_SERVER", raising=False)

    def sop(self, *args: str) -> Told:
        return super().sop(*args)


@pytest.fixture
def served(workshop: Workshop) -> Iterator[Served]:
    served = Served(workshop)
    yield served
    served.close()


@pytest.fixture
def away(tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> Away:
    """By the token of an administrator."""
    token = served.token("ann", "admin")
    return Away(tmp_path / "away", served, monkeypatch).use(token)
