"""Makes docs/images/run.svg from a real run: `python -m tools.screenshot`. Needs tmux.

Types the commands into a terminal, in a copy of the examples, waits for what the screen should say, and draws the
screen as it then is. Nothing is staged but the window's size.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "docs" / "images" / "run.svg"
COLUMNS, LINES = 108, 36
_SESSION = f"sopwith-screenshot-{os.getpid()}"
_RUN = "sop run deploy-bakery --param environment=production --param version=1.4.0"
_COLOURS = [(60, 64, 72), (224, 108, 117), (152, 195, 121), (229, 192, 123)]
_COLOURS += [(97, 175, 239), (198, 120, 221), (86, 182, 194), (215, 218, 224)]
_THEME = TerminalTheme((22, 24, 29), (215, 218, 224), _COLOURS, [(120, 126, 138), *_COLOURS[1:]])


def main() -> int:
    if shutil.which("tmux") is None:
        sys.exit("tmux is needed to make the screenshot")
    # the folder is on the picture, so it has a name that says something
    workspace = Path(tempfile.gettempdir()) / "bakery"
    shutil.copytree(ROOT / "examples", workspace, ignore=shutil.ignore_patterns("runs*", "keys", "build"))
    try:
        screen = _play(workspace)
    finally:
        shutil.rmtree(workspace)
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    IMAGE.write_text(_drawn(screen), encoding="utf-8")
    return 0


def _play(workspace: Path) -> str:
    """The screen in the middle of a deployment: two steps done, the third one waits for an answer."""
    shell = ["env", "-i", "TERM=xterm-256color", "PS1=$ ", "LANG=C.UTF-8", f"PATH={_path()}", "bash", "--norc"]
    _tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), "-c", str(workspace), *shell)
    try:
        _type(_RUN)
        for done in ("Test and build", "Back up the database"):
            _wait_for(rf"approve\?.*{done}(.|\n)*etach >\s*$")
            _type("a")
        _wait_for(r"approve\?.*Step 3: Deploy(.|\n)*etach >\s*$")
        return _capture()
    finally:
        _tmux("kill-session", "-t", _SESSION)


def _path() -> str:
    return f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


def _tmux(verb: str, *arguments: str) -> str:
    target = ["-s", _SESSION] if verb == "new-session" else [] if "-t" in arguments else ["-t", _SESSION]
    ran = subprocess.run(["tmux", verb, *target, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout


def _type(line: str) -> None:
    _tmux("send-keys", line, "Enter")


def _wait_for(pattern: str, timeout_secs: float = 60) -> None:
    deadline = time.monotonic() + timeout_secs
    while time.monotonic() < deadline:
        if re.search(pattern, _tmux("capture-pane", "-p").rstrip(), re.IGNORECASE):
            return
        time.sleep(0.1)
    raise TimeoutError(f"the screen never showed {pattern}:\n{_tmux('capture-pane', '-p')}")


def _capture() -> str:
    return _tmux("capture-pane", "-e", "-p").rstrip()


def _drawn(screen: str) -> str:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text.from_ansi(screen), soft_wrap=True)
    svg = console.export_svg(title="sop run deploy-bakery", theme=_THEME, unique_id="sopwith")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no font from elsewhere
    return re.sub(r"[ \t]+$", "", svg.replace("Fira Code", "DejaVu Sans Mono"), flags=re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main())
