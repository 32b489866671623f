"""What servers offer, for whoever builds a menu: a failure is an answer, nothing is left open."""

from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import MCPManager, ToolDiscovery
from mcpsync._runtime.deadline import Deadline
from mcpsync.config import parse_server
from mcpsync.connections.catalogue import ToolCatalogues
from mcpsync.connections.connection import Key
from mcpsync.connections.discovery import Discovery
from mcpsync.errors import AuthorizationRequired, ConnectError, MCPSyncError
from mcpsync.testing import Fault, LocalServer
from mcpsync.transports.base import CallScope

TOOLS = ["add", "echo", "slow", "fail", "log", "big", "whoami", "counter"]
NOTHING = ToolDiscovery(None, False, None)
SIGN_IN = ToolDiscovery(None, True, None)


class Factory:
    """Stands for a factory whose discoveries fail."""

    def __init__(self, error: MCPSyncError) -> None:
        self.error = error

    def discover_tools(self, *_: Any) -> Any:
        raise self.error


def scope() -> CallScope:
    return CallScope(Deadline(10))


@pytest.fixture(params=["legacy", "modern"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(era=request.param) as server:
        yield server


def manager_of(server: LocalServer, **fields: Any) -> MCPManager:
    return MCPManager({"crm": {"url": server.url, **fields}}, connect_attempts=1)


def names(found: ToolDiscovery) -> list[str] | None:
    return None if found.tools is None else [tool.name for tool in found.tools]


def sessions(server: LocalServer) -> tuple[int, int]:
    """Return how many sessions a server has been asked for, and how many are open."""
    opened = len(server.deleted_sessions) + len(server.open_sessions)
    return opened, len(server.open_sessions)


# Over a connection made for it.


@pytest.mark.parametrize("user", [None, "ada"])
def test_a_connection_is_made_for_it_and_closed_at_once(
    server: LocalServer, user: str | None
) -> None:
    with manager_of(server) as manager:
        assert manager.discover_server_tools("crm", user=user) == (
            manager.discover_server_tools("crm", user=user)
        )
        assert names(manager.discover_server_tools("crm", user=user)) == TOOLS
        assert server.open_sessions == []
        stats = manager.get_connection_stats()
        assert (stats["total_connections"], stats["app_connection_count"]) == (0, 0)
    assert len(server.deleted_sessions) in (0, 3), "no sessions in the modern era"


@pytest.mark.parametrize(
    "fault", [Fault.HTTP_500, Fault.GARBAGE, Fault.DIE_BEFORE_ANSWER, Fault.RATE_LIMITED]
)
def test_a_failure_to_list_is_an_answer_and_leaves_nothing_open(
    server: LocalServer, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    server.inject(fault, "tools/list", times=None)
    with manager_of(server) as manager:
        assert manager.discover_server_tools("crm", user="ada") == NOTHING
        assert server.open_sessions == []
        assert manager.stats()["breakers"] == []
    assert any("[MCP][crm] its tools cannot be listed" in text for text in caplog.messages)


@pytest.mark.parametrize("fault", [Fault.HTTP_503, Fault.HTML, Fault.RATE_LIMITED])
def test_a_failure_to_connect_is_an_answer_and_counts_for_no_breaker(fault: Fault) -> None:
    with LocalServer(era="legacy") as server, manager_of(server) as manager:
        server.inject(fault, "initialize", times=None)
        for _ in range(4):
            assert manager.discover_server_tools("crm", user="ada") == NOTHING
        assert server.open_sessions == []
        server.clear_faults()
        assert names(manager.discover_server_tools("crm", user="ada")) == TOOLS


def test_a_server_that_is_not_there_is_an_answer() -> None:
    with LocalServer() as server:
        pass
    with MCPManager({"crm": {"url": server.url}}, connect_attempts=1) as manager:
        assert manager.discover_server_tools("crm") == NOTHING


def test_a_server_that_hangs_is_an_answer_when_the_time_is_over(server: LocalServer) -> None:
    server.inject(Fault.HANG, "tools/list")
    with manager_of(server) as manager:
        assert manager.discover_server_tools("crm", user="ada", timeout=0.3) == NOTHING
        assert server.wait_for(lambda server: server.open_sessions == [])


def test_a_server_that_wants_a_sign_in_says_so() -> None:
    with LocalServer(auth_token="s3cret") as server, manager_of(server) as manager:
        assert manager.discover_server_tools("crm", user="ada") == SIGN_IN
        assert server.open_sessions == []


def test_where_to_sign_in_is_handed_on() -> None:
    error = AuthorizationRequired("sign in.", authorization_url="https://login.example.com/")
    discovery = Discovery(Factory(error), ToolCatalogues(lambda _: None))  # type: ignore[arg-type]
    found = discovery.anew(Key("ada", "crm"), None, scope())  # type: ignore[arg-type]
    assert found == ToolDiscovery(None, True, "https://login.example.com/", error)


def test_another_failure_says_nothing_of_a_sign_in() -> None:
    discovery = Discovery(Factory(ConnectError("gone.")), ToolCatalogues(lambda _: None))  # type: ignore[arg-type]
    assert discovery.anew(Key("ada", "crm"), None, scope()) == NOTHING  # type: ignore[arg-type]


# Over the application's, if it is there.


def test_the_applications_connection_is_used_if_it_is_there(server: LocalServer) -> None:
    with manager_of(server) as manager:
        manager.get_connection("crm")
        before = sessions(server)
        assert names(manager.discover_server_tools("crm", user="ada")) == TOOLS
        assert names(manager.discover_server_tools("crm")) == TOOLS
        assert sessions(server) == before
        listings = [r for r in server.requests if r.rpc_method == "tools/list"]
        assert len(listings) == 1, "asked once, known from then on"


def test_a_failure_over_the_applications_connection_is_an_answer_and_leaves_it_open(
    server: LocalServer,
) -> None:
    with manager_of(server) as manager:
        manager.get_connection("crm")
        server.inject(Fault.HTTP_500, "tools/list")
        assert manager.discover_server_tools("crm", user="ada") == NOTHING
        assert manager.get_connection_stats()["app_connection_count"] == 1
        assert names(manager.discover_server_tools("crm", user="ada")) == TOOLS


def test_a_server_that_became_each_users_own_is_asked_as_the_user(server: LocalServer) -> None:
    with manager_of(server) as manager:
        manager.get_connection("crm")
        headers = {"X-User": "{{USER_ID}}"}
        manager.registry.update_server("crm", {"url": server.url, "headers": headers})
        assert names(manager.discover_server_tools("crm", user="ada")) == TOOLS
        (asked,) = [r for r in server.requests if r.rpc_method == "tools/list"]
        assert asked.headers["x-user"] == "ada"
        assert manager.get_connection_stats()["app_connection_count"] == 0, "the leftover is closed"


def test_what_a_caller_does_to_his_tools_is_not_seen_by_others(server: LocalServer) -> None:
    with manager_of(server) as manager:
        manager.get_connection("crm")
        one = manager.discover_server_tools("crm").tools
        assert one is not None
        one[0].input_schema.clear()
        other = manager.discover_server_tools("crm").tools
        assert other is not None
        assert other[0].input_schema["type"] == "object"


# For whom there can be none.


def test_a_server_that_is_not_configured_has_none(caplog: pytest.LogCaptureFixture) -> None:
    with MCPManager({}) as manager:
        assert manager.discover_server_tools("crm", user="ada") == NOTHING
    assert caplog.messages == ["[MCP][crm] no tools: it is not configured"]


@pytest.mark.parametrize(
    "fields", [{"requires_oauth": True}, {"obo": {"scopes": "api://crm/.default"}}]
)
@pytest.mark.parametrize("user", [None, "ada"])
def test_a_server_that_users_sign_in_to_says_so_without_being_asked(
    server: LocalServer, fields: dict[str, Any], user: str | None
) -> None:
    with manager_of(server, **fields) as manager:
        assert manager.discover_server_tools("crm", user=user) == SIGN_IN
    assert server.requests == []


@pytest.mark.parametrize("user", [None, "ada"])
def test_a_value_that_is_missing_is_an_answer_before_anything_is_sent(
    server: LocalServer, user: str | None
) -> None:
    with manager_of(server, headers={"X-Chat": "{{BODY_CONVERSATIONID}}"}) as manager:
        assert manager.discover_server_tools("crm", user=user) == NOTHING
    assert server.requests == []


def test_the_requests_fields_are_used_if_they_are_given(server: LocalServer) -> None:
    with manager_of(server, headers={"X-Chat": "{{BODY_CONVERSATIONID}}"}) as manager:
        body = {"conversationId": "7"}
        found = manager.discover_server_tools("crm", user="ada", request_body=body)
        assert names(found) == TOOLS
        with manager.request_scope(body):
            assert names(manager.discover_server_tools("crm", user="ada")) == TOOLS
        assert server.open_sessions == []
    asked = [r for r in server.requests if r.rpc_method == "tools/list"]
    assert [r.headers["x-chat"] for r in asked] == ["7", "7"]


def test_a_user_without_an_id_is_an_answer(server: LocalServer) -> None:
    with manager_of(server) as manager:
        assert manager.discover_server_tools("crm", user="") == NOTHING


def test_a_misspelt_option_is_refused_as_a_function_would(server: LocalServer) -> None:
    with manager_of(server) as manager, pytest.raises(TypeError, match="tiemout"):
        manager.discover_server_tools("crm", tiemout=5)  # type: ignore[call-arg]


def test_a_server_without_tools_has_none(server: LocalServer) -> None:
    server.tools = None
    with manager_of(server) as manager:
        assert manager.discover_server_tools("crm", user="ada") == ToolDiscovery([])


def test_more_tools_than_anybody_wants_are_a_failure(server: LocalServer) -> None:
    server.tools = [{"name": f"t{number}"} for number in range(1001)]
    with manager_of(server) as manager:
        assert manager.discover_server_tools("crm", user="ada") == NOTHING
        assert server.open_sessions == []


# Instructions, as far as a server is not needed for them.


def test_texts_of_the_configuration_are_instructions_and_nobody_is_asked() -> None:
    configs = {
        "one": parse_server(
            "one", {"url": "http://127.0.0.1:9/", "server_instructions": "Be kind."}
        ),
        "two": parse_server("two", {"url": "http://127.0.0.1:9/", "server_instructions": "  "}),
        "three": parse_server("three", {"url": "http://127.0.0.1:9/"}),
    }
    discovery = Discovery(None, None)  # type: ignore[arg-type]
    assert discovery.instructions(configs, None, scope()) == {"one": "Be kind."}  # type: ignore[arg-type]
