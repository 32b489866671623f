"""The manager's front door: names, configurations, users, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest

import mcpsync
from mcpsync import MCPManager
from mcpsync.testing import Fault, LocalServer


def test_an_unknown_server_is_named_with_the_nearest_known_one() -> None:
    manager = MCPManager({"inventory": {"url": "http://127.0.0.1:9/mcp"}})
    with pytest.raises(mcpsync.ServerNotFound, match="Did you mean 'inventory'"):
        manager.call_tool("inventry", "search", user="ada")


@pytest.mark.parametrize("user", ["", object(), type("User", (), {"id": None})(), True])
def test_a_user_without_an_id_is_refused_before_anything_is_sent(user: Any) -> None:
    manager = MCPManager({"crm": {"url": "http://127.0.0.1:9/mcp"}})
    with pytest.raises(mcpsync.ConfigurationError, match="missing id property"):
        manager.call_tool("crm", "search", user=user)


def test_arguments_that_are_not_an_object_are_refused() -> None:
    with LocalServer() as server, MCPManager({"crm": {"url": server.url}}) as manager:
        with pytest.raises(mcpsync.ConfigurationError, match="must be a mapping"):
            manager.call_tool("crm", "add", [1, 2], user="ada")  # type: ignore[arg-type]
        assert server.executions == {}


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "5", True])
def test_a_timeout_that_is_no_positive_number_is_refused(timeout: Any) -> None:
    manager = MCPManager({"crm": {"url": "http://127.0.0.1:9/mcp"}})
    with pytest.raises(mcpsync.ConfigurationError, match="timeout"):
        manager.call_tool("crm", "search", user="ada", timeout=timeout)


def test_a_configuration_that_is_wrong_names_its_server() -> None:
    with pytest.raises(mcpsync.ConfigurationError, match="'crm'") as caught:
        MCPManager({"crm": {"url": "ftp://example.com"}})
    assert caught.value.server_name == "crm"


def test_servers_come_from_yaml_with_the_environment_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalServer(auth_token="s3cret") as server:
        monkeypatch.setenv("CRM_TOKEN", "s3cret")
        path = tmp_path / "mcpsync.yaml"
        path.write_text(
            f"servers:\n  crm:\n    url: {server.url}\n"
            "    headers: {Authorization: 'Bearer ${CRM_TOKEN}'}\n"
        )
        with MCPManager.from_yaml(path) as manager:
            assert manager.server_names == ["crm"]
            assert manager.call_tool("crm", "echo", {"text": "hi"}, user="ada").content


FILE = """
mcpSettings:
  allowedAddresses: [127.0.0.0/8]
servers:
  theirs: {url: %s, source: user}
"""


def test_what_a_file_says_of_addresses_counts_unless_the_call_says_otherwise(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mcpsync.yaml"
    with LocalServer() as server:
        path.write_text(FILE % server.url)
        with MCPManager.from_yaml(path) as manager:
            assert manager.call_tool("theirs", "echo", {"text": "hi"}, user="ada").content
        with (
            MCPManager.from_yaml(path, allowed_addresses=[]) as manager,
            pytest.raises(mcpsync.RefusedError) as caught,
        ):
            manager.call_tool("theirs", "echo", {"text": "hi"}, user="ada")
    assert caught.value.rule == "address"


def test_a_setting_that_is_misspelt_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mcpsync.yaml"
    path.write_text("mcpSettings: {allowedAdresses: []}\nservers: {}\n")
    with pytest.raises(mcpsync.ConfigurationError, match="'allowedAddresses'"):
        MCPManager.from_yaml(path)


def test_a_401_asks_for_authorization_and_shows_the_challenge() -> None:
    with (
        LocalServer(auth_token="s3cret") as server,
        MCPManager({"crm": {"url": server.url}}) as manager,
    ):
        with pytest.raises(mcpsync.AuthorizationRequired) as caught:
            manager.call_tool("crm", "echo", {"text": "hi"}, user="ada")
        assert caught.value.challenge is not None
        assert caught.value.challenge.startswith("Bearer")
        assert not caught.value.maybe_executed


def test_a_server_that_refuses_the_port_is_named() -> None:
    with LocalServer() as server:
        url = server.url
    with (
        MCPManager({"crm": {"url": url}}, connect_attempts=1) as manager,
        pytest.raises(mcpsync.ConnectError, match=r"crm.*nobody listens there"),
    ):
        manager.call_tool("crm", "echo", {"text": "hi"}, user="ada")


def test_the_servers_own_timeout_is_the_default() -> None:
    with LocalServer() as server:
        server.inject(Fault.HANG, method="tools/call")
        config = {"url": server.url, "timeout": 0.2}
        with (
            MCPManager({"crm": config}) as manager,
            pytest.raises(mcpsync.RequestTimeout, match=r"0\.2"),
        ):
            manager.call_tool("crm", "echo", {"text": "hi"}, user="ada")


def test_a_repr_says_what_is_there() -> None:
    with LocalServer() as server, MCPManager({"crm": {"url": server.url}}) as manager:
        manager.call_tool("crm", "echo", {"text": "hi"}, user="ada")
        assert repr(manager) == "<MCPManager 1 servers, 1 users, 1 connections, 0 leased>"


@pytest.mark.parametrize("method", ["call_tool", "connection", "get_user_connection"])
def test_a_misspelt_option_is_refused_as_a_function_would(method: str) -> None:
    with LocalServer() as server, MCPManager({"crm": {"url": server.url}}) as manager:
        tool = ["echo"] if method == "call_tool" else []
        with pytest.raises(TypeError, match="unexpected keyword argument 'tiemout'"):
            getattr(manager, method)("crm", *tool, user="ada", tiemout=5)
        assert server.requests == []
