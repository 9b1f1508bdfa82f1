"""The Merkle tree of RFC 9162 section 2.1, computed from a stream of leaves: nothing larger than a frontier is kept.

Proofs are first planned (which ranges of leaves must be hashed) and then collected in one pass over the leaves, so
that proofs for many events cost one reading of the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sopwith.core.digest import sha256

Range = tuple[int, int]
"""Leaves from the first number up to, and without, the second."""

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Domain-separated, so that no inner node can be passed off as a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the full subtrees of a tree with `size` leaves, largest first: enough to add leaves and to sum up.

    There are as many as `size` has bits set.
    """

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        self.size = size
        self._nodes = list(nodes)

    @classmethod
    def restore(cls, size: int, data: bytes) -> Frontier:
        """The reverse of `dump`. Raises ValueError if the bytes cannot belong to a tree of this size."""
        if len(data) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"the frontier of {size} leaves has {size.bit_count()} hashes, not {len(data)} bytes")
        return cls(size, [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])

    def dump(self) -> bytes:
        return b"".join(self._nodes)

    def append(self, data: bytes) -> None:
        """Adds one leaf."""
        node, number, nodes = sha256(b"\x00" + data).digest(), self.size, self._nodes
        while number & 1:
            node = sha256(b"\x01" + nodes.pop() + node).digest()
            number >>= 1
        nodes.append(node)
        self.size += 1

    def grown(self, data: bytes) -> dict[int, bytes]:
        """Adds one leaf, and tells the hash of each full subtree that it completes by that subtree's first leaf."""
        node, number, start = leaf_hash(data), self.size, self.size
        completed, width = {start: node}, 1
        while number & 1:
            node = node_hash(self._nodes.pop(), node)
            number >>= 1
            start, width = start - width, width * 2
            completed[start] = node
        self._nodes.append(node)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """The tree's root: RFC 9162's MTH."""
        return self.suffix(0)

    def suffix(self, start: int) -> bytes:
        """The hash over the leaves from `start` to the end, where a full subtree begins."""
        result, end = b"", self.size
        for node, width in zip(reversed(self._nodes), _widths(self.size), strict=True):
            if end <= start:
                break
            result = node_hash(node, result) if result else node
            end -= width
        return result or EMPTY_ROOT


def inclusion_plan(index: int, size: int) -> tuple[Range, ...]:
    """The ranges whose hashes prove that leaf `index` is in a tree of `size`: RFC 9162's PATH, lowest first."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    plan: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            plan.append((middle, end))
            end = middle
        else:
            plan.append((start, middle))
            start = middle
    return tuple(reversed(plan))


def consistency_plan(old: int, new: int) -> tuple[Range, ...]:
    """The ranges whose hashes prove that a tree of `old` leaves is the beginning of one of `new`: RFC 9162's PROOF."""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {old} leaves has no proof towards one of {new}")
    plan: list[Range] = []
    start, end, whole = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            plan.append((middle, end))
            end = middle
        else:
            plan.append((start, middle))
            start, whole = middle, False
    if not whole:
        plan.append((start, end))
    return tuple(reversed(plan))


def collect(leaves: Iterable[bytes], wanted: Iterable[Range]) -> dict[Range, bytes]:
    """The hashes of the wanted ranges, which come from plans, in one pass over the leaves from the first on."""
    starts: dict[int, list[int]] = {}
    for start, end in dict.fromkeys(wanted):
        starts.setdefault(end, []).append(start)
    frontier, found = Frontier(), dict[Range, bytes]()
    for data in leaves:
        end = frontier.size + 1
        if end not in starts:
            frontier.append(data)
            continue
        completed = frontier.grown(data)
        for start in starts[end]:
            found[start, end] = completed.get(start) or frontier.suffix(start)
    return found


def proves_inclusion(*, data: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows `data` as leaf `index` of the tree with this size and root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    number, last, node = index, size - 1, leaf_hash(data)
    for each in proof:
        if last == 0:
            return False
        if number & 1 or number == last:
            node = node_hash(each, node)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            node = node_hash(node, each)
        number, last = number >> 1, last >> 1
    return last == 0 and node == root


def proves_consistency(*, old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows the old tree as the beginning of the new one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new or (old == new and proof):
        return False
    if old == new:
        return old_root == new_root
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    if not hashes:
        return False
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            first, second = node_hash(each, first), node_hash(each, second)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            second = node_hash(second, each)
        number, last = number >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    width: int = 1 << ((size - 1).bit_length() - 1)
    return width


def _widths(size: int) -> list[int]:
    """The widths of a frontier's subtrees, smallest first."""
    return [1 << bit for bit in range(size.bit_length()) if size >> bit & 1]
