"""The SDK's server with our tools and resources. It only carries: what is done and said is `doors/agent`'s."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from sopwith.doors.agent.desk import Answer, Desk
from sopwith.doors.agent.frames import ABOUT
from sopwith.doors.agent.tools import TOOLS, Tool
from sopwith.version import __version__

INSTRUCTIONS = (
    "Standard Operating Procedures that people wrote and approve. Find one with sop_list, start it with sop_execute, "
    "and follow waitingOn and next in every answer. `task` is the step that is yours to carry out; report it with "
    "sop_complete_step. Gates are for people unless sop_approve stands in next: tell the person the sentence under "
    f"tellHuman, word for word, and wait with sop_status. {ABOUT}"
)
_PROCEDURES, _RUNS = "sop://procedures", "sop://runs"
_JSON = "application/json"


def make_server(desk: Desk) -> Server[Any]:
    """A server that may carry any number of connections; all of them are the one agent of `desk`."""

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_tool(tool) for tool in TOOLS])

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        async def progress(done: float, total: int, words: str) -> None:
            await context.session.report_progress(done, total, words)

        answer = await desk.call(params.name, params.arguments or {}, progress=progress)
        return _result(answer)

    async def list_resources(_context: Any, _params: Any) -> types.ListResourcesResult:
        procedures = (await desk.call("sop_list", {})).document.get("procedures", [])
        runs = (await desk.call("sop_list_runs", {})).document.get("runs", [])
        listed = [_resource(f"{_PROCEDURES}/{quote(each['name'])}", each["name"]) for each in procedures]
        listed += [_resource(f"{_RUNS}/{each['runId']}", f"{each['sopName']} {each['runId']}") for each in runs]
        return types.ListResourcesResult(resources=listed)

    async def list_templates(_context: Any, _params: Any) -> types.ListResourceTemplatesResult:
        templates = [
            types.ResourceTemplate(uri_template=f"{_PROCEDURES}/{{sopName}}", name="procedure", mime_type=_JSON),
            types.ResourceTemplate(uri_template=f"{_RUNS}/{{runId}}", name="run", mime_type=_JSON),
        ]
        return types.ListResourceTemplatesResult(resource_templates=templates)

    async def read_resource(_context: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        folder, _slash, name = uri.rpartition("/")
        calls = {_PROCEDURES: ("sop_describe", "sopName"), _RUNS: ("sop_status", "runId")}
        if folder not in calls:
            raise MCPError(types.INVALID_PARAMS, f"no resource is called {uri[:200]!r}")
        tool, argument = calls[folder]
        answer = await desk.call(tool, {argument: unquote(name)})
        if answer.is_error:
            raise MCPError(types.INVALID_PARAMS, answer.text.splitlines()[0])
        content = types.TextResourceContents(uri=uri, mime_type=_JSON, text=json.dumps(answer.document))
        return types.ReadResourceResult(contents=[content])

    return Server(
        "sopwith",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


def _tool(tool: Tool) -> types.Tool:
    hints = types.ToolAnnotations(read_only_hint=not tool.writes, destructive_hint=tool.destroys)
    return types.Tool(name=tool.name, description=tool.about, input_schema=tool.schema, annotations=hints)


def _resource(uri: str, name: str) -> types.Resource:
    return types.Resource(uri=uri, name=name, mime_type=_JSON)


def _result(answer: Answer) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=answer.text)],
        structured_content=answer.document,
        is_error=answer.is_error,
    )
