"""What commands bring into the record, without secrets."""

from __future__ import annotations

from typing import Any

import pytest

from sopwith.core.masking import Mask
from sopwith.core.redaction import without_secrets

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
