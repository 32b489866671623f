"""Signing in where the program can wait for its user: on a desktop, on a command line."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, Unpack
from urllib.parse import parse_qs, quote, urlsplit

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child
from ..errors import AuthorizationRequired, ConfigurationError, OAuthError
from ..http import Authorizer, Fetcher
from ..http.settings import origin_of
from ..security.addresses import is_loopback
from ..security.guard import Guard
from ..stores import MemoryStore, Store
from .ceremony import Ceremony
from .codes import Returned
from .flows import FlowStatus
from .options import OAuthKeywords, OAuthOptions
from .signing_in import SignIn

if TYPE_CHECKING:
    from ..http.settings import Session

logger = logging.getLogger(__name__)

RedirectHandler: TypeAlias = Callable[[str], None]
Answer: TypeAlias = "Returned | tuple[str | None, ...] | str"
CallbackHandler: TypeAlias = Callable[[], Answer]

AFTERWARDS: Final = 10.0  # seconds for redeeming a code that came after the call's time was over


class OAuth:
    """Signs a user in when a server asks for it, and keeps his tokens. Thread-safe.

    Give it to :class:`~mcpsync.Client` as ``auth=``. The call that is turned down shows the user
    where to go, waits for him within its ``timeout``, and is made again. Of several calls that are
    turned down at once, one shows him the way and all wait. What a handler raises comes out of the
    calls as it is. Without *redirect_handler* they raise ``AuthorizationRequired``, and
    :meth:`complete` goes on.

    Args:
        redirect_uri: Where the user comes back to.
        redirect_handler: Called with the URL to show to him.
        callback_handler: Called next; waits for what he comes back with, and returns it: the URL
            he came to, or ``(code, state)``, or ``(code, state, iss)``. It runs on the thread that
            called, and ends the wait itself: neither the call's ``timeout`` nor its ``cancel``
            reaches into it. Without it, somebody else is waited for who calls :meth:`complete`, in
            whatever process has the store.
        store: Where tokens are kept; in memory by default.
        owner: Whose tokens, if the store has those of several.
        clock: Tells the time.
        options: See :class:`OAuthOptions`.
    """

    def __init__(
        self,
        redirect_uri: str,
        *,
        redirect_handler: RedirectHandler | None = None,
        callback_handler: CallbackHandler | None = None,
        store: Store | None = None,
        owner: str = "me",
        clock: Clock | None = None,
        **options: Unpack[OAuthKeywords],
    ) -> None:
        self._options = OAuthOptions(redirect_uri, **options)
        self._redirect_handler = redirect_handler
        self._callback_handler = callback_handler
        self._store = store if store is not None else MemoryStore()
        self._owner = owner
        self._clock = clock
        self._flight: SingleFlight[str, None] = SingleFlight()  # by URL: of all its clients
        after_fork_in_child(self._flight.reset)

    def authorizer_for(self, url: str, session: Session | None) -> Authorizer:
        """Return what adds the user's token to requests to the server at *url*."""
        return InteractiveSignIn(
            self.ceremony(url, session),
            self.owner_at(url),
            self._redirect_handler,
            self._callback_handler,
            self._flight,
        )

    def owner_at(self, url: str) -> str:
        """Return whose sign-in it is, at the server at *url*."""
        return f"{quote(self._owner, safe='')}:{_server(url)}"

    def ceremony(self, url: str, session: Session | None = None) -> Ceremony:
        """Return how users sign in at the server at *url*."""
        return Ceremony(
            url,
            self._options,
            store=self._store,
            fetcher=fetcher_beside(
                url, session, self._options.headers, said=self._options.said_urls
            ),
            clock=self._clock,
        )

    def complete(
        self,
        url: str,
        answer: Answer,
        *,
        timeout: float = 30.0,
        cancel: Cancellation | None = None,
        session: Session | None = None,
    ) -> None:
        """Complete a sign-in at the server at *url*, with what the user came back with.

        Args:
            url: The server.
            answer: As *callback_handler* returns it.
            timeout: Seconds.
            cancel: Ends it.
            session: Where proxies and TLS settings come from, if the client has a session, too.

        Raises:
            OAuthError: It is not what was waited for, or the authorization server said no.
            MCPSyncError: The token could not be had.
        """
        self.ceremony(url, session).complete(
            self.owner_at(url), returned_in(answer), Deadline(timeout), cancel
        )

    def __repr__(self) -> str:
        return "OAuth(…)"


class InteractiveSignIn(SignIn):
    """A sign-in whose user is there: of all who wait for it, one shows him where to go."""

    def __init__(
        self,
        ceremony: Ceremony,
        owner: str,
        redirect_handler: RedirectHandler | None,
        callback_handler: CallbackHandler | None,
        flight: SingleFlight[str, None],
    ) -> None:
        super().__init__(ceremony, owner)
        self._redirect_handler = redirect_handler
        self._callback_handler = callback_handler
        self._flight = flight

    def sign_in(
        self, required: AuthorizationRequired, deadline: Deadline, cancel: Cancellation | None
    ) -> bool:
        """Show the user where to go, and wait until he has signed in.

        Raises:
            MCPSyncError: It came to nothing, or took too long.
            Exception: What the application's handlers raise. The sign-in goes on: the next call
                shows the same URL.
        """
        url, show = required.authorization_url, self._redirect_handler
        if show is None or url is None:
            return False
        self._flight.do(
            url,
            lambda: self._guide(show, url, required, deadline, cancel),
            deadline=deadline,
            cancel=cancel,
        )
        self.look_again()
        return True

    def _guide(
        self,
        show: RedirectHandler,
        url: str,
        required: AuthorizationRequired,
        deadline: Deadline,
        cancel: Cancellation | None,
    ) -> None:
        flows = self.ceremony.flows
        flow = flows.find_readable(self.owner)
        if flow is None or flow.url != url or flow.stands is not FlowStatus.PENDING:
            return  # it is over, well or badly: the next answer tells what is to be done
        show(url)
        try:
            self._see_through(required, deadline, cancel)
        except OAuthError:
            now = flows.find_readable(self.owner)
            if now is None or now.url == url or not flows.is_fresh(now):
                raise
            logger.info("a sign-in was replaced by one that asks for more")

    def _see_through(
        self, required: AuthorizationRequired, deadline: Deadline, cancel: Cancellation | None
    ) -> None:
        if self._callback_handler is None:
            self.wait(required, deadline, cancel)
            return
        answer = returned_in(self._callback_handler())
        late = deadline.expired
        # Who has signed in while the call's time ran out does not have to do it again.
        self.ceremony.complete(
            self.owner, answer, Deadline(AFTERWARDS) if late else deadline, cancel
        )


def returned_in(answer: Answer) -> Returned:
    """Return what an authorization server sent the user back with.

    Args:
        answer: The URL he came to, or its query; or ``(code, state)`` or ``(code, state, iss)``.

    Raises:
        OAuthError: It is not a URL.
        ConfigurationError: It is nothing of that sort.
    """
    if isinstance(answer, Returned):
        return answer
    if isinstance(answer, str):
        try:
            query = urlsplit(answer).query if "://" in answer else answer.lstrip("?")
            found = parse_qs(query, keep_blank_values=True, max_num_fields=50)
        except ValueError:
            raise OAuthError("what the user came to is no URL.", error="state_unknown") from None
        # RFC 6749 section 3.1: no parameter comes twice
        once = {name: values[0] for name, values in found.items() if len(values) == 1}
        return Returned(once.get("state"), once.get("code"), once.get("iss"), once.get("error"))
    texts = isinstance(answer, tuple) and all(
        each is None or isinstance(each, str) for each in answer
    )
    if texts and len(answer) in (2, 3):
        code, state, *rest = answer
        return Returned(state, code, rest[0] if rest else None)
    raise ConfigurationError(
        "a callback_handler returns the URL that the user came to, or (code, state, iss)."
    )


def fetcher_beside(
    url: str,
    session: Session | None,
    headers: Mapping[str, str] | None = None,
    *,
    said: Iterable[str | None] = (),
) -> Fetcher:
    """Return what reaches those whom the server at *url* names.

    Args:
        url: The server, which the operator has configured.
        session: Where proxies and TLS settings come from.
        headers: Sent with every request.
        said: Further URLs that are the operator's own words; None where he did not say.
    """
    trusted = [url, *(each for each in said if each is not None)]
    policy = Guard().for_named(True, is_loopback(origin_of(url)[1]))
    return Fetcher(session=session, policy=policy, headers=headers, trusted=trusted)


def _server(url: str) -> str:
    parts = urlsplit(url)
    found = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}{parts.path}"
    if not parts.query:
        return found
    # It may tell one tenant's server from another's; and it may be a secret.
    return f"{found}?{hashlib.sha256(parts.query.encode()).hexdigest()[:16]}"
