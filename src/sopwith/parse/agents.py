"""Steps that a coding agent's command carries out: what the files say of one, and whether it can be meant.

No file of a procedure holds a command: it names an agent, and config.json says what is run under that name.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from sopwith.core.agents import EXECUTOR
from sopwith.core.procedure import Script
from sopwith.core.task import MOST_INSTRUCTIONS
from sopwith.parse.findings import shown
from sopwith.parse.pair import Pair


def implied_executor(pair: Pair) -> str | None:
    """`agent` where the files name one, whatever else they say."""
    return EXECUTOR if any(name is not None for name in pair.both("agent")) else None


def read_agent(pair: Pair) -> str | UnsetType:
    """The agent that the files name."""
    name: str | None = pair.pick("agent")
    return UNSET if name is None else name


def check_agent(pair: Pair, executor: str, *, script: Script | None, body: str) -> None:
    """Reports what an agent could not carry out, and an agent that would carry out nothing."""
    named = implied_executor(pair) is not None
    if executor != EXECUTOR:
        if named:
            pair.findings.error(
                "agent_with_executor",
                f"expected executor agent in a step that names an agent, got {shown(executor)}",
                at=pair.at("agent"),
                hint="take the executor out, or the agent",
            )
        return
    at = pair.at("agent" if named else "executor")
    if script is not None:
        pair.findings.error(
            "agent_with_script",
            "expected no script in a step that an agent carries out, got one",
            at=at,
            hint="fence it as `console` if the agent is to read it, or let another step run it",
        )
    if not body.strip():
        pair.findings.error(
            "agent_without_text",
            "expected a text that says what the agent is to do, got none",
            at=at,
            hint="write it below the step's title, or as the description of a manifest",
        )
    elif len(body) > MOST_INSTRUCTIONS:
        pair.findings.error(
            "agent_text_too_long",
            f"expected a text of {MOST_INSTRUCTIONS} characters at most, got {len(body)}",
            at=at,
            hint="keep it in a file that the text names, and pin that file",
        )
