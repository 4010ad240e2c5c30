"""Requests and answers of the small HTTP interfaces: routing by exact path, JSON, errors in one shape."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
import structlog

from .serve import App, Receive, Scope, Send

log = structlog.get_logger()

JSON = b"application/json"
_encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Request(NamedTuple):
    """`query` and `headers` have the last value of each name, headers by lower-case name. `client` is an IP address."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    client: str


Handler = Callable[[Request], Awaitable[Answer]]


class Action(NamedTuple):
    """What changes something: `handler` gets what the groups of `path` matched."""

    method: str
    path: re.Pattern[str]
    handler: Callable[..., Awaitable[Answer]]


def as_json(what: Any, status: int = 200) -> Answer:
    return Answer(status, _encode(what) + b"\n")


def error(status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """`{"error": text}`, the shape of every error."""
    return as_json({"error": text}, status)._replace(headers=headers)


class BadRequest(Exception):
    """The request cannot be answered; the text says what is allowed."""


class Forbidden(Exception):
    """The request is refused whoever asks like this; the text says what is missing."""


def application(routes: Mapping[str, Handler], actions: Sequence[Action] = ()) -> App:
    """An ASGI application that serves GET and HEAD of these paths, and these actions, and nothing else."""

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = await _answer(routes, actions, scope)
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *answer.headers,
        ]
        if _has_body(scope):
            headers.append((b"connection", b"close"))  # we do not read it
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    return app


async def _answer(routes: Mapping[str, Handler], actions: Sequence[Action], scope: Scope) -> Answer:
    path, method = scope["path"], scope["method"]
    handler = routes.get(path)
    arguments: tuple[str, ...] = ()
    if handler is None or method not in ("GET", "HEAD"):
        allowed = {"GET", "HEAD"} if handler is not None else set[str]()
        handler = None
        for action in actions:
            if found := action.path.fullmatch(path):
                allowed.add(action.method)
                if action.method == method:
                    handler, arguments = action.handler, found.groups()
        if not allowed:
            return error(404, "Not Found")
        if handler is None:
            return error(405, "Method Not Allowed", ((b"allow", ", ".join(sorted(allowed)).encode()),))
    try:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        return error(400, "too many parameters")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    client = scope.get("client")
    try:
        return await handler(Request(path, query, headers, client[0] if client else ""), *arguments)
    except BadRequest as wrong:
        return error(400, str(wrong))
    except Forbidden as wrong:
        return error(403, str(wrong))
    except Exception:
        log.exception("HTTP request failed", path=path)
        return error(500, "Internal Server Error")


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def integer(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A number of the query within its range. Raises BadRequest."""
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) < 20 and low <= int(text) <= high:
        return int(text)
    raise BadRequest(f"{name} must be a whole number between {low} and {high}")
