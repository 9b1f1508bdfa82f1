"""The items of a step that is done for each of several: what they are, and what their instances are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from sopwith.core.address import INSTANCE_NAME
from sopwith.core.procedure import canonical
from sopwith.core.run import Run, StepState

MAX_ITEMS = 1000
MAX_ITEMS_BYTES = 256 * 1024
MAX_ITEM_BYTES = 64 * 1024
"""Of one item: a step gets it as a variable."""


class Items(msgspec.Struct, frozen=True):
    """The items and the names of their instances; with a `reason` none, because nobody can know them."""

    items: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    reason: str = ""


def items_of(run: Run, step: StepState) -> Items:
    """What the step is to be done for, as it is now."""
    stated = run.procedure.step(step.number).for_each
    assert stated is not None
    if not isinstance(stated, str):
        return _checked(stated)
    # CEL is imported only where a procedure has an expression
    from sopwith.core.conditions import Wanted, find
    from sopwith.core.scope import scope_of, values_for

    found = find(stated, scope_of(run.procedure, step.number), values_for(run, step.number), Wanted.LIST)
    return Items(reason=found.reason) if found.reason else _checked(tuple(found.value))


def twice(items: Iterable[Any]) -> Any | None:
    """The first item that is there a second time; None where all differ."""
    seen: set[bytes] = set()
    for item in items:
        if (data := canonical(item)) in seen:
            return item
        seen.add(data)
    return None


def names_of(items: tuple[Any, ...]) -> tuple[str, ...]:
    """The items themselves, where every one can be a name, and no two are the same; else 1, 2, 3 …

    Upper and lower case alone make no difference: some file systems see none, and a name is part of a folder's.
    """
    texts = tuple(_text(item) for item in items)
    if all(re.fullmatch(INSTANCE_NAME, text) for text in texts) and len({text.lower() for text in texts}) == len(texts):
        return texts
    return tuple(str(place) for place in range(1, len(items) + 1))


def _checked(items: tuple[Any, ...]) -> Items:
    if len(items) > MAX_ITEMS:
        return Items(reason=f"there are {len(items)} items, and {MAX_ITEMS} at most can be done")
    sizes = [len(canonical(item)) for item in items]
    if sum(sizes) > MAX_ITEMS_BYTES:
        return Items(reason=f"the items are longer than {MAX_ITEMS_BYTES // 1024} KiB together")
    if max(sizes, default=0) > MAX_ITEM_BYTES:
        return Items(reason=f"an item is longer than {MAX_ITEM_BYTES // 1024} KiB")
    if any(isinstance(item, str) and "\0" in item for item in items):
        return Items(reason="an item holds a zero character, which no variable can carry")
    if (double := twice(items)) is not None:
        return Items(reason=f"{canonical(double).decode()[:60]} is there twice")
    return Items(items, names_of(items))


def _text(item: Any) -> str:
    """The item as a name, where it is text, a number or a truth value; nothing else can be one."""
    if isinstance(item, str):
        return item
    return canonical(item).decode() if isinstance(item, bool | int | float) else ""
