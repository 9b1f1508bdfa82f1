"""`sop doctor` on a real workspace: mends what can be made again, and finds what was tampered with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from tests.contract.faulty_disk import Fault, failing, faulty_disk

from sopwith.assembly import open_engine, open_keeper
from sopwith.engine.doctor import examine
from sopwith.engine.driver import drive
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.reading import Reader
from sopwith.engine.template import register
from sopwith.errors import StoreError
from sopwith.ports import LEASE, Workspace
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.executor import Play
from sopwith.testing.memory import MemoryStore

from .bench import ANN, Bench
from .test_claiming import FAR

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


def test_a_config_with_errors_is_told(engine: Engine, run_id: str) -> None:
    engine.parts.workspace.config.write_text('{"maxConcurrentRuns": "many"}')

    (finding,) = examine(engine)

    assert finding.message.startswith("config.json:1:")
    assert not finding.mended


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


@pytest.mark.parametrize("torn", ['{"bake": "ba', "", "\x00\x00\x00"])
def test_a_torn_registry_is_kept_aside_and_made_anew(engine: Engine, torn: str) -> None:
    sops = engine.parts.workspace.sops
    (sops / "index.json").write_text(torn)
    told = [finding.message for finding in examine(engine, mend=False)]
    assert any("could not be read" in message for message in told)
    assert (sops / "index.json").read_text() == torn
    aside, registered = examine(engine)
    assert (aside.mended, registered.mended) == (True, True)
    (kept,) = sops.glob("index.json.broken-*")
    assert kept.name in aside.message
    assert kept.read_text() == torn
    assert json.loads((sops / "index.json").read_text()) == {"bake": "bake/SOP.md"}
    assert examine(engine) == ()


def test_a_registry_with_a_wrong_entry_is_left_to_whoever_wrote_it(engine: Engine) -> None:
    sops = engine.parts.workspace.sops
    (sops / "index.json").write_text('{"bake": "../bake/SOP.md"}')
    assert not any(finding.mended for finding in examine(engine))
    assert (sops / "index.json").read_text() == '{"bake": "../bake/SOP.md"}'


@pytest.mark.parametrize("what", ["fry", "fry/SOP.md", "fry/manifest.json"])
def test_what_leads_outside_is_told_and_not_registered(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory, what: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "SOP.md").write_text(SHEET)
    (outside / "manifest.json").write_text("{}")
    sops = engine.parts.workspace.sops
    if what != "fry":
        (sops / "fry").mkdir()
    (sops / what).symlink_to(outside / Path(what).relative_to("fry"))
    for name in ("roast", "keys"):
        (sops / name).mkdir(exist_ok=True)
        (sops / name / "SOP.md").write_text(SHEET)
    findings = examine(engine)
    assert set(json.loads((sops / "index.json").read_text())) == {"bake", "roast"}
    assert [finding.mended for finding in findings if "fry" in finding.message] == [False]
    assert all(finding.hint for finding in findings if not finding.mended)


def test_what_is_registered_in_the_meantime_stays(engine: Engine) -> None:
    workspace = engine.parts.workspace
    workspace.index.write_text(json.dumps({"bake": "bake/manifest.json", "new": "new/SOP.md"}))
    register(workspace, {"bake": "bake/SOP.md", "fry": "fry/SOP.md"})
    assert json.loads(workspace.index.read_text()) == {
        "bake": "bake/manifest.json",
        "fry": "fry/SOP.md",
        "new": "new/SOP.md",
    }


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


def test_on_a_full_disk_nothing_is_mended_and_all_is_told(tmp_path: Path) -> None:
    folder = tmp_path / ".pi" / "sops" / "bake"
    folder.mkdir(parents=True)
    (folder / "SOP.md").write_text(SHEET)
    with faulty_disk() as disk:
        engine = open_engine(Workspace(tmp_path))
        examine(engine)
        lied, claimed, last = (engine.create_run(RunRequest(name="bake"), actor=ANN).run_id for _ in range(3))
        with closing(apsw.Connection(str(engine.parts.workspace.database))) as database:
            database.execute("update runs set holds_slot = 0 where run_id in (?, ?)", (lied, last))
        with closing(SqliteStore(engine.parts.workspace.database)) as dead:
            assert dead.claim(claimed, engine.parts.owner(), engine.parts.clock.now().at)
        disk.fault = Fault("write", disk.counts["write"] + 1, failing(apsw.SQLITE_FULL), lasting=True)
        findings = {finding.message: finding for finding in examine(engine, around=[("it is dark", "a lamp")])}
        told = {about: [each for each in findings if about in each] for about in (lied, claimed, last, "it is dark")}
        assert {about: len(messages) for about, messages in told.items()} == dict.fromkeys(told, 1)
        for about in (lied, claimed, last):
            finding = findings[told[about][0]]
            assert "the disk is full" in finding.message
            assert (finding.mended, finding.hint) == (
                False,
                "make room and try again; what was acknowledged before is safe",
            )
        disk.heal()
        assert [finding.mended for finding in examine(engine)] == [True, True, True]
        assert examine(engine) == ()
        engine.parts.store.close()


def test_where_the_runs_cannot_even_be_listed_the_rest_is_told(engine: Engine, run_id: str) -> None:
    with closing(apsw.Connection(str(engine.parts.workspace.database))) as database:
        database.execute("pragma legacy_alter_table = on")
        database.execute("alter table runs rename to gone")
    (engine.parts.workspace.sops / "index.json").write_text("[")
    findings = examine(engine, around=[("it is dark", "a lamp")])
    assert any("runs" in finding.message and not finding.mended for finding in findings)
    assert any(finding.message == "it is dark" for finding in findings)
    assert any("index.json" in finding.message and finding.mended for finding in findings)


def test_a_run_that_stands_still_before_a_step_is_told_once_nobody_can_be_about_to_drive_it(bench: Bench) -> None:
    """Its driver died between two steps: no process runs, and nothing ever happens."""
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    assert undriven(bench) == []
    bench.pass_time(11)
    assert undriven(bench) == [f"{run_id} is running and nobody drives it"]
    bench.drive(run_id)
    assert undriven(bench) == []


def test_a_run_that_waits_for_a_person_or_a_place_needs_no_driver(bench: Bench) -> None:
    bench.procedure("ask", {"requiresApproval": True})
    bench.procedure("deploy", {"requiresApproval": True}, maxConcurrent=1)
    for name in ("ask", "deploy"):
        bench.run(name)
    bench.create("deploy", queue=True)
    bench.pass_time(11)
    assert undriven(bench) == []


def test_a_run_that_another_host_drives_is_driven_while_its_lease_lasts(bench: Bench) -> None:
    bench.world.plays[1] = [Play(seconds=300)]
    bench.procedure("deploy", {})
    run_id = bench.create("deploy")
    driving = bench.begin(run_id)
    bench.pass_time(1)
    holder = bench.store.holder(run_id)
    assert holder is not None
    driving.cancel()
    bench.pass_time(11)
    far = MemoryStore(bench.store)
    assert far.claim(run_id, FAR, bench.clock.now().at) is not None
    far.kill(FAR.owner_id)  # no lock of that host can be seen here
    assert bench.store.holder(run_id) is None
    assert undriven(bench) == []
    bench.pass_time(LEASE.total_seconds() + 1)
    assert undriven(bench) == [f"{run_id} is running and nobody drives it"]


def undriven(bench: Bench) -> list[str]:
    return [finding.message for finding in examine(bench.engine(), mend=False) if "nobody drives" in finding.message]


def test_a_state_is_as_new_as_the_doctors_turn(engine: Engine, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is committed before the doctor has the files for itself is in what it writes."""
    state = engine.parts.workspace.runs / f"{run_id}.json"
    other = open_engine(engine.parts.workspace)
    true_rebuild = engine.parts.views.rebuild

    def late(name: str, run_json: Callable[[], bytes | None]) -> bool:
        other.pause(run_id, actor=ANN)
        return true_rebuild(name, run_json)

    monkeypatch.setattr(engine.parts.views, "rebuild", late)
    assert examine(engine) == ()
    assert json.loads(state.read_bytes())["status"] == "paused"


def test_the_state_of_a_run_on_its_way_is_left_to_its_driver(engine: Engine) -> None:
    run_id = engine.create_run(RunRequest(name="bake"), actor=ANN).run_id
    state = engine.parts.workspace.runs / f"{run_id}.json"
    assert not state.exists()
    assert examine(engine) == ()
    assert not state.exists()


def test_files_that_cannot_be_mended_hide_no_other_finding(engine: Engine, run_id: str) -> None:
    other = asyncio.run(drive(engine.parts, engine.create_run(RunRequest(name="bake"), actor=ANN).run_id)).run_id
    runs = engine.parts.workspace.runs
    for each in (run_id, other):
        (runs / f"{each}.json").unlink()
    (runs / f"{other}.json").mkdir()
    told = {finding.mended: finding for finding in examine(engine)}
    assert other in told[False].message
    assert told[False].hint
    assert run_id in told[True].message


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("update runs set status = 'completed', ended_at = 0", "status was completed, is running"),
        ("update runs set holds_slot = 0", "holds_slot was False, is True"),
        ("update runs set name = 'fry', created_by = 'eve', created_at = 0", "name was fry, is bake"),
        ("update runs set due_at = 5", "due_at was "),
    ],
)
def test_a_summary_that_lies_is_mended_from_the_events(engine: Engine, run_id: str, statement: str, says: str) -> None:
    true, events = engine.parts.store.summary(run_id), engine.parts.store.events(run_id)
    database = apsw.Connection(str(engine.parts.workspace.database))
    database.execute(statement)
    (finding,) = examine(engine)
    assert finding.mended
    assert run_id in finding.message
    assert says in finding.message
    assert engine.parts.store.summary(run_id) == true
    assert engine.parts.store.events(run_id) == events
    assert examine(engine) == ()
    database.close()


def test_a_summary_with_another_head_is_trouble_and_stays(engine: Engine, run_id: str) -> None:
    database = apsw.Connection(str(engine.parts.workspace.database))
    database.execute("update runs set head = randomblob(32), status = 'completed'")
    database.close()
    assert [finding for finding in examine(engine) if not finding.mended]
    stored = engine.parts.store.summary(run_id)
    assert stored is not None
    assert stored.status == "completed"


def test_a_run_that_goes_on_meanwhile_has_no_wrong_summary(
    engine: Engine, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_engine(engine.parts.workspace)
    summary = engine.parts.store.summary

    def late(asked: str) -> object:
        if engine.parts.store.summary is not summary:
            monkeypatch.setattr(engine.parts.store, "summary", summary)
            other.pause(run_id, actor=ANN)
        return summary(asked)

    monkeypatch.setattr(engine.parts.store, "summary", late)
    assert examine(engine) == ()


def test_a_log_that_is_not_what_was_signed_is_trouble(engine: Engine, run_id: str) -> None:
    """Every chain and every head fits: only a checkpoint tells."""
    database = apsw.Connection(str(engine.parts.workspace.database))
    asyncio.run(drive(engine.parts, engine.create_run(RunRequest(name="bake"), actor=ANN).run_id))
    database.execute("pragma foreign_keys = off")
    database.execute("delete from events where run = 2")
    database.execute("delete from runs where ordinal = 2")
    database.execute("update sqlite_sequence set seq = (select max(position) from events) where name = 'events'")
    database.close()
    told = [finding.message for finding in examine(engine) if not finding.mended]
    assert any("the log is not what it was" in message and "cut short" in message for message in told)


def test_a_run_whose_record_was_dropped_is_no_trouble(engine: Engine, run_id: str) -> None:
    engine.cancel(run_id, actor=ANN)
    runs, store = engine.parts.workspace.runs, engine.parts.store
    (runs.parent / "config.json").write_text(json.dumps({"auditRetentionDays": 1}))
    state = (runs / f"{run_id}.json").read_bytes()
    with open_keeper(engine.parts.workspace) as keeper:
        assert keeper.retain(engine.parts.clock.now().at + timedelta(days=2)).run_ids == (run_id,)
    assert examine(engine) == ()
    (runs / f"{run_id}.json").write_bytes(state)
    (finding,) = examine(engine)
    assert finding.mended
    assert not (runs / f"{run_id}.json").exists()
    (runs / run_id).mkdir()
    (finding,) = examine(engine)
    assert finding.hint == "run: sop audit prune"
    (runs / run_id).rmdir()
    database = apsw.Connection(str(engine.parts.workspace.database))
    database.execute("delete from tombstones")
    database.close()
    told = [finding.message for finding in examine(engine)]
    assert any("no tombstone says why" in message for message in told)
    assert not store.events(run_id)[0].payload


def test_a_dropped_run_that_an_older_version_has_left_asking_is_put_right(engine: Engine, run_id: str) -> None:
    """A process of a version that knows no inbox in SQL may end a run beside a newer one."""
    engine.cancel(run_id, actor=ANN)
    (engine.parts.workspace.sops / "config.json").write_text(json.dumps({"auditRetentionDays": 1}))
    database = apsw.Connection(str(engine.parts.workspace.database))
    database.execute("update runs set asks = 1, left_at = 0")
    database.close()
    with open_keeper(engine.parts.workspace) as keeper:
        keeper.retain(engine.parts.clock.now().at + timedelta(days=2))
    assert Reader(engine).inbox()["items"] == []
    (finding,) = examine(engine, mend=False)
    assert (finding.mendable, finding.mended) == (True, False)
    (finding,) = examine(engine)
    assert finding.mended
    assert examine(engine) == ()
    assert Reader(engine).inbox(limit=1)["total"] == 0


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


def test_files_of_runs_that_the_database_does_not_know_are_trouble(bench: Bench) -> None:
    bench.workspace.runs.mkdir(exist_ok=True)
    (bench.workspace.runs / "sop_run_aaaaaaaaaaaa.audit.jsonl").write_text("{}\n")
    found = [finding for finding in examine(bench.engine()) if "sop_run_aaaaaaaaaaaa" in finding.message]
    assert [finding.mended for finding in found] == [False]


def test_what_cannot_be_examined_around_the_record_is_a_finding(bench: Bench) -> None:
    def around() -> Iterator[tuple[str, str]]:
        yield "the disk is nearly full", "make room"
        raise StoreError("cannot use the store: no such table: access", hint="restore a backup")

    found = [(each.message, each.hint, each.mended) for each in examine(bench.engine(), around=around())]
    assert found == [
        ("the disk is nearly full", "make room", False),
        ("cannot use the store: no such table: access", "restore a backup", False),
    ]
