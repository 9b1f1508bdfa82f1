"""`sop token`: a token is printed once; lists and the log never show it."""

from __future__ import annotations

import pytest

from .workshop import Workshop


def test_a_token_is_printed_once_with_what_it_gives(workshop: Workshop) -> None:
    made = workshop.json("token", "create", "ann", "--role", "runner", "--procedures", "deploy-*", "--expires", "90d")
    assert made["success"] is True
    assert made["token"].startswith("sopwith_")
    assert (made["name"], made["kind"], made["role"]) == ("ann", "user", "runner")
    assert made["procedures"] == ["deploy-*"]
    for verb in ("list", "log"):
        for told in (workshop.sop("token", verb), workshop.sop("token", verb, "--json")):
            assert told.code == 0
            assert made["token"] not in told.out
            assert made["token"][-43:] not in told.out
            assert made["id"] in told.out


def test_the_token_stands_alone_on_its_line(workshop: Workshop) -> None:
    told = workshop.sop("token", "create", "ann", "--role", "viewer")
    first, second = told.out.splitlines()
    assert len(first) == 60
    assert "shown this once" in second


def test_a_revoked_token_is_listed_as_revoked(workshop: Workshop) -> None:
    made = workshop.json("token", "create", "ann", "--role", "viewer")
    assert workshop.json("token", "revoke", made["id"])["tokens"][0]["status"] == "revoked"
    assert workshop.json("token", "list")["tokens"][0]["status"] == "revoked"
    assert workshop.sop("token", "revoke", "nobody").code == 6


def test_nothing_is_made_by_looking(workshop: Workshop) -> None:
    assert workshop.json("token", "list") == {"success": True, "tokens": [], "total": 0}
    assert workshop.json("token", "log")["entries"] == []
    assert not (workshop.sops / "runs.db").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("token",),
        ("token", "x"),
        ("token", "create"),
        ("token", "create", "a"),
        ("token", "create", "a", "--role", "x"),
    ],
)
def test_what_is_missing_is_told(workshop: Workshop, args: tuple[str, ...]) -> None:
    told = workshop.sop(*args)
    assert told.code == 2
    assert len(told.err.splitlines()) == 2


def test_an_agents_session_makes_no_token(workshop: Workshop) -> None:
    told = workshop.process("token", "create", "ann", "--role", "admin", env={"SOPWITH_ACTOR_KIND": "agent"})
    assert told.code == 5
    assert "person" in told.err
    inside = workshop.process("token", "create", "ann", "--role", "admin", env={"SOP_RUN_ID": "sop_run_1"})
    assert inside.code == 5
    assert workshop.json("token", "list")["total"] == 0
