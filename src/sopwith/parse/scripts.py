"""What a script says about itself before it runs: prompts pasted along with it, placeholders nobody filled in."""

from __future__ import annotations

import re
from collections.abc import Callable

from sopwith.parse.findings import Findings, Place

_PROMPT = re.compile(r"[ \t]*(\$|>>>|\[?[\w.-]{1,64}@[\w.-]{1,64}[: ][^\s$#%]{0,100}[$#%]) ")
_C_SHELL_PROMPT = re.compile(r"[ \t]*(%) ")
_SECOND_PROMPT = re.compile(r"[ \t]*> ")
_PLACEHOLDER = re.compile(r"(?<!<)<[a-z](?:[a-z0-9_ -]{0,60}[a-z0-9_-])?>|\{\{[^{}]{0,200}\}\}")

INTERPRETERS = {"bash": "bash", "shell": "bash", "run": "bash", "sh": "sh", "python": "python3"}
"""The first word after a fence -> what runs its contents. Any other fence is text."""


def check_script(text: str, at: Callable[[int], Place], findings: Findings, *, interpreter: str = "bash") -> None:
    """Reports what is wrong with a script; `at` gives the place of its line number (from 0)."""
    if not text.strip():
        findings.warning("empty_script", "expected commands, got an empty script", at=at(0), hint="write the commands")
    _check_prompts(text, at, findings, is_python=interpreter.startswith("python"))
    for number, line in enumerate(text.split("\n")):
        placeholder = _PLACEHOLDER.search(line) if "<" in line or "{{" in line else None
        if placeholder is not None:
            findings.warning(
                "placeholder_in_script",
                f"`{placeholder[0][:60]}` looks like a placeholder that nobody filled in",
                at=at(number),
                hint="use a parameter: SOP_PARAM_<NAME>",
            )


def _check_prompts(text: str, at: Callable[[int], Place], findings: Findings, *, is_python: bool) -> None:
    """A session pasted whole. In Python a line may well start with `% ` or `> `: it goes on with the one before."""
    before = ""
    warned = False
    for number, line in enumerate(text.split("\n")):
        prompt = _PROMPT.match(line) or (None if is_python else _C_SHELL_PROMPT.match(line))
        if prompt is not None:
            findings.error(
                "prompt_in_script",
                f"expected a command, got a `{prompt[1]} ` prompt",
                at=at(number),
                hint="take the prompts out, or call the fence `console` if it shows a session",
            )
            return
        if not is_python and not warned and not before.endswith("\\") and _SECOND_PROMPT.match(line):
            warned = True
            findings.warning(
                "prompt_in_script",
                "a line that starts with `> ` empties the file that it names",
                at=at(number),
                hint="take it out if it is a prompt or a quotation; if a file is to be emptied, write `: > file`",
            )
        before = line
