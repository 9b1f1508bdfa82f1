"""kill -9 at random moments: commands, pairs of commands and keepers, again and again, until each run has ended.

Commands are forks of one process that has imported everything and opened nothing, so that most of the time goes into
what is to be killed. No SQLite handle crosses a fork. The moments are drawn by a seed; what the scheduler makes of them
is its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.crash.reference import Scene, Stuck

_FIRST_SECS = 0.12
_CANCELS = 0.02
_PAIRS = 0.15
_KEEPERS = 0.1
_PATIENCE_KILLS = 60
"""So often is one run crashed; then it is carried to its end in peace."""


class Victim:
    """One command, in a fork of this process."""

    def __init__(self, scene: Scene, name: str, args: Sequence[str]) -> None:
        self.args = tuple(args)
        self._scene = scene
        self._out, self._err = scene.folder / f"{name}.out", scene.folder / f"{name}.err"
        # one that is killed before it opens them has said nothing: what an earlier one said must not stand there
        self._out.write_bytes(b"")
        self._err.write_bytes(b"")
        self.pid = os.fork()
        if self.pid == 0:
            _become_command(scene.root, (*args, "--json"), self._out, self._err)
        self._begun = time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        handle = os.pidfd_open(self.pid)
        try:
            import select

            return bool(select.select([handle], [], [], max(0.0, seconds))[0])
        finally:
            os.close(handle)

    def end(self, *, kill: bool) -> int:
        """Its exit code, negative if it was killed; what it had said counts as acknowledged."""
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        _pid, status = os.waitpid(self.pid, 0)
        self.took = time.monotonic() - self._begun
        self.code = os.waitstatus_to_exitcode(status)
        self.told = self._scene.told(self.args, self.code, self._out.read_bytes(), self._err.read_bytes())
        return self.code


def _become_command(root: Path, args: Sequence[str], out: Path, err: Path) -> None:
    """Never returns."""
    code = 70
    try:
        from sopwith.doors.cli.app import run_command

        os.chdir(root)
        for number, path in ((0, Path(os.devnull)), (1, out), (2, err)):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(path, flags, 0o600), number)
        os.setpgid(0, 0)
        code = run_command(list(args))
        sys.stdout.flush()
    finally:
        os._exit(code)


def _import_all() -> None:
    """What commands import late; before any fork."""
    import asyncio  # noqa: F401

    import sopwith.assembly
    import sopwith.audit.sealing
    import sopwith.doors.cli.app
    import sopwith.doors.cli.deciding
    import sopwith.doors.cli.foreground
    import sopwith.doors.cli.looking
    import sopwith.doors.cli.reporting
    import sopwith.engine.children
    import sopwith.engine.driver
    import sopwith.engine.evidence
    import sopwith.executors.keeper_process
    import sopwith.executors.shell
    import sopwith.executors.watch  # noqa: F401
    from sopwith.doors import ancestry

    # whoever asks is a person, also where these tests are themselves a step of a run
    ancestry.TOP_PID = os.getpid()


class Campaign:
    """One scene that is run and crashed again and again; for one process."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._scene = Scene(folder)
        self._draw = random.Random(seed)
        self.kills = self.keeper_kills = self.runs = self.cancelled = self.pairs = 0
        self.breaches: dict[str, list[str]] = {}
        self._usual_secs = _FIRST_SECS

    def go_on(self, count: int) -> None:
        """Runs until so many processes were killed."""
        self._scene.folder.mkdir(parents=True, exist_ok=True)
        while self.kills + self.keeper_kills < count:
            self._one_run(count)

    def _one_run(self, count: int) -> None:
        from tools.crash.invariants import breaches

        self._scene.make()
        self.runs += 1
        try:
            self._crash(count)
            self._scene.settle()
            found = breaches(self._scene, may_end_as=("completed", "cancelled"))
        except Stuck as stuck:
            found = [str(stuck)]
        if found:
            name = f"run {self.runs}"
            self.breaches[name] = found
            self._scene.wait_until_quiet()
            kept = self._scene.folder.with_name(f"{self._scene.folder.name}-breach-{self.runs}")
            shutil.copytree(self._scene.folder, kept, symlinks=True)

    def _crash(self, count: int) -> None:
        for _ in range(_PATIENCE_KILLS):
            if self.kills + self.keeper_kills >= count:
                return
            command = self._next()
            if command is None:
                return
            victims = [Victim(self._scene, "one", command)]
            if self._draw.random() < _PAIRS and command[0] != "run":
                self.pairs += 1
                victims.append(Victim(self._scene, "two", self._beside(command)))
            self._end(victims)

    def _next(self) -> tuple[str, ...] | None:
        command = self._scene.next_command(self._look)
        if command is not None and command[0] != "run" and self._draw.random() < _CANCELS:
            self.cancelled += 1
            return ("cancel", command[1])
        return command

    def _beside(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """A second command on the same run at the same time."""
        return command if self._draw.random() < 0.5 else ("resume", command[1])

    def _look(self, *args: str) -> dict[str, Any]:
        looking = Victim(self._scene, "look", args)
        if not looking.wait(60) or looking.end(kill=False) != 0 or looking.told.document is None:
            raise Stuck(f"{looking.told if looking.pid else args}")
        return looking.told.document

    def _end(self, victims: Sequence[Victim]) -> None:
        """Kills each after a while of its own, and now and then a keeper first; what ends before is not killed."""
        if self._draw.random() < _KEEPERS:
            self.keeper_kills += self._hunt_a_keeper(victims[0])
        for victim in victims:
            if victim.wait(self._draw.random() * self._usual_secs * 1.2):
                victim.end(kill=False)
                if victim.code not in (0, 3, 4, 5):
                    raise Stuck(str(victim.told))
                # what ended by itself tells how long such commands take now
                self._usual_secs = 0.7 * self._usual_secs + 0.3 * max(0.05, victim.took)
                continue
            self.kills += victim.end(kill=True) == -signal.SIGKILL

    def _hunt_a_keeper(self, victim: Victim) -> bool:
        """Lies in wait for a keeper until the command has ended; whether one was killed."""
        while not self._kill_a_keeper():
            if victim.wait(self._draw.random() * 0.01):
                return False
        return True

    def _kill_a_keeper(self) -> bool:
        """Whether there was one. A keeper is known by what it wrote, its pid by its start time."""
        from sopwith.executors.launch import Launch

        for started in self._scene.sops.glob("runs/*/step-*/*/started"):
            keeper = Launch(started.parent).marks().keeper
            if keeper is not None and keeper.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(keeper.pid, signal.SIGKILL)
                    return True
        return False


def campaign(folder: Path, *, count: int, seed: int = 1, jobs: int = 1) -> dict[str, Any]:
    """So many kills, by processes of their own: threads and forks do not go together."""
    _import_all()
    begun = time.monotonic()
    share = [count // jobs + (number < count % jobs) for number in range(jobs)]
    children = [_in_a_fork(folder / f"part-{n}", seed * 1000 + n, part) for n, part in enumerate(share)]
    parts = [_result(folder / f"part-{n}", pid) for n, pid in enumerate(children)]
    seconds = time.monotonic() - begun
    total = {name: sum(part[name] for part in parts) for name in ("kills", "keeperKills", "runs", "cancelled", "pairs")}
    restarts = total["kills"] + total["keeperKills"]
    return {
        **total,
        "restarts": restarts,
        "seconds": round(seconds, 1),
        "restartsPerMinute": round(restarts / seconds * 60),
        "breaches": {
            f"part {n}, {name}": found for n, part in enumerate(parts) for name, found in part["breaches"].items()
        },
    }


def _in_a_fork(folder: Path, seed: int, count: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Campaign(folder / "scene", seed)
        part.go_on(count)
        document = {
            "kills": part.kills,
            "keeperKills": part.keeper_kills,
            "runs": part.runs,
            "cancelled": part.cancelled,
            "pairs": part.pairs,
            "breaches": part.breaches,
        }
        (folder / "result").write_text(json.dumps(document))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _result(folder: Path, pid: int) -> dict[str, Any]:
    _pid, status = os.waitpid(pid, 0)
    if status != 0:
        raise Stuck(f"the part in {folder} ended with {os.waitstatus_to_exitcode(status)}")
    document: dict[str, Any] = json.loads((folder / "result").read_text())
    return document
