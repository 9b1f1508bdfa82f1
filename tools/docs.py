"""Makes the reference pages from the code: `python -m tools.docs` writes them, `--check` only compares.

A page is either generated as a whole, or has one generated part between two comments.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sopwith.parse.schema import config_schema, manifest_schema, scenario_schema
from tools.cli_page import cli_page
from tools.error_page import errors_page
from tools.event_page import events_page
from tools.http_page import http_page
from tools.log_page import log_page
from tools.performance_page import performance_part
from tools.schema_pages import config_page, manifest_page, scenario_page, schema_text
from tools.states_page import states_part

ROOT = Path(__file__).parents[1]
REFERENCE = Path("docs/reference")

PAGES: dict[Path, Callable[[], str]] = {
    REFERENCE / "cli.md": cli_page,
    REFERENCE / "manifest.md": manifest_page,
    REFERENCE / "config.md": config_page,
    REFERENCE / "scenario.md": scenario_page,
    REFERENCE / "events.md": events_page,
    REFERENCE / "errors.md": errors_page,
    REFERENCE / "http-api.md": http_page,
    REFERENCE / "server-log.md": log_page,
    REFERENCE / "manifest.schema.json": lambda: schema_text(manifest_schema()),
    REFERENCE / "config.schema.json": lambda: schema_text(config_schema()),
    REFERENCE / "scenario.schema.json": lambda: schema_text(scenario_schema()),
}
PARTS: dict[Path, Callable[[], str]] = {
    Path("docs/concepts/states.md"): states_part,
    Path("docs/performance.md"): performance_part,
}

_BEGIN, _END = "<!-- generated: begin -->", "<!-- generated: end -->"


def wanted() -> Iterator[tuple[Path, str]]:
    """Every generated file, relative to the root, with the text that it should have."""
    for path, make in PAGES.items():
        yield path, make()
    for path, make in PARTS.items():
        yield path, _with_part(path, make())


def differences() -> Iterator[str]:
    """A diff for each file that is not as the code says."""
    for path, text in wanted():
        there = _text(path)
        if there != text:
            yield "".join(
                difflib.unified_diff(
                    there.splitlines(keepends=True), text.splitlines(keepends=True), str(path), f"{path} (generated)"
                )
            )


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        found = list(differences())
        print("".join(found) + "run: python -m tools.docs" if found else "the generated pages are up to date")
        return 1 if found else 0
    if arguments:
        print("usage: python -m tools.docs [--check]", file=sys.stderr)
        return 2
    for path, text in wanted():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    return 0


def _with_part(path: Path, part: str) -> str:
    pattern = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{_BEGIN}\n\n{part}\n\n{_END}", _text(path))


def _text(path: Path) -> str:
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
