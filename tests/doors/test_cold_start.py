"""What looks starts fast: these verbs import no server, no event loop, no parser of Markdown, no painter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .workshop import Workshop

FORBIDDEN = {
    *("asyncio", "concurrent.futures", "selectors", "socket", "ssl", "http", "email", "logging", "subprocess"),
    *("rich", "markdown_it", "jinja2", "starlette", "pygments", "tempfile", "dataclasses", "importlib.metadata"),
    *("sopwith.engine.driver", "sopwith.doors.cli.foreground", "sopwith.doors.cli.live", "sopwith.doors.cli.running"),
    *("tomllib", "sopwith.rehearsal", "sopwith.testing", "sopwith.parse.scenario"),
    *("sopwith.executors.shell", "sopwith.parse.markdown", "sopwith.parse.outline", "sopwith.parse.sop_md"),
}
DOOR = {
    *("sopwith.doors", "sopwith.doors.cli", "sopwith.doors.cli.app", "sopwith.doors.cli.door"),
    *("sopwith.doors.cli.terminal", "sopwith.doors.cli.text", "sopwith.doors.opened"),
}
ASKS_WHO = {"inbox"}
"""Verbs that tell what the caller may do: they look where the caller comes from."""
_PROBE = """
import json, sys
from sopwith.doors.cli.app import run_command
code = run_command(sys.argv[1:])
sys.stderr.write(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize("verb", ["status", "list", "inbox", "history", "audit"])
def test_a_verb_that_looks_imports_nothing_heavy(workshop: Workshop, verb: str) -> None:
    workshop.steps("gated", "Look | echo looked", "?Act | echo acted")
    run = workshop.started("gated")
    args = [verb, run] if verb in ("status", "audit") else [verb]
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *args], cwd=workshop.root, capture_output=True, text=True, check=True, timeout=30
    )
    code, modules = json.loads(done.stderr)
    assert code == 0
    assert FORBIDDEN.intersection(modules) == set()
    if verb != "list":
        expected = DOOR | ({"sopwith.doors.ancestry", "sopwith.doors.caller"} if verb in ASKS_WHO else set())
        expected |= {"sopwith.doors.cli.auditing" if verb == "audit" else "sopwith.doors.cli.looking"}
        assert {module for module in modules if module.startswith("sopwith.doors")} == expected
    # who looks signs nothing
    assert not [module for module in modules if module.startswith(("sopwith.audit", "nacl", "cffi", "_cffi"))]


def test_help_imports_no_verb() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, "--help"], capture_output=True, text=True, check=True, timeout=30
    )
    _code, modules = json.loads(done.stderr)
    ours = {module for module in modules if module.startswith("sopwith.")}
    assert not {module for module in ours if module.startswith(("sopwith.engine", "sopwith.stores", "sopwith.parse"))}
