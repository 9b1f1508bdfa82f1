"""The skill file for agents, and where it is installed."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from sopwith.errors import BadRequest, WorkspaceError

NAME = "sopwith"
DEFAULT_FOLDER = Path(".claude") / "skills"


def skill_text() -> str:
    """The whole of SKILL.md."""
    return files(__package__).joinpath("SKILL.md").read_text(encoding="utf-8")


def install_skill(folder: Path) -> tuple[Path, bool]:
    """Writes `folder/sopwith/SKILL.md`; tells its path, and whether it changed. Never over a file that is not ours."""
    path = folder / NAME / "SKILL.md"
    text = skill_text()
    try:
        if path.is_file():
            before = path.read_text(encoding="utf-8", errors="replace")
            if before == text:
                return path, False
            if f"name: {NAME}\n" not in before:
                raise BadRequest(f"{path} is another skill", hint="name another folder: sop skill install DIR")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorkspaceError.from_os("write", path, error) from error
    return path, True
