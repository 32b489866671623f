"""How a client makes its calls: scope, session, model, and errors that name what they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel

from .._runtime.fork import notice_fork
from ..errors import ConfigurationError, MCPSyncError
from ..http import Limits
from ..session.base import Call
from ..session.callbacks import ProgressCallback
from ..session.tasks import Answer, Request
from ..session.tracing import Peer, TracedRequest, Tracing
from ..session.wire import validated
from .caching import CacheMode, check_mode
from .core import SessionKeeper
from .options import CallOptions, check_options, scope_of
from .paging import pages

if TYPE_CHECKING:
    import mcp_types as types

Through: TypeAlias = Callable[[Request, str, "Mapping[str, Any] | None", Call], "Mapping[str, Any]"]
"""Makes one request of several: it is given what makes each, and what was to be asked."""

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound="types.PaginatedResult")
Q = TypeVar("Q")
T = TypeVar("T")


class Means(NamedTuple):
    """What ``client.tasks`` and ``client.skills`` make their requests with: their client's own."""

    ask_in: Callable[..., Any]
    call: Callable[..., Call]
    checked: Callable[..., Mapping[str, Any]]
    pages_of: Callable[..., Iterator[Any]]
    keeper: SessionKeeper
    telling: Callable[[MCPSyncError], MCPSyncError]
    answer: Answer | None


class Asking:
    """What the methods of a client are made of."""

    server_name: str
    user_id: str | None = None
    _keeper: SessionKeeper
    _limits: Limits
    _timeout: float
    _extensions: Mapping[str, Mapping[str, Any]]
    _tracing: Tracing | None = None
    _peer: Peer = Peer()

    @property
    def _means(self) -> Means:
        return Means(
            self._ask_in,
            self._call,
            self._object,
            self._pages_of,
            self._keeper,
            self._telling,
            self._answer,
        )

    @property
    def _answer(self) -> Answer:
        return self._keeper.answers.answer

    def _telling(self, error: MCPSyncError) -> MCPSyncError:
        return error.with_context(server_name=self.server_name, user_id=self.user_id)

    def _ask(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        model: type[M],
        options: CallOptions,
    ) -> M:
        return self._ask_in(self._call(options), method, params, model, None)

    def _ask_in(
        self,
        call: Call,
        method: str,
        params: Mapping[str, Any] | None,
        model: type[M],
        tool_name: str | None,
        through: Through | None = None,
    ) -> M:
        """Make a request and return its result as *model*.

        Args:
            call: Its scope, progress and meta.
            method: What is asked.
            params: With what.
            model: What the result is.
            tool_name: For errors.
            through: What makes the request, where that is more than one exchange.
        """
        if self._tracing is not None:
            return self._ask_traced(self._tracing, call, method, params, model, tool_name, through)
        return self._ask_once(call, method, params, model, tool_name, through)

    def _ask_traced(
        self,
        tracing: Tracing,
        call: Call,
        method: str,
        params: Mapping[str, Any] | None,
        model: type[M],
        tool_name: str | None,
        through: Through | None,
    ) -> M:
        given, peer = params or {}, self._peer
        traced = TracedRequest(
            method,
            given.get("name"),
            given.get("uri"),
            self.server_name,
            self.user_id,
            peer.transport,
            peer.address,
            peer.port,
        )
        with tracing.request(traced) as span:
            call = replace(call, meta={**span.meta, **(call.meta or {})})
            answer = self._ask_once(call, method, params, model, tool_name, through)
            span.answered(
                is_error=getattr(answer, "is_error", None) is True,
                protocol_version=self._keeper.protocol_version,
            )
        return answer

    def _ask_once(
        self,
        call: Call,
        method: str,
        params: Mapping[str, Any] | None,
        model: type[M],
        tool_name: str | None,
        through: Through | None,
    ) -> M:
        request = self._keeper.request
        try:
            if through is None:
                return validated(model, request(method, params, call))
            return validated(model, through(request, method, params, call))
        except MCPSyncError as error:
            error.with_context(
                server_name=self.server_name,
                user_id=self.user_id,
                tool_name=tool_name,
                method=method,
            )
            raise

    def _every(
        self,
        page_of: Callable[..., P],
        items: Callable[[P], list[T]],
        options: CallOptions,
        cache_mode: CacheMode,
    ) -> Iterator[T]:
        check_options(options)  # now, and not when the first item is asked for
        check_mode(cache_mode)
        return self._pages(
            lambda cursor: page_of(cursor=cursor, cache_mode=cache_mode, **options), items
        )

    def _pages(
        self, fetch: Callable[[str | None], P], items: Callable[[P], list[T]]
    ) -> Iterator[T]:
        return self._pages_of(fetch, items, lambda page: page.next_cursor)

    def _pages_of(
        self,
        fetch: Callable[[str | None], Q],
        items: Callable[[Q], list[T]],
        next_cursor: Callable[[Q], str | None],
    ) -> Iterator[T]:
        try:
            yield from pages(fetch, items, next_cursor, self._limits.max_pages)
        except MCPSyncError as error:
            error.with_context(server_name=self.server_name, user_id=self.user_id)
            raise

    def _object(self, value: Any, what: str, tool_name: str | None = None) -> Mapping[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"{what} must be a mapping of names to values, not {type(value).__name__}.",
                server_name=self.server_name,
                user_id=self.user_id,
                tool_name=tool_name,
            )
        return value

    def _call(self, options: CallOptions, progress: ProgressCallback | None = None) -> Call:
        notice_fork()  # here, since every way in comes by
        return Call(scope_of(options, self._timeout), progress, options.get("meta"))
