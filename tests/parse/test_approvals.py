"""Approval rules in both files: who decides is said once, and what could not be meant is an error at its place."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core.approval import ApprovalRules, FieldType, FormField, TimeoutAction
from sopwith.errors import Severity

from .examples import codes, only, parse, step

FORM = {"type": "object", "properties": {"ticket": {"type": "string"}}, "required": ["ticket"]}
LISTED = {"approvers": ["group:release"], "onTimeout": "pause"}


def gated(**approval: Any) -> dict[str, Any]:
    return {"number": 1, "approval": approval}


def of_step(approval: dict[str, Any], **more: Any) -> Any:
    return parse(None, {"steps": [{**gated(**approval), **more}]})


def test_the_whole_object_is_read() -> None:
    approval = {
        "when": "params.environment == 'production'",
        "approvers": ["group:release", "user:alice"],
        "quorum": 2,
        "allowSelfApproval": False,
        "commentRequired": True,
        "onTimeout": "escalate",
        "escalateTo": ["group:oncall"],
        "remindAfterMins": [2, 4],
        "form": {
            "type": "object",
            "properties": {
                "ticket": {"type": "string", "pattern": "OPS-[0-9]+", "title": "Ticket", "description": "the change"},
                "count": {"type": "integer", "minimum": 1, "maximum": 5, "default": 2, "enum": [2, 3]},
            },
            "required": ["ticket"],
        },
    }
    parsed = of_step(approval, approvalTimeoutMins=5, pins=["dist/app.tar", "../x"])
    assert parsed.problems == ()
    found = parsed.procedure.steps[0]
    assert found.requires_approval
    assert found.pins == ("dist/app.tar", "../x")
    assert found.approval == ApprovalRules(
        when="params.environment == 'production'",
        approvers=("group:release", "user:alice"),
        quorum=2,
        allow_self_approval=False,
        comment_required=True,
        on_timeout=TimeoutAction.ESCALATE,
        escalate_to=("group:oncall",),
        remind_after_mins=(2, 4),
        form=(
            FormField(name="ticket", title="Ticket: the change", required=True, pattern="OPS-[0-9]+"),
            FormField(name="count", type=FieldType.INTEGER, minimum=1, maximum=5, default=2, values=(2, 3)),
        ),
    )


def test_both_files_can_say_the_same() -> None:
    document = (
        "# T\n\n**Runners**: group:ops, agent:bot\n**Approvers**: user:alice\n**On Timeout**: pause\n\n"
        "## Steps\n\n### Step 1: Do it\n\n**Approvers**: group:release, `user:bob`\n**Quorum**: 2\n"
        "**On Timeout**: Escalate\n**Escalate To**: group:oncall\n**Comment Required**: Yes\n**Pins**: a.txt, b/c\n"
    )
    rules = {
        "approvers": ["user:bob", "group:release"],
        "quorum": 2,
        "onTimeout": "escalate",
        "escalateTo": ["group:oncall"],
        "commentRequired": True,
    }
    manifest = {
        "runners": ["group:ops", "agent:bot"],
        "approval": {"approvers": ["user:alice"], "onTimeout": "pause"},
        "title": "T",
        "steps": [{"number": 1, "title": "Do it", "approval": rules, "pins": ["a.txt", "b/c"]}],
    }
    ours, both = parse(document).procedure, parse(document, manifest)
    assert both.problems == ()
    assert ours is not None
    assert both.procedure is not None
    assert ours.runners == both.procedure.runners == ("group:ops", "agent:bot")
    assert ours.approval == both.procedure.approval
    assert ours.steps[0].pins == both.procedure.steps[0].pins == ("a.txt", "b/c")
    assert ours.steps[0].requires_approval
    approval, other = ours.steps[0].approval, both.procedure.steps[0].approval
    assert approval is not None
    assert other is not None
    assert sorted(approval.approvers) == sorted(other.approvers)
    assert (approval.quorum, approval.on_timeout, approval.escalate_to) == (2, "escalate", ("group:oncall",))


def test_who_says_nothing_has_no_rules() -> None:
    procedure = parse(None, {"steps": [{"number": 1}]}).procedure
    assert procedure is not None
    assert (procedure.approval, procedure.steps[0].approval, procedure.runners) == (None, None, ())


def test_rules_gate_their_step() -> None:
    assert of_step({}).procedure.steps[0].requires_approval
    assert parse(step("**Comment Required**: Yes")).procedure.steps[0].requires_approval  # type: ignore[union-attr]


def test_rules_beside_no_gate_are_an_error_in_one_file_and_a_gate_in_two() -> None:
    problem = only(of_step({}, requiresApproval=False))
    assert (problem.code, problem.path) == ("approval_without_gate", "$.steps[0].requiresApproval")
    problem = only(parse(step("**Approval Required**: No\n**Comment Required**: Yes")))
    assert (problem.code, problem.line) == ("approval_without_gate", 5)
    parsed = parse(step("**Comment Required**: Yes"), {"steps": [{"number": 1, "requiresApproval": False}]})
    assert codes(parsed, Severity.WARNING) == ["drift"]
    assert parsed.procedure is not None
    assert parsed.procedure.steps[0].requires_approval


SHAPES = [
    ({"quorum": 0}, "quorum"),
    ({"quorum": 101}, "quorum"),
    ({"quorum": None}, "quorum"),
    ({"approvers": None}, "approvers"),
    ({"when": None}, "when"),
    ({"when": ""}, "when"),
    ({"when": "x" * 4097}, "when"),
    ({"onTimeout": "wait"}, "onTimeout"),
    ({"approvers": ["user:a"] * 101}, "approvers"),
    ({"approvers": ["alice"]}, "approvers[0]"),
    ({"approvers": ["user:"]}, "approvers[0]"),
    ({"approvers": ["role:admin"]}, "approvers[0]"),
    ({"approvers": ["user:-a"]}, "approvers[0]"),
    ({"approvers": ["user:a\n"]}, "approvers[0]"),
    ({"escalateTo": ["oncall"]}, "escalateTo[0]"),
    ({"remindAfterMins": [0]}, "remindAfterMins[0]"),
    ({"remindAfterMins": list(range(1, 22))}, "remindAfterMins"),
    ({"aprovers": []}, "aprovers"),
    ({"form": {"type": "object", "properties": {}, "additionalProperties": False}}, "form.additionalProperties"),
    ({"form": {"type": "array", "properties": {}}}, "form.type"),
    ({"form": {"type": "object"}}, "form"),
    ({"form": {"type": "object", "properties": {"a-b": {"type": "string"}}}}, 'form.properties["a-b"]'),
    ({"form": {"type": "object", "properties": {"a": {"type": "array"}}}}, "form.properties.a.type"),
    ({"form": {"type": "object", "properties": {"a": {}}}}, "form.properties.a"),
]


@pytest.mark.parametrize(("approval", "path"), SHAPES)
def test_a_badly_shaped_rule_is_an_error_with_its_path(approval: dict[str, Any], path: str) -> None:
    assert only(of_step(approval)).path == f"$.steps[0].approval.{path}"


def test_a_bare_name_is_told_how_to_write_it() -> None:
    assert "user:alice" in only(of_step({"approvers": ["alice"]})).hint
    assert "user:alice" in only(parse(step("**Approvers**: alice\n**On Timeout**: pause"))).hint


@pytest.mark.parametrize("key", ["approval", "pins"])
def test_a_rule_of_null_is_an_error(key: str) -> None:
    assert only(parse(None, {"steps": [{"number": 1, key: None}]})).path == f"$.steps[0].{key}"


@pytest.mark.parametrize(
    ("approval", "code", "path"),
    [
        ({"approvers": ["user:a"]}, "no_on_timeout", "approvers"),
        ({"quorum": 2}, "no_on_timeout", "quorum"),
        ({"onTimeout": "escalate"}, "escalate_to_nobody", "onTimeout"),
        ({"onTimeout": "pause", "escalateTo": ["user:a"]}, "never_escalated", "escalateTo"),
        ({"escalateTo": ["user:a"]}, "never_escalated", "escalateTo"),
        ({**LISTED, "approvers": ["user:a", "group:b", "user:a"]}, "repeated_approver", "approvers"),
        ({**LISTED, "approvers": ["user:a", "agent:b"], "quorum": 3}, "quorum_too_large", "quorum"),
        ({"remindAfterMins": [4, 2]}, "reminders_out_of_order", "remindAfterMins"),
        ({"remindAfterMins": [2, 2]}, "reminders_out_of_order", "remindAfterMins"),
        ({"when": "params.x =="}, "bad_condition", "when"),
        ({"when": "params.x == 1"}, "bad_condition", "when"),
        ({"when": "steps['1'].status == 'x'"}, "bad_condition", "when"),
        ({"form": {**FORM, "required": ["tickt"]}}, "unknown_field", "form.required"),
    ],
)
def test_rules_that_cannot_be_meant_are_an_error(approval: dict[str, Any], code: str, path: str) -> None:
    problem = only(of_step(approval))
    assert (problem.code, problem.path) == (code, f"$.steps[0].approval.{path}")
    assert problem.line is not None


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ({"type": "integer", "pattern": "x"}, "pattern"),
        ({"type": "string", "pattern": "("}, "pattern"),
        ({"type": "string", "minimum": 1}, "minimum"),
        ({"type": "boolean", "maximum": 1}, "maximum"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, "maximum"),
        ({"type": "integer", "enum": ["1"]}, "enum"),
        ({"type": "string", "pattern": "a", "enum": ["b"]}, "enum"),
        ({"type": "integer", "default": "1"}, "default"),
        ({"type": "integer", "default": True}, "default"),
        ({"type": "string", "default": 1}, "default"),
        ({"type": "string", "enum": ["a"], "default": "b"}, "default"),
        ({"type": "number", "minimum": 1, "default": 0.5}, "default"),
    ],
)
def test_a_field_that_could_not_be_filled_in_is_an_error(field: dict[str, Any], key: str) -> None:
    problem = only(of_step({"form": {"type": "object", "properties": {"a": field}}}))
    assert (problem.code, problem.path) == ("bad_field", f"$.steps[0].approval.form.properties.a.{key}")


@pytest.mark.parametrize(
    "approval",
    [
        {"quorum": 3, "onTimeout": "pause"},
        {"quorum": 3, "approvers": [], "onTimeout": "pause"},
        {"approvers": ["agent:bot"], "commentRequired": True, "onTimeout": "fail"},
        {"approvers": ["group:a"], "quorum": 9, "onTimeout": "skip"},
        {"when": "params.environment == 'x'"},
        {"form": FORM},
        {},
    ],
)
def test_sound_rules_are_no_problem(approval: dict[str, Any]) -> None:
    assert of_step(approval).problems == ()


@pytest.mark.parametrize(
    ("approval", "path"),
    [
        ({"when": "true"}, "when"),
        ({"form": FORM}, "form"),
        ({**LISTED, "onTimeout": "skip"}, "onTimeout"),
        ({**LISTED, "onTimeout": "fail"}, "onTimeout"),
    ],
)
def test_what_only_a_step_can_say_is_an_error_for_the_whole(approval: dict[str, Any], path: str) -> None:
    problem = only(parse(None, {"approval": approval, "steps": [{"number": 1}]}))
    assert (problem.code, problem.path) == ("in_a_step_only", f"$.approval.{path}")


def test_the_procedures_own_rules_are_checked_too() -> None:
    manifest = {"approval": {"quorum": 2}, "steps": [{"number": 1}]}
    assert only(parse(None, manifest)).path == "$.approval.quorum"
    assert only(parse("**Quorum**: 2\n\n" + step("x"))).line == 1


@pytest.mark.parametrize(
    ("approval", "timeout", "code"),
    [
        ({"remindAfterMins": [5, 6]}, 5, "reminders_too_late"),
        ({"remindAfterMins": [4, 6]}, 5, None),
        ({"remindAfterMins": [4]}, None, None),
    ],
)
def test_reminders_after_the_end_are_a_warning(approval: dict[str, Any], timeout: int | None, code: str | None) -> None:
    parsed = of_step(approval, approvalTimeoutMins=timeout) if timeout else of_step(approval)
    assert codes(parsed) == []
    assert codes(parsed, Severity.WARNING) == ([code] if code else [])


def test_a_gate_that_waits_for_ever_needs_no_action() -> None:
    assert (
        only(parse(step("**Approval Timeout**: none\n**On Timeout**: reject")), Severity.WARNING).code
        == "never_times_out"
    )
    listed = "**Approval Timeout**: none\n**Approvers**: user:a\n**On Timeout**: reject"
    assert parse(step(listed)).problems == ()


@pytest.mark.parametrize(
    ("key", "ours", "theirs", "wins"),
    [
        ("quorum", 2, 3, 3),
        ("quorum", 3, 2, 3),
        ("commentRequired", True, False, True),
        ("commentRequired", False, True, True),
    ],
)
def test_the_stricter_rule_wins_with_a_warning(key: str, ours: Any, theirs: Any, wins: Any) -> None:
    line = {"quorum": f"**Quorum**: {ours}", "commentRequired": f"**Comment Required**: {'Yes' if ours else 'No'}"}[key]
    approval = {key: theirs, "onTimeout": "pause"}
    parsed = parse(step(line), {"steps": [gated(**approval)]})
    assert only(parsed, Severity.WARNING).code == "drift"
    assert parsed.procedure is not None
    rules = parsed.procedure.steps[0].approval
    assert rules is not None
    assert {"quorum": rules.quorum, "commentRequired": rules.comment_required}[key] == wins


@pytest.mark.parametrize(
    ("lines", "approval", "key"),
    [
        ("**Approvers**: user:a", {"approvers": ["user:b"], "onTimeout": "pause"}, "approvers"),
        ("**On Timeout**: reject", {"onTimeout": "pause"}, "onTimeout"),
        (
            "**Escalate To**: user:a\n**On Timeout**: escalate",
            {"escalateTo": ["user:b"], "onTimeout": "escalate"},
            "escalateTo",
        ),
    ],
)
def test_who_decides_must_be_said_once(lines: str, approval: dict[str, Any], key: str) -> None:
    problem = only(parse(step(lines), {"steps": [gated(**approval)]}))
    assert (problem.code, problem.path) == ("approval_differs", f"$.steps[0].approval.{key}")
    assert "SOP.md:5" in problem.message


def test_what_one_file_lacks_is_no_difference() -> None:
    parsed = parse(step("**Approvers**: user:a"), {"steps": [gated(onTimeout="pause", quorum=1)]})
    assert parsed.problems == ()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("**Approver**: user:a", "misspelt_gate"),
        ("**Quorom**: 2", "misspelt_gate"),
        ("**OnTimeout**: pause", "misspelt_gate"),
        ("**Escalate**: user:a", "misspelt_gate"),
        ("**Comments Required**: Yes", "misspelt_gate"),
        ("**Pin**: a", "misspelt_gate"),
        ("**Approval**: user:a", "misspelt_gate"),
        ("**Quorum**: two", "bad_value"),
        ("**On Timeout**: shrug", "bad_value"),
        ("**Approvers**: none", "bad_value"),
        ("**Approvers**:", "bad_value"),
        ("**Comment Required**: maybe", "bad_value"),
        ("**Pins**: /etc/passwd", "bad_value"),
        ("**Quorum**: 2\n**Quorum**: 3", "duplicate_key"),
        ("- [ ] **Quorum**: 2", "hidden_key"),
        ("Approvers: user:a", "hidden_key"),
        ("| Comment Required | Yes |", "hidden_key"),
        ("*On timeout*: pause", "hidden_key"),
        ("__Escalate to__: group:oncall", "hidden_key"),
    ],
)
def test_a_rule_in_sop_md_that_would_be_lost_is_an_error(line: str, code: str) -> None:
    assert code in codes(parse(step(line)))


@pytest.mark.parametrize(
    "line", ["Ask the approvers.", "A quorum of the team meets.", "Pins: 3 and 4", "Comments are welcome."]
)
def test_prose_with_the_same_words_is_prose(line: str) -> None:
    assert parse(step(line)).problems == ()


@pytest.mark.parametrize("line", ["On timeout: restart the service.", "Escalate to: the on-call team"])
def test_prose_that_could_be_meant_as_a_rule_is_a_warning(line: str) -> None:
    assert only(parse(step(line)), Severity.WARNING).code == "hidden_key"


@pytest.mark.parametrize("key", ["approvers", "quorum", "onTimeout", "pins", "runners", "approval"])
def test_front_matter_that_states_a_rule_is_an_error(key: str) -> None:
    assert codes(parse(f"---\n{key}: x\n---\n\n# T\n\n" + step("x"))) == ["hidden_key"]


@pytest.mark.parametrize(
    ("pins", "path"),
    [
        (["/etc/passwd"], "[0]"),
        ([""], "[0]"),
        (["a\nb"], "[0]"),
        (["a", "a"], "[1]"),
        (["a", "./a"], "[1]"),
        ([f"f{number}" for number in range(101)], ""),
    ],
)
def test_a_pin_that_is_none_is_an_error(pins: list[str], path: str) -> None:
    assert only(parse(None, {"steps": [{"number": 1, "pins": pins}]})).path == f"$.steps[0].pins{path}"


def test_step_level_runners_are_not_built_yet() -> None:
    assert only(parse(step("**Runners**: user:a"))).code == "not_supported_yet"


@pytest.mark.parametrize(
    ("approval", "whole", "warned"),
    [
        (None, None, True),
        ({"onTimeout": "approve"}, None, True),
        ({"onTimeout": "reject"}, None, False),
        (None, {"onTimeout": "pause"}, False),
        ({}, {"onTimeout": "pause"}, True),
    ],
)
def test_only_silence_that_approves_is_warned_of(approval: Any, whole: Any, warned: bool) -> None:
    gate = {"number": 1, "requiresApproval": True, "approvalTimeoutMins": 5}
    manifest: dict[str, Any] = {
        "priority": "high",
        "steps": [{**gate, **({} if approval is None else {"approval": approval})}],
    }
    parsed = parse(None, {**manifest, **({"approval": whole} if whole else {})})
    assert codes(parsed) == []
    assert codes(parsed, Severity.WARNING) == (["auto_approval"] if warned else [])


def test_a_condition_may_name_what_its_step_depends_on() -> None:
    build = {"number": 1, "key": "build", "outputs": {"size": "integer"}}
    when = {"when": "steps.build.outputs.size > 10 && steps['1'].status == 'completed'"}
    assert parse(None, {"steps": [build, {"number": 2, "approval": when}]}).problems == ()
    apart = parse(None, {"steps": [build, {"number": 2, "dependsOn": [], "approval": when}]})
    assert only(apart).code == "bad_condition"
    assert "build" in only(apart).message
    wrong = {"when": "steps.build.outputs.size > 'x'"}
    assert only(parse(None, {"steps": [build, {"number": 2, "approval": wrong}]})).code == "bad_condition"


def test_a_condition_may_name_what_approvers_filled_in() -> None:
    asked = {"number": 1, "approval": {"form": FORM}}
    when = {"when": "steps['1'].approval.ticket == 'x'"}
    assert parse(None, {"steps": [asked, {"number": 2, "approval": when}]}).problems == ()
    assert only(parse(None, {"steps": [{"number": 1}, {"number": 2, "approval": when}]})).code == "bad_condition"


def test_too_many_conditions_are_an_error() -> None:
    steps = [{"number": number, "approval": {"when": f"1 == {number}"}} for number in range(1, 102)]
    assert only(parse(None, {"steps": steps})).code == "too_many_conditions"


def test_a_condition_that_can_never_hold_is_told() -> None:
    steps = [{"number": 1}, {"number": 2, "if": "'a' == 'b'"}]
    told = only(parse(None, {"steps": steps}), Severity.WARNING)
    assert (told.code, told.path) == ("never_true", "$.steps[1].if")
    assert parse(None, {"steps": [{"number": 1, "if": "1 < 2"}]}).problems == ()


@pytest.mark.parametrize("status", ["compleeted", "done", "Completed"])
def test_a_status_that_no_step_ever_has_is_an_error(status: str) -> None:
    steps = [{"number": 1}, {"number": 2, "if": f"steps['1'].status != '{status}'"}]
    assert only(parse(None, {"steps": steps})).code == "unknown_status"
