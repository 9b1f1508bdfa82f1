"""Agents' steps in the engine: the command that was approved is the one that runs, and none that nobody configured."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from msgspec.structs import replace

from sopwith.core.events import RunCreated, StepStarted
from sopwith.core.run import Run
from sopwith.engine.checks import check_procedure
from sopwith.engine.documents import procedure_document, run_document
from sopwith.errors import BadRequest
from sopwith.executors import agent
from sopwith.plugins import Registry
from sopwith.ports import WorkOrder
from sopwith.testing.executor import FAILED, Play, fake_kind

from .bench import ANN, Bench
from .test_envelope_moments import (
    AFTER_THE_INTENT,
    BEFORE_THE_INTENT,
    GATED,
    SUBJECT,
    Act,
    Moment,
    approved,
    asked_again,
    gate_of,
    given_up,
    starts,
)

COMMAND = ["claude", "-p"]
SECRET = "a-key-of-one"
NOTHING: Mapping[str, Any] = MappingProxyType({})
TEXT = {"run": None, "executor": "agent", "description": "Read the diff."}


def configured(bench: Bench, *, command: Any = COMMAND, names: tuple[str, ...] = ("default",), **env: Any) -> None:
    said = {"command": command, "env": {"pass": ["KEY"], "set": {"QUIET": "1"}, **env}}
    bench.config(agents=dict.fromkeys(names, said))


@pytest.fixture
def agents(bench: Bench) -> Bench:
    """A bench on which an agent's program is found, and its steps are played."""
    real = fake_kind(bench.world, bench.clock, "agent")
    bench.kinds.known["agent"] = replace(real, needs_script=False, locate_command=agent.KIND.locate_command)
    program(bench, "bin", "claude")
    program(bench, "bin", "codex")
    bench.environ.update(PATH=str(bench.workspace.root / "bin"), KEY=SECRET)
    configured(bench)
    return bench


def program(bench: Bench, folder: str, name: str) -> Path:
    made = bench.workspace.root / folder / name
    made.parent.mkdir(exist_ok=True)
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    return made


def orders(bench: Bench) -> list[WorkOrder]:
    """The orders that executors are given from now on."""
    given: list[WorkOrder] = []
    bench.world.before_start = given.append
    return given


def review(bench: Bench, step: Mapping[str, Any] = NOTHING, **keys: Any) -> Run:
    """A run of a procedure of one step, which an agent carries out."""
    bench.procedure("review", {**TEXT, **step}, **keys)
    return bench.run("review")


def test_the_executor_is_told_the_command_the_text_and_the_agents_variables(agents: Bench) -> None:
    given = orders(agents)
    run = review(agents)
    (order,) = given
    assert run.ended == "completed"
    assert order.agent is not None
    assert (order.agent.sought.command, order.step.script) == (("claude", "-p"), None)
    assert order.agent.task.startswith(b"# Step 1: Step 1\n\nRead the diff.\n")
    kept = {name: order.environment.get(name) for name in ("KEY", "QUIET", "SOPWITH_ACTOR_KIND", "SOP_STEP")}
    assert kept == {"KEY": SECRET, "QUIET": "1", "SOPWITH_ACTOR_KIND": "agent", "SOP_STEP": "1"}


def test_no_agent_can_be_configured_to_pose_as_a_person(agents: Bench) -> None:
    configured(agents, set={"SOPWITH_ACTOR_KIND": "human"})
    given = orders(agents)
    review(agents)
    assert given[0].environment["SOPWITH_ACTOR_KIND"] == "agent"


def test_each_text_has_frames_of_its_own(agents: Bench) -> None:
    given = orders(agents)
    agents.procedure("review", {**TEXT}, {**TEXT}, params=[{"name": "branch", "default": "main"}])
    agents.run("review")
    ids = {order.agent.task.split(b"from parameters")[0].split()[-1] for order in given if order.agent is not None}
    assert len(ids) == 2


def test_the_record_says_which_command_ran(agents: Bench) -> None:
    configured(agents, names=("reviewer",))
    run = review(agents, {"agent": "reviewer"})
    (started,) = (event.body for event in agents.events(run.run_id) if isinstance(event.body, StepStarted))
    assert (started.agent, started.command) == ("reviewer", ("claude", "-p"))
    step = run_document(run)["stepResults"][0]
    assert (step["agent"], step["command"], step["executor"]) == ("reviewer", COMMAND, "agent")
    assert SECRET not in str(agents.events(run.run_id))


def test_the_envelope_holds_the_command_its_program_and_its_settings(agents: Bench) -> None:
    run = review(agents, {"requiresApproval": True})
    envelope = agents.reader.envelope(run.steps[1].gate.digest)  # type: ignore[union-attr]
    assert envelope is not None
    env = {"pass": ["KEY"], "set": {"QUIET": "1"}}
    assert envelope["agent"] == {"name": "default", "command": COMMAND, "env": env}
    assert envelope["program"] == str(agents.workspace.root / "bin" / "claude")
    assert (envelope["instructions"], envelope["environment"]["QUIET"]) == ("Read the diff.", "1")
    assert set(envelope["passed"]) == {"KEY"}
    assert SECRET not in str(envelope)


def test_the_start_approval_covers_the_commands_of_all_steps(agents: Bench) -> None:
    run = review(agents, executionMode="supervised")
    assert run.start_gate is not None
    envelope = agents.reader.envelope(run.start_gate.digest)
    assert envelope is not None
    assert envelope["agents"]["default"]["command"] == COMMAND
    agents.engine().approve(run.run_id, actor=ANN)
    assert agents.drive(run.run_id).ended == "completed"


def test_envelopes_without_an_agent_have_no_word_of_one(agents: Bench) -> None:
    agents.procedure("plain", GATED, executionMode="step_by_step")
    run = agents.run("plain")
    envelope = agents.reader.envelope(gate_of_first(run))
    assert envelope is not None
    assert not {"agent", "agents"} & set(envelope)


def gate_of_first(run: Run) -> str:
    gate = run.steps[1].gate
    assert gate is not None
    return gate.digest


# what is in the way of a smuggled command


def test_a_procedure_does_not_choose_where_the_program_is_found(agents: Bench) -> None:
    program(agents, "evil", "claude")
    evil = str(agents.workspace.root / "evil")
    step = {"requiresApproval": True, "workingDir": "evil", "env": {"set": {"PATH": evil}}}
    run = review(agents, step, env={"set": {"PATH": evil}})
    envelope = agents.reader.envelope(gate_of_first(run))
    assert envelope is not None
    assert envelope["program"] == str(agents.workspace.root / "bin" / "claude")
    given = orders(agents)
    agents.engine().approve(run.run_id, actor=ANN)
    agents.drive(run.run_id)
    assert given[0].agent is not None
    assert given[0].agent.sought.path == str(agents.workspace.root / "bin")


@pytest.mark.parametrize("path", ["tools/claude", "./tools/claude"])
def test_a_relative_program_starts_at_the_project_folder_wherever_the_step_runs(agents: Bench, path: str) -> None:
    made = program(agents, "tools", "claude")
    (agents.workspace.root / "there").mkdir()
    configured(agents, command=[path])
    run = review(agents, {"requiresApproval": True, "workingDir": "there"})
    envelope = agents.reader.envelope(gate_of_first(run))
    assert envelope is not None
    assert Path(envelope["program"]) == made


@pytest.mark.parametrize("mode", ["auto", "supervised"])
@pytest.mark.parametrize("step", [{}, {"agent": "reviewer"}])
def test_a_run_for_an_agent_that_nobody_configured_is_not_made(agents: Bench, step: dict[str, Any], mode: str) -> None:
    agents.config(agents={"another": {"command": ["x"]}})
    name = step.get("agent", "default")
    with pytest.raises(BadRequest, match=f"step 1 is for the agent {name}, which config.json does not have") as caught:
        review(agents, step, executionMode=mode)
    assert f'add "{name}" with its command to "agents" of config.json' in caught.value.hint
    assert agents.reader.history()["total"] == 0


def test_an_agent_of_a_procedure_within_is_asked_for_at_the_start(agents: Bench) -> None:
    agents.config()
    agents.procedure("test", {**TEXT})
    agents.procedure("deploy", {"run": None, "uses": "test"})
    with pytest.raises(BadRequest, match="cannot run test: step 1 is for the agent default"):
        agents.create("deploy")


def test_validation_tells_of_an_agent_that_nobody_configured_and_of_a_program_that_is_not_there(agents: Bench) -> None:
    agents.procedure("review", {**TEXT}, {**TEXT, "agent": "reviewer"})
    procedure = agents.engine().parts.library.procedure("review")
    check = partial(check_procedure, procedure, Registry(), agents.environ)
    config = agents.engine().parts.library.config()
    (problem,) = check(config, agents.workspace.root)
    assert (problem.code, problem.severity, problem.path) == ("unknown_agent", "error", "step 2")
    (agents.workspace.root / "bin" / "claude").unlink()
    told = {problem.code: problem.severity for problem in check(config, agents.workspace.root)}
    assert told == {"unknown_agent": "error", "no_program": "warning"}


# what changes meanwhile


def another_command(bench: Bench) -> None:
    configured(bench, command=["codex", "-p"])


def another_argument(bench: Bench) -> None:
    configured(bench, command=["claude", "-p", "--yolo"])


def another_setting(bench: Bench) -> None:
    configured(bench, set={"QUIET": "0"})


def another_value(bench: Bench) -> None:
    bench.environ["KEY"] = "two"


def another_program(bench: Bench) -> None:
    (bench.workspace.root / "bin" / "claude").unlink()


CHANGES: list[tuple[Act, tuple[str, ...]]] = [
    (another_command, ("agent command", "program")),
    (another_argument, ("agent command",)),
    (another_setting, ("agent env", "environment QUIET")),
    (another_value, ("passed KEY",)),
    (another_program, ("program",)),
]
EACH_CHANGE = pytest.mark.parametrize(("act", "changed"), CHANGES, ids=[act.__name__ for act, _ in CHANGES])


def scene(bench: Bench) -> str:
    bench.procedure("deploy", GATED, {**GATED, **TEXT})
    return bench.run("deploy").run_id


@BEFORE_THE_INTENT
@EACH_CHANGE
def test_a_command_that_changed_since_it_was_shown_is_asked_about_again(
    agents: Bench, act: Act, changed: tuple[str, ...], moment: Moment
) -> None:
    run_id = scene(agents)
    before = gate_of(agents, run_id)
    moment(agents, run_id, act)
    asked_again(agents, run_id, before, changed)


@AFTER_THE_INTENT
@EACH_CHANGE
def test_a_command_that_changed_since_it_was_recorded_is_not_started(
    agents: Bench, act: Act, changed: tuple[str, ...], moment: Moment
) -> None:
    run_id = scene(agents)
    before = gate_of(agents, run_id)
    moment(agents, run_id, act)
    given_up(agents, run_id, before)


@pytest.mark.parametrize("mode", ["auto", "supervised"])
def test_a_change_after_the_start_opens_the_gate_of_a_step_that_has_none(agents: Bench, mode: str) -> None:
    agents.procedure("deploy", {}, {**TEXT}, executionMode=mode)
    run_id = agents.create("deploy")
    if mode == "supervised":
        agents.engine().approve(run_id, actor=ANN)
    agents.world.after_start = lambda order: another_argument(agents) if order.step.number == 1 else None
    agents.drive(run_id)
    assert starts(agents, run_id) == 0
    assert "approval_stale 2" in agents.names(run_id)
    agents.engine().approve(run_id, actor=ANN, step=SUBJECT)
    agents.drive(run_id)
    assert starts(agents, run_id) == 1
    assert agents.now(run_id).steps[2].command == ("claude", "-p", "--yolo")


@pytest.mark.parametrize("mode", ["auto", "supervised"])
def test_what_a_procedure_within_runs_is_held_to_what_was_there_at_the_start(agents: Bench, mode: str) -> None:
    agents.procedure("test", {**TEXT})
    agents.procedure("deploy", {}, {"run": None, "uses": "test"}, executionMode=mode)
    run_id = agents.create("deploy")
    if mode == "supervised":
        gate = agents.now(run_id).start_gate
        assert gate is not None
        envelope = agents.reader.envelope(gate.digest)
        assert envelope is not None
        assert list(envelope["uses"]["test"]["agents"]) == ["default"]
        agents.engine().approve(run_id, actor=ANN)
    agents.world.after_start = lambda order: another_argument(agents) if order.name == "deploy" else None
    agents.drive(run_id)
    child = agents.now(run_id).steps[2].child
    assert "approval_stale 1" in agents.names(child)
    assert agents.starts(child) == []


def test_an_agent_that_is_gone_pauses_the_run_which_goes_on_once_it_is_back(agents: Bench) -> None:
    run_id = scene(agents)
    approved(agents, run_id, lambda bench: bench.config())
    run = agents.now(run_id)
    assert run.paused
    assert run.reason == ('step 2 needs the agent default, which config.json does not have: add it to "agents" there')
    configured(agents)
    agents.engine().resume(run_id, actor=ANN)
    agents.drive(run_id)
    assert starts(agents, run_id) == 1


def test_a_config_that_cannot_be_read_pauses_the_run_too(agents: Bench) -> None:
    run_id = scene(agents)
    approved(agents, run_id, lambda bench: bench.workspace.config.write_text("{") and None)
    assert "the agent default, and config.json has errors" in agents.now(run_id).reason


def test_an_agent_at_work_is_watched_to_its_end_though_its_command_is_gone(agents: Bench) -> None:
    agents.world.plays[1] = [Play(seconds=60)]
    agents.procedure("review", {**TEXT})
    run_id = agents.create("review")
    driver = agents.begin(run_id)
    agents.pass_time(1)
    driver.cancel()
    agents.pass_time(0)
    assert agents.statuses(run_id) == ["running"]
    agents.config()
    run = agents.drive(run_id)
    assert (run.steps[1].status, len(agents.starts(run_id))) == ("completed", 1)


def test_the_runs_first_event_says_what_was_configured_then(agents: Bench) -> None:
    run = review(agents)
    created = agents.events(run.run_id)[0].body
    assert isinstance(created, RunCreated)
    assert created.agents["default"].command == ("claude", "-p")
    shown = procedure_document(run.procedure, agents.engine().parts.library.config())
    assert (list(shown["agents"]["default"]["command"]), shown["steps"][0]["agent"]) == (COMMAND, "default")


def test_a_rollback_is_a_script_whoever_carried_the_step_out(agents: Bench) -> None:
    given = orders(agents)
    agents.procedure("review", {**TEXT, "rollback": "true\n"}, {})
    agents.world.plays[2] = [Play(result=FAILED)]
    run = agents.run("review")
    assert run.steps[1].command == ("claude", "-p")
    agents.engine().rollback(run.run_id, actor=ANN)
    after = agents.drive(run.run_id)
    assert (after.steps[1].status, after.steps[1].command) == ("rolled_back", ())
    assert given[-1].agent is None
    assert "KEY" not in given[-1].environment


def test_a_shell_verifies_what_an_agent_did(agents: Bench) -> None:
    agents.world.plays[1] = [Play(seconds=None)]
    agents.procedure("review", {**TEXT, "onInterrupt": "verify:test -e review.md"})
    driver = agents.begin(agents.create("review"))
    agents.pass_time(1)
    agents.world.lose(agents.world.starts[0])
    run = agents.finish(driver)
    (key,) = agents.world.checks.starts
    order = agents.world.checks.orders[key]
    assert (order.step.executor, order.agent, order.environment["QUIET"]) == ("shell", None, "1")
    assert (run.steps[1].status, run.steps[1].command) == ("completed", ("claude", "-p"))
