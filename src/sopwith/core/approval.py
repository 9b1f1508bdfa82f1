"""The rules of a gate as a procedure states them: who may answer, how many, by when, and what silence means.

What the rules come to in a run is `gates.py`'s work; who belongs to a group is `people.py`'s.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

FormValue = str | int | float | bool


class TimeoutAction(StrEnum):
    """What happens to a gate that nobody answered in time."""

    APPROVE = "approve"
    REJECT = "reject"
    ESCALATE = "escalate"
    """The gate stays open, and `escalateTo` may answer too."""
    SKIP = "skip"
    PAUSE = "pause"
    FAIL = "fail"


class FieldType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


class FormField(msgspec.Struct, frozen=True, kw_only=True):
    """One value that an approver gives. `values` are the choices, `pattern` must match the whole text."""

    name: str
    type: FieldType = FieldType.STRING
    title: str = ""
    required: bool = False
    default: FormValue | None = None
    values: tuple[FormValue, ...] = ()
    pattern: str | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None


class ApprovalRules(msgspec.Struct, frozen=True, kw_only=True):
    """The `approval` object. `approvers` are principals: `user:alice`, `group:release`, `agent:bot`; none: any person.

    `allow_self_approval` None: allowed exactly where neither approvers nor a quorum are named.
    """

    when: str | None = None
    approvers: tuple[str, ...] = ()
    quorum: int | None = None
    allow_self_approval: bool | None = None
    comment_required: bool = False
    form: tuple[FormField, ...] = ()
    on_timeout: TimeoutAction | None = None
    escalate_to: tuple[str, ...] = ()
    remind_after_mins: tuple[int | float, ...] = ()

    @property
    def votes_needed(self) -> int:
        return self.quorum or 1

    @property
    def self_approval(self) -> bool:
        """Whether who started the run may approve in it."""
        if self.allow_self_approval is not None:
            return self.allow_self_approval
        return not self.approvers and self.quorum is None


NO_RULES = ApprovalRules()
