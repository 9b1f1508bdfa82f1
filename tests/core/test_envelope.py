"""The envelope (DESIGN section 5): whatever changes what runs changes the digest."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import asdict, replace

from sopwith.core import commands as cmd
from sopwith.core.approval import ApprovalRules, FormField, TimeoutAction
from sopwith.core.envelope import Envelope, changed_fields, envelope_bytes, start_envelope, step_envelope
from sopwith.core.events import Policy
from sopwith.core.procedure import EnvironmentRules, ExecutionMode, RetryRules, sha256

from .given import RUN, Story, shell

NONCE = "a" * 32
BASE = Envelope(
    procedure_name="deploy",
    procedure_digest="d" * 64,
    run_id=RUN,
    mode="auto",
    step=2,
    title="Step 2",
    visit=1,
    revision=1,
    nonce="e" * 32,
    umask=0o022,
    executor="shell",
    interpreter="bash",
    script="true\n",
    instructions="Do it.",
    working_dir="/srv",
    parameters={"tag": "v1"},
    inputs={"1": {"url": "http://here"}},
    approvals={"1": {"ticket": "OPS-1"}},
    pins={"deploy.yaml": "a" * 64},
    environment={"LANG": "C"},
    passed={"TOKEN": "ab"},
    secrets={"token": "ab"},
    policy=Policy(),
    working_dirs={"1": "/srv"},
    approval=ApprovalRules(approvers=("group:release",), quorum=2),
    timeout_mins=5,
    on_timeout="approve",
    timeout_secs=60,
    retry=RetryRules(max_attempts=3),
    uses={"test": "a" * 64},
    given={"version": "v1"},
)

NAMED = {
    "parameters": "parameters tag",
    "inputs": "inputs 1",
    "approvals": "approvals 1",
    "pins": "pins deploy.yaml",
    "working_dirs": "working_dirs 1",
    "approval": "approval approvers",
    "retry": "retry on_exit_codes",
    "environment": "environment A",
    "uses": "uses test",
    "given": "given version",
    "passed": "passed TOKEN",
    "secrets": "secrets token",
    "policy": "policy approvalTimeoutMins",
}
"""What a change within a field of many values is called."""

CHANGES: dict[str, Any] = {
    "format": 4,
    "procedure_name": "deploy2",
    "procedure_digest": "e" * 64,
    "run_id": RUN + "x",
    "mode": "supervised",
    "step": None,
    "instance": "eu",
    "item": {"a": 1},
    "title": "Step 3",
    "visit": 2,
    "revision": 2,
    "nonce": "f" * 32,
    "umask": 0o077,
    "working_dirs": {"1": "/tmp"},
    "executor": "manual",
    "interpreter": "sh",
    "program": "/tmp/bash",
    "script": "true \n",
    "instructions": "Do it",
    "working_dir": "/srv/",
    "parameters": {"tag": "v2"},
    "inputs": {"1": {"url": "http://there"}},
    "approvals": {"1": {"ticket": "OPS-2"}},
    "pins": {"deploy.yaml": "b" * 64},
    "environment": {"LANG": "C", "A": ""},
    "passed": {"TOKEN": "ac"},
    "secrets": {"token": "ac"},
    "policy": Policy(approval_timeout_mins=1),
    "approval": ApprovalRules(approvers=("user:bob",), quorum=2),
    "timeout_mins": None,
    "on_timeout": None,
    "timeout_secs": None,
    "retry": RetryRules(max_attempts=3, on_exit_codes=(7,)),
    "on_interrupt": {"policy": "rerun"},
    "verify": {"script": "true\n"},
    "uses": {"test": "b" * 64},
    "given": {"version": "v2"},
    "agent": {"name": "default", "command": ["another"]},
    "agents": {"default": {"command": ["another"]}},
    "rollback": True,
    "event": "d" * 64,
}


@pytest.mark.parametrize("field", Envelope.__struct_fields__)
def test_changing_any_field_changes_the_digest_and_is_named(field: str) -> None:
    before, after = envelope_bytes(BASE), envelope_bytes(replace(BASE, **{field: CHANGES[field]}))
    assert sha256(before) != sha256(after)
    assert changed_fields(before, after) == (NAMED.get(field, field),)
    assert changed_fields(after, before) == (NAMED.get(field, field),)


def test_equal_envelopes_have_the_same_bytes_whatever_the_order_of_their_keys() -> None:
    twin = Envelope(**dict(reversed(asdict(BASE).items())))
    other = replace(twin, environment=dict(reversed(BASE.environment.items())))
    assert envelope_bytes(other) == envelope_bytes(BASE)
    assert changed_fields(envelope_bytes(other), envelope_bytes(BASE)) == ()


def _story(**more: Any) -> Story:
    env = EnvironmentRules(set_={"REGION": "eu"})
    story = Story(shell(), shell(gate=True, env=env, **more), shell(after=(1,)), params={"tag": "v1"}).drive()
    story.finish(1, outputs={"url": "http://here"})
    return story


def _envelope(story: Story, number: int = 2, *, rebuilding: bool = False) -> Envelope:
    return step_envelope(
        story.run,
        number,
        working_dir="/srv",
        passed={},
        pins={},
        program="/bin/bash",
        given={},
        asking=None if rebuilding else NONCE,
    )


def test_a_steps_envelope_holds_what_steers_it() -> None:
    envelope = _envelope(_story(approval_timeout_mins=5, body="Watch out."))
    assert (envelope.run_id, envelope.step, envelope.visit, envelope.revision) == (RUN, 2, 1, 1)
    assert (envelope.interpreter, envelope.script, envelope.instructions) == ("bash", "true\n", "Watch out.")
    assert envelope.inputs == {"1": {"url": "http://here"}}
    assert envelope.environment == {"LANG": "C.UTF-8", "REGION": "eu"}
    assert envelope.parameters == {"tag": "v1"}
    assert (envelope.timeout_mins, envelope.on_timeout) == (5, "approve")


def test_an_envelope_is_the_same_when_it_is_asked_about_and_when_it_is_rebuilt_for_the_start() -> None:
    story = _story()
    asked = envelope_bytes(_envelope(story))
    story.when(cmd.OpenGate, step=2, digest=sha256(asked), nonce=NONCE)
    assert envelope_bytes(_envelope(story, rebuilding=True)) == asked
    story.when(cmd.Approve)
    rebuilt = sha256(envelope_bytes(_envelope(story, rebuilding=True)))
    assert story.when(cmd.Start, step=2, digest=rebuilt) == ["step_started"]


def test_the_next_revision_and_the_next_visit_are_other_envelopes() -> None:
    story = _story()
    first = envelope_bytes(_envelope(story))
    story.when(cmd.OpenGate, step=2, digest=sha256(first), nonce=NONCE)
    story.when(cmd.Pause)
    story.when(cmd.Retry, from_step=2)
    assert changed_fields(first, envelope_bytes(_envelope(story))) == ("revision", "visit")


def test_only_what_a_step_depends_on_is_in_its_inputs() -> None:
    story = Story(shell(), shell(after=())).drive()
    story.finish(1, outputs={"url": "http://here"})
    assert _envelope(story).inputs == {}


def test_a_step_is_given_the_outputs_of_all_steps_before_it_in_a_list() -> None:
    story = Story(shell(), shell(), shell()).drive()
    story.finish(1, outputs={"url": "http://here"})
    story.drive()
    story.finish(2)
    assert _envelope(story, 3).inputs == {"1": {"url": "http://here"}}


def test_the_start_approval_covers_procedure_parameters_and_mode() -> None:
    policy = Policy(approval_timeout_mins=5, approval_timeout_action=TimeoutAction.REJECT)
    story = Story(shell(), mode=ExecutionMode.SUPERVISED, policy=policy, params={"tag": "v1"})
    envelope = start_envelope(story.run)
    assert story.gate(None).digest == sha256(envelope_bytes(envelope))
    assert (envelope.step, envelope.mode, envelope.parameters) == (None, "supervised", {"tag": "v1"})
    assert (envelope.timeout_mins, envelope.on_timeout, envelope.script) == (5, "reject", None)


def test_what_approvers_filled_in_is_in_the_envelopes_of_what_comes_after() -> None:
    rules = ApprovalRules(form=(FormField(name="ticket"),))
    story = Story(shell(gate=True, approval=rules), shell(), shell(after=())).drive()
    assert _envelope(story).approvals == {}
    story.when(cmd.Approve, step=1, form={"ticket": "OPS-1"})
    assert _envelope(story).approvals == {"1": {"ticket": "OPS-1"}}
    assert _envelope(story, 3).approvals == {}
    story.drive()
    story.finish(3)
    story.finish(1, error="exit code 1")
    story.when(cmd.Retry)
    assert _envelope(story).approvals == {}, "a gate that asks again has nothing to say yet"


def test_the_rules_of_a_gate_are_in_its_envelope() -> None:
    own, common = ApprovalRules(quorum=2), ApprovalRules(comment_required=True)
    story = Story(shell(gate=True, approval=own), shell(gate=True), approval=common, mode=ExecutionMode.SUPERVISED)
    assert (_envelope(story, 1).approval, _envelope(story, 2).approval) == (own, common)
    assert start_envelope(story.run, asking=NONCE).approval == common
