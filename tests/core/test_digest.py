"""SHA-256 without OpenSSL is the same function."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

_PROBE = """
import sys
from sopwith.core.digest import sha256
data = b"x" * int(sys.argv[1])
one, parts = sha256(data), sha256()
for byte in data[:1000]:
    parts.update(bytes([byte]))
print(one.hexdigest(), parts.hexdigest(), "hashlib" in sys.modules)
"""


@pytest.mark.parametrize("size", [0, 1, 55, 64, 65_536])
def test_little_data_has_the_same_digest_without_openssl(size: int) -> None:
    argv = [sys.executable, "-c", _PROBE, str(size)]
    one, parts, loaded = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert one == hashlib.sha256(b"x" * size).hexdigest()
    assert parts == hashlib.sha256(b"x" * min(size, 1000)).hexdigest()
    assert loaded == "False"


def test_much_data_is_left_to_openssl_which_is_quicker() -> None:
    argv = [sys.executable, "-c", _PROBE, "65537"]
    one, _parts, loaded = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert one == hashlib.sha256(b"x" * 65_537).hexdigest()
    assert loaded == "True"
