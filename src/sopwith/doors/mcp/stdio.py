"""The server for one client that started it: messages come on stdin and go to stdout, until stdin ends."""

from __future__ import annotations

import asyncio
import os
import signal

from mcp.server.stdio import stdio_server

from sopwith.doors.agent.desk import Desk
from sopwith.doors.mcp.server import make_server

_EXIT_CODES = {signal.SIGTERM: 0, signal.SIGINT: 130}


async def serve_stdio(desk: Desk) -> None:
    """Returns when the client has gone. What it started goes on without it."""
    for number, exit_code in _EXIT_CODES.items():
        asyncio.get_running_loop().add_signal_handler(number, _leave, desk, exit_code)
    server = make_server(desk)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def _leave(desk: Desk, exit_code: int) -> None:
    """Ends the process, a write that is under way first. A thread of the SDK sits in stdin, and nothing wakes it."""
    desk.close()
    os._exit(exit_code)
