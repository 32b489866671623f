"""What the server answered breaks the rules, or is an error."""

from __future__ import annotations

from typing import Any

from .base import MCPSyncError


class ProtocolError(MCPSyncError):
    """The server broke the rules of the protocol."""


class MessageInvalid(ProtocolError):
    """What the server sent is not the message it should be."""


class StructuredContentInvalid(MessageInvalid):
    """A tool's structured content is not what its ``outputSchema`` says, or that is no schema.

    The tool has run, so what it returned is here.

    Attributes:
        result: The ``CallToolResult`` as received.
    """

    result: Any = None


class LimitExceeded(ProtocolError):
    """The server sent more than we are willing to take."""


class ResponseTooLarge(LimitExceeded):
    """An answer was larger than the limit.

    Attributes:
        limit: The limit it exceeded, in bytes.
    """

    limit: int = 0


class SkillInvalid(ProtocolError):
    """A skill, or a file of it, is not what its entry says; nothing of it is to be used.

    Attributes:
        uri: The skill, or its file.
    """

    uri: str = ""


class UnsupportedProtocolVersion(ProtocolError):
    """Client and server have no protocol version in common.

    Attributes:
        supported: What the server said it supports.
    """

    supported: tuple[str, ...] = ()


class MCPError(MCPSyncError):
    """The server answered with a JSON-RPC error.

    Attributes:
        code: The JSON-RPC or MCP error code.
        message: The server's own words.
        data: Whatever the server attached.
        status: The HTTP status the error came with, if it was not a success.
    """

    code: int = 0
    data: Any = None
    status: int | None = None

    def _verdict(self) -> str:
        return f"(code {self.code})"


class UrlElicitationRequired(MCPError):
    """The user has to visit a page first; the request was not run (code -32042, 2025-11-25).

    Show the user who asks and the whole URL, and open it only with his consent. When he is done,
    make the call again.

    Attributes:
        elicitations: What the server asks, as ``mcp_types.ElicitRequestURLParams``; those whose
            URL is not http or https have been dropped.
    """

    code: int = -32042
    elicitations: tuple[Any, ...] = ()
