"""A workspace for tests of the command: procedures from a few words, the command in this process, as a process, and
at a terminal of its own. Waiting is for a condition with a deadline, never for a while."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sopwith.doors import ancestry
from sopwith.doors.cli.app import run_command

DEADLINE_SECS = 30.0
# these tests may themselves be a step of a run, which is not what they are about
_MAIN = f"from sopwith.doors import ancestry, cli; ancestry.TOP_PID = {os.getpid()}; cli.main()"
SOP = (sys.executable, "-c", _MAIN)
_SOP_WITH_A_TERMINAL = (
    sys.executable,
    "-c",
    f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {_MAIN}",
)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z])")


class Told:
    """What one call of the command said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> dict[str, Any]:
        """The one document on stdout."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        assert self.err == ""
        return document

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


class Workshop:
    """One workspace in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sops = root / ".pi" / "sops"
        self.sops.mkdir(parents=True)
        (self.sops / "index.json").write_text("{}\n")

    def procedure(self, name: str, text: str, manifest: Mapping[str, Any] | None = None) -> Path:
        """Writes and registers a procedure; tells its folder."""
        folder = self.sops / name
        folder.mkdir()
        (folder / "SOP.md").write_text(text, encoding="utf-8")
        file = "SOP.md"
        if manifest is not None:
            (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
            file = "manifest.json"
        index = json.loads((self.sops / "index.json").read_text())
        (self.sops / "index.json").write_text(json.dumps({**index, name: f"{name}/{file}"}))
        return folder

    def steps(self, name: str, *steps: str, mode: str = "auto", **manifest: Any) -> Path:
        """A procedure of steps `Title | script` (no bar: done by hand; a `?` in front: gated)."""
        lines = [f"# {name.capitalize()}", "", f"**Execution Mode**: {mode}", "", "## Steps", ""]
        for number, step in enumerate(steps, 1):
            title, bar, script = step.lstrip("?").partition("|")
            lines += [f"### Step {number}: {title.strip()}", "", "Prose.", ""]
            if bar:
                lines += ["```bash", script.strip(), "```", ""]
            if step.startswith("?"):
                lines += ["**Approval Required**: Yes", ""]
        settings = {"name": name, "executionMode": mode, **manifest} if manifest else None
        return self.procedure(name, "\n".join(lines), settings)

    def sop(self, *args: str) -> Told:
        """The command in this process, at a pipe."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        before = Path.cwd()
        os.chdir(self.root)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run_command(list(args))
        finally:
            os.chdir(before)
        return Told(code, *(_written(stream) for stream in (out, err)))

    def json(self, *args: str, code: int = 0) -> dict[str, Any]:
        """The document that the command prints, having checked its exit code."""
        told = self.sop(*args, "--json")
        assert told.code == code, told
        return told.json

    def run_id(self, name: str) -> str:
        """The newest run of this procedure."""
        found: str = self.json("history", name)["runs"][0]["runId"]
        return found

    def started(self, name: str, *args: str, code: int = 3) -> str:
        """Runs it until it waits or ends; tells the run id."""
        run_id: str = self.json("run", name, *args, code=code)["runId"]
        return run_id

    def process(self, *args: str | bytes, env: Mapping[str, str] | None = None) -> Told:
        """The command as a process of its own."""
        done = subprocess.run(
            [*SOP, *args],
            cwd=self.root,
            env={**os.environ, **(env or {})},
            capture_output=True,
            timeout=DEADLINE_SECS,
            stdin=subprocess.DEVNULL,
        )
        return Told(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def background(self, *args: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """The same, going on while the test does. `before`: a program that starts it."""
        return subprocess.Popen(
            [*before, *SOP, *args],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def files(self) -> dict[str, bytes]:
        """Every file of the workspace with its bytes."""
        return {str(path): path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}


class Terminal:
    """The command at a terminal of its own, as a person would sit before it."""

    def __init__(
        self, workshop: Workshop, *args: str, columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "TERM")}
        self.process = subprocess.Popen(
            [*_SOP_WITH_A_TERMINAL, *args],
            cwd=workshop.root,
            env={**environment, "TERM": "xterm-256color", **(env or {})},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.raw = ""
        self._seen = 0

    @property
    def text(self) -> str:
        """All that was shown so far, without the codes that style and move."""
        return _ANSI.sub("", self.raw).replace("\r", "")

    @property
    def lines(self) -> list[str]:
        """Every line that was ever drawn, those that were drawn over too."""
        return re.split("[\r\n]+", _ANSI.sub("", self.raw))

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def expect(self, words: str) -> str:
        """Waits until the words appear after those expected before; tells what was shown up to them."""
        until = time.monotonic() + DEADLINE_SECS
        while (found := self.text.find(words, self._seen)) < 0:
            assert time.monotonic() < until, f"no {words!r} in {self.text[self._seen :]!r}"
            if not self._read(0.1) and self.process.poll() is not None and not self._read(0.1):
                found = self.text.find(words, self._seen)
                assert found >= 0, f"ended without {words!r} in {self.text[self._seen :]!r}"
        before = self.text[self._seen : found]
        self._seen = found + len(words)
        return before

    def end(self) -> int:
        """Waits for the end; tells the exit code."""
        until = time.monotonic() + DEADLINE_SECS
        while self.process.poll() is None:
            assert time.monotonic() < until, self.text
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: the other side has gone
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)


def eventually(what: Callable[[], Any]) -> Any:
    """What `what` tells, as soon as that is true."""
    until = time.monotonic() + DEADLINE_SECS
    while not (found := what()):
        assert time.monotonic() < until, "the deadline has passed"
        time.sleep(0.02)
    return found


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Kills a process of `background` if it still lives, and frees its pipes."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A workspace; steps that wait for the file `go` are let go at the end, whatever became of the test."""
    for name in ("SOPWITH_WORKSPACE", "SOPWITH_ACTOR_KIND", "SOP_RUN_ID", "SOPWITH_DEBUG", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ancestry, "TOP_PID", os.getpid())
    made = Workshop(tmp_path / "w")
    yield made
    (made.root / "go").touch()


@pytest.fixture
def terminal(workshop: Workshop) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals that are closed at the end."""
    opened: list[Terminal] = []

    def open_terminal(*args: str, **options: Any) -> Terminal:
        opened.append(Terminal(workshop, *args, **options))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    data = stream.buffer.getvalue()  # type: ignore[attr-defined]
    stream.close()
    return str(data.decode())


@pytest.fixture
def slow(workshop: Workshop) -> str:
    """A procedure whose first step runs until the file `go` exists, and then leaves `done`."""
    workshop.steps(
        "slow",
        "Wait | touch begun; until [ -e go ]; do sleep 0.02; done; echo x >> done",
        "After | echo after >> after",
    )
    return "slow"


def lines(workshop: Workshop, name: str) -> int:
    path = workshop.root / name
    return len(path.read_text().splitlines()) if path.exists() else 0
