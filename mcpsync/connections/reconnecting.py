"""Connecting users again who have signed in before. (Seed 3.9: ``OAuthReconnectionManager``)"""

from __future__ import annotations

import enum
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack

from .._runtime.backoff import pause
from .._runtime.clock import Clock
from .._runtime.fanout import fan_out
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..client.options import scope_of
from ..config import ServerConfig, User, as_user
from ..config.predicates import facts_of
from ..errors import ConnectionClosed, MCPSyncError
from ..transports.base import CallScope
from .catalogue import ToolCatalogues
from .connection import Connection, Key
from .options import ManagerOptions, part
from .routing import Router
from .signing_in import SignIns
from .users import UserConnectionManager

if TYPE_CHECKING:
    from .authorizing import Configurations

logger = logging.getLogger(__name__)

STAGGER: Final = 0.5  # seconds between two beginnings [seed 3.9]
AT_ONCE: Final = 4  # that are connected to at a time
CONNECT_TIMEOUT: Final = 10.0  # seconds, where the configuration says nothing [seed 3.9]
BACKOFF: Final = (300.0, 600.0, 1200.0, 1800.0)  # seconds after a failure, and further ones
ACTIVE_TIMEOUT: Final = 180.0  # seconds; whoever is at it for longer has died [seed 3.9]
FORGET_AFTER: Final = 3600.0  # seconds after a cool-down; a failure then is a first one


class Outcome(enum.StrEnum):
    """What has become of a user's connection to one server."""

    CONNECTED = "connected"
    """It was made."""
    ALREADY_CONNECTED = "already connected"
    NOT_SIGNED_IN = "not signed in"
    """There is neither a token that is good nor one to refresh it with."""
    ACTIVE = "active"
    """Another thread is at it."""
    COOLING = "cooling"
    """It failed lately; it is left alone for a while."""
    FAILED = "failed"
    LEFT_OUT = "left out"
    """The caller's own time was over, he called it off, or the user was disconnected."""


class Reconnection(NamedTuple):
    """What has become of a user's connection to one server, and why.

    Args:
        outcome: What.
        error: Why it failed, or was left out.
    """

    outcome: Outcome
    error: MCPSyncError | None = None


class _Attempt:
    """What is known of a user at a server: an attempt under way, failures before."""

    __slots__ = ("began", "failed_at", "failures")

    def __init__(self) -> None:
        self.began: float | None = None
        self.failures = 0
        self.failed_at = 0.0


class ReconnectionTracker:
    """Which users' reconnections are under way, and which failed lately. Thread-safe.

    After a failure a user's server is left alone for 5 minutes, then for 10, 20, and 30. [seed 3.9]

    Args:
        clock: Tells the time.

    Lock: _lock guards _attempts and what is in it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = new_lock("reconnection tracker")
        self._attempts: OrderedDict[Key, _Attempt] = OrderedDict()  # by when they last failed
        after_fork_in_child(self._forget_all)

    def begin(self, key: Key) -> float | Outcome:
        """Say that an attempt begins.

        Returns:
            What is to be handed to :meth:`end`; or why it must not begin.
        """
        now = self._clock.monotonic()
        with self._lock:
            self._prune_locked(now)
            attempt = self._attempts.setdefault(key, _Attempt())
            if attempt.began is not None and now - attempt.began < ACTIVE_TIMEOUT:
                return Outcome.ACTIVE
            if now - attempt.failed_at < _cool_down(attempt):
                return Outcome.COOLING
            attempt.began = now
            return now

    def end(self, key: Key, began: float, *, failed: bool | None) -> None:
        """Say that an attempt has ended.

        Args:
            key: Whose, at which server.
            began: What :meth:`begin` returned. One that has been given up for dead changes nothing.
            failed: Whether it failed; None if that is not known.
        """
        now = self._clock.monotonic()
        with self._lock:
            attempt = self._attempts.get(key)
            if attempt is None or attempt.began != began:
                return
            attempt.began = None
            if failed:
                attempt.failures += 1
                attempt.failed_at = now
                self._attempts.move_to_end(key)
            elif failed is not None or not attempt.failures:
                del self._attempts[key]

    def forget(self, key: Key) -> None:
        """Forget what failed: the user has signed in, or out. [seed: removeFailed]"""
        with self._lock:
            self._attempts.pop(key, None)

    def __len__(self) -> int:
        return len(self._attempts)

    def _prune_locked(self, now: float) -> None:
        """Forget those who have not failed for long: nobody knows whether they come back."""
        assert self._lock.locked()
        while self._attempts:
            key, attempt = next(iter(self._attempts.items()))
            rests = attempt.failed_at + _cool_down(attempt) + FORGET_AFTER
            dead = attempt.began is None or now - attempt.began >= ACTIVE_TIMEOUT
            if not dead or now < rests:
                return
            del self._attempts[key]

    def _forget_all(self) -> None:
        self._lock = new_lock("reconnection tracker")
        for attempt in self._attempts.values():
            attempt.began = None  # whoever was at it is in the parent


def _cool_down(attempt: _Attempt) -> float:
    return BACKOFF[min(attempt.failures, len(BACKOFF)) - 1] if attempt.failures else 0.0


class _Turn(NamedTuple):
    """A server whose turn it is to be connected to, and which one it is."""

    number: int
    key: Key
    config: ServerConfig


class Reconnecting:
    """What a manager connects users again with."""

    _sign_ins: SignIns
    _configs: Configurations
    _users: UserConnectionManager
    _router: Router
    _catalogues: ToolCatalogues
    _reconnections: ReconnectionTracker
    _timeout: float
    _pause: Callable[..., None] = staticmethod(pause)

    def reconnect_servers(
        self, user: Any, **options: Unpack[ManagerOptions]
    ) -> dict[str, Reconnection]:
        """Connect a user again to the servers that he has signed in to before. [seed 3.9]

        For a user who has just logged in to the application: what he will need is there when he
        needs it. Nobody is asked to sign in, and nothing is raised for a server that fails: it is
        left alone for 5 minutes, then 10, 20 and 30, until it works or the user signs in.

        It blocks for as long as it takes: half a second between two beginnings, four at a time,
        and ten seconds for a server whose configuration has no ``connect_timeout``. A web
        application calls it from a task queue, or from a thread of its own.

        Args:
            user: Who.
            options: As for :meth:`call_tool`. *timeout* and *cancel* end all of it; what was not
                connected to by then is left out, and not held against it.

        Returns:
            What has become of each server that users sign in to.

        Raises:
            ConfigurationError: The user has no id.
            StoreError: It cannot be told whether he has signed in.
        """
        owner = as_user(user)
        scope = scope_of(part(options).call, self._timeout)
        found: dict[str, Reconnection] = {}
        turns: list[_Turn] = []
        for name, config in self._configs.get_all_server_configs(
            owner, scope.deadline, scope.cancel
        ).items():
            if not self._sign_ins.are_for(config) or facts_of(config).scope in ("app", "request"):
                continue
            key = Key(owner.id, name)
            reason = self._why_not(key, config)
            found[name] = Reconnection(reason or Outcome.LEFT_OUT)
            if reason is None:
                turns.append(_Turn(len(turns), key, config))
        mine: ManagerOptions = {**options, "timeout": scope.deadline}
        outcomes = fan_out(
            "reconnector",
            lambda turn: self._reconnected(turn, owner, mine, scope),
            turns,
            limit=AT_ONCE,
        )
        for turn, outcome in zip(turns, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            found[turn.key.server_name] = outcome
        return found

    def _why_not(self, key: Key, config: ServerConfig) -> Outcome | None:
        there = self._users.get_user_connections(str(key.user_id)).get(key.server_name)
        if there is not None and there.is_connected:
            return Outcome.ALREADY_CONNECTED
        if not self._sign_ins.status(key, config).is_authorized:
            return Outcome.NOT_SIGNED_IN
        return None

    def _reconnected(
        self, turn: _Turn, owner: User, options: ManagerOptions, scope: CallScope
    ) -> Reconnection:
        """Wait for a server's turn, connect to it, and take note of how that went."""
        stagger = STAGGER * (turn.number if turn.number < AT_ONCE else 1)
        try:
            if stagger:
                self._pause(stagger, scope.deadline, scope.cancel)
        except MCPSyncError as error:
            return Reconnection(Outcome.LEFT_OUT, error)
        key = turn.key
        began = self._reconnections.begin(key)
        if isinstance(began, Outcome):
            return Reconnection(began)
        failed: bool | None = None
        try:
            self._connect(key, turn.config, owner, options)
            failed = False
        except MCPSyncError as error:
            called_off = scope.cancel is not None and scope.cancel.cancelled
            if called_off or scope.deadline.expired or isinstance(error, ConnectionClosed):
                return Reconnection(Outcome.LEFT_OUT, error)
            failed = True
            logger.warning("[MCP][User: %s][%s] not reconnected: %s", *key, error)
            return Reconnection(Outcome.FAILED, error)
        finally:
            self._reconnections.end(key, began, failed=failed)
        return Reconnection(Outcome.CONNECTED)

    def _connect(
        self,
        key: Key,
        config: ServerConfig,
        owner: User,
        options: ManagerOptions,
        *,
        force_new: bool = False,
    ) -> Connection:
        patience = options.get("connection_timeout")
        if patience is None and "connect_timeout" not in config.model_fields_set:
            patience = CONNECT_TIMEOUT
        mine: ManagerOptions = {**options, "connection_timeout": patience}
        lease = self._router.lease(key.server_name, owner, mine, of_user=True)
        return self._users.get_user_connection(
            key.server_name, lease.options, lease.scope, force_new=force_new
        )

    def _reconnect_after_sign_in(self, key: Key, owner: User, scope: CallScope) -> None:
        """Connect a user who has just signed in, and ask for the tools he may see. [seed 3.8]

        Whatever goes wrong here does not undo the sign-in: the next call tries again.
        """
        mine: ManagerOptions = {"timeout": scope.deadline, "cancel": scope.cancel}
        try:
            config = self._configs.get_server_config(
                key.server_name, key.user_id, scope.deadline, scope.cancel
            )
            if config is None or facts_of(config).scope in ("app", "request"):
                return
            connection = self._connect(key, config, owner, mine, force_new=True)
            self._catalogues.tools(connection, scope)
        except MCPSyncError as error:
            logger.warning("[MCP][User: %s][%s] signed in, not connected: %s", *key, error)
