"""A test server over HTTP in threads of this process."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, Self

from .call import Options
from .endpoint import Endpoint
from .faults import DEFAULT_SIZE, HTTP_FAULTS, Fault, FaultPlan, Injection
from .front import Front
from .journal import CancelledRequest, Journal, RecordedRequest
from .jsonrpc import JSONObject
from .skills import SkillShelf
from .sse import STREAM_PATH
from .tasks import TaskStore
from .wire import BadRequest, Connection, PeerGone, build_response

_logger = logging.getLogger(__name__)
_CLOSE_TIMEOUT = 5.0


class LocalServer:
    """An MCP server on 127.0.0.1 that checks its clients and misbehaves when told to.

    Start it with ``with`` or :meth:`start`. All members may be used from any thread.

    Args:
        era: ``"legacy"`` knows the handshake, ``"modern"`` 2026-07-28, ``"both"`` both.
        answer: How requests are answered where nothing has to be streamed: ``"json"`` or ``"sse"``.
        page_size: How many items a page of a list has; None for all.
        sessions: Whether the handshake opens a session.
        auth_token: The bearer token that clients must send, else 401; may be changed later.
        set_cookie: ``name=value``, set for clients that do not send it; ``{n}`` in it counts them.
        omit_result_type: Leave ``resultType`` out of modern results, as older servers do.
        transport: ``"http"``, or ``"sse"`` for HTTP+SSE of 2024-11-05 and nothing else. There an
            answer that goes wrong goes wrong on the stream.
        tasks: Offer tools that run as tasks, in the form of each era.
        skills: Offer skills.
        asks: Whether it has the tools, the prompt and the resource that ask the client something.
        port: The port, or 0 for any free one.
        streams: Whether it tells those who listen what changed: by a stream that legacy clients
            GET, and by ``subscriptions/listen``.
        retry: Seconds after which legacy clients are to ask for the rest of a stream; with it all
            streams of that era can be gone on with. See :meth:`cut_answers`.

    Lock: _lock guards _connections, _opened.
    """

    def __init__(
        self,
        era: Literal["both", "legacy", "modern"] = "both",
        answer: Literal["json", "sse"] = "json",
        *,
        page_size: int | None = None,
        sessions: bool = True,
        auth_token: str | None = None,
        set_cookie: str | None = None,
        omit_result_type: bool = False,
        transport: Literal["http", "sse"] = "http",
        tasks: bool = False,
        skills: bool = False,
        asks: bool = False,
        port: int = 0,
        streams: bool = True,
        retry: float | None = None,
        front: Front | None = None,
    ) -> None:
        self._journal = Journal()
        self._plan = FaultPlan()
        self._path = STREAM_PATH if transport == "sse" else "/mcp"
        options = Options(
            era,
            answer,
            page_size,
            sessions,
            omit_result_type,
            transport=transport,
            tasks=tasks,
            skills=skills,
            asks=asks,
            streams=streams,
            retry=retry,
        )
        self._endpoint = Endpoint(options, self._journal, self._plan)
        self._endpoint.auth_token = auth_token
        self._endpoint.set_cookie = set_cookie
        self._endpoint.front = front
        self._port = port
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._opened = 0
        self._listener: socket.socket | None = None
        self._waker: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    def __repr__(self) -> str:
        where = "closed" if self._stopping.is_set() else self.url if self._listener else "new"
        return f"<LocalServer {where}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Bind the port and begin to serve."""
        listener = socket.create_server(("127.0.0.1", self._port), backlog=512)
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._waker, wake_up = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept,
            args=(listener, wake_up),
            name="mcpsync-testing-accept",
            daemon=True,
        )
        self._acceptor.start()

    def close(self) -> None:
        """Stop serving and wait, five seconds at most, until no thread and no socket is left."""
        if self._stopping.is_set() or self._acceptor is None or self._waker is None:
            return
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        self._stopping.set()
        self._waker.close()
        self._acceptor.join(_CLOSE_TIMEOUT)
        self._journal.close()
        self._plan.clear()
        self._endpoint.runner.running.cancel_all()
        with self._lock:
            threads = dict(self._connections)
        for connection in threads:
            connection.cut()
        for thread in threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self, listener: socket.socket, wake_up: socket.socket) -> None:
        with listener, wake_up, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(wake_up, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if not self._stopping.is_set():
                    with contextlib.suppress(OSError):  # the client may have gone already
                        self._welcome(listener.accept()[0])

    def _welcome(self, sock: socket.socket) -> None:
        with self._lock:
            self._opened += 1
            number = self._opened
        connection = Connection(sock, number, self._stopping)
        thread = threading.Thread(
            target=self._serve, args=(connection,), name=f"mcpsync-testing-{number}", daemon=True
        )
        with self._lock:
            self._connections[connection] = thread
        self._journal.note_change()
        thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            while connection.open and not self._stopping.is_set():
                request = connection.read_request()
                if request is None:
                    break
                self._endpoint.handle(connection, request)
        except BadRequest as error:
            with contextlib.suppress(PeerGone):
                connection.send(build_response(error.status, b"", None, [("Connection", "close")]))
        except PeerGone:
            pass
        except Exception:
            _logger.exception("the test server failed")
        finally:
            connection.close()
            with self._lock:
                del self._connections[connection]
            self._journal.note_change()

    @property
    def url(self) -> str:
        """The URL of the endpoint; ``/mcp2`` works the same as ``/mcp``."""
        if self._listener is None:
            raise RuntimeError("the server has not been started")
        return f"http://127.0.0.1:{self._port}{self._path}"

    @property
    def auth_token(self) -> str | None:
        """The bearer token that every request must carry."""
        return self._endpoint.auth_token

    @auth_token.setter
    def auth_token(self, token: str | None) -> None:
        self._endpoint.auth_token = token

    @property
    def tools(self) -> list[str] | None:
        """The names of the tools it offers; None if it does not say that it has any.

        May be set to other names of its own tools and to new tools, as JSON objects: calling one
        of those returns a text. A client is not told by itself: :meth:`announce_tools_changed`.
        """
        offered = self._endpoint.runner.dispatcher.tools.catalogue
        return None if offered is None else [tool["name"] for tool in offered]

    @tools.setter
    def tools(self, tools: Iterable[str | JSONObject] | None) -> None:
        self._endpoint.runner.dispatcher.tools.offer(tools)

    @property
    def tasks(self) -> TaskStore:
        """The tasks there have been; they may be finished and forgotten by hand."""
        return self._endpoint.runner.dispatcher.tasks

    @property
    def skills(self) -> SkillShelf:
        """The skills it offers; they may be changed at any time, with or without saying so."""
        return self._endpoint.runner.dispatcher.skills

    def announce_tools_changed(self, times: int = 1) -> None:
        """Have the next tool call send ``notifications/tools/list_changed`` before it is run.

        Args:
            times: How many of them, one after the other.
        """
        self.announce_in_call("notifications/tools/list_changed", times=times)

    def announce_in_call(
        self, method: str, params: JSONObject | None = None, *, times: int = 1
    ) -> None:
        """Have the next tool call send a notification before it is run.

        Args:
            method: The notification's.
            params: The notification's.
            times: How many of them, one after the other.
        """
        self._endpoint.runner.dispatcher.tools.announce(method, params or {}, times)

    def set_result(self, tool: str, result: JSONObject | None) -> None:
        """Have a tool return *result* as it stands, however wrong; None: what it returns itself."""
        self._endpoint.runner.dispatcher.tools.set_result(tool, result)

    def set_cache_hint(
        self, method: str, ttl_ms: int | None, scope: Literal["public", "private"] = "private"
    ) -> None:
        """Tell modern clients how long an answer to *method* is good; with None nothing.

        Args:
            method: Such as ``"tools/list"``.
            ttl_ms: ``ttlMs``; 60 000 if this was never called.
            scope: ``cacheScope``.
        """
        self._endpoint.runner.dispatcher.hints.set(method, ttl_ms, scope)

    def announce(
        self, what: Literal["tools", "prompts", "resources", "resource"], uri: str | None = None
    ) -> None:
        """Tell everybody who listens for it that something changed.

        Args:
            what: Which list, or ``"resource"`` for one resource.
            uri: Which resource.
        """
        self._endpoint.listening.announcer.announce(what, uri)

    def cut_streams(self) -> None:
        """Cut every stream that somebody listens to."""
        self._endpoint.listening.cut()

    def end_streams(self) -> None:
        """End every stream that somebody listens to, in good order, as when it shuts down."""
        self._endpoint.listening.end()
        self._endpoint.sse.end_streams()

    def cut_answers(self, times: int = 1) -> None:
        """With *retry*: end the streams of so many answers early; the rest is to be had by GET."""
        self._endpoint.listening.cut_answers(times)

    @property
    def open_streams(self) -> int:
        """How many streams somebody listens to."""
        return self._endpoint.listening.open_streams

    def inject(
        self,
        fault: Fault,
        method: str | None = None,
        times: int | None = 1,
        *,
        size: int = DEFAULT_SIZE,
    ) -> None:
        """Plan a misbehaviour; several are met in the order in which they were planned.

        Args:
            method: The JSON-RPC method it waits for, or ``"GET"`` or ``"DELETE"``; None for the
                next request of any method.
            times: How often it strikes; None for always.
            size: How many bytes, for ``HUGE`` and ``HUGE_LINE``.

        Raises:
            ValueError: The fault is one of stdio alone.
        """
        if fault not in HTTP_FAULTS:
            raise ValueError(f"{fault} is not a fault of a server over HTTP")
        self._plan.add(Injection(fault, method, times, size))

    def clear_faults(self) -> None:
        """Forget what is planned and let go what hangs."""
        self._plan.clear()

    def release(self) -> None:
        """Let every answer that hangs now go on."""
        self._plan.release()

    def expire_sessions(self) -> None:
        """Answer 404 to every session that is open now."""
        self._endpoint.legacy.sessions.forget_all()

    def drop_idle_connections(self) -> None:
        """Close the TCP connections on which no request is under way."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            if connection.idle:
                connection.cut()

    def wait_for(self, predicate: Callable[[LocalServer], object], timeout: float = 5.0) -> bool:
        """Wait until *predicate* holds, looking again whenever something was recorded.

        Args:
            timeout: Seconds.

        Returns:
            Whether it holds now.
        """
        return self._journal.wait_for(lambda: predicate(self), timeout)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last 10 000 HTTP requests, oldest first."""
        return self._journal.requests

    @property
    def executions(self) -> dict[str, int]:
        """How often each tool has been started."""
        return self._journal.executions

    @property
    def cancelled(self) -> list[CancelledRequest]:
        """The cancellations."""
        return self._journal.cancelled

    @property
    def replies(self) -> list[JSONObject]:
        """What the client answered to requests of the server."""
        return self._journal.replies

    @property
    def violations(self) -> list[str]:
        """Rules that the client broke and that servers usually let pass, a sentence each."""
        return self._journal.violations

    @property
    def hanging(self) -> int:
        """How many answers hang now."""
        return self._journal.hanging

    @property
    def open_sessions(self) -> list[str]:
        """The ids of the open sessions."""
        return self._endpoint.legacy.sessions.ids

    @property
    def deleted_sessions(self) -> list[str]:
        """The ids of the sessions that clients have ended."""
        return self._journal.deleted

    @property
    def connections_opened(self) -> int:
        """How many TCP connections there have been."""
        with self._lock:
            return self._opened

    @property
    def open_connections(self) -> int:
        """How many TCP connections there are."""
        with self._lock:
            return len(self._connections)
