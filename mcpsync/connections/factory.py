"""From a server's configuration and a user to a connection that is open."""

from __future__ import annotations

import logging
import random as _random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .._runtime.backoff import linear, pause
from .._runtime.breaker import CircuitBreaker
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from ..client.carriers import settings_for
from ..config import HttpServerConfig, ServerConfig
from ..config.fingerprint import fingerprint
from ..errors import (
    AuthError,
    CircuitOpen,
    ConfigurationError,
    ConnectionClosed,
    ConnectTimeout,
    MCPSyncError,
    RateLimited,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
)
from ..events import BreakerClosed, BreakerOpened, ConnectionRetried, Emit
from ..http import HttpSettings, Limits
from ..http.settings import Session
from ..transports.base import CallScope
from .connection import TRUST, Connection, ConnectionOptions, Key, fill_in

if TYPE_CHECKING:
    from mcp_types import Tool

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # how often connecting is tried [seed 2.5]
BACKOFF = 2.0  # seconds before the second attempt; twice that before the third [seed 2.5]
PATIENCE = 30.0  # seconds to leave a server alone that answers 429 and does not say for how long

Notified = Callable[[Connection, Any], None]


class Principal(NamedTuple):
    """Whose failures count together: one user's, at one server, as it is configured now."""

    server_name: str
    user_id: str | None
    fingerprint: str


class ConnectionFactory:
    """Makes connections: several attempts within one deadline. Thread-safe.

    What belongs to the call that asks (its deadline, cancellation, headers and body) ends with
    it; a connection keeps only what belongs to it for life. [seed 2.5]

    Args:
        clock: Tells the time.
        breaker: Says when a server is left alone; by server, user and fingerprint.
        emit: Where events go, if anybody listens.
        timeout: Seconds a call may take where neither it nor the configuration says.
        session: A ``requests.Session`` to take proxies, TLS settings and headers from.
        limits: How much a server may send.
        attempts: How often connecting is tried.
        backoff: Seconds before the second attempt; the third waits twice as long.
        trust: Seconds for which a server that answered is believed to be there.
        on_notification: Called with a connection and each notification that comes over it.
        random: Returns a number from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        breaker: CircuitBreaker[Principal],
        emit: Emit | None,
        timeout: float,
        session: Session | None = None,
        limits: Limits | None = None,
        attempts: int = ATTEMPTS,
        backoff: float = BACKOFF,
        trust: float = TRUST,
        on_notification: Notified | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._clock = clock
        self._breaker = breaker
        self._emit = emit
        self._timeout = timeout
        self._session = session
        self._limits = limits
        self._attempts = attempts
        self._backoff = backoff
        self._trust = trust
        self._on_notification = on_notification
        self._random = random
        self._settings: dict[str, tuple[ServerConfig, HttpSettings]] = {}

    def create(
        self,
        key: Key,
        options: ConnectionOptions,
        scope: CallScope,
        *,
        ephemeral: bool = False,
    ) -> Connection:
        """Make the connection *key* stands for, and connect it.

        Args:
            key: Whose, and to what.
            options: What it is made from.
            scope: Its deadline bounds all attempts together, as does the connection timeout; its
                cancellation ends them; its headers are for the requests that connecting makes.
            ephemeral: It lives for one request: no breaker stops it, and it counts for none.

        Raises:
            PlaceholderError: A placeholder has no value; nothing was sent.
            CircuitOpen: The server failed too often lately; nothing was sent.
            MCPSyncError: It did not work out; nothing is left open.
        """
        config = fill_in(options)
        principal = Principal(key.server_name, key.user_id, fingerprint(config))
        timeout = options.connection_timeout or config.connect_timeout
        patient = CallScope(scope.deadline.within(timeout), scope.cancel, scope.headers)
        for attempt in range(1, self._attempts + 1):
            if not ephemeral:
                self._check(principal)
            try:
                connection = self._try(key, config, principal, options, patient)
            except MCPSyncError as error:
                told = _told(error, scope.deadline, timeout)
                if not ephemeral:
                    self._failed(principal, told)
                delay = linear(attempt, self._backoff, random=self._random)
                if self._breaker.open_for(principal) > 0 and not ephemeral:
                    attempt = self._attempts  # it opened: what failed is the better answer
                if not self._again(attempt, told, delay, patient.deadline):
                    raise told from (error if told is not error else error.__cause__)
                self._tell_retry(key, attempt, delay, told)
                pause(delay, patient.deadline, patient.cancel)
            else:
                if not ephemeral:
                    self._succeeded(principal)
                return connection
        raise AssertionError("the last attempt returns or raises")

    def discover_tools(self, key: Key, options: ConnectionOptions, scope: CallScope) -> list[Tool]:
        """Return the tools of a server over a connection made for that, and closed at once.

        What fails here counts for no breaker. [seed 2.5]

        Raises:
            MCPSyncError: As :meth:`create`, or they could not be listed.
        """
        connection = self.create(key, options, scope, ephemeral=True)
        try:
            listed = connection.tools(
                timeout=scope.deadline, cancel=scope.cancel, headers=scope.headers
            )
            return list(listed)
        finally:
            connection.close()

    def lost(self, connection: Connection) -> None:
        """Take note that a connection was found dead: it has to be made again. [seed 2.6]"""
        principal = Principal(connection.server_name, connection.user_id, connection.fingerprint)
        if self._breaker.cycle(principal):
            self._tell_opened(principal, "too many connections were lost")

    def clear_cooldown(self, server_name: str, user_id: str | None = None) -> None:
        """Forget what failed lately with a server: for one user, or, without, for everybody.

        [seed: an explicit wish to connect is not to be refused for what failed before]
        """

        def matches(principal: Principal) -> bool:
            mine = user_id is None or principal.user_id == user_id
            return mine and principal.server_name == server_name

        for principal in self._breaker.reset(matches):
            self._tell_closed(principal)

    def breakers(self) -> list[dict[str, Any]]:
        """Return one record for each user and server that failed lately, for people."""
        return [
            {
                "server_name": principal.server_name,
                "user_id": principal.user_id,
                "cycles": state.cycles,
                "failed_rounds": state.failed_rounds,
                "open_for": state.open_for,
            }
            for principal, state in self._breaker.states().items()
        ]

    # -- one attempt ------------------------------------------------------------------------------

    def _try(
        self,
        key: Key,
        config: ServerConfig,
        principal: Principal,
        options: ConnectionOptions,
        scope: CallScope,
    ) -> Connection:
        connection = Connection(
            key,
            config,
            options,
            fingerprint=principal.fingerprint,
            clock=self._clock,
            trust=self._trust,
            timeout=config.timeout or self._timeout,
            session=self._settings_of(key.server_name, config, options),
            limits=self._limits,
            on_notification=self._on_notification,
        )
        try:
            connection.connect(timeout=scope.deadline, cancel=scope.cancel, headers=scope.headers)
        except BaseException:
            connection.close()
            raise
        return connection

    def _settings_of(
        self, name: str, config: ServerConfig, options: ConnectionOptions
    ) -> HttpSettings | Session | None:
        """Return the settings that all connections to one server share, worked out once.

        They are worked out for each connection where a user's own values go into them.
        """
        if not isinstance(config, HttpServerConfig) or config is not options.config:
            return self._session
        known = self._settings.get(name)
        if known is None or known[0] is not config:
            known = self._settings[name] = config, settings_for(config, session=self._session)
        return known[1]

    # -- whether to go on -------------------------------------------------------------------------

    def _again(self, attempt: int, error: MCPSyncError, delay: float, deadline: Deadline) -> bool:
        if attempt >= self._attempts or not error.retryable:
            return False
        stop = RateLimited | CircuitOpen | RequestTimeout | ConnectTimeout
        return not isinstance(error, stop) and delay < deadline.remaining()

    def _check(self, principal: Principal) -> None:
        wait = self._breaker.open_for(principal)
        if wait > 0:
            raise CircuitOpen(
                "Circuit breaker is open, connection attempt blocked: the server failed too often "
                f"lately. The next attempt is possible in {wait:.0f} s, or with force_new=True.",
                server_name=principal.server_name,
                user_id=principal.user_id,
                retry_after=wait,
            )

    def _failed(self, principal: Principal, error: MCPSyncError) -> None:
        if isinstance(error, RateLimited):
            wait = error.retry_after if error.retry_after is not None else PATIENCE
            if self._breaker.hold(principal, wait):
                self._tell_opened(principal, "the server asked for patience (429)")
        elif _is_the_servers(error) and self._breaker.failed(principal):
            self._tell_opened(principal, type(error).__name__)

    def _succeeded(self, principal: Principal) -> None:
        if self._breaker.succeeded(principal):
            self._tell_closed(principal)

    # -- telling ----------------------------------------------------------------------------------

    def _tell_opened(self, principal: Principal, cause: str) -> None:
        seconds = self._breaker.open_for(principal)
        name, user_id = principal.server_name, principal.user_id
        logger.warning(
            "[MCP][User: %s][%s] circuit breaker open for %.0f s: %s", user_id, name, seconds, cause
        )
        if self._emit is not None:
            self._emit(BreakerOpened(name, user_id, seconds, cause))

    def _tell_closed(self, principal: Principal) -> None:
        name, user_id = principal.server_name, principal.user_id
        logger.info("[MCP][User: %s][%s] circuit breaker closed", user_id, name)
        if self._emit is not None:
            self._emit(BreakerClosed(name, user_id))

    def _tell_retry(self, key: Key, attempt: int, delay: float, error: MCPSyncError) -> None:
        cause = type(error).__name__
        logger.debug("[MCP][%s] attempt %d failed (%s)", key.server_name, attempt, cause)
        if self._emit is not None:
            self._emit(ConnectionRetried(key.server_name, key.user_id, attempt, delay, cause))


def _told(error: MCPSyncError, deadline: Deadline, timeout: float) -> MCPSyncError:
    """Return the error as the caller should see it: whose time was it that ran out?"""
    if isinstance(error, RequestTimeout) and not deadline.expired:
        return ConnectTimeout(f"the server did not begin a conversation within {timeout:g} s.")
    return error


def _is_the_servers(error: MCPSyncError) -> bool:
    """Whether a failed attempt speaks against the server, and not against who asks. [seed 2.6]"""
    whose = (
        AuthError
        | RefusedError
        | ConfigurationError
        | ConnectionClosed
        | RequestCancelled
        | RequestTimeout
    )
    return not isinstance(error, whose)
