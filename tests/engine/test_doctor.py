"""`sop doctor` on a real workspace: mends what can be made again, and finds what was tampered with."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import apsw
import pytest

from sopwith.assembly import open_engine
from sopwith.engine.doctor import examine
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.ports import Workspace

from .bench import ANN

SHEET = """\
# Bake

**Execution Mode**: auto

## Steps

### Step 1: Mix

```bash
echo mixed
```

### Step 2: Taste

Tell whether it is sweet.
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    folder = tmp_path / ".pi" / "sops" / "bake"
    folder.mkdir(parents=True)
    (folder / "SOP.md").write_text(SHEET)
    (folder.parent / "index.json").write_text(json.dumps({"bake": "bake/SOP.md"}))
    return open_engine(Workspace(tmp_path))


@pytest.fixture
def run_id(engine: Engine) -> str:
    run = engine.create_run(RunRequest(name="bake"), actor=ANN)
    return asyncio.run(drive(engine.parts, run.run_id)).run_id


def test_a_sound_workspace_has_no_findings(engine: Engine, run_id: str) -> None:
    assert examine(engine) == ()


def test_views_are_rebuilt(engine: Engine, run_id: str) -> None:
    runs = engine.parts.workspace.runs
    lines, state = runs / f"{run_id}.audit.jsonl", runs / f"{run_id}.json"
    true_lines, true_state = lines.read_bytes(), state.read_bytes()
    lines.write_bytes(true_lines[:-20])
    state.unlink()
    (finding,) = examine(engine)
    assert finding.mended
    assert run_id in finding.message
    assert lines.read_bytes() == true_lines
    assert json.loads(state.read_bytes()) == json.loads(true_state)
    assert examine(engine) == ()


def test_an_unregistered_procedure_is_registered(engine: Engine) -> None:
    sops = engine.parts.workspace.sops
    (sops / "fry").mkdir()
    (sops / "fry" / "SOP.md").write_text(SHEET)
    (finding,) = examine(engine)
    assert finding.mended
    assert json.loads((sops / "index.json").read_text()) == {"bake": "bake/SOP.md", "fry": "fry/SOP.md"}


def test_a_registered_procedure_that_is_gone_is_told(engine: Engine) -> None:
    (engine.parts.workspace.sops / "bake" / "SOP.md").unlink()
    (finding,) = examine(engine)
    assert not finding.mended
    assert "bake" in finding.message


@pytest.mark.parametrize(
    ("before", "after"), [("mixed", "fixed"), ('"seq":3', '"seq":4'), ("step_started", "run_resumed ")]
)
def test_a_tampered_event_is_found(engine: Engine, run_id: str, before: str, after: str) -> None:
    assert _rewrite(engine, before, after)
    findings = examine(engine)
    assert findings
    assert any(run_id in finding.message and not finding.mended for finding in findings)


def test_a_removed_event_is_found(engine: Engine, run_id: str) -> None:
    database = apsw.Connection(str(engine.parts.workspace.database))
    database.execute("delete from events where seq = 3")
    database.close()
    assert any(not finding.mended for finding in examine(engine))


def test_a_step_that_nobody_watches_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    async def die(*_args: object) -> None:
        raise Killed

    from sopwith.executors.shell import ShellExecutor

    run = engine.create_run(RunRequest(name="bake"), actor=ANN)
    with monkeypatch.context() as patch:
        patch.setattr(ShellExecutor, "start", die)
        with pytest.raises(Killed):
            asyncio.run(drive(engine.parts, run.run_id))
    assert any("nobody drives it" in finding.message for finding in examine(engine))
    assert asyncio.run(drive(engine.parts, run.run_id)).steps[1].status == "completed"


def _rewrite(engine: Engine, before: str, after: str) -> bool:
    """Changes one stored payload, as somebody with an editor for databases would."""
    database = apsw.Connection(str(engine.parts.workspace.database))
    for rowid, payload in list(database.execute("select rowid, payload from events")):
        if before.encode() in payload:
            changed = payload.replace(before.encode(), after.encode())
            database.execute("update events set payload = ? where rowid = ?", (changed, rowid))
            database.close()
            return True
    return False
