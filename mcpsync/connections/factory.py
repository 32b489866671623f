"""From a server's configuration and a user to a connection that is open."""

from __future__ import annotations

import contextlib
import logging
import math
import random as _random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .._runtime.backoff import linear, pause
from .._runtime.breaker import CircuitBreaker
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from ..client.caching import DEFAULT_CACHE, AnswerStore, ResponseCache
from ..client.carriers import settings_for
from ..client.making import ClientOptions, checked_client_options
from ..config import (
    HttpServerConfig,
    ServerConfig,
    StdioServerConfig,
    is_where_the_operator_says,
)
from ..config.fingerprint import fingerprint
from ..config.templates import PLACEHOLDER
from ..errors import (
    AuthError,
    CircuitOpen,
    ConfigurationError,
    ConnectionClosed,
    ConnectTimeout,
    MCPSyncError,
    OboTokenError,
    RateLimited,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
)
from ..events import BreakerClosed, BreakerOpened, ConnectionRetried, Emit
from ..http import Authorizer, Fetcher, HttpSettings, Limits
from ..http.settings import Session
from ..security.guard import Guard
from ..transports.base import CallScope
from .connection import TRUST, Connection, ConnectionOptions, Key, fill_in
from .guarding import fetcher_for
from .listing import read_catalogue
from .signing_in import SignIns

if TYPE_CHECKING:
    from mcp_types import Tool

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # how often connecting is tried [seed 2.5]
BACKOFF = 2.0  # seconds before the second attempt; twice that before the third [seed 2.5]
PATIENCE = 30.0  # seconds to leave a server alone that answers 429 and does not say for how long
MOST_PATIENCE = 86_400.0  # seconds that it may ask for; a slip of its clock is no reason to go away

Notified = Callable[[Connection, Any], None]


class Principal(NamedTuple):
    """Whose failures count together: one user's, at one server, as it is configured now."""

    server_name: str
    user_id: str | None
    fingerprint: str


class _Limit(NamedTuple):
    """How long connecting may take, all attempts together, and whose word that is.

    Args:
        deadline: The first of the limits there are.
        seconds: What the configuration says, or the call instead of it.
        of_call: Whether *deadline* is that of the call itself.
        hasty: Whether the call gave the server less time than its configuration does.
    """

    deadline: Deadline
    seconds: float
    of_call: bool
    hasty: bool

    @classmethod
    def of(cls, scope: CallScope, options: ConnectionOptions) -> _Limit:
        """Return the limit for what *scope* bounds."""
        usual = options.config.connect_timeout
        seconds = options.connection_timeout or usual
        deadline = scope.deadline.within(seconds)
        return cls(deadline, seconds, deadline is scope.deadline, seconds < usual)

    def told(self, error: MCPSyncError) -> MCPSyncError:
        """Return the error as the caller should see it: whose time was it that ran out?"""
        if not isinstance(error, RequestTimeout) or self.of_call:
            return error
        return ConnectTimeout(f"the server did not begin a conversation within {self.seconds:g} s.")

    def blames_the_server(self, error: MCPSyncError) -> bool:
        """Whether an attempt that failed with *error* speaks against the server. [seed 2.6]

        And not against who asks, or for how little time the server was given.
        """
        if isinstance(error, ConnectTimeout):
            return not (self.hasty or (self.of_call and self.deadline.expired))
        return not isinstance(error, _NOT_THE_SERVERS)


_NOT_THE_SERVERS = (
    AuthError
    | RefusedError
    | ConfigurationError
    | ConnectionClosed
    | RequestCancelled
    | RequestTimeout
)


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
        client_options: What every :class:`~mcpsync.Client` is made with besides.
        sign_ins: What signs users in; without it a 401 is what it is.
        guard: Says where servers may be whose URLs the operator has not written.
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
        client_options: ClientOptions | None = None,
        sign_ins: SignIns | None = None,
        guard: Guard | None = None,
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
        own = self._client_options = checked_client_options(client_options or {})
        cache = self._cache = own.pop("cache", DEFAULT_CACHE)
        self._public = AnswerStore(cache) if cache is not None and cache.share_public else None
        self._sign_ins = sign_ins
        self._guard = guard if guard is not None else Guard()
        self._random = random
        self._settings: dict[str, tuple[ServerConfig, HttpSettings]] = {}
        after_fork_in_child(breaker.forget)

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
            MCPSyncError: It did not work out; nothing is left open. It names server and user.
        """
        with _telling_whose(key):
            config, principal = _resolved(key, options)
            return self._create(key, config, principal, options, scope, ephemeral)

    def _create(
        self,
        key: Key,
        config: ServerConfig,
        principal: Principal,
        options: ConnectionOptions,
        scope: CallScope,
        ephemeral: bool,
    ) -> Connection:
        limit = _Limit.of(scope, options)
        for attempt in range(1, self._attempts + 1):
            if not ephemeral:
                self._check(principal)
            try:
                connection = self._try(key, config, principal, options, limit, scope)
            except MCPSyncError as error:
                told = limit.told(error)
                is_left_alone = not ephemeral and self._failed(principal, told, limit)
                delay = linear(attempt, self._backoff, random=self._random)
                is_last = attempt == self._attempts or is_left_alone
                if is_last or not _is_worth_another(told, delay, limit.deadline):
                    raise told from (error if told is not error else error.__cause__)
                self._tell_retry(key, attempt, delay, told)
            else:
                if not ephemeral:
                    self._succeeded(principal)
                return connection
            pause(delay, Deadline(math.inf), scope.cancel)  # it fits: see above
        raise AssertionError("the last attempt returns or raises")

    def discover_tools(self, key: Key, options: ConnectionOptions, scope: CallScope) -> list[Tool]:
        """Return the tools of a server over a connection made for that, and closed at once.

        What fails here counts for no breaker; one that is open is respected. [seed 2.5]

        Raises:
            MCPSyncError: As :meth:`create`, or they could not be listed.
        """
        with _telling_whose(key):
            self._check(_resolved(key, options)[1])
        connection = self.create(key, options, scope, ephemeral=True)
        try:
            return list(read_catalogue(connection, scope).tools)
        finally:
            connection.close()

    def check_reach(self, server_name: str, config: ServerConfig) -> None:
        """Refuse a server that must not be where it is said to be. Nothing is resolved or sent.

        Where that is not known without a user it is not refused here, but when it is connected to.

        Raises:
            RefusedError: The guard forbids it.
            ConfigurationError: Its configuration is not usable.
        """
        if isinstance(config, StdioServerConfig) or PLACEHOLDER.search(config.url):
            return
        self._settings_of(server_name, config, ConnectionOptions(config))

    def fetcher_for(self, config: HttpServerConfig) -> Fetcher:
        """Return what asks a server, and those whom it names, before anybody connects to it."""
        return fetcher_for(self._guard, config, config.url, self._session)

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
        limit: _Limit,
        scope: CallScope,
    ) -> Connection:
        settings = self._settings_of(key.server_name, config, options)
        authorizer: Authorizer | None = None
        if self._sign_ins is not None:
            authorizer = self._sign_ins.authorizer_for(key, config)
        auth: dict[str, Any] = {}
        if authorizer is not None and isinstance(settings, HttpSettings):
            settings = replace(settings, auth=authorizer)
        elif authorizer is not None:
            auth = {"auth": authorizer}
        connection = Connection(
            key,
            config,
            options,
            fingerprint=principal.fingerprint,
            clock=self._clock,
            trust=self._trust,
            connect_timeout=limit.seconds,
            timeout=config.timeout or self._timeout,
            session=settings,
            **auth,
            limits=self._limits,
            on_notification=self._on_notification,
            **self._client_options,
            cache=self._cache_of(principal),
        )
        try:
            connection.connect(timeout=limit.deadline, cancel=scope.cancel, headers=scope.headers)
        except BaseException:
            connection.close()
            raise
        return connection

    def _cache_of(self, principal: Principal) -> ResponseCache | None:
        """Return where one connection keeps answers; public ones with all that lead the same way.

        The fingerprint is that of the configuration as filled in: where a user's own values go
        into it, nothing is shared.
        """
        if self._cache is None:
            return None
        where = f"{principal.server_name} {principal.fingerprint}"
        return ResponseCache(self._cache, self._public, where)

    def _settings_of(
        self, name: str, config: ServerConfig, options: ConnectionOptions
    ) -> HttpSettings | Session | None:
        """Return the settings that all connections to one server share, worked out once.

        They are worked out for each connection where a user's own values go into them.

        Raises:
            RefusedError: The guard forbids the URL; nothing was resolved or sent.
        """
        if isinstance(config, StdioServerConfig):
            return self._session
        is_shared = config is options.config
        known = self._settings.get(name)
        if is_shared and known is not None and known[0] is config:
            return known[1]
        is_operators = is_where_the_operator_says(config)
        settings = settings_for(
            config,
            session=self._session,
            policy=self._guard.for_server(is_operators),
            abroad=self._guard.abroad(is_operators),
        )
        if is_shared:
            self._settings[name] = config, settings
        return settings

    # -- whether to go on -------------------------------------------------------------------------

    def _check(self, principal: Principal) -> None:
        wait = self._breaker.open_for(principal)
        if wait > 0:
            raise CircuitOpen(
                "Circuit breaker is open, connection attempt blocked: the server failed too often "
                f"lately. The next attempt is possible in {math.ceil(wait)} s, "
                "or after clear_cooldown().",
                server_name=principal.server_name,
                user_id=principal.user_id,
                retry_after=wait,
            )

    def _failed(self, principal: Principal, error: MCPSyncError, limit: _Limit) -> bool:
        """Count a failed attempt; return whether the server is to be left alone now."""
        if isinstance(error, RateLimited):
            wait = PATIENCE if error.retry_after is None else min(error.retry_after, MOST_PATIENCE)
            if self._breaker.hold(principal, wait):
                self._tell_opened(principal, "the server asked for patience (429)")
        elif limit.blames_the_server(error) and self._breaker.failed(principal):
            self._tell_opened(principal, type(error).__name__)
        return self._breaker.open_for(principal) > 0

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


def _is_worth_another(error: MCPSyncError, delay: float, deadline: Deadline) -> bool:
    """Whether to try again after *error*, in *delay* seconds."""
    stop = RateLimited | CircuitOpen | RequestTimeout | ConnectTimeout | OboTokenError
    hopeless = isinstance(error, stop) or not error.retryable
    return not hopeless and delay < deadline.remaining()


def _resolved(key: Key, options: ConnectionOptions) -> tuple[ServerConfig, Principal]:
    """Return the configuration with every placeholder filled in, and whose failures will count."""
    config = fill_in(options)
    return config, Principal(key.server_name, key.user_id, fingerprint(config))


@contextlib.contextmanager
def _telling_whose(key: Key) -> Iterator[None]:
    """Have errors name server and user; what was to follow has not been sent."""
    try:
        yield
    except MCPSyncError as error:
        error.maybe_executed = False
        error.with_context(server_name=key.server_name, user_id=key.user_id)
        raise


def checked_attempts(attempts: int) -> int:
    """Return *attempts* if it is a number of attempts.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise ConfigurationError(f"connect_attempts must be 1 or more, not {attempts!r}.")
    return attempts
