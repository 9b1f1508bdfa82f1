"""`sop mcp` from its start to the first answer, against a bare server of the same SDK that has one tool.

`python -m benchmarks.agents`. The extra `mcp` has to be installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.timing import medians
from benchmarks.workspace import make_workspace

_BARE = """
import asyncio, mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

async def list_tools(context, params):
    return types.ListToolsResult(tools=[types.Tool(name="one", input_schema={"type": "object"})])

async def main():
    server = Server("bare", on_list_tools=list_tools)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())

asyncio.run(main())
"""
_CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "0"}}


def measure(folder: Path, *, rounds: int = 15) -> dict[str, Any]:
    """Median milliseconds until `tools/list` and a first call are answered, and the ratio to the bare server."""
    make_workspace(folder, {f"procedure-{number}": ["true"] for number in range(100)})
    ours = [str(Path(sys.executable).with_name("sop")), "mcp"]
    bare = [sys.executable, "-c", _BARE]
    taken = medians(
        {
            "bare server: tools/list": _first_answer(bare, folder, ("tools/list", {})),
            "sop mcp: tools/list": _first_answer(ours, folder, ("tools/list", {})),
            "sop mcp: sop_list (100 procedures)": _first_answer(
                ours, folder, ("tools/call", {"name": "sop_list", "arguments": {}})
            ),
        },
        rounds=rounds,
    )
    floor = taken["bare server: tools/list"]
    return {
        name: {"ms": round(ms, 1), "ratio": round(ms / floor, 2), "beyond_ms": round(ms - floor, 1)}
        for name, ms in taken.items()
    }


def _first_answer(argv: Sequence[str], folder: Path, call: tuple[str, dict[str, Any]]) -> Callable[[], object]:
    """Starts the server, shakes hands, makes one call, and ends it."""
    method, params = call

    def action() -> object:
        with subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            for message in (
                {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": _CLIENT},
                {"jsonrpc": "2.0", "method": "notifications/initialized"},
                {"jsonrpc": "2.0", "id": 2, "method": method, "params": params},
            ):
                server.stdin.write(json.dumps(message).encode() + b"\n")
            server.stdin.flush()
            answers = [json.loads(server.stdout.readline()) for _ in range(2)]
            server.kill()
            assert answers[1]["id"] == 2
            assert "result" in answers[1]
            return answers

    return action


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(json.dumps(measure(Path(made)), indent=2))
