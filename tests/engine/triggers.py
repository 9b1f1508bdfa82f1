"""A workspace whose triggers are at work, on a store in memory and a clock on which nothing waits."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from sopwith.core.run import Run
from sopwith.engine.aside import Inline
from sopwith.engine.engine import Engine
from sopwith.engine.hooks import Answer, Caller, Hook, Refusal
from sopwith.engine.triggering import Triggering
from sopwith.ports import Delivery, FileStamp
from sopwith.triggers.folder import FileFolder

from .bench import ANN, Bench

_T = TypeVar("_T")
SECRET = "a secret of at least 24 bytes"


class Heard:
    """A TriggerWitness that remembers."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.refusals: list[Refusal] = []
        self.troubles: list[str] = []

    def on_delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def on_refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def on_trouble(self, run_id: str | None, error: BaseException) -> None:
        self.troubles.append(str(error))


class NoFolder:
    def scan(self, pattern: str) -> Mapping[str, FileStamp]:
        return {}

    def digest(self, path: str, stamp: FileStamp) -> str | None:
        return None


class Desk:
    """One server: its triggers and what was heard of them. Several of one bench are several servers."""

    def __init__(self, bench: Bench, *, files: bool = False, deliveries: Any = None) -> None:
        self.bench = bench
        self.heard = Heard()
        self.engine: Engine = bench.engine()
        store: Any = self.engine.parts.store
        self.deliveries = deliveries or store.deliveries
        folder = FileFolder(bench.workspace.root) if files else NoFolder()
        self.triggering = Triggering(
            self.engine, self.deliveries, store.log, folder, self.heard, aside=lambda _name: Inline()
        )

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.bench.loop.run_until_complete(work)

    def begin(self) -> Desk:
        self.do(self.triggering.begin())
        return self

    def look(self) -> None:
        """One look at every source, and the clerk until nothing waits."""
        self.do(self._look())

    async def _look(self) -> None:
        await self.triggering.begin()
        self.triggering.touch()
        self.triggering._looked_ms = self.triggering._read_ms = -(2**62)
        while await self.triggering._try(self.triggering._looking, self.triggering._see):
            pass
        await self._carry_out()

    async def _carry_out(self) -> None:
        while await self.triggering._try(self.triggering._working, self.triggering._clerk.carry_on):
            pass
        await asyncio.sleep(0)

    def carry_out(self) -> None:
        self.do(self._carry_out())

    def post(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        if (may_start := options.pop("may_start", None)) is not None:
            options["caller"] = Caller(actor=options.pop("actor", ANN), may_start=may_start)
        hook = Hook(path=path, headers=tuple(given.items()), body=data, query=options.pop("query", ()))

        async def send() -> Answer:
            answering = asyncio.ensure_future(self.triggering.receive(hook, **options))
            for _ in range(20):
                await asyncio.sleep(0)
                if self.triggering._to_do.is_set():
                    self.triggering._to_do.clear()
                    await self._carry_out()
            return await answering

        return self.do(send())

    def github(self, path: str, body: Any, *, delivery: str = "1", secret: str = SECRET, **options: Any) -> Answer:
        data = json.dumps(body).encode()
        signature = f"sha256={hmac.digest(secret.encode(), data, 'sha256').hex()}"
        headers = {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": delivery, **options.pop("headers", {})}
        return self.post(path, data, headers=headers, **options)

    # what can be seen

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Trigger and outcome of every delivery, the oldest first; empty: not carried out."""
        return [(each.trigger, each.outcome) for each in reversed(self.deliveries.newest(2**62, 20_000))]

    @property
    def reasons(self) -> list[str]:
        return [each.reason for each in reversed(self.deliveries.newest(2**62, 20_000))]

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        from sopwith.ports import RunFilter

        found, _ = self.engine.parts.store.summaries(RunFilter())
        return [self.bench.now(summary.run_id) for summary in reversed(found)]


HOOK: dict[str, Any] = {"type": "webhook", "path": "/deploy", "secretEnv": "HOOK", "scheme": "github"}
