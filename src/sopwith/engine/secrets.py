"""The values of secrets: read where their references say, right before they are used, and never kept.

What is kept is an HMAC under the workspace's key, by which a later start notices another value.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sopwith.core.confidential import (
    MAX_VALUE_BYTES,
    Reference,
    Source,
    can_be_masked,
    credentials_of,
    has_secrets,
    is_credential,
    references,
    secret_parameters,
)
from sopwith.core.procedure import Procedure, Step
from sopwith.core.run import Run
from sopwith.engine.files import open_regular
from sopwith.engine.parts import Parts

if TYPE_CHECKING:
    from sopwith.core.masking import Mask
    from sopwith.ports import Confidential


_AROUND_WORDS = ".,;:!?()[]{}<>'\"`"


class Lacking(Exception):
    """The world around a step lacks something; the text says what, after "step 3 needs "."""


class MissingSecrets(Lacking):
    """Secrets that cannot be read here: what is said of each names the parameter and its reference."""

    def __init__(self, missing: Mapping[str, str]) -> None:
        noun = "secret" if len(missing) == 1 else "secrets"
        super().__init__(f"the {noun} " + "; ".join(f"{name}, and {why}" for name, why in missing.items()))
        self.names = tuple(missing)


class _Unreadable(Exception):
    """Why the value of a secret is not to be had, in words that hold nothing of it."""


def resolved_secrets(parts: Parts, run: Run) -> dict[str, str]:
    """The values of the run's parameters that are secrets, by name. Raises MissingSecrets with every missing one."""
    values, missing = _read_all(parts, references(run.procedure, run.params))
    if missing:
        raise MissingSecrets(missing)
    return values


def known_secrets(parts: Parts, run: Run) -> dict[str, str]:
    """Those of them that can be read here."""
    return _read_all(parts, references(run.procedure, run.params))[0]


def secrets_at_creation(parts: Parts, procedure: Procedure, params: Mapping[str, Any]) -> dict[str, str]:
    """What these parameters' secrets are now, concealed; without those that cannot be read yet."""
    return concealed_secrets(parts, _read_all(parts, references(procedure, params))[0])


def default_secrets(parts: Parts, procedure: Procedure) -> dict[str, str]:
    """The same of the secrets that a run has which is given none."""
    defaults = {each.name: each.default for each in secret_parameters(procedure) if each.default is not None}
    return secrets_at_creation(parts, procedure, defaults)


def concealed_secrets(parts: Parts, secrets: Mapping[str, str]) -> dict[str, str]:
    """Name -> HMAC under the workspace's key."""
    return {name: parts.keyring.conceal(value) for name, value in secrets.items()}


def confidential(parts: Parts, run: Run, step: Step, secrets: Mapping[str, str]) -> Confidential:
    """What an attempt is given that must not be kept nor shown; beside it what other steps of the run are given."""
    from sopwith.ports import Confidential

    passed = dict.fromkeys(name for name in (*run.procedure.env.pass_, *step.env.pass_) if is_credential(name))
    given = {
        **{f"parameter {each.name}": secrets.get(each.name, "") for each in secret_parameters(run.procedure)},
        **{f"variable {name}": parts.environ.get(name, "") for name in passed},
    }
    if not given:
        return Confidential()
    told = "\0".join(f"{name}={value}" for name, value in sorted(given.items()))
    values = dict.fromkeys((*given.values(), *_credentials(parts, run)))
    return Confidential(values=tuple(value for value in values if value), digest=parts.keyring.conceal(told))


def mask_of(parts: Parts, run: Run, more: Iterable[str] = ()) -> Mask | None:
    """What masks texts that are to be kept with the run, and `more`; None where nothing is to be masked."""
    if not has_secrets(run.procedure, run.agents):
        return None
    # imported only where there are secrets
    from sopwith.core.masking import Mask

    return Mask((*known_secrets(parts, run).values(), *_credentials(parts, run), *more)) or None


def recognised(parts: Parts, run: Run, texts: Iterable[str]) -> tuple[str, ...]:
    """Words of these texts that are secrets of the run, by their HMACs: also where nobody can read the secret here."""
    names = credentials_of(run.procedure, run.agents)
    concealed = {*run.secrets.values(), *(run.passed[name] for name in names if name in run.passed)}
    if not concealed:
        return ()
    words = {word for text in texts for word in _words(text)}
    return tuple(word for word in words if can_be_masked(word) and parts.keyring.conceal(word) in concealed)


def _words(text: str) -> Iterator[str]:
    for part in text.split():
        yield part
        yield part.strip(_AROUND_WORDS)
        yield part.partition("=")[2].strip(_AROUND_WORDS)


def _credentials(parts: Parts, run: Run) -> tuple[str, ...]:
    names = credentials_of(run.procedure, run.agents)
    return tuple(parts.environ[name] for name in names if parts.environ.get(name))


def _read_all(parts: Parts, wanted: Mapping[str, Reference]) -> tuple[dict[str, str], dict[str, str]]:
    """Values by name, and of those that are missing the reason why."""
    values: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name, reference in wanted.items():
        try:
            values[name] = _read(parts, reference)
        except _Unreadable as error:
            missing[name] = str(error)
    return values, missing


def _read(parts: Parts, reference: Reference) -> str:
    if reference.source is Source.VARIABLE:
        if reference.name not in parts.environ:
            raise _Unreadable(f"{reference.name} is not set here")
        value = parts.environ[reference.name]
    else:
        value = _of_file(parts, reference)
    _check(value, reference)
    return value


def _check(value: str, reference: Reference) -> None:
    if not value:
        raise _Unreadable(f"{reference} is empty")
    if "\0" in value:
        raise _Unreadable(f"{reference} holds a NUL character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise _Unreadable(f"{reference} is not UTF-8") from None
    if size > MAX_VALUE_BYTES:
        raise _Unreadable(f"{reference} is larger than {MAX_VALUE_BYTES // 1024} KiB")


def _of_file(parts: Parts, reference: Reference) -> str:
    """The file's text without the line end at its end."""
    path = parts.workspace.root / reference.name
    try:
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(parts.workspace.sops))
        if inside:
            raise _Unreadable(f"{reference} lies in .pi/sops")
        descriptor = open_regular(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no such name is possible"
        raise _Unreadable(f"{reference} cannot be read: {why}") from None
    if descriptor is None:
        raise _Unreadable(f"{reference} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(MAX_VALUE_BYTES + 2)
        except OSError as error:
            raise _Unreadable(f"{reference} cannot be read: {error.strerror}") from None
    return data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
