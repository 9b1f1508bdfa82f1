"""The method of the sweep where there is no strace: the process kills itself, by a fuse that only tests light.

It sees what passes through Python and what SQLite asks of its file system, which is less than every system call.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from tools.crash.reference import ONE_BY_ONE, Scene, Told
from tools.crash.strace import Point

_HERE = str(Path(__file__).parent)
_CALL = "failpoint"


class Failpoints:
    """Its points are called `failpoint`, and counted over all calls of a process."""

    crashes: ClassVar[dict[str, Point]] = {}

    def points(self, scene: Scene, args: Sequence[str], restart: Callable[[], None]) -> Iterator[Point]:
        count = _count(scene)
        count.unlink(missing_ok=True)
        scene.sop(*args, more=_lit(0, str(count)))
        yield from (Point(_CALL, nth) for nth in range(1, _lines(count) + 1))
        restart()
        for old in scene.folder.glob("count.*"):
            old.unlink()
        scene.sop(*args, more=_keepers(scene, "*", 0, f'{count}.$(basename "${{launch%/*}}")'))
        scene.wait_until_quiet()
        for path in sorted(scene.folder.glob("count.step-*")):
            for nth in range(1, _lines(path) + 1):
                yield Point(_CALL, nth, attempt=path.name.removeprefix("count."))

    def kill(self, scene: Scene, args: Sequence[str], point: Point) -> tuple[Told, bool]:
        count = _count(scene)
        count.unlink(missing_ok=True)
        if point.attempt:
            told = scene.sop(*args, more=_keepers(scene, f"*/{point.attempt}/*", point.nth, str(count)))
            scene.wait_until_quiet()
        else:
            told = scene.sop(*args, more=_lit(point.nth, str(count)))
        return told, _lines(count) == point.nth


def _lit(nth: int, count: str) -> str:
    return f"sys.path.append({_HERE!r}); import fuse; fuse.light({nth}, {count!r}); "


def _keepers(scene: Scene, pattern: str, nth: int, count: str) -> str:
    """The statement that has the keepers of these launches started with a fuse lit, by a script in Python's place."""
    python = shlex.quote(sys.executable)
    launcher = scene.folder / "launcher"
    light = f"import sys; sys.path.append({_HERE!r}); import fuse; fuse.light({nth}, '$count', database=False)"
    launcher.write_text(
        "#!/bin/sh\n"
        'for launch in "$@"; do :; done\n'
        f'count="{count}"\n'
        f'case "$launch" in\n{pattern})\n  code=$4; shift 4\n'
        f'  exec {python} -I -S -c "{light}; $code" "$@" ;;\n'
        f'*) exec {python} "$@" ;;\nesac\n'
    )
    launcher.chmod(0o700)
    return f"{ONE_BY_ONE}sys.executable = {str(launcher)!r}; "


def _count(scene: Scene) -> Path:
    return scene.folder / "count"


def _lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.exists() else 0
