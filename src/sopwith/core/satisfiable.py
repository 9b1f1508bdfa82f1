"""Gates that nobody could ever pass: told when a procedure is validated, and before a run of it is made.

Counted with groups and roles as they are now. Without roles, a gate that lists nobody can always be passed.
"""

from __future__ import annotations

from collections.abc import Iterator

from sopwith.core.actor import Actor
from sopwith.core.approval import NO_RULES, ApprovalRules
from sopwith.core.gates import needs_gate, needs_start_gate
from sopwith.core.people import Directory
from sopwith.core.procedure import ExecutionMode, Procedure

Unsatisfiable = tuple[int | None, str, str]
"""The step's number (None: the start), what stands in the way, and what to do."""


def unsatisfiable(
    procedure: Procedure, directory: Directory, *, starter: Actor | None, mode: ExecutionMode
) -> Iterator[Unsatisfiable]:
    """Every gate of a run in this mode, or of a rollback, that nobody could pass; and, without a `starter`, runners who
    are nobody.

    `starter` is who is about to make a run: they count only where they may approve in it themselves, and a gate with a
    condition counts only where the mode asks in any case. None: anybody may start it, and every gate counts.
    """
    if starter is None and procedure.runners and not directory.members(procedure.runners):
        named = ", ".join(procedure.runners)
        yield None, f"nobody could start it: its runners, {named}, are nobody", "fill the group in config.json"
    if needs_start_gate(mode):
        yield from _gate(None, "the start", procedure.approval or NO_RULES, directory, starter, procedure.name)
    for step in procedure.steps:
        rules = step.approval or procedure.approval or NO_RULES
        asked_anyway = starter is None or rules.when is None or mode is ExecutionMode.STEP_BY_STEP
        found: list[Unsatisfiable] = []
        if needs_gate(mode, step) and asked_anyway:
            found += _gate(step.number, f"step {step.number}", rules, directory, starter, procedure.name)
        if not found and step.rollback is not None and step.rollback.requires_approval:
            # it asks in every mode, whatever `when` says, and is never handed on: it has no time-out
            gate = f"the rollback of step {step.number}"
            found += _gate(step.number, gate, rules, directory, starter, procedure.name, escalates=False)
        yield from found


def _gate(
    number: int | None,
    gate: str,
    rules: ApprovalRules,
    directory: Directory,
    starter: Actor | None,
    procedure: str,
    *,
    escalates: bool = True,
) -> Iterator[Unsatisfiable]:
    able = directory.electorate(rules, starter, procedure=procedure, escalates=escalates)
    if able is None or len(able) >= rules.votes_needed:
        return
    needed = "an approval" if rules.votes_needed == 1 else f"{rules.votes_needed} approvals"
    anybody = directory.electorate(rules, None, procedure=procedure, escalates=escalates)
    besides = starter is not None and able != anybody
    nobody, others = ("nobody else", " others") if besides else ("nobody", "")
    could = f"only {len(able)}{others}" if able else nobody
    named = ", ".join(rules.approvers) or "those whose role lets them approve"
    hint = "add people to its approvers, to their groups or roles in config.json, or lower the quorum"
    yield number, f"{gate} needs {needed} of {named}, and {could} could give one", hint
