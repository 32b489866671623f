"""From a server's configuration to the transports that reach it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..config import (
    HttpServerConfig,
    ServerConfig,
    StdioServerConfig,
    WebSocketServerConfig,
    is_where_the_operator_says,
)
from ..errors import ConfigurationError
from ..http import Authorizer, HttpEndpoint, HttpSettings, Limits
from ..http.guarding import guarded
from ..http.settings import Auth, Session
from ..http.websocket import require_library
from ..security.guard import ANYWHERE, AddressPolicy
from ..session.opening import Carrier
from ..transports.base import LegacyTransport, ModernTransport
from ..transports.http_sse import HttpSseTransport
from ..transports.stdio import StdioTransport
from ..transports.streamable_http_legacy import StreamableHTTPLegacy
from ..transports.streamable_http_modern import StreamableHTTPModern
from ..transports.websocket import WebSocketTransport


class HttpCarrier:
    """Reaches one URL; its origin is what the era is remembered by."""

    silence_is_legacy = False
    legacy_only = False

    def __init__(self, settings: HttpSettings, limits: Limits) -> None:
        self.origin: object | None = settings.origin
        self.place: object | None = settings.url
        self.authorizer = _authorizer_of(settings)
        self._settings = settings
        self._limits = limits

    def modern(self) -> StreamableHTTPModern:
        """Return a transport of the modern era."""
        return StreamableHTTPModern(self._endpoint())

    def legacy(self) -> StreamableHTTPLegacy:
        """Return a transport of the legacy era."""
        return StreamableHTTPLegacy(self._endpoint())

    def stream(self) -> HttpSseTransport:
        """Return a transport for HTTP+SSE, of the legacy era as well."""
        return HttpSseTransport(self._endpoint())

    def _endpoint(self) -> HttpEndpoint:
        return HttpEndpoint(self._settings, self._limits)


class LegacyCarrier:
    """Reaches one URL over a transport that knows no other era, so that nothing is asked.

    Args:
        settings: Of the URL.
        limits: How much the server may send.
        make: Makes the transport.
    """

    silence_is_legacy = False
    legacy_only = True
    place: object | None = None

    def __init__(
        self,
        settings: HttpSettings,
        limits: Limits,
        make: Callable[[HttpSettings, Limits], LegacyTransport],
    ) -> None:
        self.origin: object | None = settings.origin
        self.authorizer = _authorizer_of(settings)
        self._settings = settings
        self._limits = limits
        self._make = make

    def modern(self) -> ModernTransport:
        """Not to be called: there is no modern era of it."""
        raise NotImplementedError

    def legacy(self) -> LegacyTransport:
        """Return a transport."""
        return self._make(self._settings, self._limits)

    def stream(self) -> None:
        """There is nothing else to try."""


class StdioCarrier:
    """Starts one command; each process is asked its era anew."""

    silence_is_legacy = True
    legacy_only = False
    origin: object | None = None
    place: object | None = None
    authorizer: Authorizer | None = None

    def __init__(self, config: StdioServerConfig, limits: Limits) -> None:
        self._config = config
        self._limits = limits
        self._transport: StdioTransport | None = None

    def modern(self) -> StdioTransport:
        """Return the transport, of whichever era the process is; started if there is none."""
        if self._transport is None or not self._transport.alive:
            self._transport = StdioTransport(self._config, self._limits)
        return self._transport

    legacy = modern

    def stream(self) -> None:
        """There is nothing else to try."""


def carrier_for(
    config: ServerConfig,
    *,
    headers: Mapping[str, str] | None,
    auth: Auth,
    session: Session | HttpSettings | None,
    limits: Limits,
) -> Carrier:
    """Return what reaches the server of *config*.

    Args:
        config: The server.
        headers: On top of the configuration's.
        auth: Credentials.
        session: Where the other settings come from, or the settings, if they are worked out.
        limits: How much the server may send.

    Raises:
        ConfigurationError: Headers, auth or session are not usable.
    """
    if isinstance(config, StdioServerConfig):
        return StdioCarrier(config, limits)
    if isinstance(config, WebSocketServerConfig):
        return _websocket_carrier(config, headers, auth, session, limits)
    if isinstance(session, HttpSettings):
        settings = session
    else:
        settings = settings_for(config, headers, auth, session)
    if config.obo is not None and _authorizer_of(settings) is None:
        raise ConfigurationError(
            "there are tokens on behalf of users only for the connections of "
            "MCPManager(obo=, access_token_of=)."
        )
    if config.type == "sse":
        return LegacyCarrier(settings, limits, _over_sse)
    return HttpCarrier(settings, limits)


def _authorizer_of(settings: HttpSettings) -> Authorizer | None:
    return settings.auth if isinstance(settings.auth, Authorizer) else None


def _over_sse(settings: HttpSettings, limits: Limits) -> HttpSseTransport:
    return HttpSseTransport(HttpEndpoint(settings, limits))


def _websocket_carrier(
    config: WebSocketServerConfig,
    headers: Mapping[str, str] | None,
    auth: Auth,
    session: Session | HttpSettings | None,
    limits: Limits,
) -> LegacyCarrier:
    if headers or auth is not None:
        raise ConfigurationError("headers and credentials cannot be sent over WebSocket.")
    require_library()
    if isinstance(session, HttpSettings):
        settings = session
    else:
        settings = settings_for(config, session=session)
    return LegacyCarrier(settings, limits, WebSocketTransport)


def settings_for(
    config: HttpServerConfig | WebSocketServerConfig,
    headers: Mapping[str, str] | None = None,
    auth: Auth = None,
    session: Session | None = None,
    policy: AddressPolicy = ANYWHERE,
    abroad: AddressPolicy | None = None,
) -> HttpSettings:
    """Work out the settings of *config*'s requests; it takes a look at the whole environment.

    What the operator's session and netrc say of him goes to his own servers only.

    Raises:
        RefusedError: *policy* forbids the URL.
        ConfigurationError: Headers, auth or session are not usable.
    """
    is_operators = is_where_the_operator_says(config)
    if isinstance(config, WebSocketServerConfig):
        # Those of http:// or https:// in place of ws:// or wss://; it is sent no credentials.
        url = "http" + config.url[2:]
        settings = HttpSettings.resolve(url, session=session, is_operators=is_operators)
    else:
        merged = {**config.all_headers, **(headers or {})}
        settings = HttpSettings.resolve(
            config.url,
            headers=merged,
            auth=auth,
            session=session,
            proxy=config.proxy,
            is_operators=is_operators,
        )
    return guarded(settings, config.url, policy, abroad)
