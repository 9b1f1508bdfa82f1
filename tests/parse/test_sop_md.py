"""SOP.md as people write it (specification; DESIGN section 3)."""

from __future__ import annotations

import pytest

from sopwith.core.procedure import (
    EnvironmentRules,
    ExecutionMode,
    OnFailure,
    Parameter,
    ParameterType,
    Priority,
    Procedure,
    RetryRules,
    Script,
    Trigger,
)
from sopwith.errors import Severity
from sopwith.parse.procedure import SourceFile, parse_procedure

from .examples import DEPLOY, DEPLOY_1, DEPLOY_MANIFEST, INCIDENT, QA, codes, only, parse, step


@pytest.mark.parametrize(
    ("document", "gates", "timeouts"),
    [
        (DEPLOY, [True, True, True, False], [5, 10, 5, None]),
        (DEPLOY_1, [True, True, True, False], [10, 15, 5, None]),
        (INCIDENT, [False, True, False, True, False], [None, 5, None, 30, None]),
        (QA, [False] * 5, [None] * 5),
    ],
)
def test_the_examples_of_the_specification_parse(document: str, gates: list[bool], timeouts: list[int | None]) -> None:
    parsed = parse(document)
    assert codes(parsed) == []
    assert parsed.procedure is not None
    assert [each.requires_approval for each in parsed.procedure.steps] == gates
    assert [each.approval_timeout_mins for each in parsed.procedure.steps] == timeouts


def test_the_deploy_example_parses_with_both_files() -> None:
    parsed = parse(DEPLOY, DEPLOY_MANIFEST, name="deploy-production")
    assert set(codes(parsed, Severity.WARNING)) == {"auto_approval"}
    procedure = parsed.procedure
    assert procedure is not None
    assert (procedure.name, procedure.title) == ("deploy-production", "Deploy to Production")
    assert procedure.description == "Deploys the application to production with safety checks"
    assert procedure.overview.startswith("Deploys the application to production after running")
    assert (procedure.version, procedure.priority) == ("1.0.0", Priority.HIGH)
    assert procedure.execution_mode is ExecutionMode.STEP_BY_STEP
    assert (procedure.cooldown_secs, procedure.max_concurrent) == (3600, 1)
    assert procedure.triggers == (Trigger(type="manual"), Trigger(type="webhook", path="/deploy/production"))
    first = procedure.steps[0]
    assert first.script == Script(interpreter="bash", text="npm test\nnpm run test:e2e\n")
    assert first.body == "Execute the full test suite and verify all tests pass."
    assert first.suggested_tools == ("shell", "file_read")
    assert [each.depends_on for each in procedure.steps] == [(), (1,), (2,), (3,)]


def test_the_incident_example_is_all_manual() -> None:
    procedure = parse(INCIDENT).procedure
    assert procedure is not None
    assert {each.executor for each in procedure.steps} == {"manual"}
    assert procedure.steps[0].body == "Identify scope.\n\n- Check dashboards\n- Review error logs"


def test_key_lines_say_what_a_manifest_can_say() -> None:
    document = """# Ship it

**Version**: 2.1.0
**Description**: Ships
**Priority:** High
**Execution Mode**: Step by step
**Cooldown**: 1 hour
**Max Concurrent**: 2
**Triggers**: manual, webhook /ship
**Env**: AWS_PROFILE, REGION=eu, LIST=`a,b`
**Working Dir**: `app`
**Parameters**:

- environment (required, values: staging | production): where to
- `count` (integer, default: 3)
- ratio (number, default: 0.5)
- dry (boolean, default: yes): try only
- tag (pattern: `v[0-9]{1,3}`, default: `v1`)

## Steps

### Step 1: Build

Builds.

```bash
make
```

**Key**: build
**Outputs**: `url, size: integer`
**Tools**: shell, `file_read`

### Step 2: Check

- **Approval Required**: Yes
- **Approval Timeout**: 90 seconds

By hand.

**Executor**: manual
**Depends On**: none

### Step 3: Ship

```sh
./ship
```

**Depends On**: build, 2
**Env**: TOKEN
**Working Dir**: dist
"""
    manifest = {
        "title": "Ship it",
        "version": "2.1.0",
        "description": "Ships",
        "priority": "high",
        "executionMode": "step_by_step",
        "cooldownSecs": 3600,
        "maxConcurrent": 2,
        "triggers": [{"type": "manual"}, {"type": "webhook", "path": "/ship"}],
        "env": {"pass": ["AWS_PROFILE"], "set": {"REGION": "eu", "LIST": "a,b"}},
        "workingDir": "app",
        "params": [
            {
                "name": "environment",
                "type": "enum",
                "required": True,
                "values": ["staging", "production"],
                "description": "where to",
            },
            {"name": "count", "type": "integer", "default": 3},
            {"name": "ratio", "type": "number", "default": 0.5},
            {"name": "dry", "type": "boolean", "default": True, "description": "try only"},
            {"name": "tag", "pattern": "v[0-9]{1,3}", "default": "v1"},
        ],
        "steps": [
            {
                "number": 1,
                "title": "Build",
                "description": "Builds.",
                "run": "make",
                "key": "build",
                "outputs": {"url": "string", "size": "integer"},
                "suggestedTools": ["shell", "file_read"],
            },
            {
                "number": 2,
                "title": "Check",
                "description": "By hand.",
                "requiresApproval": True,
                "approvalTimeoutMins": 1.5,
                "executor": "manual",
                "dependsOn": [],
            },
            {
                "number": 3,
                "title": "Ship",
                "run": "./ship",
                "dependsOn": ["build", 2],
                "env": {"pass": ["TOKEN"]},
                "workingDir": "dist",
            },
        ],
    }
    in_markdown, in_json = parse(document.replace("```sh\n", "```bash\n")), parse(None, manifest)
    assert codes(in_markdown) == codes(in_json) == []
    assert in_markdown.procedure == in_json.procedure
    assert in_markdown.procedure is not None
    assert in_markdown.procedure.steps[2].depends_on == (1, 2)
    both = parse(document.replace("```sh\n", "```bash\n"), manifest)
    assert both.procedure == in_json.procedure
    assert "drift" not in codes(both, Severity.WARNING)


def test_a_title_falls_back_to_the_name() -> None:
    procedure = parse(step("x")).procedure
    assert procedure is not None
    assert procedure.title == "demo"


@pytest.mark.parametrize("value", ["Yes", "yes", "true", "Required", "`Yes`", "Yes\\\nMore."])
def test_a_yes_gates(value: str) -> None:
    parsed = parse(step(f"**Approval Required**: {value}"))
    assert parsed.procedure is not None
    assert parsed.procedure.steps[0].requires_approval
    assert parsed.problems == ()


@pytest.mark.parametrize("value", ["No", "no", "false", "none", "No.", "No  "])
def test_a_no_does_not_gate(value: str) -> None:
    parsed = parse(step(f"**Approval Required**: {value}"))
    assert parsed.procedure is not None
    assert not parsed.procedure.steps[0].requires_approval
    assert parsed.problems == ()


@pytest.mark.parametrize("value", ["Yes (admin)", "No (unless production)", "maybe", "", "Nope", "**No**"])
def test_an_unreadable_approval_gates_with_a_warning(value: str) -> None:
    parsed = parse(step(f"**Approval Required**: {value}"))
    assert parsed.procedure is not None
    assert parsed.procedure.steps[0].requires_approval
    assert only(parsed, Severity.WARNING).code == "unreadable_approval"


@pytest.mark.parametrize(
    ("value", "minutes"),
    [
        ("5 minutes", 5),
        ("10 mins", 10),
        ("1 hour", 60),
        ("90 seconds", 1.5),
        ("5m", 5),
        ("5", 5),
        ("1h30m", 90),
        ("1 hour 30 minutes", 90),
        ("1 day", 1440),
    ],
)
def test_a_timeout_is_read_in_minutes(value: str, minutes: float) -> None:
    procedure = parse(step(f"**Approval Timeout**: {value}")).procedure
    assert procedure is not None
    assert procedure.steps[0].approval_timeout_mins == minutes


@pytest.mark.parametrize("value", ["soon", "5 parsecs", "", "0", "0 minutes", "-5", "5 minutes or so", "1 2"])
def test_an_unreadable_timeout_never_approves(value: str) -> None:
    parsed = parse(step(f"**Approval Timeout**: {value}"))
    assert parsed.procedure is not None
    assert parsed.procedure.steps[0].approval_timeout_mins is None
    assert parsed.procedure.steps[0].never_times_out
    assert only(parsed, Severity.WARNING).code == "unreadable_timeout"


@pytest.mark.parametrize("value", ["none", "Never", "no timeout"])
def test_a_timeout_of_never_is_no_mistake(value: str) -> None:
    parsed = parse(step(f"**Approval Timeout**: {value}"))
    assert parsed.problems == ()
    assert parsed.procedure is not None
    assert parsed.procedure.steps[0].never_times_out


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("Aproval Required", "Approval Required"),
        ("Approval Requird", "Approval Required"),
        ("ApprovalRequired", "Approval Required"),
        ("Requires Approval", "Approval Required"),
        ("Approval Time out", "Approval Timeout"),
        ("Aprovers", "Approvers"),
        ("Quorums", "Quorum"),
    ],
)
def test_a_misspelt_gate_key_is_an_error_with_the_nearest_name(key: str, meant: str) -> None:
    problem = only(parse(step(f"**{key}**: Yes")))
    assert (problem.code, problem.line) == ("misspelt_gate", 5)
    assert meant in problem.hint


def test_any_other_unknown_key_is_a_warning_and_stays_prose() -> None:
    parsed = parse(step("**Owner**: the release team"))
    assert only(parsed, Severity.WARNING).code == "unknown_key"
    assert parsed.procedure is not None
    assert parsed.procedure.steps[0].body == "**Owner**: the release team"


@pytest.mark.parametrize(
    "key",
    [
        "Runners",
    ],
)
def test_a_key_that_is_not_built_yet_is_refused(key: str) -> None:
    assert only(parse(step(f"**{key}**: x"))).code == "not_supported_yet"


def sound(document: str) -> Procedure:
    """The procedure of a document without errors."""
    parsed = parse(document)
    assert codes(parsed, Severity.ERROR) == []
    assert parsed.procedure is not None
    return parsed.procedure


SCRIPT = "\n\n```bash\ntrue\n```"


@pytest.mark.parametrize(
    ("line", "field", "meaning"),
    [
        ("**If**: params.go == 'yes'", "condition", "params.go == 'yes'"),
        ("**Timeout**: 90", "timeout_secs", 90),
        ("**Timeout**: 2 minutes", "timeout_secs", 120),
        ("**Retries**: 2", "retry", RetryRules(max_attempts=3)),
        ("**Retries**: none", "retry", None),
        ("**On Failure**: continue", "on_failure", OnFailure.CONTINUE),
        ("**On Failure**: stop", "on_failure", OnFailure.STOP),
    ],
)
def test_what_a_key_about_the_flow_means(line: str, field: str, meaning: object) -> None:
    assert getattr(sound(step(line + SCRIPT)).steps[0], field) == meaning


@pytest.mark.parametrize("said", ["goto 3", "goto:3", "Goto step 3", "go to 3"])
def test_a_failure_may_lead_on(said: str) -> None:
    later = "\n\n".join(f"### Step {number}: Later\n\nDo it." for number in (2, 3))
    first = sound(step(f"**On Failure**: {said}{SCRIPT}\n\n{later}")).steps[0]
    assert (first.on_failure, first.goto) == (OnFailure.GOTO, 3)


@pytest.mark.parametrize(
    ("line", "field", "meaning"),
    [
        ("**Wait**: 30", "wait_secs", 30),
        ("**Wait**: 1 hour", "wait_secs", 3600),
        ("**Wait Until**: 2026-12-01T08:00:00Z", "wait_until", "2026-12-01T08:00:00Z"),
    ],
)
def test_a_step_that_only_waits(line: str, field: str, meaning: object) -> None:
    waiting = sound(step(line)).steps[0]
    assert (waiting.executor, getattr(waiting, field)) == ("wait", meaning)


@pytest.mark.parametrize(
    "line",
    [
        *("**Timeout**: soon", "**Retries**: often", "**Retries**: -1"),
        *("**On Failure**: shrug", "**Wait**: a bit", "**Wait Until**: tomorrow"),
    ],
)
def test_a_key_about_the_flow_that_nobody_can_read_is_an_error(line: str) -> None:
    parsed = parse(step(line))
    assert codes(parsed, Severity.ERROR) != []


def test_a_part_that_is_not_built_yet_is_refused() -> None:
    assert only(parse(step("```http\nGET /\n```"))).code == "not_supported_yet"


def test_a_gate_key_in_the_wrong_part_is_an_error() -> None:
    assert only(parse("**Approval Required**: Yes\n\n" + step("x"))).code == "misplaced_key"
    assert only(parse(step("x\n\n## Notes\n\n**Approval Required**: Yes"))).code == "misplaced_key"
    assert only(parse(step("**Execution Mode**: step_by_step"))).code == "misplaced_key"


@pytest.mark.parametrize(
    "line",
    [
        "Approval Required: Yes",
        "*Approval Required*: Yes",
        "#### Approval Required: Yes",
        "    **Approval Required**: Yes",
        "<div>\n**Approval Required**: Yes\n</div>",
        "**Approval Required**\uff1a Yes",
    ],
)
def test_a_gate_in_a_form_that_does_not_count_is_an_error(line: str) -> None:
    assert only(parse(step(line))).code == "hidden_key"


def test_a_gate_key_given_twice_must_say_the_same() -> None:
    assert codes(parse(step("**Approval Required**: No\n**Approval Required**: Yes"))) == ["duplicate_key"]
    assert codes(parse(step("**Approval Required**: Yes\n**Approval Required**: Yes"))) == []


def test_a_priority_given_twice_is_a_warning_and_the_first_counts() -> None:
    parsed = parse("**Priority**: low\n**Priority**: high\n\n" + step("x"))
    assert only(parsed, Severity.WARNING).code == "duplicate_key"
    assert parsed.procedure is not None
    assert parsed.procedure.priority is Priority.LOW


@pytest.mark.parametrize(
    ("fences", "interpreter"),
    [("bash", "bash"), ("shell", "bash"), ("run", "bash"), ("sh", "sh"), ("python", "python3"), ("Bash", "bash")],
)
def test_a_runnable_fence_is_the_script(fences: str, interpreter: str) -> None:
    procedure = parse(step(f"```{fences}\necho 1\n```\n\n~~~{fences}\necho 2\n~~~")).procedure
    assert procedure is not None
    assert procedure.steps[0].script == Script(interpreter=interpreter, text="echo 1\necho 2\n")
    assert procedure.steps[0].executor == "shell"
    assert procedure.steps[0].body == ""


@pytest.mark.parametrize("info", ["", "console", "text", "zsh", "json", "shell-session", "{.bash}"])
def test_any_other_fence_is_text(info: str) -> None:
    procedure = parse(step(f"```{info}\n$ rm -rf /\n```")).procedure
    assert procedure is not None
    assert procedure.steps[0].script is None
    assert procedure.steps[0].executor == "manual"
    assert "rm -rf" in procedure.steps[0].body


def test_mixed_interpreters_in_one_step_are_an_error() -> None:
    problem = only(parse(step("```bash\nls\n```\n\n```python\nprint()\n```")))
    assert (problem.code, problem.line) == ("mixed_interpreters", 9)


def test_a_manual_step_with_a_script_is_a_contradiction() -> None:
    assert only(parse(step("**Executor**: manual\n\n```bash\nls\n```"))).code == "manual_with_script"
    assert only(parse(step("**Executor**: shell"))).code == "shell_without_script"


def test_a_prompt_in_a_script_is_an_error_with_its_line() -> None:
    problem = only(parse(step("```bash\ncd app\n$ npm test\n```")))
    assert (problem.code, problem.line) == ("prompt_in_script", 7)


@pytest.mark.parametrize("prompt", ["% ls", ">>> ls", "me@host:~/app$ ls", "[me@host app]$ ls", "root@host:/# ls"])
def test_any_prompt_of_a_pasted_session_is_an_error(prompt: str) -> None:
    problem = only(parse(step(f"```bash\ncd app\n{prompt}\n{prompt}\n```")))
    assert (problem.code, problem.line) == ("prompt_in_script", 7)


def test_a_line_that_would_empty_a_file_is_a_warning() -> None:
    problem = only(parse(step("```bash\nls\n> note\n> more\n```")), Severity.WARNING)
    assert (problem.code, problem.line) == ("prompt_in_script", 7)


@pytest.mark.parametrize(
    "fence",
    ["bash\n# ls\nls \\\n  > out\nmail me@host.org", "python\nx = (a\n% b\n> c)", "bash\n%s\n>out"],
)
def test_what_only_resembles_a_prompt_is_fine(fence: str) -> None:
    assert parse(step(f"```{fence}\n```")).problems == ()


def test_a_python_prompt_is_an_error_in_python() -> None:
    assert only(parse(step("```python\n>>> print()\n```"))).code == "prompt_in_script"


@pytest.mark.parametrize("script", ["echo <name>", "echo <your-name here>", "echo {{ name }}"])
def test_a_placeholder_in_a_script_is_a_warning_with_its_line(script: str) -> None:
    problem = only(parse(step(f"```bash\n{script}\n```")), Severity.WARNING)
    assert (problem.code, problem.line) == ("placeholder_in_script", 6)


@pytest.mark.parametrize("script", ["cat <<eof\nx\neof", "cat < file > out", "sort <in >out", "test 1 -lt 2", "a <(b)"])
def test_redirections_are_no_placeholders(script: str) -> None:
    assert parse(step(f"```bash\n{script}\n```")).problems == ()


def test_an_empty_script_is_a_warning() -> None:
    assert only(parse(step("```bash\n```")), Severity.WARNING).code == "empty_script"


def test_the_body_is_what_is_left_for_people() -> None:
    contents = "One.\n\n```bash\nls\n```\n\n**Tools**: a\n\nTwo.\n\n---\n\nThree.\n\n---"
    procedure = parse(step(contents)).procedure
    assert procedure is not None
    assert procedure.steps[0].body == "One.\n\nTwo.\n\n---\n\nThree."


def numbered(*headings: str) -> str:
    return "## Steps\n\n" + "".join(f"{heading}\n\nx\n\n" for heading in headings)


@pytest.mark.parametrize(
    ("document", "code", "line"),
    [
        (numbered("### Step 1: a", "### Step 1: b"), "duplicate_step_number", 7),
        (numbered("### Step 1: a", "### Step 3: b"), "step_number_gap", 7),
        (numbered("### Step 2: a"), "step_number_gap", 3),
        (numbered("### Step 1: a", "### Step 1.5: b"), "bad_value", 7),
        (numbered("### Step 1: a", "## Step 2: b"), "bad_step_heading", 7),
        (numbered("### Step 1: a", "#### Step 2: b"), "bad_step_heading", 7),
        (numbered("### Step 1: a", "# Step 2: b"), "bad_step_heading", 7),
        (numbered("### Step 1: a", "Step 2: b\n---"), "bad_step_heading", 7),
        (numbered("### Step 1: a", "- ### Step 2: b"), "bad_step_heading", 7),
        (numbered("### Step 1: a", "### Step 2 - b"), "bad_step_heading", 7),
        (numbered("### Step 1: a", "### Notes"), "bad_step_heading", 7),
        (numbered("### Step 1: a", "## Notes", "### Step 2: b"), "bad_step_heading", 11),
        (numbered("### Step 1: a", "## Steps"), "duplicate_section", 7),
        (numbered("### Step 1:"), "bad_value", 3),
        ("### Step 1: a\n", "bad_step_heading", 1),
        ("# T\n\n## Steps\n", "no_steps", 3),
        ("# T\n", "no_steps", 1),
        ("", "no_steps", 1),
    ],
)
def test_a_wrong_step_heading_is_an_error_with_its_line(document: str, code: str, line: int) -> None:
    problem = only(parse(document))
    assert (problem.code, problem.line) == (code, line)


@pytest.mark.parametrize("hidden", ["###Step 2: b", "    ### Step 2: b", "<pre>\n### Step 2: b", "x\n###Step 2: b"])
def test_a_step_that_is_no_heading_to_commonmark_is_an_error(hidden: str) -> None:
    assert only(parse(step(f"x\n\n{hidden}\n\n```bash\nrm\n```"))).code == "hidden_step"


def test_a_rule_right_under_text_is_an_error_because_it_makes_a_heading() -> None:
    problem = only(parse(numbered("### Step 1: a\n\n**Approval Required**: Yes\n---", "### Step 2: b")))
    assert (problem.code, problem.line) == ("underlined_text", 5)
    assert only(parse("**Execution Mode**: step_by_step\n---\n\n" + step("x"))).code == "underlined_text"


def test_all_problems_come_at_once_and_in_order() -> None:
    document = numbered("### Step 1: a\n\n**Quorm**: 2", "### Step 3: b\n\n```bash\n$ ls")
    assert [(problem.line, problem.code) for problem in parse(document).problems] == [
        (5, "misspelt_gate"),
        (9, "step_number_gap"),
        (11, "unclosed_fence"),
        (12, "prompt_in_script"),
    ]


@pytest.mark.parametrize(
    ("item", "parameter"),
    [
        ("a", Parameter(name="a")),
        ("a: text (see b)", Parameter(name="a", description="text (see b)")),
        ("a (required): x", Parameter(name="a", required=True, description="x")),
        ("a (default: `x, (y)`)", Parameter(name="a", default="x, (y)")),
        ("a (integer, default: -1)", Parameter(name="a", type=ParameterType.INTEGER, default=-1)),
        ("a (secret)", Parameter(name="a", type=ParameterType.SECRET)),
        ("a (secret, default: env:TOKEN)", Parameter(name="a", type=ParameterType.SECRET, default="env:TOKEN")),
        ("a (one of: `x` | y)", Parameter(name="a", type=ParameterType.ENUM, values=("x", "y"))),
    ],
)
def test_a_parameter_is_declared_in_a_list(item: str, parameter: Parameter) -> None:
    parsed = parse(f"**Parameters**:\n- {item}\n\n" + step("x"))
    assert parsed.problems == ()
    assert parsed.procedure is not None
    assert parsed.procedure.parameters == (parameter,)


@pytest.mark.parametrize(
    "item",
    ["a (integer, default: x)", "a (whatever)", "a (required", "!", "a b", "a-b", "a (secret, default: hunter2)"],
)
def test_an_unreadable_parameter_is_an_error_with_its_line(item: str) -> None:
    assert only(parse(f"**Parameters**:\n- {item}\n\n" + step("x"))).line == 2


def test_parameters_without_a_list_are_an_error() -> None:
    assert only(parse("**Parameters**: a, b\n\n" + step("x"))).code == "bad_value"


@pytest.mark.parametrize(
    "line", ["**Cooldown**: soon", "**Max Concurrent**: many", "**Priority**: urgent", "**Version**:"]
)
def test_an_unreadable_document_key_is_an_error(line: str) -> None:
    assert only(parse(f"{line}\n\n" + step("x"))).line == 1


@pytest.mark.parametrize(
    ("value", "seconds"), [("1 hour", 3600), ("3600", 3600), ("90 s", 90), ("5 minutes", 300), ("none", 0)]
)
def test_a_cooldown_is_read_in_seconds(value: str, seconds: int) -> None:
    procedure = parse(f"**Cooldown**: {value}\n\n" + step("x")).procedure
    assert procedure is not None
    assert procedure.cooldown_secs == seconds


def test_env_names_are_passed_and_assignments_are_set() -> None:
    procedure = parse(step("**Env**: A, B=1, `C=x,y`, D=")).procedure
    assert procedure is not None
    assert procedure.steps[0].env == EnvironmentRules(pass_=("A",), set_={"B": "1", "C": "x,y", "D": ""})


def test_parameters_under_another_heading_are_an_error_and_not_lost() -> None:
    text = "# A\n\n## Overview\n\n**Parameters**:\n\n- version (required): x\n\n## Steps\n\n### Step 1: One\n\ntext\n"
    parsed = parse_procedure("a", sop_md=SourceFile("SOP.md", text.encode()), manifest=None)
    assert [(problem.code, problem.line) for problem in parsed.problems] == [("misplaced_key", 5)]
    assert parsed.procedure is None
