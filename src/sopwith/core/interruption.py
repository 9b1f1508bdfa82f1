"""What becomes of a step that was interrupted: what it says itself, and how far that goes without a person.

Decision 0011 has the table of all cases.
"""

from __future__ import annotations

from msgspec.structs import replace

from sopwith.core.procedure import InterruptRules, OnInterrupt, Script, Step

MAX_RERUNS = 3
"""How often a step is run again by itself after interruptions, in one visit: a crash loop must end."""
VERIFY_SECS = 60
"""How long a verification may take."""
REPORT_VERIFY_SECS = 600
"""How long that of a report may take: somebody waits for it, and a test suite is a fair check."""
EXECUTOR = "shell"
"""Carries verifications out, whoever carries out the step."""
INTERPRETER = "bash"

_ASK = InterruptRules(policy=OnInterrupt.ASK)


def rules_of(step: Step) -> InterruptRules:
    """What the step says is done when it was interrupted."""
    return step.on_interrupt or _ASK


def text_of(step: Step) -> str:
    """`onInterrupt` as a manifest says it."""
    rules = rules_of(step)
    return f"{rules.policy}:{rules.command}" if rules.command else str(rules.policy)


def as_verification(step: Step) -> Step:
    """The step's verification as a step: its command, in the step's own surroundings, once.

    Of a step by hand the script that verifies reports.
    """
    script = step.verify or Script(interpreter=INTERPRETER, text=f"{rules_of(step).command}\n")
    return replace(step, executor=EXECUTOR, script=script, timeout_secs=None, retry=None, outputs={}, uses=None)
