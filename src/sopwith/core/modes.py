"""Which mode a run has: what the files say, what the config says, what the caller asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.people import Directory, Right, check_right
from sopwith.core.procedure import ExecutionMode, Priority, Procedure
from sopwith.errors import NotAllowed

if TYPE_CHECKING:
    from sopwith.core.config import Config

_STRICTNESS = (ExecutionMode.AUTO, ExecutionMode.SUPERVISED, ExecutionMode.STEP_BY_STEP)

PRIORITY_MODES = {
    Priority.CRITICAL: ExecutionMode.AUTO,
    Priority.HIGH: ExecutionMode.AUTO,
    Priority.NORMAL: ExecutionMode.SUPERVISED,
    Priority.LOW: ExecutionMode.SUPERVISED,
}


def declared_mode(procedure: Procedure, config: Config) -> ExecutionMode:
    """What the files say, as written; config.json where they are silent."""
    return procedure.execution_mode or config.default_execution_mode


def effective_mode(mode: ExecutionMode, priority: Priority, config: Config) -> ExecutionMode:
    """The same without priority_based, which stands for another mode at each priority."""
    if mode is not ExecutionMode.PRIORITY_BASED:
        return mode
    return config.priority_modes.get(priority, PRIORITY_MODES[priority])


def strictness(mode: ExecutionMode) -> int:
    """0 auto, 1 supervised, 2 step_by_step. Raises ValueError for priority_based: resolve it first."""
    return _STRICTNESS.index(mode)


def choose_mode(
    procedure: Procedure, config: Config, *, requested: ExecutionMode | None, actor: Actor
) -> ExecutionMode:
    """The mode the run gets. Anybody may ask for a stricter one, only a person with the right for a looser one."""
    own = effective_mode(declared_mode(procedure, config), procedure.priority, config)
    if requested is None:
        return own
    wanted = effective_mode(requested, procedure.priority, config)
    if strictness(wanted) < strictness(own):
        if actor.kind is not ActorKind.HUMAN:
            raise NotAllowed(
                f"{actor} may not run {procedure.name} as {wanted}: it is {own}, and only a person may loosen that",
                hint="leave out the mode, or ask for a stricter one",
            )
        people = Directory(config)
        to = f"run {procedure.name} as {wanted}, which is {own}"
        check_right(actor, Right.OPERATE, people, to, procedure=procedure.name)
        rules = procedure.approval
        if rules is not None and (rules.approvers or rules.quorum) and people.standing(actor).roles is None:
            raise NotAllowed(
                f"{actor} may not run {procedure.name} as {wanted}: that takes away approvals of "
                f"{', '.join(rules.approvers) or 'several people'}",
                hint="leave out the mode, or give somebody the role admin in config.json",
            )
    return wanted
