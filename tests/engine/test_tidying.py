"""`sop doctor` tidies what dead processes left behind, tells what it did, and in a dry run does none of it."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from sopwith.engine.doctor import examine
from sopwith.engine.findings import Finding
from sopwith.ports import LEASE
from sopwith.stores import mounts, surroundings
from sopwith.testing.memory import MemoryStore
from sopwith.testing.samples import owner

from .bench import ANN, Bench


@pytest.fixture
def run_id(bench: Bench) -> str:
    bench.procedure("deploy", {}, {"requiresApproval": True})
    bench.workspace.runs.mkdir(mode=0o700)
    return bench.run("deploy").run_id


def told(bench: Bench, words: str, *, mend: bool = True) -> list[Finding]:
    return [finding for finding in examine(bench.engine(), mend=mend) if words in finding.message]


def old(path: Path, bench: Bench, **age: float) -> Path:
    at = (bench.clock.now().at - timedelta(**age)).timestamp()
    os.utime(path, (at, at))
    return path


def claim_and_die(bench: Bench, run_id: str, **fields: str) -> None:
    dead = msgspec.structs.replace(owner("dead"), **fields)
    assert MemoryStore(bench.store).claim(run_id, dead, bench.clock.now().at) is not None
    bench.store.kill("dead")


def test_the_claim_of_a_dead_process_is_given_back(bench: Bench, run_id: str) -> None:
    claim_and_die(bench, run_id)
    (found,) = told(bench, "is gone", mend=False)
    assert (found.mended, found.mendable) == (False, True)
    assert bench.store.lease(run_id) is not None
    (found,) = told(bench, f"process 4711 on here, which had claimed {run_id}, is gone")
    assert found.mended
    assert bench.store.lease(run_id) is None
    assert told(bench, "is gone") == []


def test_the_claim_of_a_living_process_is_left_alone(bench: Bench, run_id: str) -> None:
    living = MemoryStore(bench.store)
    assert living.claim(run_id, owner("living"), bench.clock.now().at) is not None
    assert told(bench, "is gone") == []
    assert bench.store.holder(run_id) == owner("living")


def test_a_claim_of_another_host_is_left_alone_until_its_lease_is_over(bench: Bench, run_id: str) -> None:
    claim_and_die(bench, run_id, host="far", boot_id="boot-9")
    assert told(bench, "is gone", mend=False) == told(bench, "is gone") == []
    bench.pass_time(LEASE.total_seconds())
    assert [finding.mended for finding in told(bench, "is gone")] == [True]


def test_old_drafts_go_and_fresh_ones_stay(bench: Bench, run_id: str) -> None:
    left = old_draft = bench.workspace.sops / ".0123.tmp"
    old_draft.touch()
    folder = bench.workspace.runs / ".restore-abc"
    folder.mkdir()
    (folder / "runs.db").touch()
    fresh = bench.workspace.runs / ".x.draft"
    fresh.touch()
    old(fresh, bench, hours=1)
    for path in (left, folder):
        old(path, bench, days=2)
    assert [finding.mended for finding in told(bench, "drafts were left", mend=False)] == [False]
    assert left.exists()
    (found,) = told(bench, "drafts were left behind by processes that died: .0123.tmp, .restore-abc: removed")
    assert found.mended
    assert not left.exists()
    assert not folder.exists()
    assert fresh.exists()


def test_raw_output_that_may_hold_secrets_goes_when_the_run_has_ended(bench: Bench, run_id: str) -> None:
    launch = bench.workspace.run_folder(run_id) / "step-1.1.1" / "0"
    launch.mkdir(parents=True)
    for name in ("given", "spool", "params.secret.json", "masked"):
        (launch / name).write_text("raw")
    assert told(bench, "raw output") == [], "the run has not ended"
    bench.engine().cancel(run_id, actor=ANN)
    assert [finding.mended for finding in told(bench, "raw output")] == [True]
    assert sorted(path.name for path in launch.iterdir()) == ["given", "masked"]


def test_raw_output_of_a_run_that_has_ended_goes_once_there_is_a_log(bench: Bench, run_id: str) -> None:
    launch = bench.workspace.run_folder(run_id) / "step-1.1.1" / "0"
    launch.mkdir(parents=True)
    (launch / "spool").write_text("raw")
    assert told(bench, "raw output") == [], "the run has not ended"
    bench.engine().cancel(run_id, actor=ANN)
    assert told(bench, "raw output") == [], "no log has been made from it: it is all there is"
    (launch.parent / "output.log").write_text("raw")
    assert [finding.mended for finding in told(bench, "raw output", mend=False)] == [False]
    assert [finding.mended for finding in told(bench, f"raw output of {run_id} was left behind: spool: removed")] == [
        True
    ]
    assert not (launch / "spool").exists()
    assert (launch.parent / "output.log").read_text() == "raw"


def test_what_others_could_read_is_closed_to_them(bench: Bench, run_id: str) -> None:
    bench.workspace.keys.mkdir(exist_ok=True)
    key = bench.workspace.keys / "checkpoint.key"
    key.write_bytes(b"x" * 32)
    key.chmod(0o644)
    bench.workspace.keys.chmod(0o755)
    assert len(told(bench, "others could look into", mend=False)) == 2
    assert stat.S_IMODE(key.stat().st_mode) == 0o644
    assert all(finding.mended for finding in told(bench, "others could look into"))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(bench.workspace.keys.stat().st_mode) == 0o700


def test_events_of_the_future_are_told(bench: Bench, run_id: str) -> None:
    assert told(bench, "and the clock says") == []
    stored = bench.store.summary(run_id)
    assert stored is not None
    ahead = msgspec.structs.replace(stored, updated_at=bench.clock.now().at + timedelta(hours=2))
    bench.store._shelf.runs[run_id].summary = ahead
    assert len(told(bench, "and the clock says")) == 1


def test_a_dry_run_changes_no_summary_and_registers_nothing(bench: Bench, run_id: str) -> None:
    bench.sheet("bake", "# Bake\n\n## Steps\n\n### Step 1: Mix\n\nMix.\n")
    before = bench.workspace.index.read_bytes()
    assert [finding.mendable for finding in told(bench, "index.json lacked bake", mend=False)] == [True]
    assert bench.workspace.index.read_bytes() == before
    assert [finding.mended for finding in told(bench, "index.json lacked bake")] == [True]


def test_what_surrounds_the_database_is_told(bench: Bench, run_id: str) -> None:
    found = examine(bench.engine(), around=[("the disk is nearly full", "make room")])
    assert any(finding.hint == "make room" and not finding.mendable for finding in found)


def test_little_room_few_inodes_a_large_wal_and_a_doubtful_disk_are_troubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "runs.db"
    assert list(surroundings.troubles(database)) == []
    monkeypatch.setattr(surroundings, "LEAST_BYTES", 2**62)
    monkeypatch.setattr(surroundings, "LEAST_FILES", 2**62)
    monkeypatch.setattr(surroundings, "LARGEST_WAL_BYTES", 10)
    told = tmp_path / "mountinfo"
    told.write_text("27 1 254:0 / / rw - virtiofs lent rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", told)
    (tmp_path / "runs.db-wal").write_bytes(b"x" * 11)
    words = " ".join(message for message, hint in surroundings.troubles(database) if hint)
    for part in ("MiB left", "more files", "virtiofs", "runs.db-wal has grown"):
        assert part in words
