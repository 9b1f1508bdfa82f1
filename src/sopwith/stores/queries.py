"""Reads `sql/queries.sql`: every query under the name in its `-- name:` line. SQL stands nowhere else."""

from __future__ import annotations

from functools import cache
from pathlib import Path

SQL = Path(__file__).with_name("sql")
_MARK = "-- name:"


@cache
def queries() -> dict[str, str]:
    """The text of each query by name, without its comment lines."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (SQL / "queries.sql").read_text(encoding="utf-8").splitlines():
        if line.startswith(_MARK):
            lines = found.setdefault(line.removeprefix(_MARK).strip(), [])
        elif not line.startswith("--"):
            lines.append(line)
    return {name: "\n".join(body).strip() for name, body in found.items()}
