"""How a step is addressed in a run: by its number, or, where it is done for each of several items, as `3:eu`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

StepId = int | str
"""3 for step 3; `3:eu` for its instance `eu`. In JSON these are two keys, `stepNumber` and `instance`."""

INSTANCE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_STEP_ID = rf"([0-9]{{1,6}})(?::({INSTANCE_NAME}))?"


def step_id(number: int, instance: str = "") -> StepId:
    """The address of a step, or of one of its instances."""
    return f"{number}:{instance}" if instance else number


# each look at a run asks it of every instance
@lru_cache(maxsize=8192)
def number_of(step: StepId) -> int:
    """The number of the step, also of an instance."""
    return step if isinstance(step, int) else int(step.partition(":")[0])


def instance_of(step: StepId) -> str:
    """The name of the instance; empty for a step as a whole."""
    return "" if isinstance(step, int) else step.partition(":")[2]


def address_in(document: Mapping[str, Any]) -> StepId | None:
    """The step that a JSON document is about, by its `stepNumber` and `instance`; None: the start, or the run."""
    number = document.get("stepNumber")
    return None if number is None else step_id(number, document.get("instance", ""))


def read_step_id(text: str) -> StepId | None:
    """What `3` or `3:eu` addresses, or None."""
    found = re.fullmatch(_STEP_ID, text)
    return None if found is None else step_id(int(found[1]), found[2] or "")
