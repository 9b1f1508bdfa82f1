"""`python -m tools.mutants`: each rule taken away, and found; survivors are listed, and make it fail.

`--check` only compares the catalogue with the source, `--table` writes the rules as a table, `--only TEXT` picks some.
What was found is kept in found.jsonl, beside this file, if `--keep` says so; `--table` reads it.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from tools.mutants.catalogue import MUTANTS, mismatches
from tools.mutants.hunt import ANY, ROOT, TESTS, Found, hunt
from tools.mutants.mutant import SIMULATION, Mutant

FOUND = Path(__file__).with_name("found.jsonl")


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
        _say(*table(chosen, read(options.results)))
        return 0
    return _hunt_all(chosen, options)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare the catalogue with the source")
    parser.add_argument("--table", action="store_true", help="the rules as a table in Markdown")
    parser.add_argument("--only", default="", help="those whose place or rule holds this text")
    parser.add_argument("--seeds", type=int, default=400, help="how many seeds the simulation plays at most")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="how many are looked for at once")
    parser.add_argument("--by", choices=(ANY, SIMULATION, TESTS), default=ANY, help="what looks for them")
    parser.add_argument("--keep", action="store_true", help="appends what was found to the results")
    parser.add_argument("--results", type=Path, default=FOUND, help="a file of JSON lines: what was found")
    return parser.parse_args(arguments)


def _hunt_all(chosen: list[Mutant], options: argparse.Namespace) -> int:
    real = [mutant for mutant in chosen if not mutant.equivalent]
    survivors = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(partial(hunt, seeds=options.seeds, means=options.by), real):
            _say(_line(found))
            if options.keep:
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


def read(file: Path) -> dict[tuple[str, str], list[Found]]:
    """What was found of each mutant, by each means."""
    results: dict[tuple[str, str], list[Found]] = {}
    for line in file.read_bytes().splitlines():
        found = msgspec.json.decode(line, type=Found)
        results.setdefault((found.place, found.rule), []).append(found)
    return results


def table(mutants: list[Mutant], results: dict[tuple[str, str], list[Found]]) -> list[str]:
    """A row for each rule: where it stands, and what finds its mutant."""
    lines = ["| Rule | Where | Its mutant is found by |", "|---|---|---|"]
    for mutant in mutants:
        hunts = [found for found in results.get((mutant.place, mutant.rule), ()) if found.mutant == mutant.digest]
        lines.append(f"| {mutant.rule} | `{mutant.place}` | {_finders(mutant, hunts)} |")
    return lines


def _finders(mutant: Mutant, hunts: list[Found]) -> str:
    if mutant.equivalent:
        return f"nothing: {mutant.equivalent}"
    found = {each.by: each for each in hunts}
    by = []
    if simulated := found.get(SIMULATION):
        by.append("the simulation" + ("" if simulated.seed is None else f", seed {simulated.seed}"))
    if tested := found.get(TESTS):
        by.append(f"`{tested.what}`")
    if by:
        return "; ".join(by)
    return "**nothing yet**" if hunts else "not hunted as it is now"


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
