"""What an agent is shown of a gate before it approves. What cannot be shown whole is no agent's to approve."""

from __future__ import annotations

from sopwith.core.actor import Actor
from sopwith.core.address import StepId
from sopwith.core.approvers import approvers_of, gate_of
from sopwith.core.frames import disarmed
from sopwith.core.people import AGENT
from sopwith.core.run import Gate, Run
from sopwith.engine.documents import pinned_document
from sopwith.engine.parts import Parts
from sopwith.engine.records import envelope_of
from sopwith.errors import ApproverNotAllowed

MOST_ASKED = 64_000
"""Characters, as they are shown."""


def asked_text(parts: Parts, run: Run, step: StepId | None, gate: Gate) -> str | None:
    """All that an approval of the gate covers; None where it is lost. In ASCII: no two things may look the same."""
    envelope = envelope_of(parts, gate.digest)
    if envelope is None:
        return None
    import json  # only an agent is shown it

    return json.dumps({"envelope": envelope} | ({"procedure": pinned_document(run)} if step is None else {}))


def check_shown(parts: Parts, run: Run, step: StepId | None, actor: Actor) -> None:
    """ApproverNotAllowed where nothing could show an agent the whole of what it would approve."""
    gate = gate_of(run, step)
    if gate is None:
        return
    text = asked_text(parts, run, step, gate)
    if text is not None and len(disarmed(text)) <= MOST_ASKED:
        return
    how = "can no longer be shown" if text is None else "is too long to be shown to an agent"
    raise ApproverNotAllowed(
        f"{actor} may not approve in {run.run_id}: what is asked {how}",
        hint=f"ask a person to look at it: sop approve {run.run_id}",
    )


def is_too_long(parts: Parts, run: Run, step: StepId | None, gate: Gate) -> bool:
    """Whether no agent can be shown the whole of it."""
    text = asked_text(parts, run, step, gate)
    return text is not None and len(disarmed(text)) > MOST_ASKED


def names_agents_only(run: Run, step: StepId | None) -> bool:
    """Whether no person may approve at the gate."""
    approvers = approvers_of(run, step)
    return bool(approvers) and all(each.startswith(AGENT) for each in approvers)
