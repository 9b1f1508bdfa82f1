"""The simulator's command line: many seeds over several processes, one seed told at length, and what was never tried.

python -m sopwith.testing.simulator --seeds 0:1000000 -j 8
python -m sopwith.testing.simulator --seed 4711 --trace
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from sopwith.core.events import EventBody
from sopwith.testing import simulator
from sopwith.testing.scenario import VERBS
from sopwith.testing.story import holes

CHUNK = 20
"""Seeds that a worker plays before it tells of them."""
_LAST_LINES = 25


class Tally(msgspec.Struct):
    """What some seeds came to."""

    seeds: int = 0
    crashes: int = 0
    events: int = 0
    starts: int = 0
    seen: dict[str, int] = msgspec.field(default_factory=dict)
    broken: list[tuple[int, tuple[str, ...]]] = msgspec.field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.crashes += other.crashes
        self.events += other.events
        self.starts += other.starts
        self.seen = dict(Counter(self.seen) + Counter(other.seen))
        self.broken += other.broken


def main(arguments: list[str] | None = None) -> int:
    """Plays seeds; 1 if any broke a law."""
    options = _options(arguments)
    if options.seed is not None:
        return _tell(options.seed, options.store, acts=options.acts, trace=options.trace)
    seeds = _range(options.seeds)
    tally = Tally()
    began = last = time.monotonic()
    for some in _played(seeds, options.store, options.jobs, chunk=1 if options.first else CHUNK):
        tally.add(some)
        for seed, violations in some.broken:
            _say(*violations, f"    replay it: python -m sopwith.testing.simulator --seed {seed}")
            if options.first:
                return 1
        now = time.monotonic()
        if now - last >= options.every:
            last = now
            rate = tally.seeds / (now - began)
            left = (len(seeds) - tally.seeds) / rate
            _say(
                f"{tally.seeds} of {len(seeds)} seeds, {len(tally.broken)} broke a law, {rate:.1f}/s, {left:.0f} s left"
            )
    if options.summary:
        _summarise(tally)
    _say(
        f"{tally.seeds} seeds, {tally.crashes} crashes, {tally.events} events, {tally.starts} processes, "
        f"{len(tally.broken)} seeds broke a law, {tally.seeds / (time.monotonic() - began):.1f} seeds/s"
    )
    return 1 if tally.broken else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sopwith.testing.simulator", description=simulator.__doc__)
    parser.add_argument("--seeds", default="0:1000", help="FIRST:END, or one seed")
    parser.add_argument("--seed", type=int, help="plays one, and tells the last acts before a law was broken")
    parser.add_argument("--trace", action="store_true", help="with --seed: tells all that happens in it")
    parser.add_argument("--acts", type=int, help="with --seed: plays so many acts of it only")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes")
    parser.add_argument("--first", action="store_true", help="stops at the first seed that breaks a law")
    parser.add_argument("--every", type=float, default=10, help="seconds between two lines of progress")
    parser.add_argument("--summary", action="store_true", help="tells what was met how often, and what never was")
    parser.add_argument("--store", choices=("memory", "sqlite"), default="memory")
    return parser.parse_args(arguments)


def _range(text: str) -> range:
    first, _, end = text.partition(":")
    return range(int(first), int(end) if end else int(first) + 1)


def _played(seeds: range, store: str, jobs: int, *, chunk: int) -> Iterator[Tally]:
    chunks = [seeds[at : at + chunk] for at in range(0, len(seeds), chunk)]
    if jobs <= 1:
        yield from map(partial(_play, store), chunks)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(partial(_play, store), chunks)


def _play(store: str, seeds: Iterable[int]) -> Tally:
    tally = Tally()
    # what the seeds leave is looked through once for all of these, and not dozens of times within each
    gc.disable()
    try:
        for seed in seeds:
            report = simulate_on(store, seed)
            broken = [(seed, report.violations)] if report.violations else []
            tally.add(Tally(1, report.crashes, report.events, report.starts, report.seen, broken))
    finally:
        gc.enable()
        gc.collect()
    return tally


def simulate_on(store: str, seed: int, *, acts: int | None = None, trace: bool = False) -> simulator.Report:
    """Plays one seed on a store in memory, or on one in a file."""
    if store == "memory":
        return simulator.simulate(seed, acts=acts, trace=trace)
    with tempfile.TemporaryDirectory() as folder:
        return simulator.simulate(seed, disk=simulator.FileDisk(Path(folder) / "runs.db"), acts=acts, trace=trace)


def _tell(seed: int, store: str, *, acts: int | None, trace: bool) -> int:
    report = simulate_on(store, seed, acts=acts, trace=trace)
    if trace:
        _say(*report.story)
    if report.violations and acts is None:
        acts = shrunk(store, seed)
        _say(f"seed {seed} breaks a law with {acts} of its acts: --seed {seed} --acts {acts}")
        report = simulate_on(store, seed, acts=acts) if not trace else report
    if report.violations and not trace:
        _say(f"the last of {len(report.story)} lines before it (--trace shows all):", *report.story[-_LAST_LINES:])
    _say(*report.violations, f"seed {seed}: {report.events} events, trace {report.trace}")
    return 1 if report.violations else 0


def shrunk(store: str, seed: int) -> int:
    """The fewest acts with which a seed still breaks a law. Fewer acts are the same history, cut off."""
    acts = 0
    while not simulate_on(store, seed, acts=acts).violations:
        acts += 1
    return acts


def expected() -> list[str]:
    """All that a thousand seeds should have met."""
    names = [f"event {name}" for name in sorted(_event_types())]
    names += [f"{verb}: done" for verb in VERBS]
    names += [f"killed at {call}" for call in _CALLS]
    return [*names, *_TROUBLES]


_CALLS = (
    *("create", "created", "append", "appended", "claim", "claimed", "release", "released", "events", "version"),
    *("start", "start done", "start told", "recover", "recover done", "recover told", "wait", "waited", "stop"),
    "stopped",
)
_TROUBLES = (
    *("power cut", "wall clock set", "process lost", "claim taken over", "driver interrupted", "news is late"),
    *("server started", "server told to stop", "server adopted a process", "server adopted an intent"),
    *("word heard", "word lost", "word late", "word repeated", "word forged", "server saw the clock jump"),
    *("disk full", "disk full at create", "disk full at append", "disk full at claim"),
    *("store failed at a read", "store failed at create", "store failed at append", "store failed at claim"),
    *("store failed after it created", "store failed after it appended", "store failed after it released"),
    *("executor failed at start", "executor failed at start done", "executor failed at recover"),
    *("executor failed at recover done", "executor failed at waited"),
    *("begin: done", "begin: died", "begun run let go"),
    *("said beside a driver", "crowd left to a server", "machine slept", "wall clock slewed"),
    *("lease renewed", "lease ran out under a driver", "store failed after it claimed", "killed at renew"),
    "killed at renewed",
)


def _event_types() -> set[str]:
    return {kind.__struct_config__.tag for kind in EventBody.__args__}


def _summarise(tally: Tally) -> None:
    for name, count in sorted(tally.seen.items()):
        _say(f"{count:10}  {name}")
    for name in holes(tally.seen, expected()):
        _say(f"   a hole:  {name}")


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
