"""A workspace with real files, and everything else fake: store, executor, and a clock on which nothing waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.codec import decode_event
from sopwith.core.due import due, ready
from sopwith.core.events import Event
from sopwith.core.run import Run
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.keys import Keyring
from sopwith.engine.library import Library
from sopwith.engine.parts import Parts
from sopwith.engine.reading import Reader
from sopwith.ports import Clock, ExecutorKind, Workspace
from sopwith.testing.bell import FakeBell
from sopwith.testing.clock import SequentialIds
from sopwith.testing.executor import FakeWorld, Key, fake_kind
from sopwith.testing.memory import MemoryStore, NoViews
from sopwith.testing.samples import owner
from sopwith.testing.virtual_time import VirtualClock, VirtualLoop

ANN = Actor("ann", ActorKind.HUMAN, "cli")
BOB = Actor("bob", ActorKind.HUMAN, "cli")
BOT = Actor("bot", ActorKind.AGENT, "mcp")


class Kinds:
    """A fake `shell`, and whatever a test registers."""

    def __init__(self, world: FakeWorld, clock: Clock) -> None:
        self.known = {
            "shell": fake_kind(world, clock),
            "manual": ExecutorKind(name="manual", needs_script=False, by_hand=True),
            "procedure": ExecutorKind(name="procedure", needs_script=False, by_hand=True),
        }

    def kind(self, name: str) -> ExecutorKind:
        return self.known[name]


class Bench:
    """Each `engine()` is another process: it has its own handle on the store."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.workspace.sops.mkdir(parents=True)
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.world = FakeWorld()
        self.kinds = Kinds(self.world, self.clock)
        self.store = MemoryStore()
        self.bell = FakeBell()
        self.ids = SequentialIds()
        self.environ: dict[str, str] = {"PATH": "/usr/bin"}
        self._processes = 0

    # files

    def config(self, **keys: Any) -> None:
        self.workspace.config.write_text(json.dumps(keys))

    def procedure(self, name: str, *steps: Mapping[str, Any], **keys: Any) -> None:
        """A manifest; each step has a script, and whatever else it says."""
        folder = self.workspace.sops / name
        folder.mkdir(exist_ok=True)
        numbered = [
            {"number": number, "title": f"Step {number}", "run": "true", **step} for number, step in enumerate(steps, 1)
        ]
        document = {"name": name, "description": name, "version": "1.0.0", "executionMode": "auto", **keys}
        (folder / "manifest.json").write_text(json.dumps({**document, "steps": numbered}))
        index = self.workspace.index
        known = json.loads(index.read_text()) if index.exists() else {}
        index.write_text(json.dumps({**known, name: f"{name}/manifest.json"}))

    def sheet(self, name: str, text: str) -> None:
        """A SOP.md that index.json does not know."""
        folder = self.workspace.sops / name
        folder.mkdir(exist_ok=True)
        (folder / "SOP.md").write_text(text)

    # processes

    def engine(self, *, environ: Mapping[str, str] | None = None) -> Engine:
        self._processes += 1
        me = owner(f"process-{self._processes}")
        store = MemoryStore(self.store)
        return Engine(
            Parts(
                workspace=self.workspace,
                store=store,
                views=NoViews(),
                library=Library(self.workspace, cache=store),
                kinds=self.kinds,
                clock=self.clock,
                ids=self.ids,
                keyring=Keyring(self.workspace.keys),
                owner=lambda: me,
                environ=self.environ if environ is None else environ,
                umask=0o022,
                bell=self.bell,
            )
        )

    @property
    def reader(self) -> Reader:
        return Reader(self.engine())

    def create(self, name: str, *, queue: bool = False, **params: Any) -> str:
        return self.engine().create_run(RunRequest(name=name, params=params, queue=queue), actor=ANN).run_id

    def run(self, name: str, **options: Any) -> Run:
        """`sop run`: creates and drives."""
        return self.drive(self.create(name, **options))

    def drive(self, run_id: str, *, environ: Mapping[str, str] | None = None) -> Run:
        """Another process drives until the run waits or ends, in no real time."""
        return self.loop.run_until_complete(drive(self.engine(environ=environ).parts, run_id))

    def begin(self, run_id: str) -> asyncio.Task[Run]:
        """Another process that drives while the test goes on; see `pass_time`."""
        return self.loop.create_task(drive(self.engine().parts, run_id))

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def finish(self, task: asyncio.Task[Run]) -> Run:
        return self.loop.run_until_complete(task)

    # what can be seen

    def now(self, run_id: str) -> Run:
        return self.engine().runs.load(run_id).run

    def events(self, run_id: str) -> list[Event]:
        return [decode_event(sealed.payload) for sealed in self.store.events(run_id)]

    def names(self, run_id: str) -> list[str]:
        """The events' types, with the step's number where they have one."""
        return [
            event.event_type + (f" {event.step_number}" if event.step_number else "") for event in self.events(run_id)
        ]

    def statuses(self, run_id: str) -> list[str]:
        return [step.status.value for step in self.now(run_id).steps.values()]

    def ready(self, run_id: str) -> list[str]:
        return [item.kind.value for item in ready(due(self.now(run_id)), self.clock.now().at)]

    def starts(self, run_id: str) -> list[Key]:
        return [key for key in self.world.starts if key[0] == run_id]

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
