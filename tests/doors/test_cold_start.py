"""Short commands start fast: each imports what it uses, and nothing else.

What each may import is listed here: a module that is new on its way makes a test red and is named there. Before it is
added to the list, ask whether that command really uses it.
"""

from __future__ import annotations

import gc
import json
import os
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
    *("base64", "difflib", "shutil", "random", "sqlite3", "hashlib", "rfc8785"),
}
DOOR = {
    *("sopwith.doors", "sopwith.doors.cli", "sopwith.doors.cli.app", "sopwith.doors.cli.door"),
    *("sopwith.doors.cli.terminal", "sopwith.doors.cli.text", "sopwith.doors.opened"),
}
ASKS_WHO = {"inbox", "approve"}
"""Verbs that tell what the caller may do: they look where the caller comes from."""
_PROBE = """
import json, sys
from sopwith.doors.cli.app import run_command
code = run_command(sys.argv[1:])
sys.stderr.write(json.dumps([code, sorted(sys.modules)]))
"""
_FRAME = {
    *("sopwith", "sopwith.core", "sopwith.core.visible", "sopwith.doors", "sopwith.doors.cli", "sopwith.errors"),
    *("sopwith.doors.cli.app", "sopwith.doors.cli.terminal", "sopwith.version"),
}
"""All that `sop --version` is."""
_CORE = """actor address agents approval approvers codec digest due events gates grants instant interruption modes
    people procedure refusal request rollback run"""
_REPLAY = "asking evolve evolve_again evolve_gate evolve_rollback evolve_verification steps"
_ENGINE = "auditing documents files keys library parts sight switchboard"
_STORE = """batches bell claims database failures locks migrate mounts opening patience queries rows sqlite traces
    views"""
_LOOKS_AT_RUNS = "claiming folders outputs reading records"
_MOVES = """moves moves_answer moves_child moves_driver moves_flow moves_gate moves_interrupt moves_person moves_report
    moves_rollback"""


def _of(package: str, names: str = "") -> set[str]:
    return {package, *(f"{package}.{name}" for name in names.split())}


_OPENED = {
    *(_FRAME | _of("sopwith.core", _CORE) | _of("sopwith.engine", _ENGINE) | _of("sopwith.stores", _STORE)),
    *(_of("sopwith.doors.cli", "door text") | _of("sopwith.parse", "parsed")),
    *("sopwith.assembly", "sopwith.clock", "sopwith.doors.opened", "sopwith.plugins"),
    *_of("sopwith.ports", "records workspace"),
    "sopwith.settings",
}
_AT_RUNS = _of("sopwith.core", _REPLAY) | _of("sopwith.engine", _LOOKS_AT_RUNS)
_LOOKING = _OPENED | _AT_RUNS | {"sopwith.doors.cli.looking"}
_DECIDING = {
    *(_OPENED | _of("sopwith.core", _REPLAY) | _of("sopwith.core", _MOVES) | {"sopwith.engine.records"}),
    *_of(
        "sopwith.core",
        """admission bodies child commands conclude confidential config decide detour envelope forms items notifications
        parameters patterns""",
    ),
    *_of("sopwith.engine", "brought_about engine runs secrets"),
    *("sopwith.ports.log", "sopwith.stores.log"),
    *_of("sopwith.audit", "checkpoints merkle places sealing signing statements"),
    *_of("sopwith.doors", "ancestry caller"),
    *_of("sopwith.doors.cli", "deciding display driving pairs"),
    "sopwith.turns",
}
ALLOWED = {
    "--version": _FRAME,
    "status": _LOOKING,
    "history": _LOOKING,
    "inbox": _LOOKING
    | _of("sopwith.core", "config notifications")
    | _of("sopwith.doors", "ancestry caller")
    | {"sopwith.stores.asking"},
    "list": _OPENED
    | _of("sopwith.engine", "catalog listing")
    | _of("sopwith.parse", "findings index source strict_json")
    | _of("sopwith.core", "config notifications")
    | {"sopwith.doors.cli.listing"},
    "approve": _DECIDING,
}
"""The modules of ours that each command may import. `approve`: a vote, after which nothing is to be run."""


@pytest.mark.parametrize("verb", ALLOWED)
def test_a_short_command_imports_no_more_of_ours_than_is_listed(workshop: Workshop, verb: str) -> None:
    run = _voting(workshop)
    _code, modules = _imported(workshop, verb, *([run] if verb in ("status", "approve") else []))
    ours = {module for module in modules if module.split(".")[0] == "sopwith"}
    assert ours - ALLOWED[verb] == set(), f"sop {verb} imports more than it did"


@pytest.mark.parametrize("verb", ALLOWED)
def test_a_short_command_loads_nothing_that_only_other_calls_need(workshop: Workshop, verb: str) -> None:
    """OpenSSL, what looks for translations, and what is for mistakes, numbers and words that are not there."""
    run = _voting(workshop)
    _code, modules = _imported(workshop, verb, *([run] if verb in ("status", "approve") else []))
    seldom = {"hashlib", "_hashlib", "rfc8785", "locale", "difflib", "base64", "shlex"}
    assert seldom.intersection(modules) == set()


def test_a_vote_needs_no_event_loop(workshop: Workshop) -> None:
    """Nothing is to be run after it, and nobody asks at a terminal."""
    code, modules = _imported(workshop, "approve", _voting(workshop))
    assert code == 3
    heavy = {"asyncio", "concurrent.futures", "ssl", "socket", "subprocess", "logging", "rich", "markdown_it"}
    assert heavy.intersection(modules) == set()


def test_whoever_can_change_a_run_has_met_every_type_of_event() -> None:
    """Threads that meet one for the first time together would crash; a command that looks has one thread."""
    for module in ("sopwith.engine.runs", "sopwith.engine.engine", "sopwith.doors.python.workspace"):
        probe = f"import sys, {module}; print('sopwith.core.bodies' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout == "True\n", module


def test_a_short_command_never_looks_for_garbage_neither_on_its_way_nor_at_its_end(workshop: Workshop) -> None:
    """A fifth of it would go into looking through what was only just imported."""
    told = "import atexit, gc; from sopwith.doors import cli; print(gc.get_threshold()[0]); before = gc.get_stats(); "
    told += (
        "atexit.register(lambda: print(gc.get_stats()[1] == before[1], gc.get_freeze_count() > 1000, gc.isenabled()))"
    )
    argv = [sys.executable, "-c", f"{told}; cli.main(['status', '{_voting(workshop)}', '--json'])"]
    done = subprocess.run(argv, cwd=workshop.root, capture_output=True, text=True, check=True, timeout=30)
    default, _document, after = done.stdout.splitlines()
    assert int(default) == gc.get_threshold()[0]  # who only imports the package keeps what he had
    assert after == "True True True"


def _voting(workshop: Workshop) -> str:
    """A run that waits for two votes, of which anybody may give one."""
    step = {"number": 1, "title": "Act", "run": "true", "requiresApproval": True}
    step["approval"] = {"quorum": 2, "allowSelfApproval": True, "onTimeout": "pause"}
    workshop.procedure(
        "voted", "# Voted\n\n## Steps\n\n### Step 1: Act\n", {"name": "voted", "executionMode": "auto", "steps": [step]}
    )
    return workshop.started("voted")


def _imported(workshop: Workshop, verb: str, *rest: str) -> tuple[int, list[str]]:
    """The exit code, and all modules at the end."""
    probe = _PROBE
    if verb in ASKS_WHO:  # these tests may themselves be a step of a run
        probe = f"from sopwith.doors import ancestry; ancestry.TOP_PID = {os.getpid()}\n{_PROBE}"
    argv = [sys.executable, "-c", probe, verb, *rest]
    done = subprocess.run(argv, cwd=workshop.root, capture_output=True, text=True, check=True, timeout=30)
    code, modules = json.loads(done.stderr)
    return code, modules


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
