from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .bench import end_all


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for one attempt; what its steps left running is ended."""
    yield tmp_path
    end_all(tmp_path)
