"""What was approved is what runs: whatever the envelope holds, and whenever it comes to differ, nothing starts.

The moments: after it was shown, after it was approved, in the middle of a drive, right after the driver recorded its
intent, and after the intent was recorded by a driver that died before its process began.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from sopwith.core.agents import AgentCommand
from sopwith.core.approval import ApprovalRules
from sopwith.core.envelope import Envelope, envelope_bytes, start_envelope
from sopwith.core.events import ApprovalStale, Policy
from sopwith.core.procedure import RetryRules, encode_procedure, sha256
from sopwith.core.run import Run
from sopwith.engine import envelopes
from sopwith.engine.driver import drive
from sopwith.errors import StaleApproval, StoreError
from sopwith.executors import shell
from sopwith.ports import WorkOrder

from .bench import ANN, Bench

Act = Callable[[Bench], object]

GATED = {"requiresApproval": True, "dependsOn": []}
SUBJECT = 2
"""The step whose envelope comes to differ. Step 1 stands beside it, so that a driver has something else to do."""


class Killed(BaseException):
    """The driver is gone."""


def scene(bench: Bench, **keys: Any) -> str:
    """A run that asks about both of its steps; all that steers the second can be changed in its folder."""
    root = bench.workspace.root
    for folder in ("here", "there"):
        (root / folder).mkdir()
        (root / folder / "app.cfg").write_text("one")
    (root / "work").symlink_to("here")
    for folder in ("first", "second"):
        (root / folder).mkdir()
    program(root / "second")
    bench.environ.update(PATH=f"{root / 'first'}:{root / 'second'}", TOKEN="one")
    bench.kinds.known["shell"] = replace(bench.kinds.known["shell"], locate=shell.KIND.locate)
    steered = {**GATED, "pins": ["app.cfg"], "workingDir": "work", "env": {"pass": ["TOKEN"]}}
    bench.procedure("deploy", GATED, {**steered, **keys})
    return bench.run("deploy").run_id


def program(folder: Path) -> None:
    (folder / "bash").write_text("#!/bin/sh\n")
    (folder / "bash").chmod(0o755)


def gate_of(bench: Bench, run_id: str) -> Any:
    return bench.now(run_id).steps[SUBJECT].gate


def shown(bench: Bench, run_id: str, act: Act) -> Run:
    digest = gate_of(bench, run_id).digest
    act(bench)
    # the person agrees to what was shown, and that is what is recorded
    bench.engine().approve(run_id, actor=ANN, digest=digest)
    return bench.drive(run_id)


def approved(bench: Bench, run_id: str, act: Act) -> Run:
    bench.engine().approve(run_id, actor=ANN, step=SUBJECT)
    act(bench)
    return bench.drive(run_id)


def midway(bench: Bench, run_id: str, act: Act) -> Run:
    for step in (1, SUBJECT):
        bench.engine().approve(run_id, actor=ANN, step=step)

    def acting(order: WorkOrder) -> None:
        if order.step.number == 1:
            act(bench)

    bench.world.after_start = acting
    return bench.drive(run_id)


def committed(bench: Bench, run_id: str, act: Act) -> Run:
    bench.engine().approve(run_id, actor=ANN, step=SUBJECT)
    parts = bench.engine().parts
    append = parts.store.append

    def acting(*args: Any, **options: Any) -> None:
        append(*args, **options)
        if bench.now(run_id).steps[SUBJECT].status == "running":
            parts.store.append = append  # type: ignore[method-assign]
            act(bench)

    parts.store.append = acting  # type: ignore[method-assign]
    return bench.loop.run_until_complete(drive(parts, run_id))


def recorded(bench: Bench, run_id: str, act: Act) -> Run:
    bench.engine().approve(run_id, actor=ANN, step=SUBJECT)

    def die(_order: WorkOrder) -> None:
        raise Killed

    bench.world.before_start = die
    with pytest.raises(Killed):
        bench.drive(run_id)
    bench.world.before_start = lambda _order: None
    act(bench)
    return bench.drive(run_id)


Moment = Callable[[Bench, str, Act], Run]
BEFORE_THE_INTENT = pytest.mark.parametrize("moment", [shown, approved, midway])
AFTER_THE_INTENT = pytest.mark.parametrize("moment", [committed, recorded])
EVERY_MOMENT = pytest.mark.parametrize("moment", [shown, approved, midway, committed, recorded])


def starts(bench: Bench, run_id: str) -> int:
    """How often the subject was started."""
    return sum(key[1] == SUBJECT for key in bench.starts(run_id))


def asked_again(bench: Bench, run_id: str, before: Any, changed: tuple[str, ...]) -> None:
    """Nothing started, the record says what differs, the old answer is void, and a new one starts what it covers."""
    assert starts(bench, run_id) == 0
    stale = [event for event in bench.events(run_id) if isinstance(event.body, ApprovalStale)]
    assert [(event.body.step_number, event.body.changed) for event in stale] == [(SUBJECT, changed)]
    assert (stale[0].body.digest, stale[0].actor.kind) == (before.digest, "system")
    gate = gate_of(bench, run_id)
    assert (gate.status, gate.revision) == ("open", before.revision + 1)
    with pytest.raises(StaleApproval):
        bench.engine().approve(run_id, actor=ANN, digest=before.digest)

    bench.engine().approve(run_id, actor=ANN, digest=gate.digest)
    bench.drive(run_id)
    assert starts(bench, run_id) == 1


def given_up(bench: Bench, run_id: str, before: Any) -> None:
    """What was recorded does not start any more; a person decides, and is asked again."""
    assert starts(bench, run_id) == 0
    run = bench.now(run_id)
    assert (run.steps[SUBJECT].status, run.paused) == ("interrupted", True)
    bench.engine().retry(run_id, actor=ANN)
    bench.drive(run_id)
    assert gate_of(bench, run_id).revision == before.revision + 1
    bench.engine().approve(run_id, actor=ANN, step=SUBJECT)
    bench.drive(run_id)
    assert starts(bench, run_id) == 1


# each field of the envelope, whether or not it could change in a run

OTHER: dict[str, Any] = {
    "format": 99,
    "procedure_name": "another",
    "procedure_digest": "e" * 64,
    "run_id": "sop_run_another",
    "mode": "step_by_step",
    "step": None,
    "instance": "eu",
    "item": "eu",
    "title": "Another",
    "visit": 7,
    "revision": 7,
    "executor": "another",
    "interpreter": "sh",
    "program": "/tmp/bash",
    "script": "rm -rf /\n",
    "instructions": "Do not look.",
    "working_dir": "/tmp",
    "parameters": {"tag": "v2"},
    "inputs": {"1": {"url": "http://elsewhere"}},
    "approvals": {"1": {"ticket": "OPS-2"}},
    "pins": {"app.cfg": "0" * 64},
    "nonce": "0" * 32,
    "umask": 0o777,
    "working_dirs": {"2": "/another"},
    "environment": {"LANG": "xx"},
    "passed": {"TOKEN": "0" * 64},
    "secrets": {"token": "0" * 64},
    "event": "0" * 64,
    "policy": Policy(approval_timeout_mins=1),
    "approval": ApprovalRules(approvers=("user:mallory",)),
    "timeout_mins": 1,
    "on_timeout": "approve",
    "timeout_secs": 7,
    "retry": RetryRules(max_attempts=9),
    "on_interrupt": {"policy": "rerun"},
    "verify": {"script": "true\n", "interpreter": "bash", "timeout_secs": 600},
    "rollback": True,
    "uses": {"test": "e" * 64},
    "given": {"version": "v2"},
    "agent": {"name": "default", "command": ["another"]},
    "agents": {"default": AgentCommand(command=("another",))},
}
"""For each field a value that it does not have in the scene. A new field belongs here."""

NAMED: dict[str, tuple[str, ...]] = {
    "parameters": ("parameters tag",),
    "inputs": ("inputs 1",),
    "approvals": ("approvals 1",),
    "pins": ("pins app.cfg",),
    "working_dirs": ("working_dirs 2",),
    "passed": ("passed TOKEN",),
    "policy": ("policy approvalTimeoutMins",),
    "approval": ("approval approvers",),
    "environment": ("environment LANG", "environment PATH"),
    "uses": ("uses test",),
    "given": ("given version",),
}
"""What the change is called, where it is not the field's own name."""


def test_every_field_of_the_envelope_is_tried() -> None:
    assert set(OTHER) == set(Envelope.__struct_fields__)


@EVERY_MOMENT
@pytest.mark.parametrize("field", Envelope.__struct_fields__)
def test_no_field_of_the_envelope_may_differ_at_the_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, field: str, moment: Moment
) -> None:
    run_id = scene(bench)
    before = gate_of(bench, run_id)
    build = envelopes.step_envelope

    def changed(run: Run, number: int, **more: Any) -> Envelope:
        envelope = build(run, number, **more)
        return replace(envelope, **{field: OTHER[field]}) if number == SUBJECT else envelope

    moment(bench, run_id, lambda _bench: monkeypatch.setattr(envelopes, "step_envelope", changed))
    if moment in (committed, recorded):
        given_up(bench, run_id, before)
    else:
        asked_again(bench, run_id, before, NAMED.get(field, (field,)))


# how they change in the world


def pin(bench: Bench) -> Path:
    return bench.workspace.root / "here" / "app.cfg"


def pin_edited(bench: Bench) -> None:
    pin(bench).write_text("two")


def pin_became_a_link(bench: Bench) -> None:
    elsewhere = bench.workspace.root / "elsewhere"
    elsewhere.write_text("two")
    pin(bench).unlink()
    pin(bench).symlink_to(elsewhere)


def variable_changed(bench: Bench) -> None:
    bench.environ["TOKEN"] = "two"


def program_in_front(bench: Bench) -> None:
    program(bench.workspace.root / "first")


def program_gone(bench: Bench) -> None:
    (bench.workspace.root / "second" / "bash").unlink()


def folder_turned(bench: Bench) -> None:
    (bench.workspace.root / "work").unlink()
    (bench.workspace.root / "work").symlink_to("there")


def folder_replaced(bench: Bench) -> None:
    (bench.workspace.root / "work").unlink()
    (bench.workspace.root / "work").mkdir()
    (bench.workspace.root / "work" / "app.cfg").write_text("one")


CHANGES: list[tuple[Act, str]] = [
    (pin_edited, "pins app.cfg"),
    (pin_became_a_link, "pins app.cfg"),
    (variable_changed, "passed TOKEN"),
    (program_in_front, "program"),
    (program_gone, "program"),
    (folder_turned, "working_dir"),
    (folder_replaced, "working_dir"),
]
EACH_CHANGE = pytest.mark.parametrize(("act", "changed"), CHANGES, ids=[act.__name__ for act, _ in CHANGES])


@BEFORE_THE_INTENT
@EACH_CHANGE
def test_what_changed_since_it_was_shown_asks_again(bench: Bench, act: Act, changed: str, moment: Moment) -> None:
    run_id = scene(bench)
    before = gate_of(bench, run_id)
    moment(bench, run_id, act)
    asked_again(bench, run_id, before, (changed,))


@AFTER_THE_INTENT
@EACH_CHANGE
def test_what_changed_since_it_was_recorded_is_not_started(
    bench: Bench, act: Act, changed: str, moment: Moment
) -> None:
    run_id = scene(bench)
    before = gate_of(bench, run_id)
    run = moment(bench, run_id, act)
    assert "what would run is not what was recorded" in run.steps[SUBJECT].error
    given_up(bench, run_id, before)


def test_all_that_changed_is_named_at_once(bench: Bench) -> None:
    run_id = scene(bench)
    before = gate_of(bench, run_id)
    approved(bench, run_id, lambda bench: [act(bench) for act in (pin_edited, variable_changed, program_in_front)])
    asked_again(bench, run_id, before, ("passed TOKEN", "pins app.cfg", "program"))


@pytest.mark.parametrize("moment", [shown, approved])
def test_another_workspace_key_asks_again_as_nobody_can_tell_the_values_to_be_equal(
    bench: Bench, moment: Moment
) -> None:
    run_id = scene(bench)
    before = gate_of(bench, run_id)
    moment(bench, run_id, lambda bench: (bench.workspace.keys / "workspace.key").write_bytes(b"k" * 32))
    asked_again(bench, run_id, before, ("passed TOKEN",))


def test_what_went_back_to_what_was_approved_starts(bench: Bench) -> None:
    run_id = scene(bench)

    def there_and_back(bench: Bench) -> None:
        pin_edited(bench)
        pin(bench).write_text("one")

    approved(bench, run_id, there_and_back)
    assert starts(bench, run_id) == 1


def test_a_change_does_not_leak_into_the_step_beside_it(bench: Bench) -> None:
    run_id = scene(bench)
    bench.engine().approve(run_id, actor=ANN, step=1)
    approved(bench, run_id, pin_edited)
    assert [key[1] for key in bench.starts(run_id)] == [1]


# what is missing


def pin_gone(bench: Bench) -> None:
    pin(bench).unlink()


def pin_became_a_pipe(bench: Bench) -> None:
    pin(bench).unlink()
    os.mkfifo(pin(bench))


def pin_became_a_folder(bench: Bench) -> None:
    pin(bench).unlink()
    pin(bench).mkdir()


def pin_became_a_circle(bench: Bench) -> None:
    pin(bench).unlink()
    pin(bench).symlink_to("app.cfg")


def variable_gone(bench: Bench) -> None:
    del bench.environ["TOKEN"]


def folder_gone(bench: Bench) -> None:
    (bench.workspace.root / "work").unlink()


def folder_became_a_circle(bench: Bench) -> None:
    (bench.workspace.root / "work").unlink()
    (bench.workspace.root / "work").symlink_to("work")


LOSSES: list[tuple[Act, str]] = [
    (pin_gone, "app.cfg"),
    (pin_became_a_pipe, "app.cfg"),
    (pin_became_a_folder, "app.cfg"),
    (pin_became_a_circle, "app.cfg"),
    (variable_gone, "TOKEN"),
    (folder_gone, "app.cfg"),
    (folder_became_a_circle, "app.cfg"),
]
EACH_LOSS = pytest.mark.parametrize(("act", "named"), LOSSES, ids=[act.__name__ for act, _ in LOSSES])


def put_back(bench: Bench) -> None:
    root = bench.workspace.root
    for path in (root / "work", pin(bench)):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
    (root / "work").symlink_to("here")
    pin(bench).write_text("one")
    bench.environ["TOKEN"] = "one"


@BEFORE_THE_INTENT
@EACH_LOSS
def test_what_is_missing_at_the_start_pauses_the_run_and_is_named(
    bench: Bench, act: Act, named: str, moment: Moment
) -> None:
    run_id = scene(bench)
    run = moment(bench, run_id, act)
    assert (run.paused, run.pause_cause) == (True, "environment")
    assert f"step {SUBJECT} needs" in run.reason
    assert named in run.reason
    assert starts(bench, run_id) == 0

    put_back(bench)
    bench.engine().resume(run_id, actor=ANN)
    bench.drive(run_id)
    assert starts(bench, run_id) == 1, "it is what was approved again"


@EACH_LOSS
def test_what_is_missing_when_it_is_asked_about_pauses_the_run_and_is_named(bench: Bench, act: Act, named: str) -> None:
    run_id = scene(bench)
    bench.engine().pause(run_id, actor=ANN)
    bench.engine().retry(run_id, actor=ANN, from_step=SUBJECT)
    act(bench)
    run = bench.drive(run_id)
    assert run.paused
    assert named in run.reason

    put_back(bench)
    bench.engine().resume(run_id, actor=ANN)
    assert bench.drive(run_id).steps[SUBJECT].status == "awaiting_approval"


@AFTER_THE_INTENT
@EACH_LOSS
def test_what_is_missing_after_the_intent_was_recorded_is_not_started(
    bench: Bench, act: Act, named: str, moment: Moment
) -> None:
    run_id = scene(bench)
    before = gate_of(bench, run_id)
    run = moment(bench, run_id, act)
    assert named in run.steps[SUBJECT].error
    put_back(bench)
    given_up(bench, run_id, before)


# what has no say


def config_changed(bench: Bench) -> None:
    bench.config(approvalTimeoutMins=1, approvalTimeoutAction="approve", defaultExecutionMode="auto")


def files_edited(bench: Bench) -> None:
    bench.procedure("deploy", {"run": "echo another"}, {**GATED, "run": "echo another", "title": "Another"})


def files_gone(bench: Bench) -> None:
    (bench.workspace.sops / "deploy" / "manifest.json").unlink()


def own_environment_changed(bench: Bench) -> None:
    bench.environ.update(PATH="/nowhere", LANG="xx", TERM="dumb", TMPDIR="/nowhere", OTHER="1")


def same_bytes_behind_a_link(bench: Bench) -> None:
    (bench.workspace.root / "elsewhere").write_text("one")
    pin(bench).unlink()
    pin(bench).symlink_to(bench.workspace.root / "elsewhere")


@EVERY_MOMENT
@pytest.mark.parametrize(
    "act", [config_changed, files_edited, files_gone, own_environment_changed, same_bytes_behind_a_link]
)
def test_what_the_run_was_pinned_against_changes_nothing(bench: Bench, act: Act, moment: Moment) -> None:
    run_id = scene(bench)
    moment(bench, run_id, act)
    assert starts(bench, run_id) == 1
    (order,) = (order for key, order in bench.world.orders.items() if key[1] == SUBJECT)
    assert order.step.script is not None
    assert order.step.script.text.strip() == "true"
    assert order.environment["PATH"].startswith(str(bench.workspace.root))


@pytest.mark.parametrize("moment", [shown, approved, recorded])
def test_a_procedure_that_was_changed_in_the_store_is_not_run(bench: Bench, moment: Moment) -> None:
    run_id = scene(bench)
    run = bench.now(run_id)
    forged = encode_procedure(
        replace(run.procedure, steps=tuple(replace(s, title="Forged") for s in run.procedure.steps))
    )
    contents = bench.store._shelf.contents

    def forge(_bench: Bench) -> None:
        contents[run.procedure_digest] = forged

    with pytest.raises(StoreError, match="not what its digest says"):
        moment(bench, run_id, forge)
    assert starts(bench, run_id) == 0


@pytest.mark.parametrize("damaged", [None, b"", b"\xff", b"[]", b'{"pins":{}}'])
def test_an_approved_envelope_that_the_store_has_damaged_is_told_apart_from_no_difference(
    bench: Bench, damaged: bytes | None
) -> None:
    run_id = scene(bench)
    before = gate_of(bench, run_id)

    def damage(bench: Bench) -> None:
        pin_edited(bench)
        del bench.store._shelf.contents[before.digest]
        if damaged is not None:
            bench.store._shelf.contents[before.digest] = damaged

    approved(bench, run_id, damage)
    asked_again(bench, run_id, before, ("envelope",))


# the start approval

NOT_OF_THE_START = {
    "executor",
    "interpreter",
    "program",
    "script",
    "instructions",
    "working_dir",
    "inputs",
    "approvals",
    "timeout_secs",
    "retry",
    "instance",
    "item",
    "given",
    "on_interrupt",
}
"""Fields that speak of one step; the procedure's digest stands for all of them at once."""


def supervised(bench: Bench) -> str:
    """A run that waits for its start approval; no step has a gate."""
    run_id = scene(bench)
    bench.engine().cancel(run_id, actor=ANN)
    bench.world.starts.clear()
    steered = {"dependsOn": [], "pins": ["app.cfg"], "workingDir": "work", "env": {"pass": ["TOKEN"]}}
    bench.procedure("deploy", {"dependsOn": []}, steered, executionMode="supervised")
    run_id = bench.create("deploy", tag="v1")
    bench.drive(run_id)
    return run_id


def test_the_start_approval_covers_the_whole_procedure_with_its_pins_and_variables(bench: Bench) -> None:
    run_id = supervised(bench)
    gate = bench.now(run_id).start_gate
    content = bench.reader.envelope(gate.digest)
    assert content is not None
    assert {name for name in content if content[name] in ("", None, {}) and name != "step"} - {
        "timeout_mins",
        "on_timeout",
        "policy",
        "uses",
    } | {"on_interrupt"} == NOT_OF_THE_START
    assert "on_interrupt" not in content
    run = bench.now(run_id)
    assert content["procedure_digest"] == run.procedure_digest
    assert content["pins"] == {"2": {"app.cfg": sha256(b"one")}}
    assert content["parameters"] == {"tag": "v1"}
    assert (content["mode"], set(content["passed"])) == ("supervised", {"TOKEN"})
    assert content["environment"]["PATH"] == bench.environ["PATH"]


def test_nothing_in_the_world_changes_what_the_start_approval_covers(bench: Bench) -> None:
    run_id = supervised(bench)
    gate = bench.now(run_id).start_gate
    for act in (pin_edited, variable_changed, program_in_front, folder_turned, config_changed, files_edited):
        act(bench)
    assert sha256(envelope_bytes(start_envelope(bench.now(run_id)))) == gate.digest


@pytest.mark.parametrize("field", sorted(set(Envelope.__struct_fields__) - NOT_OF_THE_START))
def test_no_field_of_the_start_approval_is_left_out_of_its_digest(bench: Bench, field: str) -> None:
    envelope = start_envelope(bench.now(supervised(bench)))
    other = replace(envelope, **{field: 9 if field == "step" else OTHER[field]})
    assert asdict(other) != asdict(envelope)
    assert sha256(envelope_bytes(other)) != sha256(envelope_bytes(envelope))


def test_nobody_can_foresee_the_envelope_of_a_gate_that_is_not_open_yet(bench: Bench) -> None:
    """Else two that look alike in their first characters could be prepared, one of them to be shown."""
    run_id = scene(bench)
    seen = set()
    for _ in range(3):
        gate = gate_of(bench, run_id)
        envelope = bench.reader.envelope(gate.digest)
        assert envelope is not None
        assert envelope["nonce"] == gate.nonce
        seen.add(gate.nonce)
        bench.engine().pause(run_id, actor=ANN)
        bench.engine().retry(run_id, actor=ANN, from_step=SUBJECT)
        bench.drive(run_id)
    assert len(seen) == 3
    assert "" not in seen


@pytest.mark.parametrize("late", [False, True], ids=["after it was shown", "after the start"])
@pytest.mark.parametrize(
    ("act", "changed"),
    [
        (pin_edited, "pins app.cfg"),
        (pin_became_a_link, "pins app.cfg"),
        (variable_changed, "passed TOKEN"),
        (folder_turned, "working_dir"),
    ],
    ids=["pin_edited", "pin_became_a_link", "variable_changed", "folder_turned"],
)
def test_a_difference_from_what_the_start_covered_opens_that_steps_own_gate(
    bench: Bench, act: Act, changed: str, late: bool
) -> None:
    run_id = supervised(bench)
    gate = bench.now(run_id).start_gate
    if not late:
        act(bench)
    bench.engine().approve(run_id, actor=ANN, digest=gate.digest)
    if late:
        bench.world.after_start = lambda order: act(bench) if order.step.number == 1 else None
    bench.drive(run_id)

    assert [key[1] for key in bench.starts(run_id)] == [1], "the step beside it is covered as before"
    (stale,) = (event.body for event in bench.events(run_id) if isinstance(event.body, ApprovalStale))
    assert (stale.step_number, stale.revision, stale.digest, stale.changed) == (SUBJECT, 0, gate.digest, (changed,))
    assert gate_of(bench, run_id).revision == 1
    with pytest.raises(StaleApproval):
        bench.engine().approve(run_id, actor=ANN, step=SUBJECT, digest=gate.digest)

    bench.engine().approve(run_id, actor=ANN, step=SUBJECT)
    assert bench.drive(run_id).ended == "completed"


def test_a_step_that_asks_because_something_changed_asks_again_at_the_next_change(bench: Bench) -> None:
    run_id = supervised(bench)
    variable_changed(bench)
    bench.engine().approve(run_id, actor=ANN)
    bench.drive(run_id)
    before = gate_of(bench, run_id)
    bench.engine().approve(run_id, actor=ANN, step=SUBJECT)
    pin_edited(bench)
    bench.drive(run_id)
    assert (starts(bench, run_id), gate_of(bench, run_id).revision) == (0, before.revision + 1)


def test_what_changed_and_came_back_still_asks_once_it_was_found(bench: Bench) -> None:
    run_id = supervised(bench)
    variable_changed(bench)
    bench.engine().approve(run_id, actor=ANN)
    bench.drive(run_id)
    bench.environ["TOKEN"] = "one"
    bench.engine().approve(run_id, actor=ANN, step=SUBJECT)
    bench.drive(run_id)
    assert starts(bench, run_id) == 0, "approved was the other value"
    bench.engine().approve(run_id, actor=ANN, step=SUBJECT)
    assert bench.drive(run_id).ended == "completed"
