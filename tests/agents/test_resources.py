"""Procedures and runs as resources, by the SDK's own client."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from tests.doors.workshop import Workshop

from .wire import Connect, connect, play, told

__all__ = ["connect"]

MISSING = (
    *(
        "sop://runs/sop_run_aaaaaaaaaaaa",
        "sop://runs/",
        "sop://runs/../x",
        "sop://runs/..%2Fx",
        "sop://runs/sop_run_%00",
    ),
    *("sop://procedures/nothing", "sop://procedures/..%2f..%2fx", "sop://procedures/a/b", "sop://procedures/wrong"),
    *("sop://keys/x", "sop://runs", "sop://procedures/byhand?x=1", "file:///etc/passwd", "https://example.com/", "x"),
)


def test_resources_are_listed_described_and_read(connect: Connect, workshop: Workshop) -> None:
    workshop.steps("byhand", "Walk", "Then secret")
    workshop.procedure("wrong", "# Wrong\n\n## Steps\n\n### Step 1: One\n\n### Step 1: Two\n")

    async def story() -> None:
        async with connect() as client:
            # before anything ran there are procedures only, and looking makes no database
            uris = [str(each.uri) for each in (await client.list_resources()).resources]
            assert uris == ["sop://procedures/byhand", "sop://procedures/wrong"]
            assert not (workshop.sops / "runs.db").exists()
            run = await told(client, "sop_execute", sopName="byhand", waitMs=20_000)
            listed = (await client.list_resources()).resources
            assert {each.mime_type for each in listed} == {"application/json"}
            assert str(listed[-1].uri) == f"sop://runs/{run['runId']}"
            assert listed[-1].name == f"byhand {run['runId']}"
            templates = (await client.list_resource_templates()).resource_templates
            assert [each.uri_template for each in templates] == ["sop://procedures/{sopName}", "sop://runs/{runId}"]
            # what a tool tells, and no more: the task of the run, and no text of a later step
            [content] = (await client.read_resource(f"sop://runs/{run['runId']}")).contents
            document = json.loads(content.text)  # type: ignore[union-attr]
            status = await told(client, "sop_status", runId=run["runId"])
            assert document.keys() == status.keys()
            assert document["task"] == status["task"]
            assert len(document["stepResults"]) == 2

    play(story)


def test_what_is_no_resource_is_an_error_that_ends_nothing(connect: Connect, workshop: Workshop) -> None:
    workshop.steps("byhand", "Walk")
    workshop.procedure("wrong", "# Wrong\n\n## Steps\n\n### Step 1: One\n\n### Step 1: Two\n")

    async def story() -> None:
        async with connect() as client:
            for uri in MISSING:
                with pytest.raises(MCPError) as raised:
                    await client.read_resource(uri)
                assert raised.value.error.code == INVALID_PARAMS, uri
                assert 10 < len(raised.value.error.message) < 600, uri
                assert raised.value.error.message.isprintable(), uri
            [content] = (await client.read_resource("sop://procedures/byhand")).contents
            assert json.loads(content.text)["sopName"] == "byhand"  # type: ignore[union-attr]

    play(story)
