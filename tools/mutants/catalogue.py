"""All rules that have a mutant."""

from __future__ import annotations

from pathlib import Path

from tools.mutants import of_agents, of_gates, of_interruptions, of_runs, of_secrets, of_the_engine
from tools.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *of_agents.MUTANTS,
    *of_gates.MUTANTS,
    *of_runs.MUTANTS,
    *of_interruptions.MUTANTS,
    *of_the_engine.MUTANTS,
    *of_secrets.MUTANTS,
)


def mismatches(package: Path) -> list[str]:
    """What no longer stands in this package as the catalogue quotes it, a sentence each."""
    found = []
    for mutant in MUTANTS:
        try:
            mutant.changed((package / mutant.file).read_text())
        except (LookupError, SyntaxError, OSError) as error:
            found.append(f"{mutant.rule}: {error}")
    return found
