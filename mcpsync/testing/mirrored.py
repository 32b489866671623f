"""Whether ``Mcp-Param-*`` headers say what the arguments of a call say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .headers import decode_header
from .jsonrpc import HEADER_MISMATCH, JSONObject, RPCError

_PREFIX = "mcp-param-"


def check_parameters(
    headers: dict[str, str], params: JSONObject, tools: Iterable[JSONObject]
) -> None:
    """Hold the headers of a ``tools/call`` against its arguments.

    Raises:
        RPCError: -32020: one is missing, differs, or mirrors nothing.
    """
    wanted: dict[str, str] = {}
    for tool in tools:
        if tool["name"] == params.get("name"):
            wanted = dict(_wanted(tool.get("inputSchema"), params.get("arguments")))
    sent = {name: value for name, value in headers.items() if name.startswith(_PREFIX)}
    for name, value in wanted.items():
        if name not in sent:
            raise RPCError(HEADER_MISMATCH, f"Header mismatch: {name} is missing")
        if decode_header(sent[name]) != value:
            raise RPCError(HEADER_MISMATCH, f"Header mismatch: {name} differs from the body")
    for name in sent.keys() - wanted.keys():
        raise RPCError(HEADER_MISMATCH, f"Header mismatch: {name} mirrors no argument")


def _wanted(schema: Any, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the header and the text of each annotated property that has a value."""
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    for name, inner in properties.items():
        held = value.get(name) if isinstance(value, dict) else None
        if isinstance(inner, dict) and "x-mcp-header" in inner and held is not None:
            text = str(held).lower() if isinstance(held, bool) else str(held)
            yield _PREFIX + str(inner["x-mcp-header"]).lower(), text
        yield from _wanted(inner, held)
