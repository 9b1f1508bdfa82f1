"""SHA-256 for what is small: without OpenSSL, where nobody has loaded it.

`hashlib` loads OpenSSL, which costs a short command more than all that it hashes. The interpreter has the same function
of its own, slower for much data; so whoever has loaded `hashlib` already is given that one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

_OWN = ("_sha2", "_sha256")
"""Where the interpreter keeps it: since 3.12, and before."""
_MUCH = 65_536


def sha256(data: bytes = b"") -> _Hash:
    """As `hashlib.sha256`."""
    if "hashlib" in sys.modules or len(data) > _MUCH:
        import hashlib

        return hashlib.sha256(data)
    return _own()(data)


@cache
def _own() -> Callable[[bytes], _Hash]:
    for name in _OWN:
        try:
            found: Callable[[bytes], _Hash] = import_module(name).sha256
        except ImportError:
            continue
        return found
    import hashlib  # an interpreter that was built without it

    return hashlib.sha256
