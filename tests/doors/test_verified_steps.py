"""`verify` on the command line: what a person is told who reports a step that its script does not confirm."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from .workshop import Workshop, end_process, eventually

_SHEET = """# Release

**Execution Mode**: auto

## Steps

### Step 1: Write the notes

Write them.
{}
```verify
# that they are there
echo looked "$SOP_PARAM_FILE" $SOP_VERIFY
test -e "$SOP_PARAM_FILE"
```

### Step 2: Tell

```bash
echo told >> told
```
"""


def a_release(workshop: Workshop, *, keys: str = "") -> str:
    workshop.procedure("release", _SHEET.format(keys))
    return workshop.started("release", "--param", "file=my notes")


def test_a_report_that_is_not_confirmed_exits_5_and_the_step_stays_open(workshop: Workshop) -> None:
    run_id = a_release(workshop)
    told = workshop.sop("complete", run_id, "--comment", "done")
    assert told.code == 5
    assert "step 1: the report that it is done was not believed" in told.out
    assert "ended with exit code 1" in told.out
    assert f"sop complete {run_id}" in told.out
    status = workshop.json("status", run_id)
    assert (status["status"], status["stepResults"][0]["status"]) == ("running", "running")
    check = status["stepResults"][0]["verification"]
    assert (check["outcome"], check["exitCode"], check["output"]) == ("not_done", 1, "looked my notes 1\n")
    assert not (workshop.root / "told").exists()
    (workshop.root / "my notes").touch()
    told = workshop.sop("complete", run_id)
    assert (told.code, "is done, as was verified" in told.out) == (0, True)
    assert (workshop.root / "told").exists()
    assert workshop.sop("audit", run_id, "--verify").code == 0


def test_with_json_the_answer_is_an_error_and_the_run(workshop: Workshop) -> None:
    run_id = a_release(workshop)
    told = workshop.json("complete", run_id, code=5)
    assert (told["success"], told["error"]["code"], told["status"]) == (False, "verification_failed", "running")
    assert f"sop complete {run_id}" in told["error"]["hint"]


def test_the_script_is_shown_whole_to_an_approver_and_before_it_runs(workshop: Workshop) -> None:
    workshop.procedure("release", _SHEET.format("\n**Approval Required**: Yes\n"))
    run_id = workshop.started("release", "--param", "file=x")
    for told in (
        workshop.sop("approve", run_id, "--show"),
        workshop.sop("show", "release"),
        workshop.sop("run", "release", "--dry-run", "--param", "file=x"),
    ):
        assert 'test -e "$SOP_PARAM_FILE"' in told.out, told
        assert "by exit code 0" in told.out
    envelope = workshop.json("approve", run_id, "--show")["gates"][0]["envelope"]
    assert envelope["verify"]["script"].endswith('test -e "$SOP_PARAM_FILE"\n')
    assert envelope["verify"]["program"].endswith("bash")


def test_what_it_printed_can_be_read_and_is_tamed(workshop: Workshop) -> None:
    workshop.procedure(
        "release", "# R\n\n## Steps\n\n### Step 1: Do\n\nDo it.\n\n**Verify**: `printf '\\033[2Jno\\n'; exit 3`\n"
    )
    run_id = workshop.started("release", "--mode", "auto")
    workshop.sop("complete", run_id)
    assert workshop.sop("logs", run_id, "--step", "1").out == "\x1b[2Jno\n"
    told = workshop.sop("status", run_id, "--step", "1")
    assert "\x1b[2J" not in told.out
    assert "exit code 3: not done" in told.out


def test_another_report_while_it_runs_is_refused_and_a_driver_that_is_killed_is_followed_by_another(
    workshop: Workshop,
) -> None:
    workshop.procedure(
        "slow",
        "# Slow\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Do\n\nDo it.\n\n"
        "**Verify**: `echo once >> ran; until test -e go; do sleep 0.05; done; test -e good`\n",
    )
    run_id = workshop.started("slow")
    driving = workshop.background("complete", run_id)
    try:
        eventually((workshop.root / "ran").exists)
        told = workshop.sop("complete", run_id, "--step", "1")
        assert (told.code, "step 1 is being verified" in told.err) == (5, True)
        os.kill(driving.pid, signal.SIGKILL)
        driving.communicate(timeout=30)
    finally:
        end_process(driving)
    (workshop.root / "go").touch()
    told = workshop.sop("resume", run_id)
    assert (told.code, "not believed" in told.out) == (3, True)
    assert (workshop.root / "ran").read_text() == "once\n"


def test_a_report_to_a_paused_run_is_verified_after_the_resume(workshop: Workshop) -> None:
    run_id = a_release(workshop)
    workshop.sop("pause", run_id)
    told = workshop.sop("complete", run_id)
    assert told.code == 3
    assert "reported done, and that is still to be verified" in workshop.sop("status", run_id).out
    (workshop.root / "my notes").touch()
    assert workshop.sop("resume", run_id).code == 0


def test_a_person_may_skip_what_cannot_be_confirmed(workshop: Workshop) -> None:
    run_id = a_release(workshop)
    assert workshop.sop("skip", run_id, "--step", "1", "--reason", "nobody reads them").code == 0
    assert workshop.json("status", run_id)["stepResults"][0]["status"] == "skipped"


def test_validate_knows_what_a_verification_lacks(workshop: Workshop, monkeypatch: Any) -> None:
    monkeypatch.setenv("MY_TOKEN", "x")
    workshop.procedure(
        "release", "# R\n\n## Steps\n\n### Step 1: Do\n\nDo it.\n\n**Verify**: `curl -H $MY_TOKEN http://x`\n"
    )
    found = json.loads(workshop.sop("validate", "release", "--json").out)
    assert "variable_not_passed" in json.dumps(found)
