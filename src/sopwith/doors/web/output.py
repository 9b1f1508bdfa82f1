"""What a step printed, as bytes and by ranges: `Range: bytes=N-` goes on where a reader stopped, while it runs too."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse

from sopwith.doors.web.problems import BadRange
from sopwith.engine.outputs import open_output

if TYPE_CHECKING:
    from sopwith.doors.web.app import Application
    from sopwith.doors.web.office import Desk
    from sopwith.doors.web.table import Asked

_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")
_MEDIA_TYPE = "text/plain; charset=utf-8"


async def output(app: Application, asked: Asked) -> Response:
    """The whole, or the part that Range names."""
    file = await app.office.read(lambda desk: _open(desk, asked))
    if file is None:
        return Response(b"", media_type=_MEDIA_TYPE, headers={"accept-ranges": "bytes"})
    size = os.fstat(file.fileno()).st_size
    try:
        chosen = chosen_range(asked.headers.get("range"), size)
    except BadRange:
        file.close()
        raise
    first, end = chosen or (0, size)
    headers = {"accept-ranges": "bytes", "content-length": str(end - first)}
    if chosen is not None:
        headers["content-range"] = f"bytes {first}-{end - 1}/{size}"
    return StreamingResponse(
        chunks(app, file, first, end),
        status_code=200 if chosen is None else 206,
        media_type=_MEDIA_TYPE,
        headers=headers,
    )


def chosen_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the one behind the last; None: the whole. A header that is none of ours is passed over.

    Raises BadRange where there are no such bytes.
    """
    found = _RANGE.fullmatch(header.strip()) if header is not None else None
    if found is None or found.group(1) == found.group(2) == "":
        return None
    if found[1] == "":
        first, end = max(0, size - int(found[2])), size
    else:
        first = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < first:
            return None
    if first >= end:
        raise BadRange(
            f"there are {size} bytes, and none of this range",
            hint="ask again",
            headers={"content-range": f"bytes */{size}"},
        )
    return first, end


def _open(desk: Desk, asked: Asked) -> FileIO | None:
    from sopwith.doors.web.runs import check_step, step_of

    reader, run_id, step = desk.reader(asked), asked.path["runId"], step_of(asked)
    check_step(reader.run(run_id), step)
    wanted = asked.query.get("verification", 0)
    outputs = [each for each in reader.outputs(run_id, step) if each.step == step]
    found = [each for each in outputs if each.verifies] if wanted else outputs[:1]
    path = found[wanted - 1].path if len(found) >= max(wanted, 1) else None
    return None if path is None else open_output(path, desk.workspace.run_folder(run_id))


def _chunk(file: FileIO, size: int, _desk: Desk) -> bytes:
    return file.read(size)


async def chunks(app: Application, file: FileIO, first: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of an open file, which is closed at the end; no more where the server stops."""
    try:
        file.seek(first)
        left = end - first
        while left > 0 and not app.stopping.is_set():
            size = min(_CHUNK, left)
            chunk = await app.office.read(partial(_chunk, file, size))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk
    finally:
        file.close()
