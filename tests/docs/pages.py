"""Reads the documentation and runs its marked blocks, as a reader would type them.

A comment before a fence says what it is: `<!-- run -->` (or `<!-- run: exit 3 -->`) for commands, `<!-- file: PATH -->`
for what stands in a file, `<!-- prints -->` for lines that the commands before it must have printed, in this order.
`RUN` in a command stands for the newest run.
"""

import atexit
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^<!-- (run|file|prints)(?:: (.*?))? -->\n(`{3,})[a-z]*\n(.*?)^\3$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
_NEWEST = "newest() { sop history --limit 1 --json | grep -o 'sop_run_[a-z0-9]*' | head -1; }"


class Block(NamedTuple):
    kind: str
    told: str
    text: str


def pages() -> list[Path]:
    """Every page that a reader meets."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


def blocks(page: Path) -> list[Block]:
    return [Block(kind, told, text) for kind, told, _ticks, text in _BLOCK.findall(page.read_text())]


def links(page: Path) -> list[str]:
    """Targets of links and images outside code fences."""
    return [a or b for a, b in _LINK.findall(_FENCE.sub("", page.read_text()))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#{1,6} (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def command() -> Path:
    """A `sop` for these tests, which may themselves be a step of a run: that is not what the pages are about."""
    main = f"from sopwith.doors import ancestry, cli; ancestry.TOP_PID = {os.getpid()}; cli.main()"
    folder = Path(tempfile.mkdtemp(prefix="sop-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = folder / "sop"
    made.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-P", "-c", main])} "$@"\n')
    made.chmod(0o755)
    # a program that a page shows is started by its reader too
    program = f"import runpy, sys; from sopwith.doors import ancestry; ancestry.TOP_PID = {os.getpid()}; "
    program += "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", program])} "$@"\n')
    python.chmod(0o755)
    return made


def environment(home: Path) -> dict[str, str]:
    """A clean environment with `command` first on the path."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PATH": f"{command().parent}:{Path(sys.executable).parent}:{kept['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
    }


def sop(*arguments: str, cwd: Path, exit_code: int = 0) -> dict:
    """Runs the command with --json and gives its document."""
    ran = subprocess.run(
        [command(), *arguments, "--json"], cwd=cwd, env=environment(cwd), stdin=subprocess.DEVNULL, capture_output=True
    )
    assert ran.returncode == exit_code, (arguments, ran.returncode, ran.stdout.decode(), ran.stderr.decode())
    return json.loads(ran.stdout)


class Reader:
    """Somebody who follows one page in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._home = self._cwd = folder
        self._printed = ""

    def follow(self, block: Block) -> None:
        match block.kind:
            case "run":
                self._run(block.text, int(block.told.removeprefix("exit ")) if block.told else 0)
            case "file":
                (self._cwd / block.told).write_text(block.text)
            case "prints":
                self._check_printed(block.text)

    def _run(self, commands: str, exit_code: int) -> None:
        if re.search(r"\bRUN\b", commands):
            commands = re.sub(r"\bRUN\b", "$(newest)", commands)
        where = self._home / ".cwd"
        ran = subprocess.run(
            ["bash", "-ec", f"trap 'pwd > {where}' EXIT\n{_NEWEST}\n{commands}"],
            cwd=self._cwd,
            env=environment(self._home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._printed = ran.stdout
        assert ran.returncode == exit_code, f"exit code {ran.returncode}:\n{commands}\n{ran.stdout}"
        self._cwd = Path(where.read_text().strip())

    def _check_printed(self, expected: str) -> None:
        at = 0
        for line in expected.splitlines():
            found = self._printed.find(line.strip(), at)
            assert found >= 0, f"expected {line!r} in what was printed:\n{self._printed}"
            at = found + len(line.strip())
