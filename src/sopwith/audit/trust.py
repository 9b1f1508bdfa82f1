"""Checkpoints as milestones: sizes at which the log must have a certain root, from the store and from outside."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from sopwith.audit.merkle import Frontier
from sopwith.audit.places import lines
from sopwith.audit.statements import BadStatement, Checkpoint, read
from sopwith.ports import KeptCheckpoint, Seals

_PAGE = 500


class Milestone(msgspec.Struct, frozen=True, order=True):
    """At `size` the root must be `root`; or `problem` says why the checkpoint itself is worth nothing."""

    size: int
    root: str
    trusted: bool
    source: str
    problem: str = ""


def milestones(seals: Seals, copies: Iterable[Path], keys: frozenset[str]) -> Iterator[Milestone]:
    """All checkpoints by size: those of the store, and those in the copies, which are trusted."""
    outside = sorted(milestone for path in copies for milestone in _from_file(path, keys))
    return heapq.merge(_from_store(seals, keys), outside)


def _from_store(seals: Seals, keys: frozenset[str]) -> Iterator[Milestone]:
    size = 0
    while page := seals.checkpoints(size, _PAGE):
        for kept in page:
            milestone = _milestone(kept.line, "the store", keys, trusted=False)
            problem = milestone.problem or _contradiction(kept, milestone)
            size = kept.size
            yield msgspec.structs.replace(milestone, size=size, problem=problem)


def _from_file(path: Path, keys: frozenset[str]) -> Iterator[Milestone]:
    try:
        found = False
        for number, line in lines(path):
            found = True
            yield _milestone(line, f"line {number} of {path}", keys, trusted=True)
        if not found:
            yield Milestone(0, "", True, str(path), "it holds no checkpoint")
    except OSError as error:
        yield Milestone(0, "", True, str(path), f"it cannot be read: {error.strerror or error}")


def _contradiction(kept: KeptCheckpoint, signed: Milestone) -> str:
    """How what stands beside a checkpoint in the store differs from what was signed; empty if it does not."""
    if kept.size != signed.size:
        return f"it is over {signed.size} events"
    try:
        root = Frontier.restore(kept.size, kept.frontier).root().hex()
    except ValueError as error:
        return str(error)
    return "" if root == signed.root else "its frontier was changed"


def _milestone(line: bytes, source: str, keys: frozenset[str], *, trusted: bool) -> Milestone:
    try:
        checkpoint = read(Checkpoint, line)
        if checkpoint.public_key not in keys:
            raise BadStatement(f"it is signed by {checkpoint.origin}, which is no key of this workspace")
    except BadStatement as error:
        return Milestone(0, "", trusted, source, str(error))
    return Milestone(checkpoint.size, checkpoint.root, trusted, source)
