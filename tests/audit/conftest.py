"""One log of 1,000 events for the whole session; each test changes a copy of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.audit.given import Ledger


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 1,000 events of 100 runs, four at a time, and a checkpoint after every hundred."""
    folder = tmp_path_factory.mktemp("thousand")
    ledger = Ledger(folder)
    ledger.fill(100, checkpoint_every=20)
    ledger.store.close()
    return folder


@pytest.fixture
def ledger(thousand: Path, tmp_path: Path) -> Ledger:
    """A copy of it, open."""
    shutil.copytree(thousand, tmp_path / "copy")
    return Ledger(tmp_path / "copy")
