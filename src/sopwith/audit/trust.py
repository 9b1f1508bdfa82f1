"""Checkpoints as milestones: sizes at which the log must have a certain root, from the store and from copies of it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import msgspec

from sopwith.audit.merkle import Frontier
from sopwith.audit.places import lines
from sopwith.audit.statements import BadStatement, Checkpoint, read
from sopwith.ports import KeptCheckpoint, Seals

_PAGE = 500


class Copy(msgspec.Struct, frozen=True):
    """Checkpoints from a file, as they were when it was read; `problem` says why there are none.

    `trusted`: it lies outside the workspace, so whoever changed the log could not change it too.
    """

    name: str
    lines: tuple[tuple[int, bytes], ...] = ()
    trusted: bool = False
    problem: str = ""


class Milestone(msgspec.Struct, frozen=True, order=True):
    """At `size` the root must be `root`; or `problem` says why the checkpoint itself is worth nothing."""

    size: int
    root: str
    trusted: bool
    source: str
    problem: str = ""
    copy: str = ""
    """The copy that it comes from; empty for the store."""


class _Sized(msgspec.Struct):
    size: int


_SIZED = msgspec.json.Decoder(_Sized)


def read_copy(path: Path, *, trusted: bool, name: str = "") -> Copy:
    """Reads a file with checkpoints. Do so before the log is read: what is signed meanwhile is no sign of trouble.

    `name`: what it is called in place of its path.
    """
    name = name or str(path)
    try:
        found = tuple(lines(path))
    except OSError as error:
        return Copy(name, trusted=trusted, problem=f"it cannot be read: {error.strerror or type(error).__name__}")
    return Copy(name, found, trusted, "" if found else "it holds no checkpoint")


def copy_of(name: str, data: bytes) -> Copy:
    """Checkpoints that somebody brought, as the bytes of the file that they keep elsewhere."""
    *whole, _cut_off = data.split(b"\n")
    found = tuple((number, line) for number, line in enumerate(whole, 1) if line.strip())
    return Copy(name, found, True, "" if found else "it holds no checkpoint")


def milestones(seals: Seals, copies: Iterable[Copy], keys: frozenset[str]) -> Iterator[Milestone]:
    """All checkpoints by size: those of the store, and those in the copies.

    The same line stands in several places, and is looked at when its size is reached: one signature to check.
    """
    return heapq.merge(_from_store(seals, keys), *(_from_copy(copy, keys) for copy in copies))


def _from_store(seals: Seals, keys: frozenset[str]) -> Iterator[Milestone]:
    size = 0
    while page := seals.checkpoints(size, _PAGE):
        for kept in page:
            milestone = _milestone(kept.line, "the store", keys, trusted=False)
            problem = milestone.problem or _contradiction(kept, milestone)
            size = kept.size
            yield msgspec.structs.replace(milestone, size=size, problem=problem)


def _from_copy(copy: Copy, keys: frozenset[str]) -> Iterator[Milestone]:
    if copy.problem:
        yield Milestone(0, "", copy.trusted, copy.name, copy.problem, copy.name)
    for number, line in sorted(copy.lines, key=lambda numbered: _claimed_size(numbered[1])):
        source = f"line {number} of {copy.name}"
        milestone = _milestone(line, source, keys, trusted=copy.trusted)
        yield msgspec.structs.replace(milestone, copy=copy.name)


def _claimed_size(line: bytes) -> int:
    """Only to look at the lines in order: what cannot be read comes first."""
    try:
        return _SIZED.decode(line).size
    except msgspec.MsgspecError:
        return 0


def _contradiction(kept: KeptCheckpoint, signed: Milestone) -> str:
    """How what stands beside a checkpoint in the store differs from what was signed; empty if it does not."""
    if kept.size != signed.size:
        return f"it is over {signed.size} events"
    try:
        root = Frontier.restore(kept.size, kept.frontier).root().hex()
    except ValueError as error:
        return str(error)
    return "" if root == signed.root else "its frontier was changed"


@lru_cache(maxsize=64)
def _checkpoint(line: bytes) -> Checkpoint:
    return read(Checkpoint, line)


def _milestone(line: bytes, source: str, keys: frozenset[str], *, trusted: bool) -> Milestone:
    try:
        checkpoint = _checkpoint(line)
        if checkpoint.public_key not in keys:
            raise BadStatement(f"it is signed by {checkpoint.origin}, which is no key of this workspace")
    except BadStatement as error:
        return Milestone(0, "", trusted, source, str(error))
    return Milestone(checkpoint.size, checkpoint.root, trusted, source)
