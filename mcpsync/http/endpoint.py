"""One URL, and everything about a request to it that does not change from call to call."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.cookiejar import CookieJar
from typing import Any

from requests import PreparedRequest
from requests.cookies import (
    RequestsCookieJar,
    extract_cookies_to_jar,
    get_cookie_header,
)
from requests.structures import CaseInsensitiveDict
from urllib3 import BaseHTTPResponse, HTTPConnectionPool
from urllib3.exceptions import ClosedPoolError

from .._runtime.cancel import Cancellation, Watch
from .._runtime.deadline import Deadline
from ..errors import (
    ConfigurationError,
    HTTPStatusError,
    MCPSyncError,
    RefusedError,
)
from ..security.addresses import is_loopback
from ..security.redaction import safe_url
from .adapter import SharedAdapter, adapters
from .authorizing import MOST_ANSWERS, Authorizer, Occasion, about_credentials
from .exchange import Exchange
from .failures import EXPECTED, explain
from .limits import Limits
from .redirects import (
    KEEPING,
    MAX_REDIRECTS,
    REDIRECTS,
    joined,
    kept_abroad,
    settings_abroad,
    within,
)
from .response import HttpResponse
from .settings import (
    AuthCallable,
    HttpSettings,
    check_header,
    checked_headers,
    prepared_url,
)


class HttpEndpoint:
    """Sends requests to one URL over the process's shared sockets. Thread-safe.

    It owns what is particular to one conversation, the cookies, and no socket.

    Args:
        settings: Where the requests go, headers, credentials and adapter.
        limits: How much an answer may hold.
        may_leave: Whether redirects to other origins are followed.
    """

    def __init__(self, settings: HttpSettings, limits: Limits, *, may_leave: bool = True) -> None:
        self.origin = settings.origin
        self.limits = limits
        self._settings = settings
        self._host = f"{self.origin[1]}:{self.origin[2]}"
        self._is_open_air = self.origin[0] == "http" and not is_loopback(self.origin[1])
        self._url, self._path = settings.url, settings.path
        self._route: tuple[int, SharedAdapter, weakref.ref[HTTPConnectionPool]] | None = None
        self._jar: RequestsCookieJar | None = None
        auth = settings.auth
        self._insists = isinstance(auth, Authorizer) and auth.insists
        self._active: dict[Exchange, None] = {}  # an empty set takes more
        self._closed_by: list[MCPSyncError] = []
        self._may_leave = may_leave
        self._most_redirects = MAX_REDIRECTS

    def send(
        self,
        method: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        extra_headers: Mapping[str, str] | None = None,
        parting: bool = False,
        gives_up: Callable[[], bool] | None = None,
    ) -> HttpResponse:
        """Send one request and return the answer once its headers are there.

        A redirect is followed if it keeps the method (307, 308), at most five times. To another
        origin it is a server's word, so it has to be a public address, and goes without headers,
        credentials and cookies of ours. (Seed 5.3)

        Args:
            method: The HTTP method.
            body: What to send.
            headers: The protocol's headers; they win over all others.
            deadline: Bounds everything, the reading of the body included.
            cancel: Ends the exchange when it fires.
            extra_headers: The caller's, for this request only; they win over the configured ones.
            parting: Send it although the endpoint is closed: it says goodbye.
            gives_up: Asked now and then while nothing comes; true ends the exchange as if *cancel*
                had fired.

        Raises:
            ConnectError: No connection could be made; nothing was sent.
            ConnectionLost: The connection ended; ``maybe_executed`` says if the request had left.
            RequestTimeout: The deadline passed.
            RequestCancelled: *cancel* fired.
            ConnectionClosed: :meth:`close` was called.
            RefusedError: It would have sent a bearer token in the clear.
            HTTPStatusError: A redirect that is not followed.
            AuthError: There are no credentials to be had.
        """
        url = self._url
        occasion = Occasion(deadline, cancel)

        def once(url: str) -> tuple[PreparedRequest, HttpResponse]:
            request = self._request(method, url, body, headers, extra_headers, occasion)
            return request, self._send_once(request, deadline, cancel, parting, gives_up)

        for hop in range(self._most_redirects + 1):
            request, response = once(url)
            while self._recovers(request, response, extra_headers, occasion):
                occasion = replace(occasion, attempt=occasion.attempt + 1)
                request, response = once(url)
            if response.status not in REDIRECTS:
                return response
            left = self._most_redirects - hop - 1
            url, abroad = self._redirected(url, response, left)
            if abroad is not None and left >= 0:
                return abroad.send(
                    method,
                    body,
                    kept_abroad(headers),
                    deadline=deadline,
                    cancel=cancel,
                    parting=parting,
                    gives_up=gives_up,
                )
        raise HTTPStatusError(
            f"{self._host} redirects more than {MAX_REDIRECTS} times.", status=response.status
        )

    def beside(self, url: str) -> HttpEndpoint:
        """Return an endpoint for another URL of the same origin: same settings, same cookies.

        Args:
            url: Absolute, or relative to this one. Somebody else has written it.

        Raises:
            RefusedError: It leads to another origin, which must get neither our credentials nor
                our messages; or it is not a URL.
        """
        target = joined(self._url, url)
        inside = None if target is None else within(self.origin, target)
        if inside is None:
            where = "something that is not a URL" if target is None else safe_url(target)
            raise RefusedError(
                f"{self._host} wants the messages sent to {where}, which is another origin; "
                "nothing was sent there."
            )
        if self._jar is None:
            self._jar = RequestsCookieJar()
        sent, path = prepared_url(inside)
        made = HttpEndpoint(replace(self._settings, url=sent, path=path), self.limits)
        made._jar = self._jar
        return made

    def close(self, error: MCPSyncError) -> None:
        """End every exchange under way with *error*, and refuse new ones with it."""
        self._closed_by[:] = [error]
        for exchange in list(self._active):
            exchange.abort(copy.copy(error))

    def _request(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        extra_headers: Mapping[str, str] | None,
        occasion: Occasion,
    ) -> PreparedRequest:
        request = PreparedRequest()
        request.method = method
        request.url = url
        request.body = body
        merged: Any = {**self._settings.headers}
        if extra_headers:
            merged |= checked_headers(extra_headers)
        for name, value in headers.items():
            merged[name.lower()] = value
        auth, checked = self._settings.auth, merged
        if auth is not None:  # its names are written as it likes
            merged = dict(merged) if self._insists else CaseInsensitiveDict(merged)
        request.headers = merged
        if self._jar is not None:
            cookie = get_cookie_header(self._jar, request)  # type: ignore[no-untyped-call]
            if cookie is not None and "cookie" not in merged:
                merged["cookie"] = cookie
        if auth is not None and not self._is_overridden(extra_headers):
            request = _authorized(request, auth, occasion)
            for name, value in request.headers.items():
                if checked.get(name) is not value:  # looking at all takes as long as the rest
                    check_header(name, value)
        if self._is_open_air:
            self._refuse_bearer(request)
        return request

    def _is_overridden(self, headers: Mapping[str, str] | None) -> bool:
        """Whether a call brings credentials of its own along that count."""
        if headers is None or self._insists:
            return False
        return any(name.lower() == "authorization" for name in headers)

    def _recovers(
        self,
        request: PreparedRequest,
        response: HttpResponse,
        extra_headers: Mapping[str, str] | None,
        occasion: Occasion,
    ) -> bool:
        """Whether a request that was turned down is to be sent again; then its answer is over."""
        auth = self._settings.auth
        if not isinstance(auth, Authorizer):
            return False
        try:
            auth.note(request.url or self._url, response.headers)
            if self._is_overridden(extra_headers):
                return False
            if response.status not in (401, 403):
                auth.accepted(request)
                return False
            if occasion.attempt + 1 >= MOST_ANSWERS:
                return False
            recovered = auth.recover(response.status, response.headers, request, occasion)
        except MCPSyncError as error:
            response.close()
            raise about_credentials(error, occasion)  # noqa: B904 - it knows its cause
        except BaseException:
            response.close()
            raise
        if recovered:
            response.finish_soon()
            response.close()
        return recovered

    def _send_once(
        self,
        request: PreparedRequest,
        deadline: Deadline,
        cancel: Cancellation | None,
        parting: bool,
        gives_up: Callable[[], bool] | None,
    ) -> HttpResponse:
        exchange = Exchange(deadline, self._settings.key.policy)
        if gives_up is not None:
            exchange.gives_up = gives_up
        self._active[exchange] = None
        watch = Watch(cancel, exchange.abort)
        try:
            if self._closed_by and not parting:
                raise copy.copy(self._closed_by[0])
            deadline.check(f"before asking {self._host}")
            raw = self._open(request, exchange)
            if exchange.saw_end or exchange.aborted_by is not None:
                raw.close()
                raw.release_conn()
                raise OSError("cut in the middle of the headers, which reads as a good answer")
        except EXPECTED as error:
            self._finish(exchange, watch)
            if isinstance(error, MCPSyncError):
                raise
            raise explain(error, exchange, self._host, self._settings.key.proxy) from error
        except BaseException:
            self._finish(exchange, watch)
            raise
        if "set-cookie" in raw.headers:
            self._keep_cookies(request, raw)
        return HttpResponse(
            raw,
            exchange,
            host=self._host,
            limit=self.limits.max_response_bytes,
            on_close=lambda done: self._finish(done, watch),
        )

    def _open(self, request: PreparedRequest, exchange: Exchange) -> BaseHTTPResponse:
        adapter, pool = self._current_route()
        try:
            return adapter.open(pool, request, self._target(request), exchange)
        except ClosedPoolError:  # evicted while we held it
            self._route = None
            adapter, pool = self._current_route()
            return adapter.open(pool, request, self._target(request), exchange)

    def _target(self, request: PreparedRequest) -> str:
        """Return what stands in the request line: through a plain proxy, the whole URL."""
        if self._settings.key.proxy is not None and self.origin[0] == "http":
            return request.url or self._url
        return self._path if request.url is self._url else request.path_url

    def _current_route(self) -> tuple[SharedAdapter, HTTPConnectionPool]:
        route = self._route
        if route is not None and route[0] == adapters.generation:
            pool = route[2]()
            if pool is not None:
                return route[1], pool
        generation = adapters.generation
        adapter = adapters.get(self._settings.key)
        pool = adapter.pool_for(self._url)
        self._route = (generation, adapter, weakref.ref(pool))  # the adapter's to keep or evict
        return adapter, pool

    def _finish(self, exchange: Exchange, watch: Watch) -> None:
        self._active.pop(exchange, None)
        watch.end()

    def _keep_cookies(self, request: PreparedRequest, raw: BaseHTTPResponse) -> None:
        if self._jar is None:
            self._jar = RequestsCookieJar()
        jar: CookieJar = self._jar
        extract_cookies_to_jar(jar, request, raw)  # type: ignore[no-untyped-call]

    def _redirected(
        self, url: str, response: HttpResponse, left: int
    ) -> tuple[str, HttpEndpoint | None]:
        """Return where *response* leads; with an endpoint for it if that is another origin.

        That follows as many redirects as are *left*.
        """
        location = response.headers.get("location", "")
        status = response.status
        response.finish_soon()
        response.close()
        target = joined(url, location)
        why = "that is no http:// or https:// URL" if target is None else "only 307 and 308 are"
        if target is not None and status in KEEPING:
            sent = within(self.origin, target)
            if sent is not None:
                return sent, None
            why = "only those within one origin are"
            if self._may_leave:
                try:
                    return target, self._abroad(target, left)
                except (RefusedError, ConfigurationError) as error:
                    why = error.message.rstrip(".")
        # Who is shown a secret may put it into a path: of whom we do not follow the host will do.
        shown = target if target is None or self._may_leave else joined(target, "/")
        where = "nowhere" if shown is None else safe_url(shown)
        raise HTTPStatusError(
            f"{self._host} redirects to {where} with status {status}, which is not "
            f"followed: {why}. Configure that URL instead.",
            status=status,
        )

    def _abroad(self, target: str, most_redirects: int) -> HttpEndpoint:
        """Return an endpoint for another origin, whose exchanges end with this one's."""
        made = HttpEndpoint(settings_abroad(self._settings, target), self.limits)
        made._active, made._closed_by = self._active, self._closed_by
        made._most_redirects = most_redirects
        return made

    def _refuse_bearer(self, request: PreparedRequest) -> None:
        value = str(request.headers.get("authorization", ""))
        if value.lower().startswith(("bearer", "dpop")):
            raise RefusedError(
                f"a bearer token would go to {self._host} over plain http; use https."
            )

    def __repr__(self) -> str:
        return f"<HttpEndpoint {safe_url(self._url)}>"


def _authorized(
    request: PreparedRequest, auth: AuthCallable | Authorizer, occasion: Occasion
) -> PreparedRequest:
    if not isinstance(auth, Authorizer):
        return auth(request)
    try:
        auth.authorize(request, occasion)
    except MCPSyncError as error:
        raise about_credentials(error, occasion)  # noqa: B904 - it knows its cause
    return request
