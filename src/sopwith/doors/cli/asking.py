"""How a person at the terminal is asked and answers. Enter alone decides nothing; an answer elsewhere ends a question.

What was typed before a question stood on the screen is thrown away: nobody answers what they have not seen.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum

import click

from sopwith.core.actor import Actor
from sopwith.core.run import Run
from sopwith.doors.cli import terminal, text
from sopwith.engine.engine import Engine
from sopwith.errors import SopwithError

_LOOK_SECS = 0.2
_MAX_LINE_BYTES = 64 * 1024


class Outcome(Enum):
    """What came of asking one question."""

    SETTLED = "settled"
    DETACHED = "detached"
    ASK_AGAIN = "ask again"


Question = Callable[[], Awaitable[Outcome]]


class Changed(Exception):
    """Somebody else answered, or a deadline came, while the question stood."""


class EndOfInput(Exception):
    """Ctrl-D, or the terminal has gone."""


class Asking:
    """Who is asked about which run, and how an answer is read and passed on."""

    def __init__(self, engine: Engine, actor: Actor, run: Run, changed: Callable[[], bool]) -> None:
        self.engine = engine
        self.actor = actor
        self.run = run
        self._changed = changed

    async def line(self, prompt: str) -> str:
        """One line from the terminal, stripped. Raises Changed or EndOfInput."""
        terminal.echo(prompt, newline=False)
        sys.stdout.flush()
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        descriptor = sys.stdin.fileno()
        loop.add_reader(descriptor, readable.set)
        try:
            while not readable.is_set():
                if self._changed():
                    raise Changed
                with suppress(TimeoutError):
                    await asyncio.wait_for(readable.wait(), _LOOK_SECS)
        finally:
            loop.remove_reader(descriptor)
        try:
            data = os.read(descriptor, _MAX_LINE_BYTES)
        except OSError:
            data = b""
        if not data:
            raise EndOfInput
        return data.decode("utf-8", "replace").strip()

    async def choice(self, *words: str) -> str:
        """One of the words, by its first letter or whole; anything else is asked again, an empty line too."""
        keys = "  ".join(f"[{click.style(word[0], bold=True)}]{word[1:]}" for word in words)
        while True:
            answer = (await self.line(f"  {keys} > ")).lower()
            for word in words:
                if answer in (word, word[0]):
                    return word
            letters = ", ".join(word[0] for word in words[:-1])
            terminal.echo(text.dim(f"  nothing is decided: type {letters} or {words[-1][0]}"))

    def tried(self, action: Callable[[], object]) -> Outcome:
        """SETTLED if it worked; a refusal is shown and the question stays."""
        try:
            action()
        except SopwithError as error:
            terminal.echo(text.error_text(error), err=True)
            return Outcome.ASK_AGAIN
        return Outcome.SETTLED


def forget_typed_ahead() -> None:
    """Throws away what was typed and not read."""
    import termios

    with suppress(OSError, termios.error):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
