"""The routes of the whole record: verify it, take it elsewhere as a bundle or a backup, drop what is too old.

What is sent is made on disk first, and told with its SHA-256: an answer that was cut off is not taken for a whole one.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response, StreamingResponse

from sopwith.core.people import Directory, Right, check_right
from sopwith.doors.web.office import Desk
from sopwith.doors.web.output import chunks
from sopwith.doors.web.runs import RUN
from sopwith.doors.web.schemas import OBJECT, record, text
from sopwith.doors.web.table import API, Answer, Asked, Route
from sopwith.errors import BadArgument

if TYPE_CHECKING:
    from sopwith.audit.trust import Copy
    from sopwith.backup.outgoing import Choice, Outgoing
    from sopwith.doors.web.app import Application

AUDIT = f"{API}/audit"
DIGEST = "sopwith-sha256"
MADE = "sopwith-made"
"""Headers: the SHA-256 of all that is sent, and what is in it, as JSON in base64."""
_MOST_RUNS = 1000
_TAR = "application/x-tar"
_CHECKPOINTS = {
    "checkpoints": {
        "type": "array",
        "maxItems": 20,
        "items": {"type": "string", "maxLength": 262_144},
        "description": "Files of checkpoints that were kept elsewhere, each as its text",
    }
}


def _verification(desk: Desk, asked: Asked) -> Answer:
    config = desk.engine.parts.library.config()
    check_right(asked.who, Right.LOOK, Directory(config), "have the whole log verified")
    return Answer(_verified(desk, None, asked))


def _verification_of_run(desk: Desk, asked: Asked) -> Answer:
    run_id = asked.path["runId"]
    # also of a run whose content retention dropped
    desk.reader(asked).events_after(run_id, 0, 0)
    return Answer(_verified(desk, run_id, asked))


def _verified(desk: Desk, run_id: str | None, asked: Asked) -> dict[str, Any]:
    from sopwith.assembly import open_keeper

    with open_keeper(desk.workspace) as keeper:
        return {"runId": run_id, **keeper.verify(run_id, brought=_brought(asked), reader=asked.who).document()}


def _prune(desk: Desk, asked: Asked) -> Answer:
    from sopwith.assembly import open_keeper

    dry_run, now = asked.body.get("dryRun", False), desk.engine.parts.clock.now().at
    with open_keeper(desk.workspace) as keeper:
        dropped = keeper.retain(now, by=asked.who, dry_run=dry_run)
    days = desk.engine.parts.library.config().audit_retention_days
    return Answer({**dropped.document(days, dry_run=dry_run), "warnings": list(dropped.failures)})


async def _export(app: Application, asked: Asked) -> Response:
    from sopwith.backup.outgoing import export_for

    choice, brought = _chosen(asked), _brought(asked)
    return _sent(
        app,
        await app.office.apart(lambda desk: export_for(desk.engine, asked.who, choice, brought)),
        "sopwith-audit.tar",
    )


async def _backup(app: Application, asked: Asked) -> Response:
    from sopwith.backup.make import default_name
    from sopwith.backup.outgoing import backup_for

    outgoing = await app.office.apart(lambda desk: backup_for(desk.engine, asked.who))
    return _sent(app, outgoing, default_name(outgoing.document["madeAt"]))


def _sent(app: Application, outgoing: Outgoing, name: str) -> Response:
    made = base64.b64encode(msgspec.json.encode(outgoing.document)).decode()
    headers = {
        "content-length": str(outgoing.size_bytes),
        "content-disposition": f'attachment; filename="{name}"',
        DIGEST: outgoing.sha256,
        MADE: made,
    }
    return StreamingResponse(chunks(app, outgoing.file, 0, outgoing.size_bytes), media_type=_TAR, headers=headers)


def _chosen(asked: Asked) -> Choice:
    from sopwith.backup.outgoing import Choice
    from sopwith.engine.runs import check_run_id

    body = asked.body
    run_ids = tuple(body.get("runIds", ()))
    if [bool(run_ids), "since" in body, body.get("all", False)].count(True) != 1:
        raise BadArgument("expected runIds, since or all, and only one of these", hint='as: {"all": true}')
    for run_id in run_ids:
        check_run_id(run_id)
    return Choice(run_ids=run_ids, since=_instant(body["since"]) if "since" in body else None)


def _instant(words: str) -> datetime:
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise BadArgument("since: expected a time with its zone", hint="as 2026-01-31T00:00:00Z")
    return found


def _brought(asked: Asked) -> list[Copy]:
    from sopwith.audit.trust import copy_of

    given = asked.body.get("checkpoints", ())
    return [copy_of(f"checkpoints {number}", words.encode()) for number, words in enumerate(given, 1)]


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path=f"{AUDIT}/verification",
        right=Right.LOOK,
        about="Whether the whole log is what it was: a token for everything, at least a viewer's.",
        handler=_verification,
        body=_CHECKPOINTS,
        answer=record(fine={"type": "boolean"}),
        apart=True,
    ),
    Route(
        method="GET",
        path=f"{RUN}/verification",
        right=Right.LOOK,
        about="Whether the record is what it was.",
        handler=_verification_of_run,
        answer=record(fine={"type": "boolean"}),
        long=True,
    ),
    Route(
        method="POST",
        path=f"{RUN}/verification",
        right=Right.LOOK,
        about="Whether the record of a run is what it was, compared with checkpoints that were kept elsewhere.",
        handler=_verification_of_run,
        body=_CHECKPOINTS,
        answer=record(fine={"type": "boolean"}),
        apart=True,
    ),
    Route(
        method="POST",
        path=f"{AUDIT}/export",
        right=Right.LOOK,
        about="The records of runs as a bundle that others can verify, in a tar. Of all: what the caller may see.",
        live=_export,
        body={
            "runIds": {"type": "array", "items": {"type": "string", "maxLength": 64}, "maxItems": _MOST_RUNS},
            "since": text("Those that began since then: a time with its zone", most=40),
            "all": {"type": "boolean"},
            **_CHECKPOINTS,
        },
        media_type=_TAR,
        answer={"type": "string"},
    ),
    Route(
        method="POST",
        path=f"{AUDIT}/prune",
        right=Right.PRUNE,
        about="Drops the content of runs that ended more than auditRetentionDays ago. Their hashes stay.",
        handler=_prune,
        body={"dryRun": {"type": "boolean"}},
        answer=record(runs={"type": "array", "items": OBJECT}, total={"type": "integer"}),
        apart=True,
    ),
    Route(
        method="GET",
        path=f"{API}/backup",
        right=Right.MANAGE,
        about="The record in one file, as sop backup makes it, for sop restore. No private key is in it.",
        live=_backup,
        media_type=_TAR,
        answer={"type": "string"},
    ),
)
