"""What an agent's command reads before it carries a step out: the step's own words, and data in marked frames.

The step's title and prose are instructions: the procedure's, which somebody may have approved. Parameters, outputs,
items and what approvers filled in came from elsewhere and stand in frames (`frames.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from sopwith.core.address import StepId, number_of
from sopwith.core.frames import ABOUT, Frames, plain, prose
from sopwith.core.run import Run, ancestors

MOST_INSTRUCTIONS = 100_000
"""Characters of a step's prose: a longer one is refused where the procedure is read."""
MOST_OF_ONE = 16_000
MOST_OF_ALL = 128_000
"""Characters of one value, and of all values together; a program finds the whole of it in SOP_* variables."""

_ENDING = """\
Exit with status 0 when the step is done. Exit with any other status when it is not, and print why.
To hand values on, append lines to the file that the environment variable SOP_OUTPUT names: name=text, or name:=JSON.
The parameters are in the file that SOP_PARAMS names too, and each value above in a variable SOP_PARAM_<NAME> or
SOP_STEP_<N>_<NAME>.
You carry out this step and nothing else. You may not approve, reject, complete or retry anything in this workspace:
that is refused, and a person decides. If the step cannot be done as it is written, say so and exit with status 1."""


def task_text(run: Run, number: StepId, frames_id: str) -> str:
    """The whole text, for the step or instance of this address; `frames_id` was drawn for it alone."""
    definition = run.procedure.step(number)
    frames = Frames(frames_id, room=MOST_OF_ALL)
    data = list(_data(run, number, frames))
    parts = [
        f"# Step {number_of(number)}: {plain(definition.title)}",
        prose(definition.body),
        *(["## Data", ABOUT, *data] if data else []),
        "## How to end",
        _ENDING,
        *_declared(definition.outputs),
    ]
    return "\n\n".join(parts) + "\n"


def _data(run: Run, number: StepId, frames: Frames) -> Iterator[str]:
    """One paragraph for each thing that is known, in a frame of its own."""
    state = run.steps[number]
    if state.place:
        yield _framed(frames, state.item, "the item")
    if run.params:
        yield _framed(frames, run.params, "parameters")
    if run.event is not None:
        yield _framed(frames, run.event, "the event that started the run")
    before: tuple[StepId, ...] = ancestors(run.procedure, number)
    for other in before:
        if run.steps[other].outputs:
            yield _framed(frames, run.steps[other].outputs, f"outputs of step {other}")
    for other in (*before, number):
        if run.steps[other].approval_values:
            yield _framed(frames, run.steps[other].approval_values, f"what approvers of step {other} filled in")


def _framed(frames: Frames, value: object, source: str) -> str:
    return frames.value(value, source, most=MOST_OF_ONE)


def _declared(outputs: dict[str, str]) -> tuple[str, ...]:
    if not outputs:
        return ()
    told = ", ".join(f"{name} ({kind})" for name, kind in outputs.items())
    return (f"This step hands on: {told}.",)
