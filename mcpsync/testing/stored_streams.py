"""Event streams that are kept, so that a client which lost one can have the rest of it."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict

from .jsonrpc import JSONObject, encode

KEPT_STREAMS = 1000


class StoredStream:
    """The events of one stream, by number.

    Args:
        name: What the ids of its events begin with.

    Attributes:
        news: Set with each event, and at the end.
        ended: Whether it is whole.
        session_id: Whose it is.

    Lock: _lock guards _events.
    """

    def __init__(self, name: str, session_id: str | None) -> None:
        self.name = name
        self.session_id = session_id
        self.news = threading.Event()
        self.ended = False
        self._lock = threading.Lock()
        self._events: list[JSONObject] = []

    def add(self, message: JSONObject) -> bytes:
        """Keep a message and return it as an event."""
        with self._lock:
            self._events.append(message)
            number = len(self._events)
        self.news.set()
        return self._event(number, message)

    def end(self) -> None:
        """Expect no more events."""
        self.ended = True
        self.news.set()

    def priming(self, number: int, retry: float | None) -> bytes:
        """Return an event that says where the stream stands, without being a message."""
        wish = b"" if retry is None else b"retry: %d\n" % round(retry * 1000)
        return b"id: %b.%d\n%bdata:\n\n" % (self.name.encode(), number, wish)

    def after(self, number: int, *, named: bool = True) -> list[bytes]:
        """Return the events that follow event *number*, with their ids if they are *named*."""
        with self._lock:
            found = list(enumerate(self._events, 1))[number:]
        if not named:
            return [b"event: message\ndata: %b\n\n" % encode(message) for _, message in found]
        return [self._event(index, message) for index, message in found]

    @property
    def length(self) -> int:
        """How many events there have been."""
        with self._lock:
            return len(self._events)

    def _event(self, number: int, message: JSONObject) -> bytes:
        return b"id: %b.%d\nevent: message\ndata: %b\n\n" % (
            self.name.encode(),
            number,
            encode(message),
        )


class StoredStreams:
    """The streams that can be gone on with, the last thousand of them.

    Lock: _lock guards _streams.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names = itertools.count(1)
        self._streams: OrderedDict[str, StoredStream] = OrderedDict()

    def begin(self, session_id: str | None) -> StoredStream:
        """Begin a stream."""
        stream = StoredStream(f"s{next(self._names)}", session_id)
        with self._lock:
            self._streams[stream.name] = stream
            if len(self._streams) > KEPT_STREAMS:
                self._streams.popitem(last=False)
        return stream

    def find(self, event_id: str, session_id: str | None) -> tuple[StoredStream, int] | None:
        """Return the stream of an event, and the event's number; None if there is none."""
        name, _, number = event_id.rpartition(".")
        with self._lock:
            stream = self._streams.get(name)
        if stream is None or stream.session_id != session_id or not number.isdigit():
            return None
        return stream, int(number)

    def end_all(self) -> None:
        """Expect no more events of any stream."""
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.end()
