"""`dependsOn` -> step numbers: a step that names none follows the one before it; a circle is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sopwith.parse.findings import Findings, shown
from sopwith.parse.pair import Pair


def resolve(steps: Sequence[Pair], findings: Findings) -> list[tuple[int, ...]]:
    """For each step the numbers of those it depends on, ascending. Unknown steps and circles go to `findings`."""
    by_key: dict[str, int] = {}
    for number, step in enumerate(steps, start=1):
        key = next((key for key in reversed(step.both("key")) if key is not None), None)
        if key is not None:
            by_key[key] = number
    resolved = {
        number: _resolved(number, step, len(steps), by_key, findings) for number, step in enumerate(steps, start=1)
    }
    _check_circles(steps, resolved, findings)
    return list(resolved.values())


def _resolved(number: int, step: Pair, count: int, by_key: Mapping[str, int], findings: Findings) -> tuple[int, ...]:
    names = _names(step, by_key)
    if names is None:
        return (number - 1,) if number > 1 else ()
    found: set[int] = set()
    for name in names:
        other = by_key.get(name) if isinstance(name, str) else name
        if other is None or not 1 <= other <= count:
            hint = (
                findings.did_you_mean(name, by_key) if isinstance(name, str) else ""
            ) or f"there are steps 1 to {count}"
            findings.unexpected(
                "unknown_step",
                expected="the number or key of a step",
                got=shown(name),
                at=step.at("depends_on"),
                hint=hint,
            )
        elif other == number:
            findings.error(
                "depends_on_itself",
                f"expected another step, got step {number} itself",
                at=step.at("depends_on"),
                hint="take it out, or name the step before",
            )
        else:
            found.add(other)
    return tuple(sorted(found))


def _names(step: Pair, by_key: Mapping[str, int]) -> Sequence[int | str] | None:
    """What the file that counts says; a key and the number it stands for are no drift."""
    ours, theirs = step.both("depends_on")
    if ours is not None and theirs is not None:
        said, counts = (", ".join(sorted({str(by_key.get(name, name)) for name in side})) for side in (ours, theirs))
        if said != counts:
            step.drift("depends_on", said or "none", counts or "none")
    stated: Sequence[int | str] | None = ours if theirs is None else theirs
    return stated


def _check_circles(steps: Sequence[Pair], resolved: Mapping[int, tuple[int, ...]], findings: Findings) -> None:
    """Takes away steps whose dependencies are all gone, until none is left or what is left waits for itself."""
    left = dict(resolved)
    followers: dict[int, list[int]] = {}
    for number, needed in resolved.items():
        for other in needed:
            followers.setdefault(other, []).append(number)
    missing = {number: len(needed) for number, needed in resolved.items()}
    free = [number for number, count in missing.items() if count == 0]
    while free:
        done = free.pop()
        left.pop(done, None)
        for follower in followers.get(done, ()):
            missing[follower] -= 1
            if missing[follower] == 0:
                free.append(follower)
    if not left:
        return
    circle = _circle_in(left)
    path = " → ".join(str(number) for number in (*circle, circle[0]))
    findings.error(
        "circular_steps",
        f"expected steps that can be put in order, got a circle: {path}",
        at=steps[circle[0] - 1].at("depends_on"),
        hint="take one of these steps out of what another one depends on",
    )


def _circle_in(left: Mapping[int, tuple[int, ...]]) -> list[int]:
    """One circle, from its lowest number on, along `depends on`. Every step in `left` depends on another one in it."""
    walked: list[int] = []
    number = min(left)
    while number not in walked:
        walked.append(number)
        number = next(other for other in left[number] if other in left)
    circle = walked[walked.index(number) :]
    lowest = circle.index(min(circle))
    return circle[lowest:] + circle[:lowest]
