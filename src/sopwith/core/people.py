"""Who is who: the users, groups and roles of config.json, and what an actor may do because of them.

What was read here is stored with each decision, so a record shows by which rights it was made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from sopwith.core.actor import Actor, ActorKind
from sopwith.core.approval import ApprovalRules, TimeoutAction
from sopwith.core.grants import Grant, Role, named_by
from sopwith.core.procedure import Procedure
from sopwith.errors import NotAllowed

if TYPE_CHECKING:
    from sopwith.core.config import Config

USER, GROUP, AGENT = "user:", "group:", "agent:"


class Right(StrEnum):
    """What a role allows. At the machine itself looking, rejecting, pausing and cancelling need none."""

    LOOK = "look"
    """Asked of who comes through a token: anybody else can read the files."""
    STOP = "stop"
    """Reject, pause, cancel. Asked of who comes through a token: to stop something at the machine must be easy."""
    START = "start"
    STEER = "steer"
    """Resume, retry, roll back, skip, complete, fail, block."""
    APPROVE = "approve"
    OPERATE = "operate"
    """Run a procedure in a looser mode than its own."""
    WRITE = "write"
    """Make procedures and try them out. Asked of who comes through a token: anybody else can write the files."""
    PRUNE = "prune"
    """Drop the records of ended runs, as the retention allows."""
    MANAGE = "manage"
    """Make and revoke tokens, read the server's own log, have the workspace examined."""


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.LOOK}),
    Role.RUNNER: frozenset({Right.LOOK, Right.STOP, Right.START, Right.STEER}),
    Role.APPROVER: frozenset({Right.LOOK, Right.STOP, Right.APPROVE}),
    Role.AUTHOR: frozenset({Right.LOOK, Right.WRITE}),
    Role.ADMIN: frozenset(Right),
}
FREE = frozenset({Right.LOOK, Right.STOP, Right.WRITE})
"""Rights that everybody at the machine has."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What config.json says of one actor at one moment. `roles` None: it names no roles, and nobody is held by them.

    `grant` and `covered`: what the actor's token gives, and whether it holds for the procedure that is asked about.

    `config_digest` is the SHA-256 of config.json as it was read, empty where there was none.
    """

    name: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[Role, ...] | None = None
    config_digest: str = ""
    grant: Grant | None = None
    covered: bool = True

    def may(self, right: Right) -> bool:
        if self.grant is None and right in FREE:
            return True
        by_config = self.roles is None or any(right in RIGHTS[role] for role in self.roles)
        return by_config and self.is_granted(right)

    def is_granted(self, right: Right) -> bool:
        """Whether the token, where there is one, leaves the right."""
        return self.grant is None or (self.covered and right in RIGHTS[self.grant.role])


class Directory:
    """The people of one workspace, as config.json has them now; None: it was not read."""

    def __init__(self, config: Config | None) -> None:
        self._read = config

    @cached_property
    def _config(self) -> Config:
        from sopwith.core.config import Config  # who looks at a run of one person asks for nobody's rights

        return self._read or Config()

    def standing(self, actor: Actor, procedure: str | None = None) -> Standing:
        """What the actor is and may, about this procedure. An agent belongs to no group: it counts by name only.

        One that uses a person's token has that person's roles, for it may no more than they.
        """
        holder = holder_of(actor)
        named = tuple(sorted(name for name, members in self._config.groups.items() if actor.id in members))
        groups, held = named, named if holder.kind is ActorKind.HUMAN else ()
        if actor.kind is not ActorKind.HUMAN:
            groups = ()
        user = self._config.users.get(actor.id) if actor.kind is ActorKind.HUMAN else None
        roles = (role for role, members in self._holders(procedure) if matches(members, holder, held))
        return Standing(
            name=user.name if user else "",
            groups=groups,
            roles=tuple(dict.fromkeys(roles)) if self._names_roles else None,
            config_digest=self._config.digest,
            grant=actor.grant,
            covered=actor.grant is None or actor.grant.covers(procedure),
        )

    def sees(self, actor: Actor, procedure: str) -> bool:
        """Whether the actor may know that this procedure, and its runs, are there."""
        return self.standing(actor, procedure).may(Right.LOOK)

    @property
    def _names_roles(self) -> bool:
        return bool(self._config.roles or self._config.procedure_roles)

    def _holders(self, procedure: str | None) -> Iterator[tuple[Role, tuple[str, ...]]]:
        """Each role and who has it: for everything, and for this procedure."""
        yield from self._config.roles.items()
        for pattern, roles in self._config.procedure_roles.items():
            if procedure is not None and named_by((pattern,), procedure):
                yield from roles.items()

    def members(self, principals: Iterable[str]) -> frozenset[str]:
        """Everybody whom the principals name, as `user:…` and `agent:…`; groups are opened, unknown ones are empty."""
        found: set[str] = set()
        for principal in principals:
            if principal.startswith(GROUP):
                found.update(USER + name for name in self._config.groups.get(principal.removeprefix(GROUP), ()))
            else:
                found.add(principal)
        return frozenset(found)

    def electorate(
        self,
        rules: ApprovalRules,
        starter: Actor | None,
        *,
        procedure: str,
        escalates: bool = True,
        workers: Collection[str] = (),
    ) -> frozenset[str] | None:
        """The ids of everybody who could still come to approve at a gate with these rules.

        `starter` is who started the run, where that is known; `escalates`: the gate was or will be handed on, if its
        rules say so; `workers` have reported steps of the run, by id. None: any person may, which nobody can count.
        """
        principals = rules.approvers
        if rules.approvers and escalates and rules.on_timeout is TimeoutAction.ESCALATE:
            principals += rules.escalate_to
        if not principals and not self._names_roles:
            return None
        if not principals:
            holders = (who for role, who in self._holders(procedure) if Right.APPROVE in RIGHTS[role])
            principals = tuple(each for who in holders for each in who if not each.startswith(AGENT))
        able = self.members(principals)
        if starter is not None:
            # as a person only, and only where the rules let them
            able -= {AGENT + starter.id} if rules.self_approval else {AGENT + starter.id, USER + starter.id}
        able -= {AGENT + worker for worker in workers}
        return frozenset(member.partition(":")[2] for member in able)


NO_PEOPLE = Directory(None)
"""Nobody in particular: config.json was not asked."""


def check_right(actor: Actor, right: Right, people: Directory, to: str, *, procedure: str | None = None) -> None:
    """NotAllowed unless the actor has the right, about this procedure; `to` says what for: "start procedures"."""
    check_grant(actor, right, to, procedure=procedure)
    if people.standing(actor, procedure).may(right):
        return
    able = _able(right)
    raise NotAllowed(
        f"{actor} may not {to}: config.json gives that to the role {able}",
        hint="ask somebody who has the role, or have it given to you in config.json",
    )


def check_grant(actor: Actor, right: Right, to: str, *, procedure: str | None = None) -> None:
    """NotAllowed unless the token that the actor came through, if it did, gives the right about this procedure."""
    if actor.grant is None:
        return
    if right not in RIGHTS[actor.grant.role]:
        raise NotAllowed(
            f"{actor} may not {to}: the token has the role {actor.grant.role}, and that takes {_able(right)}",
            hint="use a token that has the role",
        )
    if not actor.grant.covers(procedure):
        what = "everything" if procedure is None else procedure
        raise NotAllowed(
            f"{actor} may not {to}: the token is not for {what}, only for {', '.join(actor.grant.procedures)}",
            hint="use a token that is for it",
        )


def _able(right: Right) -> str:
    return " or ".join(role.value for role in RIGHTS if right in RIGHTS[role])


def check_runner(procedure: Procedure, actor: Actor, people: Directory) -> None:
    """NotAllowed unless the actor may start the procedure: by right, and by its `runners` where it names some."""
    if actor.kind in (ActorKind.SYSTEM, ActorKind.TRIGGER):
        return  # the procedure's own triggers are not people
    check_right(actor, Right.START, people, "start procedures", procedure=procedure.name)
    holder = holder_of(actor)
    if procedure.runners and not matches(procedure.runners, holder, people.standing(holder).groups):
        raise NotAllowed(
            f"{actor} may not start {procedure.name}: its runners are {', '.join(procedure.runners)}",
            hint="ask one of them",
        )


def matches(principals: Iterable[str], actor: Actor, groups: Iterable[str]) -> bool:
    """Whether the principals name this actor: a person by name or group, an agent by name only."""
    if actor.kind is ActorKind.AGENT and not is_lent(actor):
        return AGENT + actor.id in principals
    if actor.kind is not ActorKind.HUMAN:
        return False
    return not {USER + actor.id, *(GROUP + group for group in groups)}.isdisjoint(principals)


def holder_of(actor: Actor) -> Actor:
    """Whose rights these are: a person's, where an agent uses their token."""
    return replace(actor, kind=ActorKind.HUMAN) if is_lent(actor) else actor


def is_lent(actor: Actor) -> bool:
    """Whether it is an agent, or a step, that uses a person's token."""
    return actor.grant is not None and actor.grant.lent
