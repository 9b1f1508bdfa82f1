"""What is known of conditions before a run is made, and that nothing is said to be known that could come otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopwith.core import commands as cmd
from sopwith.core.approval import ApprovalRules
from sopwith.core.foresight import Foreseen, Foresight, foresee
from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import StepStatus

from .given import ALICE, MakeStep, Story, procedure, shell

GO = {"go": "yes"}
URL = {"outputs": {"url": "string"}}
OF_2 = "steps['2'].outputs.url == 'x'"


def seen(*steps: MakeStep, mode: ExecutionMode = ExecutionMode.AUTO, **params: Any) -> dict[int, Foreseen]:
    made = procedure(*steps)
    order = [step.number for step in made.steps]
    return foresee(made, order, mode=mode, params=params or GO, started_by=ALICE)


def third(condition: str, **params: Any) -> Foresight:
    """What is known of the condition of a third step; the second declares the output url, the first nothing."""
    found = seen(shell(), shell(**URL), shell(condition=condition), **params)[3].condition
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("condition", "result"),
    [
        ("params.go == 'yes'", True),
        ("params.go == 'no'", False),
        ("run.mode == 'auto' && run.startedBy == 'alice' && run.name == 'deploy'", True),
        (f"params.go == 'no' && {OF_2}", False),
        (f"{OF_2} || params.go == 'yes'", True),
        (f"params.go == 'yes' ? true : {OF_2}", True),
        ("!has(params.tag)", True),
        ("run.id == 'x' || true", True),
    ],
)
def test_what_parameters_and_the_run_decide_is_known(condition: str, result: bool) -> None:
    assert third(condition) == Foresight(expression=condition, result=result)


@pytest.mark.parametrize(
    ("condition", "needs", "after"),
    [
        (OF_2, ("steps.2.outputs.url",), (2,)),
        ("steps['1'].status == 'completed'", ("steps.1.status",), (1,)),
        (f"{OF_2} && steps['1'].status == 'completed'", ("steps.1.status", "steps.2.outputs.url"), (1, 2)),
        (f"params.go == 'yes' && {OF_2}", ("steps.2.outputs.url",), (2,)),
        ("has(steps['2'].outputs.url)", ("steps.2.outputs.url",), (2,)),
        ("!has(steps['1'].outputs.any)", ("steps.1.outputs.any",), (1,)),
        ("steps['1'].outputs.any == 'x'", ("steps.1.outputs.any",), (1,)),
        ("run.id == 'sop_run_x'", ("run.id",), ()),
        (f"params.tag == 'x' && {OF_2}", ("steps.2.outputs.url",), (2,)),
    ],
)
def test_what_depends_on_the_steps_before_is_not_known_and_names_what_it_needs(
    condition: str, needs: tuple[str, ...], after: tuple[int, ...]
) -> None:
    assert third(condition) == Foresight(expression=condition, result=None, needs=needs, after=after)


def test_a_step_is_also_known_by_its_key() -> None:
    found = seen(shell(key="build"), shell(condition="steps.build.status == 'failed'"))[2].condition
    assert found is not None
    assert (found.needs, found.after) == (("steps.build.status",), (1,))


def test_what_cannot_be_evaluated_says_why_and_needs_nothing() -> None:
    found = third("params.tag == 'x'")
    assert (found.result, found.needs, found.after) == (None, (), ())
    assert "tag" in found.reason


def test_a_step_that_will_be_skipped_is_known_to_those_after_it() -> None:
    found = seen(
        shell(condition="params.go == 'no'", **URL),
        shell(condition="steps['1'].status == 'skipped'"),
        shell(condition="steps['1'].status == 'completed' && steps['2'].status == 'completed'"),
        shell(condition="has(steps['1'].outputs.url)"),
        shell(condition="steps['3'].status == 'skipped' && steps['4'].status == 'skipped'"),
    )
    assert [each.condition.result for each in found.values() if each.condition] == [False, True, False, False, True]
    assert [each.skipped for each in found.values()] == [True, False, True, True, False]


def test_the_condition_of_a_gate_is_known_likewise() -> None:
    def gated(when: str, **more: Any) -> MakeStep:
        return shell(gate=True, approval=ApprovalRules(when=when), **more)

    found = seen(shell(), gated("params.go == 'no'"), gated("steps['1'].status == 'failed'"), gated("true", after=()))
    assert [each.when and each.when.result for each in found.values()] == [None, False, None, True]
    assert found[3].when is not None
    assert found[3].when.after == (1,)


def test_the_condition_of_a_gate_is_left_out_where_it_decides_nothing() -> None:
    rules = ApprovalRules(when="params.go == 'no'")
    assert seen(shell(gate=True, approval=rules), mode=ExecutionMode.STEP_BY_STEP)[1].when is None
    assert seen(shell(gate=True, approval=rules, condition="params.go == 'no'"))[1].when is None


CONDITIONS = st.sampled_from(
    [
        None,
        "params.go == 'yes'",
        "params.go == 'no'",
        "steps['1'].status == 'skipped'",
        "steps['1'].status == 'failed' || params.go == 'yes'",
        "steps['2'].status == 'completed' && params.go == 'no'",
        "has(steps['2'].outputs.url)",
        "steps['1'].outputs.url == 'x' || steps['2'].status == 'skipped'",
        "run.id == 'x' && params.go == 'no'",
    ]
)


@given(
    conditions=st.tuples(*[CONDITIONS.filter(lambda text: text is None or "steps" not in text)] * 2, *[CONDITIONS] * 3),
    outputs=st.sampled_from([{}, {"url": "x"}, {"url": "y"}]),
    go=st.sampled_from(["yes", "no"]),
)
@settings(max_examples=150, deadline=None)
def test_what_is_said_to_be_known_is_what_comes(
    conditions: tuple[str | None, ...], outputs: dict[str, str], go: str
) -> None:
    steps = [shell(condition=each) for each in conditions]
    found = seen(*steps, go=go)
    story = Story(*steps, params={"go": go}).drive()
    for number, step in found.items():
        if story.step(number).status is StepStatus.RUNNING:
            story.finish(number, outputs=outputs)
            story.drive()
        known = None if step.condition is None else step.condition.result
        if known is not None:
            assert (story.step(number).status is StepStatus.SKIPPED) == (not known)
        if story.step(number).condition_unknown:
            story.when(cmd.Skip, step=number, reason="nobody knows")
            story.drive()
