"""What can be asked of a server: its documents as they are, and the rest from the record."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sopwith.core.actor import Actor
from sopwith.core.address import StepId, address_in, number_of
from sopwith.core.run import RunStatus
from sopwith.doors.cli.logs import Piece
from sopwith.doors.remote.client import Client, Document, in_path
from sopwith.doors.remote.engine import RemoteEngine
from sopwith.doors.web import cursors
from sopwith.engine.reading import Reader
from sopwith.engine.records import RUN_ID
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
        """As the engine's; `after` is a run, or a word of the server, as `nextAfter` is."""
        if after is not None and re.fullmatch(RUN_ID, after):
            after = cursors.cursor(after)
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


class RemoteLogs:
    """Remembers how far each step's output was read: a `LogReader`, from afar."""

    def __init__(self, client: Client, run_id: str, step: StepId | None) -> None:
        self._client = client
        self._run_id = run_id
        self._step = step
        self._read: dict[_Try, int] = {}

    def more(self) -> Iterator[tuple[StepId, bytes]]:
        """Step number and what was added since the last call."""
        for piece in self._added(self._sizes()):
            yield piece.step, piece.data

    def pieces(self) -> Iterator[Piece]:
        """The same, and after each step's own what its verifications printed."""
        yield from self._added(self._sizes(verifications=True))

    def skip_ended(self, but: Container[StepId] = ()) -> None:
        """Counts what is there as read, `but` that of these steps."""
        self._read = {which: size for which, size in self._sizes().items() if which.step not in but}

    def lengths(self) -> dict[StepId, int]:
        """How much of the latest attempt of each step was read, in bytes."""
        return {which.step: size for which, size in self._read.items() if not which.verification}

    def documents(self) -> list[Document]:
        """Which logs there are, and how long they are."""
        return list(self._client.get(in_path("runs", self._run_id, "logs"))["logs"])

    def _added(self, sizes: Mapping[_Try, int]) -> Iterator[Piece]:
        for which, size in sizes.items():
            read = self._read.get(which, 0)
            if size > read:
                path = in_path("runs", self._run_id, "steps", which.step, "output")
                chunk = self._client.data(path, first=read, verification=which.verification or None)
                self._read[which] = read + len(chunk)
                yield Piece(which.step, which.verification > 0, chunk)

    def _sizes(self, *, verifications: bool = False) -> dict[_Try, int]:
        status = self._client.get(in_path("runs", self._run_id))
        tries = {_step(each): each["attempt"] for each in status["stepResults"]}
        found: dict[_Try, int] = {}
        number = 0
        for each in self.documents():
            step = _step(each)
            number = number + 1 if each["verification"] else 0
            if (verifications or not number) and self._step in (None, step, number_of(step)):
                found[_Try(step, tries.get(step), number)] = each["sizeBytes"]
        return found


class _Try(NamedTuple):
    step: StepId
    attempt: int | None
    verification: int
    """Which of its verifications; 0: the attempt itself."""


def _step(document: Document) -> StepId:
    step = address_in(document)
    assert step is not None
    return step
