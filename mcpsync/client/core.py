"""A client's one session: opened on first use, shared by threads, begun anew after a fork."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .._runtime.cancel import Cancellation, Watch
from .._runtime.deadline import Deadline
from .._runtime.exit import at_exit, leave_behind
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child, notice_fork
from .._runtime.locks import new_lock
from ..errors import (
    AuthorizationRequired,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    HTTPStatusError,
    MCPError,
    MCPSyncError,
    RequestCancelled,
    RequestTimeout,
    ServerExited,
)
from ..protocol.codec import METHOD_NOT_FOUND
from ..protocol.lifecycle import State, Step, after
from ..protocol.listening import Wanted
from ..protocol.negotiation import MODERN_EVIDENCE
from ..protocol.versions import Era
from ..session.answers import Answers
from ..session.base import Call, ClientSession
from ..session.listening import Listener
from ..session.opening import Opening, eras
from ..transports.base import CallScope
from .options import CLOSE_TIMEOUT

T = TypeVar("T")

MOST_SIGN_INS = 3  # that one call waits for: a step up may follow (A15)


class SessionKeeper:
    """Keeps the session of one client. Thread-safe.

    Lock: _lock guards _session, _assumed, _connecting, state. Sessions are opened and closed
    outside it.
    """

    def __init__(self, opening: Opening, origin: object | None, connect_timeout: float) -> None:
        self._opening = opening
        self._origin = origin
        self._connect_timeout = connect_timeout
        self._lock = new_lock("session keeper")
        self._flight: SingleFlight[None, ClientSession] = SingleFlight()
        self._doubts: SingleFlight[None, ClientSession] = SingleFlight()
        self._session: ClientSession | None = None
        self._assumed = False
        self._connecting: Cancellation | None = None
        self.state = State.NEW
        after_fork_in_child(self._forget)
        self._at_exit: object | None = None  # from the first session on

    def __del__(self) -> None:
        session = getattr(self, "_session", None)
        if session is not None and self._origin is not None and session.has_goodbye:
            leave_behind(session.close, self._origin)

    @property
    def alive(self) -> bool:
        """Whether there is a session whose transport can still carry something."""
        session = self._session
        return session is not None and session.alive

    @property
    def connected(self) -> bool:
        """Whether it is open, and :attr:`alive`."""
        session = self._session
        return self.state is State.OPEN and session is not None and session.alive

    @property
    def era(self) -> Era | None:
        """Which era the session is of; None without one."""
        session = self._session
        return None if session is None else session.era

    @property
    def protocol_version(self) -> str | None:
        """What was negotiated; None without a session."""
        session = self._session
        return None if session is None else session.protocol_version

    @property
    def conversation(self) -> object | None:
        """What is another object once the server was begun with anew; None without a session."""
        session = self._session
        return None if session is None else session.conversation

    def session(self, call: Call) -> ClientSession:
        """Return the session, opening one if there is none or it has ended.

        Raises:
            ConnectionClosed: The client was closed.
            MCPSyncError: None is to be had; nothing that was to follow has been sent.
        """
        return self._signed_in(call, lambda: self._current(call))

    def _current(self, call: Call) -> ClientSession:
        session = self._session
        return session if session is not None and session.alive else self._opened(call)

    def _opened(self, call: Call) -> ClientSession:
        scope = call.scope
        try:
            return self._flight.do(
                None,
                lambda: self._open(call),
                deadline=scope.deadline,
                cancel=scope.cancel,
                own_affair=scope.is_to_blame_for,
            )
        except MCPSyncError as error:
            error.maybe_executed = False
            raise

    def request(self, method: str, params: Mapping[str, Any] | None, call: Call) -> dict[str, Any]:
        """Make a request over the session."""
        return self._signed_in(call, lambda: self._request_over(method, params, call))

    def _signed_in(self, call: Call, do: Callable[[], T]) -> T:
        """Do it; have the user sign in if it takes that, and do it again: the 401 did nothing.

        Outside of every flight and every exchange: whoever else waits for those is not kept, and
        no time for connecting ends it. Not within itself either: a call has so many and no more.
        """
        authorizer, scope = self._opening.authorizer, call.scope
        sign_ins = 0
        while True:
            try:
                return do()
            except AuthorizationRequired as required:
                if authorizer is None or required.authorization_url is None:
                    raise
                sign_ins += 1
                if sign_ins > MOST_SIGN_INS:
                    raise
                if not authorizer.sign_in(required, scope.deadline, scope.cancel):
                    raise

    def _request_over(
        self, method: str, params: Mapping[str, Any] | None, call: Call
    ) -> dict[str, Any]:
        session = self._current(call)
        try:
            return self._request(session, method, params, call)
        except (ServerExited, ConnectionLost) as error:
            if error.maybe_executed or session.alive:
                raise
        # A child that had ended before a byte of this left: the next one gets it.
        return self._request(self._current(call), method, params, call)

    def notify(self, method: str, params: Mapping[str, Any] | None, call: Call) -> None:
        """Tell the server something over the session; of the legacy era, or it is not told."""
        session = self.session(call)
        if session.era is Era.LEGACY:
            session.notify(method, params, call)

    @property
    def answers(self) -> Answers:
        """How the server is answered."""
        return self._opening.callbacks.answers

    def ask_behind(
        self, method: str, params: Mapping[str, Any], headers: Mapping[str, str] | None
    ) -> None:
        """Make a request that nobody waits for, if there is a session to make it over."""
        session = self._session
        if session is not None and session.alive:
            session.ask_behind(method, params, headers)

    def _request(
        self, session: ClientSession, method: str, params: Mapping[str, Any] | None, call: Call
    ) -> dict[str, Any]:
        if not self._assumed:
            return session.request(method, params, call)
        try:
            result = session.request(method, params, call)
        except (HTTPStatusError, MCPError) as error:
            if not _says_wrong_era(error):
                raise
            other = self._reconsider(session, call)
            if other.era is session.era:  # it was right, and the error is what it says
                raise
            return other.request(method, params, call)
        self._assumed = False
        return result

    def listen(self, wanted: Wanted, call: Call, after: Listener | None = None) -> Listener:
        """Begin to hear what the server says by itself; see :meth:`ClientSession.listen`."""
        if self._assumed:  # a request that may be repeated finds out
            with contextlib.suppress(MCPError, HTTPStatusError):
                self.request("server/discover", None, call)
        return self.session(call).listen(wanted, call, after)

    def close(self, deadline: Deadline) -> None:
        """Close the session; what waits ends with ``ConnectionClosed``. Works twice."""
        notice_fork()
        with self._lock:
            self.state = after(self.state, Step.CLOSE)
            session, self._session = self._session, None
            connecting = self._connecting
        if connecting is not None:
            connecting.cancel("the client was closed")
        if session is not None:
            session.close(deadline)

    def _open(self, call: Call) -> ClientSession:
        with self._lock:
            if self.state is State.CLOSED:
                raise ConnectionClosed("the client is closed.")
            ended, self._session = self._session, None
            if ended is not None and ended.alive:  # opened between our look and our flight
                self._session = ended
                return ended
            if self.state is State.OPEN:
                self.state = after(self.state, Step.FAIL)
            self.state = after(self.state, Step.CONNECT)
        if ended is not None:
            ended.close(call.scope.deadline.within(CLOSE_TIMEOUT))
        opened, assumed = self._try_open(call)
        with self._lock:
            wanted = self.state is State.CONNECTING
            if wanted:
                self.state = after(self.state, Step.SUCCEED)
                self._session, self._assumed = opened, assumed
        if not wanted:
            opened.close(Deadline(CLOSE_TIMEOUT))
            raise ConnectionClosed("the client was closed while it connected.")
        if self._at_exit is None:
            self._at_exit = at_exit(self.close, self._origin)
        return opened

    def _try_open(self, call: Call) -> tuple[ClientSession, bool]:
        scope = call.scope
        stop = Cancellation()
        patient = CallScope(scope.deadline.within(self._connect_timeout), stop, scope.headers)
        watch = Watch(scope.cancel, lambda error: stop.cancel(error.reason))
        with self._lock:
            self._connecting = stop
            closed = self.state is State.CLOSED
        try:
            if closed:
                raise RequestCancelled("closed.")
            return self._opening.open(Call(patient))
        except RequestCancelled as error:
            self._failed()
            if scope.cancel is None or not scope.cancel.cancelled:
                raise ConnectionClosed("the client was closed while it connected.") from error
            raise
        except RequestTimeout as error:
            self._failed()
            if scope.deadline.expired:  # the caller's own; whoever joined him tries himself
                raise
            raise ConnectTimeout(
                f"the server did not begin a conversation within {patient.deadline.timeout:g} s."
            ) from error
        except BaseException:
            self._failed()
            raise
        finally:
            watch.end()
            with self._lock:
                self._connecting = None

    def _failed(self) -> None:
        with self._lock:
            if self.state is State.CONNECTING:
                self.state = after(self.state, Step.FAIL)

    def _reconsider(self, doubted: ClientSession, call: Call) -> ClientSession:
        """Ask for the era that was only assumed, once for all who doubt it at a time.

        Other calls may be under way on the session that is doubted. If it was right they go on
        with it; if not, they find out for themselves. So it is not closed.
        """

        def ask() -> ClientSession:
            with self._lock:
                current = self._session
            if current is not doubted and current is not None:
                return current
            eras.forget(self._origin)
            opened, _ = self._try_open(call)
            with self._lock:
                wanted = self.state is State.OPEN and self._session is doubted
                wanted = wanted and opened.era is not doubted.era
                self._assumed = False
                if wanted:
                    self._session = opened
            if not wanted:
                opened.close(Deadline(CLOSE_TIMEOUT))
            return opened if wanted else doubted

        scope = call.scope
        return self._doubts.do(None, ask, deadline=scope.deadline, cancel=scope.cancel)

    def _forget(self) -> None:
        """Have no session any more: in a forked child it is the parent's."""
        self._lock = new_lock("session keeper")
        self._flight.reset()
        self._doubts.reset()
        self._session = self._connecting = self._at_exit = None
        self.state = after(self.state, Step.FORGET)


def _says_wrong_era(error: HTTPStatusError | MCPError) -> bool:
    """Whether *error* turns a request down unseen, as a server of the other era does. (N3, N5)"""
    if isinstance(error, MCPError):
        if error.status == 404 and error.code == METHOD_NOT_FOUND:
            return False  # that is how the modern era says it
        return error.status in (400, 404) and error.code not in MODERN_EVIDENCE
    return error.status in (400, 404, 405)
