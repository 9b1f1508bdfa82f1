"""What the conditions of a run will come to, as far as that is known before it is made.

Known are the parameters, the run but for its id, and the steps that will be skipped. CEL itself says whether a value
that is not known decides anything: `a || b` holds where one of them does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial

import msgspec

from sopwith.core import events as ev
from sopwith.core.actor import Actor
from sopwith.core.approval import NO_RULES
from sopwith.core.events import Event, ParamValue
from sopwith.core.evolve import begin
from sopwith.core.gates import needs_gate
from sopwith.core.procedure import ExecutionMode, Procedure
from sopwith.core.run import Run, StepStatus

_RUN_ID = "run.id"


class Foresight(msgspec.Struct, frozen=True, kw_only=True):
    """What one condition will come to. `result` None: not known before `needs` are, which the steps `after` hand on.

    Without needs it cannot be evaluated at all, for `reason`: the run would pause, or the gate ask.
    """

    expression: str
    result: bool | None
    needs: tuple[str, ...] = ()
    after: tuple[int, ...] = ()
    reason: str = ""


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """A step's own condition, and that of its gate where it decides anything; None: there is none."""

    condition: Foresight | None = None
    when: Foresight | None = None

    @property
    def skipped(self) -> bool:
        """Whether it is known that the step will not run."""
        return self.condition is not None and self.condition.result is False


def foresee(
    procedure: Procedure,
    order: Iterable[int],
    *,
    mode: ExecutionMode,
    params: Mapping[str, ParamValue],
    started_by: Actor,
) -> dict[int, Foreseen]:
    """Step number -> what is known of it; `order` has what a step depends on before it."""
    run = _imagined(procedure, mode, params, started_by)
    named = {str(step.number): step.number for step in procedure.steps}
    named |= {step.key: step.number for step in procedure.steps if step.key is not None}
    found: dict[int, Foreseen] = {}
    for number in order:
        step = procedure.step(number)
        own = None if step.condition is None else _foresight(run, named, number, step.condition)
        when = (step.approval or procedure.approval or NO_RULES).when
        decides = when is not None and needs_gate(mode, step) and mode is not ExecutionMode.STEP_BY_STEP
        found[number] = Foreseen(condition=own)
        if found[number].skipped:
            run = _with_skipped(run, number)
        elif decides and when is not None:
            found[number] = Foreseen(condition=own, when=_foresight(run, named, number, when))
    return found


def _imagined(procedure: Procedure, mode: ExecutionMode, params: Mapping[str, ParamValue], started_by: Actor) -> Run:
    """The run as it would be right after it was made."""
    created = ev.RunCreated(
        sop_name=procedure.name,
        version=procedure.version,
        procedure_digest="",
        mode=mode,
        declared_mode=mode,
        total_steps=len(procedure.steps),
        params=dict(params),
    )
    return begin(procedure, Event(run_id="", seq=1, at=datetime.fromtimestamp(0, UTC), actor=started_by, body=created))


def _with_skipped(run: Run, number: int) -> Run:
    skipped = msgspec.structs.replace(run.steps[number], status=StepStatus.SKIPPED)
    return msgspec.structs.replace(run, steps={**run.steps, number: skipped})


def _foresight(run: Run, named: Mapping[str, int], number: int, expression: str) -> Foresight:
    # CEL is imported only where a procedure has a condition
    from sopwith.core import conditions, scope

    is_open = partial(_is_open, run, named)
    known = {name: value for name, value in scope.values_for(run, number).items() if not is_open(name)}
    verdict = conditions.evaluate(expression, scope.scope_of(run.procedure, number), known, is_open=is_open)
    if verdict.result is not None:
        return Foresight(expression=expression, result=verdict.result)
    needs = tuple(sorted(name for name in conditions.names_in(expression) if is_open(name)))
    steps = {_step_of(named, name) for name in needs} - {None}
    return Foresight(
        expression=expression,
        result=None,
        needs=needs,
        after=tuple(sorted(step for step in steps if step is not None)),
        reason="" if needs else verdict.reason,
    )


def _is_open(run: Run, named: Mapping[str, int], name: str) -> bool:
    """Whether a name gets its value only while the run goes on."""
    step = _step_of(named, name)
    return name == _RUN_ID if step is None else run.steps[step].status is not StepStatus.SKIPPED


def _step_of(named: Mapping[str, int], name: str) -> int | None:
    """The step that a dotted name is about."""
    root, _, rest = name.partition(".")
    return named[rest.partition(".")[0]] if root == "steps" else None
