"""Is the record still what it was? Reads the whole log once, in order, and stops at the first bad event.

What this proves, and what it cannot, stands in docs/decisions/0007-the-log.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from sopwith.audit.chain import Chains, Content
from sopwith.audit.graves import Graves
from sopwith.audit.report import Finding, Report
from sopwith.audit.roots import Bad, Roots
from sopwith.audit.trust import Copy, milestones
from sopwith.ports import Log, LogEntry, Seals

_PAGE = 1000

Keys = Callable[[], frozenset[str]]
"""The public keys, hex, that this workspace may have signed with; asked for after the state to look at is fixed."""


def verify_all(log: Log, seals: Seals, content: Content, *, keys: Keys, copies: Iterable[Copy] = ()) -> Report:
    """Every event, every checkpoint in the store, and those in `copies`, which were read before.

    Others may write meanwhile: one state of the log is looked at, the one at the first reading.
    """
    with log.reading():
        return _Verification(log, seals, content, keys, copies).all()


def verify_run(
    run_id: str, log: Log, seals: Seals, content: Content, *, keys: Keys, copies: Iterable[Copy] = ()
) -> Report:
    """Every event of one run, and, by their hashes alone, that the log around it is the one that was signed."""
    with log.reading():
        return _Verification(log, seals, content, keys, copies).one(run_id)


class _Verification:
    def __init__(self, log: Log, seals: Seals, content: Content, keys: Keys, copies: Iterable[Copy]) -> None:
        self._log = log
        tombstones = seals.tombstones()  # fixes the state that is looked at
        self._log_size = log.end().high_water
        known = keys()
        self._graves = Graves(tombstones, known)
        self._chains = Chains(self._graves, content)
        self._roots = Roots(milestones(seals, copies, known))
        self._looked_at = 0

    def all(self) -> Report:
        try:
            self._read_log()
            self._check_end()
        except Bad as bad:
            return self._report(bad.finding)
        return self._report(None)

    def one(self, run_id: str) -> Report:
        try:
            self._read_run(run_id)
            for position, digest in _leaves(self._log):
                self._roots.add(position, digest)
            self._roots.finish()
            self._check_graves()
        except Bad as bad:
            return self._report(bad.finding)
        return self._report(None)

    def _read_log(self) -> None:
        wrong_with, add = self._chains.wrong_with, self._roots.add
        for entry in _entries(self._log):
            if entry.position != self._looked_at + 1:
                raise Bad(self._missing(self._looked_at + 1, entry))
            wrong = wrong_with(entry)
            if wrong:
                raise Bad(_at(entry, wrong))
            self._looked_at += 1
            add(entry.position, entry.hash)

    def _missing(self, position: int, entry: LogEntry) -> Finding:
        """What stood there, if a later event of its run, or the run's row, gives it away."""
        after = chain((entry,), _entries(self._log, entry.position))
        known = next(filter(None, map(self._chains.follows, after)), None) or self._chains.unfinished()
        return _gap(position, entry.position - 1, known)

    def _check_end(self) -> None:
        end, position = self._log.end(), self._looked_at + 1
        known = self._chains.unfinished() or (None if end.empty_run is None else (end.empty_run, 1))
        if known:
            raise Bad(_gap(position, max(position, end.high_water), known))
        self._roots.finish()
        if end.high_water != self._looked_at:
            raise Bad(_gap(position, end.high_water, None))
        self._check_graves()

    def _check_graves(self) -> None:
        for problem in self._graves.problems:
            raise Bad(Finding(what=problem))

    def _read_run(self, run_id: str) -> None:
        seq, position = 0, 0
        while page := self._log.run_entries(run_id, seq, _PAGE):
            for entry in page:
                wrong = self._chains.wrong_with(entry)
                if not wrong and entry.position <= position:
                    wrong = "it stands in the log before an earlier event of its run"
                if wrong:
                    raise Bad(_at(entry, wrong))
                self._looked_at += 1
                seq, position = entry.seq, entry.position
        unfinished = self._chains.unfinished()
        if unfinished or not seq:
            raise Bad(Finding(what=f"event {seq + 1} of {run_id} is missing", run_id=run_id, seq=seq + 1))

    def _report(self, first_bad: Finding | None) -> Report:
        return Report(
            events=self._looked_at,
            runs=self._chains.runs,
            dropped=self._chains.dropped,
            checkpoints=self._roots.passed,
            signed_size=self._roots.signed_size,
            trusted_size=self._roots.trusted_size,
            log_size=self._log_size,
            reached=self._roots.reached,
            first_bad=first_bad,
        )


def _at(entry: LogEntry, wrong: str) -> Finding:
    return Finding(position=entry.position, run_id=entry.run_id, seq=entry.seq, what=wrong)


def _gap(first: int, last: int, known: tuple[str, int] | None) -> Finding:
    """Missing events; with one only, what is known of a missing one is known of it."""
    if last > first:
        among = "" if known is None else f", among them event {known[1]} of {known[0]}"
        return Finding(position=first, to_position=last, what=f"they are missing{among}")
    run_id, seq = known or (None, None)
    return Finding(position=first, run_id=run_id, seq=seq, what="it is missing")


def _entries(log: Log, position: int = 0) -> Iterator[LogEntry]:
    while page := log.entries(position, _PAGE):
        yield from page
        position = page[-1].position


def _leaves(log: Log) -> Iterator[tuple[int, bytes]]:
    position = 0
    while page := log.leaves(position, _PAGE):
        yield from page
        position = page[-1][0]
