"""A client that signs its user in at a server which wants tokens."""

from __future__ import annotations

import pytest

from mcpsync import Client
from mcpsync.auth import OAuth
from mcpsync.errors import AuthorizationRequired
from support.authority import Authority

CALLBACK = "http://127.0.0.1:9/callback"


class Browser:
    """A user who agrees to everything."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.came_to: list[str] = []

    def go(self, url: str) -> None:
        self.came_to.append(self.authority.approve(url))

    def come_back(self) -> str:
        return self.came_to[-1]


def test_the_call_that_is_turned_down_signs_the_user_in_and_is_made_again() -> None:
    with Authority() as authority:
        browser = Browser(authority)
        auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=browser.come_back)
        with Client(authority.url, auth=auth) as client:
            assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
        assert len(browser.came_to) == 1
        assert authority.count("token", grant_type="authorization_code") == 1


def test_who_cannot_be_shown_anything_gets_the_url() -> None:
    with Authority() as authority:
        auth = OAuth(CALLBACK)
        with Client(authority.url, auth=auth) as client:
            with pytest.raises(AuthorizationRequired) as caught:
                client.list_tools()
            url = caught.value.authorization_url
            assert url is not None
            assert url.startswith(f"{authority.issuer}/authorize?")
            auth.complete(authority.url, authority.approve(url))
            assert client.list_tools()


def test_a_token_that_is_over_is_refreshed_without_the_user() -> None:
    with Authority() as authority:
        browser = Browser(authority)
        auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=browser.come_back)
        with Client(authority.url, auth=auth) as client:
            client.list_tools()
            authority.end_access_tokens()
            client.call_tool("add", {"a": 1, "b": 2})
        assert authority.count("token", grant_type="refresh_token") == 1
        assert len(browser.came_to) == 1
