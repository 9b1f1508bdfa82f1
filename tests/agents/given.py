"""An agent at its desk: the tools on real files and a real database, driven in this process unless a test says so."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.doors.workshop import Workshop

from sopwith.doors.agent.caller import agent_actor
from sopwith.doors.agent.desk import Answer, Desk
from sopwith.doors.detached import start_detached
from sopwith.doors.opened import Opened
from sopwith.engine.driver import drive
from sopwith.errors import RunBusy
from sopwith.ports import Workspace

Document = dict[str, Any]


class Agent:
    """`agent:<name>` in a workshop. Each has its own connection to the database, as a server of its own would."""

    def __init__(self, workshop: Workshop, name: str | None = "coder", *, detached: bool = False) -> None:
        self.opened = Opened(str(workshop.root))
        carry_on = start_detached if detached else self._drive
        self.desk = Desk(self.opened, agent_actor(name), carry_on=carry_on)

    def __call__(self, tool: str, **arguments: Any) -> Document:
        """The document of a call that succeeds."""
        answer = self.answer(tool, **arguments)
        assert not answer.is_error, answer.text
        assert answer.document["success"] is True
        return answer.document

    def refused(self, code: str, tool: str, **arguments: Any) -> Document:
        """The document of a call that fails with this code."""
        answer = self.answer(tool, **arguments)
        assert answer.is_error, answer.text
        assert answer.document["success"] is False
        assert answer.document["error"]["code"] == code, answer.text
        assert {"message", "retryable", "remedy"} <= answer.document["error"].keys()
        return answer.document

    def answer(self, tool: str, **arguments: Any) -> Answer:
        return asyncio.run(self.desk.call(tool, arguments))

    def _drive(self, workspace: Workspace, run_id: str) -> None:
        with suppress(RunBusy):
            asyncio.run(drive(self.opened.engine.parts, run_id))

    def close(self) -> None:
        if "engine" in self.opened.__dict__:
            self.opened.engine.parts.store.close()


def gated_by(agent: str, title: str = "Ship", **rules: Any) -> Document:
    """A step of a manifest whose gate names this agent."""
    approval = {"approvers": [f"agent:{agent}"], "onTimeout": "reject", **rules}
    return {"title": title, "requiresApproval": True, "approval": approval}


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0
