"""The skill file for agents, and where it is installed."""

from __future__ import annotations

from importlib.resources import files
from itertools import count
from pathlib import Path

import msgspec

from sopwith.errors import BadRequest, WorkspaceError

NAME = "sopwith"
DEFAULT_FOLDER = Path(".claude") / "skills"


def skill_text() -> str:
    """The whole of SKILL.md."""
    return files(__package__).joinpath("SKILL.md").read_text(encoding="utf-8")


class Installed(msgspec.Struct, frozen=True):
    """Where the skill stands, whether it was written now, and where that put what stood there before."""

    path: Path
    is_new: bool = True
    kept: Path | None = None


def install_skill(folder: Path) -> Installed:
    """Writes `folder/sopwith/SKILL.md`. Never over another skill; what somebody may have edited is kept beside it.

    Raises BadRequest or WorkspaceError.
    """
    path = folder / NAME / "SKILL.md"
    text = skill_text().encode()
    try:
        before = path.read_bytes() if path.exists() else None
        if before == text:
            return Installed(path, is_new=False)
        if before is not None and f"name: {NAME}\n".encode() not in before.replace(b"\r\n", b"\n"):
            raise BadRequest(f"{path} is another skill", hint="name another folder: sop skill install DIR")
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = None if before is None else _keep(path, before)
        _replace(path, text)
    except OSError as error:
        raise WorkspaceError.from_os("write", path, error) from error
    return Installed(path, kept=kept)


def _keep(path: Path, before: bytes) -> Path:
    """Copies what stands there to the first name beside it that is free, or holds the same."""
    for number in count(1):
        kept = path.with_name(f"{path.name}.{number}.old")
        if not kept.exists():
            kept.write_bytes(before)
            return kept
        if kept.read_bytes() == before:
            return kept
    raise AssertionError


def _replace(path: Path, data: bytes) -> None:
    """All of it or nothing: a disk that is full leaves what was there."""
    target = path.resolve()
    beside = target.with_name(f".{target.name}.new")
    try:
        beside.write_bytes(data)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
