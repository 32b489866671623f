"""The manager: errors, discovery, run-time URLs, request scope, tools, leases. (8.1)"""

from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import (
    AuthorizationRequired,
    ConnectionClosed,
    MCPError,
    MCPManager,
    PlaceholderError,
    ToolDiscovery,
    User,
)
from mcpsync.testing import FakeClock, Fault, LocalServer
from seed.things import (
    closed,
    count,
    manager_of,
    methods,
    raised,
    wait_for_hanging,
    wait_for_joiners,
)
from support.threads import outcome, start

ADD = ("crm", "add", {"a": 1, "b": 2})
WHOAMI = ("crm", "whoami")
BODY = {"headers": {"X-User": "{{BODY_CONVERSATIONID}}/{{BODY_MESSAGEID}}"}}
REQUEST = {"conversationId": "c7", "messageId": "m1"}


@pytest.fixture
def scoped(server: LocalServer, told: list[Any], clock: FakeClock) -> Iterator[MCPManager]:
    """A manager whose server needs values of the request."""
    with manager_of(server, BODY, on_event=told.append, clock=clock) as manager:
        yield manager


@pytest.fixture
def nowhere() -> str:
    """The URL of a server that is gone."""
    with LocalServer() as server:
        return server.url


# -- calls ------------------------------------------------------------------------------------


def test_the_error_of_a_call_reaches_the_caller_as_it_is(manager: MCPManager) -> None:
    with pytest.raises(MCPError, match="Unknown tool: nonsense") as caught:
        manager.call_tool("crm", "nonsense", user="ada")
    assert caught.value.code == -32602
    assert manager.get_connection_stats()["leased_connections"] == 0
    assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_the_connection_of_a_request_is_disconnected_even_if_its_call_fails(
    scoped: MCPManager, told: list[Any], server: LocalServer
) -> None:
    raised(lambda: scoped.call_tool("crm", "nonsense", user="ada", request_body=REQUEST))
    assert closed(told) == [("ada", "crm", "request")]
    assert server.open_sessions == []


def test_a_connection_lost_between_check_and_call_is_a_truthful_error(
    manager: MCPManager, server: LocalServer
) -> None:
    connection = manager.get_connection("crm", user="ada")  # it was checked
    manager.disconnect_user_connection("ada", "crm")
    error = raised(lambda: connection.call_tool("add", {"a": 1, "b": 2}))
    assert isinstance(error, ConnectionClosed)
    assert not error.maybe_executed
    assert server.executions == {}


# -- discovery --------------------------------------------------------------------------------


def test_discovery_uses_the_connection_of_the_application(
    manager: MCPManager, server: LocalServer, told: list[Any]
) -> None:
    shared = manager.get_connection("crm")
    found = manager.discover_server_tools("crm", user="ada")
    assert found.tools is not None
    assert "add" in {tool.name for tool in found.tools}
    assert (found.oauth_required, found.oauth_url) == (False, None)
    assert count(told, "ConnectionCreated") == 1
    assert methods(server).count("server/discover") == 1
    assert methods(server).count("initialize") <= 1
    assert shared.is_connected


def test_discovery_without_a_connection_makes_one_and_disposes_of_it(
    manager: MCPManager, server: LocalServer
) -> None:
    found = manager.discover_server_tools("crm", user="ada")
    assert found.tools is not None
    assert len(found.tools) == 8
    stats = manager.get_connection_stats()
    assert (stats["total_connections"], stats["app_connection_count"]) == (0, 0)
    assert server.open_sessions == []
    assert methods(server).count("DELETE") == methods(server).count("initialize")


def test_discovery_disposes_of_its_connection_when_listing_fails(
    manager: MCPManager, server: LocalServer
) -> None:
    server.inject(Fault.HTTP_500, method="tools/list", times=None)
    assert manager.discover_server_tools("crm", user="ada") == ToolDiscovery(None, False)
    assert server.open_sessions == []


def test_discovery_of_an_unknown_server_is_null(
    manager: MCPManager, caplog: pytest.LogCaptureFixture
) -> None:
    assert manager.discover_server_tools("crn", user="ada") == ToolDiscovery(None, False)
    assert "crn" in caplog.text


def test_discovery_of_a_request_scoped_server_without_its_fields_is_null(
    scoped: MCPManager, server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert scoped.discover_server_tools("crm", user="ada") == ToolDiscovery(None, False)
    assert "messageId, conversationId" in caplog.text
    assert server.requests == []


@pytest.mark.parametrize("config", [{"requires_oauth": True}, {"obo": {"scopes": "s"}}])
@pytest.mark.parametrize("user", [None, "ada"])
def test_discovery_of_an_oauth_server_without_user_or_flow_manager_says_so(
    server: LocalServer, config: dict[str, Any], user: str | None
) -> None:
    with manager_of(server, config) as manager:
        assert manager.discover_server_tools("crm", user=user) == ToolDiscovery(None, True)
    assert server.requests == []


def test_an_error_of_discovery_is_no_tools(server: LocalServer, nowhere: str) -> None:
    servers = {"crm": {"url": nowhere}, "mail": {"url": server.url}}
    with MCPManager(servers, connect_attempts=1) as manager:
        assert manager.discover_server_tools("crm", user="ada") == ToolDiscovery(None, False)
        server.inject(Fault.HTTP_500, times=None)
        assert manager.discover_server_tools("mail") == ToolDiscovery(None, False)
        assert manager.stats()["breakers"] == [], "discovery counts for no breaker"


# -- run-time URLs ----------------------------------------------------------------------------


def test_a_url_is_resolved_for_the_user(server: LocalServer) -> None:
    url = server.url.replace("/mcp", "/{{USER_PATH}}")
    with manager_of(server, {"url": url}) as manager:
        ada = User("ada", attributes={"path": "mcp2"})
        assert manager.call_tool(*ADD, user=ada).structured_content == {"sum": 3}
    assert {request.path for request in server.requests} == {"/mcp2"}


def test_a_url_with_a_placeholder_that_stays_is_an_error_and_nothing_is_sent(
    server: LocalServer, told: list[Any]
) -> None:
    url = server.url.replace("/mcp", "/{{USER_PATH}}")
    with manager_of(server, {"url": url}, on_event=told.append) as manager:
        error = raised(lambda: manager.call_tool(*ADD, user="ada"))
        assert isinstance(error, PlaceholderError)
        assert "{{USER_PATH}}" in str(error)
        assert manager.stats()["breakers"] == []
    assert server.requests == []


@pytest.mark.parametrize("source", [{"source": "user"}, {"db_id": "65a"}])
def test_what_a_user_configured_is_not_substituted(
    server: LocalServer, source: dict[str, Any]
) -> None:
    """The seed sends such a placeholder as it stands; here it is refused before that."""
    config = {"headers": {"X-User": "{{USER_EMAIL}}"}, **source}
    with manager_of(server, config) as manager:
        ada = User("ada", email="ada@example.com")
        error = raised(lambda: manager.call_tool(*WHOAMI, user=ada))
        assert isinstance(error, PlaceholderError)
        assert "ada@example.com" not in str(error)
    assert server.requests == []


# -- request scope ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        (None, "messageId, conversationId"),
        ({"messageId": "m1"}, "conversationId"),
        ({"messageId": " ", "conversationId": "c"}, "messageId"),
    ],
)
def test_missing_fields_of_the_request_are_an_error_before_any_connection(
    scoped: MCPManager, server: LocalServer, body: dict[str, Any] | None, missing: str
) -> None:
    error = raised(lambda: scoped.call_tool(*WHOAMI, user="ada", request_body=body))
    assert isinstance(error, PlaceholderError)
    assert error.message == (
        f"Request body field(s) required to resolve runtime MCP placeholders: {missing}."
    )
    assert server.requests == []


def test_concurrent_calls_of_one_request_reuse_its_connection(
    scoped: MCPManager, server: LocalServer, told: list[Any]
) -> None:
    server.inject(Fault.HANG)
    with scoped.request_scope(body=REQUEST) as scope:
        calls = [
            start(lambda: scoped.call_tool(*WHOAMI, user="ada", request_scope=scope))
            for _ in range(4)
        ]
        wait_for_hanging(server)
        wait_for_joiners(told, 3)
        server.release()
        users = [outcome(call).structured_content["user"] for call in calls]
        assert users == ["c7/m1"] * 4
        assert scope.get_connection_count() == 1
    assert count(told, "ConnectionCreated") == 1


def test_the_connection_of_a_request_is_disposed_of_after_it(
    scoped: MCPManager, server: LocalServer, told: list[Any]
) -> None:
    with scoped.request_scope(body=REQUEST):
        scoped.call_tool(*WHOAMI, user="ada")
        assert closed(told) == []
    assert closed(told) == [("ada", "crm", "request")]
    assert server.open_sessions == []


def test_two_requests_share_no_connection(scoped: MCPManager, told: list[Any]) -> None:
    seen = []
    for number in ("c1", "c2"):
        body = {"conversationId": number, "messageId": "m"}
        with scoped.request_scope(body=body):
            seen.append(scoped.call_tool(*WHOAMI, user="ada").structured_content["user"])
    assert seen == ["c1/m", "c2/m"]
    assert count(told, "ConnectionCreated") == 2


def test_the_connection_of_a_request_is_not_in_the_idle_maps(
    scoped: MCPManager, clock: FakeClock
) -> None:
    with scoped.request_scope(body=REQUEST) as scope:
        scoped.call_tool(*WHOAMI, user="ada")
        assert set(scoped.get_connection_stats().values()) == {0}
        assert scoped.get_user_connections("ada") == {}
        clock.advance(10_000)
        assert scoped.check_idle_connections() == 0
        scoped.disconnect_user_connections("ada")
        assert scope.get_connection_count() == 1
        assert scoped.call_tool(*WHOAMI, user="ada").structured_content["user"] == "c7/m1"


def test_a_request_scoped_server_counts_no_cycles_and_clears_no_cooldown(
    nowhere: str, told: list[Any]
) -> None:
    config = {"url": nowhere, "headers": BODY["headers"]}
    with MCPManager({"crm": config}, connect_attempts=1, on_event=told.append) as manager:
        for _ in range(5):
            raised(lambda: manager.call_tool(*WHOAMI, user="ada", request_body=REQUEST))
        assert manager.stats()["breakers"] == []
    assert count(told, "ConnectionFailed") == 5
    assert count(told, "BreakerOpened") == 0


# -- tools and instructions -------------------------------------------------------------------


def test_a_server_that_fails_is_skipped_among_the_tools_of_the_application(
    server: LocalServer, nowhere: str
) -> None:
    servers = {"dead": {"url": nowhere}, "crm": {"url": server.url}}
    with MCPManager(servers, connect_attempts=1) as manager:
        functions = manager.get_app_tool_functions()
    assert "add_mcp_crm" in functions
    assert {key.rpartition("_mcp_")[2] for key in functions} == {"crm"}


def test_a_server_that_fails_is_skipped_among_the_instructions(
    server: LocalServer, nowhere: str
) -> None:
    servers = {
        "dead": {"url": nowhere, "server_instructions": True},
        "crm": {"url": server.url, "server_instructions": True},
        "silent": {"url": server.url},
    }
    with MCPManager(servers, connect_attempts=1) as manager:
        assert list(manager.get_instructions()) == ["crm"]
        text = manager.format_instructions_for_context()
        assert "## crm MCP Server Instructions" in text
        assert "dead" not in text


def test_the_tools_of_a_server_never_make_a_connection_and_a_failure_is_null(
    manager: MCPManager, server: LocalServer
) -> None:
    assert manager.get_server_tool_functions("ada", "crm") is None
    assert server.requests == []
    manager.get_user_connection("crm", user="ada")
    server.inject(Fault.HTTP_500, method="tools/list", times=None)
    assert manager.get_server_tool_functions("ada", "crm") is None
    server.clear_faults()
    assert "add_mcp_crm" in (manager.get_server_tool_functions("ada", "crm") or {})


# -- leases -----------------------------------------------------------------------------------


def test_the_idle_sweep_does_not_close_a_borrowed_connection(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    with manager.connection("crm", user="ada") as connection:
        clock.advance(10_000)
        assert manager.check_idle_connections() == 0
        assert connection.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
    clock.advance(901)
    assert manager.check_idle_connections() == 1
    assert not connection.is_connected


@pytest.mark.parametrize(
    "teardown",
    [
        lambda m: m.disconnect_user_connection("ada", "crm"),
        lambda m: m.disconnect_user_connections("ada"),
        lambda m: m.get_user_connection("crm", user="ada", force_new=True),
    ],
    ids=["one", "all", "force_new"],
)
def test_disposal_is_deferred_until_the_last_borrower_is_done(
    manager: MCPManager, told: list[Any], teardown: Any
) -> None:
    with manager.connection("crm", user="ada") as connection:
        with manager.connection("crm", user="ada") as same:
            assert same is connection
            teardown(manager)
            assert manager.stats()["closing_connections"] == 1
        assert connection.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
        assert closed(told) == []
    assert not connection.is_connected
    assert len(closed(told)) == 1


def test_a_refused_sign_in_is_raised_to_its_caller_and_counts_for_nobody(
    clock: FakeClock,
) -> None:
    with LocalServer(auth_token="right") as server, manager_of(server, clock=clock) as manager:
        for _ in range(4):
            error = raised(lambda: manager.call_tool(*ADD, user="ada"))
            assert isinstance(error, AuthorizationRequired)
            assert not error.maybe_executed
        assert manager.stats()["breakers"] == []
        good = {"Authorization": "Bearer right"}
        assert manager.call_tool(*ADD, user="ada", headers=good).structured_content == {"sum": 3}
