"""The tree of RFC 9162: known vectors, a naive second opinion, and proofs that hold for nothing but the truth."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopwith.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    collect,
    consistency_plan,
    inclusion_plan,
    leaf_hash,
    node_hash,
    proves_consistency,
    proves_inclusion,
)

# the leaves and roots of the Certificate Transparency reference implementation (merkle_tree_test.cc)
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
sizes = st.integers(1, 130)


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH as RFC 9162 defines it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return node_hash(naive_root(leaves[:middle]), naive_root(leaves[middle:]))


def data(size: int) -> list[bytes]:
    return [sha256(str(number).encode()).digest() for number in range(size)]


def grown(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier


def inclusion(leaves: list[bytes], index: int) -> list[bytes]:
    plan = inclusion_plan(index, len(leaves))
    found = collect(leaves, plan)
    return [found[part] for part in plan]


def consistency(leaves: list[bytes], old: int) -> list[bytes]:
    plan = consistency_plan(old, len(leaves))
    found = collect(leaves, plan)
    return [found[part] for part in plan]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_implementation(size: int) -> None:
    assert grown(LEAVES[:size]).root().hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT == sha256(b"").digest()


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)
def test_inclusion_proofs_are_those_of_the_reference_implementation(index: int, size: int, proof: list[str]) -> None:
    assert [each.hex() for each in inclusion(LEAVES[:size], index)] == proof


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (1, 1, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ],
)
def test_consistency_proofs_are_those_of_the_reference_implementation(old: int, new: int, proof: list[str]) -> None:
    assert [each.hex() for each in consistency(LEAVES[:new], old)] == proof


@given(st.integers(0, 130))
def test_the_frontier_sums_up_to_the_naive_root(size: int) -> None:
    assert grown(data(size)).root() == naive_root(data(size))


@given(sizes, st.integers(0, 40))
def test_a_kept_frontier_goes_on_growing_as_if_it_had_never_stopped(size: int, more: int) -> None:
    restored = Frontier.restore(size, grown(data(size)).dump())
    for leaf in data(size + more)[size:]:
        restored.append(leaf)
    assert restored.root() == naive_root(data(size + more))


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="2 hashes"):
        Frontier.restore(3, bytes(32))


@given(sizes, st.data())
def test_every_leaf_has_a_proof_that_holds(size: int, draw: st.DataObject) -> None:
    index, leaves = draw.draw(st.integers(0, size - 1)), data(size)
    proof, root = inclusion(leaves, index), naive_root(leaves)
    assert proves_inclusion(data=leaves[index], index=index, size=size, root=root, proof=proof)


@given(sizes, st.data())
def test_an_inclusion_proof_holds_for_nothing_else(size: int, draw: st.DataObject) -> None:
    index, leaves = draw.draw(st.integers(0, size - 1)), data(size)
    proof, root = inclusion(leaves, index), naive_root(leaves)
    true = {"data": leaves[index], "index": index, "size": size, "root": root, "proof": proof}
    other_index = draw.draw(st.integers(-1, size + 1).filter(lambda other: other != index))
    lies = [{"data": bytes(32)}, {"root": bytes(32)}, {"index": other_index}, {"proof": [*proof, bytes(32)]}]
    if proof:
        where = draw.draw(st.integers(0, len(proof) - 1))
        lies += [{"proof": proof[:-1]}, {"proof": [*proof[:where], bytes(32), *proof[where + 1 :]]}]
    for lie in lies:
        assert not proves_inclusion(**{**true, **lie})


@given(sizes, st.data())
def test_every_beginning_has_a_consistency_proof_that_holds(size: int, draw: st.DataObject) -> None:
    old, leaves = draw.draw(st.integers(1, size)), data(size)
    proof, roots = consistency(leaves, old), (naive_root(leaves[:old]), naive_root(leaves))
    assert proves_consistency(old=old, old_root=roots[0], new=size, new_root=roots[1], proof=proof)


@given(sizes, st.data())
def test_a_consistency_proof_holds_for_no_other_history(size: int, draw: st.DataObject) -> None:
    old, leaves = draw.draw(st.integers(1, size)), data(size)
    changed = list(leaves)
    changed[draw.draw(st.integers(0, old - 1))] = bytes(32)
    new_root = naive_root(changed)
    for proof in (consistency(leaves, old), consistency(changed, old)):
        assert not proves_consistency(
            old=old, old_root=naive_root(leaves[:old]), new=size, new_root=new_root, proof=proof
        )


@given(sizes, st.lists(st.tuples(sizes, sizes), max_size=8))
def test_many_proofs_are_collected_in_one_pass(size: int, asked: list[tuple[int, int]]) -> None:
    leaves = data(size)
    for first, second in asked:
        index, old = (first - 1) % size, 1 + second % size
        plans = (inclusion_plan(index, size), consistency_plan(old, size))
        found = collect(leaves, [*plans[0], *plans[1]])
        assert all(found[start, end] == naive_root(leaves[start:end]) for start, end in found)
        assert set(found) == {*plans[0], *plans[1]}
