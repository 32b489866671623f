"""Users who sign in at a test's authority by way of a manager."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from mcpsync import MCPManager
from mcpsync.errors import AuthorizationRequired
from support.authority import Authority

CALLBACK = "https://app.example/callback"
ADD = ("crm", "add", {"a": 1, "b": 2})


def manager_for(
    authority: Authority, config: dict[str, Any] | None = None, **options: Any
) -> MCPManager:
    """A manager with one server, ``crm``, that users sign in to."""
    said = {"url": authority.url, "requires_oauth": True, **(config or {})}
    options.setdefault("oauth_redirect_uri", CALLBACK)
    options.setdefault("connect_backoff", 0.01)
    return MCPManager({"crm": said}, **options)


def turned_away(manager: MCPManager, user: Any = "ada", **options: Any) -> AuthorizationRequired:
    """What a user is told who calls and has to sign in first."""
    with pytest.raises(AuthorizationRequired) as caught:
        manager.call_tool(*ADD, user=user, **options)
    return caught.value


def what_comes_back(authority: Authority, url: str | None) -> dict[str, str]:
    """Agree at *url*, and return the parameters of the request that comes to the application."""
    assert url is not None
    return query_of(authority.approve(url))


def query_of(url: str) -> dict[str, str]:
    """The parameters in a URL."""
    return dict(parse_qsl(urlsplit(url).query))


def sign_in(
    manager: MCPManager, authority: Authority, user: Any = "ada", **options: Any
) -> dict[str, str]:
    """Sign a user in, and return what came back."""
    back = what_comes_back(authority, turned_away(manager, user).authorization_url)
    manager.complete_authorization(**back, **options)
    return back


def tokens_seen(authority: Authority, method: str = "tools/call") -> list[str]:
    """The tokens that the MCP server's requests of a method came with, in order."""
    return [
        request.headers.get("authorization", "").removeprefix("Bearer ")
        for request in authority.mcp.requests
        if request.rpc_method == method
    ]
