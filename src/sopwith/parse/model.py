"""manifest.json as a model: every key, its type and what it means. SOP.md's key lines are read into the same model.

The key names are the specification's and DESIGN section 3's. `designed_keys` and `designed_values` are refused as "not
supported yet"; a key that is built moves from there into a field. `never_null`: a gate is said or not there.

Longer than other files: it is the whole contract of the manifest, from which the schema and its reference are made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct, field, json

from sopwith.core.approval import FieldType, TimeoutAction
from sopwith.core.conditions import MAX_LENGTH
from sopwith.core.items import MAX_ITEMS
from sopwith.core.procedure import (
    NAME_PATTERN,
    AdmissionRule,
    Change,
    End,
    ExecutionMode,
    Misfire,
    ParameterType,
    Priority,
    Scheme,
    TriggerType,
)

TEN_YEARS_MINS = 10 * 366 * 24 * 60
IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
STEP_KEY = r"^[a-z][a-z0-9_-]{0,63}$"
USER_ID = r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}"

Values = Mapping[str, frozenset[str]]

ProcedureName = Annotated[
    str, Meta(pattern=f"^{NAME_PATTERN}$", title="a name of a-z 0-9 . _ - (64 at most, a-z or 0-9 first)")
]
Identifier = Annotated[str, Meta(pattern=IDENTIFIER, title="a name of A-Z a-z 0-9 _ (64 at most, no digit first)")]
StepKey = Annotated[str, Meta(pattern=STEP_KEY, title="a step key of a-z 0-9 _ - (64 at most, a letter first)")]

AgentName = Annotated[str, Meta(pattern=f"^{NAME_PATTERN}$", title="the name of an agent of config.json")]


def _principal_hint(value: str) -> str:
    """A bare name is most likely a person's."""
    bare = value.strip().removeprefix("@")
    if re.fullmatch(USER_ID, bare):
        return f"write user:{bare} for a person, group:{bare} for a group, agent:{bare} for an agent"
    return "write user:NAME, group:NAME or agent:NAME; a name has A-Z a-z 0-9 . _ @ - (64 at most)"


Principal = Annotated[
    str,
    Meta(
        pattern=f"^(user|group|agent):{USER_ID}$",
        title="user:NAME, group:NAME or agent:NAME",
        extra={"hint": _principal_hint},
    ),
]
Principals = Annotated[tuple[Principal, ...], Meta(max_length=100)]
Pin = Annotated[
    str,
    Meta(
        pattern=r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,499}$",
        title="a path relative to the working directory (500 characters at most, none of them a control character)",
    ),
]
Line = Annotated[str, Meta(min_length=1, max_length=200)]
FormText = Annotated[str, Meta(max_length=1000)]
Minutes = Annotated[int, Meta(gt=0, le=TEN_YEARS_MINS)] | Annotated[float, Meta(gt=0, le=TEN_YEARS_MINS)]
Span = Annotated[int, Meta(gt=0, le=TEN_YEARS_MINS * 60)] | Annotated[float, Meta(gt=0, le=TEN_YEARS_MINS * 60)]
Delay = Annotated[int, Meta(ge=0, le=TEN_YEARS_MINS * 60)] | Annotated[float, Meta(ge=0, le=TEN_YEARS_MINS * 60)]
FailureText = Annotated[
    str,
    Meta(
        pattern=r"^(stop|continue|rollback|goto *[: ] *([0-9]{1,6}|[a-z][a-z0-9_-]{0,63}))$",
        title="stop, continue, rollback or goto:STEP",
    ),
]
RejectionText = Annotated[
    str,
    Meta(pattern=r"^(pause|fail|goto *[: ] *([0-9]{1,6}|[a-z][a-z0-9_-]{0,63}))$", title="pause, fail or goto:STEP"),
]
InterruptText = Annotated[
    str,
    Meta(
        pattern=r"^(ask|rerun|fail|verify: *[^\s#\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]{0,1999})$",
        title="ask, rerun, fail or verify:COMMAND, a line of 2000 characters at most without control characters",
    ),
]
Instant = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}"
        r"(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
        title="a time with its zone, such as 2026-12-01T08:00:00Z",
    ),
]
HeaderName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$", title="a header's name, such as X-Signature")
]
OutputType = Literal["string", "integer", "number", "boolean", "json"]


class EnvironmentFile(
    Struct, frozen=True, kw_only=True, rename={"pass_": "pass", "set_": "set"}, forbid_unknown_fields=True
):
    """Environment variables beyond the allow-list."""

    pass_: Annotated[
        Annotated[tuple[Identifier, ...], Meta(max_length=100)] | None,
        Meta(description="Variables handed on from the environment of whoever drives the run."),
    ] = None
    set_: Annotated[
        Annotated[dict[Identifier, str], Meta(max_length=100)] | None,
        Meta(description="Variables set to the value given here. No secrets: this file is in version control."),
    ] = None


class TriggerFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What may start the procedure. Most keys belong to some types only, which stand before the colon."""

    type: Annotated[TriggerType, Meta(description="The kind of trigger.")]
    key: Annotated[
        StepKey | None,
        Meta(description="Its name within the procedure; its type and what it is about if not said."),
    ] = None
    path: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None,
        Meta(
            description="webhook: the path that it answers to, behind `/hooks`; it starts with a slash. filesystem: "
            "the files, a pattern below the project folder, such as `incoming/**/*.csv`."
        ),
    ] = None
    secret_env: Annotated[
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}( [A-Za-z_][A-Za-z0-9_]{0,63}){0,4}$",
                title="the name of an environment variable, or several separated by spaces",
            ),
        ]
        | None,
        Meta(
            description="webhook: the environment variable that holds the secret; several, separated by spaces, while "
            "one is being changed. Without it a caller needs an API token."
        ),
    ] = None
    scheme: Annotated[
        Scheme | None, Meta(description="webhook: how a delivery is proven; standard-webhooks if not said.")
    ] = None
    signature_header: Annotated[
        HeaderName | None, Meta(description="webhook, scheme timestamped: the header with the signature.")
    ] = None
    id_header: Annotated[
        HeaderName | None,
        Meta(
            description="webhook, schemes timestamped and token: the header that names a delivery, the same each time "
            "that it is sent."
        ),
    ] = None
    expression: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None,
        Meta(description="cron: five fields, such as 30 2 * * *, or @daily and the like."),
    ] = None
    timezone: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(description="cron: the zone of its times, such as Europe/Paris; UTC if not said."),
    ] = None
    misfire: Annotated[
        Misfire | None,
        Meta(
            description="cron: what is made up of the times that came while nobody served: skip, none (if not said), "
            "once, the last one, or all of them, 100 at most."
        ),
    ] = None
    events: Annotated[
        Annotated[tuple[Change, ...], Meta(min_length=1, max_length=3)] | None,
        Meta(description="filesystem: which changes count; created and modified if not said."),
    ] = None
    settle_secs: Annotated[
        Annotated[int, Meta(gt=0, le=3600)] | Annotated[float, Meta(gt=0, le=3600)] | None,
        Meta(description="filesystem: so long a file must have stayed the same before it counts; 1 if not said."),
    ] = None
    procedure: Annotated[
        ProcedureName | None, Meta(description="procedure: whose runs start this one when they end.")
    ] = None
    status: Annotated[
        Annotated[tuple[End, ...], Meta(min_length=1, max_length=3)] | None,
        Meta(description="procedure: with which status they ended; completed if not said."),
    ] = None
    condition: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)] | None,
        Meta(description="A CEL condition over event: where it does not hold nothing starts."),
    ] = None
    params: Annotated[
        Annotated[
            dict[Identifier, Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)] | int | float | bool],
            Meta(max_length=200),
        ]
        | None,
        Meta(description="The parameters of the run: CEL expressions, such as `event.body.ref`; or constants."),
    ] = None
    admission: Annotated[
        AdmissionRule | None,
        Meta(
            description="Where limits keep the run from starting: queue, it waits (if not said); reject, it is "
            "refused; coalesce, it joins a run of this trigger that waits already."
        ),
    ] = None
    max_queued: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)] | None,
        Meta(description="How many runs of this trigger may wait at once; 100 if not said."),
    ] = None

    never_null: ClassVar[frozenset[str]] = frozenset({"secretEnv", "scheme", "condition"})
    designed_keys: ClassVar[frozenset[str]] = frozenset({"topic", "queue"})
    designed_values: ClassVar[Values] = MappingProxyType({"type": frozenset({"mqtt", "amqp"})})


class ParameterFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A parameter that a run is given. A procedure that declares some refuses others."""

    name: Annotated[Identifier, Meta(description="The name; scripts see it as SOP_PARAM_<NAME>.")]
    type: Annotated[ParameterType | None, Meta(description="The type; string if not said.")] = None
    required: Annotated[bool | None, Meta(description="Whether a run must be given a value.")] = None
    default: Annotated[str | int | float | bool | None, Meta(description="The value of a run that is given none.")] = (
        None
    )
    pattern: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        Meta(description="A regular expression that the whole value must match."),
    ] = None
    values: Annotated[
        Annotated[tuple[Line, ...], Meta(max_length=200)] | None, Meta(description="The choices of an enum.")
    ] = None
    description: Annotated[str | None, Meta(description="What it is for.")] = None


class FieldFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A value that approvers are asked for."""

    type: Annotated[FieldType, Meta(description="The type of the value.")]
    title: Annotated[Line | None, Meta(description="What it is called where it is asked for.")] = None
    description: Annotated[Line | None, Meta(description="What is wanted.")] = None
    enum: Annotated[
        Annotated[tuple[FormText | int | float | bool, ...], Meta(max_length=100)] | None,
        Meta(description="The values to choose from."),
    ] = None
    pattern: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        Meta(description="A regular expression that the whole text must match."),
    ] = None
    minimum: Annotated[int | float | None, Meta(description="The smallest number.")] = None
    maximum: Annotated[int | float | None, Meta(description="The largest number.")] = None
    default: Annotated[FormText | int | float | bool | None, Meta(description="The value if none is given.")] = None


class FormFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What approvers fill in: the part of JSON Schema that makes a form."""

    type: Annotated[Literal["object"], Meta(description="Always object.")]
    properties: Annotated[
        Annotated[dict[Identifier, FieldFile], Meta(max_length=50)], Meta(description="The fields, in their order.")
    ]
    required: Annotated[
        Annotated[tuple[Identifier, ...], Meta(max_length=50)] | None,
        Meta(description="Names of the fields that must be filled in."),
    ] = None


class ApprovalFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Who decides at a gate, and how."""

    when: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)] | None,
        Meta(description="A CEL condition: where it is false nobody is asked. In a step only."),
    ] = None
    approvers: Annotated[Principals | None, Meta(description="Who may approve; any person if not said.")] = None
    quorum: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | None,
        Meta(description="How many different ones must approve; 1 if not said."),
    ] = None
    allow_self_approval: Annotated[
        bool | None,
        Meta(description="Whether who started the run may; if not said, only without approvers and quorum."),
    ] = None
    comment_required: Annotated[bool | None, Meta(description="Whether an approval needs a comment.")] = None
    form: Annotated[FormFile | None, Meta(description="What approvers fill in. In a step only.")] = None
    on_timeout: Annotated[
        TimeoutAction | None,
        Meta(
            description="What happens when nobody answers in time: needed with approvers or a quorum. "
            "skip and fail: in a step only."
        ),
    ] = None
    escalate_to: Annotated[Principals | None, Meta(description="Who may approve too, after onTimeout escalate.")] = None
    remind_after_mins: Annotated[
        Annotated[tuple[Minutes, ...], Meta(max_length=20)] | None,
        Meta(description="Minutes after which it is recorded that the gate still waits; ascending."),
    ] = None

    never_null: ClassVar[frozenset[str]] = frozenset(
        {
            "when",
            "approvers",
            "quorum",
            "allowSelfApproval",
            "commentRequired",
            "form",
            "onTimeout",
            "escalateTo",
            "remindAfterMins",
        }
    )


class RetryFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How often a failed step is tried again by itself, under the same approval."""

    max_attempts: Annotated[
        Annotated[int, Meta(ge=1, le=1000)], Meta(description="How often it is tried in all, the first time included.")
    ]
    delay_secs: Annotated[Delay | None, Meta(description="Seconds before the second try; 1 if not said.")] = None
    backoff: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | Annotated[float, Meta(ge=1, le=100)] | None,
        Meta(description="What each further delay is multiplied by; 1 if not said."),
    ] = None
    max_delay_secs: Annotated[Delay | None, Meta(description="The longest delay.")] = None
    on_exit_codes: Annotated[
        Annotated[tuple[Annotated[int, Meta(ge=1, le=255)], ...], Meta(max_length=100)] | None,
        Meta(description="Only after these exit codes; any failure if not said."),
    ] = None


class RollbackFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What undoes a step that was completed."""

    run: Annotated[str | None, Meta(description="A bash script; left out where SOP.md has it.")] = None
    requires_approval: Annotated[
        bool | None, Meta(description="Whether a person must approve first, at the step's gate.")
    ] = None

    never_null: ClassVar[frozenset[str]] = frozenset({"run", "requiresApproval"})


class StepFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One step."""

    number: Annotated[Annotated[int, Meta(ge=1)], Meta(description="1 for the first step, then 2, 3 … without a gap.")]
    title: Annotated[Line | None, Meta(description="What the step does, in a few words.")] = None
    key: Annotated[StepKey | None, Meta(description="A name by which other steps refer to this one.")] = None
    description: Annotated[str | None, Meta(description="Prose for people; used where SOP.md has none.")] = None
    run: Annotated[str | None, Meta(description="A bash script. Without one, a person does the step.")] = None
    executor: Annotated[
        Literal["shell", "manual", "wait", "procedure", "agent"] | None,
        Meta(
            description="Who does it: shell with a script, manual without one, wait with waitSecs or waitUntil, "
            "procedure with uses, agent with a text that a command of config.json carries out."
        ),
    ] = None
    agent: Annotated[
        AgentName | None,
        Meta(description="Whose command carries it out, by its name in config.json; default if not said."),
    ] = None
    requires_approval: Annotated[bool | None, Meta(description="Whether a person must approve first.")] = None
    approval_timeout_mins: Annotated[
        Minutes | None,
        Meta(description="Minutes after which a gate that nobody answered approves itself, or does onTimeout."),
    ] = None
    approval: Annotated[ApprovalFile | None, Meta(description="Who decides at this step's gate, and how.")] = None
    pins: Annotated[
        Annotated[tuple[Pin, ...], Meta(max_length=100)] | None,
        Meta(description="Files whose contents belong to what is approved; relative to the working directory."),
    ] = None
    suggested_tools: Annotated[
        Annotated[tuple[Line, ...], Meta(max_length=100)] | None,
        Meta(description="Tools that an agent may find useful."),
    ] = None
    depends_on: Annotated[
        Annotated[tuple[int | StepKey, ...], Meta(max_length=1000)] | None,
        Meta(description="Numbers or keys of the steps that must be done before; [] for none."),
    ] = None
    if_: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)] | None,
        Meta(description="A CEL condition: where it does not hold the step is skipped."),
    ] = field(default=None, name="if")
    for_each: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)]
        | Annotated[tuple[FormText | int | float | bool, ...], Meta(min_length=1, max_length=MAX_ITEMS)]
        | None,
        Meta(description="The items that the step is done for, each on its own: a list, or a CEL expression."),
    ] = None
    max_parallel: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="For how many items the step may be under way at once; for all if not said."),
    ] = None
    timeout_secs: Annotated[Span | None, Meta(description="Seconds that one try may take; no limit if not said.")] = (
        None
    )
    retry: Annotated[RetryFile | None, Meta(description="How often a failure is tried again by itself.")] = None
    on_failure: Annotated[
        FailureText | None,
        Meta(description="What a failure does: stop, continue, rollback, or goto:STEP, a later step by number or key."),
    ] = None
    verify: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="A bash script that the engine runs itself before it believes a report that the step is done: "
            "only exit code 0 confirms it. In a step without a script only."
        ),
    ] = None
    rollback: Annotated[
        str | RollbackFile | None,
        Meta(description="A bash script that undoes the step once it was completed; or an object that says more."),
    ] = None
    uses: Annotated[
        ProcedureName | None, Meta(description="The procedure that carries the step out, as a run of its own.")
    ] = None
    with_: Annotated[
        Annotated[
            dict[Identifier, Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)] | int | float | bool],
            Meta(max_length=200),
        ]
        | None,
        Meta(description="The parameters of that run: CEL expressions, such as `params.version`; or constants."),
    ] = field(default=None, name="with")
    on_reject: Annotated[
        RejectionText | None,
        Meta(description="What a rejection at its gate does: pause, fail, or goto:STEP, as in onFailure."),
    ] = None
    on_interrupt: Annotated[
        InterruptText | None,
        Meta(
            description="What is done where nobody can know how a try of it ended: ask (if not said), rerun, fail, or "
            "verify:COMMAND, a line that bash runs: exit code 0 says that it is done, 1 that it is not."
        ),
    ] = None
    wait_secs: Annotated[Span | None, Meta(description="A step that only waits: for so many seconds.")] = None
    wait_until: Annotated[
        Instant | None, Meta(description="A step that only waits: until then, such as 2026-12-01T08:00:00Z.")
    ] = None
    env: Annotated[EnvironmentFile | None, Meta(description="Environment variables of this step.")] = None
    working_dir: Annotated[Line | None, Meta(description="The folder it runs in; relative to the project folder.")] = (
        None
    )
    outputs: Annotated[
        Annotated[tuple[Identifier, ...], Meta(max_length=100)]
        | Annotated[dict[Identifier, OutputType], Meta(max_length=100)]
        | None,
        Meta(description="What the step hands on: names, or names with their types."),
    ] = None

    never_null: ClassVar[frozenset[str]] = frozenset(
        {"requiresApproval", "approvalTimeoutMins", "approval", "onReject", "pins", "rollback", "verify"}
    )
    designed_keys: ClassVar[frozenset[str]] = frozenset(
        {
            "params",
            "runners",
        }
    )
    designed_values: ClassVar[Values] = MappingProxyType({"executor": frozenset({"http"})})


class ManifestFile(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A procedure's manifest.json."""

    schema: Annotated[str | None, Meta(description="The address of this schema, for editors.")] = field(
        default=None, name="$schema"
    )
    name: Annotated[ProcedureName | None, Meta(description="The procedure's name: the same as its folder's.")] = None
    title: Annotated[Line | None, Meta(description="The name for people; SOP.md's heading.")] = None
    description: Annotated[str | None, Meta(description="What the procedure does.")] = None
    version: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(description="The version, such as 1.0.0."),
    ] = None
    priority: Annotated[Priority | None, Meta(description="How urgent its runs are; normal if not said.")] = None
    execution_mode: Annotated[ExecutionMode | None, Meta(description="Which approvals are added to the gates.")] = None
    cooldown_secs: Annotated[
        Annotated[int, Meta(ge=0, le=TEN_YEARS_MINS * 60)] | None,
        Meta(description="Seconds from the end of a run to the start of the next."),
    ] = None
    max_concurrent: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="How many runs may be under way at once.")
    ] = None
    concurrency_group: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)] | None,
        Meta(
            description="A CEL expression that gives text, such as 'deploy-' + params.environment: of the runs with "
            "the same text only one may be under way, whatever their procedure."
        ),
    ] = None
    triggers: Annotated[
        Annotated[tuple[TriggerFile, ...], Meta(max_length=100)] | None,
        Meta(description="What may start it; a person if not said."),
    ] = None
    runners: Annotated[
        Principals | None, Meta(description="Who may start it; everybody who may start anything if not said.")
    ] = None
    approval: Annotated[
        ApprovalFile | None,
        Meta(description="Who decides before the start, and at every gate that has no approval of its own."),
    ] = None
    params: Annotated[
        Annotated[tuple[ParameterFile, ...], Meta(max_length=200)] | None, Meta(description="The declared parameters.")
    ] = None
    env: Annotated[EnvironmentFile | None, Meta(description="Environment variables of every step.")] = None
    working_dir: Annotated[Line | None, Meta(description="The folder of every step.")] = None
    max_parallel: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="How many steps of a run may run at once.")
    ] = None
    timeout_secs: Annotated[
        Span | None,
        Meta(description="Seconds that a whole run may take from its start, without pauses; no limit if not said."),
    ] = None
    on_failure: Annotated[
        Literal["stop", "continue", "rollback"] | None,
        Meta(description="What a failure does in steps that do not say."),
    ] = None
    on_reject: Annotated[
        Literal["pause", "fail"] | None,
        Meta(description="What a rejection does in steps that do not say; pause if not said."),
    ] = None
    steps: Annotated[
        Annotated[tuple[StepFile, ...], Meta(max_length=1000)] | None, Meta(description="The steps in their order.")
    ] = None

    never_null: ClassVar[frozenset[str]] = frozenset({"approval", "onReject", "runners"})
    designed_keys: ClassVar[frozenset[str]] = frozenset(
        {
            "admission",
            "onInterrupt",
            "releaseSlotWhileWaiting",
            "retry",
        }
    )


# made now: where threads meet a type for the first time the JSON library crashes
_READER = json.Decoder(ManifestFile)
