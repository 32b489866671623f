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
    FeatureUnsupported,
    HTTPStatusError,
    InputRequired,
    InspectionFailed,
    InsufficientScope,
    LimitExceeded,
    ListenNotSupported,
    MCPError,
    MCPSyncError,
    MessageInvalid,
    NotFound,
    NotPermitted,
    OAuthError,
    OboTokenError,
    PlaceholderError,
    ProtocolError,
    RateLimited,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
    ResponseTooLarge,
    SecretRequired,
    ServerExited,
    ServerNotFound,
    SessionExpired,
    SkillInvalid,
    StoreError,
    StructuredContentInvalid,
    SubscriptionLost,
    TaskCancelled,
    TransportError,
    UnsupportedProtocolVersion,
    UrlElicitationRequired,
)
from .version import __version__

if TYPE_CHECKING:
    from . import events, stores
    from ._runtime.breaker import BreakerPolicy
    from ._runtime.cancel import Cancellation
    from .auth import BearerAuth
    from .client import Client
    from .client.caching import CacheConfig
    from .client.changes import (
        Gap,
        PromptsListChanged,
        ResourcesListChanged,
        ResourceUpdated,
        ToolsListChanged,
    )
    from .client.extensions import ClientExtension, TasksExtension, advertise
    from .client.skills import Skill
    from .client.subscriptions import Subscription
    from .config import HttpServerConfig, ServerConfig, User, WebSocketServerConfig
    from .config import StdioServerConfig as StdioServerParameters
    from .connections import RequestScope
    from .connections.discovery import ToolDiscovery
    from .http import Limits
    from .manager import MCPManager
    from .parsers import format_tool_content
    from .session.answers import ClientRequestContext, accept_defaults, answer_later
    from .session.tasks import Task

__all__ = [
    "AuthError",
    "AuthorizationRequired",
    "BearerAuth",
    "BreakerPolicy",
    "CacheConfig",
    "Cancellation",
    "CircuitOpen",
    "Client",
    "ClientRequestContext",
    "ClientExtension",
    "ConfigurationError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionLost",
    "FeatureUnsupported",
    "Gap",
    "HTTPStatusError",
    "HttpServerConfig",
    "InputRequired",
    "InspectionFailed",
    "InsufficientScope",
    "LimitExceeded",
    "Limits",
    "ListenNotSupported",
    "MCPError",
    "MCPManager",
    "MCPSyncError",
    "MessageInvalid",
    "NotFound",
    "NotPermitted",
    "OAuthError",
    "OboTokenError",
    "PlaceholderError",
    "PromptsListChanged",
    "ProtocolError",
    "RateLimited",
    "RefusedError",
    "RequestCancelled",
    "RequestScope",
    "RequestTimeout",
    "ResourceUpdated",
    "ResourcesListChanged",
    "ResponseTooLarge",
    "SecretRequired",
    "ServerConfig",
    "ServerExited",
    "ServerNotFound",
    "SessionExpired",
    "Skill",
    "SkillInvalid",
    "StoreError",
    "StdioServerParameters",
    "StructuredContentInvalid",
    "Task",
    "TaskCancelled",
    "TasksExtension",
    "Subscription",
    "SubscriptionLost",
    "ToolDiscovery",
    "ToolsListChanged",
    "TransportError",
    "UnsupportedProtocolVersion",
    "UrlElicitationRequired",
    "User",
    "WebSocketServerConfig",
    "__version__",
    "accept_defaults",
    "answer_later",
    "advertise",
    "errors",
    "events",
    "format_tool_content",
    "stores",
]

_LAZY = {
    "BearerAuth": ("auth", "BearerAuth"),
    "BreakerPolicy": ("_runtime.breaker", "BreakerPolicy"),
    "CacheConfig": ("client.caching", "CacheConfig"),
    "Cancellation": ("_runtime.cancel", "Cancellation"),
    "Client": ("client", "Client"),
    "ClientRequestContext": ("session.answers", "ClientRequestContext"),
    "ClientExtension": ("client.extensions", "ClientExtension"),
    "HttpServerConfig": ("config", "HttpServerConfig"),
    "WebSocketServerConfig": ("config", "WebSocketServerConfig"),
    "Limits": ("http", "Limits"),
    "MCPManager": ("manager", "MCPManager"),
    "RequestScope": ("connections", "RequestScope"),
    "ServerConfig": ("config", "ServerConfig"),
    "Skill": ("client.skills", "Skill"),
    "StdioServerParameters": ("config", "StdioServerConfig"),
    "Task": ("session.tasks", "Task"),
    "TasksExtension": ("client.extensions", "TasksExtension"),
    "ToolDiscovery": ("connections.discovery", "ToolDiscovery"),
    "Gap": ("client.changes", "Gap"),
    "PromptsListChanged": ("client.changes", "PromptsListChanged"),
    "ResourceUpdated": ("client.changes", "ResourceUpdated"),
    "ResourcesListChanged": ("client.changes", "ResourcesListChanged"),
    "ToolsListChanged": ("client.changes", "ToolsListChanged"),
    "Subscription": ("client.subscriptions", "Subscription"),
    "User": ("config", "User"),
    "accept_defaults": ("session.answers", "accept_defaults"),
    "answer_later": ("session.answers", "answer_later"),
    "advertise": ("client.extensions", "advertise"),
    "format_tool_content": ("parsers", "format_tool_content"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for the first time. (PEP 562)"""
    if name in ("events", "stores"):
        return importlib.import_module(f".{name}", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
