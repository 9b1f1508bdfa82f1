"""What commands bring into the record, without secrets."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core import commands as cmd
from sopwith.core.events import Evidence
from sopwith.core.masking import Mask
from sopwith.core.redaction import redacted, texts_of, without_secrets

from .given import ALICE, Story, manual

MASK = Mask(['p\N{LATIN SMALL LETTER A WITH DIAERESIS}ss/word"1', "12345678"])


@pytest.mark.parametrize(
    "value",
    [
        'x päss/word"1 y',
        ['päss/word"1'],
        {"a": [{"b": 'is päss/word"1'}]},
        {'päss/word"1': 1},
        12345678,
        "cMOkc3Mvd29yZCIx",
        {"a": "cMOkc3Mv\nd29yZCIx"},
    ],
)
def test_an_output_that_holds_a_secret_anywhere_is_dropped(value: Any) -> None:
    kept, warnings = without_secrets({"a": value, "b": "fine"}, MASK)
    assert kept == {"b": "fine"}
    assert warnings == ("output a was dropped: it holds a secret",)


def test_a_name_that_is_a_secret_is_not_told() -> None:
    assert without_secrets({"hunter2": 1}, Mask(["hunter2"])) == ({}, ("output *** was dropped: it holds a secret",))


def test_what_an_approver_fills_in_is_masked() -> None:
    now = Story(manual()).now
    command = cmd.Approve(
        actor=ALICE, now=now, comment="with hunter2", form={"ticket": "is hunter2", "n": 2, "sure": True}
    )
    assert set(texts_of(command)) == {"with hunter2", "is hunter2"}
    told = redacted(command, Mask(["hunter2"]))
    assert (told.comment, told.form) == ("with ***", {"ticket": "is ***", "n": 2, "sure": True})


@pytest.mark.parametrize(
    ("kind", "more"), [(cmd.Complete, {}), (cmd.Fail, {"reason": "no"}), (cmd.Block, {"reason": "no"})]
)
def test_the_name_of_evidence_is_masked_and_its_hash_is_not(kind: Any, more: dict[str, Any]) -> None:
    evidence = (Evidence(name="hunter2.txt", sha256="0" * 64, size_bytes=1),)
    command = kind(actor=ALICE, now=Story(manual()).now, evidence=evidence, **more)
    told = redacted(command, Mask(["hunter2"])).evidence
    assert told == (Evidence(name="***.txt", sha256="0" * 64, size_bytes=1),)
