"""The plots of docs/performance.md: drawn from the kept results, in the environment of the other engines."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks import rivals

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def draw(results: Path) -> None:
    """Writes docs/images/performance-*.svg."""
    program = Path(__file__).parent / "alternatives" / "draw.py"
    subprocess.run([str(rivals.environment()), str(program), str(results), str(IMAGES)], check=True)
