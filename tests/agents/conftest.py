"""Agents are closed when their test ends, so that no database stays open."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.doors.workshop import Workshop, workshop

from .given import Agent

__all__ = ["workshop"]


@pytest.fixture
def agents(workshop: Workshop) -> Iterator[Callable[..., Agent]]:
    """Makes agents of this workspace."""
    made: list[Agent] = []

    def make(name: str | None = "coder", **options: Any) -> Agent:
        made.append(Agent(workshop, name, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def coder(agents: Callable[..., Agent]) -> Agent:
    return agents("coder")


@pytest.fixture
def reviewer(agents: Callable[..., Agent]) -> Agent:
    return agents("reviewer")
