"""The record through the command: signed as runs go on, verified, exported, and dropped when its time has come."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from sopwith.clock import SystemClock
from sopwith.core.instant import Instant

from .test_completion import completed
from .workshop import Workshop

TOOL = Path(__file__).parents[2] / "tools" / "verify_audit.py"
GATED = ("Look | echo looked", "?Act | echo acted")


@pytest.fixture
def run(workshop: Workshop) -> str:
    """A run that was approved and has completed."""
    workshop.steps("gated", *GATED)
    run = workshop.started("gated")
    workshop.json("approve", run, "--comment", "looks right")
    return run


def configure(workshop: Workshop, **keys: Any) -> None:
    (workshop.sops / "config.json").write_text(json.dumps(keys))


def by_hand(workshop: Workshop, *statements: str) -> None:
    db = apsw.Connection(str(workshop.sops / "runs.db"))
    for statement in statements:
        db.execute(statement)
    db.close()


def copy_of(workshop: Workshop, path: Path) -> Path:
    path.write_bytes((workshop.sops / "runs" / "checkpoints.jsonl").read_bytes())
    return path


def later(monkeypatch: pytest.MonkeyPatch, **delta: int) -> None:
    """The clock goes on by so much."""
    now = SystemClock.now

    def shifted(clock: SystemClock) -> Instant:
        return msgspec.structs.replace(now(clock), at=now(clock).at + timedelta(**delta))

    monkeypatch.setattr(SystemClock, "now", shifted)


# signing


def test_every_drive_and_every_decision_that_nobody_drives_is_signed_for(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    lines = workshop.sops / "runs" / "checkpoints.jsonl"
    run = workshop.started("gated")
    assert len(lines.read_text().splitlines()) == 1
    workshop.json("pause", run)
    assert len(lines.read_text().splitlines()) == 2
    for verb in ("status", "audit", "logs"):
        workshop.json(verb, run)
    workshop.json("history")
    workshop.json("inbox")
    assert len(lines.read_text().splitlines()) == 2
    workshop.json("cancel", run)
    assert len(lines.read_text().splitlines()) == 3
    report = workshop.json("audit", "--verify-all")
    assert (report["fine"], report["unsigned"]) == (True, 0)


def test_a_missing_share_is_a_warning_once_a_command_and_changes_no_exit_code(workshop: Workshop) -> None:
    workshop.steps("gated", *GATED)
    configure(workshop, checkpointCopies=["nowhere/copy.jsonl"])
    told = workshop.sop("run", "gated")
    assert told.code == 3
    run = workshop.run_id("gated")
    assert told.err.count("nowhere/copy.jsonl") == 1
    assert told.err.startswith("warning: ")
    told = workshop.sop("approve", run, "--json")
    assert told.code == 0
    assert json.loads(told.out)["run"]["status"] == "completed"
    assert told.err.count("nowhere/copy.jsonl") == 1
    assert workshop.sop("status", run).err == ""


def test_a_log_that_was_cut_short_is_told_at_every_command_and_runs_go_on(workshop: Workshop, run: str) -> None:
    by_hand(workshop, "pragma foreign_keys = off", "delete from events", "delete from runs", "delete from checkpoints")
    told = workshop.sop("run", "gated")
    assert told.code == 3
    assert "warning: cannot sign the log" in told.err


# verifying


def test_a_sound_run_and_a_sound_log_are_told_as_such(workshop: Workshop, run: str, tmp_path: Path) -> None:
    told = workshop.sop("audit", run, "--verify")
    assert told.code == 0
    assert f"{run}: " in told.out
    assert "inside the workspace" in told.out
    assert "without a checkpoint from outside" in told.out
    copy = copy_of(workshop, tmp_path / "kept.jsonl")
    told = workshop.sop("audit", "--verify-all", "--checkpoint", str(copy))
    assert told.code == 0
    assert f"compared with {copy} (outside): agrees up to event" in told.out
    assert "without a checkpoint from outside" not in told.out
    document = workshop.json("audit", run, "--verify", "--checkpoint", str(copy))
    assert (document["fine"], document["firstBad"], document["runId"]) == (True, None, run)
    assert [(each["outside"], each["problem"]) for each in document["copies"]] == [(False, ""), (True, "")]
    assert document["trustedSize"] == document["signedSize"] == document["logSize"]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "update events set payload = cast(replace(payload, 'looks right', 'looks wrong') as blob)",
            "not what its hash",
        ),
        ("update events set payload = null where seq = 3", "no valid tombstone"),
        ("update events set hash = randomblob(32) where seq = 3", "not what its hash says"),
        ("delete from events where seq = 3", "it"),
        ("update runs set head = randomblob(32)", "row names as the last"),
        ("update checkpoints set frontier = zeroblob(length(frontier))", "frontier was changed"),
        ("delete from contents", "is missing"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_was_changed_is_named_and_the_exit_code_is_1(
    workshop: Workshop, run: str, statement: str, says: str, whole: bool
) -> None:
    by_hand(workshop, statement)
    args = ["audit", "--verify-all"] if whole else ["audit", run, "--verify"]
    told = workshop.sop(*args)
    assert told.code == 1
    assert says in told.out
    document = workshop.json(*args, code=1)
    assert document["success"]
    assert not document["fine"]
    assert says in document["firstBad"]["what"]
    if "events" in statement:
        assert document["firstBad"]["runId"] == run
        assert document["firstBad"]["seq"] >= 1
        assert document["firstBad"]["position"] is not None or not whole


def test_a_restored_database_is_found_with_a_copy_from_outside(workshop: Workshop, run: str, tmp_path: Path) -> None:
    old = {path: path.read_bytes() for path in workshop.sops.rglob("*") if path.is_file()}
    workshop.started("gated")
    copy = copy_of(workshop, tmp_path / "kept.jsonl")
    for path in workshop.sops.glob("runs.db*"):
        path.unlink()
    for path, data in old.items():
        path.write_bytes(data)
    assert workshop.json("audit", "--verify-all")["fine"]
    document = workshop.json("audit", "--verify-all", "--checkpoint", str(copy), code=1)
    assert "restored from an old copy" in document["firstBad"]["what"]


@pytest.mark.parametrize(
    "args",
    [
        ["audit"],
        ["audit", "--verify"],
        ["audit", "RUN", "--verify-all"],
        ["audit", "RUN", "--checkpoint", "x"],
        ["audit", "exports"],
        ["audit", "export"],
        ["audit", "export", "--to", "x"],
        ["audit", "export", "RUN", "--all", "--to", "x"],
        ["audit", "export", "--since", "yesterday", "--to", "x"],
    ],
)
def test_what_is_asked_for_must_be_clear(workshop: Workshop, run: str, args: list[str]) -> None:
    told = workshop.sop(*[run if arg == "RUN" else arg for arg in args])
    assert told.code == 2
    assert told.err.startswith("error: ")


@pytest.mark.parametrize("args", [["audit", "--verify-all"], ["audit", "export", "--all", "--to", "x"]])
def test_where_nothing_was_run_there_is_nothing_to_verify_and_no_database_is_made(
    workshop: Workshop, args: list[str]
) -> None:
    """A database that somebody removed must not look like a sound one."""
    assert workshop.json(*args, code=6)["error"]["code"] == "not_found"
    assert not (workshop.sops / "runs.db").exists()


# exporting


def test_a_bundle_from_the_command_verifies_without_sopwith(workshop: Workshop, run: str, tmp_path: Path) -> None:
    copy = copy_of(workshop, tmp_path / "kept.jsonl")
    workshop.started("gated")
    document = workshop.json("audit", "export", run, "--to", "bundle", "--checkpoint", str(copy))
    assert document["runs"] == 1
    folder = workshop.root / "bundle"
    assert "looks right" in (folder / "index.html").read_text()
    argv = [sys.executable, "-I", "-S", str(TOOL), str(folder), "--checkpoint", str(copy)]
    argv += ["--key", document["publicKey"]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "not proven: that what was recorded is true" in done.stdout
    told = workshop.sop("audit", "export", run, "--to", "bundle")
    assert told.code == 2
    assert "not empty" in told.err


@pytest.mark.parametrize(("args", "runs"), [(["--all"], 2), (["--since", "2020-01-31"], 2)])
def test_runs_for_a_bundle_can_be_chosen(workshop: Workshop, run: str, args: list[str], runs: int) -> None:
    workshop.started("gated")
    assert workshop.json("audit", "export", *args, "--to", "bundle")["runs"] == runs
    assert workshop.json("audit", "export", "--since", "2999-01-01", "--to", "other", code=6)
    assert not (workshop.root / "other").exists()


def test_help_and_completion_know_the_second_words(workshop: Workshop, run: str) -> None:
    assert "audit export" in workshop.sop("--help").out
    assert "Usage: sop audit export [OPTIONS] [RUN]..." in workshop.sop("audit", "export", "--help").out
    assert "Usage: sop audit [OPTIONS] [RUN]" in workshop.sop("audit", "--help").out
    assert completed(workshop, "sop", "aud") == ["plain,audit"]
    assert completed(workshop, "sop", "audit", "") == ["plain,export", "plain,prune", f"plain,{run}"]
    assert completed(workshop, "sop", "audit", "ex") == ["plain,export"]
    assert completed(workshop, "sop", "audit", "export", "sop_") == [f"plain,{run}"]
    assert "plain,--dry-run" in completed(workshop, "sop", "audit", "prune", "--d")


def test_a_run_that_nothing_knows_is_not_found(workshop: Workshop, run: str) -> None:
    told = workshop.json("audit", "sop_run_xxxxxxxxxxxx", "--verify", code=6)
    assert told["error"]["code"] == "not_found"
    told_in_words = workshop.sop("audit", "sop_run_xxxxxxxxxxxx", "--verify")
    assert "evidence" not in told_in_words.out + told_in_words.err
    assert "sop audit --verify-all finds what was removed" in told_in_words.err


def test_it_says_that_lists_are_not_compared(workshop: Workshop, run: str) -> None:
    by_hand(workshop, "update runs set status = 'failed'")
    told = workshop.sop("audit", "--verify-all")
    assert told.code == 0
    assert "not compared here: sop doctor does" in told.out
    assert workshop.json("audit", "--verify-all")["summariesCompared"] is False
    assert "did not say what its events do" in workshop.sop("doctor").out


# dropping


@pytest.fixture
def pruned(workshop: Workshop, run: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The run, after its time; a younger one waits."""
    configure(workshop, auditRetentionDays=30)
    with monkeypatch.context() as patch:
        later(patch, days=31)
        assert [each["runId"] for each in workshop.json("audit", "prune", "--dry-run")["runs"]] == [run]
        assert workshop.json("audit", run)["events"][0]["type"] == "run_created"
        assert [each["runId"] for each in workshop.json("audit", "prune")["runs"]] == [run]
    return run


def test_pruning_is_refused_to_agents_and_idle_without_days(
    workshop: Workshop, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workshop.json("audit", "prune")["auditRetentionDays"] is None
    configure(workshop, auditRetentionDays=30)
    assert workshop.json("audit", "prune")["runs"] == []
    later(monkeypatch, days=31)
    monkeypatch.setenv("SOPWITH_ACTOR_KIND", "agent")
    assert workshop.json("audit", "prune", code=5)["error"]["code"] == "not_allowed"
    assert workshop.json("audit", run)["events"][0]["type"] == "run_created"


def access_entries(workshop: Workshop) -> list[str]:
    """The types of the entries of the server's own log, the newest first."""
    return [entry["type"] for entry in workshop.json("token", "log")["entries"]]


@pytest.fixture
def logged(workshop: Workshop, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own log has three old entries, and their time has come."""
    for name in ("ann", "bob", "eve"):
        workshop.json("token", "create", name, "--role", "viewer")
    configure(workshop, accessLogRetentionDays=30)
    later(monkeypatch, days=31)


def test_the_servers_own_log_is_pruned_and_all_goes_on_being_proven(
    workshop: Workshop, logged: None, run: str, tmp_path: Path
) -> None:
    would = workshop.json("audit", "prune", "--dry-run")
    assert (would["accessLogRetentionDays"], would["accessEntries"], would["runs"]) == (30, 3, [])
    assert access_entries(workshop) == ["token_created"] * 3
    told = workshop.sop("audit", "prune").out
    assert "3 entries of the server's own log dropped; a signed statement there says so" in told
    assert access_entries(workshop) == ["pruned"]
    assert workshop.json("doctor")["healthy"] is True
    assert workshop.sop("audit", "--verify-all").code == 0
    assert workshop.sop("audit", "export", run, "--to", str(tmp_path / "bundle")).code == 0
    assert workshop.json("audit", "prune")["accessEntries"] == 0
    by_hand(workshop, "update access set payload = cast(replace(cast(payload as text), ':30', ':31') as blob)")
    (finding,) = workshop.json("doctor", code=1)["findings"]
    assert "on what was dropped, is not valid" in finding["message"]


def test_the_server_prunes_its_own_log_by_itself(workshop: Workshop, logged: None) -> None:
    told = workshop.sop("serve", "--once")
    assert "dropped 3 entries of its own log, as accessLogRetentionDays says" in told.out + told.err
    assert access_entries(workshop) == ["pruned"]


def test_no_agent_prunes_the_servers_own_log(workshop: Workshop, logged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPWITH_ACTOR_KIND", "agent")
    assert workshop.json("audit", "prune", code=5)["error"]["code"] == "not_allowed"
    monkeypatch.delenv("SOPWITH_ACTOR_KIND")
    assert len(access_entries(workshop)) == 3


@pytest.mark.parametrize(
    "args",
    [
        ["status", "RUN"],
        ["status", "RUN", "--step", "1"],
        ["status", "RUN", "--watch"],
        ["logs", "RUN"],
        ["logs", "RUN", "--follow"],
        ["retry", "RUN"],
        ["resume", "RUN"],
        ["approve", "RUN"],
        ["approve", "RUN", "--show"],
        ["reject", "RUN", "--reason", "x"],
        ["skip", "RUN", "--reason", "x"],
        ["complete", "RUN"],
        ["fail", "RUN", "--reason", "x"],
        ["pause", "RUN"],
        ["cancel", "RUN"],
    ],
)
def test_every_verb_says_that_a_record_was_dropped_when_and_why(
    workshop: Workshop, pruned: str, args: list[str]
) -> None:
    told = workshop.sop(*[pruned if arg == "RUN" else arg for arg in args])
    assert told.code == 6
    assert "its record was dropped on " in told.err
    assert "after 30 days, by auditRetentionDays; its hashes are kept" in told.err
    assert f"sop audit {pruned} shows what is left" in told.err


def test_what_is_left_of_a_dropped_run_is_shown_and_still_verifies(workshop: Workshop, pruned: str) -> None:
    told = workshop.sop("audit", pruned)
    assert told.code == 0
    assert "its record was dropped on " in told.out
    assert "content gone, hash " in told.out
    document = workshop.json("audit", pruned)
    assert document["dropped"]["days"] == 30
    assert all(event["contentGone"] for event in document["events"])
    assert workshop.json("audit", "--verify-all")["dropped"] == len(document["events"])
    assert workshop.json("audit", pruned, "--verify")["fine"]
    assert [each["runId"] for each in workshop.json("history")["runs"]] == [pruned]
    assert workshop.json("inbox")["items"] == []
    assert workshop.json("doctor") == {"success": True, "findings": [], "healthy": True}
    assert not [path for path in (workshop.sops / "runs").iterdir() if path.name.startswith("sop_run")]
    assert workshop.json("audit", "export", pruned, "--to", "bundle")["events"] == len(document["events"])
    argv = [sys.executable, "-I", "-S", str(TOOL), str(workshop.root / "bundle")]
    assert subprocess.run(argv, capture_output=True, timeout=60).returncode == 0
    assert "dropped by retention" in (workshop.root / "bundle" / "index.html").read_text()


def test_the_procedure_of_a_dropped_run_can_be_run_again(workshop: Workshop, pruned: str) -> None:
    assert workshop.started("gated") != pruned
