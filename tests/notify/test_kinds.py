"""Kinds of channels by name: the built-in ones, and how an outsider's is checked."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from sopwith.errors import BadRequest
from sopwith.plugins import Channels
from sopwith.ports import ChannelKind


def test_the_built_in_kinds_are_known() -> None:
    kinds = Channels()
    assert [kinds.kind(name).name for name in ("apprise", "webhook", "command")] == ["apprise", "webhook", "command"]


def test_an_outsiders_kind_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = ChannelKind(name="pager", make=lambda _channel, _premises: (_ for _ in ()).throw(AssertionError))

    point = SimpleNamespace(load=lambda: kind)

    def entry_points(*, group: str, name: str) -> list[Any]:
        return [point] if group == "sopwith.channels" and name in ("pager", "other") else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert Channels().kind("pager") is kind
    with pytest.raises(BadRequest, match="not a ChannelKind of that name"):
        Channels().kind("other")
    with pytest.raises(BadRequest, match="no channel is called nobody"):
        Channels().kind("nobody")


def test_a_name_is_given_once() -> None:
    kinds = Channels()
    with pytest.raises(BadRequest, match="registered twice"):
        kinds.register(kinds.kind("command")) or kinds.register(kinds.kind("command"))


def test_a_server_without_such_channels_imports_none_of_them() -> None:
    code = (
        "import sys, sopwith.doors.cli.serving, sopwith.engine.postman;"
        "print([m for m in sys.modules if m.startswith(('apprise', 'requests', 'sopwith.notify', 'http.client'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
