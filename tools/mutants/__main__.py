"""`python -m tools.mutants`: each rule taken away, and found; survivors are listed, and make it fail.

`--check` only compares the catalogue with the source, `--table` writes the rules as a table, `--only TEXT` picks some.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from tools.mutants.catalogue import MUTANTS, mismatches
from tools.mutants.hunt import ROOT, Found, hunt
from tools.mutants.mutant import SIMULATION, Mutant


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    wrong = mismatches(ROOT / "src" / "sopwith")
    if wrong:
        _say(*wrong, f"{len(wrong)} entries of the catalogue do not match the source")
        return 1
    chosen = [mutant for mutant in MUTANTS if options.only in f"{mutant.place} {mutant.rule}"]
    if options.check:
        _say(f"{len(chosen)} mutants, and each of them stands in the source as it is quoted")
        return 0
    if options.table:
        _say(*table(chosen, _read(options.results)))
        return 0
    return _hunt_all(chosen, options)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare the catalogue with the source")
    parser.add_argument("--table", action="store_true", help="the rules as a table in Markdown")
    parser.add_argument("--only", default="", help="those whose place or rule holds this text")
    parser.add_argument("--seeds", type=int, default=400, help="how many seeds the simulation plays at most")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="how many are looked for at once")
    parser.add_argument("--results", type=Path, help="a file of JSON lines: what was found, appended; read by --table")
    return parser.parse_args(arguments)


def _hunt_all(chosen: list[Mutant], options: argparse.Namespace) -> int:
    real = [mutant for mutant in chosen if not mutant.equivalent]
    survivors = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(partial(hunt, seeds=options.seeds), real):
            _say(_line(found))
            if options.results is not None:
                with options.results.open("ab") as file:
                    file.write(msgspec.json.encode(found) + b"\n")
            if not found.by:
                survivors.append(found)
    _say(*(f"survives: {found.place}: {found.rule}" for found in survivors))
    _say(f"{len(real)} mutants, {len(real) - len(survivors)} found, {len(chosen) - len(real)} argued to be equivalent")
    return 1 if survivors else 0


def _line(found: Found) -> str:
    if not found.by:
        return f"SURVIVED  {found.rule} ({found.place}) in {found.seconds} s"
    at = "" if found.seed is None else f" seed {found.seed}"
    return f"found by {found.by}{at} in {found.seconds} s: {found.rule} ({found.place}): {found.what}"


def _read(file: Path | None) -> dict[tuple[str, str], Found]:
    if file is None:
        return {}
    lines = [msgspec.json.decode(line, type=Found) for line in file.read_bytes().splitlines()]
    return {(found.place, found.rule): found for found in lines}


def table(mutants: list[Mutant], results: dict[tuple[str, str], Found]) -> list[str]:
    """A row for each rule: where it stands, and what finds its mutant."""
    lines = ["| Rule | Where | Its mutant is found by |", "|---|---|---|"]
    for mutant in mutants:
        found = results.get((mutant.place, mutant.rule))
        by = (
            "the simulation"
            if mutant.found_by == SIMULATION
            else ", ".join(f"`{each}`" for each in mutant.found_by.split())
        )
        if mutant.equivalent:
            by = f"nothing: {mutant.equivalent}"
        elif found is not None and found.by == SIMULATION:
            by = "the simulation" + ("" if found.seed is None else f", seed {found.seed}")
        elif found is not None and found.by:
            by = f"`{found.what}`"
        elif found is not None:
            by = "**nothing yet**"
        lines.append(f"| {mutant.rule} | `{mutant.place}` | {by} |")
    return lines


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
