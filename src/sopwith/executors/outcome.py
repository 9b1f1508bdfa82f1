"""Puts the end of a step into words: from the keeper's result to a StepResult with its error, cause and hint."""

from __future__ import annotations

import errno
import os
import signal

from sopwith.core.commands import StepResult
from sopwith.executors.launch import Ending
from sopwith.executors.outputs import Values
from sopwith.executors.spool import Excerpt

_STATUS_HINTS = {
    126: "permission denied, or not a program",
    127: "command not found",
}


def step_result(ending: Ending, excerpt: Excerpt, values: Values) -> StepResult:
    """The result of a step whose process ended, was stopped, or could not be started."""
    cause, error = _verdict(ending, values)
    signalled = ending.signal is not None
    return StepResult(
        exit_code=ending.exit,
        signal=signal_name(ending.signal or 0) if signalled else None,
        error=error,
        cause=cause,
        output=excerpt.text(),
        output_bytes=excerpt.size_bytes,
        output_sha256=excerpt.sha256,
        outputs=values.outputs,
        ended_boot_ms=ending.ended_boot_ms,
        warnings=(*values.warnings, *_warnings(ending, excerpt, values, cause)),
    )


def not_started(error: str) -> StepResult:
    """The result of a step whose process could not be started, for this reason."""
    return StepResult(error=error, cause="start", output_sha256=Excerpt().sha256)


def signal_name(number: int) -> str:
    """`SIGKILL`; `signal 40` for one that has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _verdict(ending: Ending, values: Values) -> tuple[str, str]:
    """Cause and error. What the process did counts before what it wrote."""
    if ending.stopped:
        return "cancelled", f"stopped before it ended ({_manner(ending)})"
    if ending.start_errno:
        return "start", start_error(ending.start_errno)
    if ending.signal is not None:
        return "signal", _manner(ending)
    if ending.exit != 0:
        return "exit", _manner(ending)
    return ("output", values.problem) if values.problem else ("exit", "")


def _manner(ending: Ending) -> str:
    if ending.out_of_memory and not ending.stopped and signal.SIGKILL in (ending.signal, (ending.exit or 0) - 128):
        return "killed: out of memory"
    if ending.signal is not None:
        hint = (
            ": the machine may have run out of memory" if ending.signal == signal.SIGKILL and not ending.stopped else ""
        )
        return f"killed by {signal_name(ending.signal)}{hint}"
    if ending.exit is None:
        return "it did not end, not even by SIGKILL"
    hint = _status_hint(ending.exit)
    return f"exit status {ending.exit}" + (f": {hint}" if hint else "")


def _status_hint(status: int) -> str:
    if 128 < status <= 128 + 64:
        return f"a command in it was killed by {signal_name(status - 128)}"
    return _STATUS_HINTS.get(status, "")


def start_error(number: int) -> str:
    """Why the process could not be started, in words."""
    if number == errno.E2BIG:
        return "cannot start the step: its environment is too large for the kernel. Pass large values in a file"
    if number == errno.ENOSPC:
        return "cannot start the step: the disk is full"
    if number == errno.EDQUOT:
        return "cannot start the step: this user's quota on the disk is used up"
    if number in (errno.EMFILE, errno.ENFILE):
        return "cannot start the step: too many files are open"
    if number == errno.EAGAIN:
        return "cannot start the step: there are too many processes, or too little memory for one more"
    return f"cannot start the step: {os.strerror(number)}"


def _warnings(ending: Ending, excerpt: Excerpt, values: Values, cause: str) -> list[str]:
    found = []
    if ending.left_over:
        processes = "1 process" if ending.left_over == 1 else f"{ending.left_over} processes"
        found.append(f"{processes} that the step started still ran when it ended")
    if ending.dropped_bytes:
        found.append(f"{ending.dropped_bytes} bytes of output could not be written to disk")
    if excerpt.taken_bytes < ending.output_bytes:
        found.append(f"{ending.output_bytes - excerpt.taken_bytes} bytes of output were lost before they could be kept")
    if values.problem and cause != "output":
        found.append(values.problem)
    return found
