"""Errors as an agent is told them: a code that stays the same, whether to try again, and one sentence what to do."""

from __future__ import annotations

from typing import Any

import msgspec

from sopwith.doors.agent.frames import Frames, plain
from sopwith.engine.documents import Document
from sopwith.engine.waiting import WaitingOn
from sopwith.errors import SopwithError

_DETAILS = {"seconds_left": "secondsLeft", "revision": "revision", "holders": "holders"}


class Remedy(msgspec.Struct, frozen=True):
    """`retryable`: the same call may succeed later. `quotes`: the message may hold text that others wrote."""

    sentence: str
    retryable: bool = False
    quotes: bool = False


REMEDIES: dict[str, Remedy] = {
    "bad_argument": Remedy("Correct the arguments as the tool's schema says, and call again."),
    "identity_claimed": Remedy("Leave out every argument that says who you are or for whom you act."),
    "unknown_tool": Remedy("Call one of the tools of the list."),
    "bad_request": Remedy("Correct the call, and call again.", quotes=True),
    "bad_name": Remedy("Use a name from sop_list, or a run id from sop_list_runs."),
    "bad_parameter": Remedy("Call sop_describe for the parameters, and ask for what you do not know.", quotes=True),
    "not_found": Remedy("Look with sop_list or sop_list_runs for what there is."),
    "record_dropped": Remedy("The record is gone for good; take a new idempotencyKey for a new run."),
    "no_workspace": Remedy("Tell the person that there is no workspace here; sop init makes one."),
    "invalid_procedure": Remedy("Tell the person: sop validate shows what is wrong with the procedure.", quotes=True),
    "refused": Remedy("Call sop_status and do what next says."),
    "illegal_move": Remedy("Call sop_status and do what next says."),
    "limit_reached": Remedy("Wait until one of the runs that hold the slots has ended, then call again.", True),
    "cooling_down": Remedy("Call again when secondsLeft have passed.", True),
    "already_decided": Remedy("Call sop_status; the decision stands and is not yours to change.", quotes=True),
    "approval_stale": Remedy("What would run has changed. Call sop_status and look at what is asked now."),
    "verification_failed": Remedy(
        "The step is not done yet, or nothing could check it. Do what is missing and report again, or report blocked.",
        quotes=True,
    ),
    "approver_not_allowed": Remedy("Do not try again. Tell the person what waits, with the sentence in next."),
    "not_allowed": Remedy("Do not try again. Tell the person that you may not do this."),
    "revision_conflict": Remedy("Call sop_status, look at what changed, and decide again.", True),
    "key_reused": Remedy("Take a new idempotencyKey: this one stands for another call."),
    "run_busy": Remedy("Call sop_status with waitMs; somebody else carries the run on.", True),
    "conflict": Remedy("Call sop_status, then call again.", True),
    "store_error": Remedy("Tell the person that the database cannot be used; sop doctor checks it.", quotes=True),
    "unreadable_record": Remedy("Tell the person that a run's record was changed; sop doctor checks it.", quotes=True),
    "workspace_error": Remedy("Tell the person that a file cannot be read or written.", quotes=True),
    "missing_extra": Remedy("Tell the person what is missing."),
    "not_sent": Remedy("Tell the person that a message could not be sent."),
    "no_scenario": Remedy("Tell the person that there is nothing to test."),
    "error": Remedy("Tell the person what happened.", quotes=True),
    "internal": Remedy("Tell the person that something went wrong inside Sopwith.", quotes=True),
}
"""One entry for each error; a test sees to that."""


def failure_document(error: SopwithError, frames: Frames) -> Document:
    """`{success: false, error: {code, message, retryable, remedy, …}}`, as about no run: nothing is known to wait."""
    remedy = REMEDIES[error.code]
    message = frames.text(error.message, "an error message") if remedy.quotes else plain(error.message)
    told: Document = {
        "code": error.code,
        "message": message,
        "retryable": remedy.retryable,
        "remedy": remedy.sentence,
    }
    for key, name in _DETAILS.items():
        if key in error.details:
            told[name] = _fact(error.details[key])
    if problems := error.details.get("problems"):
        told["problems"] = frames.text("\n".join(map(str, problems)), "the procedure's files")
    return {"success": False, "error": told, "revision": None, "waitingOn": WaitingOn.NOTHING, "next": []}


def _fact(value: Any) -> Any:
    return [plain(str(each), most=80) for each in value] if isinstance(value, list | tuple) else value
