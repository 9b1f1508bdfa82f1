"""Pinned files: the bytes beside a script that an approval covers, as SHA-256."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sopwith.core.procedure import Procedure, Step
from sopwith.engine.environment import working_dir
from sopwith.engine.files import open_regular
from sopwith.engine.secrets import Lacking


class MissingPins(Lacking):
    """Pinned files that are not there, or that cannot be read."""

    def __init__(self, names: Iterable[str]) -> None:
        listed = ", ".join(names)
        super().__init__(f"the pinned file {listed}, and there is no such file that can be read")


def pinned_now(root: Path, procedure: Procedure, step: Step) -> dict[str, str]:
    """Name -> SHA-256 of each of the step's pins. Raises MissingPins."""
    found = _digests(root, procedure, step)
    missing = [name for name, digest in found.items() if not digest]
    if missing:
        raise MissingPins(missing)
    return found


def pinned_at_creation(root: Path, procedure: Procedure) -> dict[str, dict[str, str]]:
    """The pins of all steps, by step number as text; empty for a file that an earlier step may still make."""
    return {str(step.number): _digests(root, procedure, step) for step in procedure.steps if step.pins}


def _digests(root: Path, procedure: Procedure, step: Step) -> dict[str, str]:
    if not step.pins:
        return {}
    folder = working_dir(root, procedure, step)
    return {name: _digest(folder / name) for name in step.pins}


def _digest(path: Path) -> str:
    """SHA-256 in hex; nothing for what is no regular file or cannot be read. No pipe is ever waited for."""
    try:
        descriptor = open_regular(path)
    except (OSError, ValueError):
        return ""
    if descriptor is None:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        try:
            import hashlib  # OpenSSL: most procedures pin nothing

            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""
