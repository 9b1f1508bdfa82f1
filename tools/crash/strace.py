"""Kills exactly one process at exactly one of its system calls, by strace's fault injection, and proves that it did.

strace counts calls for each task by itself and sends the signal before the call is carried out. `-b execve` lets go of
whatever a command starts, so that the command alone (with its threads) or, through a wrapper in place of the
interpreter, one keeper alone is traced. A nursery is traced without `-f`, which leaves the keepers that it forks
alone; to one of those strace is attached at the moment of its fork, by `attach.py`.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tools.crash.reference import ONE_BY_ONE, Scene, Told

CALLS = (
    *("write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fallocate", "openat", "fchmod"),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "chmod", "rmdir"),
    *("clone", "clone3", "vfork", "fork", "execve", "wait4", "waitid", "fcntl", "flock", "sendto", "kill", "sendmsg"),
    *("fchown", "chown", "fchownat"),
)
_LINE = re.compile(rb"^(?:(\d+) +)?(\w+)\((.*)", re.MULTILINE)
_OPENS_TO_WRITE = re.compile(rb"O_(CREAT|WRONLY|RDWR|TRUNC)")
_HERE = str(Path(__file__).parent)
_LOCKS = re.compile(rb"F_(OFD_)?SETLKW?\b")


@dataclass(frozen=True, order=True)
class Point:
    """The `nth` `call` of a task. `path`: only calls on this path count. `attempt`: of its keeper, not the command.
    `nursery`: of the nursery, or of the keeper that it forks for this attempt.
    """

    call: str
    nth: int
    attempt: str = ""
    path: str = ""
    nursery: bool = False

    @property
    def may_fail(self) -> bool:
        """Whether its command may fail for that: a nursery's end costs it nothing."""
        return bool(self.attempt) or not self.nursery

    def __str__(self) -> str:
        who = f"keeper of {self.attempt}" if self.attempt else "nursery" if self.nursery else "command"
        who = f"forked {who}" if self.attempt and self.nursery else who
        return f"{who}, {self.call} {self.nth}" + (f" on {Path(self.path).name}" if self.path else "")


def available() -> bool:
    return shutil.which("strace") is not None and sys.platform.startswith("linux")


def points_of_command(scene: Scene, args: Sequence[str]) -> list[Point]:
    """The write-path calls of the command's main thread, from one traced run of it."""
    scene.sop(*args, prefix=_prefix(scene, ["-e", f"trace={_existing()}"]))
    return list(_points(_trace(scene).read_bytes()))


def points_of_nursery(scene: Scene, args: Sequence[str]) -> list[Point]:
    """The same of its nursery, and each moment at which that waits to be told of a launch."""
    _trace(scene).unlink(missing_ok=True)
    scene.sop(*args, more=_nursery(scene, ["-e", f"trace={_existing()},read"]))
    scene.wait_until_quiet()
    trace = _trace(scene)  # there is none where all that was due is found to be done, or is started alone
    return list(_points(trace.read_bytes(), nursery=True)) if trace.exists() else []


def points_of_forked_keepers(scene: Scene, args: Sequence[str]) -> list[Point]:
    """The same of every keeper that its nursery forks."""
    _forget_traces(scene)
    scene.sop(*args, more=_attached(scene, ["-e", f"trace={_existing()}"]))
    scene.wait_until_quiet()
    return list(_points_by_attempt(scene, nursery=True))


def points_of_keepers(scene: Scene, args: Sequence[str]) -> list[Point]:
    """The same of every keeper that the command starts without a nursery."""
    _forget_traces(scene)
    trace = shlex.quote(str(scene.folder / "trace"))
    calls = shlex.quote(f"trace={_existing()}")
    wrapper = _wrapper(scene, f'exec strace -D -f -b execve -o {trace}."$(basename "${{launch%/*}}")" -e {calls}')
    scene.sop(*args, more=wrapper)
    scene.wait_until_quiet()
    return list(_points_by_attempt(scene))


def run_and_kill(scene: Scene, args: Sequence[str], point: Point) -> tuple[Told, bool]:
    """Runs the command; tells how it ended, and whether the point was reached and its process killed there."""
    _trace(scene).unlink(missing_ok=True)
    inject = ["-e", f"trace={point.call}", "-e", f"inject={point.call}:signal=KILL:when={point.nth}"]
    if point.path:
        inject += ["-P", _path(scene, args, point)]
    if point.nursery:
        more = _attached(scene, inject, point.attempt) if point.attempt else _nursery(scene, inject)
        told = scene.sop(*args, more=more)
        scene.wait_until_quiet()
    elif point.attempt:
        traced = shlex.join(["strace", "-D", "-f", "-b", "execve", "-o", str(_trace(scene)), *inject])
        told = scene.sop(*args, more=_wrapper(scene, f"exec {traced}", only=point.attempt))
        scene.wait_until_quiet()
    else:
        more = _wrapper(scene, "exec") if point.path else ""
        told = scene.sop(*args, prefix=_prefix(scene, inject), more=more)
    return told, killed(scene, point)


def killed(scene: Scene, point: Point) -> bool:
    """Whether one process was killed there, and no other. All threads of a process are told to have been."""
    text = _trace(scene).read_bytes() if _trace(scene).exists() else b""
    if point.nursery and not point.attempt and len(_LINE.findall(text)) < point.nth:
        return False  # the engine that ends kills its nursery too
    return b"+++ killed by SIGKILL" in text


def _forget_traces(scene: Scene) -> None:
    for old in scene.folder.glob("trace.*"):
        old.unlink()


def _points_by_attempt(scene: Scene, *, nursery: bool = False) -> Iterator[Point]:
    for path in sorted(scene.folder.glob("trace.step-*")):
        yield from _points(path.read_bytes(), attempt=path.name.removeprefix("trace."), nursery=nursery)


def _points(trace: bytes, attempt: str = "", *, nursery: bool = False) -> Iterator[Point]:
    counts: Counter[str] = Counter()
    main = None
    for line in trace.splitlines():
        found = _LINE.match(line)
        if not found:
            continue
        main = main or found[1]
        call = found[2].decode()
        if found[1] != main:
            continue
        counts[call] += 1
        if _matters(call, found[3], counts[call]):
            yield Point(call, counts[call], attempt, nursery=nursery)


def _matters(call: str, arguments: bytes, nth: int) -> bool:
    if call == "openat":
        return bool(_OPENS_TO_WRITE.search(arguments))
    if call == "fcntl":
        return bool(_LOCKS.search(arguments))
    if call == "read":  # only of a nursery, which is told of launches by its standard input
        return arguments.startswith(b"0, ")
    return not (call == "execve" and nth == 1)


def _path(scene: Scene, args: Sequence[str], point: Point) -> str:
    run_id = args[1] if len(args) > 1 else ""
    return point.path.format(runs=scene.sops / "runs" / run_id, launcher=_launcher(scene))


def _existing() -> str:
    """strace refuses names that this machine does not have, unless they are marked by `?`."""
    return ",".join(f"?{call}" for call in CALLS)


def _prefix(scene: Scene, options: Sequence[str]) -> list[str]:
    return ["strace", "-f", "-b", "execve", "-o", str(_trace(scene)), *options]


def _trace(scene: Scene) -> Path:
    return scene.folder / "trace"


def _launcher(scene: Scene) -> Path:
    return scene.folder / "launcher"


def _wrapper(scene: Scene, command: str, only: str = "") -> str:
    """The statement that has keepers started through `command`; their launch folder is the last argument."""
    path = _launcher(scene)
    python = shlex.quote(sys.executable)
    pattern = f"*/{only}/*" if only else "*"
    path.write_text(
        "#!/bin/sh\n"
        'for launch in "$@"; do :; done\n'
        f'case "$launch" in\n{pattern}) {command} {python} "$@" ;;\n*) exec {python} "$@" ;;\nesac\n'
    )
    path.chmod(0o700)
    return f"{ONE_BY_ONE}sys.executable = {str(path)!r}; "


def _nursery(scene: Scene, options: Sequence[str]) -> str:
    """The statement that has the first nursery started by strace, and its keepers and successors left alone."""
    traced = shlex.join(["strace", "-D", "-o", str(_trace(scene)), *options, sys.executable])
    return _nursery_by(scene, f'[ -e {shlex.quote(str(_trace(scene)))} ] || exec {traced} "$@"')


def _attached(scene: Scene, options: Sequence[str], only: str = "") -> str:
    """The statement that has the nursery put strace before the keeper of this attempt, or of each."""
    plan = scene.folder / "plan"
    strace = [str(shutil.which("strace")), "-f", "-b", "execve", *options]
    plan.write_text("\0".join([only, str(_trace(scene)), *strace]))
    follow = f"import sys; sys.path += [sys.argv[1], {_HERE!r}]; import attach; attach.follow({str(plan)!r})"
    code = f'{shlex.quote(follow)}"; $4"'
    return _nursery_by(scene, f'code={code}; shift 4; exec {shlex.quote(sys.executable)} -I -S -c "$code" "$@"')


def _nursery_by(scene: Scene, command: str) -> str:
    """The statement that has nurseries started by `command`, or as ever where that does not become one: where a keeper
    has its launch, they have blanks.
    """
    path = _launcher(scene)
    python = shlex.quote(sys.executable)
    path.write_text(
        f'#!/bin/sh\nfor launch in "$@"; do :; done\ncase "$launch" in " "*) {command} ;; esac\nexec {python} "$@"\n'
    )
    path.chmod(0o700)
    return f"sys.executable = {str(path)!r}; "


class Strace:
    """The method of the sweep where there is strace. `only_nursery`: only nurseries and the keepers that they fork."""

    crashes: ClassVar[dict[str, Point]] = {
        "intended": Point("?clone3,?clone,?vfork", 1),  # which of them starts a process is the C library's choice
        "ended": Point("wait4", 1),
        "taken": Point("fdatasync", 5),
        "failed-once": Point("fdatasync", 8),
    }

    def __init__(self, *, only_nursery: bool = False) -> None:
        self._only_nursery = only_nursery

    def points(self, scene: Scene, args: Sequence[str], restart: Callable[[], None]) -> Iterator[Point]:
        yield from points_of_nursery(scene, args)
        restart()
        yield from points_of_forked_keepers(scene, args)
        if not self._only_nursery:
            restart()
            yield from self._others(scene, args, restart)

    def _others(self, scene: Scene, args: Sequence[str], restart: Callable[[], None]) -> Iterator[Point]:
        yield from points_of_command(scene, args)
        restart()
        keepers = list(points_of_keepers(scene, args))
        yield from keepers
        for attempt in sorted({point.attempt for point in keepers}):
            # what threads of the command do: a path tells their calls from those of the main one
            yield Point("rename", 1, path=f"{{runs}}/{attempt}/0/spool")
        if keepers:
            yield Point("execve", 1, path="{launcher}")

    def kill(self, scene: Scene, args: Sequence[str], point: Point) -> tuple[Told, bool]:
        return run_and_kill(scene, args, point)
