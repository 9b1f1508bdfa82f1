"""Servers end with their test; one that many tests only look at ends with the session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.doors.workshop import Workshop, slow, terminal, workshop

from sopwith.doors import ancestry

from .given import Served
from .house import House, Ruled

__all__ = ["slow", "terminal", "workshop"]


@pytest.fixture
def serve(workshop: Workshop) -> Iterator[Callable[..., Served]]:
    """Starts servers of the workshop."""
    started: list[Served] = []

    def start(*args: str, **options: Any) -> Served:
        started.append(Served(workshop, *args, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server with runs in every state and a token of every kind."""
    with _outside_of_runs():
        made = House(tmp_path_factory.mktemp("house"))
        yield made
        made.close()


@pytest.fixture(scope="session")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    """Another one, where config.json says who may do what."""
    with _outside_of_runs():
        made = Ruled(tmp_path_factory.mktemp("ruled"))
        yield made
        made.close()


@contextmanager
def _outside_of_runs() -> Iterator[None]:
    """These tests may themselves be a step of a run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SOPWITH_WORKSPACE", "SOPWITH_ACTOR_KIND", "SOP_RUN_ID", "SOPWITH_DEBUG", "NO_COLOR"):
            patch.delenv(name, raising=False)
        patch.setattr(ancestry, "TOP_PID", os.getppid())
        yield
