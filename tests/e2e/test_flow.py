"""Limits and retries with real processes."""

from __future__ import annotations

from pathlib import Path

from doors.workshop import Workshop, eventually


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _pids(workshop: Workshop) -> list[int]:
    return [int(line) for line in (workshop.root / "pids").read_text().split()]


def test_a_limit_ends_the_whole_tree(workshop: Workshop) -> None:
    script = "echo $$ >> pids\nsleep 300 & echo $! >> pids\nsetsid sleep 300 & echo $! >> pids\nwait"
    workshop.procedure("hang", _sheet("**Timeout**: 1", script))
    said = workshop.process("run", "hang", "--json")
    assert said.code == 4, said
    assert len(_pids(workshop)) == 3
    eventually(lambda: not any(_lives(pid) for pid in _pids(workshop)))
    (trail,) = (workshop.sops / "runs").glob("*.audit.jsonl")
    assert '"cause":"timeout"' in trail.read_text().replace(" ", "")


def test_a_retry_really_runs_twice(workshop: Workshop) -> None:
    script = 'echo "$SOP_ATTEMPT $SOP_IDEMPOTENCY_KEY" >> tries\n[ "$SOP_ATTEMPT" = 2 ] || exit 75'
    workshop.procedure("flaky", _sheet("**Retries**: 2", script))
    said = workshop.process("run", "flaky", "--json")
    assert said.code == 0, said
    first, second = (line.split() for line in (workshop.root / "tries").read_text().splitlines())
    assert (first[0], second[0]) == ("1", "2")
    assert first[1] == second[1] != ""


def _sheet(key: str, script: str) -> str:
    return f"# Flow\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Try\n\n{key}\n\n```bash\n{script}\n```\n"
