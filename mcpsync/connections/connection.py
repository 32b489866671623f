"""A client that belongs to somebody."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Unpack

from .._runtime.clock import Clock
from ..client import Client
from ..client.options import CallOptions
from ..config import ServerConfig, User
from ..config.fingerprint import fingerprint as fingerprint_of
from ..config.placeholders import resolve
from ..errors import (
    AuthError,
    InputRequired,
    MCPError,
    MCPSyncError,
    RateLimited,
    RequestCancelled,
    RequestTimeout,
)
from ..protocol.lifecycle import State
from ..protocol.versions import Era
from ..session.base import ServerFacts
from ..transports.base import CallScope

TRUST = 60.0  # seconds for which a server that answered is believed to be there
PROBE_TIMEOUT = 10.0  # seconds that a ping may take


class Key(NamedTuple):
    """Whose connection to what. ``user_id`` is None for the application's own."""

    user_id: str | None
    server_name: str


class ConnectionOptions(NamedTuple):
    """What a connection is made from. (Seed: ``UserMCPConnectionOptions``.)

    Args:
        config: The server, as configured now; placeholders and all.
        user: Whose connection it will be.
        custom_user_vars: The user's values for the variables that the configuration declares.
        request_body: Fields of the request it is for; only of a request-scoped server.
        connection_timeout: Seconds connecting may take; the configuration's by default.
        flow_manager: What signs users in; without one there is no OAuth and no OBO.
    """

    config: ServerConfig
    user: User | None = None
    custom_user_vars: Mapping[str, str] | None = None
    request_body: Mapping[str, Any] | None = None
    connection_timeout: float | None = None
    flow_manager: object | None = None


class Connection(Client):
    """A :class:`~mcpsync.Client` of one owner for one configured server. Thread-safe.

    It keeps nothing of the call that made it: not its headers, deadline, cancellation or body.

    Args:
        key: Whose it is, and which server's.
        config: The configuration with every placeholder filled in.
        made_from: What it was made from.
        fingerprint: Of *config*.
        clock: Tells the time to the rules of staleness and trust.
        trust: Seconds for which a server that answered is believed to be there.
        on_notification: Called with this connection and each notification that is not part of a
            call, on the thread that waits for something else.
        options: What :class:`~mcpsync.Client` takes.

    Attributes:
        created_at: When it was made, in seconds since the epoch.
        fingerprint: Of where and as whom it connects.
        catalogue: What its server offers, as far as that was asked; the catalogue's affair.
    """

    def __init__(
        self,
        key: Key,
        config: ServerConfig,
        made_from: ConnectionOptions,
        *,
        fingerprint: str,
        clock: Clock,
        trust: float = TRUST,
        on_notification: Callable[[Connection, Any], None] | None = None,
        **options: Any,
    ) -> None:
        if on_notification is not None:
            options["message_handler"] = _handing_on(weakref.ref(self), on_notification)
        super().__init__(config, server_name=key.server_name, **options)
        self.key = key
        self.user_id = key.user_id
        self.fingerprint = fingerprint
        self.created_at = clock.time()
        self._clock = clock
        self._trust = trust
        self._made_from = made_from._replace(request_body=None, flow_manager=None)
        self._filled_in = config is not made_from.config
        self._heard_at = clock.monotonic()
        self.catalogue: object | None = None
        self._calls: dict[object, None] = {}  # dict, not int: one step, and so no lock

    @property
    def is_connected(self) -> bool:
        """Whether it is open and its server, as far as is known, is there."""
        return self.state is State.OPEN and self._keeper.alive

    @property
    def busy(self) -> bool:
        """Whether a call is under way on it."""
        return bool(self._calls)

    def facts(self, **options: Unpack[CallOptions]) -> ServerFacts:
        """Return what the server says of itself, asking a modern one if it was not asked yet."""
        return self._facts(options)

    def is_stale(self, options: ConnectionOptions) -> bool:
        """Whether it was made from something else than what is wanted now. [seed, later]

        A configuration with a newer ``updated_at`` makes it stale, and so does one that leads
        elsewhere, or, where the user's own values went into it, other values.
        """
        made_from, config = self._made_from, options.config
        if config is not made_from.config:
            newer = config.updated_at is not None and config.updated_at > self.created_at
            if newer or fingerprint_of(config) != fingerprint_of(made_from.config):
                return True
        elif not self._filled_in or _same_values(options, made_from):
            return False
        if self._filled_in and fingerprint_of(fill_in(options)) != self.fingerprint:
            return True
        self._made_from = options._replace(request_body=None, flow_manager=None)
        return False

    @property
    def must_check(self) -> bool:
        """Whether to ask the server if it is there before it is trusted with a call.

        Only the legacy era has a connection to lose; a modern server is never asked.
        """
        if self._clock.monotonic() - self._heard_at < self._trust:
            return False
        return self._keeper.era is Era.LEGACY

    def check(self, scope: CallScope) -> bool:
        """Ask the server whether it is there. Any answer at all is a yes. [seed 2.6]

        Raises:
            RequestTimeout, RequestCancelled: The caller's own; they say nothing of the server.
        """
        options: CallOptions = {
            "timeout": scope.deadline.within(PROBE_TIMEOUT),
            "cancel": scope.cancel,
            "headers": scope.headers,
        }
        try:
            self.send_ping(**options)
        except RequestCancelled:
            raise
        except RequestTimeout:
            if scope.deadline.expired:
                raise
            return False
        except (MCPError, AuthError, RateLimited, InputRequired):
            self._heard_at = self._clock.monotonic()
        except MCPSyncError:
            return False
        return True

    def _ask(self, *args: Any, **kwargs: Any) -> Any:
        call = object()
        self._calls[call] = None
        try:
            answer = super()._ask(*args, **kwargs)
        finally:
            del self._calls[call]
        self._heard_at = self._clock.monotonic()
        return answer


def fill_in(options: ConnectionOptions) -> ServerConfig:
    """Return the configuration with every placeholder filled in.

    Raises:
        PlaceholderError: One has no value. Nothing was sent.
    """
    return resolve(
        options.config,
        user=options.user,
        custom_user_vars=options.custom_user_vars,
        body=options.request_body,
    )


def _handing_on(
    connection: weakref.ref[Connection], handler: Callable[[Connection, Any], None]
) -> Callable[[Any], None]:
    """Return a handler that keeps no connection alive: the connection keeps the handler."""

    def hand_on(notification: Any) -> None:
        alive = connection()
        if alive is not None:
            handler(alive, notification)

    return hand_on


def _same_values(one: ConnectionOptions, other: ConnectionOptions) -> bool:
    return one.user == other.user and one.custom_user_vars == other.custom_user_vars
