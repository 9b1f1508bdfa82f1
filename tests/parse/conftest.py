"""Every problem that any test of the parser meets must say what to do now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sopwith.parse.findings import Findings


@pytest.fixture(autouse=True, scope="session")
def every_problem_has_a_hint() -> Iterator[None]:
    add = Findings._add

    def checked(self: Findings, severity: Any, code: str, *rest: Any, **more: Any) -> None:
        assert more["hint"].strip(), f"{code} has no hint"
        add(self, severity, code, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Findings, "_add", checked)
        yield
