"""What tools each connection's server has: asked once, asked again when it says they changed."""

from __future__ import annotations

import copy
import inspect
import logging
import random as _random
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..config import ServerConfig
from ..config.fingerprint import fingerprint
from ..config.names import server_of_key, tool_key
from ..config.predicates import is_allowed_at_app_level
from ..errors import MCPSyncError
from ..events import ConnectionCreated, Emit, Event, SweepFinished, ToolsChanged
from ..parsers import tool_functions
from ..protocol.lifecycle import State
from ..transports.base import CallScope
from .connection import Connection, Key
from .hearing import Hearing
from .listing import LISTING_TIMEOUT, Catalogue, read_catalogue
from .relisting import Relisting

if TYPE_CHECKING:
    from mcp_types import Tool

logger = logging.getLogger(__name__)

Subscriber = Callable[[str, "str | None", "list[Tool]"], None]


class _Last(NamedTuple):
    """What the application's connection to a server offered last, and where that led."""

    fingerprint: str
    catalogue: Catalogue


class ToolCatalogues:
    """The catalogues of all connections. Thread-safe.

    A connection is asked on first need, once for all who ask at the same time.
    ``notifications/tools/list_changed`` has it asked again, once for a burst, on another thread,
    see :class:`Relisting`; the last good catalogue holds until then. One that is not whole is
    never published, nor one of a connection that was closed or replaced meanwhile. [seed 2.6]

    Args:
        emit: Where events go. If it is a method, its object is held weakly.
        find: Returns the configuration of a server as it is now, by its name and, where it is a
            user's connection, his id; or None.
        names: Returns the names of all servers that there are for a user, or None; the tools of
            one that is shadowed have no keys.
        holds: Says whether a connection is the one its owner has now. As *emit*.
        loaded: Returns the application's connections, by server. As *emit*.
        random: Returns a number from 0 to 1, for the jitter.
        monotonic: Tells the time to the back-off, in seconds.

    Lock: _lock guards _subscribers, _last, _known, _doubtful, _told_shadowed, _closed.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        find: Callable[..., ServerConfig | None] | None = None,
        names: Callable[[str | None], Iterable[str]] = lambda _: (),
        holds: Callable[[Connection], bool] = lambda _: True,
        loaded: Callable[[], Mapping[str, Connection] | None] = dict,
        random: Callable[[], float] = _random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = weakly(emit)
        self._find = find
        self._names = names
        self._holds = weakly(holds)
        self._loaded = weakly(loaded)
        self._lock = new_lock("tool catalogues")
        self._flight: SingleFlight[Connection, None] = SingleFlight()
        self._subscribers: dict[object, Subscriber] = {}  # swapped whole
        self._last: dict[str, _Last] = {}  # of the application's servers
        self._known: weakref.WeakValueDictionary[bytes, Catalogue] = weakref.WeakValueDictionary()
        self._doubtful: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._told_shadowed: set[tuple[str, str]] = set()
        self._closed = False
        self._relisting = Relisting(
            self._ask_again, self._doubt, random=random, monotonic=monotonic
        )
        self._hearing = Hearing(self._is_followed, self._want)
        after_fork_in_child(self._forget)

    # -- asking -----------------------------------------------------------------------------------

    def tools(self, connection: Connection, scope: CallScope) -> list[Tool]:
        """Return the tools of a connection's server, asking if that was not done yet.

        They are shared: who wants to change one changes a copy.

        Raises:
            MCPSyncError: They could not be listed, all of them, and never were.
        """
        catalogue = connection.catalogue
        if not isinstance(catalogue, Catalogue):
            catalogue = self._ask(connection, scope)
        elif connection in self._doubtful:
            self._relisting.want(connection)
        return list(catalogue.tools)

    def functions(self, connection: Connection, scope: CallScope) -> dict[str, Any] | None:
        """Return the tools as functions by key; what was good last if they cannot be listed."""
        if self.is_shadowed(connection.server_name, connection.user_id):
            return {}
        try:
            tools = self.tools(connection, scope)
        except MCPSyncError as error:
            logger.warning(
                "[MCP][%s] its tools cannot be listed: %s", connection.server_name, error
            )
            return self.last_functions(connection.key)
        return _functions_of(tools, connection.server_name)

    def is_outdated(self, connection: Connection) -> bool:
        """Whether a user's connection is to a server that is configured otherwise by now.

        What is sent over it would have the credentials of before. The application's are looked at
        by who lends them.
        """
        if self._find is None or connection.user_id is None:
            return False
        try:
            config = self._find(connection.server_name, connection.user_id)
        except MCPSyncError as error:
            logger.warning("[MCP][%s] how is it configured? %s", connection.server_name, error)
            return True
        return config is None or connection.is_outdated(config)

    def last_functions(self, key: Key) -> dict[str, Any] | None:
        """Return what the application's connection to a server offered last; None if unknown."""
        last = self._last_of(key)
        if last is None:
            return None
        return (
            {}
            if self.is_shadowed(key.server_name, key.user_id)
            else _functions_of(last.tools, key.server_name)
        )

    def is_shadowed(self, server_name: str, user_id: str | None) -> bool:
        """Whether the tools of a server have no keys, since those would be another's. [seed 1.1]

        Args:
            server_name: The server.
            user_id: To whom the keys would be shown; None for the application.
        """
        taker = server_of_key(tool_key("tool", server_name), self._names(user_id))
        if taker is None or taker == server_name:
            return False
        pair = server_name, taker
        with self._lock:
            known = pair in self._told_shadowed
            self._told_shadowed.add(pair)
        if not known:
            logger.warning(
                "[MCP][%s] its tools have no keys: they would be taken for those of %r; "
                "give it another name",
                server_name,
                taker,
            )
        return True

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have *subscriber* called when tools changed; return what undoes that, if called."""
        mine = object()
        with self._lock:
            self._subscribers = {**self._subscribers, mine: subscriber}
        for connection in (self._loaded() or {}).values():
            self._hearing.follow(connection)

        def undo() -> None:
            with self._lock:
                self._subscribers = {k: s for k, s in self._subscribers.items() if k is not mine}
            if not self._subscribers:
                self._hearing.stop()

        return undo

    def told(self, event: Event | SweepFinished) -> None:
        """Hand an event of the application's connections on, and listen to one that is new."""
        self._emit(event)
        if isinstance(event, ConnectionCreated) and self._subscribers:
            connection = (self._loaded() or {}).get(event.server_name)
            if connection is not None:
                self._hearing.follow(connection)

    # -- asking again -----------------------------------------------------------------------------

    def notified(self, connection: Connection, notification: Any) -> None:
        """Take note of a notification; on the thread that waits for something else.

        Args:
            connection: Whose server sent it.
            notification: Its model; None if the conversation with the server was begun anew, in
                which case nobody knows what was missed.
        """
        method = "notifications/tools/list_changed"
        if notification is None or getattr(notification, "method", None) == method:
            self._want(connection)

    def close(self) -> None:
        """Ask no more, and publish no more. Works twice."""
        with self._lock:
            self._closed = True
        self._relisting.close()
        self._hearing.close()

    def _want(self, connection: Connection) -> None:
        if (
            connection.catalogue is None
            and not self._subscribers
            and connection not in self._flight
        ):
            return  # nobody has asked yet; whoever does gets the new ones
        self._relisting.want(connection)

    def _ask_again(self, connection: Connection, cancel: Cancellation) -> bool:
        """Ask a connection whose tools changed; return whether that is the end of it."""
        if not self._is_wanted(connection) or self.is_outdated(connection):
            return True
        try:
            self._ask(connection, CallScope(Deadline(LISTING_TIMEOUT), cancel), again=True)
        except MCPSyncError as error:
            logger.debug("[MCP][%s] its tools cannot be listed: %s", connection.server_name, error)
            return not self._is_wanted(connection)
        return True

    def _doubt(self, connection: Connection) -> None:
        """Take what a connection has for out of date: the next who wants it has it asked again."""
        logger.warning("[MCP][%s] its new tools cannot be had", connection.server_name)
        with self._lock:
            self._doubtful.add(connection)

    def _is_followed(self, connection: Connection) -> bool:
        return bool(self._subscribers) and self._is_wanted(connection)

    def _is_wanted(self, connection: Connection) -> bool:
        return connection.state is not State.CLOSED and bool(self._holds(connection))

    # -- having -----------------------------------------------------------------------------------

    def _ask(self, connection: Connection, scope: CallScope, *, again: bool = False) -> Catalogue:
        """Ask, once for all who ask now; or, *again*, whoever has asked before."""
        mine: list[tuple[Catalogue, bool]] = []

        def ask() -> None:
            there = connection.catalogue
            if again or not isinstance(there, Catalogue):
                catalogue = self._shared(read_catalogue(connection, scope))
                mine.append((catalogue, self._keep(connection, catalogue, said=again)))

        self._flight.do(
            connection,
            ask,
            deadline=scope.deadline,
            cancel=scope.cancel,
            own_affair=scope.is_to_blame_for,
            alone=again,
        )
        if not mine:
            kept = connection.catalogue
            assert isinstance(kept, Catalogue)
            return kept
        catalogue, changed = mine[0]
        if changed and connection.catalogue is catalogue:  # else a newer one is told
            self._tell(connection.key, catalogue)
        return catalogue

    def _shared(self, catalogue: Catalogue) -> Catalogue:
        """Return the equal catalogue that others have already, or this one."""
        with self._lock:
            return self._known.setdefault(catalogue.digest, catalogue)

    def _keep(self, connection: Connection, catalogue: Catalogue, *, said: bool) -> bool:
        """Put a catalogue in the place of the last; return whether there is anything to tell.

        Args:
            connection: Whose.
            catalogue: What it offers now.
            said: The server said that its tools changed, so that is news even if nobody knew them.
        """
        before, connection.catalogue = connection.catalogue, catalogue
        wanted, name, last = self._is_wanted(connection), connection.server_name, None
        with self._lock:
            self._doubtful.discard(connection)
            if not wanted or self._closed:
                return False
            if connection.user_id is None:
                last = self._last.get(name)
                self._last[name] = _Last(connection.fingerprint, catalogue)
        if before is None and last is not None and last.fingerprint == connection.fingerprint:
            before = last.catalogue
        return said if not isinstance(before, Catalogue) else before.digest != catalogue.digest

    def _tell(self, key: Key, catalogue: Catalogue) -> None:
        self._emit(ToolsChanged(key.server_name, key.user_id, len(catalogue.tools)))
        for subscriber in self._subscribers.values():
            try:
                tools = [tool.model_copy(deep=True) for tool in catalogue.tools]
                subscriber(key.server_name, key.user_id, tools)
            except Exception:
                logger.exception("a subscriber to the tools of %s failed", key.server_name)

    def _last_of(self, key: Key) -> Catalogue | None:
        last = self._last.get(key.server_name) if key.user_id is None else None
        if last is None or self._find is None:
            return None if last is None else last.catalogue
        config = self._find(key.server_name)
        if config is None or not is_allowed_at_app_level(config):
            return None
        return last.catalogue if fingerprint(config) == last.fingerprint else None

    def _forget(self) -> None:
        """Have nothing to do: in a forked child it is the parent's, and no thread is here."""
        self._lock = new_lock("tool catalogues")
        self._flight.reset()
        self._relisting.forget()
        self._hearing.forget()


def _functions_of(tools: Iterable[Tool], server_name: str) -> dict[str, Any]:
    """Return tools as functions that are the caller's own, to do with as he likes."""
    return copy.deepcopy(tool_functions(tools, server_name))


def weakly(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what calls *call*; if that is a method, only as long as its object is there."""
    if not inspect.ismethod(call):
        return call
    method = weakref.WeakMethod(call)

    def call_if_there(*args: Any) -> Any:
        alive = method()
        return None if alive is None else alive(*args)

    return call_if_there
