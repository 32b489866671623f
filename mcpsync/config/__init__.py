"""What a server *is*: the models users write, and how they are loaded."""

from .loading import load_servers, load_yaml, read_servers
from .servers import (
    HttpServerConfig,
    ServerConfig,
    StdioServerConfig,
    parse_server,
)
from .user import User, as_user

__all__ = [
    "HttpServerConfig",
    "ServerConfig",
    "StdioServerConfig",
    "User",
    "as_user",
    "load_servers",
    "load_yaml",
    "parse_server",
    "read_servers",
]
