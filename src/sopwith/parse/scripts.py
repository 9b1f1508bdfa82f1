"""What a script says about itself before it runs: prompts pasted along with it, placeholders nobody filled in."""

from __future__ import annotations

import re
from collections.abc import Callable

from sopwith.parse.findings import Findings, Place

_PROMPT = re.compile(r"[ \t]*\$ ")
_PLACEHOLDER = re.compile(r"(?<!<)<[a-z](?:[a-z0-9_ -]{0,60}[a-z0-9_-])?>|\{\{[^{}]{0,200}\}\}")

INTERPRETERS = {"bash": "bash", "shell": "bash", "run": "bash", "sh": "sh", "python": "python3"}
"""The first word after a fence -> what runs its contents. Any other fence is text."""


def check_script(text: str, at: Callable[[int], Place], findings: Findings) -> None:
    """Reports what is wrong with a script; `at` gives the place of its line number (from 0)."""
    if not text.strip():
        findings.warning("empty_script", "expected commands, got an empty script", at=at(0))
    prompted = False
    for number, line in enumerate(text.split("\n")):
        if "$" in line and _PROMPT.match(line) and not prompted:
            prompted = True
            findings.error(
                "prompt_in_script",
                "expected a command, got a `$ ` prompt",
                at=at(number),
                hint="take the prompts out, or call the fence `console` if it shows a session",
            )
        placeholder = _PLACEHOLDER.search(line) if "<" in line or "{{" in line else None
        if placeholder is not None:
            findings.warning(
                "placeholder_in_script",
                f"`{placeholder[0][:60]}` looks like a placeholder that nobody filled in",
                at=at(number),
                hint="use a parameter: SOP_PARAM_<NAME>",
            )
