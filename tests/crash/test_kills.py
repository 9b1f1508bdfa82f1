"""kill -9 at random moments: a small part of the campaign."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("SOPWITH_CRASH_KILLS", "30"))
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)
def test_commands_and_keepers_killed_at_random_moments_lose_nothing_and_run_nothing_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.crash", "--folder", str(tmp_path), "--seed", str(KILLS), "kills"]
    done = subprocess.run([*command, "--count", str(KILLS)], cwd=ROOT, capture_output=True, text=True, timeout=380)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["breaches"] == {}
    assert found["restarts"] >= KILLS
    assert done.returncode == 0
