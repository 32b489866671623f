"""The tools, resources, templates and prompts that the test server offers."""

from __future__ import annotations

import base64
import struct
import zlib

from .jsonrpc import LOG_LEVELS, JSONObject

SERVER_INFO: JSONObject = {
    "name": "mcpsync-testing",
    "title": "mcpsync test server",
    "version": "1.0",
}
INSTRUCTIONS = "A server for tests. Call add to see that it works and slow to see it wait."

_NULLABLE: JSONObject = {"type": ["string", "null"]}


def _object(required: tuple[str, ...] = (), **properties: JSONObject) -> JSONObject:
    return {"type": "object", "properties": properties, "required": list(required)}


def _tool(name: str, description: str, schema: JSONObject, **more: JSONObject) -> JSONObject:
    return {"name": name, "description": description, "inputSchema": schema, **more}


_READ_ONLY: JSONObject = {"readOnlyHint": True, "idempotentHint": True}

TOOLS: tuple[JSONObject, ...] = (
    _tool(
        "add",
        "Add two numbers.",
        _object(("a", "b"), a={"type": "number"}, b={"type": "number"}),
        outputSchema=_object(("sum",), sum={"type": "number"}),
        annotations=_READ_ONLY,
    ),
    _tool(
        "echo",
        "Return the text it is given.",
        _object(("text",), text={"type": "string"}),
        annotations=_READ_ONLY,
    ),
    _tool(
        "slow",
        "Wait, in steps, reporting progress if asked to.",
        _object(("seconds",), seconds={"type": "number"}, steps={"type": "integer", "minimum": 1}),
    ),
    _tool(
        "fail",
        "Return an error result with the message.",
        _object(("message",), message={"type": "string"}),
    ),
    _tool(
        "log",
        "Send a log message before the result.",
        _object(
            ("level", "message"),
            level={"type": "string", "enum": list(LOG_LEVELS)},
            message={"type": "string"},
        ),
    ),
    _tool(
        "big",
        "Return so many bytes of text.",
        _object(("bytes",), bytes={"type": "integer", "minimum": 0}),
        annotations=_READ_ONLY,
    ),
    _tool(
        "whoami",
        "Return the headers that say who is calling.",
        _object(),
        outputSchema=_object(
            ("authorization", "user", "cookie", "session"),
            authorization=_NULLABLE,
            user=_NULLABLE,
            cookie=_NULLABLE,
            session=_NULLABLE,
        ),
        annotations=_READ_ONLY,
    ),
    _tool(
        "counter",
        "Count how often this caller, and everybody, has called it.",
        _object(),
        outputSchema=_object(
            ("count", "total"), count={"type": "integer"}, total={"type": "integer"}
        ),
        annotations={"readOnlyHint": False, "idempotentHint": False, "destructiveHint": False},
    ),
)

STDIO_TOOLS: tuple[JSONObject, ...] = (
    _tool(
        "environment",
        "Return the names in the environment, the working directory and the process id.",
        _object(),
    ),
)

GRANDCHILD_TOOL: JSONObject = _tool("grandchild", "Return the process id of a child.", _object())


def _png() -> bytes:
    """A picture of one red point."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


RESOURCES: tuple[JSONObject, ...] = (
    {"uri": "test://notes/one", "name": "one", "title": "Note one", "mimeType": "text/plain"},
    {"uri": "test://notes/two", "name": "two", "title": "Note two", "mimeType": "text/plain"},
    {"uri": "test://dot.png", "name": "dot", "title": "A red point", "mimeType": "image/png"},
)

CONTENTS: dict[str, JSONObject] = {
    "test://notes/one": {"mimeType": "text/plain", "text": "The first note."},
    "test://notes/two": {"mimeType": "text/plain", "text": "Zwölf Boxkämpfer. ✓"},
    "test://dot.png": {"mimeType": "image/png", "blob": base64.b64encode(_png()).decode()},
}

TEMPLATE_PREFIX = "test://greeting/"
TEMPLATES: tuple[JSONObject, ...] = (
    {
        "uriTemplate": TEMPLATE_PREFIX + "{name}",
        "name": "greeting",
        "description": "A greeting for somebody.",
        "mimeType": "text/plain",
    },
)

PROMPTS: tuple[JSONObject, ...] = (
    {"name": "summary", "description": "Ask for a summary."},
    {
        "name": "greet",
        "description": "Ask for a greeting.",
        "arguments": [
            {"name": "name", "description": "Whom to greet", "required": True},
            {"name": "language", "description": "In which language", "required": False},
        ],
    },
)

COMPLETIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("greet", "language"): ("english", "french", "frisian", "german"),
    ("greet", "name"): ("ada", "alan", "grace"),
    (TEMPLATE_PREFIX + "{name}", "name"): ("ada", "alan", "grace"),
}
