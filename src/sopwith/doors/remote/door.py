"""One call of the command against a server: what a verb asks its door for, from there."""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.address import StepId
from sopwith.doors.caller import os_actor
from sopwith.doors.cli.door import Document, Door
from sopwith.doors.remote.client import Client, in_path
from sopwith.errors import BadRequest, NoScenario

if TYPE_CHECKING:
    from pathlib import Path

    from sopwith.doors.remote.catalog import RemoteCatalog
    from sopwith.doors.remote.engine import RemoteEngine
    from sopwith.doors.remote.keeping import RemoteKeeping
    from sopwith.doors.remote.outside import RemoteOutside
    from sopwith.doors.remote.reader import RemoteLogs, RemoteReader
    from sopwith.engine.parts import Parts

TOKEN = "SOPWITH_TOKEN"  # noqa: S105 the name of a variable
FROM_AFAR = frozenset(
    {
        *("list", "show", "validate", "run", "approve", "reject", "status", "history", "inbox", "logs", "audit"),
        *("cancel", "pause", "resume", "retry", "rollback", "skip", "complete", "fail"),
        *("trigger list", "trigger test", "trigger log", "notify list", "notify test"),
        *("create", "test", "audit export", "audit prune", "doctor", "backup"),
        *("token create", "token list", "token revoke", "token log"),
    }
)
"""Verbs that need no file of the workspace."""


class RemoteDoor(Door):
    """A door whose engine and reader are a server's."""

    def __init__(self, server: str, *, verb: str, as_json: bool) -> None:
        """Raises BadRequest where the verb works on files, and for what is no address or token."""
        super().__init__(workspace=None, as_json=as_json)
        if verb not in FROM_AFAR:
            raise BadRequest(
                f"sop {verb} works on the files of a workspace, and {server} has them",
                hint="run it there; without --server and SOPWITH_SERVER it works here",
            )
        self.begins = verb == "run"
        """Whether the verb makes the run, so that nothing of it was shown before."""
        self._caller = os_actor("http")
        self.client = Client(server, os.environ.get(TOKEN), said=_said_by(self._caller))

    @property
    def server(self) -> RemoteDoor:
        return self

    @functools.cached_property
    def catalog(self) -> RemoteCatalog:
        from sopwith.doors.remote.catalog import RemoteCatalog

        return RemoteCatalog(self.client)

    @functools.cached_property
    def keeping(self) -> RemoteKeeping:
        from sopwith.doors.remote.keeping import RemoteKeeping

        return RemoteKeeping(self.client)

    def rehearsed(self, name: str | None, files: tuple[Path, ...]) -> Document:
        """Of all: one call for each procedure that the caller may know of, and that has scenarios."""
        from sopwith.rehearsal.documents import summed_up
        from sopwith.rehearsal.rehearse import given_scenario, no_scenario

        if name is not None:
            given = [given_scenario(path) for path in files]
            return self.catalog.rehearsed(name, [(each.path, each.data.decode("utf-8", "replace")) for each in given])
        found: list[Document] = []
        for sop in self.catalog.listed()["sops"]:
            with suppress(NoScenario):
                found += self.catalog.rehearsed(str(sop["name"]), ())["scenarios"]
        if not found:
            raise no_scenario(None)
        return summed_up(found)

    @functools.cached_property
    def engine(self) -> RemoteEngine:
        from sopwith.doors.remote.engine import RemoteEngine

        return RemoteEngine(self.client)

    @functools.cached_property
    def parts(self) -> Parts:
        return self.engine.parts

    @functools.cached_property
    def reader(self) -> RemoteReader:
        from sopwith.doors.remote.reader import RemoteReader

        return RemoteReader(self.engine, self.client)

    @functools.cached_property
    def outside(self) -> RemoteOutside:
        from sopwith.doors.remote.outside import RemoteOutside

        return RemoteOutside(self.client)

    def logs(self, run_id: str, step: StepId | None) -> RemoteLogs:
        from sopwith.doors.remote.reader import RemoteLogs

        return RemoteLogs(self.client, run_id, step)

    @functools.cached_property
    def actor(self) -> Actor:
        """Whose token it is, for what is shown; the server knows by itself."""
        told = self.client.get(in_path("whoami"))
        kind = self._caller.kind if told["kind"] == "user" else ActorKind.AGENT
        return Actor(str(told["name"]), kind, "http", inside=self._caller.inside)

    @property
    def has_runs(self) -> bool:
        return True

    def check_run(self, run_id: str) -> None:
        from sopwith.engine.records import check_run_id

        check_run_id(run_id)

    @functools.cached_property
    def library(self) -> NoReturn:
        raise BadRequest("the procedures lie with the server", hint="sop show NAME shows one")

    @functools.cached_property
    def workspace(self) -> NoReturn:
        raise BadRequest("the workspace lies with the server", hint="leave --server out to work here")


def _said_by(caller: Actor) -> dict[str, str]:
    """What the server cannot see: that an agent calls, and which run it is a step of. It takes rights away, no more."""
    inside = {} if caller.inside is None else {"sopwith-inside": quote(caller.inside, safe="")}
    return inside if caller.kind is ActorKind.HUMAN else {"sopwith-actor-kind": caller.kind.value, **inside}
