"""Looks for one mutant: the simulation alone first, and the tests that are named for it if that sees nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tools.mutants.mutant import SIMULATION, Mutant

ROOT = Path(__file__).parents[2]
ANY, TESTS = "any", "tests"
_SEED = re.compile(r"^seed (\d+), at \d+ ms: (.*)$", re.MULTILINE)
_SLOW_SECS = 300
"""A simulation that takes longer turns on the spot: that is found too."""


class Found(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a mutant was found; `by` empty: it survived. `mutant` is the digest of the text that was hunted."""

    rule: str
    place: str
    by: str
    mutant: str = ""
    what: str = ""
    seed: int | None = None
    seconds: float = 0


def hunt(mutant: Mutant, seeds: int, means: str = ANY) -> Found:
    """Takes the rule away in a copy of the package, and looks for it: by `means` alone, or by any."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "src" / "sopwith"
        shutil.copytree(ROOT / "src" / "sopwith", package)
        mutant.apply(package)
        found = _by_simulation(mutant, package, seeds) if means != TESTS else _nothing(mutant)
        if not found.by and mutant.found_by != SIMULATION and means != SIMULATION:
            found = _by_tests(mutant, package)
    return msgspec.structs.replace(found, seconds=round(time.monotonic() - began, 1))


def _nothing(mutant: Mutant) -> Found:
    return Found(rule=mutant.rule, place=mutant.place, mutant=mutant.digest, by="")


def _by_simulation(mutant: Mutant, package: Path, seeds: int) -> Found:
    arguments = ["-m", "sopwith.testing.simulator", "--seeds", f"0:{seeds}", "--first"]
    found = _nothing(mutant)
    try:
        done = _run(arguments, package)
    except subprocess.TimeoutExpired:
        return msgspec.structs.replace(found, by=SIMULATION, what="it turns on the spot")
    if done.returncode == 0:
        return found
    if (match := _SEED.search(done.stdout)) is not None:
        return msgspec.structs.replace(found, by=SIMULATION, seed=int(match[1]), what=match[2][:200])
    return msgspec.structs.replace(
        found, by=SIMULATION, what=(done.stderr.strip().splitlines() or ["it broke"])[-1][:200]
    )


def _by_tests(mutant: Mutant, package: Path) -> Found:
    arguments = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.found_by.split()]
    found = _nothing(mutant)
    try:
        done = _run(arguments, package)
    except subprocess.TimeoutExpired:
        return msgspec.structs.replace(found, by=TESTS, what="they do not end")
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.rule}: the tests did not run: {done.stdout[-400:]} {done.stderr[-400:]}")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return msgspec.structs.replace(found, by=TESTS if failed else "", what=" ".join(failed))


def _run(arguments: list[str], package: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONHASHSEED": "0"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_SLOW_SECS,
    )
