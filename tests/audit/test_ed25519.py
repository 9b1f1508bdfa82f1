"""The tool's own Ed25519 verification: the vectors of RFC 8032, section 7.1, and libsodium as a second opinion."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

TOOLS = Path(__file__).parents[2] / "tools"
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
            "454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
            "3dca179c138ac17ad9bef1177331a704"
        ),
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493
# points of small order, and y = 2**255 - 19 + 1 written without reducing it
WEAK_KEYS = [
    "01" + "00" * 31,
    "00" * 32,
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    sys.path.insert(0, str(TOOLS))
    try:
        import verify_audit

        yield verify_audit
    finally:
        sys.path.remove(str(TOOLS))


def libsodium(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, key)
    except CryptoError:
        return False
    return True


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc_verify(tool: Any, key: str, message: str, signature: str) -> None:
    assert tool.ed25519_verifies(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))


def test_every_byte_flip_of_key_message_and_signature_fails(tool: Any) -> None:
    whole = [bytes.fromhex(part) for part in VECTORS[2]]
    for part, data in enumerate(whole):
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            assert not tool.ed25519_verifies(*whole[:part], changed, *whole[part + 1 :])


def test_a_signature_has_no_second_form(tool: Any) -> None:
    """S + L would verify the same equation: RFC 8032 refuses it."""
    key, message, signature = (bytes.fromhex(part) for part in VECTORS[1])
    other = int.from_bytes(signature[32:], "little") + ORDER
    assert not tool.ed25519_verifies(key, message, signature[:32] + other.to_bytes(32, "little"))


@pytest.mark.parametrize("key", WEAK_KEYS)
def test_a_key_of_small_order_or_odd_form_verifies_nothing(tool: Any, key: str) -> None:
    for signature in (bytes(64), bytes.fromhex(key) + bytes(32), b"\x01" + bytes(63)):
        assert not tool.ed25519_verifies(bytes.fromhex(key), b"anything", signature)
        assert not libsodium(bytes.fromhex(key), b"anything", signature)


@pytest.mark.parametrize(("key", "signature"), [(b"", bytes(64)), (bytes(31), bytes(64)), (b"k" * 32, bytes(63))])
def test_a_wrong_length_verifies_nothing(tool: Any, key: bytes, signature: bytes) -> None:
    assert not tool.ed25519_verifies(key, b"", signature)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 767))
def test_libsodium_and_the_tool_agree(tool: Any, seed: bytes, message: bytes, bit: int) -> None:
    key, secret = crypto_sign_seed_keypair(seed)
    signature = crypto_sign(message, secret)[:64]
    assert tool.ed25519_verifies(key, message, signature)
    mixed = bytearray(key + signature)
    mixed[bit // 8] ^= 1 << bit % 8
    lie = (bytes(mixed[:32]), message, bytes(mixed[32:]))
    assert tool.ed25519_verifies(*lie) is libsodium(*lie) is False
