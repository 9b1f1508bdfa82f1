"""`Workspace`: the calls of the Python API on one folder. Each is one engine method, as a verb of the command is."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.address import StepId, read_step_id
from sopwith.core.due import at_rest
from sopwith.core.procedure import ExecutionMode, check_name
from sopwith.core.run import Run as CoreRun
from sopwith.core.run import RunStatus
from sopwith.doors.caller import os_actor
from sopwith.doors.opened import Opened
from sopwith.doors.python.results import AuditLog, Decision, Procedure, Run, RunList
from sopwith.engine.documents import Document, answer_document
from sopwith.engine.engine import Answered, RunRequest
from sopwith.engine.listing import list_procedures
from sopwith.errors import BadRequest, RunBusy, StaleApproval

if TYPE_CHECKING:
    from sopwith.engine.begun import Begun

_R = TypeVar("_R")
_E = TypeVar("_E", RunStatus, ExecutionMode)
_TRIES = 20
_BETWEEN_TRIES_SECS = 0.05
"""How often a run that its driver let go of in the middle is taken up before the call returns."""


class SopwithWarning(UserWarning):
    """Something beside the work did not succeed, such as a signature or a copy of a checkpoint."""


class Workspace:
    """The procedures and runs of one folder, the one that holds `.pi/sops`.

    `path` None: SOPWITH_WORKSPACE, else the nearest folder at or above the current one. May be used as a context
    manager, and from several threads; not across a fork. Who calls is the account that the process runs under, as for
    the command; no argument says it. Every call may raise `sopwith.errors.SopwithError`, each with `code`, `message`
    and `hint`; the common ones are named.

    The calls that carry a run on return when it waits for a person, ends, or is driven by somebody else. They are not
    coroutines: within an event loop use `asyncio.to_thread`. A process that dies in such a call harms no step:
    `resume_run` goes on with it.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._opened = Opened(None if path is None else os.fspath(path))
        self._warned = 0

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Workspace({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The folder. Raises NoWorkspace."""
        return self._opened.workspace.root

    def close(self) -> None:
        """Closes the database; runs that this object drives elsewhere are let go. It opens anew at the next call."""
        opened = self._opened
        if "parts" in opened.__dict__:
            opened.parts.store.close()
        self._opened = Opened(str(opened.workspace.root) if "workspace" in opened.__dict__ else opened.override)
        self._warned = 0

    def create_run(
        self,
        name: str,
        *,
        params: Mapping[str, Any] = MappingProxyType({}),
        execution_mode: ExecutionMode | str | None = None,
        queue: bool = False,
        wait: bool = True,
    ) -> Run:
        """Starts procedure `name` and carries the run on until it waits or ends.

        `params`: values by name, of the declared types. `execution_mode`: a stricter one than declared. `queue`: wait
        for a slot instead of being refused. `wait` False: a server, or a process of its own, carries it on, and the
        call returns at once.

        Raises NotFound, InvalidProcedure, BadParameter, LimitReached or CoolingDown; then nothing was started.
        """
        check_name(name)
        mode = None if execution_mode is None else _chosen(ExecutionMode, execution_mode, "execution mode")
        request = RunRequest(name=name, params=dict(params), mode=mode, queue=queue)
        if wait:
            return self._begun(request)
        from sopwith.doors.detached import start_detached

        run = self._opened.engine.create_run(request, actor=self._actor)
        start_detached(self._opened.workspace, run.run_id)
        return self.get_run_status(run.run_id)

    def approve_step(
        self,
        run_id: str,
        step_number: StepId | None = None,
        *,
        comment: str = "",
        digest: str | None = None,
        form: Mapping[str, Any] = MappingProxyType({}),
        wait: bool = True,
    ) -> Decision:
        """Approves at a gate, and carries the run on.

        `step_number`: 3, "3:eu" for an instance, None for the only open gate. `digest`: approve only this envelope
        (`Gate.digest`, or its first 12 characters or more). `form`: what the gate's form asks for.

        Raises ApproverNotAllowed, AlreadyDecided, IllegalMove, or StaleApproval, also where what was approved changed
        before it could start.
        """
        answered = self._opened.engine.approve(
            run_id, actor=self._actor, step=_step(step_number), comment=comment, digest=digest, form=form
        )
        decision = self._decision(answered, drive=wait and answered.gate.passed)
        if self._opened.reader.went_stale(run_id, answered.run.seq):
            raise StaleApproval(
                f"the approval of {run_id} did not count: what would have run was not what was approved",
                hint=f"sop approve {run_id} --show shows what is asked now",
            )
        return decision

    def reject_step(
        self,
        run_id: str,
        step_number: StepId | None = None,
        *,
        reason: str,
        digest: str | None = None,
        wait: bool = True,
    ) -> Decision:
        """Says no at a gate, with a reason: the run is paused, or does what the step's onReject says.

        At the start of a run it is cancelled. Raises as `approve_step` does.
        """
        answered = self._opened.engine.reject(
            run_id, actor=self._actor, step=_step(step_number), reason=reason, digest=digest
        )
        return self._decision(answered, drive=wait and answered.led_to in ("rollback_skipped", "goto"))

    def complete_step(
        self,
        run_id: str,
        step_number: StepId | None = None,
        *,
        comment: str = "",
        output: str = "",
        evidence: Iterable[str | os.PathLike[str]] = (),
        wait: bool = True,
    ) -> Run:
        """Reports a manual step done, or a stuck one as done by hand, and carries the run on.

        `evidence`: files, of which copies stay with the run. Raises IllegalMove, NotAllowed or ApproverNotAllowed, and
        VerificationFailed where the step's own script did not confirm the report: the step is then still to be done.
        """
        run = self._opened.engine.complete(
            run_id,
            actor=self._actor,
            step=_step(step_number),
            comment=comment,
            output=output,
            evidence=tuple(Path(each) for each in evidence),
        )
        after = self._after(run, wait=wait)
        self._opened.reader.check_believed(run_id, run.seq)
        return after

    def get_run_status(self, run_id: str) -> Run:
        """The run as it is now. Changes nothing. Raises NotFound or BadName."""
        self._opened.check_run(run_id)
        return _as(Run, self._opened.reader.status(run_id))

    def get_audit_log(self, run_id: str) -> AuditLog:
        """The whole record of a run. Raises NotFound or BadName."""
        self._opened.check_run(run_id)
        return _as(AuditLog, self._opened.reader.audit(run_id))

    def list_runs(
        self, name: str | None = None, *, status: RunStatus | str | Iterable[str] = (), limit: int | None = 20
    ) -> RunList:
        """Runs of procedure `name`, or all, in this status or these, the newest first. `limit` None: all of them.

        `RunList.total` counts all that match, also those that `limit` leaves out. Raises BadName or BadRequest.
        """
        wanted = (status,) if isinstance(status, str) else tuple(status)
        statuses = tuple(_chosen(RunStatus, each, "status") for each in wanted)
        if limit is not None and limit < 0:
            raise BadRequest(f"expected a limit of 0 or more, got {limit}", hint="None stands for all runs")
        if not self._opened.has_runs:
            return RunList(runs=(), total=0)
        return _as(RunList, self._opened.reader.history(name=name, statuses=statuses, limit=limit))

    def list_procedures(self) -> tuple[Procedure, ...]:
        """What can be run here, and what has errors and cannot."""
        listed, _problems = list_procedures(self._opened.library)
        return tuple(_as(Procedure, document) for document in listed)

    def cancel_run(self, run_id: str, *, reason: str = "") -> Run:
        """Ends the run for good; a running step and all it started are ended first. Raises IllegalMove."""
        run = self._opened.engine.cancel(run_id, actor=self._actor, reason=reason)
        return self._after(run, wait=run.cancel_requested)

    def pause_run(self, run_id: str, *, reason: str = "") -> Run:
        """Starts nothing more; a running step ends by itself. Raises IllegalMove."""
        return self._after(self._opened.engine.pause(run_id, actor=self._actor, reason=reason), wait=False)

    def resume_run(self, run_id: str, *, wait: bool = True) -> Run:
        """Goes on after a pause, a crash, or a `wait=False`. Raises IllegalMove for a run that has ended."""
        return self._after(self._opened.engine.resume(run_id, actor=self._actor), wait=wait)

    def retry_run(
        self,
        run_id: str,
        *,
        from_step: StepId | None = None,
        params: Mapping[str, Any] = MappingProxyType({}),
        reason: str = "",
        wait: bool = True,
    ) -> Run:
        """Again from the failed, rejected or interrupted steps, or from an earlier one; their gates ask again.

        `params` replace those of the same name. Raises IllegalMove, BadParameter or LimitReached.
        """
        run = self._opened.engine.retry(
            run_id, actor=self._actor, from_step=_step(from_step), params=dict(params) or None, reason=reason
        )
        return self._after(run, wait=wait)

    @cached_property
    def _actor(self) -> Actor:
        return os_actor("python")

    def _after(self, run: CoreRun, *, wait: bool) -> Run:
        return self._carried_on(run.run_id) if wait else self.get_run_status(run.run_id)

    def _decision(self, answered: Answered, *, drive: bool) -> Decision:
        run = self._after(answered.run, wait=drive)
        return _as(Decision, {**answer_document(answered), "run": msgspec.to_builtins(run)})

    def _begun(self, request: RunRequest) -> Run:
        from sopwith.engine.begun import Begun

        begun = Begun(self._opened.engine, request, actor=self._actor)
        try:
            return self._carried_on(begun.run_id, begun)
        finally:
            begun.let_go()

    def _carried_on(self, run_id: str, begun: Begun | None = None) -> Run:
        try:
            _in_a_loop(lambda: self._drive(run_id, begun))
        finally:
            self._warn()
        if begun is None:
            return self.get_run_status(run_id)
        return _as(Run, self._opened.reader.status_since(begun.loaded))

    async def _drive(self, run_id: str, begun: Begun | None) -> None:
        from sopwith.engine.claiming import is_driven
        from sopwith.engine.driver import drive

        parts = self._opened.engine.parts
        for _ in range(_TRIES):
            try:
                await drive(parts, run_id, begun=begun)
            except RunBusy:
                run = self._opened.engine.runs.load(run_id).run
                if is_driven(parts, run_id) or run.queued or at_rest(run):
                    return
                # whoever drove it has let go since, or a driver is only just taking it up
                await asyncio.sleep(_BETWEEN_TRIES_SECS)
            else:
                return

    def _warn(self) -> None:
        told = self._opened.warnings
        for words in told[self._warned :]:
            warnings.warn(words, SopwithWarning, stacklevel=5)
        self._warned = len(told)


def _in_a_loop(make: Callable[[], Any]) -> None:
    """Runs the coroutine to its end; where this thread has an event loop already (a notebook), in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(make())
        return
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(make())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="sopwith")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


# what a type needs to be read is made here and now: where threads meet one for the first time the JSON library crashes
_READERS = [msgspec.json.Decoder(kind) for kind in (Run, Decision, RunList, AuditLog, Procedure)]


def _as(kind: type[_R], document: Document) -> _R:
    return msgspec.convert(msgspec.to_builtins(document), kind)


def _step(step: StepId | None) -> StepId | None:
    """3, "3" and "3:eu". Raises BadRequest."""
    if step is None or (isinstance(step, int) and not isinstance(step, bool)):
        return step
    found = read_step_id(step) if isinstance(step, str) else None
    if found is None:
        raise BadRequest(f"{step!r} is not a step", hint='write 3, or "3:eu" for one of its instances')
    return found


def _chosen(kind: type[_E], value: str, what: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise BadRequest(f"{value!r} is no {what}", hint=f"one of: {', '.join(kind)}") from None
