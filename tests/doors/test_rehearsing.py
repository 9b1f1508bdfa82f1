"""`sop test`: what a team sees in its own CI, and that nothing is left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .test_bad_input import is_told_well
from .workshop import Workshop

SHEET = """\
# Deploy

**Execution Mode**: supervised

**Parameters**:

- environment (required, values: staging | production): where to

## Steps

### Step 1: Build

```bash
touch built
echo "url=https://example.org" >> "$SOP_OUTPUT"
```

**Key**: build
**Retries**: 2

### Step 2: Deploy

```bash
touch deployed
```

**Approval Required**: Yes
**Approvers**: group:release
**Quorum**: 2
**Approval Timeout**: 30 minutes
**On Timeout**: reject
**If**: params.environment == 'production'

### Step 3: Settle

**Wait**: 10 minutes

### Step 4: Announce

Tell everybody.
"""
PEOPLE = {"groups": {"release": ["alice", "bob", "cora"]}}
START = """
[params]
environment = "production"

[[acts]]
do = "approve"
by = "dora"
step = "start"
"""
AGREED = f"""
description = "two people of the release group agree"
{START}
[[acts]]
do = "approve"
by = "mallory"
step = 2
refused = "approver_not_allowed"

[[acts]]
do = "approve"
by = "alice"

[[acts]]
do = "approve"
by = "bob"
after = "20m"

[[acts]]
do = "complete"
by = "dora"

[steps.build]
takes = "90s"
exit_codes = [1, 0]
outputs = {{url = "https://example.org"}}

[expect]
status = "completed"
events = ["step_retry_scheduled 1", "approval_vote_recorded 2", "approval_granted 2", "wait_ended 3", "run_completed"]
never = ["approval_timeout"]
outputs = {{build = {{url = "https://example.org"}}}}
"""
SILENCE = f"""
{START}
[[acts]]
do = "approve"
by = "alice"
step = 2

[[acts]]
wait = "31m"

[expect]
status = "paused"
steps = {{2 = "rejected", 3 = "pending"}}
events = ["approval_timeout 2", "run_paused"]
never = ["step_started 2"]
"""
STAGING = """
[params]
environment = "staging"

[[acts]]
do = "approve"
by = "dora"

[[acts]]
do = "complete"
by = "dora"

[expect]
status = "completed"
steps = {2 = "skipped"}
never = ["approval_requested 2"]
"""
WRONG = f"""
{START}
[expect]
status = "completed"
steps = {{2 = "completed", build = "completed"}}
events = ["run_started", "approval_granted 2"]
never = ["wait_started"]
"""


@pytest.fixture
def deploy(workshop: Workshop) -> Workshop:
    folder = workshop.procedure("deploy", SHEET)
    (workshop.sops / "config.json").write_text(json.dumps(PEOPLE))
    (folder / "scenarios").mkdir()
    return workshop


def scenario(workshop: Workshop, name: str, text: str, *, of: str = "deploy") -> Path:
    path = workshop.sops / of / "scenarios" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_scenarios_that_hold_are_a_line_each(deploy: Workshop) -> None:
    scenario(deploy, "staging", STAGING)
    scenario(deploy, "agreed", AGREED)
    scenario(deploy, "silence", SILENCE)
    told = deploy.sop("test", "deploy")
    assert (told.code, told.err) == (0, "")
    assert told.out == (
        "ok      deploy agreed  two people of the release group agree\n"
        "ok      deploy silence\n"
        "ok      deploy staging\n"
        "\n"
        "3 scenarios, all ok\n"
    )


def test_a_difference_is_told_whole_and_exits_1(deploy: Workshop) -> None:
    scenario(deploy, "agreed", AGREED)
    scenario(deploy, "wrong", WRONG)
    told = deploy.sop("test", "deploy")
    assert (told.code, told.err) == (1, "")
    assert told.out == (
        "ok      deploy agreed  two people of the release group agree\n"
        "FAILED  deploy wrong\n"
        "\n"
        "deploy wrong  .pi/sops/deploy/scenarios/wrong.toml\n"
        "  status: expected completed, got awaiting_approval\n"
        "  step 2: expected completed, got awaiting_approval\n"
        "  events: expected approval_granted 2 after run_started, got none\n"
        "  step 2 waits for approval, and no more acts are scripted\n"
        "  what happened:\n"
        "    0s  run_created by somebody\n"
        "    0s  approval_requested start\n"
        "    0s  approval_granted start by dora\n"
        "    0s  run_started\n"
        "    0s  step_started 1\n"
        "    0s  step_completed 1\n"
        "    0s  condition_evaluated 2\n"
        "    0s  approval_requested 2\n"
        "\n"
        "2 scenarios, 1 failed\n"
    )


def test_the_document_has_all_of_it(deploy: Workshop) -> None:
    scenario(deploy, "staging", STAGING)
    scenario(deploy, "wrong", WRONG)
    document = deploy.json("test", "deploy", code=1)
    assert (document["passed"], document["total"], document["failed"]) == (False, 2, 1)
    good, bad = document["scenarios"]
    assert (good["sopName"], good["scenario"], good["passed"], good["status"]) == (
        "deploy",
        "staging",
        True,
        "completed",
    )
    assert good["steps"] == {"1": "completed", "2": "skipped", "3": "completed", "4": "completed"}
    assert good["differences"] == []
    assert bad["differences"][0] == {"what": "status", "expected": "completed", "got": "awaiting_approval"}
    assert bad["events"][0] == {"after": "0s", "event": "run_created", "by": "somebody"}
    assert bad["file"] == ".pi/sops/deploy/scenarios/wrong.toml"
    scenario(deploy, "wrong", STAGING)
    assert deploy.json("test", "deploy")["passed"] is True


def test_nothing_of_the_workspace_changes(deploy: Workshop) -> None:
    scenario(deploy, "agreed", AGREED)
    scenario(deploy, "wrong", WRONG)
    before = deploy.files()
    assert deploy.sop("test").code == 1
    assert deploy.files() == before
    folders = sorted(path.name for path in deploy.sops.iterdir())
    assert folders == ["config.json", "deploy", "index.json"]


def test_nothing_of_a_database_changes(deploy: Workshop) -> None:
    deploy.steps("plain", "Do | true")
    deploy.started("plain", code=0)
    scenario(deploy, "agreed", AGREED)
    before = deploy.files()
    assert deploy.sop("test", "deploy").code == 0
    assert deploy.files() == before
    assert deploy.json("history")["total"] == 1


def test_no_script_runs(deploy: Workshop) -> None:
    scenario(deploy, "agreed", AGREED)
    assert deploy.process("test").code == 0
    assert sorted(path.name for path in deploy.root.iterdir()) == [".pi"]


def test_without_a_name_all_that_have_scenarios_are_played(deploy: Workshop) -> None:
    deploy.steps("bake", "Do | true")
    deploy.steps("plain", "Do | true")
    scenario(deploy, "fine", "[expect]\nstatus = 'completed'\n", of="bake")
    scenario(deploy, "agreed", AGREED)
    document = deploy.json("test")
    assert [(each["sopName"], each["scenario"]) for each in document["scenarios"]] == [
        ("bake", "fine"),
        ("deploy", "agreed"),
    ]


@pytest.mark.parametrize("args", [(), ("deploy",)])
def test_nothing_to_test_is_an_error(deploy: Workshop, args: tuple[str, ...]) -> None:
    told = deploy.sop("test", *args)
    is_told_well(told, 1)
    assert "so nothing was tested" in told.err
    assert deploy.json("test", *args, code=1)["error"]["code"] == "no_scenario"


def test_an_unknown_procedure_exits_6(deploy: Workshop) -> None:
    is_told_well(deploy.sop("test", "deplo"), 6)


def test_only_visible_toml_files_are_scenarios(deploy: Workshop) -> None:
    scenario(deploy, "staging", STAGING)
    folder = deploy.sops / "deploy" / "scenarios"
    for name in (".hidden.toml", "README.md", "notes.toml~", "toml"):
        (folder / name).write_text("garbage")
    (folder / "folder.toml").mkdir()
    os.mkfifo(folder / "pipe.toml")
    assert deploy.json("test", "deploy")["total"] == 1
    assert deploy.json("validate", "deploy")["errors"] == 0


def test_named_files_are_played_instead(deploy: Workshop) -> None:
    scenario(deploy, "wrong", WRONG)
    (deploy.root / "mine.toml").write_text(STAGING)
    (deploy.root / "other.toml").write_text(AGREED)
    document = deploy.json("test", "deploy", "--scenario", "mine.toml", "--scenario", "other.toml")
    assert [each["scenario"] for each in document["scenarios"]] == ["mine", "other"]


@pytest.mark.parametrize("args", [("--scenario", "mine.toml"), ("deploy", "--scenario", "none.toml")])
def test_a_file_without_a_procedure_or_that_is_not_there_exits_2(deploy: Workshop, args: tuple[str, ...]) -> None:
    (deploy.root / "mine.toml").write_text(STAGING)
    is_told_well(deploy.sop("test", *args), 2)


def test_a_scenario_with_mistakes_is_told_and_the_others_are_played(deploy: Workshop) -> None:
    scenario(deploy, "bad", 'descripton = "x"\n[expect]\nstatus = "completed"\n')
    scenario(deploy, "staging", STAGING)
    told = deploy.sop("test", "deploy")
    assert told.code == 1
    assert "FAILED  deploy bad\nok      deploy staging\n" in told.out
    assert 'bad.toml: descripton: expected a known key, got "descripton"' in told.out
    assert 'did you mean "description"?' in told.out


def test_a_scenario_that_leads_outside_is_not_read(deploy: Workshop, tmp_path: Path) -> None:
    outside = tmp_path / "outside.toml"
    outside.write_text(STAGING)
    (deploy.sops / "deploy" / "scenarios" / "link.toml").symlink_to(outside)
    told = deploy.sop("test", "deploy")
    assert told.code == 1
    assert "link.toml leads out of .pi/sops" in told.out


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_scenario_that_cannot_be_read_is_told(deploy: Workshop) -> None:
    scenario(deploy, "secret", STAGING).chmod(0)
    told = deploy.sop("test", "deploy")
    assert told.code == 1
    assert "secret.toml" in told.out


def test_a_procedure_with_errors_is_told_and_the_others_are_tested(deploy: Workshop) -> None:
    deploy.procedure("broken", "# Broken\n\n## Steps\n\n### Step 1: A\n\n```bash\ntrue\n")
    scenario(deploy, "any", STAGING, of="broken")
    scenario(deploy, "staging", STAGING)
    told = deploy.sop("test")
    assert told.code == 1
    assert "FAILED  broken has errors\nok      deploy staging\n" in told.out
    assert "broken/SOP.md:7" in told.out
    assert deploy.json("test", "broken", code=1)["scenarios"][0]["problems"]


def test_the_config_is_the_workspaces_or_the_scenarios_own(deploy: Workshop) -> None:
    own = 'config = {groups = {release = ["alice", "mallory"]}}\n'
    text = AGREED.replace('by = "mallory"\nstep = 2\nrefused = "approver_not_allowed"', 'by = "mallory"\nstep = 2')
    scenario(deploy, "agreed", text)
    assert deploy.sop("test", "deploy").code == 1
    # bob comes too late where mallory belongs to the group
    scenario(deploy, "agreed", own + text.replace('do = "approve"\nby = "bob"\nafter = "20m"', 'wait = "20m"'))
    assert deploy.sop("test", "deploy").code == 0
    (deploy.sops / "config.json").write_text("{")
    assert deploy.sop("test", "deploy").code == 0
    scenario(deploy, "agreed", text)
    is_told_well(deploy.sop("test", "deploy"), 1)


def test_of_a_long_run_the_last_events_are_shown(deploy: Workshop) -> None:
    deploy.steps("long", *["Do | true"] * 50)
    scenario(deploy, "wrong", "[expect]\nstatus = 'failed'\n", of="long")
    told = deploy.sop("test", "long").out
    assert "what happened:\n    63 earlier events: --json shows all\n    0s  step_completed 31\n" in told
    assert told.endswith("    0s  step_completed 50\n    0s  run_completed\n\n1 scenario, 1 failed\n")
    assert len(deploy.json("test", "long", code=1)["scenarios"][0]["events"]) == 103


def test_what_others_wrote_steers_no_terminal(deploy: Workshop) -> None:
    scenario(deploy, "staging", 'description = "a\\u001b[31mb\\u202ec"\n' + STAGING)
    told = deploy.sop("test", "deploy")
    assert told.code == 0
    assert "\x1b" not in told.out
    assert "\u202e" not in told.out


def test_the_template_passes_its_own_scenario(workshop: Workshop) -> None:
    made = workshop.json("create", "bake")["created"]
    assert any(path.endswith("bake/scenarios/everybody-agrees.toml") for path in made)
    assert workshop.sop("test").out == ("ok      bake everybody-agrees  everybody agrees\n\n1 scenario, all ok\n")


@pytest.mark.parametrize(
    "config",
    [
        {"roles": {"runner": ["user:carol"], "approver": ["user:dan"]}},
        {"procedureRoles": {"ba*": {"admin": ["user:carol"]}}},
        {"priorityModes": {"normal": "auto"}, "approvalTimeoutMins": 5},
    ],
)
def test_the_template_passes_its_own_scenario_whatever_config_json_says(
    workshop: Workshop, config: dict[str, Any]
) -> None:
    (workshop.sops / "config.json").write_text(json.dumps(config))
    workshop.sop("create", "bake")
    assert workshop.sop("test", "bake").code == 0, workshop.sop("test", "bake").out
