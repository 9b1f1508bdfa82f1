"""The examples run as they stand, offline, and do what they say; the project's own release procedure can be read."""

import hashlib
import json
import shutil
import subprocess

import pytest
from tests.docs.pages import ROOT, environment, sop

from sopwith.engine.template import make_workspace

_MADE = shutil.ignore_patterns("build", "runs*", "keys", "__pycache__", "pycache", "staging", "production", "artefacts")


@pytest.fixture
def workspace(tmp_path):
    return shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=_MADE)


@pytest.mark.parametrize("folder", ["examples", "."])
def test_procedures_are_valid_and_without_warnings(folder, tmp_path):
    shutil.copytree(ROOT / folder / ".pi", tmp_path / ".pi", ignore=_MADE)
    found = sop("validate", cwd=tmp_path)
    assert (found["errors"], found["warnings"], found["problems"]) == (0, 0, [])
    assert found["checked"]


@pytest.mark.parametrize("folder", ["examples", "."])
def test_git_ignores_what_init_says(folder, tmp_path):
    made, _ = make_workspace(tmp_path)
    name = ".pi/sops/.gitignore"
    assert (ROOT / folder / name).read_text() == (made.root / name).read_text()


def test_the_pipeline_runs_by_itself(workspace):
    run = sop("run", "qa-pipeline", cwd=workspace)
    assert run["status"] == "completed"
    outputs = {name: value for step in run["stepResults"] for name, value in step["outputs"].items()}
    assert outputs["tests"] == 5
    assert outputs["files"] == 5
    report = (workspace / "build" / "report.md").read_text()
    assert run["runId"] in report
    assert f"| {outputs['micros']} |" in report


def test_the_pipeline_fails_where_a_test_does(workspace):
    prices = workspace / "demo-app" / "src" / "bakery" / "prices.py"
    prices.write_text(prices.read_text().replace('"rye": 420', '"rye": 421'))
    run = sop("run", "qa-pipeline", cwd=workspace, exit_code=4)
    assert [step["status"] for step in run["stepResults"]] == ["completed", "failed", "pending", "pending"]
    assert not (workspace / "build" / "report.md").exists()


def test_the_deployment_asks_four_times_and_deploys_what_was_built(workspace):
    given = ("--param", "environment=production", "--param", "version=1.4.0")
    run = sop("run", "deploy-bakery", *given, cwd=workspace, exit_code=3)
    home = workspace / "build" / "production"
    for step in (1, 2, 3, 4):
        assert run["status"] == "awaiting_approval"
        assert [gate["stepNumber"] for gate in run["gates"]] == [step]
        assert (home / "current").exists() == (step == 4)
        run = sop("approve", run["runId"], cwd=workspace, exit_code=0 if step == 4 else 3)["run"]
    assert run["status"] == "completed"
    deployed = (home / "current" / "bakery.pyz").read_bytes()
    outputs = run["stepResults"][0]["outputs"]
    assert hashlib.sha256(deployed).hexdigest() == outputs["sha256"]
    assert json.loads((home / "prices.json").read_text())["schema"] == 2
    backup = json.loads((workspace / run["stepResults"][1]["outputs"]["backup"]).read_text())
    assert backup == {"schema": 1, "prices": {}}


def test_a_deployment_that_is_not_what_was_built_fails_its_verification(workspace):
    given = ("--param", "environment=staging", "--param", "version=1.4.0")
    run_id = sop("run", "deploy-bakery", *given, cwd=workspace, exit_code=3)["runId"]
    for _ in range(3):
        sop("approve", run_id, cwd=workspace, exit_code=3)
    (workspace / "build" / "staging" / "current" / "bakery.pyz").write_bytes(b"something else")
    run = sop("approve", run_id, cwd=workspace, exit_code=4)["run"]
    assert run["stepResults"][3]["status"] == "failed"


def test_a_deployment_needs_its_parameters(workspace):
    told = sop("run", "deploy-bakery", "--param", "environment=moon", cwd=workspace, exit_code=2)
    assert told["error"]["code"] == "bad_parameter"


def test_an_incident_is_walked_through_by_hand(workspace, tmp_path):
    graph = tmp_path / "graph.txt"
    graph.write_text("errors: 0\n")
    run = sop("run", "handle-incident", "--param", "summary=the shop is slow", cwd=workspace, exit_code=3)
    run_id = run["runId"]
    assert run["status"] == "running"
    sop("complete", run_id, "--output", "all customers, since 09:40", cwd=workspace, exit_code=3)
    sop("approve", run_id, "--step", "2", cwd=workspace, exit_code=3)
    sop("complete", run_id, "--comment", "rolled back", "--evidence", str(graph), cwd=workspace, exit_code=3)
    sop("complete", run_id, "--comment", "a slow query", cwd=workspace, exit_code=3)
    sop("approve", run_id, "--step", "4", cwd=workspace, exit_code=3)
    sop("complete", run_id, "--comment", "an index", cwd=workspace, exit_code=3)
    run = sop("complete", run_id, "--comment", "written", cwd=workspace)
    assert run["status"] == "completed"
    (evidence,) = run["stepResults"][1]["evidence"]
    assert evidence["sha256"] == hashlib.sha256(graph.read_bytes()).hexdigest()
    kept = workspace / ".pi" / "sops" / "runs" / run_id / "evidence" / evidence["sha256"]
    assert kept.read_bytes() == graph.read_bytes()


def test_a_clone_stays_clean(workspace):
    for command in (["git", "init", "-q", "."], ["git", "add", "."]):
        subprocess.run(command, cwd=workspace, check=True)
    shutil.copy(ROOT / ".gitignore", workspace.parent / "ignored")
    sop("run", "qa-pipeline", cwd=workspace)
    sop(
        "run", "deploy-bakery", "--param", "environment=staging", "--param", "version=1.0.0", cwd=workspace, exit_code=3
    )
    listed = subprocess.run(
        [
            "git",
            "-c",
            f"core.excludesFile={workspace.parent / 'ignored'}",
            "ls-files",
            "--others",
            "--exclude-standard",
        ],
        cwd=workspace,
        check=True,
        capture_output=True,
    )
    assert listed.stdout == b""


def test_the_release_scripts_are_shell(tmp_path):
    shown = sop("show", "release", cwd=ROOT)["sop"]
    for step in shown["steps"]:
        if step["script"]:
            subprocess.run(["bash", "-n"], input=step["script"].encode(), check=True, env=environment(tmp_path))
    assert [step["requiresApproval"] for step in shown["steps"]] == [False, False, False, False, True, True]
