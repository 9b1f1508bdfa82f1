"""Tokens: made by people only, kept as a hash, gone when they end, and none of another history."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.config import Role
from sopwith.core.grants import Grant
from sopwith.engine.access import examine_access
from sopwith.engine.library import Library
from sopwith.engine.tokens import Asked, Kind, Tokens, read_lifetime
from sopwith.errors import BadRequest, NotAllowed, NotFound, Refused
from sopwith.ports import Workspace
from sopwith.stores.sqlite import SqliteStore
from sopwith.testing.clock import FakeClock, SequentialIds

ANN = Actor("ann", ActorKind.HUMAN, "cli")
VIEWER = Asked(name="bob", role=Role.VIEWER)


class Hands:
    """Tokens on a real store with a clock that stands still."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.workspace.sops.mkdir(parents=True)
        self.clock = FakeClock()
        self.store = SqliteStore(self.workspace.database)
        self.tokens = Tokens(self.store.tokens, Library(self.workspace), self.clock, SequentialIds())

    def config(self, text: str) -> None:
        self.workspace.config.write_text(text)


@pytest.fixture
def hands(tmp_path: Path) -> Iterator[Hands]:
    made = Hands(tmp_path)
    yield made
    made.store.close()


def test_a_token_has_a_name_and_256_bits_and_only_its_hash_is_kept(hands: Hands) -> None:
    text, document = hands.tokens.create(VIEWER, actor=ANN)
    assert len(text) == len("sopwith_") + 8 + 1 + 43
    assert text.startswith(f"sopwith_{document['id']}_")
    row = hands.store.tokens.tokens()[0]
    assert row.hash == hashlib.sha256(text.encode()).digest()
    assert text[-43:] not in str(hands.tokens.documents(actor=ANN))
    hands.store.close()
    for file in hands.workspace.sops.iterdir():
        assert text[-43:].encode() not in file.read_bytes()


def test_who_holds_a_token_is_told_by_all_of_it(hands: Hands) -> None:
    asked = Asked(name="ci", role=Role.RUNNER, kind=Kind.SERVICE, procedures=("deploy-*",))
    text, _document = hands.tokens.create(asked, actor=ANN)
    held = hands.tokens.holder(text)
    assert held is not None
    actor = held.actor("10.0.0.7")
    assert (actor.id, actor.kind, actor.via) == ("ci", ActorKind.AGENT, "http")
    assert actor.grant == Grant(role=Role.RUNNER, procedures=("deploy-*",))
    for at in range(len(text)):
        other = "A" if text[at] != "A" else "B"
        assert hands.tokens.holder(text[:at] + other + text[at + 1 :]) is None
    for wrong in ("", text[:-1], text + "A", f" {text}", text + "\n", text.upper(), "\ud800", "ü" * 60):
        assert hands.tokens.holder(wrong) is None


def test_a_token_holds_to_the_moment_it_ends(hands: Hands) -> None:
    text, document = hands.tokens.create(Asked(name="bob", role=Role.VIEWER, expires="90d"), actor=ANN)
    hands.clock.advance(90 * 86400 - 0.001)
    assert hands.tokens.holder(text) is not None
    hands.clock.advance(0.001)
    assert hands.tokens.holder(text) is None
    assert hands.tokens.documents(actor=ANN)[0]["status"] == "expired"
    assert document["status"] == "active"


@pytest.mark.parametrize("which", [lambda text: text, lambda text: text[8:16], lambda text: text[:16], lambda _: "bob"])
def test_a_token_is_revoked_by_its_id_its_name_or_itself(hands: Hands, which: Callable[[str], str]) -> None:
    text, _document = hands.tokens.create(VIEWER, actor=ANN)
    other, _document = hands.tokens.create(Asked(name="eve", role=Role.VIEWER), actor=ANN)
    assert [each["status"] for each in hands.tokens.revoke(which(text), actor=ANN)] == ["revoked"]
    assert hands.tokens.holder(text) is None
    assert hands.tokens.holder(other) is not None
    first = hands.store.tokens.tokens()
    hands.clock.advance(60)
    hands.tokens.revoke(which(text), actor=ANN)
    assert hands.store.tokens.tokens() == first, "it was revoked when it was revoked"
    with pytest.raises(NotFound):
        hands.tokens.revoke("nobody", actor=ANN)


@pytest.mark.parametrize(
    "actor",
    [
        Actor("bot", ActorKind.AGENT, "mcp"),
        Actor("sopwith", ActorKind.SYSTEM, "engine"),
        Actor("ann", ActorKind.HUMAN, "cli", inside="sop_run_1"),
        Actor("ann", ActorKind.HUMAN, "http", grant=Grant(role=Role.APPROVER)),
        Actor("ann", ActorKind.HUMAN, "http", grant=Grant(role=Role.ADMIN, procedures=("*",))),
        Actor("ci", ActorKind.AGENT, "http", grant=Grant(role=Role.ADMIN)),
    ],
)
def test_only_a_person_with_the_right_gives_and_takes(hands: Hands, actor: Actor) -> None:
    hands.tokens.create(VIEWER, actor=ANN)
    before = hands.store.tokens.tokens()
    with pytest.raises(NotAllowed):
        hands.tokens.create(VIEWER, actor=actor)
    with pytest.raises(NotAllowed):
        hands.tokens.revoke("bob", actor=actor)
    assert hands.store.tokens.tokens() == before


def test_where_config_json_has_roles_it_takes_the_administrators(hands: Hands) -> None:
    hands.config('{"roles": {"admin": ["user:root"], "runner": ["user:ann"]}}')
    for refused in (
        lambda: hands.tokens.create(VIEWER, actor=ANN),
        lambda: hands.tokens.documents(actor=ANN),
        lambda: hands.tokens.check_reader(ANN),
    ):
        with pytest.raises(NotAllowed, match="admin"):
            refused()
    hands.tokens.create(VIEWER, actor=Actor("root", ActorKind.HUMAN, "cli"))


@pytest.mark.parametrize(
    "asked",
    [
        Asked(name="", role=Role.VIEWER),
        Asked(name="a b", role=Role.VIEWER),
        Asked(name="x" * 65, role=Role.VIEWER),
        Asked(name="ann\n", role=Role.VIEWER),
        Asked(name="ann", role=Role.VIEWER, procedures=("../x",)),
        Asked(name="ann", role=Role.VIEWER, procedures=("",)),
        Asked(name="ann", role=Role.VIEWER, procedures=("a",) * 101),
        Asked(name="ann", role=Role.VIEWER, expires="soon"),
        Asked(name="ann", role=Role.VIEWER, expires="0d"),
        Asked(name="ann", role=Role.VIEWER, expires="-1d"),
        Asked(name="ann", role=Role.VIEWER, expires="9999999d"),
        Asked(name="ann", role=Role.VIEWER, expires="999999d"),
    ],
)
def test_what_makes_no_sense_makes_no_token(hands: Hands, asked: Asked) -> None:
    with pytest.raises(BadRequest):
        hands.tokens.create(asked, actor=ANN)
    assert hands.store.tokens.tokens() == ()
    assert hands.store.tokens.high_water() == 0


def test_a_user_is_one_of_config_json_where_it_names_some(hands: Hands) -> None:
    hands.config('{"users": {"ann": {}}}')
    with pytest.raises(BadRequest, match="none of the users"):
        hands.tokens.create(VIEWER, actor=ANN)
    hands.tokens.create(Asked(name="ann", role=Role.VIEWER), actor=ANN)
    hands.tokens.create(Asked(name="bob", role=Role.VIEWER, kind=Kind.SERVICE), actor=ANN)


def test_the_first_token_is_made_once_in_the_life_of_a_workspace(hands: Hands) -> None:
    first = hands.tokens.create_first("ann")
    assert first is not None
    held = hands.tokens.holder(first)
    assert held is not None
    assert held.grant == Grant(role=Role.ADMIN)
    hands.tokens.revoke("ann", actor=ANN)
    assert hands.tokens.create_first("ann") is None, "whoever revoked the last one meant it"


def test_there_is_an_end_to_how_many_tokens_there_are(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sopwith.engine.tokens.MOST_TOKENS", 2)
    hands.tokens.create(VIEWER, actor=ANN)
    hands.tokens.create(VIEWER, actor=ANN)
    with pytest.raises(Refused):
        hands.tokens.create(VIEWER, actor=ANN)


def test_no_token_of_a_restored_copy_holds(hands: Hands) -> None:
    """One of them may have been revoked since the backup."""
    text, _document = hands.tokens.create(VIEWER, actor=ANN)
    hands.store.begin_anew(b"{}", hands.clock.now().at)
    assert hands.tokens.holder(text) is None
    assert hands.tokens.documents(actor=ANN)[0]["revokedBy"] == "a restored backup"


def test_each_entry_of_the_log_covers_the_one_before(hands: Hands) -> None:
    for name in ("ann", "bob", "eve"):
        hands.tokens.create(Asked(name=name, role=Role.VIEWER), actor=ANN)
    entries = hands.store.tokens.entries_after(0, 10)
    assert [entry.position for entry in entries] == [1, 2, 3]
    assert [entry.prev_hash for entry in entries] == [bytes(32), entries[0].hash, entries[1].hash]
    assert list(examine_access(hands.store.tokens)) == []
    assert [entry.position for entry in hands.store.tokens.entries(limit=2)] == [3, 2]
    assert [entry.position for entry in hands.store.tokens.entries(limit=2, before=2)] == [1]


def rewritten(db: apsw.Connection, position: int, *, after: bytes, payload: bytes) -> bytes:
    """Makes an entry fit in itself and to the one before; tells its new hash."""
    digest = hashlib.sha256(after + payload).digest()
    db.execute(
        "update access set prev_hash = ?, hash = ?, payload = ? where position = ?", (after, digest, payload, position)
    )
    return digest


@pytest.mark.parametrize("how", ["one entry made anew", "one taken out and the rest made anew"])
def test_an_entry_that_fits_in_itself_is_found_by_those_around_it(hands: Hands, how: str) -> None:
    for name in ("ann", "bob", "eve"):
        hands.tokens.create(Asked(name=name, role=Role.VIEWER), actor=ANN)
    first, second, third = hands.store.tokens.entries_after(0, 10)
    with apsw.Connection(str(hands.workspace.database)) as db:
        if how == "one entry made anew":
            rewritten(db, 2, after=first.hash, payload=second.payload.replace(b"bob", b"bot"))
        else:
            db.execute("delete from access where position = 2")
            rewritten(db, 3, after=first.hash, payload=third.payload)
    assert len(list(examine_access(hands.store.tokens))) == 1


@pytest.mark.parametrize(("text", "lifetime"), [("30m", 1800), ("12h", 43200), ("90d", 7776000)])
def test_how_long_a_token_lives_is_told_in_words(text: str, lifetime: int) -> None:
    assert read_lifetime(text) == timedelta(seconds=lifetime)


def test_nobody_else_reads_the_hashes(hands: Hands) -> None:
    assert hands.workspace.database.stat().st_mode & 0o077 == 0
