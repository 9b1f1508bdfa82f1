"""Every error a person can meet, with its stable code, exit code and HTTP status.

One sentence says what was tried, on what, and what stood in the way; the hint says what to do now.
Doors print `message` and `hint`; nothing here ever holds a secret.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

import msgspec


class Severity(StrEnum):
    """An error keeps a run from starting; a warning is only told."""

    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding in a file that a person wrote: where, what was expected, what was there, what to do.

    `line` and `column` count from 1 and are None when the finding is about the whole file; `path` is a JSON path such
    as `$.steps[1].title` or the title of the Markdown step it stands in.
    """

    severity: Severity
    code: str
    file: str
    message: str
    line: int | None = None
    column: int | None = None
    path: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        path = f" {self.path}:" if self.path else ""
        return f"{place}:{path} {self.message}"


class SopwithError(Exception):
    """The root of all errors that Sopwith raises on purpose."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class BadRequest(SopwithError):
    """The call itself cannot be understood: a wrong name, a wrong parameter, a missing reason."""

    code = "bad_request"
    exit_code = 2
    http_status = 400


class BadName(BadRequest):
    """A name that no procedure, run or file may have; found before any path is built from it."""

    code = "bad_name"


class BadParameter(BadRequest):
    """A parameter that the procedure does not declare, lacks, or declares with another type."""

    code = "bad_parameter"


class BadArgument(BadRequest):
    """An argument of an agent's tool that is unknown, missing, or of another kind than the tool declares."""

    code = "bad_argument"


class IdentityClaimed(BadRequest):
    """An argument that says who calls. The door knows that; nobody is believed about it."""

    code = "identity_claimed"


class NotFound(SopwithError):
    """What was named does not exist here."""

    code = "not_found"
    exit_code = 6
    http_status = 404


class RecordDropped(NotFound):
    """The run ended so long ago that retention took its content; `details` say when, and after how many days."""

    code = "record_dropped"
    http_status = 410


class UnknownTool(NotFound):
    """No tool for agents has this name."""

    code = "unknown_tool"


class NoWorkspace(NotFound):
    """No folder at or above this one holds `.pi/sops`."""

    code = "no_workspace"


class InvalidProcedure(SopwithError):
    """The procedure's files have errors, so nothing may run; all problems are told at once."""

    code = "invalid_procedure"
    exit_code = 1
    http_status = 422

    def __init__(self, message: str, *, problems: tuple[Problem, ...], hint: str = "") -> None:
        super().__init__(message, hint=hint, problems=problems)
        self.problems = problems


class Refused(SopwithError):
    """Understood, and not done: a rule stands in the way. Nothing changed."""

    code = "refused"
    exit_code = 5
    http_status = 409


class IllegalMove(Refused):
    """The run's status does not allow this command (the table is `core/moves.py`)."""

    code = "illegal_move"


class LimitReached(Refused):
    """maxConcurrent, maxConcurrentRuns or a concurrency group is used up; `details["holders"]` names the runs.

    They hold the slots, or came first in the queue.
    """

    code = "limit_reached"


class CoolingDown(Refused):
    """cooldownSecs has not passed since the last run; `details["seconds_left"]` is a whole number of seconds."""

    code = "cooling_down"


class AlreadyDecided(Refused):
    """The gate was answered before, and differently: the message says by whom, what and when."""

    code = "already_decided"


class StaleApproval(Refused):
    """What would run is not what the approver saw."""

    code = "approval_stale"


class VerificationFailed(Refused):
    """The step's own script did not confirm a report that it is done: the report stands in the record, and the step
    is still to be done.
    """

    code = "verification_failed"


class ApproverNotAllowed(Refused):
    """This actor may not decide this gate."""

    code = "approver_not_allowed"
    http_status = 403


class NotAllowed(Refused):
    """This actor may not do this."""

    code = "not_allowed"
    http_status = 403


class RevisionConflict(Refused):
    """The run has moved on since the caller looked; `details["revision"]` is what it is now."""

    code = "revision_conflict"
    http_status = 412


class KeyReused(Refused):
    """An idempotency key that stood for another request before."""

    code = "key_reused"


class RunBusy(Refused):
    """Somebody else drives this run."""

    code = "run_busy"


class Conflict(SopwithError):
    """A late writer: the run has moved on since it was read. Read again and decide again."""

    code = "conflict"
    http_status = 409


class StoreError(SopwithError):
    """The database cannot be used; nothing was written."""

    code = "store_error"


class UnreadableRecord(StoreError):
    """The record of one run was changed, or a part of it is missing; all others can be used."""

    code = "unreadable_record"


class WorkspaceError(SopwithError):
    """A file of the workspace cannot be read or written."""

    code = "workspace_error"

    @classmethod
    def from_os(cls, what: str, path: object, error: OSError) -> WorkspaceError:
        """One sentence for a file that the operating system refuses: `cannot write /x/index.json: No space left`."""
        return cls(
            f"cannot {what} {path}: {error.strerror or error}",
            hint="check that the folder exists, that it is yours to write, and that the disk has room",
        )


class MissingExtra(SopwithError):
    """A part of Sopwith that is not installed."""

    code = "missing_extra"


class NotSent(SopwithError):
    """A message that a channel did not take; whoever sends it tries again."""

    code = "not_sent"
    http_status = 502


class NoScenario(SopwithError):
    """There is nothing to test: no scenario was found."""

    code = "no_scenario"
    http_status = 404
