"""Users who are sent to an authorization server, and come back."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from mcpsync.auth.codes import Returned

from .authority import Authority

CALLBACK = "http://127.0.0.1:9/callback"


class Browser:
    """A user who agrees to everything."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.shown: list[str] = []
        self.came_to: list[str] = []

    def go(self, url: str) -> None:
        self.shown.append(url)
        self.came_to.append(self.authority.approve(url))

    def come_back(self) -> str:
        return self.came_to[-1]


def query(url: str) -> dict[str, str]:
    """Return the parameters of a URL; none of them comes twice."""
    found = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert len(found) == len(dict(found)), "a parameter comes twice"
    return dict(found)


def returned(url: str, **other: str | None) -> Returned:
    """Return what a user came back with, with something else in it."""
    said = {**query(url), **other}
    return Returned(said.get("state"), said.get("code"), said.get("iss"), said.get("error"))
