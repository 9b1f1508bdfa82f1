"""Backups and restores with real files, real steps and real processes: nothing that ran runs again unasked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from sopwith.assembly import open_engine, open_keeper
from sopwith.audit.statements import Restoration, read
from sopwith.backup.archive import read_manifest
from sopwith.backup.living import living_steps
from sopwith.backup.make import Made, make_backup
from sopwith.backup.restore import Restored, restore_backup
from sopwith.core import commands as cmd
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.run import Run
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.ticker import serve
from sopwith.errors import IllegalMove, NotAllowed, NotFound, Refused, SopwithError, StoreError
from sopwith.executors.launch import Launch, launches
from sopwith.executors.shell import ShellExecutor
from sopwith.ports import RunFilter, Workspace
from sopwith.stores import replacing
from sopwith.stores.opening import restoring_path
from sopwith.stores.serving_lock import ServingLock
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.samples import owner

ANN = Actor("ann", ActorKind.HUMAN, "cli")
BOT = Actor("bot", ActorKind.AGENT, "mcp")


class Place:
    """A workspace whose steps write down that they ran."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace(root / "project")
        self.workspace.sops.mkdir(parents=True)
        self.file = root / "backup.tar"

    def config(self, **keys: Any) -> None:
        self.workspace.config.write_text(json.dumps(keys))

    def procedure(self, name: str, *steps: dict[str, Any], **keys: Any) -> None:
        numbered = [
            {
                "number": number,
                "title": f"Step {number}",
                "run": f'echo "$SOP_RUN_ID {number}" >> "{self.root}/ran"; echo said {number}',
                **step,
            }
            for number, step in enumerate(steps, 1)
        ]
        folder = self.workspace.sops / name
        folder.mkdir(exist_ok=True)
        manifest = {"name": name, "description": name, "version": "1.0.0", "executionMode": "auto", **keys}
        (folder / "manifest.json").write_text(json.dumps({**manifest, "steps": numbered}))

    @property
    def engine(self) -> Engine:
        return open_engine(self.workspace)

    def create(self, name: str, *, queue: bool = False) -> str:
        return self.engine.create_run(RunRequest(name=name, queue=queue), actor=ANN).run_id

    def drive(self, run_id: str) -> Run:
        return asyncio.run(drive(self.engine.parts, run_id))

    def run(self, name: str) -> str:
        run_id = self.create(name)
        self.drive(run_id)
        return run_id

    def now(self, run_id: str) -> Run:
        return self.engine.runs.load(run_id).run

    def serve_once(self) -> None:
        class Nobody:
            def __getattr__(self, name: str) -> Callable[..., None]:
                return lambda *_: None

        async def serving() -> None:
            await serve(self.engine.parts, Nobody(), stop=asyncio.Event(), once=True)  # type: ignore[arg-type]

        asyncio.run(serving())

    def back_up(self, **options: Any) -> Made:
        return make_backup(self.workspace, self.file, **options)

    def restore(self, **options: Any) -> Restored:
        return restore_backup(self.workspace, self.file, actor=ANN, **options)

    @property
    def ran(self) -> list[str]:
        """Which steps began, in order; more than once where one began more than once."""
        path = self.root / "ran"
        return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []

    def is_sound(self) -> bool:
        with open_keeper(self.workspace) as keeper:
            return keeper.verify().report.fine and self.engine.parts.store.check() == []

    def size(self) -> int:
        with closing(SqliteStore(self.workspace.database)) as store:
            return store.log.end().high_water


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for words in living_steps(place.workspace.runs):
        os.kill(int(words.split()[1].rstrip(",")), signal.SIGKILL)


@pytest.fixture
def gated(place: Place) -> str:
    """A run that waits at the gate of its second step."""
    place.procedure("deploy", {}, {"requiresApproval": True}, {})
    return place.run("deploy")


def approve(place: Place, run_id: str) -> Run:
    place.engine.approve(run_id, actor=ANN)
    return place.drive(run_id)


# what a backup is


def test_a_backup_is_private_whole_and_holds_no_private_key(place: Place, gated: str) -> None:
    made = place.back_up()
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600
    with tarfile.open(place.file) as tar:
        names = tar.getnames()
    assert not [name for name in names if name.endswith(".key")]
    assert {"runs.db", "keys/checkpoint.pub", "runs/checkpoints.jsonl", "manifest.json"} <= set(names)
    assert f"runs/{gated}/step-1.1.1/output.log" in names
    assert not [name for name in names if "/0/" in name], "marks of processes are true here and now only"
    assert (made.events, made.signed_size, made.runs, made.open_runs) == (place.size(), place.size(), 1, 1)
    assert sorted(path.name for path in place.root.iterdir()) == ["backup.tar", "project", "ran"]
    assert not list(place.workspace.runs.glob(".backup-*"))


def test_a_file_that_is_there_is_not_written_over_unless_told(place: Place, gated: str) -> None:
    place.file.write_text("mine")
    with pytest.raises(Refused, match="is there already"):
        place.back_up()
    assert place.file.read_text() == "mine"
    place.back_up(force=True)
    assert read_manifest(place.file).size == place.size()


def test_only_a_regular_file_is_written_over_and_a_link_is_followed(place: Place, gated: str) -> None:
    """As root, `sop backup /dev/full --force` made a file of the device."""
    os.mkfifo(place.file)
    with pytest.raises(Refused, match="is no regular file"):
        place.back_up(force=True)
    assert place.file.is_fifo()
    place.file.unlink()
    other = place.root / "other.tar"
    place.file.symlink_to(other)
    for force in (False, True):
        place.back_up(force=force)
        assert place.file.is_symlink()
        assert read_manifest(other).size == place.size()


def test_there_is_nothing_to_back_up_without_a_record(place: Place) -> None:
    with pytest.raises(NotFound):
        place.back_up()
    assert not place.workspace.database.exists()


def test_a_record_that_does_not_verify_gets_no_backup(place: Place, gated: str) -> None:
    import apsw

    with closing(apsw.Connection(str(place.workspace.database))) as db:
        db.execute("update events set payload = cast(replace(payload, 'deploy', 'DEPLOY') as blob) where position = 1")
    with pytest.raises(StoreError, match="the record does not verify"):
        place.back_up()
    assert not place.file.exists()


def test_a_backup_under_load_verifies_and_has_all_that_was_acknowledged_before(place: Place) -> None:
    place.procedure("deploy", {"run": "true"})
    place.create("deploy")
    script = (
        "import sys\nfrom pathlib import Path\nfrom sopwith.assembly import open_engine\n"
        "from sopwith.core.actor import Actor, ActorKind\nfrom sopwith.engine.engine import RunRequest\n"
        "from sopwith.ports import Workspace\nengine = open_engine(Workspace(Path(sys.argv[1])))\n"
        "while True:\n    engine.create_run(RunRequest(name='deploy'), actor=Actor('ann', ActorKind.HUMAN, 'cli'))\n"
        "    print(engine.parts.store.log.end().high_water, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place.workspace.root)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        try:
            for number in range(5):
                acknowledged = int(writer.stdout.readline())
                place.file = place.root / f"{number}.tar"
                assert place.back_up().events >= acknowledged
        finally:
            writer.kill()
    place.restore(accept_older=True)
    assert place.is_sound()


# what a restore does


def test_what_was_backed_up_is_there_again(place: Place) -> None:
    place.procedure("deploy", {}, {})
    run_id = place.run("deploy")
    before = place.engine.parts.store.events(run_id)
    place.back_up()
    restored = place.restore()
    assert (restored.lost, restored.stopped, restored.ahead) == (0, (), ())
    assert place.engine.parts.store.events(run_id) == before
    assert (place.workspace.run_folder(run_id) / "step-1.1.1" / "output.log").read_text() == "said 1\n"
    assert len((place.workspace.runs / f"{run_id}.audit.jsonl").read_text().splitlines()) == len(before)
    assert (place.workspace.runs / f"{run_id}.json").exists()
    assert place.is_sound()
    assert restored.aside is not None
    assert (restored.aside / "runs.db").exists()
    assert (restored.aside / run_id).is_dir()
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in place.workspace.runs.rglob("step-*")}
    assert modes == {0}


def test_a_restore_is_signed_and_kept_in_the_database(place: Place, gated: str) -> None:
    place.back_up()
    place.restore()
    with closing(SqliteStore(place.workspace.database)) as store:
        (line,) = store.log.restorations()
    statement = read(Restoration, line)
    assert (statement.size, statement.known, statement.stopped) == (5, 5, (gated,))
    assert statement.by == str(ANN)


def test_on_another_machine_the_record_verifies_with_the_public_keys_it_brings(place: Place, gated: str) -> None:
    place.back_up()
    other = Place(place.root / "elsewhere")
    other.file = place.file
    restored = other.restore()
    assert restored.aside is None
    assert other.is_sound()
    assert other.now(gated).paused
    assert len(list(other.workspace.keys.glob("checkpoint*.pub"))) == 2


def test_what_a_person_has_here_now_is_not_written_over(place: Place, gated: str) -> None:
    place.config(maxConcurrentRuns=3)
    place.back_up()
    place.config(maxConcurrentRuns=7)
    assert place.restore().kept == ("config.json",)
    assert json.loads(place.workspace.config.read_text()) == {"maxConcurrentRuns": 7}


# nothing runs twice


def test_a_step_that_ran_after_the_backup_is_not_run_again_unasked(place: Place, gated: str) -> None:
    place.back_up()
    assert approve(place, gated).ended == "completed"
    assert place.ran == ["1", "2", "3"]
    assert place.restore(accept_older=True).stopped == (gated,)
    place.serve_once()
    run = place.drive(gated)
    assert run.paused
    assert "restored from a backup" in run.reason
    assert place.ran == ["1", "2", "3"]
    with pytest.raises(SopwithError):
        place.engine.approve(gated, actor=ANN)
    assert place.ran == ["1", "2", "3"]
    place.engine.resume(gated, actor=ANN)
    assert approve(place, gated).ended == "completed"
    assert place.ran == ["1", "2", "3", "2", "3"], "a person who knows let it go on"


def test_a_run_between_two_steps_does_not_go_on(place: Place) -> None:
    place.procedure("deploy", {}, {}, {})
    run_id = place.create("deploy")
    place.back_up()
    assert place.drive(run_id).ended == "completed"
    place.restore(accept_older=True)
    place.serve_once()
    assert place.drive(run_id).paused
    assert place.ran == ["1", "2", "3"]


def start_and_leave(place: Place, run_id: str) -> None:
    """Drives until the first step's process is there, and leaves it alone."""

    async def driving() -> None:
        task = asyncio.ensure_future(drive(place.engine.parts, run_id))
        while not place.ran:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(driving())


def slow(place: Place) -> dict[str, str]:
    return {"run": f'echo "$SOP_RUN_ID 1" >> "{place.root}/ran"; while [ ! -e "{place.root}/go" ]; do sleep 0.02; done'}


def end_the_step(place: Place) -> None:
    (place.root / "go").touch()
    while living_steps(place.workspace.runs):
        pass


def test_a_restore_that_is_refused_takes_no_start_from_who_drives(place: Place) -> None:
    """It was made void before anybody had looked whether the run is driven, and the step failed."""
    place.procedure("deploy", {}, {})
    run_id = place.create("deploy")
    place.back_up()
    store = place.engine.parts.store
    claim = store.claim(run_id, place.engine.parts.owner(), place.engine.parts.clock.now().at)
    assert claim is not None
    launch = Launch(place.workspace.run_folder(run_id) / "step-1.1.1" / "0")
    launch.folder.parent.mkdir(parents=True)
    launch.prepare(script=b"true", parameters=b"{}", order=b"")
    with pytest.raises(Refused, match="a run of this workspace is being driven"):
        place.restore()
    assert not launch.marks().void
    store.release(claim)
    place.restore()


def test_a_step_that_was_under_way_is_interrupted_though_its_result_lies_there(place: Place) -> None:
    place.procedure("deploy", slow(place), {})
    run_id = place.create("deploy")
    start_and_leave(place, run_id)
    place.back_up()
    with pytest.raises(Refused, match=r"a step is still running: process \d+, of step-1.1.1 of sop_run_"):
        place.restore()
    end_the_step(place)
    place.restore()
    run = place.drive(run_id)
    assert run.steps[1].status == "interrupted"
    assert "was under way" in run.steps[1].error or run.paused
    place.serve_once()
    assert place.ran == ["1"]
    with pytest.raises(IllegalMove):
        place.engine.resume(run_id, actor=ANN)
    assert place.ran == ["1"]


@pytest.mark.parametrize("moment", ["before the folder", "before the keeper", "after the launch was made"])
def test_a_start_that_was_only_intended_in_the_backup_is_never_made_good(
    place: Place, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that died after it recorded the intent: without a restore, the next one starts the step."""
    place.procedure("deploy", {}, {})
    run_id = place.create("deploy")

    class Killed(BaseException):
        pass

    async def die(self: ShellExecutor, order: Any, on_output: Any) -> Any:
        if moment == "before the folder":
            order.folder.rmdir()
        if moment == "after the launch was made":
            (order.folder / "0").mkdir()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ShellExecutor, "start", die)
        with pytest.raises(Killed):
            place.drive(run_id)
    place.back_up()
    if moment == "before the keeper":
        assert place.drive(run_id).ended == "completed"
        assert place.ran == ["1", "2"]
    before = place.ran
    place.restore(accept_older=True)
    place.serve_once()
    run = place.drive(run_id)
    assert run.steps[1].status == "interrupted"
    assert place.ran == before


def test_a_queued_run_is_given_up_and_one_that_waits_for_a_retry_is_paused(place: Place) -> None:
    place.procedure("deploy", {"requiresApproval": True}, maxConcurrent=1)
    place.procedure("flaky", {"run": "false", "retry": {"maxAttempts": 3, "delaySecs": 600}})
    first = place.run("deploy")
    queued = place.create("deploy", queue=True)
    waiting = place.create("flaky")

    async def until_it_waits() -> None:
        await drive(place.engine.parts, waiting, linger=False)

    asyncio.run(until_it_waits())
    place.back_up()
    assert set(place.restore().stopped) == {first, queued, waiting}
    assert place.now(first).paused
    assert place.now(waiting).paused
    run = place.now(queued)
    assert run.ended == "cancelled"
    assert "may have run since" in run.reason


def test_a_run_within_a_run_rests_with_the_one_around_it(place: Place) -> None:
    place.procedure("inner", slow(place))
    place.procedure("outer", {"run": None, "uses": "inner"}, {})
    folder = place.workspace.sops / "outer" / "manifest.json"
    manifest = json.loads(folder.read_text())
    del manifest["steps"][0]["run"]
    folder.write_text(json.dumps(manifest))
    outer = place.create("outer")
    start_and_leave(place, outer)
    place.back_up()
    end_the_step(place)
    place.restore()
    place.serve_once()
    place.drive(outer)
    assert place.ran == ["1"]
    (inner,) = (run for run in place.engine.parts.store.summaries(RunFilter())[0] if run.parent)
    assert place.now(inner.run_id).steps[1].status == "interrupted"


def test_late_writers_of_the_old_history_change_nothing(place: Place, gated: str) -> None:
    """One that had the file open, and one whose claim is from a later epoch than the backup knows."""
    place.back_up()
    late = place.engine
    for _ in range(5):
        claim = late.parts.store.claim(gated, owner("late"), late.parts.clock.now().at)
        assert claim is not None
        late.parts.store.release(claim)
    place.restore()
    with pytest.raises(StoreError, match="deleted or replaced"):
        late.approve(gated, actor=ANN)
    with closing(SqliteStore(place.workspace.database)) as store:
        newer = store.claim(gated, owner("new"), late.parts.clock.now().at)
    assert newer is not None
    assert newer.epoch > claim.epoch
    assert place.now(gated).paused


# what is refused


def test_a_backup_that_lacks_known_events_is_told_with_its_loss_in_numbers(place: Place, gated: str) -> None:
    place.back_up()
    approve(place, gated)
    lost = place.size() - 5
    before = place.workspace.database.read_bytes()
    with pytest.raises(Refused, match=rf"has 5 events, and {place.size()} are known: {lost} events would be lost"):
        place.restore()
    assert place.workspace.database.read_bytes() == before
    assert place.restore(accept_older=True).lost == lost


def test_a_copy_of_the_checkpoints_outside_knows_what_a_lost_database_held(place: Place, gated: str) -> None:
    outside = place.root / "witness.jsonl"
    place.config(checkpointCopies=[str(outside)])
    place.back_up()
    approve(place, gated)
    size = place.size()
    for path in (*place.workspace.sops.glob("runs.db*"), *place.workspace.runs.glob("checkpoints*")):
        path.unlink()
    with pytest.raises(Refused, match=rf"{size} are known \({outside}\)"):
        place.restore()
    restored = place.restore(accept_older=True)
    assert restored.ahead == (str(outside),)
    assert restored.lost == size - 5


def test_a_backup_of_another_history_does_not_verify_against_the_copy_outside(place: Place, gated: str) -> None:
    outside = place.root / "witness.jsonl"
    place.config(checkpointCopies=[str(outside)])
    place.back_up()
    other = Place(place.root / "elsewhere")
    other.procedure("deploy", {}, {"requiresApproval": True})
    for key in place.workspace.keys.iterdir():
        other.workspace.keys.mkdir(exist_ok=True)
        (other.workspace.keys / key.name).write_bytes(key.read_bytes())
    other.run("deploy")
    other.back_up()
    place.file = other.file
    with pytest.raises(StoreError, match="the backup does not verify"):
        place.restore(accept_older=True)
    assert place.is_sound()


def test_a_backup_of_another_workspace_is_refused(place: Place, gated: str) -> None:
    place.back_up()
    other = Place(place.root / "elsewhere")
    other.procedure("deploy", {})
    other.run("deploy")
    other.file = place.file
    with pytest.raises(Refused, match="no key of this workspace"):
        other.restore(accept_older=True)


@pytest.mark.parametrize("actor", [BOT, Actor("ann", ActorKind.HUMAN, "cli", inside="sop_run_x")])
def test_only_a_person_outside_of_runs_restores(place: Place, gated: str, actor: Actor) -> None:
    place.back_up()
    with pytest.raises(NotAllowed):
        restore_backup(place.workspace, place.file, actor=actor)


def test_nothing_is_replaced_under_a_server_or_a_driver(place: Place, gated: str) -> None:
    place.back_up()
    with closing(ServingLock(place.workspace.runs)) as lock:
        assert lock.take(owner("server"), staying=True)
        with pytest.raises(Refused, match="process 4711 on here serves"):
            place.restore()
    with closing(SqliteStore(place.workspace.database)) as store:
        assert store.claim(gated, owner("driver"), place.engine.parts.clock.now().at)
        with pytest.raises(Refused, match="is being driven"):
            place.restore()
    assert not restoring_path(place.workspace.database).exists()
    assert not place.now(gated).paused


def test_what_is_written_while_the_backup_is_looked_through_is_not_lost_unseen(
    place: Place, gated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.back_up()
    from sopwith.backup import restore

    prepare = restore._Restore._prepare

    def late(self: Any, *args: Any) -> Any:
        place.engine.approve(gated, actor=ANN)
        return prepare(self, *args)

    monkeypatch.setattr(restore._Restore, "_prepare", late)
    with pytest.raises(Refused, match="somebody has just written"):
        place.restore()
    assert not place.now(gated).paused


def test_a_backup_that_was_cut_short_anywhere_is_refused(place: Place, gated: str) -> None:
    place.back_up()
    whole = place.file.read_bytes()
    for size in range(0, len(whole) - 10_240, 4096):
        place.file.write_bytes(whole[:size])
        with pytest.raises(SopwithError, match="cannot use the backup"):
            place.restore()
    assert place.is_sound()


def test_a_byte_that_was_flipped_anywhere_is_noticed(place: Place, gated: str) -> None:
    """In each block; what only pads the archive harms nothing."""
    place.back_up()
    sound = place.file.read_bytes()
    with tarfile.open(place.file) as tar:
        content = [(member.offset_data, member.size) for member in tar]
    for start, size in content:
        for offset in range(start, start + size, max(1, size // 8)):
            damaged = bytearray(sound)
            damaged[offset] ^= 0xFF
            place.file.write_bytes(damaged)
            with pytest.raises(SopwithError, match="cannot use the backup"):
                place.restore()
    assert not place.now(gated).paused


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "runs/sop_run_x/../../evil",
        "/tmp/evil",
        "deploy/SOP.md",
        "keys/checkpoint.key",
        "runs/sop_run_x/step-1.1.2/0/started",
        "runs/sop_run_x/step-1.1.1/verify/0/result",
    ],
)
def test_no_backup_writes_where_it_must_not(place: Place, gated: str, name: str) -> None:
    """Signed by the workspace's own key: what a file may be called is not a matter of trust."""
    from sopwith.audit.signing import SigningKey
    from sopwith.audit.statements import BackupManifest, signed
    from sopwith.backup.archive import archive_into

    place.back_up()
    evil = place.root / "evil"
    evil.write_text("evil")
    with place.file.open("wb") as file, archive_into(file, 0) as writer:
        writer.add(name, evil)
        key = SigningKey(place.workspace.keys)
        writer.finish(signed(BackupManifest, key, timestamp="t", size=1, host="h", files=writer.files))
    evil.unlink()
    with pytest.raises(StoreError, match="does not belong in it"):
        place.restore()
    assert not list(place.root.rglob("evil"))


# a restore that dies


class Killed(BaseException):
    pass


def dying_at(number: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, which kills whoever makes it for the n-th time; what is done to the unpacked copy does not count."""
    left = number

    def dying(self: Path, *args: Any, **options: Any) -> Any:
        nonlocal left
        left -= ".restore-" not in str(self)
        if left == 0:
            raise Killed
        return call(self, *args, **options)

    return dying


CALLS = ["replace", "unlink", "hardlink_to", "mkdir"]


@pytest.mark.parametrize("call", CALLS)
def test_a_restore_that_is_killed_anywhere_leaves_the_old_record_or_a_closed_one_and_can_be_finished(
    place: Place, gated: str, call: str
) -> None:
    place.back_up()
    approve(place, gated)
    copy = place.root / "copy"
    subprocess.run(["cp", "-a", place.workspace.root, copy], check=True)
    for number in range(1, 200):
        subprocess.run(["rm", "-rf", place.workspace.root], check=True)
        subprocess.run(["cp", "-a", copy, place.workspace.root], check=True)
        died = False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, call, dying_at(number, getattr(Path, call)))
            try:
                place.restore(accept_older=True)
            except Killed:
                died = True
        if restoring_path(place.workspace.database).exists():
            with pytest.raises(StoreError, match="cut short"):
                place.now(gated)
            place.restore()
            assert place.now(gated).paused
        else:
            run = place.now(gated)
            assert run.ended == "completed" or run.paused
        place.serve_once()
        assert place.ran == ["1", "2", "3"]
        assert place.is_sound()
        if not died:
            return
    pytest.fail("the restore never got to its end")


def test_the_mark_of_a_restore_keeps_the_store_closed_until_it_is_over(
    place: Place, gated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.back_up()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sopwith.backup.restore.settle", die)
        with pytest.raises(KeyboardInterrupt):
            place.restore()
    with pytest.raises(StoreError, match="cut short"):
        place.now(gated)
    place.restore()
    assert place.now(gated).paused
    assert replacing.interrupted_restore(place.workspace.database) is None


# `onInterrupt` and a restore


@pytest.mark.parametrize("policy", ["rerun", "fail", "verify:true", "verify:exit 1"])
def test_whatever_a_step_says_of_interruptions_nothing_follows_from_a_restore_by_itself(
    place: Place, policy: str
) -> None:
    place.procedure("deploy", {**slow(place), "onInterrupt": policy}, {})
    run_id = place.create("deploy")
    start_and_leave(place, run_id)
    place.back_up()
    end_the_step(place)
    assert place.drive(run_id).ended == "completed"
    place.restore(accept_older=True)
    place.serve_once()
    run = place.drive(run_id)
    assert (run.steps[1].status, run.paused, place.ran) == ("interrupted", True, ["1", "2"])
    with pytest.raises(IllegalMove):
        place.engine.resume(run_id, actor=ANN)
    assert place.ran == ["1", "2"]


def test_a_verification_that_was_under_way_in_the_backup_tells_nothing_after_it(place: Place) -> None:
    place.procedure("deploy", {**slow(place), "onInterrupt": f"verify:touch {place.root}/looks; exec sleep 300"}, {})
    run_id = place.create("deploy")
    start_and_leave(place, run_id)
    lose_the_keeper(place)

    async def verifying() -> None:
        task = asyncio.ensure_future(drive(place.engine.parts, run_id))
        while not (place.root / "looks").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(verifying())
    place.back_up()
    with pytest.raises(
        Refused, match=r"a step is still running: process \d+, of the verification of step-1.1.1 of sop_run_"
    ):
        place.restore()
    end_what_lives(place)
    place.restore()
    place.serve_once()
    run = place.drive(run_id)
    assert (run.steps[1].status, run.paused, place.ran) == ("interrupted", True, ["1"])


def test_a_report_that_was_being_verified_in_the_backup_is_not_believed_after_it(place: Place) -> None:
    place.procedure("deploy", {"run": None, "verify": f"touch {place.root}/looks; exec sleep 300"}, {})
    run_id = place.create("deploy")
    place.drive(run_id)

    async def verifying(*, to_its_end: bool) -> None:
        task = asyncio.ensure_future(drive(place.engine.parts, run_id))
        while not (place.root / "looks").exists():
            await asyncio.sleep(0.01)
        if to_its_end:
            end_what_lives(place)
            await task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # the second one is under way when the backup is made
    for to_its_end in (True, False):
        place.engine.complete(run_id, actor=ANN)
        asyncio.run(verifying(to_its_end=to_its_end))
        (place.root / "looks").unlink()
    place.back_up()
    with pytest.raises(Refused, match=r"process \d+, of the verification of step-1.1.1 of sop_run_"):
        place.restore()
    end_what_lives(place)
    place.restore()
    run = place.engine.runs.load(run_id).run
    assert (run.paused, run.steps[1].status, run.steps[1].to_verify) == (True, "running", False)
    assert "the record was restored" in run.steps[1].error


def lose_the_keeper(place: Place) -> None:
    """Kills the keeper of the running step, and then the step."""
    for attempt in place.workspace.runs.glob("sop_run_*/step-*"):
        marks = launches(attempt)[-1].marks()
        for process in (marks.keeper, marks.child):
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)


def end_what_lives(place: Place) -> None:
    while living := living_steps(place.workspace.runs):
        for words in living:
            with suppress(ProcessLookupError):
                os.kill(int(words.split()[1].rstrip(",")), signal.SIGKILL)


def test_a_keeper_that_is_only_just_beginning_finds_that_its_step_is_not_to_run(place: Place, gated: str) -> None:
    place.back_up()
    attempt = place.workspace.run_folder(gated) / "step-2.1.1"
    attempt.mkdir()
    late = Launch(attempt / "0")
    late.prepare(script=b"", parameters=b"{}", order=b"")
    aside = place.restore().aside
    assert aside is not None
    assert Launch(aside / gated / "step-2.1.1" / "0").marks().void


@pytest.mark.parametrize("name", ["runs.db", "runs.db-wal", "config.json", "runs/backup.tar", "keys/checkpoint.key"])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_no_backup_is_written_over_what_it_is_to_save(
    place: Place, gated: str, name: str, through_a_link: bool
) -> None:
    sops = place.workspace.sops
    (place.root / "link").symlink_to(sops)
    before = (sops / name).read_bytes() if (sops / name).exists() else None
    place.file = (place.root / "link" if through_a_link else sops) / name
    with pytest.raises(Refused, match="the folder that it is to save"):
        place.back_up(force=True)
    assert before == ((sops / name).read_bytes() if (sops / name).exists() else None)
    assert place.is_sound()


def test_a_run_that_was_paused_in_the_backup_says_that_it_may_have_gone_on_since(place: Place) -> None:
    place.procedure("deploy", slow(place), {})
    run_id = place.create("deploy")
    start_and_leave(place, run_id)
    place.engine.pause(run_id, actor=ANN, reason="lunch")
    end_the_step(place)
    assert place.drive(run_id).paused
    place.back_up()
    place.engine.resume(run_id, actor=ANN)
    assert place.drive(run_id).ended == "completed"
    place.restore(accept_older=True)
    place.serve_once()
    run = place.drive(run_id)
    assert (run.paused, place.ran) == (True, ["1", "2"])
    assert "restored from a backup" in run.reason


def test_no_agent_lets_a_run_of_a_restored_record_go_on(place: Place, gated: str) -> None:
    place.back_up()
    approve(place, gated)
    place.restore(accept_older=True)
    with pytest.raises(NotAllowed, match="may lack what has run since"):
        place.engine.resume(gated, actor=BOT)
    assert place.now(gated).paused
    place.engine.resume(gated, actor=ANN)
    assert not place.now(gated).paused


def test_no_agent_retries_a_run_that_had_failed_before_the_record_was_restored(place: Place) -> None:
    place.procedure("deploy", {"run": f"echo 1 >> {place.root}/ran\ntest -f {place.root}/fixed\n"})
    run_id = place.run("deploy")
    assert place.now(run_id).ended == "failed"
    place.back_up()
    (place.root / "fixed").touch()
    place.engine.retry(run_id, actor=BOT)
    assert place.drive(run_id).ended == "completed"
    restored = place.restore(accept_older=True)
    assert (restored.stopped, restored.failed) == ((), (run_id,))
    with pytest.raises(NotAllowed, match="may lack what has run since"):
        place.engine.retry(run_id, actor=BOT)
    asked = place.engine.refusal(place.now(run_id), lambda now: cmd.Retry(actor=BOT, now=now))
    assert isinstance(asked, NotAllowed), "nor is it offered"
    with pytest.raises(NotAllowed, match="may lack what has run since"):
        place.engine.rollback(run_id, actor=BOT)
    (place.root / "fixed").unlink()
    place.engine.retry(run_id, actor=ANN)
    assert place.drive(run_id).ended == "failed"
    (place.root / "fixed").touch()
    place.engine.retry(run_id, actor=BOT)  # a person has looked at it
    assert place.drive(run_id).ended == "completed"


def test_a_restore_that_is_refused_because_a_step_lives_brings_no_key(place: Place) -> None:
    place.procedure("deploy", slow(place))
    run_id = place.create("deploy")
    place.back_up()
    start_and_leave(place, run_id)
    for key in place.workspace.keys.iterdir():
        key.unlink()
    with pytest.raises(Refused, match="a step is still running"):
        place.restore(accept_older=True)
    assert not [*place.workspace.keys.iterdir()]
    end_the_step(place)
