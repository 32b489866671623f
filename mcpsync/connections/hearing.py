"""Hearing of new tools while no call waits: for the application's connections, if anybody asks."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable

from .._runtime.locks import new_lock
from .._runtime.threads import start_thread
from ..client.changes import Gap
from ..client.subscriptions import Subscription
from ..errors import ListenNotSupported, MCPSyncError
from .connection import Connection

logger = logging.getLogger(__name__)

LOOK_UP = 10.0  # seconds between looks at whether a connection is still wanted


class Hearing:
    """Listens to servers, each on a thread of its own. Thread-safe.

    A thread lives as long as its connection is wanted and its server tells something. A server
    that tells nothing by itself has none: what comes with calls is heard all the same.

    Args:
        wanted: Whether to listen to a connection (any more). Asked now and then.
        missed: Called with a connection of which something may have been missed.

    Lock: _lock guards _heard, _mute, _closed.
    """

    def __init__(
        self, wanted: Callable[[Connection], bool], missed: Callable[[Connection], None]
    ) -> None:
        self._wanted = wanted
        self._missed = missed
        self._lock = new_lock("hearing")
        self._heard: dict[Connection, Subscription | None] = {}
        self._mute: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._closed = False

    def follow(self, connection: Connection) -> None:
        """Listen to a connection from now on, if that is not done; does not wait."""
        with self._lock:
            if self._closed or connection in self._heard or connection in self._mute:
                return
            self._heard[connection] = None
        owner = weakref.ref(self)
        try:
            start_thread("listener", lambda: _listen(owner, connection))
        except RuntimeError:  # the interpreter exits, or the process is at its limit
            self.over(connection)

    def stop(self) -> None:
        """Listen to nobody any more; does not wait for the threads."""
        with self._lock:
            heard, self._heard = self._heard, {}
        for subscription in heard.values():
            if subscription is not None:
                subscription.close()

    def close(self) -> None:
        """Listen to nobody any more, for good."""
        with self._lock:
            self._closed = True
        self.stop()

    def forget(self) -> None:
        """Listen to nobody: in a forked child there are no threads."""
        self._lock = new_lock("hearing")
        self._heard = {}

    # -- on the threads ---------------------------------------------------------------------------

    def began(self, connection: Connection, subscription: Subscription) -> bool:
        """Let others end the listening; false if it is over already."""
        with self._lock:
            if connection not in self._heard:
                return False
            self._heard[connection] = subscription
            return True

    def goes_on(self, connection: Connection, change: object) -> bool:
        """Take note of a change; say whether to wait for the next."""
        if not self._wanted(connection):
            return False
        if isinstance(change, Gap):
            self._missed(connection)
        return True

    def over(self, connection: Connection, *, mute: bool = False) -> None:
        """Take note that a connection is not listened to any more, or says nothing."""
        with self._lock:
            self._heard.pop(connection, None)
            if mute:
                self._mute.add(connection)


def _listen(owner: weakref.ref[Hearing], connection: Connection) -> None:
    """Listen as long as that is wanted; while it waits, the thread keeps no owner alive."""
    mute = False
    try:
        with connection.listen(tools_list_changed=True) as subscription:
            hearing = owner()
            wanted = hearing is not None and hearing.began(connection, subscription)
            while wanted and subscription.active:
                del hearing
                change = subscription.next_event(LOOK_UP)
                hearing = owner()
                wanted = hearing is not None and hearing.goes_on(connection, change)
            del hearing
    except ListenNotSupported as error:
        logger.debug("[MCP][%s] %s", connection.server_name, error.message)
        mute = True
    except MCPSyncError as error:
        logger.debug("[MCP][%s] is not heard: %s", connection.server_name, error)
    except Exception:  # auth= is the application's code
        logger.exception("[MCP][%s] is not heard", connection.server_name)
    finally:
        hearing = owner()
        if hearing is not None:
            hearing.over(connection, mute=mute)
