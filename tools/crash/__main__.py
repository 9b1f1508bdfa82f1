"""`python -m tools.crash sweep | kills | power | storm | crowd`: prints one JSON document; exit code 1 for a breach."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tools.crash.sweep import Log, Sweep, sample


def main() -> int:
    options = _options().parse_args()
    with tempfile.TemporaryDirectory(prefix="sopwith-crash-") as made:
        folder = options.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        document = options.act(folder.resolve(), options)
    print(json.dumps(document, indent=2))
    return 1 if document["breaches"] else 0


def _sweep(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    from tools.crash import failpoints, strace

    by_strace = strace.available() and not options.failpoints
    method = strace.Strace(only_nursery=options.nursery) if by_strace else failpoints.Failpoints()
    if options.nursery and not by_strace:
        sys.exit("--nursery needs strace")
    sweep = Sweep(folder, method, jobs=options.jobs, stages=options.stage)
    log = Log(options.log)
    trials = sweep.trials()
    first, _, last = options.points.partition(":")
    trials = trials[int(first or 0) : int(last) if last else None]
    if options.sample:
        trials = sample(trials, options.sample, options.seed)
    over = log.done()
    report = sweep.run([trial for trial in trials if str(trial) not in over], log.note)
    return {"method": "strace" if by_strace else "failpoints", "triedBefore": len(over), **report.document()}


def _kills(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    from tools.crash.kills import campaign

    return campaign(folder, count=options.count, seed=options.seed, jobs=options.jobs)


def _power(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    from tools.crash.power import campaign

    return campaign(folder, subsets=options.subsets, seed=options.seed)


def _storm(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    from tools.crash.storm import campaign

    return campaign(folder, writers=options.writers, readers=options.readers, seconds=options.seconds)


def _crowd(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    from tools.crash.crowd import campaign

    return campaign(folder, procedures=options.procedures, looks=options.looks, seed=options.seed)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.crash", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; else a temporary folder")
    parser.add_argument("--seed", type=int, default=1)
    verbs = parser.add_subparsers(required=True)
    sweep = verbs.add_parser("sweep", help="kill at every write-path call of the reference scenario in turn")
    sweep.add_argument("-j", "--jobs", type=int, default=1)
    sweep.add_argument("--points", default=":", metavar="A:B", help="only these of all points")
    sweep.add_argument("--sample", type=int, metavar="K", help="so many points, drawn by the seed")
    sweep.add_argument("--stage", action="append", default=[], help="only this stage; may be given many times")
    sweep.add_argument("--nursery", action="store_true", help="only nurseries and the keepers that they fork")
    sweep.add_argument("--log", type=Path, help="notes each trial, and passes over those that are noted")
    sweep.add_argument("--failpoints", action="store_true", help="without strace, also where it is present")
    sweep.set_defaults(act=_sweep)
    kills = verbs.add_parser("kills", help="kill -9 at random moments")
    kills.add_argument("--count", type=int, default=300)
    kills.add_argument("-j", "--jobs", type=int, default=1)
    kills.set_defaults(act=_kills)
    power = verbs.add_parser("power", help="power cuts: any unsynced sector may be lost")
    power.add_argument("--subsets", type=int, default=2, help="how many disks to try for each moment")
    power.set_defaults(act=_power)
    storm = verbs.add_parser("storm", help="many writers at once, beside readers that keep one state open")
    storm.add_argument("--writers", type=int, default=64)
    storm.add_argument("--readers", type=int, default=1)
    storm.add_argument("--seconds", type=float, default=60)
    storm.set_defaults(act=_storm)
    crowd = verbs.add_parser("crowd", help="very many procedures, some of them broken, read while they are changed")
    crowd.add_argument("--procedures", type=int, default=10_000)
    crowd.add_argument("--looks", type=int, default=10)
    crowd.set_defaults(act=_crowd)
    return parser


if __name__ == "__main__":
    sys.exit(main())
