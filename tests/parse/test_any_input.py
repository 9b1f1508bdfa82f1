"""Any bytes give a result or problems: no exception escapes, and no input up to 64 KiB takes more than 100 ms."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopwith.errors import Severity
from sopwith.parse.config import parse_config
from sopwith.parse.index import parse_index
from sopwith.parse.procedure import SourceFile, parse_procedure

from .examples import DEPLOY, DEPLOY_MANIFEST, parse

KIB_64 = 64 * 1024
BUDGET_SECS = 0.1

FRAGMENTS = [
    "# T",
    "## Steps",
    "## Overview",
    "### Step 1: a",
    "### Step 2: b",
    "#### Step 2: b",
    "Steps\n---",
    "===",
    "---",
    "```bash",
    "```",
    "````",
    "~~~",
    "```http",
    "- ",
    "> ",
    "1. ",
    "    ",
    "\t",
    "\n",
    "\n\n",
    "<!--",
    "-->",
    "<div>",
    "**Approval Required**: Yes",
    "**Approval Timeout**: soon",
    "**Approvers**: user:a, group:b",
    "**Quorum**: 2",
    "**On Timeout**: escalate",
    "**Escalate To**: x",
    "**Comment Required**: Yes",
    "**Pins**: a, ../b",
    "**Runners**: agent:a",
    "Quorum: 2",
    "**Parameters**:",
    "- a (required): x",
    "**Env**: A=`b`",
    "**Depends On**: 1, b",
    "**Key**: b",
    "**Outputs**: a:json",
    "$ ls",
    "<name>",
    "{{x}}",
    "`",
    "\\",
    "\r",
    "é",
    "\u2028",
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def check(sop_md: bytes | None, manifest: bytes | None) -> None:
    parsed = parse_procedure(
        "demo",
        sop_md=None if sop_md is None else SourceFile("SOP.md", sop_md),
        manifest=None if manifest is None else SourceFile("manifest.json", manifest),
    )
    assert (parsed.procedure is None) == any(problem.severity is Severity.ERROR for problem in parsed.problems)
    for problem in parsed.problems:
        assert problem.message
        assert problem.line is None or problem.line >= 1


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300) | st.none())
def test_random_bytes_raise_nothing(sop_md: bytes, manifest: bytes | None) -> None:
    check(sop_md, manifest)
    check(None, sop_md)
    parse_config(SourceFile("config.json", sop_md))
    parse_index(SourceFile("index.json", sop_md))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.just("\n") | st.text(max_size=5), max_size=40).map("".join))
def test_random_markdown_raises_nothing(document: str) -> None:
    check(document.encode(), None)
    check(b"## Steps\n\n### Step 1: a\n\n" + document.encode(), json.dumps(DEPLOY_MANIFEST).encode())


def approvals() -> st.SearchStrategy[dict[str, Any]]:
    """Objects that are, or nearly are, an `approval`."""
    principals = st.lists(st.sampled_from(["user:a", "group:b", "agent:c", "a", ""]) | JSON, max_size=3)
    field = st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer", "number", "boolean", "x"])},
        optional={
            "enum": st.lists(JSON, max_size=2),
            "pattern": st.sampled_from(["a", "("]),
            "minimum": st.integers(-2, 2),
            "maximum": st.integers(-2, 2),
            "default": JSON,
        },
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "when": st.sampled_from(["true", "params.a == 'x'", "steps['1'].status == 'x'", "("])
            | st.text(max_size=20),
            "approvers": principals,
            "quorum": st.integers(-1, 4),
            "allowSelfApproval": st.booleans(),
            "commentRequired": st.booleans(),
            "onTimeout": st.sampled_from(["approve", "escalate", "skip", "x"]),
            "escalateTo": principals,
            "remindAfterMins": st.lists(st.integers(0, 9), max_size=3),
            "form": st.fixed_dictionaries(
                {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("ab"), field, max_size=2)},
                optional={"required": st.lists(st.sampled_from("abc"), max_size=2)},
            ),
        },
    )


@st.composite
def mutated_manifests(draw: st.DrawFn) -> bytes:
    manifest: dict[str, Any] = json.loads(json.dumps(DEPLOY_MANIFEST))
    target = draw(st.sampled_from([manifest, *manifest["steps"], *manifest["triggers"]]))
    known = ["params", "env", "outputs", "dependsOn", "key", "run", "priority", "triggers", "steps", "number", "retry"]
    known += ["approval", "pins", "runners", "requiresApproval", "users", "groups", "roles", "checkpointCopies"]
    target[draw(st.sampled_from(known) | st.text(max_size=6))] = draw(JSON | approvals())
    text = json.dumps(manifest)
    cut = draw(st.integers(0, len(text)))
    return (text[:cut] + draw(st.sampled_from(["", "", "", "x", '"', "]", "\\", "\0"])) + text[cut:]).encode()


@settings(deadline=None)
@given(mutated_manifests(), st.booleans())
def test_a_mutated_manifest_raises_nothing(manifest: bytes, beside_sop_md: bool) -> None:
    check(DEPLOY.encode() if beside_sop_md else None, manifest)
    parse_config(SourceFile("config.json", manifest))
    parse_index(SourceFile("index.json", manifest))


def filled(pattern: str, before: str = "", after: str = "") -> str:
    return before + pattern * ((KIB_64 - len(before) - len(after)) // len(pattern)) + after


START = "## Steps\n\n### Step 1: a\n\n"
MARKDOWN = [
    *("[", ">", "*", "- ", "```", "#", "<!--", "<", "`", "**", "\\", "&", "\t", "1. ", "> - ", "![", "|"),
    *(
        "> \n",
        ">\n",
        "-\n",
        "- a\n",
        "- - a\n",
        "* a\n  * b\n",
        "- a\n+ b\n* c\n",
        "1.\n",
        "1. a\n",
        "- > a\n",
        "> > a\n",
    ),
    *(
        "```\n",
        "``` \n\n",
        "- ```\n",
        "> ```\n",
        "~~~\n",
        "#\n",
        "# a\n",
        "<!--\n",
        "<!-- -->\n",
        "<div>\n\n",
        "</\n",
        "<a>\n",
    ),
    *("a\n", "a\n\n", "\n", "    a\n", "---\n", "a\n---\n", "===\n", "[a]: b\n", "[a]:\n", "[a]: 'b\n", "|a|b\n"),
    *("**K{}y**: a\n", "**Tools**: a\n", "**Approval Required**: Yes\n", "> **Approval Required**: Yes\n\n"),
    *("- **Approvl**: a\n", "```bash\n$ <a>\n```\n", "### Step 1: a\n", "#### Step 2: b\n", "## Steps\n", "a <!--\n"),
    *("approval required ", "approval required\n", "| approval required ", "a approval required\n", "execution mode "),
    *("approval" + "-" * 40, "<b>approval<i>" * 3 + "\n", "<!-- -->approval required", "approval <!--", "> $ a@b:c\n"),
    *("> " * 100 + "a\n" + "b\n" * 100, "> > > > > a\na\na\na\n", "- " * 10 + "a\n", ">" * 20 + " a\n"),
]
WORST = {
    **{f"{pattern[:20]!r} alone": (filled(pattern), None) for pattern in MARKDOWN},
    **{f"{pattern[:20]!r} in a step": (filled(pattern, START), None) for pattern in MARKDOWN},
    **{f"{pattern!r}… a": (filled(pattern, after="a"), None) for pattern in ("- ", "* ", "> ", "  - ", "1. ")},
    "lazy lines": ("> " * 100 + "a\n" + "b\n" * 30_000, None),
    "nested lists": (filled("".join("  " * depth + "- a\n" for depth in range(20))), None),
    "unknown keys": (START + "".join(f"**K{number} approval**: a\n" for number in range(2_600)), None),
    "many steps": ("## Steps\n" + "".join(f"### Step {number}: a\n" for number in range(1, 3_800)), None),
    "many parameters": ("**Parameters**:\n" + "".join(f"- p{number} (default: 1)\n" for number in range(2_900)), None),
    "one long list": (filled("a,", START + "**Tools**: "), None),
    "one long env": (filled("a=`,`,", START + "**Env**: "), None),
    "ticks": (filled("`a``", START + "**Env**: "), None),
    "one long script": (filled("<a {{", START + "```bash\n", "\n```\n"), None),
    "front matter": (filled("priority: a\n", "---\n"), None),
    "prompts": (filled("a@b:" + "c" * 90 + "\n> \n", START + "```bash\n", "```\n"), None),
    "script lines": (filled("$ <a>\n", START + "```bash\n", "```\n"), None),
    **{
        f"json {pattern!r}": (None, filled(pattern))
        for pattern in ("[", '{"a":', "[[],", '"', "\\", "9", "-", "{}", "[1,", "\n", '{"a":{"a":', '["\\u0000",')
    },
    **{
        f"json list of {item!r}": (None, filled(f"{item},", "[", f"{item}]"))
        for item in ("1", '"a"', "null", "[]", "{}", '"\\u0000"', "NaN", "9" * 30, '{"a":1,"a":1}')
    },
    **{
        f"json steps of {item!r}": (None, filled(f"{item},", '{"steps":[', f"{item}]}}"))
        for item in ("1", "{}", '{"number":1}', '{"number":1,"x":1}', '{"number":1,"dependsOn":["x"]}')
    },
    "conditions": (
        None,
        json.dumps({"steps": [{"number": n, "approval": {"when": f"1=={n}"}} for n in range(1, 1000)]}),
    ),
    "conditions about steps": (
        None,
        json.dumps({"steps": [{"number": n, "approval": {"when": f"steps.a{n}==1"}} for n in range(1, 900)]}),
    ),
    "long conditions": (
        None,
        json.dumps(
            {"steps": [{"number": n, "approval": {"when": "0 in [" + "1," * 2040 + "1]"}} for n in range(1, 16)]}
        ),
    ),
    "bad conditions": (
        None,
        json.dumps({"steps": [{"number": n, "approval": {"when": "x||" * 1300 + "x"}} for n in range(1, 16)]}),
    ),
    "many approvers": (
        None,
        json.dumps({"steps": [{"number": n, "approval": {"approvers": ["user:a"] * 90}} for n in range(1, 60)]}),
    ),
    "many pins": (None, json.dumps({"steps": [{"number": n, "pins": ["./a"] * 100} for n in range(1, 70)]})),
    "large patterns": (
        None,
        json.dumps(
            {"steps": [{"number": n, "approval": {"when": "run.id.matches('[\\\\pL]{900}')"}} for n in range(1, 800)]}
        ),
    ),
    "quorum lines": (filled("Quorum: 2\n", START), None),
    "one quorum line": (filled("quorum ", START), None),
    "json unknown keys": (None, json.dumps({f"descriptio{number}": 1 for number in range(3_000)})),
    "json many steps": (
        None,
        json.dumps({"steps": [{"number": n, "dependsOn": [n % 999 + 1]} for n in range(1, 1000)]}),
    ),
}


@pytest.mark.parametrize("case", WORST)
def test_no_input_up_to_64_kib_takes_more_than_100_ms(case: str) -> None:
    sop_md, manifest = WORST[case]
    assert len((sop_md or manifest or "").encode()) <= KIB_64
    parse(DEPLOY, DEPLOY_MANIFEST)
    best = BUDGET_SECS * 10
    for _ in range(3):
        started = time.process_time()
        parse(sop_md, manifest)
        best = min(best, time.process_time() - started)
    assert best < BUDGET_SECS
