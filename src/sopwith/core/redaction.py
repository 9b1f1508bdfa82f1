"""What a command says that goes into the record, without secrets: comments, reasons, outputs, errors, warnings.

Texts are masked. An output of a step that holds a secret is dropped, with a warning: half a value is worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from sopwith.core import commands as cmd
from sopwith.core.masking import Mask
from sopwith.core.procedure import canonical

_C = TypeVar("_C", bound=cmd.Command)
_TEXTS = ("comment", "reason", "output", "held")


def texts_of(command: cmd.Command) -> tuple[str, ...]:
    """What somebody typed, or a process printed."""
    texts = [text for name in _TEXTS if isinstance(text := getattr(command, name, None), str)]
    form = command.form.values() if isinstance(command, cmd.Approve) else ()
    return (*texts, *(value for value in form if isinstance(value, str)))


def redacted(command: _C, mask: Mask) -> _C:
    """The command as it may be decided and kept."""
    changed: dict[str, Any] = {}
    for name in _TEXTS:
        if isinstance(text := getattr(command, name, None), str) and (told := mask.text(text)) != text:
            changed[name] = told
    if isinstance(command, cmd.Approve) and command.form:
        changed["form"] = {name: _value(value, mask) for name, value in command.form.items()}
    if isinstance(command, cmd.Complete | cmd.Fail | cmd.Block) and command.evidence:
        changed["evidence"] = tuple(msgspec.structs.replace(e, name=mask.text(e.name)) for e in command.evidence)
    if isinstance(command, cmd.Finish | cmd.EndVerification):
        changed["result"] = redacted_result(command.result, mask)
    return msgspec.structs.replace(command, **changed) if changed else command


def redacted_result(result: cmd.StepResult, mask: Mask) -> cmd.StepResult:
    """The result of a step without the outputs that hold a secret, and with its texts masked."""
    outputs, warnings = without_secrets(result.outputs, mask)
    return msgspec.structs.replace(
        result,
        error=mask.text(result.error),
        output=mask.text(result.output),
        outputs=outputs,
        warnings=tuple(mask.text(warning) for warning in (*result.warnings, *warnings)),
    )


def without_secrets(outputs: Mapping[str, Any], mask: Mask) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The outputs that hold no secret, and a warning for each of the others."""
    kept = {name: value for name, value in outputs.items() if not _holds(name, value, mask)}
    dropped = (name for name in outputs if name not in kept)
    return kept, tuple(f"output {mask.text(name)} was dropped: it holds a secret" for name in dropped)


def _holds(name: str, value: Any, mask: Mask) -> bool:
    text = value if isinstance(value, str) else canonical(value).decode()
    return mask.found_in(text) or mask.found_in(name) or any(mask.found_in(each) for each in _texts_in(value))


def _texts_in(value: Any) -> list[str]:
    """The texts of a JSON value, which its JSON shows escaped."""
    if isinstance(value, dict):
        return [*value, *(text for inner in value.values() for text in _texts_in(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in _texts_in(inner)]
    return [value] if isinstance(value, str) else []


def _value(value: Any, mask: Mask) -> Any:
    return mask.text(value) if isinstance(value, str) else value
