"""Secret parameters: a reference is what is kept and shown; the value reaches the step alone, and is approved too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sopwith.core.commands import StepResult
from sopwith.core.events import ApprovalStale, StepCompleted
from sopwith.core.run import RunStatus, status_of
from sopwith.engine import evidence
from sopwith.engine.engine import RunRequest
from sopwith.engine.secrets import MAX_VALUE_BYTES
from sopwith.errors import BadParameter, BadRequest, InvalidProcedure, NotAllowed
from sopwith.testing.executor import Play

from .bench import ANN, BOT, Bench

TOKEN = {"name": "token", "type": "secret", "default": "env:TOKEN"}
GATED = {"requiresApproval": True}
VALUE = "s3cr3t-value"
MANUAL: dict[str, Any] = {"run": None}


@pytest.fixture
def secret(bench: Bench) -> Bench:
    bench.environ["TOKEN"] = VALUE
    return bench


def reasons(bench: Bench, run_id: str) -> str:
    run = bench.now(run_id)
    assert status_of(run) is RunStatus.PAUSED
    return run.reason


def record(bench: Bench, run_id: str) -> str:
    return b"".join(sealed.payload for sealed in bench.store.events(run_id)).decode()


def texts(bench: Bench, run_id: str) -> str:
    """All that any reader is told of the run."""
    reader = bench.reader
    return record(bench, run_id) + json.dumps([reader.status(run_id), reader.audit(run_id)], default=str)


def test_the_step_is_given_the_value_and_the_record_the_reference(secret: Bench) -> None:
    secret.procedure("deploy", {}, params=[TOKEN])
    run_id = secret.run("deploy").run_id
    (order,) = secret.world.orders.values()
    assert order.environment["SOP_PARAM_TOKEN"] == VALUE
    assert json.loads(order.parameters_json) == {"token": VALUE}
    assert order.confidential.values == (VALUE,)
    assert secret.now(run_id).params == {"token": "env:TOKEN"}
    assert VALUE not in texts(secret, run_id)
    assert "env:TOKEN" in texts(secret, run_id)


def test_a_file_is_read_from_the_project_folder_at_the_start_of_the_step(bench: Bench) -> None:
    (bench.workspace.root / "conf").mkdir()
    file = bench.workspace.root / "conf" / "token"
    file.write_bytes(VALUE.encode() + b"\r\n")
    bench.procedure("deploy", {}, params=[{**TOKEN, "default": "file:conf/token"}])
    bench.run("deploy")
    (order,) = bench.world.orders.values()
    assert order.environment["SOP_PARAM_TOKEN"] == VALUE


@pytest.mark.parametrize(
    "given", ["hunter2", "ENV:TOKEN", "env:", "env:A B", "env:SOP_RUN_ID", "file:", "file:a\nb", 7]
)
@pytest.mark.parametrize("how", ["given", "default"])
def test_what_is_no_reference_is_refused_and_never_repeated(bench: Bench, given: Any, how: str) -> None:
    default = {"default": given} if how == "default" else {}
    bench.procedure("deploy", {}, params=[{"name": "token", "type": "secret", **default}])
    with pytest.raises((BadParameter, InvalidProcedure)) as refused:
        bench.create("deploy", **({} if how == "default" else {"token": given}))
    problems = [f"{each.message} {each.hint}" for each in refused.value.details.get("problems", ())]
    told = " ".join((refused.value.message, refused.value.hint, *problems))
    assert "expected" in told
    for part in str(given).replace("file:", "").replace("env:", "").split():
        assert len(part) < 3 or part not in told.replace("SOP_ ", "")


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env:NOWHERE", "NOWHERE is not set here"),
        ("env:EMPTY", "env:EMPTY is empty"),
        ("file:nowhere", "file:nowhere cannot be read: No such file or directory"),
        ("file:.", "file:. is not a regular file"),
        ("file:nul", "file:nul holds a NUL character"),
        ("file:latin", "file:latin is not UTF-8"),
        ("file:large", "file:large is larger than 16 KiB"),
        ("file:link", "file:link lies in .pi/sops"),
        ("file:empty", "file:empty is empty"),
    ],
)
def test_a_secret_that_cannot_be_read_pauses_the_run_and_is_named(bench: Bench, reference: str, why: str) -> None:
    root = bench.workspace.root
    bench.environ["EMPTY"] = ""
    (root / "nul").write_bytes(b"abc\0def\n")
    (root / "latin").write_bytes(b"caf\xe9 au lait")
    (root / "large").write_bytes(b"x" * (MAX_VALUE_BYTES + 1))
    (root / "empty").write_bytes(b"\n")
    bench.workspace.keys.mkdir()
    (bench.workspace.keys / "mine").write_text(VALUE)
    (root / "link").symlink_to(bench.workspace.keys / "mine")
    bench.procedure("deploy", {}, params=[TOKEN])
    run_id = bench.run("deploy", token=reference).run_id
    assert reasons(bench, run_id) == f"step 1 needs the secret token, and {why}"
    assert bench.starts(run_id) == []


@pytest.mark.parametrize("path", [".pi/sops/x", "./.pi/sops/keys/k", "a/../.pi/sops/x", "/home/x/.pi/sops/y"])
def test_a_secret_in_the_folder_of_the_record_is_refused(bench: Bench, path: str) -> None:
    bench.procedure("deploy", {}, params=[TOKEN])
    with pytest.raises(BadParameter, match="outside"):
        bench.create("deploy", token=f"file:{path}")


def test_it_goes_on_when_the_secret_is_there(bench: Bench) -> None:
    bench.procedure("deploy", {}, params=[TOKEN])
    run_id = bench.run("deploy").run_id
    bench.environ["TOKEN"] = VALUE
    bench.engine().resume(run_id, actor=ANN)
    assert status_of(bench.drive(run_id)) is RunStatus.COMPLETED


def test_another_value_than_the_one_approved_is_asked_about_again(secret: Bench) -> None:
    secret.procedure("deploy", GATED, params=[TOKEN])
    run_id = secret.run("deploy").run_id
    secret.engine().approve(run_id, actor=ANN)
    secret.environ["TOKEN"] = "another-value"
    secret.drive(run_id)
    stale = [event.body for event in secret.events(run_id) if isinstance(event.body, ApprovalStale)]
    assert [body.changed for body in stale] == [("secrets token",)]
    assert secret.starts(run_id) == []
    secret.engine().approve(run_id, actor=ANN)
    assert status_of(secret.drive(run_id)) is RunStatus.COMPLETED


def test_another_value_than_at_the_creation_is_asked_about_where_nobody_gated_the_step(secret: Bench) -> None:
    secret.procedure("deploy", {}, params=[TOKEN])
    run_id = secret.create("deploy")
    secret.environ["TOKEN"] = "another-value"
    assert status_of(secret.drive(run_id)) is RunStatus.AWAITING_APPROVAL
    assert secret.starts(run_id) == []


def test_the_start_approval_covers_the_value(secret: Bench) -> None:
    secret.procedure("deploy", {}, params=[TOKEN], executionMode="supervised")
    run_id = secret.run("deploy").run_id
    digest = secret.now(run_id).start_gate
    assert digest is not None
    envelope = json.loads(secret.store.content(digest.digest) or b"")
    assert set(envelope["secrets"]) == {"token"}
    assert VALUE not in json.dumps(envelope)
    secret.engine().approve(run_id, actor=ANN)
    secret.environ["TOKEN"] = "another-value"
    assert status_of(secret.drive(run_id)) is RunStatus.AWAITING_APPROVAL


def test_an_envelope_without_secrets_is_what_it_was(bench: Bench) -> None:
    bench.procedure("deploy", GATED)
    gate = bench.run("deploy").steps[1].gate
    assert gate is not None
    assert "secrets" not in json.loads(bench.store.content(gate.digest) or b"")


def test_a_retry_with_another_reference_is_approved_with_its_value(secret: Bench) -> None:
    secret.environ["OTHER"] = "other-secret"
    secret.world.plays[1] = [Play(result=StepResult(exit_code=1, error="exit status 1")), Play()]
    secret.procedure("deploy", {}, params=[TOKEN])
    run_id = secret.run("deploy").run_id
    secret.engine().retry(run_id, actor=ANN, params={"token": "env:OTHER"})
    assert set(secret.now(run_id).secrets) == {"token"}
    assert status_of(secret.drive(run_id)) is RunStatus.COMPLETED
    assert [order.environment["SOP_PARAM_TOKEN"] for order in secret.world.orders.values()] == [VALUE, "other-secret"]


def test_an_agent_may_not_choose_what_a_secret_is(secret: Bench) -> None:
    secret.procedure("deploy", {}, params=[TOKEN])
    secret.procedure("open", {}, params=[{**TOKEN, "pattern": "env:[A-Z]+"}])
    with pytest.raises(NotAllowed):
        secret.engine().create_run(RunRequest(name="deploy", params={"token": "file:/etc/passwd"}), actor=BOT)
    for name, params in (("deploy", {}), ("deploy", {"token": "env:TOKEN"}), ("open", {"token": "env:OTHER"})):
        secret.engine().create_run(RunRequest(name=name, params=params), actor=BOT)
    secret.world.plays[1] = [Play(result=StepResult(exit_code=1, error="exit status 1"))]
    run_id = secret.run("deploy").run_id
    with pytest.raises(NotAllowed):
        secret.engine().retry(run_id, actor=BOT, params={"token": "file:/etc/passwd"})


# what is printed, handed on and typed


def test_results_are_masked_whatever_the_executor_does(secret: Bench) -> None:
    result = StepResult(exit_code=0, outputs={"a": f"x{VALUE}", "b": 2}, warnings=(f"w {VALUE}",))
    secret.world.plays[1] = [Play(result=result, output=f"<{VALUE}>".encode())]
    secret.procedure("deploy", {}, params=[TOKEN])
    run_id = secret.run("deploy").run_id
    (ended,) = (event.body for event in secret.events(run_id) if isinstance(event.body, StepCompleted))
    assert (ended.output, ended.outputs) == ("<***>", {"b": 2})
    assert ended.warnings == ("w ***", "output a was dropped: it holds a secret")
    assert VALUE not in texts(secret, run_id)


def test_errors_and_losses_are_masked(secret: Bench) -> None:
    secret.world.plays[1] = [Play(result=StepResult(exit_code=1, error=f"cannot log in with {VALUE}"))]
    secret.procedure("deploy", {}, params=[TOKEN])
    assert VALUE not in texts(secret, secret.run("deploy").run_id)


@pytest.mark.parametrize("known", [True, False])
def test_what_somebody_types_is_masked(secret: Bench, known: bool, tmp_path: Path) -> None:
    """Also where the secret is not set: a word of it is known by its HMAC."""
    secret.procedure("deploy", {**MANUAL, **GATED}, MANUAL, params=[TOKEN])
    run_id = secret.run("deploy").run_id
    if not known:
        del secret.environ["TOKEN"]
    secret.engine().approve(run_id, actor=ANN, comment=f"with token={VALUE}.")
    if not known:
        secret.environ["TOKEN"] = VALUE
    secret.drive(run_id)
    if not known:
        del secret.environ["TOKEN"]
    secret.engine().complete(run_id, actor=BOT, step=1, comment=f"done ({VALUE})", output=f"I ran it with '{VALUE}'")
    secret.engine().cancel(run_id, actor=ANN, reason=f"{VALUE} is out")
    assert VALUE not in texts(secret, run_id)
    assert "with token=***." in texts(secret, run_id)


def test_evidence_with_a_secret_is_refused(secret: Bench, tmp_path: Path) -> None:
    secret.procedure("deploy", MANUAL, params=[TOKEN])
    run_id = secret.run("deploy").run_id
    file = tmp_path / "shell.txt"
    file.write_text(f"curl -H 'Token: {VALUE}'")
    with pytest.raises(BadRequest, match="holds a secret"):
        secret.engine().complete(run_id, actor=BOT, evidence=(file,))
    assert not (secret.workspace.run_folder(run_id) / "evidence").exists()
    file.write_text("curl")
    secret.engine().complete(run_id, actor=BOT, evidence=(file,))
    assert len(list((secret.workspace.run_folder(run_id) / "evidence").iterdir())) == 1


@pytest.mark.parametrize("before", [2**20 - 1, 2**20 - len(VALUE) // 2, 2**20 - len(VALUE), 2**21 - 3])
def test_evidence_is_refused_wherever_a_secret_stands_in_it(secret: Bench, tmp_path: Path, before: int) -> None:
    """It is read in pieces of a mebibyte."""
    secret.procedure("deploy", MANUAL, params=[TOKEN])
    run_id = secret.run("deploy").run_id
    file = tmp_path / "shell.txt"
    file.write_text("." * before + VALUE + "." * 100)
    with pytest.raises(BadRequest, match="holds a secret"):
        secret.engine().complete(run_id, actor=BOT, evidence=(file,))


def test_evidence_that_is_written_to_meanwhile_is_refused_too(
    secret: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret.procedure("deploy", MANUAL, params=[TOKEN])
    run_id = secret.run("deploy").run_id
    file = tmp_path / "shell.txt"
    file.write_text("fine so far\n")
    opened = evidence.open_named

    def written_to(path: Path, *more: Any, **named: Any) -> int:
        descriptor = opened(path, *more, **named)
        seen.append(path)
        if seen == [file, file]:  # it was looked at, and is now copied
            file.write_text(f"then {VALUE} came\n")
        return descriptor

    seen: list[Path] = []
    monkeypatch.setattr(evidence, "open_named", written_to)
    with pytest.raises(BadRequest, match=r"shell\.txt holds a secret"):
        secret.engine().complete(run_id, actor=BOT, evidence=(file,))
    assert list((secret.workspace.run_folder(run_id) / "evidence").iterdir()) == []


def test_a_passed_variable_that_is_called_a_secret_is_one(bench: Bench) -> None:
    bench.environ.update(API_TOKEN=VALUE, REGION="eu-west-1")
    bench.world.plays[1] = [Play(output=f"{VALUE} eu-west-1".encode())]
    bench.procedure("deploy", {"env": {"pass": ["API_TOKEN", "REGION"]}})
    run_id = bench.run("deploy").run_id
    (order,) = bench.world.orders.values()
    assert order.confidential.values == (VALUE,)
    assert bench.now(run_id).steps[1].output == "*** eu-west-1"
    assert VALUE not in texts(bench, run_id)


def test_a_step_without_secrets_has_nothing_confidential(bench: Bench) -> None:
    bench.environ["REGION"] = "eu-west-1"
    bench.procedure("deploy", {"env": {"pass": ["REGION"]}}, params=[{"name": "a", "default": "x"}])
    bench.run("deploy")
    (order,) = bench.world.orders.values()
    assert order.confidential.digest == ""
    assert order.confidential.values == ()


def test_what_is_confidential_changes_with_each_value(secret: Bench) -> None:
    secret.environ["API_KEY"] = "key-one"
    secret.procedure("deploy", {"env": {"pass": ["API_KEY"]}}, params=[TOKEN])
    digests = set()
    for changed in ({}, {"TOKEN": "value-two"}, {"API_KEY": "key-two"}):
        secret.environ.update(changed)
        secret.run("deploy")
        digests.add(list(secret.world.orders.values())[-1].confidential.digest)
    assert len(digests) == 3
    assert all(digests)


def test_a_driver_that_lacks_the_secret_takes_up_the_step_without_its_values(secret: Bench) -> None:
    secret.world.plays[1] = [Play(seconds=None)]
    secret.procedure("deploy", {}, params=[TOKEN])
    run_id = secret.create("deploy")
    task = secret.begin(run_id)
    secret.pass_time(1)
    (key,) = secret.starts(run_id)
    first = secret.world.orders[key].confidential.digest
    task.cancel()
    secret.pass_time(1)
    del secret.environ["TOKEN"]
    engine = secret.engine()
    from sopwith.engine.recovery import recovery_order

    order = recovery_order(engine.parts, secret.now(run_id), 1)
    assert order.withheld == "it was given up before it started: it needs the secret token, and TOKEN is not set here"
    assert order.confidential.digest not in ("", first)
    assert order.confidential.values == ()


# runs within runs, and expressions


def test_a_reference_is_handed_on_as_it_is(secret: Bench) -> None:
    secret.procedure("inner", {}, params=[{"name": "key", "type": "secret", "required": True}])
    secret.procedure("outer", {"uses": "inner", "with": {"key": "params.token"}, "run": None}, params=[TOKEN])
    run_id = secret.run("outer").run_id
    child = secret.now(run_id).steps[1].child
    assert secret.now(child).params == {"key": "env:TOKEN"}
    (order,) = secret.world.orders.values()
    assert order.environment["SOP_PARAM_KEY"] == VALUE
    assert VALUE not in texts(secret, run_id) + texts(secret, child)


def test_the_default_of_a_child_run_is_covered_from_the_beginning(secret: Bench) -> None:
    secret.procedure("inner", {}, params=[TOKEN])
    secret.procedure("outer", {**GATED, "uses": "inner", "run": None})
    run_id = secret.run("outer").run_id
    secret.environ["TOKEN"] = "another-value"
    secret.engine().approve(run_id, actor=ANN)
    secret.drive(run_id)
    child = secret.now(run_id).steps[1].child
    assert status_of(secret.now(child)) is RunStatus.AWAITING_APPROVAL
    assert secret.starts(child) == []


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        ({"if": "params.token == 'x'"}, {}),
        ({"if": "has(params.token)"}, {}),
        ({"if": "params['token'] == 'x'"}, {}),
        ({"forEach": "[params.token]"}, {}),
        ({**GATED, "approval": {"when": "params.token != ''"}}, {}),
        ({"uses": "inner", "run": None, "with": {"key": "params.token + ''"}}, {}),
        ({"uses": "inner", "run": None, "with": {"plain": "params.token"}}, {}),
        ({"uses": "loose", "run": None, "with": {"any": "params.token"}}, {}),
        ({"uses": "inner", "run": None, "with": {"key": "'hunter2'"}}, {}),
        ({"uses": "inner", "run": None, "with": {"key": "'env:' + run.name"}}, {}),
        ({}, {"concurrencyGroup": "params.token"}),
    ],
)
def test_no_expression_may_use_a_secret(secret: Bench, step: dict[str, Any], keys: dict[str, Any]) -> None:
    secret.procedure("inner", {}, params=[{"name": "key", "type": "secret"}, {"name": "plain"}])
    secret.procedure("loose", {})
    secret.procedure("outer", step, params=[TOKEN], **keys)
    with pytest.raises(InvalidProcedure) as refused:
        secret.create("outer")
    assert "hunter2" not in refused.value.message


def test_a_constant_reference_may_be_handed_on(secret: Bench) -> None:
    secret.procedure("inner", {}, params=[{"name": "key", "type": "secret"}])
    secret.procedure("outer", {"uses": "inner", "run": None, "with": {"key": "'env:TOKEN'"}})
    run_id = secret.run("outer").run_id
    assert status_of(secret.now(run_id)) is RunStatus.COMPLETED
