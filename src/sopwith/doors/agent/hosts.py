"""The list of tools in the forms that hosts without MCP take."""

from __future__ import annotations

from typing import Any

from sopwith.doors.agent.tools import TOOLS, Tool

FORMATS = ("json", "openai", "anthropic")


def tool_list(form: str) -> list[dict[str, Any]]:
    """`form`: one of FORMATS. `json` is what MCP's `tools/list` has."""
    return [_as(form, tool) for tool in TOOLS]


def _as(form: str, tool: Tool) -> dict[str, Any]:
    match form:
        case "openai":
            # strict schemas have no optional arguments and no objects of any keys: ours could not be said in one
            function = {"name": tool.name, "description": tool.about, "parameters": tool.schema, "strict": False}
            return {"type": "function", "function": function}
        case "anthropic":
            return {"name": tool.name, "description": tool.about, "input_schema": tool.schema}
        case "json":
            return {
                "name": tool.name,
                "description": tool.about,
                "inputSchema": tool.schema,
                "annotations": {"readOnlyHint": not tool.writes, "destructiveHint": tool.destroys},
            }
        case _:
            raise ValueError(form)
