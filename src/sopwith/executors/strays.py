"""Processes of attempts whose keeper has died: found by their cookie, their control group and their parents.

A process is only taken for one of a launch whose marks say that its keeper has ended and left no result, in this boot,
and never for older than that keeper. This process and those it comes from are never among them: a person may well ask
from within a terminal that a step has opened.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sopwith.executors import keeper
from sopwith.executors.launch import Launch, launches
from sopwith.ports import VERIFICATIONS, Stray

GRACE_SECS = 5.0
KILL_SECS = 10.0
_LOOK_SECS = 0.05
_COOKIE = b"SOP_COOKIE="
_COMMAND_CHARACTERS = 200
_IS_VERIFICATION = re.compile(r"\.verify(-[0-9]{1,9})?\Z")


class _Place(NamedTuple):
    """Which launch: the fields of a cookie."""

    run_id: str
    step: str
    visit: int
    attempt: int
    launch: int
    verification: str = ""
    """The name of its folder, where it verifies the attempt."""

    def of(self, runs: Path) -> Launch:
        attempt = runs / self.run_id / f"step-{self.step}.{self.visit}.{self.attempt}"
        return Launch(attempt / self.verification / str(self.launch))


def find_strays(runs: Path, run_ids: Iterable[str]) -> tuple[Stray, ...]:
    """The living processes of dead keepers' attempts in this folder of runs, the oldest first.

    The control groups of these runs are looked into too, where something may have cleared its environment.
    """
    found = dict(_by_cookie(runs))
    for place in (place for run_id in run_ids for place in _places(runs, run_id)):
        for pid, started in in_group(place.of(runs)):
            found.setdefault((pid, started), place)
    _add_descendants(found)
    own = _line_of(os.getpid())
    members = keeper.oldest_first({member for member in found if member[0] not in own})
    return tuple(_stray(found[member], *member) for member in members)


def end_strays(find: Callable[[], tuple[Stray, ...]], *, grace_secs: float = GRACE_SECS) -> tuple[Stray, ...]:
    """TERM to all that is found, KILL after the grace; tells what lives on all the same. Blocks meanwhile."""
    asked: set[tuple[int, str]] = set()
    deadline = time.monotonic() + grace_secs
    while (left := find()) and time.monotonic() < deadline:
        for member in [(stray.pid, stray.started) for stray in left]:
            if member not in asked:
                keeper.send(member, signal.SIGTERM)
        asked |= {(stray.pid, stray.started) for stray in left}
        time.sleep(_LOOK_SECS)
    deadline = time.monotonic() + KILL_SECS
    while (left := find()) and time.monotonic() < deadline:
        for stray in left:
            keeper.send((stray.pid, stray.started), signal.SIGKILL)
        time.sleep(_LOOK_SECS)
    return left


def _by_cookie(runs: Path) -> Iterator[tuple[tuple[int, str], _Place]]:
    abandoned: dict[_Place, bool] = {}
    for name in keeper.processes():
        place = _place_here(_cookie(name), runs)
        fields = keeper.stat(name)
        if place is None or not fields or fields[0] in "ZX":
            continue
        if place not in abandoned:
            abandoned[place] = _is_abandoned(place.of(runs))
        if abandoned[place] and _is_younger(fields[19], place.of(runs)):
            yield (int(name), fields[19]), place


def _cookie(pid: str) -> str:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((os.fsdecode(each.removeprefix(_COOKIE)) for each in variables if each.startswith(_COOKIE)), "")


def _place_here(cookie: str, runs: Path) -> _Place | None:
    """What a cookie names among these runs; a copy of them elsewhere has runs of the same name."""
    named, _, folder = cookie.rpartition(".")
    place = _place(named)
    try:
        return place if place is not None and place.of(runs).place == folder else None
    except OSError:
        return None


def _place(cookie: str) -> _Place | None:
    """What a cookie names, up to its launch; None for one that names nothing.

    It is the word of a process, and may say anything.
    """
    run_id, _, rest = cookie.partition(".")
    before, _, last = rest.rpartition(".")
    before, _, verification = before.rpartition(".") if _IS_VERIFICATION.search(before) else (before, "", "")
    words = f"{before}.{last}".rsplit(".", 3)
    if len(words) != 4 or not all(word.isascii() and word.isdigit() for word in words[1:]):
        return None
    if not run_id or "/" in cookie or "\0" in cookie:
        return None
    visit, attempt, launch = map(int, words[1:])
    return _Place(run_id, words[0], visit, attempt, launch, verification)


def _places(runs: Path, run_id: str) -> Iterator[_Place]:
    """The launches of a run that were started and have no result."""
    for folder in sorted((runs / run_id).glob("step-*")):
        named = f"{run_id}.{folder.name.removeprefix('step-')}"
        found = [(f"{named}.{launch.number}", launch) for launch in launches(folder)]
        for verification in sorted(folder.glob(VERIFICATIONS)):
            found += [(f"{named}.{verification.name}.{launch.number}", launch) for launch in launches(verification)]
        for cookie, launch in found:
            place = _place(cookie)
            if place is not None and _is_abandoned(launch):
                yield place


def _is_abandoned(launch: Launch) -> bool:
    """Whether its keeper has died in this boot and could not tell how the step ended."""
    try:
        marks = launch.marks()
        if marks.keeper is None or marks.keeper.boot not in (keeper.boot_id(), "-"):
            return False
        # its result is looked for last: a keeper that has ended meanwhile has written it
        return not marks.keeper.alive() and not launch.is_kept() and launch.ending() is None
    except OSError:  # no such launch here: the run is another workspace's
        return False


def _is_younger(started: str, launch: Launch) -> bool:
    """Whether a process can have come from this launch at all."""
    identity = launch.marks().keeper
    known = identity is not None and identity.started.isdigit() and started.isdigit()
    return identity is not None and (not known or int(started) >= int(identity.started))


def in_group(launch: Launch) -> set[tuple[int, str]]:
    """What lives in the control group that the keeper made."""
    return keeper.group_members(_group(launch))


def hidden_in_group(launch: Launch) -> bool:
    """Whether something lives in that group that has no pid here."""
    return "0" in keeper.lines_of(f"{_group(launch)}/cgroup.procs")


def _group(launch: Launch) -> str:
    """The folder of that group; a path that no keeper could have written is none."""
    marks = launch.marks()
    inside = marks.group.startswith(f"{keeper.GROUP_ROOTS[0]}/") and ".." not in marks.group.split("/")
    if marks.keeper is None or marks.keeper.boot not in (keeper.boot_id(), "-") or not inside:
        return ""
    own = marks.group.rpartition("/")[2] == f"sop-{marks.keeper.pid}-{marks.keeper.started}"
    return marks.group if own else ""


def _add_descendants(found: dict[tuple[int, str], _Place]) -> None:
    stats = {int(name): fields for name in keeper.processes() if (fields := keeper.stat(name))}
    roots = {pid: place for (pid, started), place in found.items() if stats.get(pid, [""] * 20)[19] == started}
    for pid, fields in stats.items():
        above, seen = pid, set[int]()
        while above in stats and above not in roots and above not in seen:
            seen.add(above)
            above = int(stats[above][1])
        if above in roots and fields[0] not in "ZX":
            found.setdefault((pid, fields[19]), roots[above])


def _line_of(pid: int) -> set[int]:
    """The process and those it comes from."""
    line: set[int] = set()
    while pid and pid not in line:
        line.add(pid)
        fields = keeper.stat(pid)
        pid = int(fields[1]) if fields else 0
    return line


def _stray(place: _Place, pid: int, started: str) -> Stray:
    return Stray(
        run_id=place.run_id,
        step=place.step,
        visit=place.visit,
        attempt=place.attempt,
        pid=pid,
        started=started,
        command=_command(pid),
    )


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        return ""
    return words.decode(errors="replace")[:_COMMAND_CHARACTERS]
