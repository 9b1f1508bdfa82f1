"""Every point of the reference scenario at which a process can be killed, each tried from the state just before.

The scenario is cut into stages, one command each; a stage begins from a copy of the workspace as it was then. The
stages `resume-…` begin from what a crash has left, and there the recovery itself is killed, twice in a row (F07).
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from tools.crash.invariants import breaches
from tools.crash.reference import GATES, Scene, Stuck, Told
from tools.crash.strace import Point


class Method(Protocol):
    """A way to kill: strace, or failpoints where there is none."""

    crashes: dict[str, Point]
    """Crashes of the stage after the first gate whose recovery is a stage of its own."""

    def points(self, scene: Scene, args: Sequence[str], restart: Callable[[], None]) -> Iterator[Point]: ...
    def kill(self, scene: Scene, args: Sequence[str], point: Point) -> tuple[Told, bool]: ...


@dataclass(frozen=True)
class Trial:
    """One point of one stage."""

    stage: str
    point: Point

    def __str__(self) -> str:
        return f"{self.stage}: {self.point}"


@dataclass
class Report:
    """How the trials went. A point that was not reached killed nobody, and counts for nothing."""

    found: int = 0
    tried: int = 0
    killed: int = 0
    kills: int = 0
    survived: int = 0
    not_reached: list[str] = field(default_factory=list)
    breaches: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": round(self.seconds, 1)}


class Sweep:
    """A sweep by one method, in scenes of its own within `folder`."""

    def __init__(self, folder: Path, method: Method, *, jobs: int = 1, stages: Sequence[str] = ()) -> None:
        self._method = method
        self._wanted = stages
        self._scenes = [Scene(folder / f"scene-{number}") for number in range(jobs)]
        self._begins: dict[tuple[Path, str], tuple[tuple[str, ...], dict[int, Any]]] = {}
        """The command that each stage of each scene begins with, and what it was told of steps when it looked: it is
        put back to the same state each time.
        """
        self._lock = Lock()
        self.report = Report()

    def trials(self) -> list[Trial]:
        """All trials, from clean runs of each stage. Every scene is given its stages on the way."""
        with ThreadPoolExecutor(len(self._scenes)) as pool:
            stages, *_same = pool.map(self._prepare, self._scenes)
        scene = self._scenes[0]
        found = []
        for stage in stages:
            scene.restore(stage)
            command = _command(scene)
            points = list(self._method.points(scene, command, lambda stage=stage: scene.restore(stage)))  # type: ignore[misc]
            # without any point at all: only nurseries were looked for, and the stage needs none
            if points and not any(point.attempt for point in points):
                raise Stuck(f"no keeper was seen in the stage {stage}")
            found += [Trial(stage, point) for point in points]
        if not found:
            raise Stuck("no point was found")
        self.report.found = len(found)
        return found

    def _prepare(self, scene: Scene) -> list[str]:
        """Plays the scenario once and keeps the state before each command, and after each of the chosen crashes."""
        scene.folder.mkdir(parents=True, exist_ok=True)
        scene.make()
        plan = ["run", *(f"approve-{gate}" for gate in GATES)]
        for stage in plan:
            scene.save(stage)
            scene.sop(*_command(scene))
        for name, point in self._method.crashes.items():
            if self._skips(f"resume-{name}"):
                continue
            scene.restore(f"approve-{GATES[0]}")
            _told, killed = self._method.kill(scene, _command(scene), point)
            if not killed:
                raise Stuck(f"the crash {name!r} did not come about")
            plan.append(f"resume-{name}")
            scene.save(plan[-1])
        return [stage for stage in plan if not self._skips(stage)]

    def _skips(self, stage: str) -> bool:
        return bool(self._wanted) and stage not in self._wanted

    def run(self, trials: Sequence[Trial], done: Callable[[Trial, int, list[str]], None] = lambda *_: None) -> Report:
        """Carries the trials out, as many at once as there are scenes. `done` is told of the kills of each."""
        begun = time.monotonic()
        queue = iter(trials)

        def work(scene: Scene) -> None:
            while True:
                with self._lock:
                    trial = next(queue, None)
                if trial is None:
                    return
                kills, found = self._try(scene, trial)
                with self._lock:
                    done(trial, kills, found)

        with ThreadPoolExecutor(len(self._scenes)) as pool:
            list(pool.map(work, self._scenes))
        self.report.seconds += time.monotonic() - begun
        return self.report

    def _try(self, scene: Scene, trial: Trial) -> tuple[int, list[str]]:
        scene.restore(trial.stage)
        kills = 0
        try:
            for again in range(2 if trial.stage.startswith("resume-") else 1):
                command = _command(scene) if again else self._begin(scene, trial.stage)
                told, killed = self._method.kill(scene, command, trial.point)
                kills += killed
                if told.code not in (0, 3, 4) and not (killed and trial.point.may_fail):
                    raise Stuck(str(told))
                if killed and not trial.point.may_fail and _asks(told):
                    raise Stuck(f"a nursery's end cost a step: {told.document}")
            scene.settle()
            found = breaches(scene)
        except Stuck as stuck:
            found = [str(stuck)]
        self._count(trial, kills, found, scene)
        return kills, found

    def _begin(self, scene: Scene, stage: str) -> tuple[str, ...]:
        if (scene.folder, stage) not in self._begins:
            command = _command(scene)
            self._begins[scene.folder, stage] = command, dict(scene.acknowledged.steps)
        command, told = self._begins[scene.folder, stage]
        scene.acknowledged.steps.update(told)
        return command

    def _count(self, trial: Trial, kills: int, found: list[str], scene: Scene) -> None:
        with self._lock:
            self.report.tried += 1
            self.report.kills += kills
            if kills:
                self.report.killed += 1
                self.report.survived += not found
            else:
                self.report.not_reached.append(str(trial))
            if found:
                self.report.breaches[str(trial)] = found
                kept = scene.folder.parent / f"breach-{len(self.report.breaches)}"
                shutil.copytree(scene.folder, kept, ignore=shutil.ignore_patterns("snapshots"), symlinks=True)


def sample(trials: Sequence[Trial], count: int, seed: int) -> list[Trial]:
    """So many of them, drawn from all stages and callers alike."""
    drawn = random.Random(seed).sample(list(trials), min(count, len(trials)))
    return sorted(drawn, key=str)


class Log:
    """What a sweep has done so far, a line each, so that it can be stopped and taken up again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def done(self) -> set[str]:
        if self._path is None or not self._path.exists():
            return set()
        return {json.loads(line)["trial"] for line in self._path.read_text().splitlines()}

    def note(self, trial: Trial, kills: int, found: list[str]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"trial": str(trial), "kills": kills, "breaches": found}) + "\n")


def _asks(told: Told) -> bool:
    """Whether a step waits for a person to say what became of it."""
    return any(step["status"] == "interrupted" for step in (told.document or {}).get("stepResults", ()))


def _command(scene: Scene) -> tuple[str, ...]:
    command = scene.next_command()
    if command is None:
        raise Stuck("the run ended before it was to")
    return command
