"""A server's procedures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sopwith.core.actor import Actor
from sopwith.core.procedure import ExecutionMode
from sopwith.doors.remote.client import Client, Document, in_path


class RemoteCatalog:
    """The same questions as `engine.catalog.Catalog` takes, asked of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def listed(self) -> Document:
        return self._client.get(in_path("procedures"))

    def shown(self, name: str) -> Document:
        return self._client.get(in_path("procedures", name))

    def validated(self, name: str | None = None) -> Document:
        """Of all: one call for each that the caller may know of."""
        if name is not None:
            return self._client.get(in_path("procedures", name, "validation"))
        names = [str(sop["name"]) for sop in self.listed()["sops"]]
        found = [self.validated(each) for each in names]
        problems: list[Document] = []
        for each in found:
            problems += [problem for problem in each["problems"] if problem not in problems]
        errors = sum(problem["severity"] == "error" for problem in problems)
        return {
            "valid": errors == 0,
            "checked": names,
            "errors": errors,
            "warnings": len(problems) - errors,
            "problems": problems,
        }

    def planned(self, name: str, *, params: Mapping[str, Any], mode: ExecutionMode | None, actor: Actor) -> Document:
        body: Document = {"params": dict(params)} | ({} if mode is None else {"executionMode": mode})
        return self._client.post(in_path("procedures", name, "plan"), body, keyed=False)

    def created(self, name: str) -> Document:
        return self._client.post(in_path("procedures"), {"name": name}, keyed=False)

    def rehearsed(self, name: str, scenarios: Sequence[tuple[str, str]]) -> Document:
        """`scenarios`: names and texts; none: those beside the procedure."""
        given = [{"name": each, "text": text} for each, text in scenarios]
        body: Document = {"scenarios": given} if given else {}
        return self._client.post(in_path("procedures", name, "rehearsal"), body, keyed=False)

    def drawn(self, name: str, form: str) -> str:
        """The graph, as text, Mermaid or SVG."""
        return str(self._client.get(in_path("procedures", name, "graph"), format=form)["graph"])
