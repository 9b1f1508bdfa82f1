"""The reference scenario: ten steps, three gates, two retries, and the person who carries it on after a crash.

Each step first appends one line to a ledger outside the workspace, so that whoever starts an attempt twice is seen.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STEPS = range(1, 11)
GATES = (3, 6, 9)
RETRIED = (4, 7)
"""These fail at their first attempt."""
ENDED = ("completed", "cancelled")
"""A person has failed runs tried again: `sop retry`."""
COMMAND_SECS = 60.0
_MOST_COMMANDS = 40
MAIN = (
    "import sys; {more}from sopwith.doors import ancestry; from sopwith.doors.cli import main; "
    f"ancestry.TOP_PID = {os.getpid()}; sys.argv[0] = 'sop'; sys.exit(main())"
)
"""The command; who asks for it is a person also where these tests are themselves a step of a run."""

ONE_BY_ONE = "from sopwith.executors.keeper_process import nurseries; nurseries.enabled = False; "
"""The statement that has each keeper started with an interpreter of its own, in whose place a script can stand."""

Document = dict[str, Any]
Look = Callable[..., Document]


@dataclass(frozen=True)
class Told:
    """How one command ended: its exit code (negative: the signal that ended it) and the document it printed, if any."""

    args: tuple[str, ...]
    code: int
    document: Document | None
    errors: str = ""

    def __str__(self) -> str:
        said = self.errors or (self.document or {}).get("error", "")
        return f"{' '.join(self.args)} ended with {self.code}: {said}"


class Stuck(Exception):
    """The run does not come to an end, or a command failed that must not."""


@dataclass
class Acknowledged:
    """What was told to somebody as done, and hence must stay: lines of the record, steps, decisions."""

    lines: list[bytes] = field(default_factory=list)
    steps: dict[int, Document] = field(default_factory=dict)
    decisions: set[int] = field(default_factory=set)
    shrunk: bool = False


class Scene:
    """One workspace with the reference scenario, and the ledger beside it. Used by one thread of one process."""

    def __init__(self, folder: Path, *, steps: Sequence[int] = STEPS, gates: Sequence[int] = GATES) -> None:
        self.folder = folder
        self.root = folder / "workspace"
        self.ledger = folder / "ledger"
        self.steps, self.gates = steps, gates
        self.acknowledged = Acknowledged()
        self.commands = 0

    @property
    def sops(self) -> Path:
        return self.root / ".pi" / "sops"

    @property
    def database(self) -> Path:
        return self.sops / "runs.db"

    def make(self) -> None:
        """A new workspace in place of the one that is there."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.ledger.unlink(missing_ok=True)
        home = self.sops / "reference"
        home.mkdir(parents=True)
        manifest = {"name": "reference", "executionMode": "auto", "steps": [self._step(n) for n in self.steps]}
        (home / "manifest.json").write_text(json.dumps(manifest))
        (self.sops / "index.json").write_text('{"reference": "reference/manifest.json"}')
        self.acknowledged = Acknowledged()

    def _step(self, number: int) -> Document:
        noted = f'printf \'%s %s %s\\n\' "$SOP_STEP" "$SOP_ATTEMPT" "$SOP_IDEMPOTENCY_KEY" >> \'{self.ledger}\'\n'
        step = {
            "number": number,
            "title": f"Step {number}",
            "requiresApproval": number in self.gates,
            "run": f'{noted}echo step {number}\necho "done={number}" >> "$SOP_OUTPUT"\n',
        }
        if number in RETRIED:
            step["run"] += '[ "$SOP_ATTEMPT" -gt 1 ]\n'
            step["retry"] = {"maxAttempts": 2, "delaySecs": 0}
        return step

    def save(self, name: str) -> None:
        """Keeps workspace and ledger as they are; nobody may be at work in them."""
        self.wait_until_quiet()
        kept = self.folder / "snapshots" / name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.root, kept / "workspace", symlinks=True)
        (kept / "ledger").write_bytes(self._ledger())

    def restore(self, name: str) -> None:
        """The same paths with the content they had; what was acknowledged before is counted anew."""
        self.wait_until_quiet()
        kept = self.folder / "snapshots" / name
        shutil.rmtree(self.root)
        shutil.copytree(kept / "workspace", self.root, symlinks=True)
        shutil.copyfile(kept / "ledger", self.ledger)
        self.acknowledged = Acknowledged()
        self.note_record()

    def wait_until_quiet(self) -> None:
        """Until no keeper of this workspace lives, and nobody who traces one. A keeper names its launch folder in its
        command line, a tracer the file it writes to.
        """
        until = time.monotonic() + COMMAND_SECS
        root, trace = os.fsencode(str(self.root)), b"\0" + os.fsencode(str(self.folder / "trace"))
        while any((b"keeper" in line and root in line) or trace in line for line in _command_lines()):
            if time.monotonic() > until:
                raise Stuck("a keeper does not end")
            time.sleep(0.01)

    def sop(self, *args: str, prefix: Sequence[str] = (), more: str = "") -> Told:
        """Runs the command to its end. `prefix`: what starts it; `more`: statements before its own."""
        self.commands += 1
        with (self.folder / "out").open("w+b") as out, (self.folder / "err").open("w+b") as err:
            ended = subprocess.Popen(
                [*prefix, sys.executable, "-c", MAIN.format(more=more), *args, "--json"],
                cwd=self.root,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            _await(ended)
            out.seek(0)
            err.seek(0)
            return self.told(args, ended.returncode, out.read(), err.read())

    def told(self, args: Sequence[str], code: int, out: bytes, err: bytes) -> Told:
        """What a command said counts as acknowledged from here on, also if it was killed after saying it."""
        self.note_record()
        try:
            document = json.loads(out)
        except ValueError:
            document = None
        if document is not None and document.get("success"):
            self._note_document(args, document)
        return Told(tuple(args), code, document, err.decode(errors="replace"))

    def note_record(self) -> None:
        """The view of the record is written after the commit: each whole line of it was stored."""
        for path in self.sops.glob("runs/*.audit.jsonl"):
            lines = path.read_bytes().splitlines(keepends=True)
            lines = [line for line in lines if line.endswith(b"\n")]
            seen = self.acknowledged.lines
            common = min(len(seen), len(lines))
            self.acknowledged.shrunk |= seen[:common] != lines[:common]
            if len(lines) > len(seen):
                self.acknowledged.lines = lines

    def _note_document(self, args: Sequence[str], document: Document) -> None:
        run = document.get("run", document)
        for step in run.get("stepResults", ()):
            if step["status"] == "completed":
                self.acknowledged.steps[step["stepNumber"]] = step
        if args[0] == "approve":
            self.acknowledged.decisions.add(document["stepNumber"])

    def run_id(self, look: Look | None = None) -> str | None:
        """The scenario's run, if there is one."""
        if not self.database.exists():
            return None
        runs = (look or self._looked)("history")["runs"]
        if len(runs) > 1:
            raise Stuck(f"there are {len(runs)} runs in place of one")
        return runs[0]["runId"] if runs else None

    def _looked(self, *args: str) -> Document:
        told = self.sop(*args)
        if told.code != 0 or told.document is None:
            raise Stuck(str(told))
        return told.document

    def next_command(self, look: Look | None = None) -> tuple[str, ...] | None:
        """What a person who knows nothing but what the command shows would do now; None when the run has ended.

        `look` runs a command that looks, and gives its document.
        """
        run_id = self.run_id(look)
        return ("run", "reference") if run_id is None else self._answer((look or self._looked)("status", run_id))

    def _answer(self, run: Document) -> tuple[str, ...] | None:
        run_id = run["runId"]
        if run["status"] in ENDED:
            return None
        for step in run["stepResults"]:
            number = str(step["stepNumber"])
            if step["status"] == "interrupted":
                if (int(number), step["visit"], step["attempt"]) in self.entries():
                    return ("complete", run_id, "--step", number, "--comment", "its line is in the ledger")
                return ("retry", run_id)
        if run["status"] == "failed":
            return ("retry", run_id)
        for gate in run["gates"]:
            if gate["status"] == "open":
                return ("approve", run_id, "--step", str(gate["stepNumber"]))
        return ("resume", run_id)

    def settle(self) -> None:
        """Carries the run on until it has ended. Raises Stuck."""
        command = self.next_command()
        for _ in range(_MOST_COMMANDS):
            if command is None:
                return
            told = self.sop(*command)
            if told.code not in (0, 3, 4, 5):
                raise Stuck(str(told))
            run = (told.document or {}).get("run", told.document) or {}
            command = self._answer(run) if "stepResults" in run else self.next_command()
        raise Stuck("the run does not come to an end")

    def entries(self) -> list[tuple[int, int, int]]:
        """The ledger: step, visit and attempt of each start."""
        words = [line.split() for line in self._ledger().decode().splitlines()]
        return [(int(step), int(key.rpartition(".")[2]), int(attempt)) for step, attempt, key in words]

    def _ledger(self) -> bytes:
        return self.ledger.read_bytes() if self.ledger.exists() else b""


def environment() -> dict[str, str]:
    """Ours, without what says that a run or an agent is at work; Sopwith is found where we found it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SOP_", "SOPWITH_"))}
    return {**kept, "LANG": "C.UTF-8"}


def _await(process: subprocess.Popen[bytes]) -> None:
    """Until it ends, and no longer: with a time-out the library looks again and again, up to 50 ms late."""
    watch = os.pidfd_open(process.pid)
    try:
        if not select.select([watch], [], [], COMMAND_SECS)[0]:
            process.kill()
            raise Stuck(f"a command did not end within {COMMAND_SECS:.0f} s: {process.args}")
    finally:
        os.close(watch)
        process.wait()


def _command_lines() -> list[bytes]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found.append(line)
    return found
