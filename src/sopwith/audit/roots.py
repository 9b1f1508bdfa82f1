"""The tree as the log is read, compared with each checkpoint as its size is reached."""

from __future__ import annotations

from collections.abc import Iterator

from sopwith.audit.merkle import Frontier
from sopwith.audit.report import Finding
from sopwith.audit.trust import Milestone


class Bad(Exception):
    """Ends the reading at the first bad event."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


class Roots:
    """The tree as it grows, compared with each checkpoint as it is reached."""

    def __init__(self, expected: Iterator[Milestone]) -> None:
        self._frontier = Frontier()
        self._expected = expected
        self._next: Milestone | None = None
        self._next_size = -1
        self._unreadable: Milestone | None = None
        self._summed_up = (-1, "")
        self.passed = self.signed_size = self.trusted_size = 0
        self.reached: dict[str, int] = {}
        """For each copy the greatest size at which it agreed."""
        self._advance()

    def add(self, position: int, digest: bytes) -> None:
        """The next leaf."""
        if position != self._frontier.size + 1:
            raise Bad(Finding(position=self._frontier.size + 1, what="it is missing"))
        self._frontier.append(digest)
        while self._frontier.size == self._next_size:
            self._compare()

    def finish(self) -> None:
        """After the last leaf nothing may be expected any more, and nothing from outside may have been unreadable."""
        worthless = self._next if self._next is not None and self._next.problem else self._unreadable
        if worthless is not None:
            raise Bad(_worthless(worthless))
        if self._next is not None:
            raise Bad(
                Finding(
                    position=self._frontier.size + 1,
                    what=f"it is missing: {_named(self._next)} covers {self._next.size}; "
                    "the log was cut short or restored from an old copy",
                )
            )

    def _compare(self) -> None:
        milestone = self._next
        assert milestone is not None
        if milestone.problem:
            raise Bad(_worthless(milestone))
        if self._root() != milestone.root:
            first = min(max(self.signed_size, self.trusted_size) + 1, milestone.size)
            word = "it" if first == milestone.size else "one of them"
            raise Bad(
                Finding(
                    position=first,
                    to_position=milestone.size,
                    what=f"{word} is not what it was when {_named(milestone)} was signed",
                )
            )
        self.passed += 1
        if milestone.copy:
            self.reached[milestone.copy] = milestone.size
        else:
            self.signed_size = milestone.size
        if milestone.trusted:
            self.trusted_size = milestone.size
        self._advance()

    def _root(self) -> str:
        """The root as hex; several milestones may stand at one size."""
        if self._summed_up[0] != self._frontier.size:
            self._summed_up = (self._frontier.size, self._frontier.root().hex())
        return self._summed_up[1]

    def _advance(self) -> None:
        self._next = next(self._expected, None)
        while self._next is not None and not self._next.size:
            self._unreadable = self._unreadable or self._next
            self._next = next(self._expected, None)
        self._next_size = -1 if self._next is None else self._next.size


def _worthless(milestone: Milestone) -> Finding:
    return Finding(what=f"{_named(milestone)} is not valid: {milestone.problem}")


def _named(milestone: Milestone) -> str:
    of_size = f" over {milestone.size} events" if milestone.size else ""
    return f"the checkpoint{of_size} in {milestone.source}"
