"""What a request to one URL needs besides its body, worked out once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from requests import PreparedRequest, Session
from requests.auth import HTTPBasicAuth
from requests.exceptions import RequestException
from requests.utils import get_auth_from_url, get_netrc_auth, urldefragauth

from ..errors import ConfigurationError
from ..security.guard import ABROAD, AddressPolicy
from ..security.redaction import safe_url
from ..version import __version__
from .adapter import AdapterKey, proxy_for
from .authorizing import Authorizer, AuthorizerSource

AuthCallable: TypeAlias = Callable[[PreparedRequest], PreparedRequest]
Auth: TypeAlias = tuple[str, str] | AuthCallable | Authorizer | AuthorizerSource | None

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

__all__ = [
    "Auth",
    "AuthCallable",
    "HttpSettings",
    "PreparedRequest",
    "Session",
    "check_header",
    "checked_headers",
    "origin_of",
]

USER_AGENT = f"mcpsync/{__version__}"


@dataclass(frozen=True, slots=True)
class Routes:
    """Where proxies come from.

    Args:
        proxies: Those of a session.
        trust_env: Whether the environment has a say.
        proxy: The one for all URLs, whatever the others say.
    """

    proxies: Mapping[str, str] = field(repr=False)  # with passwords
    trust_env: bool
    proxy: str | None = field(default=None, repr=False)

    def proxy_of(self, url: str) -> str | None:
        """Return the proxy for *url*; see :func:`proxy_for`."""
        if self.proxy:
            return proxy_for(url, {"all": self.proxy})
        with Session() as source:
            source.proxies, source.trust_env = dict(self.proxies), self.trust_env
            merged = source.merge_environment_settings(url, {}, None, None, None)
        return proxy_for(url, merged["proxies"])


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Headers, credentials and adapter for one URL. Immutable, so any thread may use it.

    Args:
        origin: Scheme, host and port.
        url: Where the requests go, without user info, as it is sent.
        path: What stands in the request line: its path and query.
        headers: Sent with every request; names in lower case.
        auth: Adds credentials to each request.
        key: Which shared adapter carries the requests.
        routes: Which proxy another URL would be asked through.
        abroad: What holds for another origin that a redirect leads to.
    """

    origin: tuple[str, str, int]
    url: str
    path: str
    headers: Mapping[str, str]
    auth: AuthCallable | Authorizer | None
    key: AdapterKey
    routes: Routes
    abroad: AddressPolicy = ABROAD

    @classmethod
    def resolve(
        cls,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: Auth = None,
        session: Session | None = None,
        proxy: str | None = None,
        is_operators: bool = True,
    ) -> HttpSettings:
        """Work the settings for *url* out, as ``requests`` would, environment and netrc included.

        Args:
            url: The URL the requests go to.
            headers: On top of the session's.
            auth: ``(user, password)`` or a callable, as ``requests`` takes them, or one of
                :mod:`mcpsync.auth`.
            session: Where proxies, ``verify``, ``cert``, headers and auth come from; it is read
                now and not kept. An explicit ``verify`` of it wins over ``REQUESTS_CA_BUNDLE``.
            proxy: What the requests go through, whatever session and environment say.
            is_operators: Whether the operator has said where the URL leads. If not, nothing that
                says who he is goes along: no headers, auth or certificate of the session, and
                nothing that stands in netrc.

        Raises:
            ConfigurationError: A header or the auth is not usable.
        """
        sent, path = prepared_url(url)
        source = session if session is not None else Session()
        try:
            merged = source.merge_environment_settings(url, {}, True, None, None)
            verify = merged["verify"] if source.verify is True else source.verify
            fixed = _headers(source, session is not None and is_operators, headers)
            return cls(
                origin=origin_of(sent),
                url=sent,
                path=path,
                headers=fixed,
                auth=_auth(
                    url,
                    auth.authorizer_for(url, session)
                    if isinstance(auth, AuthorizerSource)
                    else (source.auth if auth is None and is_operators else auth),
                    look_up=source.trust_env and is_operators and "authorization" not in fixed,
                ),
                key=AdapterKey(
                    verify=True if verify is None else verify,
                    cert=merged["cert"] if is_operators else None,
                    proxy=proxy_for(url, {"all": proxy} if proxy else merged["proxies"]),
                ),
                routes=Routes(dict(source.proxies), source.trust_env, proxy),
            )
        finally:
            if session is None:
                source.close()


def _headers(source: Session, given: bool, headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers of every request. A bare session's own are requests', not the user's."""
    merged: dict[str, str] = {"user-agent": USER_AGENT}
    if given:
        bare = Session().headers
        merged |= checked_headers(
            {
                name: _text(value)
                for name, value in source.headers.items()
                if bare.get(name) != value
            }
        )
    merged |= checked_headers(headers)
    return merged


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return *headers* with names in lower case; None values are left out.

    Raises:
        ConfigurationError: One of them cannot be a header.
    """
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        if value is not None:
            check_header(name, value)
            checked[name.lower()] = _text(value)
    return checked


def check_header(name: object, value: object) -> None:
    """Raise ``ConfigurationError``, which does not tell the value, if this cannot be a header."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot be the name of a header.")
    if name.lower() in _FRAMING:
        raise ConfigurationError(f"the header {name!r} frames the request; it is not yours to set.")
    if not isinstance(value, str | bytes) or not _VALUE.fullmatch(_text(value)):
        raise ConfigurationError(
            f"the header {name!r} cannot be sent: its value has a line break, white space at an "
            "edge, or characters that do not fit into a header."
        )


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _auth(url: str, auth: Any, *, look_up: bool) -> AuthCallable | Authorizer | None:
    if isinstance(auth, Authorizer):
        return auth
    in_url = get_auth_from_url(url)
    if auth is None and any(in_url):
        auth = in_url
    if auth is None and look_up:
        auth = get_netrc_auth(url) if _has_netrc() else None
    if auth is None:
        return None
    if isinstance(auth, tuple) and len(auth) == 2:
        return HTTPBasicAuth(*auth)
    if not callable(auth):
        raise ConfigurationError(
            "auth= takes (user, password), a callable or an object of mcpsync.auth, "
            f"not {type(auth).__name__}."
        )
    return auth  # type: ignore[no-any-return]


def _has_netrc() -> bool:
    return "NETRC" in os.environ or any(
        os.path.exists(os.path.expanduser(path)) for path in ("~/.netrc", "~/_netrc")
    )


def prepared_url(url: str) -> tuple[str, str]:
    """Return *url* without user info, and its path and query, as ``requests`` would send them.

    Raises:
        ConfigurationError: It is not an http or https URL.
    """
    origin_of(url)
    request = PreparedRequest()
    try:
        request.prepare_url(urldefragauth(url), None)
    except (RequestException, ValueError) as error:
        raise ConfigurationError(f"{safe_url(url)} is not a URL that can be asked.") from error
    return request.url or url, request.path_url


def origin_of(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of *url*, with the default port filled in.

    Raises:
        ConfigurationError: It is not an http or https URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{safe_url(url)} is not a URL.") from error
    blank = any(char.isspace() for char in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or blank:
        raise ConfigurationError(f"{safe_url(url)} is not an http:// or https:// URL.")
    return parts.scheme, parts.hostname.lower(), port or (443 if parts.scheme == "https" else 80)
