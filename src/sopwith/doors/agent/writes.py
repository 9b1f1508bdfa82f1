"""The tools that change something: each is one engine method. Plain and synchronous; no rule is written here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from sopwith.core.actor import Actor
from sopwith.core.due import is_left, waits_by_itself
from sopwith.core.procedure import ExecutionMode, check_name
from sopwith.core.request import request_of
from sopwith.doors.agent.arguments import Arguments, run_id_in, step_in
from sopwith.doors.agent.tools import BLOCKED, DONE, Tool
from sopwith.doors.opened import Opened
from sopwith.engine.claiming import is_driven
from sopwith.engine.documents import Document, answer_document
from sopwith.engine.engine import Answered, Call, Engine, RunRequest
from sopwith.errors import BadRequest
from sopwith.ports import Workspace

_COMING_UP_MS = 2_000
_NOT_ASKED = frozenset({"idempotencyKey", "expectedRevision", "waitMs"})
_DECIDED = ("stepNumber", "instance", "status", "votes", "needed", "action")


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A write that was carried out: on which run, what it answers besides, and what is checked after the wait."""

    run_id: str
    told: Document = msgspec.field(default_factory=dict)
    replayed: bool = False
    approved_at: int | None = None
    """The revision after an approval, which may still turn out stale."""
    reported_at: int | None = None
    """The revision after a report, which may not be believed in the end."""


class Writes:
    """What one agent changes in one workspace. `carry_on` gives a run a driver that outlives this process."""

    def __init__(self, opened: Opened, actor: Actor, carry_on: Callable[[Workspace, str], None]) -> None:
        self._opened = opened
        self._actor = actor
        self._carry_on = carry_on
        self._started: dict[str, int] = {}
        """When a driver was last started for a run, by the boot clock."""
        self._by_tool: dict[str, Callable[[Engine, Arguments], Written]] = {
            "sop_execute": self._execute,
            "sop_approve": self._approve,
            "sop_reject": self._reject,
            "sop_complete_step": self._complete_step,
            "sop_cancel": self._cancel,
            "sop_retry": self._retry,
        }

    def write(self, tool: Tool, arguments: Arguments) -> Written:
        """The write and what keeps it going, in one: it is done to its end even if nobody waits for it any more."""
        call = Call(expected_seq=arguments.get("expectedRevision"))
        if key := arguments.get("idempotencyKey"):
            asked = {name: value for name, value in arguments.items() if name not in _NOT_ASKED}
            call = msgspec.structs.replace(call, request=request_of(self._actor, key, {"tool": tool.name, **asked}))
        engine = self._opened.engine.for_call(call)
        written = self._by_tool[tool.name](engine, arguments)
        self.keep_going(written.run_id, again=engine.replayed)
        return msgspec.structs.replace(written, replayed=engine.replayed)

    def keep_going(self, run_id: str, *, again: bool = False) -> None:
        """Starts a driver that outlives this process where the run has something to do that nobody does.

        `again`: nothing new was asked, so one that was started for it just now is given time to come up.
        """
        parts = self._opened.engine.parts
        now = parts.clock.now()
        is_coming = again and now.boot_ms - self._started.get(run_id, -_COMING_UP_MS) < _COMING_UP_MS
        if is_coming or is_driven(parts, run_id):
            return
        run = self._opened.engine.runs.load(run_id).run
        if is_left(run, now.at) or waits_by_itself(run):
            self._started[run_id] = now.boot_ms
            self._carry_on(self._opened.workspace, run_id)

    def _execute(self, engine: Engine, given: Arguments) -> Written:
        check_name(given["sopName"])
        mode = ExecutionMode(given["executionMode"]) if "executionMode" in given else None
        request = RunRequest(name=given["sopName"], params=given.get("params", {}), mode=mode)
        return Written(run_id=engine.create_run(request, actor=self._actor).run_id)

    def _approve(self, engine: Engine, given: Arguments) -> Written:
        run_id = run_id_in(self._opened, given)
        answered = engine.approve(
            run_id,
            actor=self._actor,
            step=step_in(given),
            digest=given.get("digest"),
            comment=given.get("comment", ""),
            form=given.get("form", {}),
        )
        return Written(run_id=run_id, told=_decision(answered), approved_at=answered.run.seq)

    def _reject(self, engine: Engine, given: Arguments) -> Written:
        run_id = run_id_in(self._opened, given)
        answered = engine.reject(
            run_id, actor=self._actor, step=step_in(given), digest=given.get("digest"), reason=given["reason"]
        )
        return Written(run_id=run_id, told=_decision(answered))

    def _complete_step(self, engine: Engine, given: Arguments) -> Written:
        run_id, step, output = run_id_in(self._opened, given), step_in(given), given.get("output", "")
        evidence = tuple(self._evidence(name) for name in given.get("evidence", ()))
        outcome = given["outcome"]
        told = {"stepNumber": given["stepNumber"], "outcome": outcome}
        if outcome == DONE:
            run = engine.complete(run_id, actor=self._actor, step=step, output=output, evidence=evidence)
            return Written(run_id=run_id, told=told, reported_at=engine.decided_at(run))
        report = engine.block if outcome == BLOCKED else engine.fail
        report(run_id, actor=self._actor, step=step, reason=output, output=output, evidence=evidence)
        return Written(run_id=run_id, told=told)

    def _cancel(self, engine: Engine, given: Arguments) -> Written:
        run_id = run_id_in(self._opened, given)
        engine.cancel(run_id, actor=self._actor, reason=given.get("reason", ""))
        return Written(run_id=run_id)

    def _retry(self, engine: Engine, given: Arguments) -> Written:
        run_id = run_id_in(self._opened, given)
        engine.retry(run_id, actor=self._actor, from_step=given.get("fromStep"), reason=given.get("reason", ""))
        return Written(run_id=run_id)

    def _evidence(self, name: str) -> Path:
        """A file of the project folder, links followed. An agent is not to have other files copied for it."""
        root = self._opened.workspace.root.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root) or path.is_relative_to(self._opened.workspace.sops.resolve()):
            raise BadRequest(
                f"the evidence {name} is not in the project folder", hint="copy it there first; nothing was reported"
            )
        return path


def _decision(answered: Answered) -> Document:
    document = answer_document(answered)
    is_vote = document["status"] == "vote_recorded"
    return {key: document[key] for key in _DECIDED if key in document and (is_vote or key not in ("votes", "needed"))}
