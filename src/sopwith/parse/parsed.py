"""What goes into reading a procedure and what comes out: cheap to import, so that a cached one costs no parser."""

from __future__ import annotations

import msgspec

from sopwith.core.procedure import Procedure
from sopwith.errors import Problem

PARSER_VERSION = "10"
"""Part of the cache key of parsed procedures: raise it with every change of what a file means."""


class SourceFile(msgspec.Struct, frozen=True):
    """A file as it was read: the path that problems name, and the bytes."""

    path: str
    data: bytes


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """`procedure` is None if any problem is an error. `problems` are sorted by file and line."""

    procedure: Procedure | None
    problems: tuple[Problem, ...]
