"""Verbs that steer: none of them waits for ever, whatever the driver does."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from sopwith.doors.cli import steering

from .workshop import Workshop, end_process, eventually


@pytest.fixture
def stopped(workshop: Workshop) -> Iterator[str]:
    """A run whose driver was stopped as Ctrl-Z does, and goes on at the end."""
    workshop.steps("slow", "Wait | touch begun; until [ -e go ]; do sleep 0.02; done")
    process = workshop.background("run", "slow")
    try:
        eventually((workshop.root / "begun").exists)
        process.send_signal(signal.SIGSTOP)
        yield workshop.run_id("slow")
        process.send_signal(signal.SIGCONT)
        assert process.wait(30) == 4
    finally:
        end_process(process)


def test_cancel_does_not_wait_for_a_driver_that_does_not_answer(
    workshop: Workshop, stopped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "PATIENCE_SECS", 0.3)
    told = workshop.sop("cancel", stopped)
    assert told.code == 0
    assert f"{stopped}: accepted; process " in told.out
    assert "must end it (it does not answer)" in told.out
    assert workshop.json("status", stopped)["cancelRequested"] is True


def test_cancel_tells_so_as_json(workshop: Workshop, stopped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "PATIENCE_SECS", 0.3)
    document = workshop.json("cancel", stopped)
    assert (document["success"], document["cancelRequested"]) == (True, True)
    assert document["drivenBy"]["pid"]
