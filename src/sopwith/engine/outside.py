"""What can be asked about what happens outside: triggers, deliveries, notices. One answer for every door; for those who
came through a token, only about the procedures that they may know of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sopwith.core.actor import Actor
from sopwith.core.people import Directory, Right, check_right
from sopwith.core.procedure import Procedure, check_name
from sopwith.engine.documents import Document
from sopwith.engine.library import Library
from sopwith.engine.notifying import notices_document
from sopwith.engine.sight import OutOfSight, Sight, fit_to_tell
from sopwith.engine.trigger_documents import (
    Admission,
    delivery_document,
    foresight_document,
    read_event,
    triggers_document,
)
from sopwith.errors import LimitReached, NotFound
from sopwith.ports import Clock, Deliveries, Notices

if TYPE_CHECKING:
    from sopwith.engine.engine import Engine

ALL = 2**62
"""A number that no delivery has reached."""
_PAGE = 500


class Outside:
    """What is kept of one workspace's triggers and messages; without `engine`, `deliveries` or `notices` nothing was
    kept yet.
    """

    def __init__(
        self,
        library: Library,
        environ: Mapping[str, str],
        clock: Clock,
        *,
        engine: Engine | None = None,
        deliveries: Deliveries | None = None,
        notices: Notices | None = None,
        actor: Actor | None = None,
    ) -> None:
        self._library = library
        self._environ = environ
        self._clock = clock
        self._engine = engine
        self._deliveries = deliveries
        self._notices = notices
        self._actor = actor

    def triggers(self, name: str | None = None) -> Document:
        """`{triggers, problems}` of all procedures, or of one. Raises NotFound."""
        sight = Sight(self._library, self._actor)
        if name is not None:
            sight.check_procedure(name)
            self._library.find(name)
        found = triggers_document(self._library, self._environ, self._clock.now().at)
        return {
            key: [each for each in held if name in (None, each["sopName"]) and sight.sees(each["sopName"])]
            for key, held in found.items()
        }

    def foreseen(self, name: str, event: bytes) -> Document:
        """What an event, as JSON, would start of a procedure, and why not. Starts nothing. Raises BadRequest."""
        Sight(self._library, self._actor).check_procedure(name)
        procedure, read = self._library.procedure(name), read_event(event, self._clock.now().at)
        return foresight_document(procedure, read, self._admission(procedure, read))

    def _admission(self, procedure: Procedure, event: dict[str, Any]) -> Admission | None:
        engine, deliveries = self._engine, self._deliveries
        if engine is None or deliveries is None:
            return None
        # only whoever asks needs what makes runs
        from sopwith.engine.admitting import admission_now
        from sopwith.engine.armed import Armed

        def told(error: LimitReached) -> LimitReached:
            if self._actor is None:
                return error
            return fit_to_tell(engine.parts.store, self._library, self._actor, error)

        return lambda trigger, params: admission_now(
            engine,
            deliveries,
            Armed(procedure, trigger),
            params=params,
            event=event,
            fit_to_tell=told,
        )

    def deliveries(self, *, name: str | None = None, before: int = ALL, limit: int) -> Document:
        """`{deliveries}`: the newest first, with numbers below `before`."""
        if name is not None:
            check_name(name)
        sight = Sight(self._library, self._actor)
        kept, rows = self._deliveries, list[Document]()
        while kept is not None and len(rows) < limit and (page := kept.newest(before, _PAGE)):
            rows += [
                delivery_document(each)
                for each in page
                if name in (None, each.procedure) and sight.sees(each.procedure)
            ]
            before = page[-1].number
        return {"deliveries": rows[:limit]}

    def delivery(self, number: int) -> Document:
        """One delivery with its event. Raises NotFound."""
        found = self._deliveries.delivery(number) if self._deliveries is not None else None
        if found is None or not Sight(self._library, self._actor).sees(found.procedure):
            kind = NotFound if found is None else OutOfSight
            raise kind(f"there is no delivery {number}", hint="sop trigger log lists them")
        return delivery_document(found, with_event=True)

    def notices(self, limit: int) -> Document:
        """`{notices}`, the newest first; they name procedures of all kinds. Raises NotAllowed."""
        if self._actor is not None:
            check_right(self._actor, Right.LOOK, Directory(self._library.config()), "see what was told to whom")
        return {"notices": notices_document(self._notices.newest(limit)) if self._notices is not None else []}
