"""What can be asked of a server: its documents as they are, and the rest from the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sopwith.core.actor import Actor
from sopwith.core.address import StepId, address_in, number_of
from sopwith.core.run import RunStatus
from sopwith.doors.cli.logs import Piece
from sopwith.doors.remote.client import Client, Document, in_path
from sopwith.doors.remote.engine import RemoteEngine
from sopwith.engine.reading import Reader
from sopwith.errors import BadRequest

_PAGE = 200


class RemoteReader(Reader):
    """A Reader whose answers come from a server, which knows who asks."""

    def __init__(self, engine: RemoteEngine, client: Client) -> None:
        super().__init__(engine)
        self._client = client

    def check(self, run_id: str) -> None:
        # the server checks; what it does not show is not found
        pass

    def status(self, run_id: str) -> Document:
        return self._client.get(in_path("runs", run_id))

    def step(self, run_id: str, number: StepId) -> Document:
        return dict(self._client.get(in_path("runs", run_id, "steps", number))["step"])

    def history(
        self,
        *,
        name: str | None = None,
        statuses: tuple[RunStatus, ...] = (),
        limit: int | None = None,
        before: str | None = None,
    ) -> Document:
        found: list[Document] = []
        wanted = _PAGE if limit is None else limit
        cursor = None
        while True:
            page = self._client.get(
                in_path("runs"),
                sopName=name,
                status=[status.value for status in statuses],
                limit=min(_PAGE, wanted - len(found)),
                cursor=cursor,
            )
            found += page["runs"]
            cursor = page["nextCursor"]
            if cursor is None or len(found) >= wanted:
                return {"runs": found, "total": page["total"]}

    def inbox(
        self, actor: Actor | None = None, *, limit: int | None = None, after: str | None = None, mine: bool = False
    ) -> Document:
        """As the engine's; `after` and `nextAfter` are words of the server."""
        items: list[Document] = []
        first = after
        while True:
            asked = _PAGE if limit is None else min(_PAGE, limit - len(items))
            page = self._client.get(in_path("inbox"), mine=mine or None, limit=asked, cursor=after)
            items += page["items"]
            after = page["nextCursor"]
            if after is None or (limit is not None and len(items) >= limit):
                total = len(items) if after is None and first is None else page["total"]
                return {"items": items, "total": total, "nextAfter": after}

    def audit(self, run_id: str) -> Document:
        whole: Document = {}
        cursor = None
        while True:
            page = self._client.get(in_path("runs", run_id, "audit"), limit=_PAGE, cursor=cursor)
            cursor = page.pop("nextCursor")
            whole = page if not whole else {**whole, "events": [*whole["events"], *page["events"]]}
            if cursor is None:
                return whole

    def log_files(self, run_id: str, step: StepId | None) -> tuple[tuple[StepId, Path], ...]:
        raise BadRequest("the logs lie with the server", hint="sop logs RUN shows them")

    def verify(self, run_id: str) -> Document:
        """What the server finds out about its record of the run."""
        return self._client.get(in_path("runs", run_id, "verification"))


class RemoteLogs:
    """Remembers how far each step's output was read: a `LogReader`, from afar."""

    def __init__(self, client: Client, run_id: str, step: StepId | None) -> None:
        self._client = client
        self._run_id = run_id
        self._step = step
        self._read: dict[_Try, int] = {}

    def more(self) -> Iterator[tuple[StepId, bytes]]:
        """Step number and what was added since the last call."""
        for which, size in self._sizes().items():
            read = self._read.get(which, 0)
            if size > read:
                chunk = self._client.data(in_path("runs", self._run_id, "steps", which.step, "output"), first=read)
                self._read[which] = read + len(chunk)
                yield which.step, chunk

    def pieces(self) -> Iterator[Piece]:
        """The same. What verified a step is not told from afar."""
        for step, chunk in self.more():
            yield Piece(step, False, chunk)

    def skip_ended(self) -> None:
        """Counts what is there as read."""
        self._read = self._sizes()

    def lengths(self) -> dict[StepId, int]:
        """How much of the latest attempt of each step was read, in bytes."""
        return {which.step: size for which, size in self._read.items()}

    def documents(self) -> list[Document]:
        """Which logs there are, and how long they are."""
        return list(self._client.get(in_path("runs", self._run_id, "logs"))["logs"])

    def _sizes(self) -> dict[_Try, int]:
        status = self._client.get(in_path("runs", self._run_id))
        tries = {_step(each): each["attempt"] for each in status["stepResults"]}
        logs = {_step(each): each["sizeBytes"] for each in self.documents() if not each["verification"]}
        wanted = {step: size for step, size in logs.items() if self._step in (None, step, number_of(step))}
        return {_Try(step, tries.get(step)): size for step, size in wanted.items()}


class _Try(NamedTuple):
    step: StepId
    attempt: int | None


def _step(document: Document) -> StepId:
    step = address_in(document)
    assert step is not None
    return step
