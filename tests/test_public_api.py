"""What the world may import, pinned: a name is added or removed here on purpose."""

import importlib
import inspect
import json
import subprocess
import sys

import pytest

import mcpsync

PUBLIC = [
    "AuthError",
    "AuthorizationRequired",
    "BearerAuth",
    "BreakerPolicy",
    "CacheConfig",
    "Cancellation",
    "CircuitOpen",
    "Client",
    "ClientExtension",
    "ClientRequestContext",
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
    "StdioServerParameters",
    "StoreError",
    "StructuredContentInvalid",
    "Subscription",
    "SubscriptionLost",
    "Task",
    "TaskCancelled",
    "TasksExtension",
    "ToolDiscovery",
    "ToolsListChanged",
    "TransportError",
    "UnsupportedProtocolVersion",
    "UrlElicitationRequired",
    "User",
    "WebSocketServerConfig",
    "__version__",
    "accept_defaults",
    "advertise",
    "answer_later",
    "errors",
    "events",
    "format_tool_content",
    "stores",
]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(mcpsync, name))]

CLIENT = {
    "call_tool",
    "close",
    "complete",
    "connect",
    "get_prompt",
    "instructions",
    "list_prompts",
    "list_resource_templates",
    "list_resources",
    "list_tools",
    "listen",
    "prompts",
    "protocol_version",
    "read_resource",
    "resource_templates",
    "resources",
    "resume",
    "send_ping",
    "send_roots_list_changed",
    "server_capabilities",
    "server_info",
    "set_logging_level",
    "skills",
    "tasks",
    "subscribe_resource",
    "tools",
    "unsubscribe_resource",
}
MANAGER = {
    "call_tool",
    "check_idle_connections",
    "clear_cooldown",
    "close",
    "connection",
    "disconnect_user_connection",
    "disconnect_user_connections",
    "discover_server_tools",
    "format_instructions_for_context",
    "from_yaml",
    "get_app_tool_functions",
    "get_connection",
    "get_connection_stats",
    "get_instructions",
    "get_server_tool_functions",
    "get_user_connection",
    "get_user_connections",
    "on_tools_changed",
    "registry",
    "request_scope",
    "resume",
    "server_names",
    "stats",
}


def test_the_public_names_are_these():
    assert sorted(mcpsync.__all__) == PUBLIC
    assert dir(mcpsync) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_stays_the_same_object(name):
    assert getattr(mcpsync, name) is getattr(mcpsync, name)


@pytest.mark.parametrize("name", ["asyncio_client", "utils", "_private", "client_", ""])
def test_any_other_name_is_an_attribute_error_that_says_so(name):
    with pytest.raises(AttributeError, match=f"module 'mcpsync' has no attribute '{name}'"):
        getattr(mcpsync, name)


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("Client", "mcpsync.client"),
        ("MCPManager", "mcpsync.manager"),
        ("User", "mcpsync.config"),
        ("HttpServerConfig", "mcpsync.config"),
        ("BearerAuth", "mcpsync.auth"),
        ("Cancellation", "mcpsync._runtime.cancel"),
        ("Limits", "mcpsync.http"),
        ("format_tool_content", "mcpsync.parsers"),
        ("MCPSyncError", "mcpsync.errors"),
    ],
)
def test_a_public_name_is_the_very_object_of_its_module(name, home):
    assert getattr(mcpsync, name) is getattr(importlib.import_module(home), name)


def test_the_parameters_of_a_stdio_server_are_its_configuration():
    assert mcpsync.StdioServerParameters(command="npx", args=["-y"]).target == "npx -y"


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_class_has_a_docstring_that_begins_with_a_sentence(name):
    cls = getattr(mcpsync, name)
    assert "__doc__" in vars(cls)
    first = inspect.cleandoc(cls.__doc__).partition("\n\n")[0]
    assert first[0].isupper() or first.startswith("`")
    assert first.endswith((".", ":"))


@pytest.mark.parametrize(("cls", "names"), [("Client", CLIENT), ("MCPManager", MANAGER)])
def test_the_facades_have_at_least_these_methods_and_say_what_they_do(cls, names):
    facade = getattr(mcpsync, cls)
    assert names <= set(dir(facade))
    for name in names:
        assert inspect.getdoc(getattr(facade, name)), name


@pytest.mark.parametrize("cls", ["Client", "MCPManager"])
def test_the_facades_close_themselves_at_the_end_of_a_with(cls):
    facade = getattr(mcpsync, cls)
    assert hasattr(facade, "__enter__")
    assert hasattr(facade, "__exit__")


# -- the cost of an import -------------------------------------------------------------------------

PROBE = """
import json, sys, threading
{statement}
names = ("asyncio", "click", "jsonschema", "mcp_types", "pydantic", "requests", "rich", "yaml")
print(json.dumps({{
    "imported": [name for name in names if name in sys.modules],
    "threads": [thread.name for thread in threading.enumerate()],
}}))
"""


def probe(statement):
    """What a fresh interpreter has after *statement*."""
    code = PROBE.format(statement=statement)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("statement", "imported"),
    [
        ("import mcpsync", []),
        ("from mcpsync import MCPSyncError, errors, events, Cancellation, BearerAuth", []),
        ("from mcpsync import User, HttpServerConfig", ["pydantic"]),
        ("from mcpsync import *", ["pydantic", "requests"]),
        (
            "import mcpsync; mcpsync.Client('http://127.0.0.1:1/mcp').close()",
            ["mcp_types", "pydantic", "requests"],
        ),
        (
            "import mcpsync; mcpsync.MCPManager({'a': {'url': 'http://127.0.0.1:1/mcp'}}).close()",
            ["pydantic", "requests"],
        ),
    ],
)
def test_an_import_brings_what_is_needed_and_starts_no_thread(statement, imported):
    found = probe(statement)
    assert found["imported"] == imported
    assert found["threads"] == ["MainThread"]
