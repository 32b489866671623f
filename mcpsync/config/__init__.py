"""What a server *is*: the models users write, and how they are loaded."""

from .fields import ApiKeyConfig, CustomUserVar, OboConfig
from .fingerprint import fingerprint
from .loading import load_servers, load_yaml, try_yaml
from .names import (
    normalize_server_name,
    oauth_tool_name,
    server_of_key,
    shadowed_names,
    split_tool_key,
    tool_key,
    tool_of_key,
)
from .parsing import parse_server
from .placeholders import resolve, resolve_headers
from .predicates import (
    Scope,
    get_missing_custom_user_vars,
    has_custom_user_vars,
    is_allowed_at_app_level,
    is_oauth_server,
    is_user_sourced,
    is_where_the_operator_says,
    missing_body_fields,
    requires_ephemeral_user_connection,
    requires_oauth_machinery,
    requires_user_scoped_connection,
    scope_of_server,
)
from .servers import (
    HttpServerConfig,
    ServerConfig,
    StdioServerConfig,
    WebSocketServerConfig,
)
from .settings import read_settings
from .user import User, as_user
from .user_input import parse_user_server, user_fields

__all__ = [
    "ApiKeyConfig",
    "CustomUserVar",
    "HttpServerConfig",
    "OboConfig",
    "Scope",
    "ServerConfig",
    "StdioServerConfig",
    "User",
    "WebSocketServerConfig",
    "as_user",
    "fingerprint",
    "get_missing_custom_user_vars",
    "has_custom_user_vars",
    "is_allowed_at_app_level",
    "is_oauth_server",
    "is_user_sourced",
    "is_where_the_operator_says",
    "load_servers",
    "load_yaml",
    "missing_body_fields",
    "normalize_server_name",
    "oauth_tool_name",
    "parse_server",
    "parse_user_server",
    "read_settings",
    "requires_ephemeral_user_connection",
    "requires_oauth_machinery",
    "requires_user_scoped_connection",
    "resolve",
    "resolve_headers",
    "scope_of_server",
    "server_of_key",
    "shadowed_names",
    "split_tool_key",
    "tool_key",
    "tool_of_key",
    "try_yaml",
    "user_fields",
]
