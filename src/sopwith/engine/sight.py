"""What an actor may know of: the one rule by which procedures and their runs are there for somebody, or are not found.

It is asked of everybody who came through a token; whoever is at the machine itself can read the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sopwith.core.actor import Actor
from sopwith.core.people import Directory
from sopwith.core.procedure import check_name
from sopwith.engine.library import Library
from sopwith.errors import InvalidProcedure, LimitReached, NotFound, WorkspaceError

if TYPE_CHECKING:
    from sopwith.ports import RunSummary, Store


class OutOfSight(NotFound):
    """For whoever may not know of it, it is not there, in the same words; only the server's own log tells it apart."""


class Sight:
    """What this actor may know of, with config.json as it is now; None: everything."""

    def __init__(self, library: Library, actor: Actor | None) -> None:
        self._library = library
        self._actor = actor if actor is not None and actor.grant is not None else None
        self._people = Directory(library.config()) if self._actor is not None else None

    @property
    def is_whole(self) -> bool:
        """Whether nothing at all is kept from the actor, without a look at anything."""
        return self._actor is None

    def sees(self, procedure: str) -> bool:
        """Whether the procedure of this name, and its runs, are there for the actor."""
        return self._actor is None or self._people is None or self._people.sees(self._actor, procedure)

    def check_procedure(self, name: str) -> None:
        """BadName, or NotFound where the actor sees none of this name: in the same words, whether there is one."""
        check_name(name)
        if self._actor is None:
            return
        known = {entry.name for entry in self._library.entries()[0]}
        if name not in known or not self.sees(name):
            kind = OutOfSight if name in known else NotFound
            raise kind(f"no procedure is called {name}", hint="sop list shows those that you may see")

    def check_run(self, store: Store, run_id: str) -> None:
        """NotFound where the actor sees no such run. One that is not there at all is left to whoever reads it."""
        if self._actor is not None:
            summary = store.summary(run_id)
            if summary is not None and not self.sees(summary.name):
                raise no_such_run(run_id, OutOfSight)


def check_reach(store: Store, library: Library, actor: Actor, run_id: str) -> None:
    """NotFound where the actor may not know of the run that it is about to change.

    Where config.json cannot be read the token alone counts: to stop something must be easy, and all else is refused
    without it anyway.
    """
    if actor.grant is None:
        return
    try:
        Sight(library, actor).check_run(store, run_id)
    except (InvalidProcedure, WorkspaceError):
        summary: RunSummary | None = store.summary(run_id)
        if summary is not None and not actor.grant.covers(summary.name):
            raise no_such_run(run_id, OutOfSight) from None


def fit_to_tell(store: Store, library: Library, actor: Actor, error: LimitReached) -> LimitReached:
    """The error without the runs that the actor may not know of: that the slots are taken is all it is told of them."""
    from sopwith.core.admission import rule_of

    sight = Sight(library, actor)
    holders: tuple[str, ...] = tuple(error.details.get("holders", ()))
    if sight.is_whole or all((run := store.summary(each)) is not None and sight.sees(run.name) for each in holders):
        return error
    return LimitReached(
        f"{rule_of(error)}: others hold what there is, or came first",
        hint="try again later, or queue this one (sop run --queue)",
    )


def no_such_run(run_id: str, kind: type[NotFound] = NotFound) -> NotFound:
    """The same words for a run that is not there, and for one that somebody may not know of."""
    return kind(f"no run is called {run_id}", hint="sop history shows all runs")
