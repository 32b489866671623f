"""Looking at servers before anybody uses them."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import Cancellation, MCPManager
from mcpsync._runtime.deadline import Deadline
from mcpsync.config import parse_server
from mcpsync.errors import AuthError, ConnectError, MCPSyncError, RefusedError, RequestCancelled
from mcpsync.registry import Inspection, ServerInspector
from mcpsync.registry import inspector as module
from mcpsync.registry.inspector import is_to_be_connected, sign_in_as_said
from mcpsync.testing import Fault, LocalServer
from support.authority import Authority
from support.threads import outcome, start


@pytest.fixture(params=["legacy", "modern"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(era=request.param) as server:
        yield server


def inspected(
    url: str,
    fields: dict[str, Any] | None = None,
    manager: dict[str, Any] | None = None,
    **how: Any,
) -> Inspection:
    """Look at one server, as a manager with it does."""
    config = {"url": url, **(fields or {})}
    with MCPManager({}, connect_attempts=1, **(manager or {})) as made:
        inspector = ServerInspector(made._factory)
        return inspector.inspect("crm", parse_server("crm", config), **how)


def handshakes(server: LocalServer) -> int:
    """How many connections were begun."""
    methods = [request.rpc_method for request in server.requests]
    return methods.count("initialize") + methods.count("server/discover")


# -- what is found ---------------------------------------------------------------------------------


def test_what_a_server_is_and_offers_is_found_over_a_connection_that_is_closed(
    server: LocalServer,
) -> None:
    found = inspected(server.url)
    assert (found.error, found.requires_oauth, found.connected) == (None, False, True)
    assert found.capabilities is not None
    assert found.capabilities.tools is not None
    assert found.instructions
    assert found.tools is not None
    assert "add" in {tool.name for tool in found.tools}
    assert "add_mcp_crm" in found.tool_functions
    assert 0 < found.init_duration < 30
    assert server.open_sessions == []
    assert server.violations == []


def test_a_server_that_wants_a_sign_in_is_not_connected_to() -> None:
    with Authority() as authority:
        found = inspected(authority.url)
        assert (found.error, found.requires_oauth, found.connected) == (None, True, False)
        assert found.oauth_metadata is not None
        assert found.tools is None
        assert handshakes(authority.server) == 0


def test_a_server_that_merely_turns_us_down_wants_a_sign_in() -> None:
    with LocalServer(auth_token="t") as server:
        found = inspected(server.url)
        assert (found.error, found.requires_oauth) == (None, True)
        assert handshakes(server) == 0


def test_one_that_turns_down_who_has_no_header_is_connected_to_with_it() -> None:
    with LocalServer(auth_token="t") as server:
        for headers in ({"Authorization": "Bearer t"}, {"authorization": "Bearer t", "X-K": "1"}):
            found = inspected(server.url, {"headers": headers})
            assert (found.error, found.requires_oauth, found.connected) == (None, False, True)


def test_one_that_turns_us_down_with_other_headers_has_failed_and_is_no_sign_in() -> None:
    with LocalServer(auth_token="t") as server:
        found = inspected(server.url, {"headers": {"X-Api-Key": "wrong"}})
        assert found.requires_oauth is False  # nothing but the refusal says so
        assert isinstance(found.error, AuthError)


def test_of_tools_and_facts_that_fail_the_others_are_known(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.inject(Fault.HTTP_500, method="tools/list", times=None)
    found = inspected(server.url)
    assert (found.error, found.connected, found.tools) == (None, True, None)
    assert found.capabilities is not None
    assert found.instructions
    assert "not all is known" in caplog.text
    assert server.open_sessions == []


def test_a_server_of_which_neither_is_known_has_failed(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise ConnectError("gone.")

    monkeypatch.setattr(module, "_ask_what_it_is", fail)
    monkeypatch.setattr(module, "_ask_for_tools", fail)
    found = inspected(server.url)
    assert isinstance(found.error, ConnectError)
    assert not found.connected
    assert server.open_sessions == []


def test_a_mistake_of_ours_is_not_taken_for_the_servers(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise KeyError("a mistake")

    monkeypatch.setattr(module, "_ask_for_tools", fail)
    with pytest.raises(KeyError):
        inspected(server.url)
    assert server.open_sessions == []


def test_what_fails_is_said_and_not_raised() -> None:
    with LocalServer() as gone:
        url = gone.url
    found = inspected(url)
    assert isinstance(found.error, ConnectError)
    assert found.error.server_name == "crm"
    assert found.init_duration > 0


def test_what_failed_counts_for_no_breaker() -> None:
    with LocalServer() as gone:
        url = gone.url
    with MCPManager({"crm": {"url": url}}, connect_attempts=1) as manager:
        for _ in range(5):
            manager.inspect_servers()
        assert manager.stats()["breakers"] == []


# -- the order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"requires_oauth": True}, {"startup": False}])
def test_whether_a_server_may_be_reached_is_asked_before_anything_is_sent(
    server: LocalServer, fields: dict[str, Any]
) -> None:
    found = inspected(server.url, fields, manager={"guard": "all"})
    assert isinstance(found.error, RefusedError)
    assert found.error.rule == "address"
    assert server.connections_opened == 0


def test_signing_in_is_looked_at_before_anything_is_connected_to(server: LocalServer) -> None:
    inspected(server.url)
    first = [(r.http_method, r.rpc_method) for r in server.requests]
    begun = next(n for n, (_, rpc) in enumerate(first) if rpc in ("initialize", "server/discover"))
    assert {method for method, _ in first[:begun]} >= {"GET", "HEAD"}


# -- what is not asked -----------------------------------------------------------------------------

SAID: dict[str, tuple[dict[str, Any], bool | None]] = {
    "it says so": ({"requires_oauth": True}, True),
    "it says no": ({"requires_oauth": False}, False),
    "a URL of the user's": ({"url": "https://x.example.com/{{USER_ID}}"}, False),
    "startup is false": ({"startup": False}, False),
    "On-Behalf-Of": ({"obo": {"scopes": "s"}}, False),
    "it has credentials": ({"headers": {"Authorization": "Bearer t"}}, False),
    "it has a key": ({"api_key": {"key": "k"}}, False),
    "it has a key in a header of its own": (
        {"api_key": {"key": "k", "authorization_type": "custom"}},
        False,
    ),
    "a key, and users sign in": ({"api_key": {"key": "k"}, "oauth": {"client_id": "c"}}, True),
    "users sign in": ({"oauth": {"client_id": "c"}}, True),
    "the application signs in": (
        {
            "oauth": {
                "grant": "client_credentials",
                "client_id": "c",
                "client_secret": "s",
                "issuer": "https://as.example.com",
            }
        },
        False,
    ),
    "a command": ({"url": None, "command": "files"}, False),
    "WebSocket": ({"url": "wss://x.example.com"}, False),
    "nothing is said": ({}, None),
    "a header of the user's": ({"headers": {"X-User": "{{USER_ID}}"}}, None),
}


@pytest.mark.parametrize(("fields", "said"), SAID.values(), ids=SAID)
def test_a_configuration_that_tells_whether_to_sign_in_is_believed(
    fields: dict[str, Any], said: bool | None
) -> None:
    written = {"url": "https://x.example.com/mcp", **fields}
    config = parse_server("crm", {k: v for k, v in written.items() if v is not None})
    if config.type == "websocket":
        assert sign_in_as_said(config) is False
    assert sign_in_as_said(config) is said


NOT_CONNECTED: dict[str, dict[str, Any]] = {
    "startup is false": {"startup": False},
    "users sign in": {"requires_oauth": True},
    "OAuth is described": {"oauth": {"client_id": "c"}},
    "variables": {"custom_user_vars": {"KEY": {}}},
    "On-Behalf-Of": {"obo": {"scopes": "s"}},
    "a placeholder": {"headers": {"X-User": "{{USER_ID}}"}},
    "a placeholder of the request's": {"headers": {"X-Body": "{{BODY_CONVERSATIONID}}"}},
}


@pytest.mark.parametrize("fields", NOT_CONNECTED.values(), ids=NOT_CONNECTED)
def test_what_needs_a_user_is_not_connected_to(server: LocalServer, fields: dict[str, Any]) -> None:
    found = inspected(server.url, fields)
    assert (found.error, found.connected, found.tools) == (None, False, None)
    assert handshakes(server) == 0


def test_what_needs_nobody_is() -> None:
    assert is_to_be_connected(parse_server("crm", {"url": "https://x.example.com/mcp"}))
    assert is_to_be_connected(parse_server("crm", {"command": "files"}))


def test_a_server_for_tokens_on_behalf_of_users_hears_nothing_at_all(server: LocalServer) -> None:
    inspected(server.url, {"obo": {"scopes": "s"}})
    assert server.connections_opened == 0


# -- time ------------------------------------------------------------------------------------------


def test_a_server_that_says_nothing_is_an_error_when_its_time_is_over(server: LocalServer) -> None:
    server.inject(Fault.HANG, times=None)
    began = time.monotonic()
    found = inspected(server.url, {"requires_oauth": False}, deadline=Deadline(0.4))
    assert isinstance(found.error, MCPSyncError)
    assert time.monotonic() - began < 5
    server.clear_faults()


def test_looking_is_called_off_from_another_thread(server: LocalServer) -> None:
    server.inject(Fault.HANG, times=None)
    cancel = Cancellation()
    look = start(lambda: inspected(server.url, {"requires_oauth": False}, cancel=cancel))
    assert server.wait_for(lambda server: server.hanging == 1)
    cancel.cancel()
    assert isinstance(outcome(look), RequestCancelled)
    server.clear_faults()


def test_one_that_hangs_holds_up_no_other() -> None:
    with LocalServer() as slow, LocalServer() as quick:
        slow.inject(Fault.HANG, times=None)
        servers = {f"s{number}": {"url": quick.url} for number in range(12)}
        servers["slow"] = {"url": slow.url, "requires_oauth": False}  # type: ignore[dict-item]
        with MCPManager(servers) as manager:
            looking = start(lambda: manager.inspect_servers(timeout=20))
            assert slow.wait_for(lambda server: server.hanging == 1)
            assert quick.wait_for(
                lambda server: (
                    len([r for r in server.requests if r.rpc_method == "tools/list"]) == 12
                )
            )
            slow.release()
            slow.clear_faults()
            found = outcome(looking)
        assert {name: each.error for name, each in found.items()} == dict.fromkeys(servers)


def test_all_of_it_ends_in_time_and_whose_turn_had_not_come_is_left_as_it_is() -> None:
    with LocalServer() as slow:
        slow.inject(Fault.HANG, times=None)
        names = [f"s{number}" for number in range(20)]
        servers = {name: {"url": slow.url, "requires_oauth": False} for name in names}
        with MCPManager(servers) as manager:
            began = time.monotonic()
            found = manager.inspect_servers(timeout=0.5)
            assert time.monotonic() - began < 5
            skipped = [name for name in names if found[name].skipped]
            assert len(skipped) == 20 - module.AT_ONCE
            configs = manager.registry.get_all_server_configs()
            assert [n for n in names if not configs[n].inspection_failed] == skipped
        slow.clear_faults()


def test_no_thread_is_left(server: LocalServer) -> None:
    servers = {f"s{number}": {"url": server.url} for number in range(6)}
    before = set(threading.enumerate())
    with MCPManager(servers) as manager:
        manager.inspect_servers()
        left = {thread.name for thread in set(threading.enumerate()) - before}
    assert {name for name in left if name.startswith("mcpsync-inspector")} == set()


def test_no_secret_of_a_configuration_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), LocalServer(auth_token="another") as server:
        found = inspected(server.url, {"headers": {"Authorization": "Bearer s3cret"}})
        assert found.error is not None
        assert "s3cret" not in str(found.error) + repr(found)
    assert "s3cret" not in caplog.text
