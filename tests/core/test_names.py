"""What a procedure may be called: nothing that leads elsewhere, and nothing that the workspace needs for itself."""

from __future__ import annotations

import pytest

from sopwith.core.procedure import check_name
from sopwith.errors import BadName


@pytest.mark.parametrize("name", ["bake", "0", "deploy-production", "a.b_c-d", "x" * 64, "runs-daily", "run", "key"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "Bake", "-x", "x" * 65, "bäk", "bake\n", "a\0b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadName) as refused:
        check_name(name)
    assert "a-z" in refused.value.hint


@pytest.mark.parametrize("name", ["runs", "keys", "index.json", "config.json", "runs.db", "runs.db-wal", "runs.dbx"])
def test_a_name_that_the_workspace_needs_is_refused(name: str) -> None:
    with pytest.raises(BadName, match="keeps its own files") as refused:
        check_name(name)
    assert refused.value.hint
