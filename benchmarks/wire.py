"""What a careful person writes by hand to speak MCP over HTTP: bodies, headers, answers read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LEGACY, MODERN = "2025-11-25", "2026-07-28"
TOOL = "echo"
ARGUMENTS = {"text": "hello world"}
CLIENT_INFO = {"name": "benchmark", "version": "1"}
CALL = {"name": TOOL, "arguments": ARGUMENTS}
INITIALIZE = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT_INFO}
FIXED_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
}


@dataclass(frozen=True, slots=True)
class Target:
    """One way of answering, at one address."""

    url: str
    era: str
    answer: str

    @property
    def mode(self) -> str:
        """What ``Client(mode=)`` takes to be sure of this era without a probe."""
        return "legacy" if self.era == "legacy" else MODERN


def message(
    era: str, method: str, params: dict[str, Any] | None, identifier: int | None
) -> dict[str, Any]:
    """Return one JSON-RPC message; without an *identifier* it is a notification."""
    built: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if identifier is not None:
        built["id"] = identifier
    if era == "modern":
        built["params"] = {**(params or {}), "_meta": META}
    elif params is not None:
        built["params"] = params
    return built


def headers(era: str, method: str, name: str | None, session_id: str | None) -> dict[str, str]:
    """Return the headers that differ from message to message or from session to session."""
    if era == "modern":
        built = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if name is not None:
            built["Mcp-Name"] = name
        return built
    if session_id is None:
        return {}
    return {"MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": session_id}


def parse(body: bytes, answer: str) -> Any:
    """Return the message in a body: the body itself, or what follows ``data:``."""
    if answer == "sse":
        start = body.index(b"data:") + 5
        body = body[start : body.index(b"\n", start)]
    return json.loads(body)


def check(reply: Any, identifier: int) -> None:
    """Raise unless *reply* is the canned answer to the request with that *identifier*."""
    if reply["id"] != identifier or reply["result"]["content"][0]["type"] != "text":
        raise AssertionError(f"not the answer to {identifier}: {reply!r}")
