"""Where a redirect leads, and what may go along. (Seed 5.3)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urljoin

from ..errors import RefusedError
from .adapter import AdapterKey
from .guarding import check_guarded
from .settings import USER_AGENT, HttpSettings, origin_of, prepared_url

MAX_REDIRECTS: Final = 5
REDIRECTS: Final = (301, 302, 303, 307, 308)
KEEPING: Final = (307, 308)  # method and body
_KEPT: Final = ("accept", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name")
_MIRRORED: Final = "mcp-param-"  # arguments, which are in the body as well


def joined(url: str, location: str) -> str | None:
    """Return where a redirect of *url* leads, if that is a URL at all."""
    try:
        target = urljoin(url, location)
        origin_of(target)
    except ValueError:
        return None
    return target if location else None


def within(origin: tuple[str, str, int], target: str) -> str | None:
    """Return *target* as it is sent, if that is within *origin*; None if it leads elsewhere.

    Not the text decides but what becomes of it: a proxy is sent all of the URL, and those who read
    it do not agree on what a backslash or user info in it means.
    """
    try:
        sent, _ = prepared_url(target)
    except ValueError:
        return None
    return sent if origin_of(sent) == origin else None


def settings_abroad(settings: HttpSettings, target: str) -> HttpSettings:
    """Return the settings of a request that was redirected to another origin.

    A server has named it, whoever has named the server: so it is guarded afresh, without what was
    allowed there, and gets neither headers, credentials, cookies nor a certificate of ours. The
    proxy is chosen anew.

    Raises:
        RefusedError: The URL is not allowed, or it leads from https to http.
    """
    sent, path = prepared_url(target)
    origin = origin_of(sent)
    if settings.origin[0] == "https" and origin[0] != "https":
        raise RefusedError("it leads from https to http.", rule="form")
    proxy = settings.routes.proxy_of(target)
    policy = settings.abroad
    check_guarded(target, policy, scheme=origin[0], proxied=proxy is not None)
    key = AdapterKey(settings.key.verify, None, proxy)
    return replace(
        settings,
        origin=origin,
        url=sent,
        path=path,
        headers={"user-agent": USER_AGENT},
        auth=None,
        key=key if proxy is not None else key._replace(policy=policy),
    )


def kept_abroad(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of the protocol's headers that another origin may see: no session is its own."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in _KEPT or name.lower().startswith(_MIRRORED)
    }
