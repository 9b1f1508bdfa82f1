"""NAME=VALUE, as options give parameters and what a form asks for."""

from __future__ import annotations

from sopwith.errors import BadParameter


def from_pairs(pairs: tuple[str, ...], *, option: str, doing: str) -> dict[str, object]:
    """Raises BadParameter with every pair that is none, or gives a name again. `doing`: "run deploy"."""
    given: dict[str, object] = {}
    mistakes = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            mistakes.append(f"{option} {pair} has no value")
        elif key in given:
            mistakes.append(f"{option} {key} is given twice")
        given[key] = value
    if mistakes:
        raise BadParameter(
            f"cannot {doing}: {'; '.join(mistakes)}",
            hint=f"write each once, as {option} NAME=VALUE",
            mistakes=tuple(mistakes),
        )
    return given
