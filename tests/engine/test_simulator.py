"""Many histories of the real engine and driver under crashes, races and people; and proof that bugs would be found."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import msgspec
import pytest

from sopwith.core import (
    approvers,
    conclude,
    evolve_again,
    gates,
    moves,
    moves_answer,
    moves_driver,
    moves_flow,
    moves_gate,
    moves_person,
    moves_rollback,
    rollback,
)
from sopwith.core import due as due_module
from sopwith.core import evolve as evolve_module
from sopwith.core import run as run_module
from sopwith.core.address import number_of
from sopwith.core.approval import ApprovalRules
from sopwith.core.due import Due, DueKind
from sopwith.engine import driver as driver_module
from sopwith.engine import engine as engine_module
from sopwith.engine import intents as intents_module
from sopwith.engine import recovery
from sopwith.engine.driver import _Driver
from sopwith.engine.engine import Engine
from sopwith.engine.environment import work_order
from sopwith.engine.runs import Runs
from sopwith.errors import StoreError
from sopwith.ports import Lost
from sopwith.stores import batches
from sopwith.testing import memory, simulator
from sopwith.testing.executor import SUCCEEDED, FakeExecutor, FakeWatch, key_of
from sopwith.testing.memory import MemoryStore
from sopwith.testing.mortal import Died, Process, mortal_store
from sopwith.testing.samples import first_batch, next_batch
from sopwith.testing.simulator import FileDisk, main, simulate
from sopwith.testing.virtual_time import VirtualLoop

FIRST, END = (int(part) for part in os.environ.get("SOPWITH_SEEDS", "0:2000").split(":"))
CHUNK = 40


@pytest.mark.parametrize("first", range(FIRST, END, CHUNK))
def test_no_seed_breaks_a_law(first: int) -> None:
    reports = [simulate(seed) for seed in range(first, min(first + CHUNK, END))]
    assert [violation for report in reports for violation in report.violations] == []
    # a simulator in which nothing happens proves nothing
    assert sum(report.crashes for report in reports) > CHUNK / 4
    assert sum(report.starts for report in reports) > CHUNK


ONCE_MISTAKEN = (
    *(105708, 112546, 160743, 176530, 224742, 533005, 612275, 614496, 751386, 814386, 839321, 955867, 985047),
    *(992484, 1000487, 1039224, 1045907, 1065337, 1075317),
)


@pytest.mark.parametrize("seed", ONCE_MISTAKEN)
def test_a_seed_in_which_a_law_or_the_patient_person_was_once_mistaken_breaks_none(seed: int) -> None:
    assert simulate(seed).violations == ()


def test_a_seed_in_which_a_late_driver_told_of_an_instance_that_was_gone_breaks_none() -> None:
    assert simulate(752330).violations == ()


@pytest.mark.parametrize("seed", range(3))
def test_the_sqlite_store_keeps_the_same_laws(seed: int, tmp_path: Path) -> None:
    assert simulate(seed, disk=FileDisk(tmp_path / "runs.db")).violations == ()


@pytest.mark.parametrize("seed", [1, 21, 99])
def test_the_same_seed_replays_exactly(seed: int) -> None:
    assert simulate(seed) == simulate(seed)


def test_the_same_seed_replays_exactly_in_another_process() -> None:
    program = "from sopwith.testing.simulator import simulate; print(simulate(21).trace)"

    def trace(hash_seed: str) -> str:
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        told = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
        return told.stdout.strip()

    assert trace("1") == trace("2") == simulate(21).trace


def test_what_is_said_while_the_power_is_cut_is_never_recorded() -> None:
    loop = VirtualLoop()
    try:
        simulation = simulator._Simulation(1, loop, simulator.MemoryDisk(), None)
        speaks = simulation._process(drives=None)

        def say(engine: Engine) -> int:
            simulation._cut_the_power()
            return engine.parts.store.version()

        assert simulation._say(speaks, "resume", say) is None
        assert not speaks.alive
    finally:
        loop.close()


def test_a_resume_cut_off_by_the_power_cut_does_not_count_by_the_boot_before_it() -> None:
    assert simulate(6586).violations == ()


@pytest.mark.parametrize("lives", [False, True])
def test_what_a_dead_process_would_have_said_is_told_nobody(caplog: pytest.LogCaptureFixture, lives: bool) -> None:
    async def breaks() -> None:
        raise StoreError("the disk is gone")

    loop = VirtualLoop()
    simulation = simulator._Simulation(1, loop, simulator.MemoryDisk(), None)
    process = simulation._process(drives=None)
    process.tasks.append(loop.create_task(breaks()))
    loop.run_until_complete(asyncio.sleep(1))
    process.alive = lives
    simulation.forget_the_dead()
    loop.close()
    process.tasks.clear()
    gc.collect()
    assert ("never retrieved" in caplog.text) is lives


def test_while_one_writes_others_wait_though_the_writer_may_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an append asks inside its transaction is no moment for anybody else."""
    asking: list[str] = []
    asked = 0
    append, act = MemoryStore.append, simulator._Simulation._act

    def tracked(self, run_id, after_seq, batch, *, admit=None, **more):
        def ask(occupancy):
            asking.append(run_id)
            try:
                admit(occupancy)
            finally:
                asking.pop()

        append(self, run_id, after_seq, batch, admit=ask if admit else None, **more)

    def watched(self):
        assert not asking, "somebody acts inside a transaction"
        act(self)

    def passed(self, process, call):
        nonlocal asked
        asked += bool(asking)
        pass_by(self, process, call)

    pass_by = simulator._Simulation.pass_by
    monkeypatch.setattr(MemoryStore, "append", tracked)
    monkeypatch.setattr(simulator._Simulation, "_act", watched)
    monkeypatch.setattr(simulator._Simulation, "pass_by", passed)
    assert [violation for seed in range(12) for violation in simulate(seed).violations] == []
    assert asked


@pytest.mark.parametrize("call", ["summary", "events"])
@pytest.mark.parametrize("writes", ["create", "append"])
def test_a_process_that_dies_inside_its_transaction_has_written_nothing(writes: str, call: str, tmp_path: Path) -> None:
    for disk in (simulator.MemoryDisk(), FileDisk(tmp_path / "runs.db")):
        first, second = first_batch("sop_run_1"), first_batch("sop_run_2")
        god = disk.open()
        god.create("deploy", lambda _, first=first: first)
        process = Process(1, drives=None, environ={}, fuse=None)
        store = mortal_store(process, disk.open(), _Killer(disk, call))

        def look(_, ask=getattr(store, call), second=second):  # noqa: B008 - the one of this turn
            ask("sop_run_1")
            return second

        create = partial(store.create, "deploy", look)
        append = partial(store.append, "sop_run_1", 1, next_batch(first), admit=look)
        with pytest.raises(Died):
            (create if writes == "create" else append)()
        assert not process.writing
        assert (god.events("sop_run_1"), god.events("sop_run_2")) == (first.events, ())
        god.append("sop_run_1", 1, next_batch(first))
        god.close()


def test_the_last_word_too_waits_until_a_driver_has_written() -> None:
    with closing(VirtualLoop()) as loop:
        simulation = simulator._Simulation(1, loop, simulator.MemoryDisk(), 0)
    simulation._troubled = False
    simulation._last_call, simulation._last_calls_left = "events", 2
    driver = Process(1, drives="sop_run_1", environ={}, fuse=None)
    driver.writing = True
    simulation.pass_by(driver, "events")
    assert simulation._last_calls_left == 2
    driver.writing = False
    simulation.pass_by(driver, "events")
    assert simulation._last_calls_left == 1


class _Killer:
    """A fate that kills at one call; it must come inside a transaction."""

    def __init__(self, disk: simulator.Disk, call: str) -> None:
        self._disk = disk
        self._call = call

    def pass_by(self, process: Process, call: str) -> None:
        assert process.writing == (call == self._call)
        if process.writing:
            process.drop()
            self._disk.bury(process)
            raise Died

    def fault(self, process: Process, call: str) -> None:
        pass


def test_seeds_differ() -> None:
    assert len({simulate(seed).trace for seed in range(10)}) == 10


def test_fewer_acts_of_a_seed_are_the_same_history_cut_off() -> None:
    whole, cut = simulate(21, trace=True), simulate(21, acts=4, trace=True)
    same = next(n for n, (one, other) in enumerate(zip(whole.story, cut.story, strict=False)) if one != other)
    assert same > 3
    assert len(cut.story) < len(whole.story)


def test_one_seed_is_told_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "21", "--trace"]) == 0
    told = capsys.readouterr().out
    assert "run_created by" in told
    assert "launch ('sop_run_" in told
    assert told.splitlines()[-1].endswith(f"trace {simulate(21).trace}")


def test_a_seed_that_breaks_a_law_is_cut_down_and_its_last_acts_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_gate_that_forgets_whom_it_lists(monkeypatch)
    seed = next(seed for seed in range(SEEDS) if simulate(seed).violations)
    assert main(["--seed", str(seed)]) == 1
    told = capsys.readouterr().out
    assert f"seed {seed} breaks a law with" in told
    assert "approval_" in told
    assert "who may not" in told or "is no" in told or "breaks" in told


def test_several_processes_play_the_same_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:6", "-j", "2", "--summary"]) == 0
    several = capsys.readouterr().out.splitlines()
    assert main(["--seeds", "0:6", "--summary"]) == 0
    one = capsys.readouterr().out.splitlines()
    assert several[:-1] == one[:-1]
    assert several[-1].partition(" seeds broke a law")[0] == one[-1].partition(" seeds broke a law")[0]


def test_what_was_never_met_is_told_as_a_hole(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seeds", "0:1", "--summary"])
    assert "   a hole:  " in capsys.readouterr().out


def test_each_state_is_read_once_and_no_answer_outlives_its_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory = simulate(5)
    monkeypatch.setattr(simulator, "remembering", nullcontext)
    assert simulate(5) == with_memory


def test_the_command_counts_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0:3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 seeds, ")


# planted bugs: each must be found


def a_driver_that_forgets_its_claim(patch: pytest.MonkeyPatch) -> None:
    commit = Runs.commit

    def unclaimed(self, loaded, command, *, claim=None, **options):
        return commit(self, loaded, command, **options)

    patch.setattr(Runs, "commit", unclaimed)


def a_store_that_gives_a_claim_twice(patch: pytest.MonkeyPatch) -> None:
    from sopwith.testing import memory

    patch.setattr(memory, "_driver", lambda _shelf, _run: None)


def a_store_that_does_not_fence(patch: pytest.MonkeyPatch) -> None:
    from sopwith.testing import memory

    patch.setattr(memory, "_check_claim", lambda _run, _claim: None)


def an_append_that_ignores_after_seq(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(batches, "check_next", lambda *_args, **_options: None)


def an_append_that_forgets(patch: pytest.MonkeyPatch) -> None:
    append = MemoryStore.append
    forgotten = set()

    def forgetful(self, run_id, after_seq, batch, **options):
        append(self, run_id, after_seq, batch, **options)
        # once: a verb that settles a gate would try for ever
        if after_seq == 7 and run_id not in forgotten:
            forgotten.add(run_id)
            kept = self._shelf.runs[run_id]
            kept.events = kept.events[:7]

    patch.setattr(MemoryStore, "append", forgetful)


def a_recovery_that_always_starts(patch: pytest.MonkeyPatch) -> None:
    async def recover(self, order, on_output):
        self._world.started.pop(key_of(order), None)
        return await self.start(order, on_output)

    patch.setattr(FakeExecutor, "recover", recover)


def a_watch_that_calls_the_lost_a_success(patch: pytest.MonkeyPatch) -> None:
    wait = FakeWatch.wait

    async def hopeful(self):
        result = await wait(self)
        return SUCCEEDED if isinstance(result, Lost) else result

    patch.setattr(FakeWatch, "wait", hopeful)


def a_start_that_ignores_the_gate(patch: pytest.MonkeyPatch) -> None:
    for module in (due_module, moves_driver):
        patch.setattr(module, "is_gated", lambda _run, _number: False)


def a_start_that_ignores_the_digest(patch: pytest.MonkeyPatch) -> None:
    start = moves_driver.start

    def careless(run, command):
        gate = run.steps[command.step].gate
        same = command if gate is None else type(command)(**{**_fields(command), "digest": gate.digest})
        return start(run, same)

    _moved(patch, start, careless)
    # the driver looks once more before it starts what it recorded: that net is taken away too
    patch.setattr(recovery, "_withheld", lambda order, _reason: order)


def a_start_before_its_dependencies(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_driver, "dependencies_met", lambda _run, _number: True)
    patch.setattr(evolve_module, "dependencies_met", lambda _run, _number: True)


def a_driver_that_starts_before_it_records(patch: pytest.MonkeyPatch) -> None:
    start = _Driver._start

    async def eager(self, step):
        executor = self._intents.executor(self._loaded.run, step)
        if executor is not None:
            await executor.start(work_order(self._parts, self._loaded.run, step), lambda _chunk: None)
        return await start(self, step)

    patch.setattr(_Driver, "_start", eager)


def a_driver_that_forgets_results(patch: pytest.MonkeyPatch) -> None:
    commit = _Driver._commit

    def late(self, command, **options):
        if type(command).__name__ == "Finish":
            return ()
        return commit(self, command, **options)

    patch.setattr(_Driver, "_commit", late)


def a_driver_that_recovers_as_if_new(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(driver_module, "recovery_order", work_order)


def a_recovery_that_starts_what_changed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "_withheld", lambda order, _reason: order)


def a_driver_that_runs_lost_steps_again(patch: pytest.MonkeyPatch) -> None:
    def again(self, step, attempt, lost, held):
        self._watched.pop(step, None)

    patch.setattr(_Driver, "_interrupted", again)


def a_driver_that_leaves_without_a_last_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(driver_module, "due", _due_only_inside_the_driver())


def a_driver_that_leaves_running_steps_at_a_cancel(patch: pytest.MonkeyPatch) -> None:
    async def ignore(self, step):
        return False

    patch.setattr(_Driver, "_stop", ignore)


def a_cancel_that_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_person, "running_processes", lambda _run: ())
    patch.setattr(conclude, "running_processes", lambda _run: ())


def a_driver_that_never_settles_a_timeout(patch: pytest.MonkeyPatch) -> None:
    original = due_module.ready_now

    def without_deadlines(run, now):
        return tuple(item for item in original(run, now) if item.kind is not DueKind.EXPIRE_GATE)

    patch.setattr(driver_module, "ready_now", without_deadlines)


def a_recovery_that_trusts_marks_from_before_a_restart(patch: pytest.MonkeyPatch) -> None:
    recover = FakeExecutor.recover

    async def trusting(self, order, on_output):
        return await recover(self, msgspec.structs.replace(order, intended_boot=order.this_boot), on_output)

    patch.setattr(FakeExecutor, "recover", trusting)


def a_vote_that_counts_twice(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, moves_answer, "_approved", {"if command.actor.id in voters:": "if False:"})


def a_quorum_that_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ApprovalRules, "votes_needed", 1)


def a_gate_that_forgets_whom_it_lists(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(approvers, "matches", lambda _principals, _actor, _groups: True)


def a_starter_that_approves_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ApprovalRules, "self_approval", True)


def a_deadline_that_trusts_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_gate, "_jumped_ms", lambda _run, _gate, _command: 0)


def an_escalation_that_approves(patch: pytest.MonkeyPatch) -> None:
    approve = "TimeoutAction.APPROVE if gate.on_timeout is TimeoutAction.ESCALATE else gate.on_timeout"
    mutant = {
        "if gate.on_timeout is TimeoutAction.ESCALATE:": "if False:",
        "action=gate.on_timeout": f"action={approve}",
        "gate, gate.on_timeout)": f"gate, {approve})",
    }
    _moved(patch, moves_gate.expire, _rewritten(patch, moves_gate, "expire", mutant))


def a_waiver_that_outlives_a_retry(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, evolve_again, "_asked_again", {"must_ask=": "waived=step.waived, must_ask="})


def a_waiver_that_outweighs_a_change(patch: pytest.MonkeyPatch) -> None:
    waived = {"if step.waived and not always_asks(run, number):": "if step.waived:"}
    is_gated = _rewritten(patch, gates, "is_gated", waived)
    for module in (due_module, moves_driver, moves_gate, moves_person, intents_module):
        patch.setattr(module, "is_gated", is_gated)


def a_retry_without_limit(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, moves_flow, "_next_try", {"step.tries >= rules.max_attempts": "False"})


def a_start_before_its_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves_driver, "_is_startable", lambda _run, step, _command: step.status in ("pending", "waiting"))
    next_ = due_module._next

    def hasty(run, step, *, room):
        item = next_(run, step, room=room)
        hurried = item is not None and item.kind is DueKind.START_STEP
        return Due(item.kind, item.step) if hurried else item

    patch.setattr(due_module, "_next", hasty)
    patch.setattr(due_module, "left_ms", lambda _run, _item, _now: None)


def a_condition_that_is_ignored(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, moves_flow, "_ask_condition", {"if verdict.result is False:": "if False:"})
    _rewritten(patch, due_module, "_next", {"and step.condition_held is None": "and not step.condition_held and False"})
    start = _rewritten(patch, moves_driver, "start", {"and not step.condition_held": "and False"})
    _moved_by_name(patch, "start", start)


def a_run_that_ignores_max_parallel(patch: pytest.MonkeyPatch) -> None:
    for module in (due_module, moves_driver):
        patch.setattr(module, "has_room", lambda _run: True)


def a_limit_that_trusts_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    from sopwith.core import run as run_module

    def by_wall(start, held, end):
        return max(0, round((end.at - start.at).total_seconds() * 1000)) - held.wall_ms

    patch.setattr(run_module, "lived_ms", by_wall)


def a_driver_that_sets_no_limit(patch: pytest.MonkeyPatch) -> None:
    async def never(self, step):
        return False

    patch.setattr(_Driver, "_time_out", never)


def an_instance_that_passes_anothers_gate(patch: pytest.MonkeyPatch) -> None:
    is_gated = gates.is_gated

    def of_any(run, number):
        others = run.steps[number_of(number)].instances or ()
        return is_gated(run, number) and not any(run.steps[each].gate_passed for each in others)

    for module in (due_module, moves_driver):
        patch.setattr(module, "is_gated", of_any)


def a_step_that_ignores_for_how_many_items_it_may_be_under_way(patch: pytest.MonkeyPatch) -> None:
    for module in (due_module, moves_driver, moves_gate):
        patch.setattr(module, "held_back", lambda _run: frozenset())


def an_instance_that_does_not_count_on_when_it_comes_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve_again, "_former", lambda _run, _step: {})


def a_step_that_ends_before_its_last_instance(patch: pytest.MonkeyPatch) -> None:
    _rewritten(patch, conclude, "_instances_done", {"if not left:": "if left <= 1:"})


def a_rollback_in_the_order_of_the_steps(patch: pytest.MonkeyPatch) -> None:
    to_roll_back = rollback.to_roll_back
    for module in (conclude, moves_rollback):
        patch.setattr(module, "to_roll_back", lambda run: tuple(reversed(to_roll_back(run))))


def a_rollback_that_asks_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gates, "asks_first", lambda _run, _number: False)


def a_rollback_that_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    _rewritten(
        patch, conclude, "_stop", {"if any(step.status is StepStatus.RUNNING for step in run.under_way):": "if False:"}
    )


def a_rollback_of_what_was_never_completed(patch: pytest.MonkeyPatch) -> None:
    wider = _rewritten(patch, rollback, "to_roll_back", {"step.status is StepStatus.COMPLETED": "not step.stuck"})
    for module in (conclude, moves_rollback):
        patch.setattr(module, "to_roll_back", wider)


def _moved_by_name(patch: pytest.MonkeyPatch, name: str, mutant) -> None:
    for key, move in list(moves.MOVES.items()):
        if move.handler.__name__ == name:
            patch.setitem(moves.MOVES, key, moves.Move(mutant, move.to))


def _rewritten(patch: pytest.MonkeyPatch, module, name: str, changes: dict[str, str]):
    """The function with other lines in it, in place of the one in its module."""
    source = inspect.getsource(getattr(module, name))
    for old, new in changes.items():
        assert source.count(old) == 1, f"{name} has no longer: {old}"
        source = source.replace(old, new)
    made: dict[str, Callable[..., object]] = {}
    exec(source, module.__dict__, made)
    patch.setattr(module, name, made[name])
    return made[name]


def _moved(patch: pytest.MonkeyPatch, handler, mutant) -> None:
    for key, move in list(moves.MOVES.items()):
        if move.handler is handler:
            patch.setitem(moves.MOVES, key, moves.Move(mutant, move.to))


def _fields(command) -> dict[str, object]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


def _due_only_inside_the_driver() -> Callable[..., tuple[Due, ...]]:
    def seen(run):
        return () if sys._getframe(1).f_code.co_name == "drive" else due_module.due(run)

    return seen


def a_run_limit_that_trusts_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    changes = {"lived_ms(run.clock, run.held, now)": "round((now.at - run.clock.at).total_seconds() * 1000)"}
    mutant = _rewritten(patch, run_module, "run_left_ms", changes)
    for module in (due_module, moves_flow, engine_module):
        patch.setattr(module, "run_left_ms", mutant)


def a_run_that_goes_on_when_its_time_is_up(patch: pytest.MonkeyPatch) -> None:
    mutant = _rewritten(patch, run_module, "starts_nothing", {"run.timed_out or ": ""})
    _rewritten(patch, due_module, "due", {" or is_running_out(run)": ""})
    for module in (due_module, moves_driver, moves_flow, moves_gate, recovery):
        patch.setattr(module, "starts_nothing", mutant)


def a_group_that_lets_two_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "_shares", lambda run, group: False)


PLANTED: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    a_driver_that_forgets_its_claim,
    a_store_that_gives_a_claim_twice,
    a_store_that_does_not_fence,
    an_append_that_ignores_after_seq,
    an_append_that_forgets,
    a_recovery_that_always_starts,
    a_watch_that_calls_the_lost_a_success,
    a_start_that_ignores_the_gate,
    a_start_that_ignores_the_digest,
    a_start_before_its_dependencies,
    a_driver_that_starts_before_it_records,
    a_driver_that_forgets_results,
    a_driver_that_recovers_as_if_new,
    a_recovery_that_starts_what_changed,
    a_driver_that_runs_lost_steps_again,
    a_driver_that_leaves_without_a_last_look,
    a_driver_that_leaves_running_steps_at_a_cancel,
    a_cancel_that_does_not_wait,
    a_driver_that_never_settles_a_timeout,
    a_recovery_that_trusts_marks_from_before_a_restart,
    a_vote_that_counts_twice,
    a_quorum_that_is_ignored,
    a_gate_that_forgets_whom_it_lists,
    a_starter_that_approves_itself,
    a_deadline_that_trusts_the_wall_clock,
    an_escalation_that_approves,
    a_waiver_that_outlives_a_retry,
    a_waiver_that_outweighs_a_change,
    a_retry_without_limit,
    a_start_before_its_time,
    a_condition_that_is_ignored,
    a_run_that_ignores_max_parallel,
    a_limit_that_trusts_the_wall_clock,
    a_driver_that_sets_no_limit,
    a_run_limit_that_trusts_the_wall_clock,
    a_run_that_goes_on_when_its_time_is_up,
    a_group_that_lets_two_in,
    an_instance_that_passes_anothers_gate,
    a_step_that_ignores_for_how_many_items_it_may_be_under_way,
    an_instance_that_does_not_count_on_when_it_comes_back,
    a_step_that_ends_before_its_last_instance,
    a_rollback_in_the_order_of_the_steps,
    a_rollback_that_asks_nobody,
    a_rollback_that_does_not_wait,
    a_rollback_of_what_was_never_completed,
)
SEEDS = 400
"""Within how many seeds each must be found."""
_ITS_OWN = ("AttributeError(", "NameError(", "TypeError(")
"""A bug that no longer fits the source breaks at once, and that is no law's doing."""


def plant_and_find(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, seeds: range = range(SEEDS)
) -> None:
    bug(monkeypatch)
    for seed in seeds:
        if broken := simulate(seed).violations:
            assert not any(error in broken[0] for error in _ITS_OWN), f"{bug.__name__} is none: {broken[0]}"
            return
    pytest.fail(f"{bug.__name__} lives through {len(seeds)} seeds")


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant_and_find(bug, monkeypatch)


def test_a_planted_bug_that_only_breaks_by_itself_is_not_called_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def a_bug_that_no_longer_fits(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(moves_gate, "_jumped_ms", lambda: 0)

    with pytest.raises(AssertionError, match=r"is none: seed .* broke: TypeError"):
        plant_and_find(a_bug_that_no_longer_fits, monkeypatch)
