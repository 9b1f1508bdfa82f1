"""Steps that people carry out, what they report, and parameters: data all the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sopwith.core.procedure import sha256
from sopwith.engine.files import replace_file
from sopwith.engine.keys import Keyring
from sopwith.errors import BadName, BadParameter, BadRequest, IllegalMove, NotAllowed, NotFound
from sopwith.testing.executor import FAILED, Play

from .bench import ANN, BOB, BOT, Bench

BY_HAND = """\
# Check the oven

**Execution Mode**: auto

## Steps

### Step 1: Look inside

Open the door slowly.

### Step 2: Light it

```bash
light
```
"""


@pytest.fixture
def waiting(bench: Bench) -> str:
    """A run whose manual step is open."""
    bench.sheet("oven", BY_HAND)
    run_id = bench.run("oven").run_id
    assert bench.statuses(run_id) == ["running", "pending"]
    return run_id


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was synced to disk, in order."""
    paths: list[Path] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_a_manual_step_waits_for_its_report_and_then_goes_on(bench: Bench, waiting: str) -> None:
    assert bench.reader.inbox()["items"][0]["kind"] == "manual"
    bench.pass_time(90)
    bench.engine().complete(waiting, actor=BOT, comment="all well", output="clean")
    run = bench.drive(waiting)
    assert run.ended == "completed"
    assert (run.steps[1].comment, run.steps[1].output, run.steps[1].duration_ms) == ("all well", "clean", 90_000)


def test_a_manual_step_reported_failed_fails_the_run(bench: Bench, waiting: str) -> None:
    run = bench.engine().fail(waiting, actor=ANN, reason="it is on fire")
    assert run.ended == "failed"
    assert bench.drive(waiting).steps[1].error == "it is on fire"


def test_evidence_is_copied_and_outlives_the_original(bench: Bench, waiting: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8 an oven")
    run = bench.engine().complete(waiting, actor=ANN, evidence=(photo,))
    (kept,) = run.steps[1].evidence
    assert (kept.name, kept.sha256, kept.size_bytes) == ("photo.jpg", sha256(b"\xff\xd8 an oven"), 10)
    photo.unlink()
    assert (bench.workspace.run_folder(waiting) / "evidence" / kept.sha256).read_bytes() == b"\xff\xd8 an oven"


def test_evidence_and_key_are_on_disk_before_anything_relies_on_them(
    bench: Bench, waiting: str, tmp_path: Path, synced: list[Path]
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"an oven")
    bench.engine().complete(waiting, actor=ANN, evidence=(photo,))
    folder = bench.workspace.run_folder(waiting) / "evidence"
    copied, *folders = synced
    assert copied.parent == folder
    assert folders == [folder, *folder.parents[:3]]
    synced.clear()
    Keyring(bench.workspace.keys).conceal("hunter2")
    made, *folders = synced
    assert made.parent == bench.workspace.keys
    assert folders == [bench.workspace.keys, bench.workspace.sops]
    synced.clear()
    replace_file(tmp_path / "file", b"new")
    assert synced[1:] == [tmp_path]
    for each in (folder, bench.workspace.keys, tmp_path):
        assert not list(each.glob(".*.tmp"))


def test_two_rings_have_one_key(bench: Bench) -> None:
    first, second = Keyring(bench.workspace.keys), Keyring(bench.workspace.keys)
    assert first.conceal("hunter2") == second.conceal("hunter2")
    (key,) = bench.workspace.keys.iterdir()
    assert (key.stat().st_size, key.stat().st_mode & 0o777) == (32, 0o600)


def test_evidence_that_is_missing_reports_nothing(bench: Bench, waiting: str, tmp_path: Path) -> None:
    before = bench.names(waiting)
    with pytest.raises(BadRequest, match="evidence"):
        bench.engine().complete(waiting, actor=ANN, evidence=(tmp_path / "missing",))
    assert bench.names(waiting) == before


def test_evidence_that_is_a_folder_is_refused(bench: Bench, waiting: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="evidence"):
        bench.engine().complete(waiting, actor=ANN, evidence=(tmp_path,))


def test_a_failed_gated_step_is_done_by_hand_by_an_approver_only(bench: Bench) -> None:
    bench.world.plays[1] = [Play(result=FAILED)]
    bench.procedure("deploy", {"requiresApproval": True}, {})
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "failed"
    with pytest.raises(NotAllowed, match="it failed, and a person looks first"):
        bench.engine().complete(run_id, actor=BOT, comment="trust me")
    bench.engine().complete(run_id, actor=BOB, comment="done on the console")
    run = bench.drive(run_id)
    assert run.ended == "completed"
    assert [key[1] for key in bench.starts(run_id)] == [1, 2]


def test_skipping_needs_a_reason_and_passes_the_gate(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True}, {})
    run_id = bench.run("deploy").run_id
    with pytest.raises(BadRequest, match="reason"):
        bench.engine().skip(run_id, actor=ANN, reason="")
    bench.engine().skip(run_id, actor=ANN, reason="not needed today")
    run = bench.drive(run_id)
    assert (run.ended, run.nothing_ran) == ("completed", False)
    assert bench.statuses(run_id) == ["skipped", "completed"]


def test_a_run_whose_steps_were_all_skipped_says_so(bench: Bench) -> None:
    bench.procedure("deploy", {"requiresApproval": True})
    run_id = bench.run("deploy").run_id
    assert bench.engine().skip(run_id, actor=ANN, reason="no").nothing_ran


def test_retry_from_goes_back_and_asks_again(bench: Bench) -> None:
    bench.world.plays[3] = [Play(result=FAILED), Play()]
    bench.procedure("deploy", {}, {"requiresApproval": True}, {})
    run_id = bench.run("deploy").run_id
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "failed"
    bench.engine().retry(run_id, actor=ANN, from_step=2)
    run = bench.drive(run_id)
    assert (run.steps[2].status, run.steps[2].visit, run.steps[2].gate.revision) == ("awaiting_approval", 2, 2)
    bench.engine().approve(run_id, actor=ANN)
    assert bench.drive(run_id).ended == "completed"
    assert bench.starts(run_id)[3:] == [(run_id, 2, 2, 1), (run_id, 3, 2, 1)]


# parameters


def test_parameters_are_data_and_never_script(bench: Bench) -> None:
    bench.procedure("deploy", {"run": 'echo "$SOP_PARAM_TARGET"'})
    nasty = '"; rm -rf / #\n$(reboot)'
    run_id = bench.run("deploy", target=nasty).run_id
    (order,) = bench.world.orders.values()
    assert order.step.script.text.strip() == 'echo "$SOP_PARAM_TARGET"'
    assert order.environment["SOP_PARAM_TARGET"] == nasty
    assert json.loads(order.parameters_json) == {"target": nasty}
    assert bench.reader.status(run_id)["params"] == {"target": nasty}


def test_an_undeclared_parameter_is_refused_where_some_are_declared(bench: Bench) -> None:
    bench.procedure("deploy", {}, params=[{"name": "count", "type": "integer", "required": True}])
    with pytest.raises(BadParameter) as refused:
        bench.create("deploy", cuont="3")
    assert "did you mean count" in refused.value.message
    assert "count is required" in refused.value.message
    run_id = bench.create("deploy", count="3")
    assert bench.now(run_id).params == {"count": 3}


def test_a_step_knows_its_run_and_attempt(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.run("deploy").run_id
    (order,) = bench.world.orders.values()
    given = {name: order.environment[name] for name in ("SOP_RUN_ID", "SOP_STEP", "SOP_ATTEMPT", "SOPWITH_ACTOR_KIND")}
    assert given == {"SOP_RUN_ID": run_id, "SOP_STEP": "1", "SOP_ATTEMPT": "1", "SOPWITH_ACTOR_KIND": "agent"}
    assert order.environment["SOP_IDEMPOTENCY_KEY"] == f"{run_id}.1.1"


def test_only_listed_variables_reach_a_step(bench: Bench) -> None:
    bench.environ["AWS_SECRET"] = "hunter2"
    bench.procedure("deploy", {})
    bench.run("deploy")
    (order,) = bench.world.orders.values()
    assert "AWS_SECRET" not in order.environment
    assert order.environment["PATH"] == "/usr/bin"


# names and refusals


@pytest.mark.parametrize("name", ["../etc/passwd", "sop_run_/../x", "", "deploy"])
def test_what_is_no_run_id_is_refused_before_any_path(bench: Bench, name: str) -> None:
    with pytest.raises(BadName):
        bench.engine().complete(name, actor=ANN)
    assert not bench.workspace.runs.exists()


def test_an_unknown_run_is_not_found(bench: Bench) -> None:
    for ask in (bench.reader.status, bench.reader.audit, bench.drive):
        with pytest.raises(NotFound):
            ask("sop_run_aaaaaaaaaaaa")


def test_a_refusal_changes_nothing(bench: Bench) -> None:
    bench.procedure("deploy", {})
    run_id = bench.run("deploy").run_id
    before = bench.names(run_id)
    for verb in ("pause", "cancel", "retry", "complete", "resume"):
        with pytest.raises(IllegalMove, match=run_id):
            getattr(bench.engine(), verb)(run_id, actor=ANN)
    assert bench.names(run_id) == before


def test_a_refused_report_leaves_no_copy_of_its_evidence(bench: Bench, waiting: str, tmp_path: Path) -> None:
    file = tmp_path / "shot.png"
    file.write_bytes(b"x")
    bench.engine().complete(waiting, actor=ANN)
    bench.drive(waiting)
    with pytest.raises(IllegalMove):
        bench.engine().complete(waiting, actor=ANN, step=1, evidence=(file,))
    assert not (bench.workspace.run_folder(waiting) / "evidence").exists()
