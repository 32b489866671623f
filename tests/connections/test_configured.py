"""What a configuration says, as the server sees it: keys, a user's OpenID tokens, proxies."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from mcpsync import MCPManager, PlaceholderError, User
from mcpsync.testing import LocalServer
from support.authority import Authority
from support.people import manager_for, sign_in
from transports.proxy import Proxy

TOKEN = "Bearer {{OPENID_ACCESS_TOKEN}}"


@pytest.fixture(params=["legacy", "modern"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(era=request.param) as server:
        yield server
        assert server.violations == []


def manager_of(server: LocalServer, **config: Any) -> MCPManager:
    return MCPManager({"crm": {"url": server.url, **config}}, connect_attempts=1)


def call(manager: MCPManager, **options: Any) -> Any:
    return manager.call_tool("crm", "add", {"a": 1, "b": 2}, **options)


def seen(server: LocalServer, name: str) -> set[str | None]:
    """What came as a header, over all requests."""
    return {request.headers.get(name) for request in server.requests}


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        ({"key": "k"}, "authorization", "Bearer k"),
        ({"key": "k", "authorization_type": "basic"}, "authorization", "Basic k"),
        ({"key": "k", "authorization_type": "custom"}, "x-api-key", "k"),
        (
            {"key": "k", "authorization_type": "custom", "custom_header": "X-Mine"},
            "x-mine",
            "k",
        ),
    ],
)
def test_a_key_is_sent_with_every_request(
    server: LocalServer, said: dict[str, str], name: str, value: str
) -> None:
    with manager_of(server, apiKey=said, headers={"X-Other": "o"}) as manager:
        call(manager)
    assert seen(server, name) == {value}
    assert seen(server, "x-other") == {"o"}


def test_a_key_may_be_each_users_own(server: LocalServer) -> None:
    with manager_of(server, api_key={"source": "user"}) as manager:
        for name in ("ada", "bob"):
            call(manager, user=name, custom_user_vars={"MCP_API_KEY": f"of-{name}"})
    assert seen(server, "authorization") == {"Bearer of-ada", "Bearer of-bob"}


def test_without_a_users_own_key_nothing_is_sent(server: LocalServer) -> None:
    with (
        manager_of(server, api_key={"source": "user"}) as manager,
        pytest.raises(PlaceholderError, match="MCP_API_KEY, which has no value"),
    ):
        call(manager, user="ada")
    assert server.requests == []


# -- a user's OpenID tokens ------------------------------------------------------------------------


def test_each_call_goes_with_the_token_that_the_user_has_then(server: LocalServer) -> None:
    with manager_of(server, headers={"X-Token": TOKEN}) as manager:
        for number in (1, 2):
            call(manager, user=User("ada", openid={"access_token": f"t{number}"}))
    calls = [each for each in server.requests if each.rpc_method == "tools/call"]
    assert [each.headers["x-token"] for each in calls] == ["Bearer t1", "Bearer t2"]


def test_an_expired_token_is_sent_to_nobody(server: LocalServer) -> None:
    ada = User("ada", openid={"access_token": "s3cret", "expires_at": time.time() - 1})
    with manager_of(server, headers={"X-Token": TOKEN}) as manager:
        with pytest.raises(PlaceholderError, match="expired: the user has to sign in again") as no:
            call(manager, user=ada)
        assert "s3cret" not in str(no.value) + repr(ada)
    assert server.requests == []


def test_a_token_that_expired_meanwhile_is_not_sent_over_the_connection(
    server: LocalServer,
) -> None:
    with manager_of(server, headers={"X-Token": TOKEN}) as manager:
        call(manager, user=User("ada", openid={"access_token": "t1"}))
        before = len(server.requests)
        with pytest.raises(PlaceholderError):
            call(manager, user=User("ada", openid={"access_token": "t1", "expires_at": 1}))
        assert len(server.requests) == before


# -- a proxy ---------------------------------------------------------------------------------------


def test_a_servers_own_proxy_is_used_whatever_the_environment_says(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with Proxy() as proxy, manager_of(server, proxy=proxy.address) as manager:
        call(manager)
        assert len(proxy.requests) >= 1
        assert all(request.target == server.url for request in proxy.requests)


def test_signing_in_and_looking_at_a_server_go_through_it_too() -> None:
    with Proxy() as proxy, Authority() as authority:
        with manager_for(authority, {"proxy": proxy.address}) as manager:
            sign_in(manager, authority)
            call(manager, user="ada")
        with MCPManager({"crm": {"url": authority.url, "proxy": proxy.address}}) as manager:
            assert manager.inspect_servers()["crm"].requires_oauth
        asked = [urlsplit(request.target) for request in proxy.requests]
        assert {each.path for each in asked} >= {"/mcp", "/register", "/token"}
        to_server = [each for each in asked if each.netloc == urlsplit(authority.url).netloc]
        assert authority.mcp.connections_opened == len(to_server)  # and by no other way
