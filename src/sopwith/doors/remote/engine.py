"""The engine's methods as a server carries them out. Who calls is known by the token; the `actor` is for show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from sopwith.clock import SystemClock
from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.codec import decode_event
from sopwith.core.events import StepStarted
from sopwith.core.run import Run
from sopwith.doors.remote.client import Client, Document, in_path
from sopwith.doors.remote.store import RemoteStore
from sopwith.engine.auditing import Auditing
from sopwith.engine.documents import addressed
from sopwith.engine.engine import Answered, Engine, RunRequest
from sopwith.engine.evidence import File, check_number, check_size
from sopwith.engine.parts import Parts
from sopwith.ports import Clock


class RemoteParts(msgspec.Struct, frozen=True, kw_only=True):
    """What is there of the parts where a server has the rest."""

    client: Client
    store: RemoteStore
    clock: Clock
    auditing: Auditing


class RemoteEngine(Engine):
    """Each method is one call of the route that has its name."""

    def __init__(self, client: Client) -> None:
        self._client = client
        parts = RemoteParts(client=client, store=RemoteStore(client), clock=SystemClock(), auditing=Auditing())
        super().__init__(cast(Parts, parts))
        self.decided: dict[str, int] = {}
        """The revision that the last call led a run to, by the run's id."""

    def create_run(self, request: RunRequest, *, actor: Actor) -> Run:
        body: Document = {"sopName": request.name, "params": dict(request.params), "queue": request.queue}
        if request.mode is not None:
            body["executionMode"] = request.mode
        return self._now(self._client.post(in_path("runs"), body))

    def approve(
        self,
        run_id: str,
        *,
        actor: Actor,
        step: StepId | None = None,
        digest: str | None = None,
        comment: str = "",
        form: Mapping[str, Any] | None = None,
    ) -> Answered:
        return self._decide("approve", run_id, step, digest, comment=comment, form=dict(form or {}))

    def reject(
        self, run_id: str, *, actor: Actor, reason: str, step: StepId | None = None, digest: str | None = None
    ) -> Answered:
        return self._decide("reject", run_id, step, digest, reason=reason)

    def why_not(self, run: Run, step: StepId | None, *, actor: Actor) -> str:
        for gate in self._client.get(in_path("runs", run.run_id, "gates"))["gates"]:
            if {key: gate.get(key) for key in ("stepNumber", "instance")} == {"instance": None, **addressed(step)}:
                return str(gate["whyNot"])
        return ""

    def leave(self, run: Run) -> None:
        # the server heard of it from itself
        pass

    def pause(self, run_id: str, *, actor: Actor, reason: str = "", stop: bool = False) -> Run:
        return self._steer("pause", run_id, reason=reason, now=stop)

    def resume(self, run_id: str, *, actor: Actor) -> Run:
        return self._steer("resume", run_id)

    def cancel(self, run_id: str, *, actor: Actor, reason: str = "") -> Run:
        return self._steer("cancel", run_id, reason=reason)

    def retry(
        self,
        run_id: str,
        *,
        actor: Actor,
        from_step: StepId | None = None,
        reason: str = "",
        params: Mapping[str, Any] | None = None,
    ) -> Run:
        return self._steer("retry", run_id, fromStep=from_step, reason=reason, params=dict(params or {}))

    def rollback(self, run_id: str, *, actor: Actor, reason: str = "") -> Run:
        return self._steer("rollback", run_id, reason=reason)

    def skip(self, run_id: str, *, actor: Actor, reason: str, step: StepId | None = None) -> Run:
        return self._steer("skip", run_id, reason=reason, **_at(step))

    def complete(
        self,
        run_id: str,
        *,
        actor: Actor,
        step: StepId | None = None,
        comment: str = "",
        output: str = "",
        evidence: tuple[File, ...] = (),
    ) -> Run:
        sent = self._sent(run_id, evidence)
        return self._steer("complete", run_id, comment=comment, output=output, evidence=sent, **_at(step))

    def fail(
        self,
        run_id: str,
        *,
        actor: Actor,
        reason: str,
        step: StepId | None = None,
        output: str = "",
        evidence: tuple[File, ...] = (),
    ) -> Run:
        sent = self._sent(run_id, evidence)
        return self._steer("fail", run_id, reason=reason, output=output, evidence=sent, **_at(step))

    def block(
        self,
        run_id: str,
        *,
        actor: Actor,
        reason: str,
        step: StepId | None = None,
        output: str = "",
        evidence: tuple[File, ...] = (),
    ) -> Run:
        sent = self._sent(run_id, evidence)
        return self._steer("block", run_id, reason=reason, output=output, evidence=sent, **_at(step))

    def _decide(self, verb: str, run_id: str, step: StepId | None, digest: str | None, **body: Any) -> Answered:
        # without an aim it is about what is asked now, and about nothing that is asked later
        revision = self.runs.load(run_id).run.seq if step is None and digest is None else None
        told = self._client.post(
            in_path("runs", run_id, verb), _said(body | _at(step) | {"digest": digest}), revision=revision
        )
        answered = told["stepNumber"] if not told.get("instance") else f"{told['stepNumber']}:{told['instance']}"
        return Answered(run=self._now(told), step=answered)

    def _steer(self, verb: str, run_id: str, **body: Any) -> Run:
        return self._now(self._client.post(in_path("runs", run_id, verb), _said(body)))

    def _sent(self, run_id: str, files: tuple[File, ...]) -> list[Document]:
        """Sends each file; what the report says of them."""
        sent = [each for each in files if isinstance(each, Path)]
        # all of them are looked at before the first is sent
        check_number(sent)
        for path in sent:
            check_size(path)
        digests = [self._client.send(in_path("runs", run_id, "evidence"), path)["sha256"] for path in sent]
        return [{"name": path.name, "sha256": digest} for path, digest in zip(sent, digests, strict=True)]

    def _now(self, told: Document) -> Run:
        after = told.get("run") or told
        if "decidedRevision" in after:
            self.decided[told["runId"]] = int(after["decidedRevision"])
        return self.runs.load(told["runId"]).run

    def started_since(self, run_id: str) -> frozenset[StepId]:
        """The steps that were started after what the last call led to: what they print was shown to nobody yet."""
        if run_id not in self.decided:
            return frozenset()
        bodies = (decode_event(each.payload).body for each in self.parts.store.events(run_id, self.decided[run_id]))
        return frozenset(body.step_number for body in bodies if isinstance(body, StepStarted))


def _at(step: StepId | None) -> Document:
    return {} if step is None else addressed(step)


def _said(body: Mapping[str, Any]) -> Document:
    """Without what was not said."""
    return {key: value for key, value in body.items() if value not in (None, "", {}, [], False)}
