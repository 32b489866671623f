"""mcpsync: the blocking MCP client for Python.

``Client`` is one server, ``MCPManager`` is many servers for many users. Every exception is in
:mod:`mcpsync.errors`, every event in :mod:`mcpsync.events`.
"""

from . import errors, events
from ._runtime.cancel import Cancellation
from .auth import BearerAuth
from .client import Client
from .config import HttpServerConfig, ServerConfig, User
from .config import StdioServerConfig as StdioServerParameters
from .errors import (
    AuthError,
    AuthorizationRequired,
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
from .http import Limits
from .manager import MCPManager
from .version import __version__

__all__ = [
    "AuthError",
    "AuthorizationRequired",
    "BearerAuth",
    "Cancellation",
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
    "RequestTimeout",
    "ResponseTooLarge",
    "ServerConfig",
    "ServerExited",
    "ServerNotFound",
    "SessionExpired",
    "StdioServerParameters",
    "TransportError",
    "UnsupportedProtocolVersion",
    "User",
    "__version__",
    "errors",
    "events",
]
