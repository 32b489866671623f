"""What a call of a tool heeds besides the call: headers that mirror, results that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from ..errors import MCPError, MCPSyncError
from ..protocol.codec import HEADER_MISMATCH, INVALID_PARAMS
from ..protocol.lifecycle import State
from ..protocol.mirroring import param_headers
from ..protocol.versions import Era
from ..session.base import Call
from .asking import Asking
from .caching import CacheMode, ResponseCache, check_mode
from .known_tools import KnownTools
from .options import CallOptions
from .paging import pages

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ListToolsResult

M = TypeVar("M", bound=BaseModel)


class Calling(Asking):
    """How answers are kept, and what is known of tools is used."""

    _cache: ResponseCache | None
    _known: KnownTools
    _over_http: bool

    # -- answers that may be kept -------------------------------------------------------------

    def _forget_answers(self) -> None:
        """Keep nothing any more: nobody knows what the server said meanwhile."""
        if self._cache is not None:
            self._cache.drop_all()

    def _ask_cached(
        self,
        method: str,
        about: str | None,
        params: Mapping[str, Any] | None,
        model: type[M],
        options: CallOptions,
        mode: CacheMode,
    ) -> M:
        """Ask, or take an answer that is still good.

        Args:
            method: What to ask.
            about: The cursor or URI; with *method*, what tells answers apart.
            params: The request's.
            model: What the answer is.
            options: The call's. With headers, meta or other params than *about* it always goes to
                the server, and its answer is for nobody else.
            mode: What the caller wants of the cache.
        """
        check_mode(mode)
        cache, call = self._cache, self._call(options)
        of_its_own = call.meta or call.scope.headers or _asks_for_more(params)
        if cache is None or of_its_own or self._keeper.state is State.CLOSED:
            return self._ask_in(call, method, params, model, None)
        if mode == "use":
            kept = cache.look_up(method, about)
            if isinstance(kept, model):
                return kept
        asked = cache.ask(method, about)
        try:
            answer = self._ask_in(call, method, params, model, None)
        except MCPError as error:
            if error.code == INVALID_PARAMS and params is not None and "cursor" in params:
                cache.drop(method)  # the listing has changed under its cursors
            raise
        if mode != "bypass":
            cache.keep(asked, answer, is_modern=self._keeper.era is Era.MODERN)
        return answer

    # -- tools --------------------------------------------------------------------------------

    def _learn(self, page: ListToolsResult, cursor: str | None) -> ListToolsResult:
        """Take note of what a page says of its tools; those that may not be used are taken out."""
        self._known.learn(
            page,
            is_whole=cursor is None and page.next_cursor is None,
            mirrors=self._over_http and self._keeper.era is Era.MODERN,
        )
        return page

    def _mirroring(self, call: Call, name: str, arguments: Mapping[str, Any]) -> Call:
        """Return *call* with the headers that mirror its arguments, if the tool wants any."""
        known = self._known.get(name)
        if known is None or not known.parameters:
            return call
        try:
            mirrored = param_headers(known.parameters, arguments)
        except MCPSyncError as error:
            error.with_context(server_name=self.server_name, user_id=self.user_id, tool_name=name)
            raise
        return replace(call, scope=replace(call.scope, mirrored=mirrored))

    def _mirroring_anew(
        self, call: Call, name: str, arguments: Mapping[str, Any], refusal: MCPError
    ) -> Call:
        """Return the call as it should have been, after its headers were refused.

        The tool is looked for in the server's listing, page by page. (Requirements 5.3, -32020)

        Args:
            call: As it was made.
            name: The tool.
            arguments: Its arguments.
            refusal: The server's; it says that nothing was run.

        Raises:
            MCPError: *refusal*, if the listing changes nothing about what would be sent.
            MCPSyncError: There was no time to look, or the server did not answer.
        """
        if refusal.code != HEADER_MISMATCH or refusal.maybe_executed:
            raise refusal
        sent = call.scope.mirrored or {}
        plain = replace(call, scope=replace(call.scope, mirrored=None))
        again = self._mirroring(plain, name, arguments)
        if (again.scope.mirrored or {}) == sent:  # nobody has asked for the listing meanwhile
            self._look_for(name, call)
            again = self._mirroring(plain, name, arguments)
        if (again.scope.mirrored or {}) == sent:
            raise refusal
        return again

    def _look_for(self, name: str, call: Call) -> None:
        """List tools until *name* was listed."""
        from mcp_types import ListToolsResult

        listing = Call(replace(call.scope, mirrored=None))

        def fetch(cursor: str | None) -> ListToolsResult:
            params = None if cursor is None else {"cursor": cursor}
            page = self._ask_in(listing, "tools/list", params, ListToolsResult, None)
            if self._cache is not None:
                self._cache.drop("tools/list")  # what is kept has led astray
            return self._learn(page, cursor)

        def names(page: ListToolsResult) -> list[str]:
            return [tool.name for tool in page.tools]

        limit = self._limits.max_pages
        try:
            for found in pages(fetch, names, lambda page: page.next_cursor, limit):
                if found == name:
                    return
        except MCPSyncError as error:
            error.with_context(server_name=self.server_name, user_id=self.user_id, tool_name=name)
            error.maybe_executed = False
            raise

    def _checked(self, call: Call, name: str, result: CallToolResult) -> CallToolResult:
        """Return *result*, held against the tool's ``outputSchema`` if it is known.

        Raises:
            StructuredContentInvalid: It does not fit.
        """
        known = self._known.get(name)
        if known is None or known.output is None or result.is_error:
            return result
        is_modern = self._keeper.era is not Era.LEGACY
        try:
            known.output.check(result, call.scope.deadline, any_json=is_modern)
        except MCPSyncError as error:
            error.with_context(
                server_name=self.server_name,
                user_id=self.user_id,
                tool_name=name,
                method="tools/call",
            )
            raise
        return result


def _asks_for_more(params: Mapping[str, Any] | None) -> bool:
    """Whether there is more in *params* than what tells answers apart."""
    return params is not None and not params.keys() <= {"cursor", "uri"}
