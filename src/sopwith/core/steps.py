"""The states of a run's steps by address, and how one of them is replaced.

Whoever has a run may keep it, so an event that changes a step makes a new mapping. While a record is replayed nobody
sees the states in between: those share one mapping, which changes. So a replay costs the same for each event, however
many steps there are.
"""

from __future__ import annotations

from collections.abc import Mapping

from sopwith.core.address import StepId
from sopwith.core.run import StepState


class Unshared(dict[StepId, StepState]):
    """A mapping that nobody else has."""


def with_state(steps: Mapping[StepId, StepState], step: StepState) -> dict[StepId, StepState]:
    """The mapping with this state in the place of the step's former one; an unshared mapping is changed itself."""
    if type(steps) is Unshared:
        steps[step.number] = step
        return steps
    return {**steps, step.number: step}
