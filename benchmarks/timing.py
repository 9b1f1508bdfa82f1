"""Timing that survives a noisy machine: alternate the candidates, take medians."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def medians(actions: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median milliseconds of each action; they take turns, so a slow moment hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            taken[name].append(milliseconds(action))
    return {name: statistics.median(times) for name, times in taken.items()}


def process(argv: Sequence[str], *, cwd: Path) -> Callable[[], object]:
    """An action that runs a command to its end."""
    return lambda: subprocess.run(argv, cwd=cwd, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
