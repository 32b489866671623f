"""Streams over HTTP that stay open: by GET in the legacy era, by a request in the modern one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from .announcing import META_SUBSCRIPTION, Announcer, Audience, audience_of
from .exchange import Exchange
from .jsonrpc import SERVER_ERROR, JSONObject, result_message
from .rejection import reject
from .responder import LAST_CHUNK, chunk
from .sessions import Session
from .stored_streams import StoredStream, StoredStreams
from .wire import Connection, PeerGone

_FOREVER = 365 * 86400.0


class Listening:
    """Serves those who listen over HTTP; safe to call from many threads.

    Args:
        announcer: Knows what there is to say.
        retry: Seconds that ``retry:`` asks for, where streams can be gone on with; else None.

    Lock: _lock guards _open, _cuts, _standing, _attached.
    """

    def __init__(self, announcer: Announcer, retry: float | None) -> None:
        self.announcer = announcer
        self.retry = retry
        self._stored = StoredStreams()
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._cuts = 0
        self._standing: dict[str | None, tuple[StoredStream, Audience]] = {}
        self._attached: set[str | None] = set()

    # -- answers that can be gone on with ---------------------------------------------------------

    def cut_answers(self, times: int) -> None:
        """Have the streams of the next answers end after their first event."""
        with self._lock:
            self._cuts += times

    def store_answer(self, exchange: Exchange, session: Session) -> None:
        """Keep the answer to a request, where that is done; end its stream early, if told to."""
        if self.retry is None:
            return
        with self._lock:
            cut = self._cuts > 0
            self._cuts -= cut
        exchange.responder.store(self._stored.begin(session.id), self.retry, cut=cut)

    # -- the legacy era ---------------------------------------------------------------------------

    def get(self, exchange: Exchange, session: Session) -> None:
        """Serve a stream that a legacy client asks for by GET.

        Raises:
            Rejection: The session has one already.
        """
        asked = exchange.request.headers.get("last-event-id")
        found = None if asked is None else self._stored.find(asked, session.id)
        standing = self._standing.get(session.id, (None, None))[0]
        if self.retry is not None and found is not None and found[0] is not standing:
            self._tail(exchange, *found)
            return
        with self._attached_to(session):
            stream = standing or self._stand(session)
            number = found[1] if found is not None else stream.length
            try:
                self._tail(exchange, stream, number)
            finally:
                if self.retry is None:
                    self.forget(session.id)

    @contextlib.contextmanager
    def _attached_to(self, session: Session) -> Iterator[None]:
        with self._lock:
            taken = session.id in self._attached
            self._attached.add(session.id)
        if taken:
            raise reject(409, SERVER_ERROR, "Conflict: the session has a stream already")
        try:
            yield
        finally:
            with self._lock:
                self._attached.discard(session.id)

    def _stand(self, session: Session) -> StoredStream:
        stream = self._stored.begin(session.id)
        audience = Audience(uris=session.subscribed, send=lambda message: _add(stream, message))
        with self._lock:
            self._standing[session.id] = stream, audience
        self.announcer.add(audience)
        return stream

    def has_stream(self, session: Session) -> bool:
        """Whether there is a stream on which a legacy session hears what changes."""
        with self._lock:
            return session.id in self._standing

    def forget(self, session_id: str | None) -> None:
        """End the stream of a session."""
        with self._lock:
            stream, audience = self._standing.pop(session_id, (None, None))
        if stream is not None and audience is not None:
            self.announcer.remove(audience)
            stream.end()

    def _tail(self, exchange: Exchange, stream: StoredStream, number: int) -> None:
        """Send the events after *number* as they come, until the stream ends."""
        connection, resumable = exchange.connection, self.retry is not None
        with self._kept(connection):
            first = chunk(stream.priming(number, self.retry)) if resumable else b""
            connection.send(exchange.responder.start_stream() + first)
            while True:
                stream.news.clear()
                for event in stream.after(number, named=resumable):
                    connection.send(chunk(event))
                    number += 1
                if stream.ended:
                    connection.send(LAST_CHUNK)
                    return
                if connection.wait(_FOREVER, stream.news):
                    raise PeerGone

    # -- the modern era ---------------------------------------------------------------------------

    def listen(self, exchange: Exchange, message: JSONObject) -> None:
        """Serve a ``subscriptions/listen`` until either side ends it."""
        audience = audience_of(message["id"], message["params"])
        audience.acknowledge()
        self.announcer.add(audience)
        try:
            with self._kept(exchange.connection):
                while True:
                    audience.news.clear()
                    ended = audience.ended
                    while audience.pending:
                        exchange.responder.send(audience.pending.popleft())
                    if ended:
                        break
                    if exchange.connection.wait(_FOREVER, audience.news):
                        raise PeerGone
        finally:
            self.announcer.remove(audience)
        exchange.finish(200, ended_message(audience))

    # -- what tests do to streams -----------------------------------------------------------------

    @contextlib.contextmanager
    def _kept(self, connection: Connection) -> Iterator[None]:
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        with self._lock:
            return len(self._open)

    def cut(self) -> None:
        """Cut every stream that is open."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.cut()

    def end(self) -> None:
        """End every stream that is open, in good order."""
        self.announcer.end_all()
        with self._lock:
            sessions = list(self._standing)
        for session_id in sessions:
            self.forget(session_id)
        self._stored.end_all()


def ended_message(audience: Audience) -> JSONObject:
    """Build the response that ends a subscription in good order."""
    subscription = audience.subscription
    assert subscription is not None
    meta = {META_SUBSCRIPTION: subscription}
    return result_message(subscription, {"_meta": meta, "resultType": "complete"})


def _add(stream: StoredStream, message: JSONObject) -> None:
    stream.add(message)
