"""All routes there are. One that is not in this table is not served.

A route whose caller has no token declares `Proof.SIGNATURE` and is `raw`: its handler proves from the bytes of the body
who sent it, and raises `app.unproven(asked.address)` where it cannot.
"""

from __future__ import annotations

from sopwith.core.people import Right
from sopwith.doors.web import auditing, evidence, hooks, keeping, outside, procedures, records, runs, steering
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
    *outside.ROUTES,
    *hooks.ROUTES,
    *steering.ROUTES,
    *evidence.ROUTES,
    *auditing.ROUTES,
)
