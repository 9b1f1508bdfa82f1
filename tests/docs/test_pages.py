"""What the documentation says is so: commands run, links lead somewhere, nothing is left out or left over."""

import re
import shutil
import tomllib

import pytest
from tests.docs import pages
from tools import docs
from tools.error_page import error_types
from tools.event_page import event_name, event_types

from sopwith.core.run import RunStatus

_RUNNABLE = [page for page in pages.pages() if pages.blocks(page)]
_REFERENCE = pages.ROOT / "docs" / "reference"


@pytest.mark.parametrize("page", _RUNNABLE, ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_the_commands_of_a_page_do_what_it_says(page, tmp_path):
    if any("--workspace examples" in block.text for block in pages.blocks(page)):
        shutil.copytree(pages.ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("runs*", "keys"))
    reader = pages.Reader(tmp_path)
    for block in pages.blocks(page):
        reader.follow(block)


def test_the_tutorial_and_the_readme_are_run():
    assert {page.name for page in _RUNNABLE} >= {"README.md", "tutorial.md"}


def test_every_command_of_the_tutorial_is_run():
    tutorial = pages.ROOT / "docs" / "tutorial.md"
    shown = re.findall(r"^```sh$", tutorial.read_text(), re.MULTILINE)
    assert len(shown) == len([block for block in pages.blocks(tutorial) if block.kind == "run"])


def test_generated_pages_are_as_the_code_says():
    assert "".join(docs.differences()) == ""


def test_generating_twice_gives_the_same():
    assert dict(docs.wanted()) == dict(docs.wanted())


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_every_row_stands_in_a_table(page):
    """After an empty line a row is the head of a new table, or text with bars in it."""
    lines = ["", *page.read_text().splitlines(), ""]
    heads = [at for at, line in enumerate(lines) if line.startswith("|") and not lines[at - 1].startswith("|")]
    assert [lines[at] for at in heads if not re.fullmatch(r"[|\-: ]+", lines[at + 1])] == []


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_links_lead_somewhere(page):
    for target in pages.links(page):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in pages.anchors(linked), target


def test_every_page_can_be_reached():
    reached, todo = set(), [pages.ROOT / "README.md", pages.ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = [target.partition("#")[0] for target in pages.links(page) if "://" not in target]
        todo.extend((page.parent / target).resolve() for target in targets if target)
    assert set(pages.pages()) - reached == set()


def test_every_event_and_error_is_documented():
    events = (_REFERENCE / "events.md").read_text()
    errors = (_REFERENCE / "errors.md").read_text()
    assert all(f"## {event_name(body)}\n" in events for body in event_types())
    assert all(f"`{kind.code}`" in errors for kind in error_types())


def test_every_run_status_is_documented():
    states = (pages.ROOT / "docs" / "concepts" / "states.md").read_text()
    assert all(f"`{status}`" in states for status in RunStatus)


def test_every_dependency_says_what_it_saves():
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    names = [re.split(r"[^\w-]", dependency)[0] for dependency in (*project["dependencies"], *extras)]
    decided = (pages.ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()
    assert [name for name in names if f"| {name} |" not in decided] == []


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_no_page_speaks_of_one_machine(page):
    absolute = re.findall(r"(?<![\w./:&;*)}-])/[a-z]+/[\w./-]*", page.read_text())
    everywhere = ("/dev/", "/proc/", "/srv/", "/etc/", "/var/tmp", "/usr/local/bin/sop", "/bin/kill")
    everywhere += ("/api/v1/", "/hooks/")
    assert [path for path in absolute if not path.startswith(everywhere)] == []
