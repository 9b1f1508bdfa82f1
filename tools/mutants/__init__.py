"""Rules of core, engine and stores, each with a mutant that lacks it, and how each mutant is found.

`python -m tools.mutants` takes each rule away in a copy of the package and lets the simulator, or the test that is
named, look for it. A rule whose lines no longer stand in the source as they are quoted here fails loudly.
"""
