"""How the scripts of a rehearsal go: as the scenario says, try by try. No process is started."""

from __future__ import annotations

from collections import Counter

from sopwith.core.address import StepId, step_id
from sopwith.core.commands import StepResult
from sopwith.parse.scenario import Scenario, Stub
from sopwith.ports import WorkOrder
from sopwith.testing.executor import FakeWorld, Play, key_of

_INTERRUPTED = "the scenario says so"
_SUCCEEDS = Stub()


class StubbedWorld(FakeWorld):
    """A world whose attempts go as a scenario says; a script that it does not name succeeds at once.

    `verifies`: it is the world of the scripts that verify reports.
    """

    def __init__(self, scenario: Scenario, *, verifies: bool = False) -> None:
        super().__init__()
        self._scenario = scenario
        self._of_reports = verifies
        if not verifies:
            self._checks = StubbedWorld(scenario, verifies=True)
        self._tries: Counter[tuple[StepId, bool]] = Counter()
        self.before_start = self._choose
        self.after_start = self._perhaps_lose

    def _choose(self, order: WorkOrder) -> None:
        script = _script_of(order)
        played = self._tries[script]
        self._tries[script] += 1
        stub = self._stub(order)
        code = stub.exit_codes[min(played, len(stub.exit_codes) - 1)]
        error = f"exit status {code}" if code else ""
        result = StepResult(exit_code=code, error=error, outputs=stub.outputs)
        self.plays[order.step.number] = (Play(result=result, seconds=stub.takes_secs, output=stub.output.encode()),)

    def _perhaps_lose(self, order: WorkOrder) -> None:
        if self._stub(order).interrupted and self._tries[_script_of(order)] == 1:
            self.lose(key_of(order), _INTERRUPTED)

    def _stub(self, order: WorkOrder) -> Stub:
        number, is_rollback = _script_of(order)
        stubs = self._scenario.rollbacks if is_rollback else self._scenario.stubs
        stubs = self._scenario.verifications if self._of_reports else stubs
        # what is said of a step holds for its instances
        return stubs.get(number) or stubs.get(order.step.number, _SUCCEEDS)


def _script_of(order: WorkOrder) -> tuple[StepId, bool]:
    """The step, and whether it is its rollback script that is meant."""
    return step_id(order.step.number, order.instance), "SOP_ROLLBACK" in order.environment
