"""The page: each decision with who, what, when, why, votes and outcome; what rules did is nobody's decision."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.audit.story import BOB, ENVELOPE, RUN, events, page_of

from sopwith.core.procedure import sha256


def cards() -> dict[int, str]:
    """The cards of the story, by the seq of their event."""
    found = re.findall(
        rf'<section class="decision [a-z]+" id="{RUN}-(\d+)">.*?</section>', page_of(events()), re.DOTALL
    )
    whole = re.findall(r'<section class="decision.*?</section>', page_of(events()), re.DOTALL)
    return {int(seq): card for seq, card in zip(found, whole, strict=True)}


def says(card: str, name: str, value: str) -> bool:
    return re.search(rf"<dt>{re.escape(name)}</dt><dd[^>]*>{re.escape(value)}</dd>", card) is not None


def test_a_signed_approval_shows_all_that_was_signed() -> None:
    card = cards()[11]
    for name, value in {
        "Who": "Bob Müller, bob (human, via cli on ops-1)",
        "User id": "1001",
        "Authenticated": "operating system account",
        "Session": "pts/3",
        "Groups then": "release",
        "Roles then": "approver",
        "Rights read from": "c" * 64,
        "Named what was shown": "yes",
        "When": "2026-11-22T10:11:00.000Z (UTC)",
        "Meaning": "approved",
        "Comment": "Looks right",
        "Votes": "2: ann, bob",
        "Envelope": sha256(ENVELOPE),
        "Event": f"11, hash {'0b' * 32}",
    }.items():
        assert says(card, name, value), (name, card)
    assert "<dt>Procedure</dt>" in card
    assert 'class="decision yes"' in card


def test_a_vote_shows_how_many_were_needed_and_the_form() -> None:
    card = cards()[10]
    assert says(card, "Votes", "1 of 2")
    assert says(card, "Form", "ticket = OPS-7")


@pytest.mark.parametrize("seq", [7, 9, 12, 14, 15, 20])
def test_what_the_system_did_is_no_persons_decision(seq: int) -> None:
    card = cards()[seq]
    assert 'class="decision system"' in card
    assert says(card, "Who", "the system, by the rules of this gate; no person decided")
    assert "Meaning" not in card
    assert "approved" not in card.lower()


def test_an_answer_by_the_system_is_shown_as_such_whatever_its_name() -> None:
    """Nobody is left who could approve: the system rejects."""
    story = events()
    story[15]["actor"] = {"id": "sopwith", "kind": "system", "via": "engine"}
    card = re.findall(rf'id="{RUN}-16">.*?</section>', page_of(story), re.DOTALL)[0]
    assert f'<section class="decision system" id="{RUN}-16">' in page_of(story)
    assert says(card, "Who", "sopwith (system, via engine)")
    assert "Meaning" not in card


def test_an_agent_is_named_as_one() -> None:
    assert says(cards()[16], "Who", f"bot (agent, via mcp, inside {RUN})")


@pytest.mark.parametrize(
    ("seq", "outcome"),
    [
        (3, "the run completed (event 24, "),
        (11, "step 2 found void before the start: something had changed (event 12, "),
        (16, "asked again (event 19, "),
        (20, "step 2 failed, exit code 1: exit status 1 (event 22, "),
        (23, "the run completed (event 24, "),
    ],
)
def test_a_decision_shows_what_came_of_it(seq: int, outcome: str) -> None:
    assert f"<dt>What came of it</dt><dd>{outcome}" in cards()[seq]


def test_what_was_void_shows_what_had_changed() -> None:
    card = cards()[12]
    assert says(card, "Changed", "script, environment PATH")
    assert says(card, "Would have run", "b" * 64)


def test_a_script_is_shown_whole_once_with_everything_outside_ascii_as_an_escape() -> None:
    text = page_of(events())
    shown = "set -e\nkubectl rollout restart deploy/web   # p\\u{0430}ypal, caf\\u{00e9}\n"
    shown += "echo &#x27;\\u{202e}done&#x27;\n"
    assert text.count(f"<pre>{shown}</pre>") == 1
    assert "<pre>Looks at the dashboard first. Größe zählt.</pre>" in text
    assert text.count(f'<a href="#{RUN}-10">at event 10</a>') == 3


def test_the_start_approval_shows_the_scripts_of_all_steps() -> None:
    assert "<h4>Step 1: Build (sh)</h4><pre>make</pre>" in cards()[3]


def test_a_reason_cannot_pose_as_another_fact() -> None:
    assert says(cards()[16], "Reason", "The error rate rises.\nWho: Ann Example")
    story = events()
    story[0]["details"]["params"]["version"] = "1\nenvironment = staging"
    assert "version = &quot;1\\nenvironment = staging&quot;" in page_of(story)


@pytest.mark.parametrize("missing", ["details", "actor", "timestamp", "stepNumber", "eventType"])
def test_what_an_event_does_not_say_is_left_out(missing: str) -> None:
    story = events()
    for event in story:
        event.pop(missing, None)
    assert f"Run {RUN}" in page_of(story)


def test_any_detail_may_be_missing_or_of_another_shape() -> None:
    shapes: list[Any] = [None, "", 0, 1.5, True, [], [1, {"x": "y"}], {"x": [1]}, "<b>\u202e"]
    for index, event in enumerate(events()):
        for key in event["details"]:
            for shape in shapes:
                story = events()
                story[index]["details"][key] = shape
                text = page_of(story)
                assert "<b>\u202e" not in text
    assert BOB["id"] == "bob"
