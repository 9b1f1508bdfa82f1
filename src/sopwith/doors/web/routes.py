"""All routes there are. One that is not in this table is not served."""

from __future__ import annotations

from sopwith.core.people import Right
from sopwith.doors.web import hooks, keeping, procedures, records, runs
from sopwith.doors.web.office import Desk
from sopwith.doors.web.openapi import description
from sopwith.doors.web.table import API, Answer, Asked, Route


def _openapi(_desk: Desk, _asked: Asked) -> Answer:
    return Answer(description(ROUTES))


ROUTES: tuple[Route, ...] = (
    *keeping.ROUTES,
    Route(
        method="GET",
        path=f"{API}/openapi.json",
        right=Right.LOOK,
        about="This API as OpenAPI 3.1.",
        handler=_openapi,
    ),
    *procedures.ROUTES,
    *runs.ROUTES,
    *records.ROUTES,
    *hooks.ROUTES,
)
