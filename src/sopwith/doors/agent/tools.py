"""The table of tools: names, what they are for, and which arguments they take. The list that every host is given.

The names and arguments of the first six are the specification's ("Tool Calls"); nothing here does anything.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sopwith.core.procedure import ExecutionMode
from sopwith.core.request import MAX_KEY
from sopwith.core.run import RunStatus

Schema = dict[str, Any]

MOST_WAIT_MS = 20_000
DEFAULT_WAIT_MS = 1_500
DONE, FAILED, BLOCKED = "done", "failed", "blocked"


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """One tool. `arguments` are JSON Schemas by name; all but the `required` may be left out."""

    name: str
    about: str
    arguments: dict[str, Schema]
    required: tuple[str, ...] = ()
    writes: bool = False
    destroys: bool = False
    """It may start scripts or end runs: hosts may want to ask before."""

    @property
    def schema(self) -> Schema:
        """The JSON Schema of the arguments as one object."""
        schema: Schema = {"type": "object", "properties": self.arguments, "additionalProperties": False}
        return schema | ({"required": list(self.required)} if self.required else {})


def _text(about: str = "", *, most: int = 200, **more: Any) -> Schema:
    return {"type": "string", "maxLength": most, **({"description": about} if about else {}), **more}


def _whole(about: str = "", *, least: int = 0, most: int | None = None) -> Schema:
    limits = {"minimum": least} | ({} if most is None else {"maximum": most})
    return {"type": "integer", **limits, **({"description": about} if about else {})}


_RUN = {"runId": _text(most=80)}
_STEP = {"stepNumber": _whole(least=1), "instance": _text("Of a forEach step", most=64)}
_WAIT = {"waitMs": _whole(f"Default {DEFAULT_WAIT_MS}", most=MOST_WAIT_MS)}
_CARE = {
    "idempotencyKey": _text("Your name for this call: sent again, it does nothing twice", most=MAX_KEY, minLength=1),
    "expectedRevision": _whole("Refuse if the run has moved on since"),
}
_KEY = {"idempotencyKey": _CARE["idempotencyKey"]}
_REASON = {"reason": _text(most=4000)}
_DIGEST = {"digest": _text("Of the gate you looked at", most=64)}

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="sop_execute",
        about="Start a procedure. Returns the run, which goes on without you.",
        arguments={
            "sopName": _text(most=64),
            "params": {"type": "object", "description": "Values by name, see sop_describe"},
            "executionMode": {
                "type": "string",
                "enum": [mode.value for mode in ExecutionMode],
                "description": "Only stricter than the procedure's own",
            },
            **_KEY,
            **_WAIT,
        },
        required=("sopName",),
        writes=True,
        destroys=True,
    ),
    Tool(
        name="sop_approve",
        about="Approve at a gate that names you as approver, in a run you did not start. Other gates are a person's.",
        arguments={
            **_RUN,
            **_STEP,
            "comment": _text(most=4000),
            **_DIGEST,
            "form": {"type": "object", "description": "What the gate's form asks for"},
            **_CARE,
            **_WAIT,
        },
        required=("runId",),
        writes=True,
        destroys=True,
    ),
    Tool(
        name="sop_reject",
        about="Say no at a gate, with a reason. Without stepNumber: the gate that is open.",
        arguments={**_RUN, **_STEP, **_REASON, **_DIGEST, **_CARE, **_WAIT},
        required=("runId", "reason"),
        writes=True,
    ),
    Tool(
        name="sop_status",
        about="How a run stands, and what you can do now. waitMs waits until you are needed, or it moves on from "
        "sinceSeq.",
        arguments={
            **_RUN,
            "stepNumber": _STEP["stepNumber"],
            "instance": _STEP["instance"],
            "sinceSeq": _whole("A revision: only steps that changed after it"),
            **_WAIT,
        },
        required=("runId",),
    ),
    Tool(
        name="sop_list_runs",
        about="Runs, the newest first.",
        arguments={
            "sopName": _text(most=64),
            "status": {"type": "string", "enum": [status.value for status in RunStatus]},
            "limit": _whole("Default 20", least=1, most=200),
        },
    ),
    Tool(
        name="sop_get_audit",
        about="The record of a run.",
        arguments={
            **_RUN,
            "sinceSeq": _whole("Only events after this one"),
            "limit": _whole("Default 100", least=1, most=500),
        },
        required=("runId",),
    ),
    Tool(
        name="sop_list",
        about="The procedures that can be run here.",
        arguments={"query": _text("Part of a name or title", most=100)},
    ),
    Tool(
        name="sop_describe",
        about="One procedure: what it needs, its steps and gates. A step's text is told when the step is yours.",
        arguments={
            "sopName": _text(most=64),
            "detail": {"type": "string", "enum": ["outline", "full"], "description": "full only if config.json allows"},
        },
        required=("sopName",),
    ),
    Tool(
        name="sop_complete_step",
        about="Report the step you were given as `task`: done, failed, or blocked (a person must look). Report what "
        "you saw, not what should be.",
        arguments={
            **_RUN,
            **_STEP,
            "outcome": {"type": "string", "enum": [DONE, FAILED, BLOCKED]},
            "output": _text("What you did and saw; what went wrong if it did", most=65536),
            "evidence": {
                "type": "array",
                "items": {"type": "string", "maxLength": 1000},
                "maxItems": 20,
                "description": "Files of the project folder; copies are kept",
            },
            **_CARE,
            **_WAIT,
        },
        required=("runId", "stepNumber", "outcome"),
        writes=True,
    ),
    Tool(
        name="sop_cancel",
        about="End a run for good; what is running is stopped.",
        arguments={**_RUN, **_REASON, **_CARE, **_WAIT},
        required=("runId",),
        writes=True,
        destroys=True,
    ),
    Tool(
        name="sop_retry",
        about="Run failed, rejected or interrupted steps again; gates ask again. First find out what went wrong.",
        arguments={
            **_RUN,
            "fromStep": _whole("Go back to this step", least=1),
            **_REASON,
            **_CARE,
            **_WAIT,
        },
        required=("runId",),
        writes=True,
        destroys=True,
    ),
)
BY_NAME = {tool.name: tool for tool in TOOLS}
