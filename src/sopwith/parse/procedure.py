"""A procedure's files -> the procedure, or every problem found in them. The one way in."""

from __future__ import annotations

import re

from sopwith.core.procedure import NAME_PATTERN, Procedure
from sopwith.parse.cautions import check_cautions
from sopwith.parse.findings import Findings, Place, shown
from sopwith.parse.manifest import read_manifest
from sopwith.parse.merge import merge
from sopwith.parse.parsed import PARSER_VERSION, Parsed, SourceFile
from sopwith.parse.rules import check_sheet
from sopwith.parse.sheet import Sheet

__all__ = ["PARSER_VERSION", "Parsed", "SourceFile", "parse_procedure"]


def parse_procedure(name: str, *, sop_md: SourceFile | None, manifest: SourceFile | None) -> Parsed:
    """The procedure `name` from the contents of its files, of which one may be missing. Never raises."""
    findings = Findings()
    ours = _read_sop_md(sop_md, findings) if sop_md else None
    theirs = read_manifest(manifest, findings) if manifest else None
    sheets = [sheet for sheet in (ours, theirs) if sheet is not None]
    _check_names(name, sop_md or manifest, theirs, findings)
    for sheet in sheets:
        check_sheet(sheet, findings)
    procedure: Procedure | None = None
    if sheets and len(sheets) == sum(source is not None for source in (sop_md, manifest)):
        procedure = merge(name, ours, theirs, findings)
        check_cautions(procedure, sheets, findings)
    return Parsed(procedure=None if findings.has_errors else procedure, problems=findings.sorted())


def _read_sop_md(source: SourceFile, findings: Findings) -> Sheet | None:
    from sopwith.parse.sop_md import read_sop_md

    return read_sop_md(source, findings)


def _check_names(name: str, source: SourceFile | None, manifest: Sheet | None, findings: Findings) -> None:
    if source is None:
        findings.error(
            "no_files",
            "expected SOP.md or manifest.json, got neither",
            at=Place(file=name[:80]),
            hint="write SOP.md; manifest.json is optional",
        )
    elif not re.fullmatch(NAME_PATTERN, name):
        findings.unexpected(
            "bad_name",
            expected="a procedure's name",
            got=shown(name),
            at=Place(file=source.path),
            hint="name the folder with a-z 0-9 . _ - (64 at most, a-z or 0-9 first)",
        )
    if manifest is not None and manifest.said.name not in (None, name):
        findings.unexpected(
            "name_differs",
            expected=f"the folder's name, {shown(name)}",
            got=shown(manifest.said.name),
            at=manifest.at("name"),
            hint='make "name" the folder\'s name, or take it out',
        )
