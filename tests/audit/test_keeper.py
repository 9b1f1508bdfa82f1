"""The keeper of a workspace's log: where it signs, what it compares with, and what it drops."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.audit.given import ANN, Ledger, batches, put, run_id

from sopwith.assembly import open_keeper
from sopwith.audit.keeper import Keeper
from sopwith.audit.places import lines
from sopwith.audit.sealing import Sealer
from sopwith.audit.statements import Checkpoint, Tombstone, read
from sopwith.core.actor import SYSTEM, Actor, ActorKind
from sopwith.core.config import Config, Role
from sopwith.core.people import RIGHTS, Right
from sopwith.core.run import RunStatus
from sopwith.errors import BadRequest, NotAllowed, NotFound, Refused
from sopwith.ports import Workspace
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START

NOW = START + timedelta(days=400)
BOT = Actor("bot", ActorKind.AGENT, "mcp")


class Place(Ledger):
    """The record of a workspace, in the files that the workspace has."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.workspace.runs.mkdir(parents=True, exist_ok=True)
        super().__init__(self.workspace.sops)
        self.config: Any = Config()
        self.sealer = Sealer(self.store.log, self.workspace, lambda: self.config)
        self.keeper = Keeper(self.store, self.workspace, lambda: self.config)

    def end(self, number: int, days_ago: int, **fields: Any) -> None:
        """A run that ended so many days ago."""
        at = NOW - timedelta(days=days_ago)
        for batch in batches(number, at=at):
            ended = {"ended_at": at} if batch.summary.status is RunStatus.COMPLETED else {}
            summary = msgspec.structs.replace(batch.summary, **ended, **fields)
            put(self.store, msgspec.structs.replace(batch, summary=summary))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "w")
    yield place
    place.store.close()


def sizes(path: Path) -> list[int]:
    return [read(Checkpoint, line).size for _, line in lines(path)]


# where it signs


def test_a_checkpoint_goes_to_the_workspace_and_to_every_place_of_the_config(place: Place, tmp_path: Path) -> None:
    place.config = Config(checkpoint_copies=("copies.jsonl", str(tmp_path / "share.jsonl"), "copies.jsonl"))
    place.fill(4)
    assert place.sealer.seal(START) == ()
    assert sizes(place.local) == sizes(place.workspace.root / "copies.jsonl") == sizes(tmp_path / "share.jsonl") == [40]
    assert place.sealer.seal(START) == ()


def test_the_key_is_made_at_first_need_under_keys_which_git_ignores(place: Place) -> None:
    assert not place.workspace.keys.exists()
    place.fill(1)
    place.sealer.seal(START)
    key = place.workspace.keys / "checkpoint.key"
    assert key.stat().st_mode & 0o777 == 0o600
    from sopwith.engine.template import leave_gitignore

    leave_gitignore(place.workspace)
    root = place.workspace.root
    for command in (["git", "init", "-q"], ["git", "check-ignore", "-q", str(key)]):
        assert subprocess.run(command, cwd=root).returncode == 0


def test_a_place_that_is_not_there_is_told_by_its_name(place: Place, tmp_path: Path) -> None:
    place.config = Config(checkpoint_copies=(str(tmp_path / "unmounted" / "c.jsonl"), "also/missing"))
    place.fill(1)
    told = place.sealer.seal(START)
    assert [str(tmp_path / "unmounted") in told[0], "also/missing" in told[1], len(told)] == [True, True, 2]
    assert sizes(place.local) == [10]


def test_a_file_with_something_else_in_it_is_never_touched(place: Place, tmp_path: Path) -> None:
    """`checkpointCopies: ["README.md"]` by mistake: a torn last line would be cut off."""
    for text in ("# Read me", "# Read me\nmore", '{"format":"sopwith/bundle/1"}\n'):
        (tmp_path / "mine").write_text(text)
        place.config = Config(checkpoint_copies=(str(tmp_path / "mine"),))
        put(place.store, batches(len(text))[0])
        (told,) = place.sealer.seal(START)
        assert "holds something else" in told
        assert (tmp_path / "mine").read_text() == text


def test_a_copy_that_vanished_is_told_when_it_begins_anew(place: Place) -> None:
    place.fill(1)
    assert place.sealer.seal(START) == ()
    place.local.unlink()
    put(place.store, batches(5)[0])
    (told,) = place.sealer.seal(START + timedelta(minutes=2))
    assert "though there were some before" in told
    assert sizes(place.local) == [15]


def test_a_copy_that_another_process_is_about_to_write_is_not_missed(place: Place) -> None:
    place.fill(1)
    assert place.sealer.seal(START) == ()
    place.local.unlink()
    put(place.store, batches(5)[0])
    assert place.sealer.seal(START + timedelta(seconds=2)) == ()


def test_a_config_that_cannot_be_read_is_told_and_the_log_is_signed_all_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path)

    def broken() -> Config:
        raise BadRequest("config.json has errors")

    place.fill(1)
    (told,) = Sealer(place.store.log, place.workspace, broken).seal(START)
    assert "config.json has errors" in told
    assert sizes(place.local) == [10]
    verified = Keeper(place.store, place.workspace, broken).verify()
    assert verified.report.fine
    assert "config.json has errors" in verified.problems[0]


def spellings(place: Place, tmp_path: Path) -> dict[str, str]:
    """The workspace's own file by other names."""
    (tmp_path / "door").symlink_to(place.workspace.sops)
    (tmp_path / "link.jsonl").symlink_to(place.local)
    (tmp_path / "hard.jsonl").hardlink_to(place.local)
    return {
        "dots": ".pi/sops/keys/../runs/checkpoints.jsonl",
        "folder": str(tmp_path / "door" / "runs" / "checkpoints.jsonl"),
        "symlink": str(tmp_path / "link.jsonl"),
        "hardlink": str(tmp_path / "hard.jsonl"),
    }


@pytest.mark.parametrize("how", ["dots", "folder", "symlink", "hardlink"])
def test_its_own_file_by_another_name_is_one_place_and_not_trusted(place: Place, tmp_path: Path, how: str) -> None:
    place.fill(1)
    place.sealer.seal(START)
    name = spellings(place, tmp_path)[how]
    place.config = Config(checkpoint_copies=(name,))
    place.fill(1, first=2)
    (told,) = place.sealer.seal(START)
    assert name in told
    assert "inside the workspace" in told
    assert sizes(place.local) == [10, 20]
    for brought in ([], [place.workspace.root / name]):
        verified = place.keeper.verify(brought=brought)
        assert verified.problems == (told,)
        assert verified.report.fine
        assert (verified.report.signed_size, verified.report.trusted_size) == (20, 0)
        assert [copy.trusted for copy in verified.copies] == [False] * (1 + len(brought))


def test_a_second_file_inside_is_written_warned_of_and_not_trusted(place: Place, tmp_path: Path) -> None:
    (tmp_path / "away").symlink_to(place.workspace.sops)
    place.config = Config(checkpoint_copies=(".pi/sops/copy.jsonl", str(tmp_path / "away" / "copy.jsonl")))
    place.fill(1)
    told = place.sealer.seal(START)
    assert ["inside the workspace" in each for each in told] == [True, True]
    assert sizes(place.workspace.sops / "copy.jsonl") == [10]
    (tmp_path / "hard.jsonl").hardlink_to(place.workspace.sops / "copy.jsonl")
    (tmp_path / "soft.jsonl").symlink_to(place.workspace.sops / "copy.jsonl")
    for brought in (place.workspace.sops / "copy.jsonl", tmp_path / "hard.jsonl", tmp_path / "soft.jsonl"):
        verified = place.keeper.verify(brought=[brought])
        assert (verified.report.fine, verified.report.trusted_size) == (True, 0)


def test_a_link_that_leads_inside_is_not_trusted(place: Place, tmp_path: Path) -> None:
    place.fill(1)
    place.sealer.seal(START)
    (place.workspace.sops / "other.jsonl").write_bytes(place.local.read_bytes())
    (tmp_path / "soft.jsonl").symlink_to(place.workspace.sops / "other.jsonl")
    assert place.keeper.verify(brought=[tmp_path / "soft.jsonl"]).report.trusted_size == 0


def test_two_names_of_one_copy_outside_are_one_place(place: Place, tmp_path: Path) -> None:
    (tmp_path / "share.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to("share.jsonl")
    place.config = Config(checkpoint_copies=(str(tmp_path / "share.jsonl"), str(tmp_path / "link.jsonl")))
    place.fill(1)
    assert place.sealer.seal(START) == ()
    assert sizes(tmp_path / "share.jsonl") == [10]
    assert place.keeper.verify().report.trusted_size == 10


def test_a_place_that_somebody_keeps_is_a_warning_and_holds_nothing_up(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sopwith.turns.PATIENCE_SECS", 0.0)
    share = tmp_path / "share.jsonl"
    place.config = Config(checkpoint_copies=(str(share),))
    place.fill(1)
    with share.open("wb") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        (told,) = place.sealer.seal(START)
        assert told == f"cannot write to {share}: another process keeps it"
    assert (sizes(place.local), sizes(share)) == ([10], [])
    place.fill(1, first=2)
    place.sealer.seal(START)
    assert sizes(share) == [20]


# what it compares with


def test_verification_tells_how_far_which_copies_reach(place: Place, tmp_path: Path) -> None:
    share, brought = tmp_path / "share.jsonl", tmp_path / "brought.jsonl"
    place.config = Config(checkpoint_copies=(str(share), str(tmp_path / "gone" / "x")))
    place.fill(1)
    place.sealer.seal(START)
    brought.write_bytes(place.local.read_bytes())
    place.fill(1, first=2)
    place.sealer.seal(START)
    put(place.store, batches(7)[0])
    verified = place.keeper.verify(brought=[brought])
    report = verified.report
    assert report.fine
    assert (report.log_size, report.signed_size, report.trusted_size, report.unsigned) == (25, 20, 20, 5)
    assert [(copy.name, copy.trusted, copy.size, bool(copy.problem)) for copy in verified.copies] == [
        (str(place.local), False, 20, False),
        (str(share), True, 20, False),
        (str(brought), True, 10, False),
        (str(tmp_path / "gone" / "x"), True, 0, True),
    ]


def test_what_lies_inside_the_workspace_is_not_trusted(place: Place) -> None:
    place.fill(1)
    place.sealer.seal(START)
    report = place.keeper.verify().report
    assert (report.signed_size, report.trusted_size) == (10, 0)


def test_a_copy_inside_that_disagrees_is_found_all_the_same(place: Place) -> None:
    place.fill(4)
    place.sealer.seal(START)
    place.by_hand("delete from checkpoints", "update events set hash = randomblob(32) where position = 7")
    assert not place.keeper.verify().report.fine


def test_a_brought_copy_that_cannot_be_read_is_a_finding(place: Place, tmp_path: Path) -> None:
    place.fill(1)
    assert "cannot be read" in str(place.keeper.verify(brought=[tmp_path / "nothing"]).report.first_bad)


def test_a_restored_database_is_found_with_a_copy_that_lies_outside(place: Place, tmp_path: Path) -> None:
    place.fill(1)
    place.sealer.seal(START)
    place.store.close()
    old = {path.name: path.read_bytes() for path in place.workspace.sops.rglob("*") if path.is_file()}
    place = Place(place.workspace.root)
    place.fill(1, first=2)
    place.sealer.seal(START)
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(place.local.read_bytes())
    place.store.close()
    for path in place.workspace.sops.rglob("*"):
        if path.name in old:
            path.write_bytes(old[path.name])
    place = Place(place.workspace.root)
    assert place.keeper.verify().report.fine
    found = place.keeper.verify(brought=[outside]).report.first_bad
    assert found is not None
    assert found.position == 11
    assert "restored from an old copy" in found.what


_WRITER = """
import sys
from pathlib import Path
from datetime import timedelta
from tests.audit.given import batches, put
from sopwith.audit.sealing import Sealer
from sopwith.core.config import Config
from sopwith.ports import Workspace
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import START

workspace = Workspace(Path(sys.argv[1]))
store = SqliteStore(workspace.database)
sealer = Sealer(store.log, workspace, lambda: Config(checkpoint_copies=(sys.argv[2],)))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3]), int(sys.argv[3]) + 60):
    for batch in batches(number):
        put(store, batch)
        assert sealer.seal(START) == (), number
store.close()
"""


def test_a_log_that_is_being_written_and_signed_gives_no_false_alarm(tmp_path: Path) -> None:
    """From before the first checkpoint and the first key, with the copies that the writers write to."""
    workspace = Workspace(tmp_path / "w")
    workspace.runs.mkdir(parents=True)
    share = tmp_path / "share.jsonl"
    workspace.config.write_text(json.dumps({}))
    SqliteStore(workspace.database).close()
    argv = [sys.executable, "-c", _WRITER, str(workspace.root), str(share)]
    writers = [
        subprocess.Popen([*argv, str(first)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for first in (0, 1000)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    looks = 0
    config = Config(checkpoint_copies=(str(share),))
    while any(writer.poll() is None for writer in writers) or not looks:
        store = SqliteStore(workspace.database)
        verified = Keeper(store, workspace, lambda: config).verify()
        assert verified.report.fine, verified.report.first_bad
        store.close()
        looks += 1
    assert [writer.communicate(timeout=60)[0] for writer in writers] == ["", ""]
    assert [writer.returncode for writer in writers] == [0, 0]
    with open_keeper(workspace) as keeper:
        report = keeper.verify(brought=[share]).report
    assert (report.events, report.signed_size, report.trusted_size) == (1200, 1200, 1200)
    assert looks > 3


def test_the_store_that_others_write_with_is_not_held_up_by_a_verification(place: Place) -> None:
    """It reads on a store of its own."""
    place.fill(4)
    written = threading.Event()
    with open_keeper(place.workspace) as keeper:
        reading = keeper._shelf.log.reading()
        with reading:
            writer = threading.Thread(target=lambda: (put(place.store, batches(9)[0]), written.set()))
            writer.start()
            assert written.wait(20)
            writer.join()


# what it drops


def test_nothing_is_dropped_while_no_days_are_set(place: Place) -> None:
    place.end(1, days_ago=399)
    assert place.keeper.retain(NOW).runs == ()
    assert list(place.log.tombstones()) == []


def test_what_is_older_goes_with_its_files_and_the_log_still_verifies(place: Place) -> None:
    place.config = Config(audit_retention_days=30)
    place.end(1, days_ago=31)
    place.end(2, days_ago=29)
    put(place.store, batches(3, at=NOW - timedelta(days=399))[0])
    for number in (1, 2, 3):
        (place.workspace.run_folder(run_id(number)) / "evidence").mkdir(parents=True)
        for suffix in (".json", ".audit.jsonl"):
            (place.workspace.runs / f"{run_id(number)}{suffix}").write_text("{}")
    assert place.keeper.retain(NOW, dry_run=True).run_ids == (run_id(1),)
    assert all(entry.payload for entry in place.log.entries(0, 100))
    assert place.keeper.retain(NOW, by=ANN).run_ids == (run_id(1),)
    assert [entry.run_id for entry in place.log.entries(0, 100) if entry.payload is None] == [run_id(1)] * 10
    left = sorted(path.name for path in place.workspace.runs.iterdir() if path.name.startswith("sop_run"))
    assert left == sorted(f"{run_id(number)}{suffix}" for number in (2, 3) for suffix in ("", ".json", ".audit.jsonl"))
    (line,) = place.log.tombstones()
    assert (read(Tombstone, line).by, read(Tombstone, line).days) == ("ann", 30)
    assert place.keeper.verify().report.fine
    assert place.keeper.retain(NOW).runs == ()


def test_a_sweep_that_a_crash_cut_off_is_made_good_by_the_next(place: Place) -> None:
    place.config = Config(audit_retention_days=30)
    place.end(1, days_ago=31)
    place.keeper.retain(NOW)
    (place.workspace.runs / f"{run_id(1)}.json").write_text("{}")
    (place.workspace.run_folder(run_id(1)) / "step-1.1.1").mkdir(parents=True)
    assert place.keeper.retain(NOW).runs == ()
    assert not [path for path in place.workspace.runs.iterdir() if path.name.startswith("sop_run")]


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.FAILED, RunStatus.PAUSED])
def test_a_row_that_was_edited_drops_nothing_young(place: Place, status: RunStatus) -> None:
    place.config = Config(audit_retention_days=30)
    place.end(1, days_ago=3)
    place.by_hand("update runs set ended_at = 0, status = :status", status=status.value)
    assert place.keeper.retain(NOW).runs == ()


@pytest.mark.parametrize(
    ("by", "roles", "allowed"),
    [
        (ANN, {}, True),
        (BOT, {}, False),
        (SYSTEM, {Role.ADMIN: ("user:root",)}, True),
        (ANN, {Role.ADMIN: ("user:ann",)}, True),
        (ANN, {Role.APPROVER: ("user:ann",)}, False),
        (BOT, {Role.ADMIN: ("agent:bot",)}, False),
        (Actor("timer", ActorKind.TRIGGER, "serve"), {Role.ADMIN: ("user:ann",)}, False),
    ],
)
def test_who_may_drop_records(place: Place, by: Actor, roles: dict[Role, tuple[str, ...]], allowed: bool) -> None:
    place.config = Config(audit_retention_days=30, roles=roles)
    place.end(1, days_ago=31)
    if allowed:
        assert place.keeper.retain(NOW, by=by).run_ids == (run_id(1),)
        return
    with pytest.raises(NotAllowed, match="may not drop records"):
        place.keeper.retain(NOW, by=by)
    assert all(entry.payload for entry in place.log.entries(0, 100))


def test_who_may_drop_records_stands_in_the_table_of_rights(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RIGHTS, Role.APPROVER, frozenset({Right.PRUNE}))
    place.config = Config(audit_retention_days=30, roles={Role.APPROVER: ("user:ann",)})
    place.end(1, days_ago=31)
    assert place.keeper.retain(NOW, by=ANN).run_ids == (run_id(1),)


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_nothing_is_dropped_by_a_clock_that_was_set_back(place: Place, dry_run: bool, signed: bool) -> None:
    """What is later than now tells that the clock is wrong; by how much, nobody knows."""
    place.config = Config(audit_retention_days=30)
    place.end(1, days_ago=31)
    if signed:
        place.sealer.seal(NOW + timedelta(days=2))
    else:
        put(place.store, batches(2, at=NOW + timedelta(days=2))[0])
    with pytest.raises(Refused, match="the clock is wrong"):
        place.keeper.retain(NOW, dry_run=dry_run)
    assert list(place.log.tombstones()) == []
    assert place.keeper.retain(NOW + timedelta(days=2)).run_ids == (run_id(1),)


def test_nothing_is_dropped_by_a_clock_that_is_far_ahead_of_all_that_was_recorded(place: Place) -> None:
    place.config = Config(audit_retention_days=30)
    place.end(1, days_ago=31)
    place.end(2, days_ago=0)
    for days in (366, 9999):
        with pytest.raises(Refused, match="the clock is wrong, or nothing ran here for"):
            place.keeper.retain(NOW + timedelta(days=days))
    assert place.keeper.retain(NOW + timedelta(days=300)).run_ids == (run_id(2), run_id(1))


# which runs of the log are there


def test_a_run_that_nothing_knows_is_not_found_rather_than_missing(place: Place) -> None:
    place.fill(1)
    with pytest.raises(NotFound, match="no run is called"):
        place.keeper.verify(run_id(9))


def test_a_run_whose_events_are_gone_is_a_finding_still(place: Place) -> None:
    place.end(1, days_ago=1)
    place.by_hand("delete from events")
    assert "event 1 of" in str(place.keeper.verify(run_id(1)).report.first_bad)


def test_a_dropped_run_whose_rows_are_gone_is_a_finding_still(place: Place) -> None:
    place.config = Config(audit_retention_days=30)
    place.end(1, days_ago=31)
    place.keeper.retain(NOW)
    place.by_hand("pragma foreign_keys = off", "delete from events", "delete from runs")
    assert not place.keeper.verify(run_id(1)).report.fine


# which runs go into a bundle


def test_runs_since_a_moment_are_chosen_oldest_first(place: Place) -> None:
    for number in (1, 2, 3):
        place.end(number, days_ago=10 - number, created_at=START + timedelta(days=number))
    assert place.keeper.runs_since(None) == tuple(map(run_id, (1, 2, 3)))
    assert place.keeper.runs_since(START + timedelta(days=2)) == tuple(map(run_id, (2, 3)))
    with pytest.raises(NotFound):
        place.keeper.runs_since(START + timedelta(days=9))
