"""``MCPManager``: many servers, many users, any thread."""

from __future__ import annotations

import collections
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from ._runtime.breaker import BreakerPolicy, CircuitBreaker
from ._runtime.clock import Clock, SystemClock
from ._runtime.deadline import Deadline
from ._runtime.fork import after_fork_in_child
from ._runtime.locks import new_lock
from .auth.clients import CLIENT_NAME, CimdDocument, check_redirect_uri
from .auth.obo import OboTokenService
from .auth.obo_tokens import OboResolver
from .client.making import ClientOptions
from .client.options import (
    CLOSE_TIMEOUT,
    DEFAULT_TIMEOUT,
    checked_timeout,
)
from .config import ServerConfig, as_user
from .config.documents import read_document
from .config.loading import load_yaml
from .config.settings import read_settings
from .connections import (
    Connection,
    ConnectionFactory,
    ConnectionsRepository,
    RequestScope,
    UserConnectionManager,
)
from .connections.authorizing import Authorizing
from .connections.calling import Calling
from .connections.catalogue import ToolCatalogues, weakly
from .connections.discovery import Discovery
from .connections.disposal import Lease
from .connections.factory import checked_attempts
from .connections.offering import Offering
from .connections.on_behalf import AccessTokenOf, OnBehalf
from .connections.options import ManagerOptions
from .connections.reconnecting import ReconnectionTracker
from .connections.request_scope import table_of_a_request
from .connections.routing import Router, borrowed_once
from .connections.signing_in import SignIns
from .events import Event, EventSink, SweepFinished
from .http import Limits
from .http.settings import Session
from .registry import ServerInspector, ServersRegistry
from .registry.inspecting import Inspecting
from .registry.overrides import ReadOverrides
from .registry.permissions import MayConfigureObo
from .security.guard import Guard, GuardMode
from .stores import MemoryStore, Store, UserServers

logger = logging.getLogger(__name__)

IDLE_TIMEOUT = 900.0


class MCPManager(Calling, Offering, Authorizing, Inspecting):
    """Calls tools of configured servers for users, over connections it keeps. Thread-safe.

    Each user has connections of his own; a call without a user goes over one that belongs to the
    application. A configuration may say ``scope``: see the documentation. Nothing is connected,
    and no thread started, before the first call. In a forked child it begins anew.

    Args:
        servers: Configurations by name: what YAML would hold, or config objects.
        idle_timeout: Seconds after which a connection that nobody uses is closed (15 minutes).
        timeout: Seconds a call may take where neither it nor the server's configuration says.
        connect_attempts: How often connecting is tried, within one ``connect_timeout``.
        connect_backoff: Seconds before the second attempt; the third waits twice as long.
        trust_timeout: Seconds for which a server that answered is believed to be there; after
            that a legacy server is pinged before it is trusted with a call.
        breaker: When a server that fails over and over is left alone, and for how long.
        on_event: Called with each event of :mod:`mcpsync.events`, on the thread it happens on.
        session: A ``requests.Session`` to take proxies, TLS settings and headers from.
        limits: How much a server may send.
        store: Where tokens and sign-ins are kept, see :mod:`mcpsync.stores`; in memory by default,
            which is for one process.
        oauth_redirect_uri: The page of the application that users come back to when they have
            signed in at a server; it calls :meth:`complete_authorization`.
        client_metadata: The client id metadata document that the application serves, if it does.
        client_name: What users are shown when they sign in.
        allowed_domains: The hosts that URLs may name which users or servers give, such as
            ``"*.example.com"``; None for any. It opens no way to private addresses.
        allowed_addresses: Private addresses that such URLs may lead to: ``"host:port"`` or a
            network. Without, they lead to public addresses only.
        guard: ``"all"`` holds the operator's own URLs to the same; see the documentation.
        id_token_of: Returns the ID token of a user, by his id, or None; for servers whose grant is
            ``enterprise_managed``. Called whenever one is needed, on the thread of the call.
        obo: What exchanges users' tokens for servers with ``obo``: an ``OboTokenService``, or a
            function ``(OpenIDToken, scopes, from_cache)`` that returns the token.
        access_token_of: Returns the token by which a user has signed in to the application, by his
            id: a text, an ``OpenIDToken``, or None. Called for each request to such a server.
        user_servers: Where servers are kept that users have added; see :class:`ServersRegistry`
            for this and the next two.
        overrides: Returns what an administrator says of servers, for the id of a user or None.
        may_configure_obo: Tells whether a user, by his id, may add servers with ``obo``.
        clock: Tells the time to the rules: idleness, staleness, trust, breaker.
        client_options: As :class:`~mcpsync.Client` has them; see :class:`ClientOptions`.

    Raises:
        ConfigurationError: A configuration is wrong; the server is named.

    Lock: _lock guards _totals.
    """

    def __init__(
        self,
        servers: Mapping[str, ServerConfig | Mapping[str, Any]],
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        timeout: float = DEFAULT_TIMEOUT,
        connect_attempts: int = 3,
        connect_backoff: float = 2.0,
        trust_timeout: float = 60.0,
        breaker: BreakerPolicy | None = None,
        on_event: EventSink | None = None,
        session: Session | None = None,
        limits: Limits | None = None,
        store: Store | None = None,
        oauth_redirect_uri: str | None = None,
        client_metadata: CimdDocument | None = None,
        client_name: str = CLIENT_NAME,
        allowed_domains: Iterable[str] | None = None,
        allowed_addresses: Iterable[str] = (),
        guard: GuardMode = "untrusted",
        id_token_of: Callable[[str], str | None] | None = None,
        obo: OboTokenService | OboResolver | None = None,
        access_token_of: AccessTokenOf | None = None,
        user_servers: UserServers | None = None,
        overrides: ReadOverrides | None = None,
        may_configure_obo: MayConfigureObo | None = None,
        clock: Clock | None = None,
        **client_options: Unpack[ClientOptions],
    ) -> None:
        self._timeout = checked_timeout(timeout, DEFAULT_TIMEOUT)
        self._clock = clock = clock if clock is not None else SystemClock()
        self._on_event = on_event
        self._lock = new_lock("manager")
        self._totals: collections.Counter[str] = collections.Counter()
        self._configs = self._registry = ServersRegistry(
            servers, clock, user_servers, overrides, may_configure_obo
        )
        find, names = self._registry.get_server_config, self._registry.names_for
        self._catalogues = ToolCatalogues(
            self._emit, find=find, names=names, holds=self._holds, loaded=self._loaded
        )
        if oauth_redirect_uri is not None:
            check_redirect_uri(oauth_redirect_uri)
        policies = Guard(allowed_domains, allowed_addresses, guard)
        self._sign_ins = SignIns(
            store if store is not None else MemoryStore(clock),
            clock,
            session=session,
            redirect_uri=oauth_redirect_uri,
            document=client_metadata,
            client_name=client_name,
            id_token_of=id_token_of,
            on_behalf=OnBehalf.configured(
                obo, access_token_of, clock, self._registry.obo_gate.may_use_obo
            ),
            guard=policies,
        )
        self._factory = ConnectionFactory(
            clock=clock,
            breaker=CircuitBreaker(breaker or BreakerPolicy(), clock),
            emit=self._emit,
            timeout=self._timeout,
            session=session,
            limits=limits,
            attempts=checked_attempts(connect_attempts),
            backoff=connect_backoff,
            trust=trust_timeout,
            on_notification=weakly(self._catalogues.notified),
            client_options=client_options,
            sign_ins=self._sign_ins,
            guard=policies,
        )
        self._registry.inspect_with(ServerInspector(self._factory))
        told: dict[str, Any] = {"emit": self._emit, "tell_reuse": on_event is not None}
        self._users = UserConnectionManager(
            self._factory,
            idle_timeout=checked_timeout(idle_timeout, IDLE_TIMEOUT),
            clock=clock,
            **told,
        )
        heard: dict[str, Any] = {**told, "emit": self._catalogues.told}
        self._app = ConnectionsRepository(self._factory, find, names, clock=clock, **heard)
        self._discovery = Discovery(self._factory, self._catalogues)
        requests = table_of_a_request(self._factory, clock, **told)
        require, signs_in = self._registry.require, self._sign_ins
        self._router = Router(require, self._users, self._app, requests, self._timeout, signs_in)
        self._reconnections = ReconnectionTracker(clock)
        after_fork_in_child(self._forget)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """Make a manager for the servers of a YAML or JSON file, and its ``mcpSettings``.

        Args:
            path: The file.
            options: The constructor's; what is said here counts, whatever the file says of it.

        Raises:
            ConfigurationError: The file, or a configuration in it, is wrong.
        """
        document = read_document(path)
        return cls(load_yaml(document), **{**read_settings(document), **options})

    # -- lending ----------------------------------------------------------------------------------

    def connection(
        self, server: str, *, user: Any = None, **options: Unpack[ManagerOptions]
    ) -> AbstractContextManager[Connection]:
        """Borrow a connection: ``with manager.connection("crm", user=user) as connection: …``.

        It is not closed under you by the sweeper or a disconnect; only by :meth:`close`.

        Raises:
            ServerNotFound: No server of that name is configured.
            MCPSyncError: It could not be made.
        """
        lease = self._router.lease(server, user, options)
        return lease if options.get("oauth_start") is None else self._lent(server, user, options)

    def get_connection(
        self, server: str, *, user: Any = None, **options: Unpack[ManagerOptions]
    ) -> Connection:
        """Return the connection a call would go over, making it if there is none. [seed 1.2]

        It is not borrowed: the sweeper closes it when it is idle. Prefer :meth:`connection`.

        Raises:
            ServerNotFound: No server of that name is configured.
            MCPSyncError: It could not be made.
        """
        return self._leased(server, user, options, borrowed_once)

    def get_user_connection(
        self,
        server: str,
        *,
        user: Any,
        force_new: bool = False,
        **options: Unpack[ManagerOptions],
    ) -> Connection:
        """Return a user's connection to a server, making it if there is none.

        It is not borrowed: the sweeper closes it when it is idle. Prefer :meth:`connection`.

        Args:
            server: The configured name.
            user: See :meth:`call_tool`; it must have an id.
            force_new: Close the connection there is, forget what failed lately, and make another.
                Such an attempt joins nobody's and is joined by nobody.
            options: Its *timeout* and *cancel* end this caller's wait.

        Raises:
            ConfigurationError: The user has no id, or the server belongs to the application.
            ServerNotFound: No server of that name is configured.
            MCPSyncError: It could not be made.
        """

        def connect(lease: Lease) -> Connection:
            if lease.lender is not self._users:
                return borrowed_once(lease)
            return self._users.get_user_connection(
                server, lease.options, lease.scope, force_new=force_new
            )

        return self._leased(server, as_user(user), options, connect, of_user=True)

    def request_scope(self, body: Mapping[str, Any] | None = None) -> RequestScope:
        """Begin the part of a request in which its own connections may be used. [seed, later]

        ``with manager.request_scope(body={"conversationId": "7"}): manager.call_tool(…)``. A
        configuration that has ``{{BODY_…}}`` in it needs one: its connections are made for this
        request, shared by its calls, and closed with it. Calls from other threads are given it as
        ``request_scope=``.

        Args:
            body: The request's fields.

        Raises:
            ConfigurationError: *body* is not a mapping.
        """
        return self._router.request_scope(body)

    # -- looking after ----------------------------------------------------------------------------

    def get_user_connections(self, user_id: str) -> dict[str, Connection]:
        """Return the connections of a user, by server name."""
        return self._users.get_user_connections(str(user_id))

    def disconnect_user_connection(self, user_id: str, server: str) -> None:
        """Close a user's connection to a server, after the calls under way on it."""
        self._users.disconnect_user_connection(str(user_id), server)

    def disconnect_user_connections(self, user_id: str) -> None:
        """Close all the connections of a user, after the calls under way on them."""
        self._users.disconnect_user_connections(str(user_id))

    def check_idle_connections(self, current_user_id: str | None = None) -> int:
        """Close what has been idle for too long now, and return how many that were.

        A thread of the manager does this by itself.

        Args:
            current_user_id: Whose connections are left alone.
        """
        return self._users.check_idle_connections(current_user_id)

    def clear_cooldown(self, server: str, user_id: str | None = None) -> None:
        """Let connecting be tried again at once, whatever failed lately.

        Args:
            server: The configured name.
            user_id: For whom; for everybody by default.
        """
        self._factory.clear_cooldown(server, None if user_id is None else str(user_id))

    def get_connection_stats(self) -> dict[str, int]:
        """Return how many users and connections there are, of all kinds."""
        counts = self._users.counts()
        return {
            "tracked_users": counts.users,
            "total_connections": counts.connections,
            "activity_entries": counts.activity,
            "app_connection_count": self._app.get_connection_count(),
            "pending_connections": counts.pending,
            "leased_connections": counts.leased,
        }

    def stats(self) -> dict[str, Any]:
        """Return everything there is to know at this moment, for people and dashboards.

        :meth:`get_connection_stats`, and ``closing_connections`` (removed, with a call under
        way), ``totals`` (how often each kind of event happened) and ``breakers`` (one entry for
        each user and server that failed lately, with ``open_for`` in seconds).
        """
        with self._lock:
            totals = dict(self._totals)
        return {
            **self.get_connection_stats(),
            "closing_connections": self._users.counts().closing,
            "totals": totals,
            "breakers": self._factory.breakers(),
        }

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close every connection. Works twice.

        Calls under way may end within three quarters of the time; what has not ended then raises
        ``ConnectionClosed``.

        Args:
            timeout: Seconds it may take in all.
        """
        deadline = Deadline(timeout)
        self._catalogues.close()
        self._sign_ins.close()
        self._users.close(deadline)
        self._router.close(deadline)
        self._app.close(deadline)

    def _holds(self, connection: Connection) -> bool:
        """Whether a connection is the one its owner has now."""
        user_id = connection.user_id
        held = self._loaded() if user_id is None else self.get_user_connections(user_id)
        return held.get(connection.server_name) is connection

    def _loaded(self) -> Mapping[str, Connection]:
        return self._app.get_loaded()

    def _emit(self, event: Event | SweepFinished) -> None:
        name = type(event).__name__
        with self._lock:
            self._totals[name] += 1
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            logger.exception("the event sink failed on %s", name)

    def _forget(self) -> None:
        self._lock = new_lock("manager")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        self.close()
        return False

    def __repr__(self) -> str:
        counts = self._users.counts()
        return (
            f"<MCPManager {len(self.server_names)} servers, {counts.users} users, "
            f"{counts.connections} connections, {counts.leased} leased>"
        )
