"""Single requests to URLs that somebody else has given: metadata, tokens, registrations."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import MessageInvalid, RefusedError
from ..security.addresses import is_loopback
from ..security.guard import ANYWHERE, AddressPolicy
from ..security.redaction import safe_url
from .endpoint import HttpEndpoint
from .guarding import check_guarded, is_plain, literal_in
from .limits import Limits
from .settings import HttpSettings, Session, origin_of, prepared_url

MAX_BYTES: Final = 1024 * 1024  # of one answer; metadata has a few KiB
MAX_SECONDS: Final = 10.0  # that one request may take, however long its caller would wait
_PUBLIC: Final = AddressPolicy("public")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, read to its end.

    Args:
        url: What was asked.
        status: The HTTP status.
        headers: The headers; names are case-insensitive.
        body: The body. It may hold secrets, so it is in no repr.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        Raises:
            MessageInvalid: It is none; the error does not show it.
        """
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise MessageInvalid(f"{safe_url(self.url)} did not answer with a JSON object.")
        return found

    def __repr__(self) -> str:
        return f"<Fetched {safe_url(self.url)} {self.status}>"


class Fetcher:
    """Makes single requests, with nobody's credentials but those it is given. Thread-safe.

    Cookies are not kept, ``.netrc`` is not looked at, and no redirect leads to another origin.

    Args:
        session: Where proxies, ``verify`` and ``cert`` come from; its headers and auth do not.
        policy: Where requests may go; to public addresses by default. A reach of ``"loopback"``
            also allows plain http, to this machine. What a name leads to is seen when it is
            connected to; behind a proxy, by the proxy.
        headers: Sent with every request.
        trusted: URLs that the operator has written, not somebody else. Whatever has the origin of
            one of them may be at any address.
        is_operators: Whether it is the operator's server that names those who are asked. If not,
            they are shown no certificate of the session.
        proxy: What all requests go through, whatever session and environment say.
    """

    def __init__(
        self,
        *,
        session: Session | None = None,
        policy: AddressPolicy = _PUBLIC,
        headers: Mapping[str, str] | None = None,
        trusted: Collection[str] = (),
        is_operators: bool = True,
        proxy: str | None = None,
    ) -> None:
        self._session = session
        self._proxy = proxy
        self._policy = policy
        self._is_operators = is_operators
        self._headers = dict(headers or {})
        self._trusted = frozenset(origin_of(prepared_url(each)[0]) for each in trusted)

    def get(
        self,
        url: str,
        *,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """Ask for *url*. See :meth:`check` and :meth:`HttpEndpoint.send` for what is raised."""
        return self._send(
            "GET", url, None, {"accept": "application/json"}, headers, deadline, cancel
        )

    def head(self, url: str, *, deadline: Deadline, cancel: Cancellation | None = None) -> Fetched:
        """Ask for the headers of *url* alone."""
        return self._send("HEAD", url, None, {}, None, deadline, cancel)

    def post_form(
        self,
        url: str,
        fields: Mapping[str, str],
        *,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """Send a form to *url*."""
        kind = {
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
        }
        body = urlencode(fields).encode("ascii")
        return self._send("POST", url, body, kind, headers, deadline, cancel)

    def post_json(
        self,
        url: str,
        document: Mapping[str, Any],
        *,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        headers: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Fetched:
        """Send a JSON object to *url*."""
        kind = {"accept": accept, "content-type": "application/json"}
        body = json.dumps(document).encode("utf-8")
        return self._send("POST", url, body, kind, headers, deadline, cancel)

    def check(self, url: str) -> None:
        """Refuse a URL that must not be used, whatever it leads to. (Requirements A21, S1)

        Raises:
            RefusedError: It is not https, or http to this machine where that is allowed; or it
                has credentials in it; or the policy forbids it, see its ``rule``.
        """
        if not self._is_good(url):
            raise RefusedError(
                f"{safe_url(url)} is not used: only https:// URLs without credentials are, "
                "and http:// on this machine where the server itself is on it.",
                rule="form",
            )
        if not self._is_trusted(url):
            check_guarded(
                url,
                self._policy,
                scheme=urlsplit(url).scheme,
                proxied=not self._policy.proxied_names
                and self._resolved(url).key.proxy is not None,
            )

    def _is_good(self, url: str) -> bool:
        """Whether the form of *url* is good."""
        if not is_plain(url):
            return False
        scheme, host, port = origin_of(prepared_url(url)[0])
        if scheme == "https":
            return True
        policy = self._policy
        may_be_local = policy.reach != "public" or policy.exempts(host, port, literal_in(host))
        return is_loopback(host) and (may_be_local or self._is_trusted(url))

    def _is_trusted(self, url: str) -> bool:
        return bool(self._trusted) and origin_of(prepared_url(url)[0]) in self._trusted

    def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        kind: Mapping[str, str],
        headers: Mapping[str, str] | None,
        deadline: Deadline,
        cancel: Cancellation | None,
    ) -> Fetched:
        self.check(url)
        endpoint = HttpEndpoint(
            self._settings(url), Limits(max_response_bytes=MAX_BYTES), may_leave=False
        )
        with endpoint.send(
            method,
            body,
            kind,
            deadline=deadline.within(MAX_SECONDS),
            cancel=cancel,
            extra_headers={**self._headers, **(headers or {})},
        ) as response:
            return Fetched(url, response.status, response.headers, response.read())

    def _resolved(self, url: str) -> HttpSettings:
        return HttpSettings.resolve(
            url, session=self._session, proxy=self._proxy, is_operators=self._is_operators
        )

    def _settings(self, url: str) -> HttpSettings:
        found = self._resolved(url)
        # A proxy is the operator's, often at a private address, and it resolves the names.
        is_ours = found.key.proxy is not None or self._is_trusted(url)
        key = found.key._replace(policy=ANYWHERE if is_ours else self._policy)
        return replace(
            found, headers={"user-agent": found.headers["user-agent"]}, auth=None, key=key
        )
