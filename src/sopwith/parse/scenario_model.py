"""A scenario file as a model: every key, its type, what it means. Which go together, `scenario_file.py` says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from sopwith.core.procedure import ExecutionMode
from sopwith.core.run import RunStatus, StepStatus
from sopwith.parse.config import ConfigFile
from sopwith.parse.model import USER_ID, Identifier, Instant
from sopwith.parse.scenario import Verb

Value = str | int | float | bool
Span = str | int | float
Address = int | str
ExitCode = Annotated[int, Meta(ge=0, le=255)]
Who = Annotated[
    str,
    Meta(
        pattern=f"^(user:|agent:)?{USER_ID}$",
        title="the name of a person, or agent:NAME",
        description="A person by name, or an agent as agent:NAME.",
    ),
]


class ScriptStub(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a script goes."""

    exit_code: Annotated[ExitCode | None, Meta(description="How each try ends; 0 if not said.")] = None
    exit_codes: Annotated[
        Annotated[tuple[ExitCode, ...], Meta(max_length=1000)] | None,
        Meta(description="How each try ends, the last one for all further tries."),
    ] = None
    output: Annotated[Annotated[str, Meta(max_length=65536)] | None, Meta(description="What it prints.")] = None
    takes: Annotated[Span | None, Meta(description="How long a try takes.")] = None
    interrupted: Annotated[bool, Meta(description="Nobody knows how the first try ended.")] = False


class StepStub(ScriptStub, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a step goes."""

    outputs: Annotated[dict[Identifier, Any], Meta(description="What it writes to $SOP_OUTPUT.")] = field(
        default_factory=dict
    )
    rollback: Annotated[ScriptStub | None, Meta(description="How its rollback script goes.")] = None
    verify: Annotated[
        ScriptStub | None,
        Meta(description="How the script goes that verifies a report of it: a try for each report."),
    ] = None


class ActFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody does, or that time passes."""

    do: Annotated[Verb | None, Meta(description="What is done.")] = None
    by: Annotated[Who | None, Meta(description="Who does it.")] = None
    step: Annotated[Address | None, Meta(description="To which step, or to the start.")] = None
    comment: Annotated[str | None, Meta(description="What stands beside it.")] = None
    reason: Annotated[str | None, Meta(description="Why.")] = None
    output: Annotated[str | None, Meta(description="What a step by hand came to.")] = None
    form: Annotated[dict[str, Value] | None, Meta(description="What the form of the gate asks for.")] = None
    after: Annotated[Span | None, Meta(description="How long after it has become possible.")] = None
    refused: Annotated[str | None, Meta(description="The error code that must answer it.")] = None
    wait: Annotated[Span | None, Meta(description="Nobody acts for so long; stands alone.")] = None


class ExpectFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold at the end."""

    status: Annotated[RunStatus | None, Meta(description="Of the run.")] = None
    steps: Annotated[dict[str, StepStatus], Meta(description="Step to its status.")] = field(default_factory=dict)
    outputs: Annotated[dict[str, dict[str, Any]], Meta(description="Step to outputs that it must have.")] = field(
        default_factory=dict
    )
    events: Annotated[tuple[str, ...] | None, Meta(description="Events that come in this order.")] = None
    never: Annotated[tuple[str, ...] | None, Meta(description="Events that do not come.")] = None
    with_failures: Annotated[bool | None, Meta(description="Whether it completed with failures.")] = None
    nothing_ran: Annotated[bool | None, Meta(description="Whether it completed and every step was skipped.")] = None
    rolled_back: Annotated[bool | None, Meta(description="Whether a rollback was carried to its end.")] = None
    refused: Annotated[str | None, Meta(description="The error code that must answer the start of the run.")] = None
    params: Annotated[
        dict[str, Value] | None, Meta(description="Parameters that the run must have, such as the trigger gives it.")
    ] = None
    outcome: Annotated[
        Literal["unmatched", "refused"] | None,
        Meta(description="What becomes of the event where no run comes of it, by the condition or a parameter."),
    ] = None


class ScenarioFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario of one procedure."""

    description: Annotated[
        Annotated[str, Meta(max_length=1000)], Meta(description="Shown beside the name, which is that of the file.")
    ] = ""
    mode: Annotated[ExecutionMode | None, Meta(description="Run in another mode, as `sop run --mode`.")] = None
    params: Annotated[dict[str, Value], Meta(description="The parameters of the run.")] = field(default_factory=dict)
    started_by: Annotated[Who | None, Meta(description="Who starts the run; `somebody` if not said.")] = None
    trigger: Annotated[
        str | None, Meta(description="The trigger that starts the run, by its `key` or as `sop trigger list` names it.")
    ] = None
    event: Annotated[
        dict[str, Any] | None, Meta(description="What happens outside, as that trigger is told of it.")
    ] = None
    starts_at: Annotated[Instant | None, Meta(description="The time at which it is started.")] = None
    config: Annotated[ConfigFile | None, Meta(description="Stands for config.json.")] = None
    steps: Annotated[dict[str, StepStub], Meta(description="How steps go, by number or key.")] = field(
        default_factory=dict
    )
    acts: Annotated[
        Annotated[tuple[ActFile, ...], Meta(max_length=1000)] | None,
        Meta(description="What people do, in this order."),
    ] = None
    expect: Annotated[ExpectFile, Meta(description="What must hold at the end.")]
