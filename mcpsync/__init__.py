"""mcpsync: the blocking MCP client for Python.

``Client`` is one server, ``MCPManager`` is many servers for many users. Every exception is in
:mod:`mcpsync.errors`, every event in :mod:`mcpsync.events`.

What needs ``requests`` or ``pydantic`` is imported when it is first asked for: a program that only
might call a tool, or that catches an exception, does not pay for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import errors
from .errors import (
    AuthError,
    AuthorizationRequired,
    CircuitOpen,
    ConfigurationError,
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    HTTPStatusError,
    InputRequired,
    InsufficientScope,
    LimitExceeded,
    MCPError,
    MCPSyncError,
    MessageInvalid,
    NotFound,
    PlaceholderError,
    ProtocolError,
    RateLimited,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
    ResponseTooLarge,
    ServerExited,
    ServerNotFound,
    SessionExpired,
    TransportError,
    UnsupportedProtocolVersion,
)
from .version import __version__

if TYPE_CHECKING:
    from . import events
    from ._runtime.breaker import BreakerPolicy
    from ._runtime.cancel import Cancellation
    from .auth import BearerAuth
    from .client import Client
    from .config import HttpServerConfig, ServerConfig, User, WebSocketServerConfig
    from .config import StdioServerConfig as StdioServerParameters
    from .connections import RequestScope
    from .connections.discovery import ToolDiscovery
    from .http import Limits
    from .manager import MCPManager
    from .parsers import format_tool_content

__all__ = [
    "AuthError",
    "AuthorizationRequired",
    "BearerAuth",
    "BreakerPolicy",
    "Cancellation",
    "CircuitOpen",
    "Client",
    "ConfigurationError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionLost",
    "HTTPStatusError",
    "HttpServerConfig",
    "InputRequired",
    "InsufficientScope",
    "LimitExceeded",
    "Limits",
    "MCPError",
    "MCPManager",
    "MCPSyncError",
    "MessageInvalid",
    "NotFound",
    "PlaceholderError",
    "ProtocolError",
    "RateLimited",
    "RefusedError",
    "RequestCancelled",
    "RequestScope",
    "RequestTimeout",
    "ResponseTooLarge",
    "ServerConfig",
    "ServerExited",
    "ServerNotFound",
    "SessionExpired",
    "StdioServerParameters",
    "ToolDiscovery",
    "TransportError",
    "UnsupportedProtocolVersion",
    "User",
    "WebSocketServerConfig",
    "__version__",
    "errors",
    "events",
    "format_tool_content",
]

_LAZY = {
    "BearerAuth": ("auth", "BearerAuth"),
    "BreakerPolicy": ("_runtime.breaker", "BreakerPolicy"),
    "Cancellation": ("_runtime.cancel", "Cancellation"),
    "Client": ("client", "Client"),
    "HttpServerConfig": ("config", "HttpServerConfig"),
    "WebSocketServerConfig": ("config", "WebSocketServerConfig"),
    "Limits": ("http", "Limits"),
    "MCPManager": ("manager", "MCPManager"),
    "RequestScope": ("connections", "RequestScope"),
    "ServerConfig": ("config", "ServerConfig"),
    "StdioServerParameters": ("config", "StdioServerConfig"),
    "ToolDiscovery": ("connections.discovery", "ToolDiscovery"),
    "User": ("config", "User"),
    "format_tool_content": ("parsers", "format_tool_content"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for the first time. (PEP 562)"""
    if name == "events":
        return importlib.import_module(".events", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
