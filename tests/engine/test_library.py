"""Procedures on disk: found, reported, refused before any surprise, and parsed once."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import sopwith.parse.index as index_parser
from sopwith.engine.files import read_bounded
from sopwith.engine.library import Entry, Library
from sopwith.engine.template import create_procedure, make_workspace
from sopwith.errors import (
    BadName,
    BadRequest,
    InvalidProcedure,
    NotFound,
    Problem,
    Refused,
    SopwithError,
    WorkspaceError,
)
from sopwith.parse.parsed import SourceFile
from sopwith.settings import find_workspace
from sopwith.stores.sqlite import SqliteStore

from .bench import Bench

SHEET = "# Bake\n\n**Execution Mode**: auto\n\n## Steps\n\n### Step 1: Mix\n\n```bash\nmix\n```\n"


@pytest.fixture
def library(bench: Bench) -> Library:
    return Library(bench.workspace)


def test_an_unregistered_folder_is_found_and_reported(bench: Bench, library: Library) -> None:
    bench.sheet("bake", SHEET)
    entries, problems = library.entries()
    assert [(entry.name, entry.registered) for entry in entries] == [("bake", False)]
    assert [problem.code for problem in problems] == ["unregistered"]
    assert library.procedure("bake").title == "Bake"
    assert "unregistered" in [problem.code for problem in library.parsed("bake").problems]


@pytest.mark.parametrize("path", ["../../outside/manifest.json", "/etc/passwd", "a/../../../x/manifest.json"])
def test_an_index_that_leads_outside_is_refused(bench: Bench, library: Library, path: str) -> None:
    bench.workspace.index.write_text(json.dumps({"bake": path}))
    with pytest.raises((BadName, InvalidProcedure, NotFound)):
        library.procedure("bake")


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder elsewhere that looks like a procedure."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "SOP.md").write_text(SHEET)
    (folder / "manifest.json").write_text('{"name": "bake"}')
    return folder


def test_an_entry_that_leads_out_of_the_workspace_is_refused_and_stops_no_other(
    bench: Bench, library: Library, outside: Path
) -> None:
    bench.sheet("fry", SHEET)
    (bench.workspace.sops / "bake").symlink_to(outside)
    bench.workspace.index.write_text(json.dumps({"bake": "bake/SOP.md", "fry": "fry/SOP.md"}))
    entries, problems = library.entries()
    assert [entry.name for entry in entries] == ["fry"]
    (problem,) = problems
    assert (problem.severity, problem.file, problem.code) == ("error", "index.json", "leads_outside")
    assert "bake" in problem.message
    assert problem.hint
    assert library.procedure("fry").title == "Bake"
    for ask in (library.find, library.parsed, library.procedure):
        with pytest.raises(InvalidProcedure) as refused:
            ask("bake")
        assert refused.value.problems == (problem,)
        assert refused.value.hint


def test_a_folder_that_leads_out_of_the_workspace_is_told_and_not_found(
    bench: Bench, library: Library, outside: Path
) -> None:
    bench.sheet("fry", SHEET)
    (bench.workspace.sops / "bake").symlink_to(outside)
    entries, problems = library.entries()
    assert [entry.name for entry in entries] == ["fry"]
    assert [(p.severity, p.file, p.code) for p in problems if "bake" in p.message] == [
        ("error", "bake/", "leads_outside")
    ]
    with pytest.raises(InvalidProcedure, match="bake"):
        library.procedure("bake")
    assert library.procedure("fry").title == "Bake"


@pytest.mark.parametrize("file", ["SOP.md", "manifest.json"])
@pytest.mark.parametrize("registered", [True, False])
def test_a_file_that_leads_out_of_the_workspace_is_not_read(
    bench: Bench, library: Library, outside: Path, file: str, registered: bool
) -> None:
    bench.sheet("fry", SHEET)
    folder = bench.workspace.sops / "bake"
    folder.mkdir()
    if file == "manifest.json":
        (folder / "SOP.md").write_text(SHEET)
    (folder / file).symlink_to(outside / file)
    if registered:
        bench.workspace.index.write_text(json.dumps({"bake": f"bake/{file}"}))
    assert {entry.name for entry in library.entries()[0]} == {"bake", "fry"}
    parsed = library.parsed("bake")
    assert parsed.procedure is None
    assert [(p.code, p.file) for p in parsed.problems if p.severity == "error"] == [
        ("leads_outside", f".pi/sops/bake/{file}")
    ]
    with pytest.raises(InvalidProcedure):
        library.procedure("bake")
    assert library.procedure("fry").title == "Bake"


def test_a_folder_that_leaves_by_two_dots_is_outside(bench: Bench, library: Library) -> None:
    (bench.workspace.root / "away").mkdir()
    entry = Entry("away", bench.workspace.sops / ".." / ".." / "away", True)
    assert {problem.code for problem in library.outside(entry)} == {"leads_outside"}


def test_a_link_that_stays_inside_is_followed(bench: Bench, library: Library) -> None:
    bench.sheet("bake", SHEET)
    (bench.workspace.sops / "roast").symlink_to("bake")
    (bench.workspace.sops / "fry").mkdir()
    (bench.workspace.sops / "fry" / "SOP.md").symlink_to("../bake/SOP.md")
    assert {library.procedure(name).title for name in ("bake", "fry", "roast")} == {"Bake"}


def test_what_cannot_be_looked_into_stops_no_other(bench: Bench, library: Library) -> None:
    bench.sheet("bake", SHEET)
    sops = bench.workspace.sops
    (sops / "round").symlink_to("round")
    (sops / "empty").mkdir()
    (sops / "empty" / "SOP.md").symlink_to("SOP.md")
    index = {"long": f"{'x' * 300}/SOP.md", "round": "round/SOP.md", "bake": "bake/SOP.md"}
    bench.workspace.index.write_text(json.dumps(index))
    assert "bake" in [entry.name for entry in library.entries()[0]]
    assert library.procedure("bake").title == "Bake"
    for name in ("long", "round"):
        with pytest.raises(SopwithError, match=name):
            library.procedure(name)


RESERVED = ["runs", "keys", "runs.db", "runs.db-wal", "runs.db.old", "index.json", "config.json"]


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_name_is_reported_registered_or_not(bench: Bench, library: Library, name: str) -> None:
    bench.sheet("bake", SHEET)
    registry = bench.workspace.index
    if name != "index.json":
        bench.sheet(name, SHEET)
        assert [p.file for p in library.entries()[1] if p.code == "bad_name"] == [f"{name}/"]
    if not registry.is_dir():
        registry.write_text(json.dumps({name: f"{name}/SOP.md", "bake": "bake/SOP.md"}))
        entries, problems = library.entries()
        assert [entry.name for entry in entries] == ["bake"]
        found = [(p.severity, p.file) for p in problems if p.code == "bad_name" and p.file == "index.json"]
        assert found == [("error", "index.json")]
    with pytest.raises(BadName):
        library.procedure(name)
    with pytest.raises(BadName):
        create_procedure(bench.workspace, name)
    assert library.procedure("bake").title == "Bake"


def test_the_folders_of_the_record_are_no_procedures(bench: Bench, library: Library) -> None:
    for name in ("runs", "keys"):
        (bench.workspace.sops / name).mkdir()
    assert library.entries() == ((), ())


@pytest.mark.parametrize("name", ["../bake", "", "Bake", "a/b", "-x", "a" * 65, "bäk", "."])
def test_a_name_is_checked_before_any_path(library: Library, name: str) -> None:
    with pytest.raises(BadName):
        library.find(name)
    with pytest.raises(BadName):
        create_procedure(library.workspace, name)
    assert list(library.workspace.sops.iterdir()) == []


def test_an_unknown_name_brings_the_nearest(bench: Bench, library: Library) -> None:
    bench.sheet("bake", SHEET)
    with pytest.raises(NotFound) as missing:
        library.find("bale")
    assert missing.value.hint == "did you mean bake?"


def test_a_folder_with_an_impossible_name_is_reported(bench: Bench, library: Library) -> None:
    bench.sheet("Bake It", SHEET)
    entries, problems = library.entries()
    assert entries == ()
    assert [problem.code for problem in problems] == ["bad_name"]


@pytest.mark.parametrize("kind", ["pipe", pytest.param("folder")])
def test_what_is_no_plain_file_is_refused_quickly(bench: Bench, library: Library, kind: str) -> None:
    sheet = bench.workspace.sops / "bake" / "SOP.md"
    sheet.parent.mkdir()
    os.mkfifo(sheet) if kind == "pipe" else sheet.mkdir()
    bench.workspace.index.write_text(json.dumps({"bake": "bake/SOP.md"}))
    began = time.monotonic()
    with pytest.raises(WorkspaceError, match=r"SOP\.md"):
        library.procedure("bake")
    assert time.monotonic() - began < 2


def test_an_index_that_is_no_json_is_reported_and_hides_nothing(bench: Bench, library: Library) -> None:
    bench.sheet("bake", SHEET)
    bench.workspace.index.write_text("{")
    entries, problems = library.entries()
    assert [entry.name for entry in entries] == ["bake"]
    assert any(problem.severity == "error" for problem in problems)


def test_the_cache_gives_the_same_and_notices_a_change(bench: Bench) -> None:
    bench.sheet("bake", SHEET)
    cached = Library(bench.workspace, cache=bench.store)
    fresh = Library(bench.workspace).parsed("bake")
    assert cached.parsed("bake") == fresh
    assert cached.parsed("bake") == fresh
    bench.sheet("bake", SHEET.replace("mix", "stir"))
    assert "stir" in cached.procedure("bake").steps[0].script.text


def test_a_registry_that_was_changed_is_understood_anew(bench: Bench, library: Library) -> None:
    bench.sheet("bake", SHEET)
    for registered in ({}, {"bake": "bake/SOP.md"}, {}):
        bench.workspace.index.write_text(json.dumps(registered))
        for _ in range(2):
            assert [entry.registered for entry in library.entries()[0]] == [bool(registered)]


def test_a_registry_is_parsed_once_and_never_where_something_is_wrong_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    real = index_parser.parse_index

    def noted(source: SourceFile) -> tuple[dict[str, str] | None, tuple[Problem, ...]]:
        parsed.append(source.data)
        return real(source)

    monkeypatch.setattr(index_parser, "parse_index", noted)
    bench.sheet("bake", SHEET)
    for text, times in (('{"bake": "bake/SOP.md"}', 1), ('{"bake": "bake/SOP.md", "x": "../y"}', 2)):
        parsed.clear()
        bench.workspace.index.write_text(text)
        told = [Library(bench.workspace, cache=bench.store).entries() for _ in range(2)]
        assert told[0] == told[1] == Library(bench.workspace).entries()
        assert len(parsed) == times + 1  # once without a cache


def test_a_registry_in_a_damaged_cache_is_parsed_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.sheet("bake", SHEET)
    bench.workspace.index.write_text('{"bake": "bake/SOP.md"}')
    monkeypatch.setattr(type(bench.store), "recall", lambda *_: b"\x91\x01")
    assert [entry.registered for entry in Library(bench.workspace, cache=bench.store).entries()[0]] == [True]


@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000, 100_001, 300_000])
def test_of_a_file_one_byte_more_than_allowed_is_read_at_most(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    assert read_bounded(path, limit=100_000) == path.read_bytes()[:100_001]


def test_a_damaged_cache_entry_is_parsed_again(bench: Bench) -> None:
    bench.sheet("bake", SHEET)

    class Damaged:
        def recall(self, _key: str) -> bytes:
            return b"\xc1 not msgpack"

        def remember(self, _key: str, _value: bytes) -> None:
            pass

    assert Library(bench.workspace, cache=Damaged()).procedure("bake").title == "Bake"


def test_a_cache_hit_loads_no_markdown_parser(bench: Bench) -> None:
    bench.sheet("bake", SHEET)
    store = SqliteStore(bench.workspace.database)
    Library(bench.workspace, cache=store).procedure("bake")
    store.close()
    program = (
        "import sys; from pathlib import Path; from sopwith.ports import Workspace;"
        "from sopwith.engine.library import Library; from sopwith.stores.sqlite import SqliteStore;"
        "work = Workspace(Path(sys.argv[1])); store = SqliteStore(work.database);"
        "title = Library(work, cache=store).procedure('bake').title;"
        "print(title, 'markdown_it' in sys.modules, 'asyncio' in sys.modules)"
    )
    root = str(bench.workspace.root)
    told = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["Bake", "False", "False"]


def test_the_template_has_no_problem_and_runs(bench: Bench, library: Library) -> None:
    files = create_procedure(bench.workspace, "deploy-production")
    assert [file.name for file in files] == ["SOP.md", "manifest.json", "everybody-agrees.toml", "index.json"]
    parsed = library.parsed("deploy-production")
    assert parsed.problems == ()
    run = bench.run("deploy-production")
    assert bench.reader.status(run.run_id)["status"] == "waiting_approval"


def test_the_template_overwrites_nothing(bench: Bench) -> None:
    bench.sheet("bake", "mine")
    with pytest.raises(Refused, match="exists already"):
        create_procedure(bench.workspace, "bake")
    assert (bench.workspace.sops / "bake" / "SOP.md").read_text() == "mine"


def test_procedures_created_at_once_are_all_registered(bench: Bench) -> None:
    """Each of four processes has read nothing of what the others write."""
    program = (
        "import sys; from pathlib import Path; from sopwith.ports import Workspace;"
        "from sopwith.engine.template import create_procedure;"
        "print('ready', flush=True); sys.stdin.readline();"
        "[create_procedure(Workspace(Path(sys.argv[1])), f'{sys.argv[2]}-{number}') for number in range(5)]"
    )
    command = [sys.executable, "-c", program, str(bench.workspace.root)]
    makers = [
        subprocess.Popen([*command, f"made-by-{maker}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for maker in range(4)
    ]
    for maker in makers:
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        maker.stdin.write("\n")
        maker.stdin.flush()
    for maker in makers:
        maker.communicate()
        assert maker.returncode == 0
    assert len(json.loads(bench.workspace.index.read_text())) == 20


def test_a_registry_that_somebody_holds_is_waited_for_and_not_for_ever(bench: Bench) -> None:
    holder = os.open(bench.workspace.sops, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    began = time.monotonic()
    with pytest.raises(WorkspaceError, match="another process") as held:
        create_procedure(bench.workspace, "bake")
    assert held.value.hint
    assert 1 < time.monotonic() - began < 10
    assert list(bench.workspace.sops.iterdir()) == []
    os.close(holder)
    create_procedure(bench.workspace, "bake")


@pytest.mark.parametrize("root", [b"caf\xe9", b"\xff"])
def test_a_workspace_whose_path_is_no_text_is_refused(tmp_path: Path, root: bytes) -> None:
    folder = tmp_path / os.fsdecode(root)
    for find in (
        lambda: find_workspace(folder),
        lambda: find_workspace(folder / ".pi"),
        lambda: find_workspace(tmp_path, override=os.fsdecode(root)),
        lambda: make_workspace(folder),
    ):
        (folder / ".pi" / "sops").mkdir(parents=True, exist_ok=True)
        with pytest.raises(BadRequest, match="UTF-8") as refused:
            find()
        assert refused.value.hint
        refused.value.message.encode()
    assert list((folder / ".pi" / "sops").iterdir()) == []


def test_config_json_steers_new_runs_only(bench: Bench) -> None:
    bench.config(maxConcurrentRuns=1, approvalTimeoutMins=5)
    bench.procedure("deploy", {"requiresApproval": True})
    run_id = bench.run("deploy").run_id
    bench.config(maxConcurrentRuns=5)
    assert bench.now(run_id).steps[1].gate.due_at is not None
    other = bench.run("deploy").run_id
    assert bench.now(other).steps[1].gate.due_at is None


def test_a_folder_that_comes_and_goes_while_it_is_listed_stops_no_other(bench: Bench, library: Library) -> None:
    """Somebody unpacks, renames and removes procedures at the same time."""
    bench.procedure("deploy", {})
    shifty, away = bench.workspace.sops / "shifty", bench.workspace.sops / ".away"
    bench.procedure("shifty", {})
    over = threading.Event()

    def shift() -> None:
        while not over.is_set():
            shifty.rename(away)
            away.rename(shifty)

    shifting = threading.Thread(target=shift)
    shifting.start()
    try:
        for _ in range(50):
            entries, _problems = library.entries()
            assert "deploy" in {entry.name for entry in entries}
            assert library.procedure("deploy").name == "deploy"
            with suppress(SopwithError):
                assert library.procedure("shifty").name == "shifty"
    finally:
        over.set()
        shifting.join()
