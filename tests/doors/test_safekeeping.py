"""`sop backup`, `sop restore`, `sop doctor --dry-run`, and a damaged database, at the command line."""

from __future__ import annotations

import json
import os
import stat

import apsw
import pytest

from .workshop import Workshop


def test_a_backup_tells_what_it_holds_and_a_restore_what_it_did(workshop: Workshop) -> None:
    workshop.steps("chain", "One | echo 1")
    run = workshop.json("run", "chain")["runId"]
    made = workshop.json("backup", "b.tar")
    assert (made["runs"], made["openRuns"]) == (1, 0)
    assert made["events"] == made["signedEvents"]
    restored = workshop.json("restore", made["path"])
    assert (restored["events"], restored["lostEvents"], restored["stoppedRuns"]) == (made["events"], 0, [])
    assert workshop.json("status", run)["status"] == "completed"
    verified = workshop.json("audit", "--verify-all")
    assert [each["backupAt"] for each in verified["restorations"]] == [made["madeAt"]]
    shown = workshop.sop("audit", "--verify-all")
    assert "from the backup of" in shown.out


def test_a_backup_is_not_written_over_and_an_older_one_is_refused_with_its_loss(workshop: Workshop) -> None:
    workshop.steps("chain", "One | echo 1")
    workshop.json("run", "chain")
    made = workshop.json("backup", "b.tar")
    again = workshop.sop("backup", "b.tar")
    assert again.code == 5
    assert "--force" in again.err
    workshop.json("run", "chain")
    refused = workshop.sop("restore", made["path"])
    assert refused.code == 5
    assert "events would be lost" in refused.err
    assert "--accept-older" in refused.err
    assert workshop.sop("restore", made["path"], "--accept-older").code == 0


def test_a_file_that_is_no_backup_is_refused(workshop: Workshop) -> None:
    workshop.steps("chain", "One | echo 1")
    workshop.json("run", "chain")
    made = workshop.json("backup", "b.tar")
    told = workshop.sop("restore", made["path"] + ".none")
    assert told.code == 2
    assert "cannot read the backup" in told.err


def test_a_dry_run_of_the_doctor_says_what_it_would_mend(workshop: Workshop) -> None:
    workshop.steps("chain", "One | echo 1")
    workshop.json("run", "chain")
    database = workshop.root / ".pi" / "sops" / "runs"
    database.chmod(0o755)
    told = workshop.json("doctor", "--dry-run", code=1)
    assert [(found["mended"], found["mendable"]) for found in told["findings"]] == [(False, True)]
    assert stat.S_IMODE(database.stat().st_mode) == 0o755
    assert "would be mended" in workshop.sop("doctor", "--dry-run").out
    assert workshop.json("doctor")["healthy"]
    assert stat.S_IMODE(database.stat().st_mode) == 0o700


def test_no_server_begins_on_a_damaged_database_and_what_can_be_read_is_shown(workshop: Workshop) -> None:
    workshop.steps("chain", "One | echo 1")
    run = workshop.json("run", "chain")["runId"]
    path = workshop.root / ".pi" / "sops" / "runs.db"
    db = apsw.Connection(str(path))
    db.pragma("wal_checkpoint", "truncate")
    (page,) = db.execute("select rootpage from sqlite_schema where name = 'runs_due'").fetchone()
    db.close()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    told = workshop.process("serve", "--once", "--json")
    assert told.code == 1
    assert "the database is damaged" in json.loads(told.out)["error"]["message"]
    assert workshop.process("status", run, "--json").json["status"] == "completed"


@pytest.mark.parametrize("left", [None, b""], ids=["gone", "empty"])
def test_a_database_that_is_gone_is_not_replaced_by_an_empty_one(workshop: Workshop, left: bytes | None) -> None:
    workshop.steps("deploy", "Act | true")
    run = workshop.started("deploy", code=0)
    kept = workshop.sop("backup", "kept.tar")
    assert kept.code == 0, kept
    for file in workshop.sops.glob("runs.db*"):
        file.unlink()
    database = workshop.sops / "runs.db"
    if left is not None:
        database.write_bytes(left)
    for verb in (("history",), ("status", run), ("inbox",), ("run", "deploy"), ("doctor",), ("audit", run)):
        told = workshop.sop(*verb)
        assert (told.code, told.out) == (1, ""), told
        assert f"is {'gone' if left is None else 'empty'}, and runs were recorded in it" in told.err
        assert "sop restore FILE" in told.err
        assert (database.read_bytes() if database.exists() else None) == left
    assert workshop.sop("restore", "kept.tar").code == 0
    assert workshop.json("history")["total"] == 1


def test_what_a_run_leaves_is_for_its_owner_alone_whatever_the_umask(workshop: Workshop) -> None:
    """The step has the umask of whoever began the run; the folders and files around it have none."""
    workshop.steps("deploy", "Act | umask; echo a=1 >> $SOP_OUTPUT")
    before = os.umask(0)
    try:
        run = workshop.process("run", "deploy", "--json").json["runId"]
    finally:
        os.umask(before)
    left = [path for path in workshop.sops.glob("runs/**/*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert left == []
    assert "0000" in workshop.sop("logs", run).out
