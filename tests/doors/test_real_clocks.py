"""Real processes whose wall clock is set: libfaketime gives them the time of a file, and leaves them the boot clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .test_serve import Serve, detached, events, serve, status
from .workshop import Workshop, eventually

__all__ = ["serve"]
WAIT_SECS = 3
SET_TO = {"a-day-ahead": "+86400", "an-hour-back": "-3600", "to-2040": "@2040-01-01 00:00:00"}


def _library() -> str:
    """Where libfaketime is; empty where it is not installed."""
    if named := os.environ.get("SOPWITH_LIBFAKETIME", ""):
        return named
    folders = (Path("/usr/lib"), Path("/usr/local/lib"), *Path("/usr/lib").glob("*-linux-gnu"))
    names = (folder / "faketime" / "libfaketimeMT.so.1" for folder in folders)
    return next((str(name) for name in names if name.is_file()), "")


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the clock of every process that is started from now on, and again at any time."""
    library = _library()
    if not library:
        pytest.skip("libfaketime is not installed: apt install libfaketime, or name it in SOPWITH_LIBFAKETIME")
    file = tmp_path / "clock"

    def set_clock(to: str) -> None:
        draft = tmp_path / "clock.draft"
        draft.write_text(f"{to}\n")
        draft.replace(file)

    set_clock("+0")
    given = {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}
    for name, value in {"LD_PRELOAD": library, **given}.items():
        monkeypatch.setenv(name, value)
    return set_clock


@pytest.mark.parametrize("to", SET_TO.values(), ids=SET_TO)
def test_a_wait_ends_on_time_and_no_gate_is_settled_however_the_clock_of_a_real_server_is_set(
    workshop: Workshop, serve: Serve, set_clock: Callable[[str], None], to: str
) -> None:
    workshop.procedure(
        "pause",
        f"# Pause\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Wait\n\n**Wait**: {WAIT_SECS}s\n",
    )
    workshop.procedure(
        "gated",
        "# Gated\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Go\n\n**Approval Required**: Yes\n\n"
        "**Approval Timeout**: 1\n\n**On Timeout**: reject\n\n```bash\necho x >> ran\n```\n",
    )
    server = serve("--log-format", "json")
    gated = detached(workshop, "gated")
    eventually(lambda: status(workshop, gated) == "awaiting_approval")
    began = time.monotonic()
    pause = detached(workshop, "pause")
    eventually(lambda: "wait_started" in [each["type"] for each in events(workshop, pause)])
    set_clock(to)
    eventually(lambda: status(workshop, pause) == "completed")
    took = time.monotonic() - began
    assert took >= WAIT_SECS, "it came early"
    assert took < 60, "it came by a clock that was set back"
    eventually(lambda: '"clock_jump"' in server.text)
    assert status(workshop, gated) == "awaiting_approval"
    assert not (workshop.root / "ran").exists()
    assert server.end() == 0
