"""Errors as HTTP tells them: problem details (RFC 9457) with our code and hint, and the status that `errors.py` names.

The errors below are of this door alone. What goes wrong inside is told without a word of what it was.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from sopwith.engine.documents import Document, error_document
from sopwith.errors import BadRequest, LimitReached, NotFound, SopwithError

MEDIA_TYPE = "application/problem+json"


class Unauthenticated(SopwithError):
    """The token is missing, or it is none that holds; nobody is told which."""

    code = "unauthenticated"
    http_status = 401

    def __init__(self) -> None:
        super().__init__("this needs a token that holds", hint="send it as: Authorization: Bearer TOKEN")


class WrongHost(SopwithError):
    """The request is for a name that is not this server's: another name was made to point here, perhaps."""

    code = "wrong_host"
    http_status = 421


class ForeignOrigin(SopwithError):
    """A web page that is not this server's sent the request."""

    code = "foreign_origin"
    http_status = 403


class TooMany(SopwithError):
    """More calls, failed sign-ins or open streams than one caller may have."""

    code = "too_many_requests"
    http_status = 429


class Busy(SopwithError):
    """The server has as much open as it can have."""

    code = "busy"
    http_status = 503


class NoSuchRoute(NotFound):
    """Nothing is served under this path."""

    code = "no_such_route"


class WrongMethod(BadRequest):
    """The path takes other methods."""

    code = "method_not_allowed"
    http_status = 405


class TooLarge(BadRequest):
    """The body is larger than any call needs."""

    code = "too_large"
    http_status = 413


class TooSlow(BadRequest):
    """The body did not come in time."""

    code = "too_slow"
    http_status = 408


class NotJson(BadRequest):
    """The body is not declared as JSON, or encoded."""

    code = "unsupported_media_type"
    http_status = 415


class BadRange(BadRequest):
    """There is no such part of the output."""

    code = "range_not_satisfiable"
    http_status = 416


class Unaimed(BadRequest):
    """A decision that says neither which revision nor which gate it is about."""

    code = "precondition_required"
    http_status = 428


class Internal(SopwithError):
    """A fault of Sopwith's own."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__("something went wrong inside the server", hint="its log tells more")


OWN: tuple[type[SopwithError], ...] = (
    *(Unauthenticated, WrongHost, ForeignOrigin, TooMany, Busy, NoSuchRoute, WrongMethod, TooLarge, TooSlow, NotJson),
    *(BadRange, Unaimed, Internal),
)
_UNTOLD = frozenset({"headers"})
_RENAMED = {"status": "runStatus", "type": "kind", "title": "stepTitle", "detail": "more"}
"""Details whose names stand for something else in a problem."""


def problem(error: SopwithError) -> Document:
    """`{type, title, status, detail, code, hint, …}`."""
    told: dict[str, Any] = error_document(error)["error"]
    message = told.pop("message")
    if not told["hint"]:
        del told["hint"]
    if isinstance(error, LimitReached):
        told.pop("holders", None)
    return {
        "type": f"urn:sopwith:error:{error.code}",
        "title": HTTPStatus(error.http_status).phrase,
        "status": error.http_status,
        "detail": message,
        **{_RENAMED.get(key, key): value for key, value in told.items() if key not in _UNTOLD},
    }


def headers_of(error: SopwithError) -> dict[str, str]:
    """What a status takes besides."""
    headers: dict[str, str] = dict(error.details.get("headers", {}))
    if error.http_status == 401:
        headers["www-authenticate"] = 'Bearer realm="sopwith"'
    return headers
