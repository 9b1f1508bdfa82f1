"""The legal moves: one table `(status, command) -> Move`. What is not in it is refused and changes nothing.

The table is the documentation: the state diagram in the docs is drawn from it, and a property test checks that each
move ends in one of the statuses it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from sopwith.core import commands as cmd
from sopwith.core.events import EventBody
from sopwith.core.moves_answer import answer
from sopwith.core.moves_child import notice
from sopwith.core.moves_driver import admit, finish, halt, interrupt, start
from sopwith.core.moves_flow import end_wait, evaluate, time_out, time_out_run
from sopwith.core.moves_gate import expire, open_gate, remind
from sopwith.core.moves_person import block, cancel, complete, fail, pause, resume, retry, skip, withdraw_pause
from sopwith.core.moves_report import begin_verification, end_verification
from sopwith.core.moves_rollback import roll_back
from sopwith.core.run import Run, RunStatus

Handler = Callable[[Run, Any], Iterable[EventBody]]

PENDING = RunStatus.PENDING
WAITING = RunStatus.WAITING_APPROVAL
RUNNING = RunStatus.RUNNING
AWAITING = RunStatus.AWAITING_APPROVAL
PAUSED = RunStatus.PAUSED
COMPLETED = RunStatus.COMPLETED
FAILED = RunStatus.FAILED
CANCELLED = RunStatus.CANCELLED


class Move(msgspec.Struct, frozen=True):
    """What carries the command out, and the statuses the run may have afterwards."""

    handler: Handler
    to: tuple[RunStatus, ...]


MOVES: dict[tuple[RunStatus, type[cmd.Command]], Move] = {
    (PENDING, cmd.Admit): Move(admit, (WAITING, RUNNING, CANCELLED)),
    (PENDING, cmd.Cancel): Move(cancel, (CANCELLED,)),
    (WAITING, cmd.Approve): Move(answer, (WAITING, RUNNING, CANCELLED)),
    (WAITING, cmd.Reject): Move(answer, (WAITING, CANCELLED)),
    (WAITING, cmd.Expire): Move(expire, (WAITING, RUNNING, PAUSED, CANCELLED)),
    (WAITING, cmd.Remind): Move(remind, (WAITING,)),
    (WAITING, cmd.Pause): Move(pause, (PAUSED,)),
    (WAITING, cmd.Cancel): Move(cancel, (CANCELLED,)),
    (RUNNING, cmd.OpenGate): Move(open_gate, (RUNNING, WAITING, AWAITING, PAUSED, COMPLETED, FAILED, CANCELLED)),
    (RUNNING, cmd.Evaluate): Move(evaluate, (RUNNING, AWAITING, PAUSED, COMPLETED)),
    (RUNNING, cmd.EndWait): Move(end_wait, (RUNNING, AWAITING, COMPLETED)),
    (RUNNING, cmd.TimeOut): Move(time_out, (RUNNING, AWAITING, PAUSED, COMPLETED, FAILED)),
    (RUNNING, cmd.TimeOutRun): Move(time_out_run, (RUNNING, FAILED)),
    (AWAITING, cmd.TimeOutRun): Move(time_out_run, (RUNNING, AWAITING, FAILED)),
    (RUNNING, cmd.Start): Move(start, (RUNNING,)),
    (RUNNING, cmd.Finish): Move(finish, (RUNNING, AWAITING, PAUSED, COMPLETED, FAILED, CANCELLED)),
    (RUNNING, cmd.Interrupt): Move(interrupt, (RUNNING, AWAITING, PAUSED, COMPLETED, FAILED, CANCELLED)),
    (RUNNING, cmd.BeginVerification): Move(begin_verification, (RUNNING,)),
    (RUNNING, cmd.EndVerification): Move(end_verification, (RUNNING, AWAITING, PAUSED, COMPLETED, FAILED, CANCELLED)),
    (RUNNING, cmd.Notice): Move(notice, (RUNNING, AWAITING, PAUSED)),
    (RUNNING, cmd.Halt): Move(halt, (RUNNING, PAUSED)),
    (RUNNING, cmd.Approve): Move(answer, (RUNNING, PAUSED, FAILED)),
    (RUNNING, cmd.Reject): Move(answer, (RUNNING, PAUSED, FAILED)),
    (RUNNING, cmd.Expire): Move(expire, (RUNNING, PAUSED, FAILED)),
    (RUNNING, cmd.Remind): Move(remind, (RUNNING,)),
    (RUNNING, cmd.Complete): Move(complete, (RUNNING, AWAITING, PAUSED, COMPLETED, FAILED)),
    (RUNNING, cmd.Fail): Move(fail, (RUNNING, AWAITING, PAUSED, COMPLETED, FAILED)),
    (RUNNING, cmd.Block): Move(block, (RUNNING, PAUSED)),
    (RUNNING, cmd.Skip): Move(skip, (RUNNING, AWAITING, PAUSED, COMPLETED, FAILED)),
    (RUNNING, cmd.Resume): Move(withdraw_pause, (RUNNING,)),
    (RUNNING, cmd.Pause): Move(pause, (RUNNING, PAUSED)),
    (RUNNING, cmd.Cancel): Move(cancel, (RUNNING, CANCELLED)),
    (AWAITING, cmd.Approve): Move(answer, (AWAITING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED)),
    (AWAITING, cmd.Reject): Move(answer, (AWAITING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED)),
    (AWAITING, cmd.Expire): Move(expire, (AWAITING, RUNNING, PAUSED, COMPLETED, FAILED)),
    (AWAITING, cmd.Remind): Move(remind, (AWAITING,)),
    (AWAITING, cmd.Notice): Move(notice, (RUNNING, AWAITING)),
    (AWAITING, cmd.Finish): Move(finish, (RUNNING, AWAITING, PAUSED, COMPLETED, FAILED)),
    (AWAITING, cmd.Interrupt): Move(interrupt, (AWAITING, PAUSED, FAILED)),
    (AWAITING, cmd.Skip): Move(skip, (AWAITING, RUNNING, COMPLETED)),
    (AWAITING, cmd.Pause): Move(pause, (PAUSED,)),
    (AWAITING, cmd.Cancel): Move(cancel, (RUNNING, CANCELLED)),
    (PAUSED, cmd.Resume): Move(resume, (WAITING, RUNNING, AWAITING)),
    (PAUSED, cmd.Retry): Move(retry, (RUNNING, AWAITING)),
    (PAUSED, cmd.Rollback): Move(roll_back, (RUNNING,)),
    (FAILED, cmd.Rollback): Move(roll_back, (RUNNING,)),
    (CANCELLED, cmd.Rollback): Move(roll_back, (RUNNING,)),
    (PAUSED, cmd.Complete): Move(complete, (PAUSED, RUNNING, AWAITING, COMPLETED, FAILED)),
    (PAUSED, cmd.Fail): Move(fail, (PAUSED, COMPLETED, FAILED)),
    (PAUSED, cmd.Skip): Move(skip, (PAUSED, RUNNING, AWAITING, COMPLETED, FAILED)),
    (PAUSED, cmd.Cancel): Move(cancel, (RUNNING, CANCELLED)),
    (PAUSED, cmd.Notice): Move(notice, (PAUSED,)),
    (PAUSED, cmd.Finish): Move(finish, (PAUSED, COMPLETED, FAILED)),
    (PAUSED, cmd.Interrupt): Move(interrupt, (PAUSED, FAILED)),
    (FAILED, cmd.Retry): Move(retry, (RUNNING,)),
    (FAILED, cmd.Complete): Move(complete, (FAILED, PAUSED, RUNNING, COMPLETED)),
    (FAILED, cmd.Skip): Move(skip, (FAILED, PAUSED, RUNNING, COMPLETED)),
    (FAILED, cmd.Cancel): Move(cancel, (CANCELLED,)),
    # the same answer again to an addressed gate succeeds without effect, whatever became of the run
    **{
        (status, answered): Move(answer, (status,))
        for status in (PAUSED, COMPLETED, FAILED, CANCELLED)
        for answered in (cmd.Approve, cmd.Reject)
    },
}
