"""The headers of streamable HTTP. (Specification 2026-07-28, transports/streamable-http.)"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from .versions import is_at_least

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"  # in _meta; the header mirrors it
SESSION_ID: Final = "Mcp-Session-Id"
PROTOCOL_VERSION: Final = "MCP-Protocol-Version"
LAST_EVENT_ID: Final = "Last-Event-ID"
METHOD: Final = "Mcp-Method"
NAME: Final = "Mcp-Name"

POST_HEADERS: Final = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}

_NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\Z|\Z")
_SCOPE = re.compile(r'(?:^|[\s,])scope=(?:"([^"]*)"|([^\s,]+))', re.IGNORECASE)
_SENTINEL = re.compile(r"=\?base64\?.*\?=\Z", re.DOTALL)


def header_value(value: str) -> str:
    """Return *value* as it goes into a mirrored header: plain, or behind the base64 sentinel.

    Anything but printable ASCII, white space at an edge, and what looks like the sentinel itself
    are encoded. (Requirements 5.7.)
    """
    if _PLAIN.match(value) and not _SENTINEL.match(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def modern_headers(version: str, method: str, params: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the headers that mirror a modern request. (Requirements M4 and M5.)"""
    headers = {**POST_HEADERS, PROTOCOL_VERSION: version, METHOD: method}
    key = _NAMED_BY.get(method)
    name = params.get(key) if key is not None and params is not None else None
    if isinstance(name, str):
        headers[NAME] = header_value(name)
    return headers


def legacy_headers(version: str | None, session_id: str | None) -> dict[str, str]:
    """Return the headers of a legacy request. (Requirements H1, H4 and H7.)

    Args:
        version: What was negotiated, or None before it was. Revisions before 2025-06-18 do not
            know the header, so it is left out for them.
        session_id: What the server gave, if it did.
    """
    headers = dict(POST_HEADERS)
    if version is not None and is_at_least(version, "2025-06-18"):
        headers[PROTOCOL_VERSION] = version
    if session_id is not None:
        headers[SESSION_ID] = session_id
    return headers


def stream_headers(
    version: str | None, session_id: str | None, last_event_id: str | None
) -> dict[str, str]:
    """Return the headers of a legacy GET, which asks for an event stream. (H8 and H11)

    Args:
        version: As for :func:`legacy_headers`.
        session_id: As for :func:`legacy_headers`.
        last_event_id: After which event a stream is to go on; None to begin one.
    """
    headers = legacy_headers(version, session_id)
    del headers["Content-Type"]
    headers["Accept"] = "text/event-stream"
    if last_event_id is not None:
        headers[LAST_EVENT_ID] = last_event_id
    return headers


def challenged_scopes(challenge: str) -> tuple[str, ...]:
    """Return the scopes a ``WWW-Authenticate`` header asks for. (RFC 6750, section 3)"""
    found = _SCOPE.search(challenge)
    return tuple((found[1] if found[1] is not None else found[2]).split()) if found else ()


def is_session_id(value: str) -> bool:
    """Whether *value* may be a session id: visible ASCII only. (Requirement H4.)"""
    return bool(value) and all("\x21" <= char <= "\x7e" for char in value)
