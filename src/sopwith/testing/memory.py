"""A store that keeps the promises of `ports.Store` except one: it ends with its process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from msgspec.structs import replace

from sopwith.core.admission import Occupancy
from sopwith.core.codec import SealedEvent
from sopwith.core.procedure import sha256
from sopwith.core.run import RunStatus
from sopwith.errors import NotFound, StoreError
from sopwith.ports import LEASE, AskingFilter, Batch, Claim, Lease, Owner, RunFilter, RunSummary
from sopwith.stores import batches
from sopwith.testing.memory_deliveries import MemoryDeliveries
from sopwith.testing.memory_log import MemoryLog
from sopwith.testing.memory_notices import MemoryNotices
from sopwith.testing.shelf import Kept, Shelf


class MemoryStore:
    """Store and Cache. `beside` makes a second handle on the same data, as another process would have it."""

    def __init__(self, beside: MemoryStore | None = None) -> None:
        self._shelf: Shelf = Shelf() if beside is None else beside._shelf
        self._own = _Own()
        self._use = _Use(self._shelf, self._own)
        self._transaction = _Transaction(self._shelf, self._own)
        self._open = True
        self.log = MemoryLog(self._using)
        self.notices = MemoryNotices(self._using)
        self.deliveries = MemoryDeliveries(self._using, self._writing)

    def create(
        self, name: str, plan: Callable[[Occupancy], Batch], *, group: str = "", driver: Owner | None = None
    ) -> Batch:
        with self._writing() as shelf:
            batch = plan(_occupancy(shelf, name, group, asking=None))
            batches.check_new(batch, name, group, exists=batch.summary.run_id in shelf.runs)
            run = shelf.runs[batch.summary.run_id] = Kept(batch.summary, batch.events)
            _commit(shelf, batch)
            if driver is None:
                return batch
            run.epoch, run.owner, run.claimed_by = 1, driver, self
            run.lease_until = batch.summary.created_at + LEASE
            return replace(batch, claim=Claim(run_id=batch.summary.run_id, epoch=1, owner=driver))

    def append(
        self,
        run_id: str,
        after_seq: int,
        batch: Batch,
        *,
        claim: Claim | None = None,
        admit: Callable[[Occupancy], None] | None = None,
        frees: bool = False,
    ) -> None:
        with self._writing() as shelf:
            run = shelf.runs.get(run_id)
            if run is None:
                raise batches.unknown_run(run_id, after_seq)
            batches.check_next(batch, after_seq, run.summary, head=run.events[-1].hash)
            if run_id in shelf.dropped:
                raise batches.dropped_run(run_id, after_seq)
            if claim is not None:
                _check_claim(run, claim)
            if admit is not None:
                admit(_occupancy(shelf, run.summary.name, run.summary.concurrency_group, asking=run_id))
            run.summary = batch.summary
            run.events += batch.events
            if claim is not None and frees and run.claimed_by is self:
                run.owner = run.claimed_by = None
            _commit(shelf, batch)

    def correct(self, summary: RunSummary, head: str) -> bool:
        with self._writing() as shelf:
            run = shelf.runs.get(summary.run_id)
            if run is None or (run.events[-1].seq, run.events[-1].hash) != (summary.seq, head):
                return False
            is_news = run.summary != summary
            run.summary = summary
            shelf.commits += is_news
        return is_news

    def events(self, run_id: str, after_seq: int = 0) -> tuple[SealedEvent, ...]:
        with self._using() as shelf:
            run = shelf.runs.get(run_id)
            return () if run is None else run.events[max(0, after_seq) :]

    def summary(self, run_id: str) -> RunSummary | None:
        with self._using() as shelf:
            run = shelf.runs.get(run_id)
            return None if run is None else run.summary

    def summaries(self, which: RunFilter) -> tuple[tuple[RunSummary, ...], int]:
        with self._using() as shelf:
            found = [run.summary for run in reversed(shelf.runs.values()) if _fits(run.summary, which)]
            older = found if which.before is None else _after(which.before, shelf, which)
        return tuple(older[: which.limit]), len(found)

    def recount(self, *, mend: bool) -> bool:
        """Nothing is counted along here."""
        return False

    def names(self) -> tuple[str, ...]:
        with self._using() as shelf:
            return tuple(sorted({run.summary.name for run in shelf.runs.values()}))

    def asking(self, which: AskingFilter) -> tuple[RunSummary, ...]:
        with self._using() as shelf:
            open_runs = (run.summary for run in shelf.runs.values() if run.summary.ended_at is None)
            found = [summary for summary in open_runs if _may_ask(summary, which)]
            older = () if which.after is None else _until(which.after, shelf)
        return tuple(run for run in found if run.run_id not in older)[: which.limit]

    def asked(self, which: AskingFilter) -> int:
        with self._using() as shelf:
            found = [run for run in shelf.runs.values() if _may_ask(run.summary, which)]
            return sum(run.summary.asks or self._driver(shelf, run) is None for run in found)

    def due(self, now: datetime, limit: int) -> tuple[str, ...]:
        with self._using() as shelf:
            deadlines = [(run.summary.due_at, run_id) for run_id, run in shelf.runs.items()]
        overdue = [(due_at, run_id) for due_at, run_id in deadlines if due_at is not None and due_at <= now]
        overdue.sort(key=lambda deadline: deadline[0])
        return tuple(run_id for _, run_id in overdue[:limit])

    def content(self, digest: str) -> bytes | None:
        with self._using() as shelf:
            return shelf.contents.get(digest)

    def claim(self, run_id: str, owner: Owner, now: datetime) -> Claim | None:
        with self._writing() as shelf:
            run = shelf.runs.get(run_id)
            if run is None:
                raise NotFound(f"cannot drive {run_id}: there is no such run", hint="see: sop list")
            lease = _lease(run)
            if self._driver(shelf, run) is not None or (lease is not None and lease.keeps_out(owner, now)):
                return None
            run.epoch += 1
            run.owner, run.claimed_by, run.lease_until = owner, self, now + LEASE
            shelf.commits += 1
            return Claim(run_id=run_id, epoch=run.epoch, owner=owner)

    def renew(self, claim: Claim, now: datetime) -> None:
        with self._writing() as shelf:
            run = shelf.runs[claim.run_id]
            _check_claim(run, claim)
            run.lease_until = now + LEASE
            shelf.commits += 1

    def lease(self, run_id: str) -> Lease | None:
        with self._using() as shelf:
            run = shelf.runs.get(run_id)
            return None if run is None else _lease(run)

    def release(self, claim: Claim) -> None:
        with self._writing() as shelf:
            run = shelf.runs.get(claim.run_id)
            if run is not None and run.epoch == claim.epoch and run.claimed_by is self:
                run.owner = run.claimed_by = None
                shelf.commits += 1

    def holder(self, run_id: str) -> Owner | None:
        with self._using() as shelf:
            run = shelf.runs.get(run_id)
            return None if run is None else self._driver(shelf, run)

    def version(self) -> int:
        with self._using() as shelf:
            return shelf.commits - self._own.commits

    def recall(self, key: str) -> bytes | None:
        with self._using() as shelf:
            return shelf.cache.get(key)

    def remember(self, key: str, value: bytes) -> None:
        with self._writing() as shelf:
            shelf.cache[key] = value
            shelf.commits += 1

    def check(self) -> list[str]:
        """Nothing can go wrong here that is not a mistake in this file."""
        with self._using():
            return []

    def close(self) -> None:
        with self._shelf.lock:
            self._open = False
            for run in self._shelf.runs.values():
                if run.claimed_by is self and run.owner is not None:
                    # as its process had died: the row stays, the lock goes
                    run.claimed_by = None

    def kill(self, owner_id: str) -> None:
        """The owner's process dies: its claims can be had by others, and its writes still meet the newer claim."""
        with self._shelf.lock:
            self._shelf.dead.add(owner_id)

    def _driver(self, shelf: Shelf, run: Kept) -> Owner | None:
        """Who drives the run, as far as this handle can tell."""
        return _driver(shelf, run)

    def _using(self) -> _Use:
        if not self._open:
            raise StoreError("cannot use the store: it is closed", hint="open it again")
        return self._use

    def _writing(self) -> _Transaction:
        self._using()
        return self._transaction


class _Own:
    """What one handle has committed itself, and how it uses the shelf now."""

    commits = 0
    depth = 0
    commits_before = 0


class _Use:
    """The shelf, for one at a time; whoever has it may take it once more. Counts what is committed meanwhile."""

    def __init__(self, shelf: Shelf, own: _Own) -> None:
        self._shelf = shelf
        self._own = own

    def __enter__(self) -> Shelf:
        self._shelf.lock.acquire()
        if self._own.depth == 0:
            self._own.commits_before = self._shelf.commits
        self._own.depth += 1
        return self._shelf

    def __exit__(self, *_trouble: object) -> None:
        self._own.depth -= 1
        if self._own.depth == 0:
            self._own.commits += self._shelf.commits - self._own.commits_before
        self._shelf.lock.release()


class _Transaction(_Use):
    """The shelf, for one who writes. What is asked inside may read, and writes no more than it could in a file."""

    def __enter__(self) -> Shelf:
        shelf = super().__enter__()
        if shelf.in_transaction:
            super().__exit__()
            raise StoreError("cannot use the store: cannot write inside a transaction", hint="write after it")
        shelf.in_transaction = True
        return shelf

    def __exit__(self, *trouble: object) -> None:
        self._shelf.in_transaction = False
        super().__exit__(*trouble)


class NoViews:
    """Views for tests that look at the store."""

    def written(self, batch: Batch, run_json: Callable[[], bytes] | None) -> None:
        pass

    def rebuild(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        return False

    def outdated(self, run_id: str, run_json: Callable[[], bytes | None]) -> bool:
        return False


def _commit(shelf: Shelf, batch: Batch) -> None:
    shelf.contents.update((sha256(data), data) for data in batch.contents)
    shelf.log += ((batch.summary.run_id, event) for event in batch.events)
    shelf.commits += 1


def _driver(shelf: Shelf, run: Kept) -> Owner | None:
    is_free = run.claimed_by is None or run.owner is None or run.owner.owner_id in shelf.dead
    return None if is_free else run.owner


def _lease(run: Kept) -> Lease | None:
    if run.owner is None or run.lease_until is None:
        return None
    return Lease(owner=run.owner, until=run.lease_until)


def _check_claim(run: Kept, claim: Claim) -> None:
    if claim.run_id != run.summary.run_id:
        raise ValueError(f"a claim on {claim.run_id} is none on {run.summary.run_id}")
    if run.epoch != claim.epoch:
        raise batches.fenced_off(claim.run_id, claim.epoch, run.epoch)


def _fits(summary: RunSummary, which: RunFilter) -> bool:
    fits_name = None in which.procedures or summary.name in which.procedures
    return fits_name and (not which.statuses or summary.status in which.statuses)


def _may_ask(summary: RunSummary, which: AskingFilter) -> bool:
    is_left = summary.left_at is not None and summary.left_at <= which.now
    return (which.names is None or summary.name in which.names) and (summary.asks > 0 or is_left)


def _until(run_id: str, shelf: Shelf) -> frozenset[str]:
    """The run and all that were made before it; all where there is no such run."""
    ids = list(shelf.runs)
    return frozenset(ids[: ids.index(run_id) + 1] if run_id in ids else ids)


def _after(run_id: str, shelf: Shelf, which: RunFilter) -> list[RunSummary]:
    """Those that were made before the run, the newest first; none where there is no such run."""
    newest_first = [run.summary for run in reversed(shelf.runs.values())]
    ids = [summary.run_id for summary in newest_first]
    older = newest_first[ids.index(run_id) + 1 :] if run_id in ids else []
    return [summary for summary in older if _fits(summary, which)]


def _occupancy(shelf: Shelf, name: str, group: str, *, asking: str | None) -> Occupancy:
    every = [run.summary for run in shelf.runs.values()]
    others = [run for run in every if run.run_id != asking]
    ours = [run for run in every if run.name == name]
    queue = [run for run in _before(asking, every) if run.status is RunStatus.PENDING and not run.parent]
    return Occupancy(
        of_procedure=tuple(run.run_id for run in others if run.holds_slot and run.name == name),
        of_workspace=tuple(run.run_id for run in others if run.holds_slot and not run.parent),
        of_group=tuple(run.run_id for run in others if run.holds_slot and _shares(run, group)),
        queued_before=tuple(run.run_id for run in queue if run.name == name and not _held_up(run, every)),
        queued_in_group=tuple(run.run_id for run in queue if _shares(run, group)),
        last_executed_end=max((run.ended_at for run in ours if run.executed and run.ended_at), default=None),
    )


def _shares(run: RunSummary, group: str) -> bool:
    return bool(group) and run.concurrency_group == group


def _held_up(run: RunSummary, every: list[RunSummary]) -> bool:
    """Whether a queued run waits for another of its concurrency group."""
    ahead = {other.run_id for other in _before(run.run_id, every) if other.status is RunStatus.PENDING}
    return any(_shares(other, run.concurrency_group) and (other.holds_slot or other.run_id in ahead) for other in every)


def _before(asking: str | None, every: list[RunSummary]) -> Iterable[RunSummary]:
    for run in every:
        if run.run_id == asking:
            return
        yield run
