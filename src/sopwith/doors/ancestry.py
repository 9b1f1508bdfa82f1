"""Which step of a run this process comes from, as the kernel tells it.

A step can clear its environment, but not its parents. Linux only; elsewhere nothing is found. A process of another
user is passed over, and what is found only takes rights away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

_KEEPER = b"import keeper; keeper.main("
"""Stands in the command line of every keeper; see `executors/keeper_process.py`."""
TOP_PID = 0
"""From this process upwards nobody is asked. Tests set it, so that they mean the same inside a step of a run."""


class Origin(msgspec.Struct, frozen=True):
    """`is_agent`: it or an ancestor is a step's, a keeper, or marked as an agent's. `inside`: the nearest run."""

    is_agent: bool = False
    inside: str | None = None


def origin() -> Origin:
    """Where this process comes from; of itself, what it was started with, whatever it has forgotten since."""
    is_agent = False
    by_keeper = by_variable = None
    for pid in _line():
        variables = _variables(pid)
        run_id = variables.get("SOP_RUN_ID") or variables.get("SOP_COOKIE", "").partition(".")[0]
        kept = _kept_run(pid)
        by_variable = by_variable or run_id or None
        by_keeper = by_keeper or kept
        is_marked = variables.get("SOPWITH_ACTOR_KIND", "human") not in ("", "human")
        is_agent = is_agent or is_marked or bool(run_id or kept)
    # a keeper's command line is not the step's to write; its variables are
    return Origin(is_agent, by_keeper or by_variable)


def _line() -> Iterator[int]:
    """This process and its ancestors."""
    seen = set()
    pid = os.getpid()
    while pid not in (0, TOP_PID) and pid not in seen:
        yield pid
        seen.add(pid)
        fields = _read(pid, "stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0


def _variables(pid: int) -> dict[str, str]:
    """The variables of Sopwith's that the process was started with; none where they may not be read."""
    pairs = (entry.partition(b"=") for entry in _read(pid, "environ").split(b"\0") if entry.startswith(b"SOP"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _equals, value in pairs}


def _kept_run(pid: int) -> str | None:
    """The run of a keeper, from the launch folder that its command line ends with: RUN/step-N.V.A/LAUNCH."""
    arguments = _read(pid, "cmdline").rstrip(b"\0").split(b"\0")
    if len(arguments) < 3 or not any(_KEEPER in argument for argument in arguments):
        return None
    return Path(os.fsdecode(arguments[-1])).parent.parent.name or None


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
