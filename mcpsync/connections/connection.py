"""A client that belongs to somebody."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, Unpack

from pydantic import BaseModel

from .._runtime.clock import Clock, SystemClock
from ..client import Client
from ..client.asking import Through
from ..client.options import CallOptions
from ..config import ServerConfig, User
from ..config.fingerprint import fingerprint as fingerprint_of
from ..config.placeholders import resolve
from ..config.predicates import facts_of, keep_facts, requires_oauth_machinery
from ..errors import (
    AuthError,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    InputRequired,
    MCPError,
    MCPSyncError,
    OboTokenError,
    RateLimited,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
)
from ..protocol.codec import INVALID_PARAMS, METHOD_NOT_FOUND
from ..protocol.versions import Era
from ..session.base import Call
from ..session.callbacks import ProgressCallback
from ..session.facts import ServerFacts
from ..transports.base import CallScope

if TYPE_CHECKING:
    from mcp_types import CallToolResult

M = TypeVar("M", bound=BaseModel)

TRUST = 60.0  # seconds for which a server that answered is believed to be there
PROBE_TIMEOUT = 10.0  # seconds that a ping may take


class Key(NamedTuple):
    """Whose connection to what. ``user_id`` is None for the application's own."""

    user_id: str | None
    server_name: str


class FlowManager(Protocol):
    """What signs users in. (Seed: ``flowManager``.)"""

    def signs_in(self, config: ServerConfig) -> bool:
        """Whether it can, at a server that is configured like this."""


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
    flow_manager: FlowManager | None = None


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
        connect_timeout: Seconds connecting may take, if that is more than *config* says.
        on_notification: Called with this connection and each notification that is not part of a
            call, on the thread that waits for something else; with None for a notification when
            the conversation with its server was begun anew.
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
        connect_timeout: float = 0.0,
        on_notification: Callable[[Connection, Any], None] | None = None,
        **options: Any,
    ) -> None:
        self._on_notification = on_notification
        if on_notification is not None:
            options["message_handler"] = _handing_on(weakref.ref(self), on_notification)
        self.user_id = key.user_id  # before the callbacks are made, which are told of it
        patient = _allowing(config, connect_timeout)
        super().__init__(patient, server_name=key.server_name, **options)
        self.key = key
        self.fingerprint = fingerprint
        self.created_at = clock.time()
        self._clock = clock
        self._trust = trust
        self._made_from = _kept(made_from)
        self._filled_in = config is not made_from.config
        self._heard_at = clock.monotonic()
        self._conversation: object | None = None
        self.catalogue: object | None = None
        self._calls: list[None] = []  # a list, not an int: one step, and so no lock

    @property
    def is_connected(self) -> bool:
        """Whether it is open and its server, as far as is known, is there."""
        return self._keeper.connected

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
        elsewhere, or, where the user's own values went into it, other values. One that is merely
        equal does not, and neither does an older one: somebody has read it before it changed.
        """
        made_from, config, age = self._made_from, options.config, 0.0
        if config is made_from.config:
            if not self._filled_in or _same_values(options, made_from):
                return False
        else:
            if self.is_outdated(config):
                return True
            age = _age_beside(config, made_from.config)
        if self._filled_in and fingerprint_of(fill_in(options)) != self.fingerprint:
            return True
        if age == 0.0:
            self._made_from = _kept(options)  # so that the next look is a short one
        return False

    def is_outdated(self, config: ServerConfig) -> bool:
        """Whether the server is configured otherwise by now, whatever values are filled in."""
        made_from = self._made_from.config
        if config is made_from:
            return False
        is_newer = config.updated_at is not None and config.updated_at > self.created_at
        elsewhere = fingerprint_of(config) != fingerprint_of(made_from)
        return is_newer or elsewhere or _age_beside(config, made_from) > 0

    @property
    def must_check(self) -> bool:
        """Whether to ask the server if it is there before it is trusted with a call.

        That is so when nothing was heard of it for a while, and after a call that could not reach
        it or was cut. Only the legacy era has a connection to lose; a modern server is never asked.
        """
        if self._clock.monotonic() - self._heard_at < self._trust:
            return False
        return self._keeper.era is Era.LEGACY

    def check(self, scope: CallScope) -> bool:
        """Ask the server whether it is there; one that knows no ping is. [seed 2.6]

        A session that the server turns down is as good as none.

        Raises:
            RequestTimeout, RequestCancelled, ConfigurationError, RefusedError, OboTokenError: The
                caller's own, as are his headers; they say nothing of the server.
        """
        deadline = scope.deadline.within(PROBE_TIMEOUT)
        try:
            self.send_ping(timeout=deadline, cancel=scope.cancel, headers=scope.headers)
        except (RequestCancelled, ConfigurationError, RefusedError, OboTokenError):
            raise
        except (RequestTimeout, ConnectTimeout):
            if deadline is scope.deadline and deadline.expired:
                raise
            return False
        except (AuthError, RateLimited, InputRequired):
            return True  # but nothing to rely on for a minute
        except MCPError as error:
            knows_no_ping = error.code in (METHOD_NOT_FOUND, INVALID_PARAMS)
            if error.status is not None and not knows_no_ping:
                return False
            self._heard_at = self._clock.monotonic()
        except MCPSyncError:
            return False
        return True

    def call_tool_in(
        self,
        scope: CallScope,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        progress_callback: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> CallToolResult:
        """Call a tool in a scope that is there already; otherwise as :meth:`call_tool`."""
        return self._call_tool(Call(scope, progress_callback, meta), name, arguments)

    def _ask_in(
        self,
        call: Call,
        method: str,
        params: Mapping[str, Any] | None,
        model: type[M],
        tool_name: str | None,
        through: Through | None = None,
    ) -> M:
        self._calls.append(None)
        try:
            answer = super()._ask_in(call, method, params, model, tool_name, through)
        except (ConnectError, ConnectionLost):
            self._heard_at = -math.inf  # it may be gone: whoever borrows it next asks
            raise
        finally:
            self._calls.pop()
        self._heard_at = self._clock.monotonic()
        if self._keeper.conversation is not self._conversation:
            self._note_conversation()
        return answer

    def _note_conversation(self) -> None:
        before, self._conversation = self._conversation, self._keeper.conversation
        if before is not None and self._on_notification is not None:
            self._on_notification(self, None)


_WALL = SystemClock()  # tokens expire by the time of who issued them


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
        now=_WALL.time(),
    )


def require_flow_manager(server_name: str, options: ConnectionOptions) -> None:
    """Raise ``ConfigurationError`` if users have to sign in and nothing signs them in. [seed]"""
    if options.flow_manager is None and requires_oauth_machinery(options.config):
        user_id = None if options.user is None else options.user.id
        raise ConfigurationError(
            f'[MCP][User: {user_id}] OAuth server "{server_name}" requires a flow_manager. '
            f"{_missing(options.config)}",
            server_name=server_name,
            user_id=user_id,
        )


def _missing(config: ServerConfig) -> str:
    if config.obo is not None:
        return "Say how tokens of users are exchanged: MCPManager(obo=, access_token_of=)."
    return "Say where users come back to: MCPManager(oauth_redirect_uri=)."


def _kept(options: ConnectionOptions) -> ConnectionOptions:
    """Return what a connection may keep of *options*: nothing that is of one call."""
    return options._replace(request_body=None, flow_manager=None, connection_timeout=None)


def _age_beside(config: ServerConfig, other: ServerConfig) -> float:
    """Return by how many seconds *config* is newer than *other*, as far as they say: or 0.0."""
    if config.updated_at is None or other.updated_at is None:
        return 0.0
    return config.updated_at - other.updated_at


def _allowing(config: ServerConfig, connect_timeout: float) -> ServerConfig:
    """Return *config* with *connect_timeout*, if that is longer than its own."""
    if connect_timeout <= config.connect_timeout:
        return config
    patient = config.model_copy(update={"connect_timeout": connect_timeout})
    keep_facts(patient, facts_of(config))  # its values may look like placeholders
    return patient


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
