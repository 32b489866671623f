"""How a client makes its calls: scope, session, model, and errors that name what they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from .._runtime.fork import notice_fork
from ..errors import ConfigurationError, MCPSyncError
from ..http import Limits
from ..session.base import Call
from ..session.callbacks import ProgressCallback
from ..session.wire import validated
from .caching import CacheMode, check_mode
from .core import SessionKeeper
from .options import CallOptions, check_options, scope_of
from .paging import pages

if TYPE_CHECKING:
    import mcp_types as types

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound="types.PaginatedResult")
T = TypeVar("T")


class Asking:
    """What the methods of a client are made of."""

    server_name: str
    user_id: str | None
    _keeper: SessionKeeper
    _limits: Limits
    _timeout: float

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
    ) -> M:
        try:
            return validated(model, self._keeper.request(method, params, call))
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
        try:
            yield from pages(fetch, items, lambda page: page.next_cursor, self._limits.max_pages)
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
