"""Calls a Sopwith server over HTTP. What it refuses is raised here as the error that it was there."""

from __future__ import annotations

import http.client
import os
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from sopwith.engine.files import open_named
from sopwith.errors import BadRequest, Problem, SopwithError
from sopwith.version import __version__

Document = dict[str, Any]
_Response = http.client.HTTPResponse | urllib.error.HTTPError
SECS = 40.0
"""How long an answer may take: longer than the server itself lets a call take."""
PATIENT_SECS = 900.0
"""The same where the server has much to do first."""
_TRIES = 2
_PIECE = 256 * 1024
_OF_STATUS = {401: 5, 403: 5, 404: 6, 409: 5, 410: 6, 412: 5}
"""Exit codes of what this version does not know by its code; otherwise 2 below 500, and 1 above."""


class ServerUnreachable(SopwithError):
    """Nobody answered under the server's address, or not as a Sopwith server does."""

    code = "server_unreachable"
    http_status = 502


class ToldByServer(SopwithError):
    """An error of the server's that this version does not know."""

    def __init__(self, code: str, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]
        self.exit_code = _OF_STATUS.get(status, 2 if status < 500 else 1)  # type: ignore[misc]


class Client:
    """One server and one token."""

    def __init__(self, address: str, token: str | None, *, said: Mapping[str, str] = MappingProxyType({})) -> None:
        """`said`: headers of every call. Raises BadRequest for what is no address, and where the token is missing."""
        self.address = _checked(address)
        if not token:
            raise BadRequest(
                f"no token for {self.address}", hint="set SOPWITH_TOKEN to one that sop token create printed there"
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise BadRequest("SOPWITH_TOKEN holds no token", hint="it is one word, as sop token create printed it")
        self._token = token
        self._said = said
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context()), _NoRedirects()
        )

    def get(self, path: str, **query: Any) -> Document:
        """The document under this path; members of `query` that are None are left out."""
        data, _told = self._call(self._request("GET", path, query=query))
        return _document(data)

    def data(self, path: str, *, first: int = 0, **query: Any) -> bytes:
        """Bytes under this path, from this one on; empty where there are no more."""
        wanted = {"range": f"bytes={first}-"} if first else {}
        try:
            data, headers = self._call(self._request("GET", path, query=query, headers=wanted))
        except SopwithError as error:
            if error.code == "range_not_satisfiable":
                return b""
            raise
        # whoever knows no ranges answers the whole
        return data if not first or "content-range" in headers else data[first:]

    def post(
        self, path: str, body: Document, *, revision: int | None = None, keyed: bool = True, patient: bool = False
    ) -> Document:
        """Does it once, also where the answer is lost and it is sent again. `revision`: only if the run is at it.

        `keyed`: the route takes the name of a call; without one it is not sent again. `patient`: it may take long.
        """
        headers = {"content-type": "application/json"}
        if keyed:
            headers["idempotency-key"] = secrets.token_hex(16)
        if revision is not None:
            headers["if-match"] = f'"{revision}"'
        secs = PATIENT_SECS if patient else SECS
        request = self._request("POST", path, body=msgspec.json.encode(body), headers=headers)
        data, _told = self._call(request, secs=secs)
        return _document(data)

    def fetch(self, method: str, path: str, file: BinaryIO, *, body: Document | None = None) -> Mapping[str, str]:
        """Writes all that comes into the file, piece by piece; tells the headers. Not tried twice."""
        given = {} if body is None else {"content-type": "application/json"}
        data = None if body is None else msgspec.json.encode(body)
        request = self._request(method, path, body=data, headers=given)
        with self._reaching():
            response = self._answer(request, PATIENT_SECS)
        with response:
            if isinstance(response, urllib.error.HTTPError):
                _raise(response.status or 500, self._piece(response))
            while piece := self._piece(response, _PIECE):
                file.write(piece)
            return _headers(response)

    def send(self, path: str, file: Path) -> Document:
        """Sends a file as it is, piece by piece. Raises BadRequest where it is none."""
        with os.fdopen(open_named(file, "file", hint="nothing was sent"), "rb") as source:
            headers = {
                "content-type": "application/octet-stream",
                "content-length": str(os.fstat(source.fileno()).st_size),
            }
            data, _told = self._call(self._request("POST", path, body=source, headers=headers))
        return _document(data)

    def _call(self, request: urllib.request.Request, *, secs: float = SECS) -> tuple[bytes, Mapping[str, str]]:
        """The body and the headers. Raises what the server says, or ServerUnreachable."""
        repeatable = request.get_method() == "GET" or request.has_header("Idempotency-key")
        for left in reversed(range(_TRIES if repeatable else 1)):
            try:
                with self._reaching(), self._answer(request, secs) as response:
                    data = response.read()
            except ServerUnreachable:
                # what was sent may have been carried out: by its key the server knows it again
                if left:
                    continue
                raise
            if isinstance(response, urllib.error.HTTPError):
                _raise(response.status or 500, data)
            return data, _headers(response)
        raise AssertionError

    def _answer(self, request: urllib.request.Request, secs: float) -> _Response:
        """What the server answers, errors too."""
        try:
            response: _Response = self._opener.open(request, timeout=secs)
        except urllib.error.HTTPError as error:
            return error
        return response

    def _piece(self, response: _Response, size: int | None = None) -> bytes:
        with self._reaching():
            # only a read without a size finds out that an answer was cut off
            return response.read() if size is None else response.read(size)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Around what asks the network and nothing else. Raises ServerUnreachable."""
        try:
            yield
        except (http.client.HTTPException, OSError) as error:
            raise self._unreachable(error) from error

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> urllib.request.Request:
        asked = urlencode(list(_flat(query or {})))
        return urllib.request.Request(  # noqa: S310 the scheme was checked
            f"{self.address}/api/v1{path}{'?' if asked else ''}{asked}",
            data=body,
            method=method,
            headers={
                "authorization": f"Bearer {self._token}",
                "user-agent": f"sopwith/{__version__}",
                "accept": "*/*",
                **self._said,
                **(headers or {}),
            },
        )

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
        return ServerUnreachable(
            f"no answer from {self.address}: {words}", hint="is it the address, and does sop serve run there?"
        )


def _headers(response: _Response) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def in_path(*parts: object) -> str:
    """The parts as a path, none of which can leave its place."""
    return "".join("/" + quote(str(part), safe="") for part in parts)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token goes to nobody else."""

    def redirect_request(self, *_args: Any) -> None:
        return None


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        fits = fits and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits:
        raise BadRequest(f"{address!r} is no address of a server", hint="write it as https://sop.example.com")
    return address.rstrip("/")


def _flat(query: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in query.items():
        for each in value if isinstance(value, tuple | list) else (value,):
            if each is not None:
                yield name, str(each).lower() if isinstance(each, bool) else str(each)


def _document(data: bytes) -> Document:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise ServerUnreachable("the answer is no JSON", hint="is a Sopwith server at this address?") from None


def _raise(status: int, data: bytes) -> NoReturn:
    try:
        told = msgspec.json.decode(data, type=dict[str, Any])
        code, message = str(told["code"]), str(told["detail"])
    except (msgspec.MsgspecError, KeyError):
        raise ServerUnreachable(
            f"the answer is {status}, and not a Sopwith server's", hint="is a Sopwith server at this address?"
        ) from None
    hint = str(told.get("hint", ""))
    kind = {each.code: each for each in _kinds(SopwithError) if "code" in vars(each)}.get(code)
    if kind is None:
        raise ToldByServer(code, status, message, hint)
    error = kind.__new__(kind)
    details = {key: value for key, value in told.items() if key not in _NO_DETAILS}
    if "problems" in details:
        details["problems"] = tuple(msgspec.convert(each, Problem) for each in details["problems"])
    SopwithError.__init__(error, message, hint=hint, **details)
    raise error


_NO_DETAILS = frozenset({"type", "title", "status", "detail", "code", "hint"})


def _kinds(kind: type[SopwithError]) -> Iterator[type[SopwithError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)
