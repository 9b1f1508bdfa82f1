"""manifest.json -> a sheet."""

from __future__ import annotations

from sopwith.core.procedure import Script
from sopwith.parse.findings import Findings
from sopwith.parse.model import ManifestFile, RollbackFile, StepFile
from sopwith.parse.shape import read_shape
from sopwith.parse.sheet import Sheet
from sopwith.parse.source import SourceFile, read_text
from sopwith.parse.strict_json import read_json


def read_manifest(source: SourceFile, findings: Findings) -> Sheet | None:
    """What the manifest says; None, and errors in `findings`, if it cannot be read."""
    text = read_text(source, findings)
    if text is None:
        return None
    document = read_json(source.path, text, findings)
    if document is None:
        return None
    manifest = read_shape(document.value, ManifestFile, document, findings)
    if manifest is None:
        return None
    steps = manifest.steps or ()
    return Sheet(
        said=manifest,
        places=document,
        scripts=tuple(bash_script(step.run) for step in steps),
        rollbacks=tuple(bash_script(rollback_text(step)) for step in steps),
        verifications=tuple(bash_script(step.verify) for step in steps),
    )


def rollback_text(step: StepFile) -> str | None:
    """The rollback script as the manifest writes it, in either form."""
    return step.rollback.run if isinstance(step.rollback, RollbackFile) else step.rollback


def bash_script(stated: str | None) -> Script | None:
    """A script as a file states it, with the line ends that bash reads; None where it states none."""
    if stated is None:
        return None
    text = stated.replace("\r\n", "\n").replace("\r", "\n")
    return Script(interpreter="bash", text=text if text.endswith("\n") else text + "\n")
