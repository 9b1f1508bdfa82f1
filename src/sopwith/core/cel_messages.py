"""What CEL says is wrong, as a person is told it."""

from __future__ import annotations

import re
from difflib import get_close_matches
from itertools import islice

from sopwith.core.scope import Scope

_STATUS = re.compile(r" \[[A-Z_]+\]$")
UNDECLARED = re.compile(r"undeclared reference to '([^']{1,200})'")
_NO_VALUE = re.compile(r'No value with name "([^"]{1,200})" found')
_NO_KEY = re.compile(r'Key not found in map : "(.{1,200}?)"')
_OVERLOAD = re.compile(r"no matching overload for '([^']{1,60})' applied to '\((.{0,200})\)'")
_NOISE = re.compile(r"^(?:[A-Z_]+: )?(?:ERROR: )?(?:<input>:-?\d+:-?\d+: )?(?:Syntax error: )?")
_SYNTAX = re.compile(
    r"(?:token recognition error at: |mismatched input |extraneous input |no viable alternative at input |missing )"
    r"'(.+?)'(?: expecting .*| at .*)?$"
)
_STEP_NAME = re.compile(r"\bsteps\.([0-9]+|[a-z][a-z0-9_]*-[a-z0-9_-]*)")
_TYPE_NAMES = {"string": "text", "int": "a whole number", "double": "a number", "bool": "true or false"}
_TYPE_NAMES |= {"list": "a list", "map": "a map", "null": "null"}
_IN_WORDS = {
    "int": "a whole number",
    "double": "a number with a decimal point",
    "string": "text",
    "bool": "true or false",
}


def told(message: str) -> str:
    """The first thing that CEL says, without its prefixes, its copy of the source and its carets."""
    text = _STATUS.sub("", _NOISE.sub("", message.partition("\n")[0])).strip()
    if found := _NO_VALUE.search(text):
        return f"{shown_name(found[1])} has no value"
    if found := _NO_KEY.search(text):
        return f"there is no {found[1]}; has() asks whether there is"
    if found := _OVERLOAD.search(text):
        kinds = " and ".join(_IN_WORDS.get(kind, kind) for kind in found[2].split(", "))
        return f"{found[1].strip('_').replace('@', '') or found[1]} cannot be used on {kinds}"
    if "recursion" in text:
        return "it is nested too deeply"
    if found := _SYNTAX.match(text):
        return "it ends too early" if found[1] == "<EOF>" else f"it cannot be read at {found[1][:60]}"
    return text[:200] or "it cannot be evaluated"


def unknown(name: str, scope: Scope) -> str:
    around = name[:100].split(".")
    known = islice((each for each in scope if each.split(".")[: len(around) - 1] == around[:-1]), 50)
    if near := get_close_matches(name[:100], list(known), n=1, cutoff=0.8):
        return f"{shown_name(name)} is unknown, did you mean {shown_name(near[0])}?"
    if around[0] == "steps":
        return f"{shown_name(name)} is unknown: only steps that this one depends on can be named, and what they declare"
    return f"{shown_name(name)} is unknown"


def shown_name(name: str) -> str:
    """A name as an author writes it: `steps['2'].status`."""
    return _STEP_NAME.sub(r"steps['\1']", name)


def type_name(kind: str) -> str:
    root = kind.lower().partition("<")[0]
    return _TYPE_NAMES.get(root, f"of type {kind.lower()}")
