"""Procedures on disk: found, reported, refused before any surprise, and parsed once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from sopwith.engine.library import Library
from sopwith.engine.template import create_procedure
from sopwith.errors import BadName, InvalidProcedure, NotFound, Refused, WorkspaceError
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


def test_a_link_out_of_the_workspace_is_refused(bench: Bench, library: Library, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "SOP.md").write_text(SHEET)
    (bench.workspace.sops / "bake").symlink_to(outside)
    bench.workspace.index.write_text(json.dumps({"bake": "bake/SOP.md"}))
    with pytest.raises(BadName, match="out of"):
        library.procedure("bake")


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
    assert [file.name for file in files] == ["SOP.md", "manifest.json", "index.json"]
    parsed = library.parsed("deploy-production")
    assert parsed.problems == ()
    run = bench.run("deploy-production")
    assert bench.reader.status(run.run_id)["status"] == "waiting_approval"


def test_the_template_overwrites_nothing(bench: Bench) -> None:
    bench.sheet("bake", "mine")
    with pytest.raises(Refused, match="exists already"):
        create_procedure(bench.workspace, "bake")
    assert (bench.workspace.sops / "bake" / "SOP.md").read_text() == "mine"


def test_config_json_steers_new_runs_only(bench: Bench) -> None:
    bench.config(maxConcurrentRuns=1, approvalTimeoutMins=5)
    bench.procedure("deploy", {"requiresApproval": True})
    run_id = bench.run("deploy").run_id
    bench.config(maxConcurrentRuns=5)
    assert bench.now(run_id).steps[1].gate.due_at is not None
    other = bench.run("deploy").run_id
    assert bench.now(other).steps[1].gate.due_at is None
