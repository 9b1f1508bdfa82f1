"""Many procedures, broken ones and a torn registry among them, are read while somebody changes them: none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.crash import crowd

from sopwith.engine.library import Library


def test_what_is_broken_torn_or_swapped_hides_no_other_procedure(tmp_path: Path) -> None:
    procedures = crowd.BROKEN_EVERY * (len(crowd.WAYS) + 1)
    report = crowd.campaign(tmp_path, procedures=procedures, looks=4, seed=3)
    assert report["breaches"] == []
    assert report["broken"] >= len(crowd.WAYS) - 1
    assert report["changesMeanwhile"] > 10


def test_what_a_library_hides_or_takes_for_whole_is_a_breach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "BROKEN_EVERY", 5)
    monkeypatch.setattr(crowd, "RESTLESS", 1)
    entries, look = Library.entries, Library.looked_at
    with monkeypatch.context() as patch:
        patch.setattr(Library, "looked_at", lambda library, _entry: look(library, entries(library)[0][0]))
        report = crowd.campaign(tmp_path / "whole", procedures=20, looks=1, seed=1)
    assert "p00004 is broken, and was taken for whole" in report["breaches"]
    with monkeypatch.context() as patch:
        patch.setattr(Library, "entries", lambda library: (entries(library)[0][1:], ()))
        report = crowd.campaign(tmp_path / "hidden", procedures=20, looks=1, seed=1)
    assert report["breaches"] == ["p00000 was not found"]
