"""Secrets as a procedure and its record know them: by reference and by name, never by value.

The value of a parameter of type secret is where it is to be found: `env:NAME` or `file:PATH`. Whoever typed something
else may have typed the secret itself, so nothing here ever repeats what it was given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from posixpath import normpath
from typing import Any

import msgspec

from sopwith.core.agents import AgentCommand
from sopwith.core.procedure import Parameter, ParameterType, Procedure

EXPECTED = "a reference to the secret, env:NAME or file:PATH"
MIN_CHARACTERS = 6
"""A shorter value is not masked: it may be part of any word."""
MAX_VALUE_BYTES = 16 * 1024
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
_PATH = r"[^\x00-\x1f\x7f-\x9f]{1,500}"
_RESERVED = ("SOP_", "SOPWITH_")
_NAMED = r"\s*params\.([A-Za-z_][A-Za-z0-9_]*)\s*"
_CREDENTIAL = r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASSCODE|KEY|CREDENTIAL)S?"
_PLACES = ("FILE", "PATH", "DIR")


class Source(StrEnum):
    """Where the value of a secret is."""

    VARIABLE = "env"
    FILE = "file"


class Reference(msgspec.Struct, frozen=True):
    """Where the value of one secret is: a variable of the driver's environment, or a file."""

    source: Source
    name: str

    def __str__(self) -> str:
        return f"{self.source.value}:{self.name}"


def read_reference(text: Any) -> Reference:
    """The reference that the text is. Raises ValueError with what was expected, and never with what was there."""
    source, colon, name = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not colon or source not in tuple(Source):
        raise ValueError(EXPECTED)
    if source == Source.VARIABLE:
        if not re.fullmatch(_VARIABLE, name):
            raise ValueError("env:NAME with the name of a variable")
        if name.upper().startswith(_RESERVED):
            raise ValueError("env:NAME with a name that does not start with SOP_ or SOPWITH_")
        return Reference(Source.VARIABLE, name)
    if not re.fullmatch(_PATH, name) or name != name.strip():
        raise ValueError("file:PATH with a path of at most 500 characters, none of them a control character")
    if _is_own(name):
        raise ValueError("file:PATH with a path outside .pi/sops")
    return Reference(Source.FILE, name)


def _is_own(path: str) -> bool:
    """Whether it is, as it is written, in the folder of the record. Where links lead shows when it is read."""
    return "/.pi/sops/" in f"/{normpath(path)}/"


def secret_parameters(procedure: Procedure) -> tuple[Parameter, ...]:
    """The declared parameters whose values are secrets."""
    return tuple(each for each in procedure.parameters if each.type is ParameterType.SECRET)


def references(procedure: Procedure, params: Mapping[str, Any]) -> dict[str, Reference]:
    """The secrets that these parameters name, by the parameter's name."""
    return {
        each.name: read_reference(params[each.name]) for each in secret_parameters(procedure) if each.name in params
    }


def handed_on(procedure: Procedure, stated: Any) -> str | None:
    """The secret parameter that an entry of `with` hands on as it is: exactly `params.NAME`; None for all else."""
    named = re.fullmatch(_NAMED, stated) if isinstance(stated, str) else None
    if named is None or named[1] not in {each.name for each in secret_parameters(procedure)}:
        return None
    return named[1]


def secret_in(procedure: Procedure, expression: str) -> str | None:
    """A secret parameter that an expression names; None if there is none."""
    for each in secret_parameters(procedure):
        if re.search(rf"\bparams\s*(?:\.\s*{each.name}\b|\[\s*['\"]{each.name}['\"]\s*\])", expression):
            return each.name
    return None


def can_be_masked(value: str) -> bool:
    """Whether it is long enough, without blanks around it, to be told from what is no secret."""
    return len(value.strip()) >= MIN_CHARACTERS


@lru_cache(maxsize=1024)
def is_credential(variable: str) -> bool:
    """Whether the name of a passed variable says that it holds a secret.

    A part of it, between underscores, ends in TOKEN, SECRET, PASSWORD, PASSWD, PASSPHRASE, PASSCODE, KEY or CREDENTIAL,
    in any case, with an S or without; `MYSQL_PWD` too, but not `PWD` alone. What ends in FILE, PATH or DIR names a
    place.
    """
    parts = variable.upper().strip("_").split("_")
    if parts[-1].endswith(_PLACES):
        return False
    return any(_ends_in_word(part) for part in parts) or (len(parts) > 1 and parts[-1] in ("PWD", "PASS"))


def _ends_in_word(part: str) -> bool:
    return any(match.end() == len(part) for match in re.finditer(_CREDENTIAL, part))


def credentials_of(procedure: Procedure, agents: Mapping[str, AgentCommand]) -> tuple[str, ...]:
    """The variables with such a name that any step of the procedure passes on, or any of these agents is given."""
    known, passed = _PASSED[0]
    if known is not procedure:
        rules = (procedure.env, *(step.env for step in procedure.steps))
        passed = tuple(dict.fromkeys(name for each in rules for name in each.pass_))
        _PASSED[0] = (procedure, passed)
    names = dict.fromkeys((*passed, *(name for agent in agents.values() for name in agent.env.pass_)))
    return tuple(name for name in names if is_credential(name))


_PASSED: list[tuple[Procedure | None, tuple[str, ...]]] = [(None, ())]
"""Of which procedure this was asked last, and what it passes on: that cannot change, and each event of a run asks."""


def has_secrets(procedure: Procedure, agents: Mapping[str, AgentCommand]) -> bool:
    """Whether anything that a run of it, with these agents, prints or is told may hold a secret."""
    return bool(secret_parameters(procedure) or credentials_of(procedure, agents))
