"""manifest.json -> a sheet."""

from __future__ import annotations

from sopwith.core.procedure import Script
from sopwith.parse.findings import Findings
from sopwith.parse.model import ManifestFile, StepFile
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
    return Sheet(said=manifest, places=document, scripts=tuple(_script(step) for step in manifest.steps or ()))


def _script(step: StepFile) -> Script | None:
    if step.run is None:
        return None
    text = step.run.replace("\r\n", "\n").replace("\r", "\n")
    return Script(interpreter="bash", text=text if text.endswith("\n") else text + "\n")
