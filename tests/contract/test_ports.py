"""Every name of the ports is found in `sopwith.ports`, though each noun is imported only when it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import sopwith.ports

_FOLDER = Path(sopwith.ports.__file__).parent
_NOUNS = sorted(path.stem for path in _FOLDER.glob("[a-z]*.py"))


def _defined(noun: str) -> set[str]:
    """The public names that the file of this noun makes itself."""
    found = set()
    for node in ast.parse((_FOLDER / f"{noun}.py").read_text()).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
    return found


@pytest.mark.parametrize("noun", _NOUNS)
def test_each_name_is_found_where_adapters_look_for_it(noun: str) -> None:
    module = import_module(f"sopwith.ports.{noun}")
    for name in _defined(noun):
        assert getattr(sopwith.ports, name) is getattr(module, name)


def test_what_is_told_to_checkers_of_types_is_what_there_is() -> None:
    told = {
        (node.module, each.name)
        for node in ast.walk(ast.parse((_FOLDER / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sopwith.ports.")
        for each in node.names
    }
    assert told == {(f"sopwith.ports.{noun}", name) for noun in _NOUNS for name in _defined(noun)}


def test_a_name_that_there_is_not_is_no_name() -> None:
    with pytest.raises(AttributeError, match=r"^module sopwith\.ports has no attribute Stor$"):
        _ = sopwith.ports.Stor  # type: ignore[attr-defined]


def test_to_ask_for_one_noun_imports_no_other() -> None:
    probe = "import sys; from sopwith.ports import Bell; print(*(m for m in sys.modules if 'sopwith.ports.' in m))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["sopwith.ports.bell"]
