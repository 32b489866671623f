"""What a language model's side wants to see: results as text, tools as functions, instructions.

No model is called here, and nothing knows one but by the name of its provider.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .config.names import tool_key
from .errors import ResponseTooLarge

if TYPE_CHECKING:
    from mcp_types import (
        BlobResourceContents,
        CallToolResult,
        ContentBlock,
        ImageContent,
        ResourceLink,
        TextResourceContents,
        Tool,
    )
    from pydantic import BaseModel

MAX_IMAGE_BYTES = 10 * 1024 * 1024
NO_RESPONSE = "(No response)"
TOO_DEEP = "(Nested too deeply to be shown)"
RECOGNISED_PROVIDERS = frozenset(
    {
        "anthropic",
        "azureopenai",
        "bedrock",
        "deepseek",
        "google",
        "ollama",
        "openai",
        "openrouter",
        "xai",
    }
)

_REMOTE = re.compile(r"https?://\S+", re.IGNORECASE)
_DATA_URI = re.compile(r"data:(image/[\w.+-]+)(?:;[^;,\s]+)*;base64,", re.IGNORECASE | re.ASCII)
_IMAGE_TYPE = re.compile(r"image/[\w.+-]+", re.IGNORECASE | re.ASCII)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_WHITE = " \t\r\n"
_UI_HINT = (
    "The UI resources above can be shown to the user: write a resource's marker where it is to "
    r"appear, after a few words on what it shows. \ui{id} shows one, \ui{id} \ui{id} show them one "
    r"after the other, and \ui{id,id} shows them side by side."
)


class _Labels(NamedTuple):
    """What stands before a resource's text and before its MIME type."""

    text: str
    kind: str


_LONG = _Labels("Resource Text: ", "Resource MIME Type: ")
_SHORT = _Labels("", "Type: ")


class FormattedToolContent(NamedTuple):
    """A tool's result for a language model.

    Attributes:
        content: The text for the model.
        artifacts: What goes beside it, or None: ``content``, a list of ``image_url`` parts, and
            ``ui_resources``, whose ``data`` is a list of resources with a ``resourceId`` each.
    """

    content: str
    artifacts: dict[str, Any] | None


def format_tool_content(
    result: CallToolResult,
    provider: str | None = None,
    *,
    max_image_bytes: int = MAX_IMAGE_BYTES,
) -> FormattedToolContent:
    """Make text and artifacts of what a tool answered. Thread-safe. (The seed's formatToolContent.)

    A result whose ``is_error`` is true is formatted like any other: the model is to read it.

    Args:
        result: What ``call_tool`` returned.
        provider: Who reads it, in any case: for those of RECOGNISED_PROVIDERS images and ``ui://``
            resources become artifacts; for all others the result is one text.
        max_image_bytes: How large an image may be, decoded.

    Raises:
        ResponseTooLarge: An image is larger.
    """
    if provider is not None and provider.lower() in RECOGNISED_PROVIDERS:
        formatted = _with_artifacts(result, max_image_bytes)
    else:
        formatted = FormattedToolContent(_as_text(result, max_image_bytes), None)
    if formatted.content or formatted.artifacts:
        return formatted
    structured = result.structured_content
    return FormattedToolContent(NO_RESPONSE if structured is None else _json(structured), None)


def tool_functions(tools: Iterable[Tool], server_name: str) -> dict[str, dict[str, Any]]:
    """Return the tools of a server as functions that a language model can call, by tool key.

    Two tools of one name are the server's mistake; the later one counts.
    """
    functions = {}
    for tool in tools:
        key = tool_key(tool.name, server_name)
        functions[key] = {
            "type": "function",
            "function": {
                "name": key,
                "description": tool.description or "",
                "parameters": tool.input_schema,
            },
        }
    return functions


def format_instructions(instructions: Mapping[str, str]) -> str:
    """Return the servers' instructions, by server name, as one text for a prompt.

    A server whose instructions are blank is left out; if that leaves none, the text is empty.
    """
    sections = [
        f"## {name} MCP Server Instructions\n\n{text.strip()}"
        for name, text in instructions.items()
        if text.strip()
    ]
    if not sections:
        return ""
    return "\n\n".join(
        [
            "# MCP Server Instructions",
            "The MCP servers below say how their tools and resources are meant to be used.",
            *sections,
            "When you use a server's tools, keep to the instructions of that server.",
        ]
    )


def _with_artifacts(result: CallToolResult, limit: int) -> FormattedToolContent:
    paragraphs: list[str] = []
    images: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for block in result.content:
        if block.type == "image" and (url := _image_url(block, limit)) is not None:
            images.append({"type": "image_url", "image_url": {"url": url}})
        elif block.type == "resource" and block.resource.uri[:5].lower() == "ui://":
            identity = _identity(block.resource)
            shown.append(_plain(block.resource) | {"resourceId": identity})
            paragraphs.append(_ui_lines(block.resource, identity))
        elif block.type == "resource":
            paragraphs.append(_resource_lines(block.resource, _LONG))
        else:
            paragraphs.append(_paragraph(block, _LONG))
    if shown:
        paragraphs.append(_UI_HINT)
    artifacts: dict[str, Any] = {"content": images} if images else {}
    if shown:
        artifacts["ui_resources"] = {"data": shown}
    return FormattedToolContent(_joined(paragraphs), artifacts or None)


def _as_text(result: CallToolResult, limit: int) -> str:
    paragraphs = []
    for block in result.content:
        if block.type == "image":
            _image_url(block, limit)  # the limit holds here, too
        if block.type == "resource":
            paragraphs.append(_resource_lines(block.resource, _SHORT))
        else:
            paragraphs.append(_paragraph(block, _SHORT))
    return _joined(paragraphs)


def _paragraph(block: ContentBlock, labels: _Labels) -> str:
    if block.type == "text":
        return block.text
    if block.type == "resource_link":
        return _link_lines(block, labels)
    return _json(_plain(block))


def _resource_lines(resource: TextResourceContents | BlobResourceContents, labels: _Labels) -> str:
    text = getattr(resource, "text", "")
    lines = [f"{labels.text}{text}" if text else "", *_where(resource, labels)]
    return "\n".join(filter(None, lines))


def _link_lines(link: ResourceLink, labels: _Labels) -> str:
    lines = [f"Resource Link: {link.title or link.name}", link.description, *_where(link, labels)]
    return "\n".join(filter(None, lines))


def _ui_lines(resource: TextResourceContents | BlobResourceContents, identity: str) -> str:
    marker = rf"UI Resource Marker: \ui{{{identity}}}"
    return "\n".join([f"UI Resource ID: {identity}", marker, *_where(resource, _LONG)])


def _where(
    resource: TextResourceContents | BlobResourceContents | ResourceLink, labels: _Labels
) -> list[str]:
    lines = [f"Resource URI: {resource.uri}"] if resource.uri else []
    return lines + ([f"{labels.kind}{resource.mime_type}"] if resource.mime_type else [])


def _identity(resource: TextResourceContents | BlobResourceContents) -> str:
    """The same content has the same identity; content that is no text is told by its URI."""
    text = getattr(resource, "text", "") or resource.uri
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def _image_url(image: ImageContent, limit: int) -> str | None:
    """Return a URL that shows *image*; None if what it holds is no image.

    It may be base64, as the specification says, or what servers send besides: a data URI, or the
    address of an image, which is handed on and not asked for.

    Raises:
        ResponseTooLarge: It is larger than *limit*, decoded.
    """
    if _REMOTE.fullmatch(image.data):
        return image.data
    head = _DATA_URI.match(image.data)
    kind = head[1] if head else image.mime_type.partition(";")[0].strip()
    start = head.end() if head else 0
    size = _decoded_size(image.data, start)
    if size > limit:
        raise ResponseTooLarge(
            f"MCP image result exceeds maximum size of {limit} bytes: {size} bytes",
            limit=limit,
            maybe_executed=True,
        )
    data = "".join(image.data[start:].split())
    if not _IMAGE_TYPE.fullmatch(kind) or not _looks_like_base64(data):
        return None
    return f"data:{kind};base64,{data}"


def _decoded_size(data: str, start: int) -> int:
    """How many bytes base64 from *start* on will be, without decoding or copying it."""
    others = sum(data.count(character, start) for character in _WHITE + "=")
    return (len(data) - start - others) * 3 // 4


def _looks_like_base64(data: str) -> bool:
    if not data or not data.isascii():
        return False
    letters = data.rstrip("=").encode("ascii")
    return len(data) - len(letters) <= 2 and letters.translate(None, _BASE64) == b""


def _plain(model: BaseModel) -> dict[str, Any]:
    """Return *model* as it was on the wire."""
    plain = model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"meta"})
    meta = getattr(model, "meta", None)  # as it came; pydantic shows no more than 255 levels of it
    return plain if meta is None else plain | {"_meta": meta}


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        return TOO_DEEP
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # half a pair stays escaped


def _joined(paragraphs: Iterable[str]) -> str:
    return "\n\n".join(filter(None, paragraphs))
