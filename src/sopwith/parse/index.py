"""index.json, the registry: procedure name -> the path of its manifest.json or SOP.md, inside `.pi/sops`."""

from __future__ import annotations

import re
from typing import Any

from sopwith.core.procedure import NAME_PATTERN
from sopwith.errors import Problem
from sopwith.parse.findings import Findings, shown
from sopwith.parse.source import SourceFile, read_text
from sopwith.parse.strict_json import FLAWED, JsonDocument, read_json

_FILES = ("manifest.json", "SOP.md")


def parse_index(source: SourceFile) -> tuple[dict[str, str] | None, tuple[Problem, ...]]:
    """The registry, None if it has errors; and every problem found. Paths are relative and hold no `..`."""
    findings = Findings()
    text = read_text(source, findings)
    document = read_json(source.path, text, findings) if text is not None else None
    if document is not None:
        _check(document, findings)
    return (None if document is None or findings.has_errors else document.value), findings.sorted()


def _check(document: JsonDocument, findings: Findings) -> None:
    if not isinstance(document.value, dict):
        findings.unexpected(
            "bad_value",
            expected="an object",
            got=shown(document.value),
            at=document.at(()),
            hint='write {"name": "name/manifest.json"}',
        )
        return
    for name, path in document.value.items():
        if not re.fullmatch(NAME_PATTERN, name):
            findings.unexpected(
                "bad_name",
                expected="a procedure's name",
                got=shown(name),
                at=document.at_key((name,)),
                hint="use a-z 0-9 . _ - (64 at most, a-z or 0-9 first)",
            )
        if path is not FLAWED and not _is_inside(path):
            findings.unexpected(
                "bad_path",
                expected=f'a path inside .pi/sops such as "{name[:64]}/manifest.json"',
                got=shown(path),
                at=document.at((name,)),
                hint="write the path of a manifest.json or SOP.md, without `..`",
            )


def _is_inside(path: Any) -> bool:
    if not isinstance(path, str) or "\0" in path or "\\" in path:
        return False
    parts = path.split("/")
    return parts[-1] in _FILES and all(part not in ("", ".", "..") for part in parts)
