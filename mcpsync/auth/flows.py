"""Sign-ins under way: begun by one process, completed by another. (Seed 3.4, 3.8)"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from .._runtime.backoff import pause
from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from ..errors import OAuthError, StoreError
from ..stores import Entry, Store

logger = logging.getLogger(__name__)

FLOW_TTL: Final = 15 * 60.0  # seconds that a sign-in may take, and its outcome is remembered
PENDING_STALE: Final = 10 * 60.0  # seconds after which one that was begun is begun anew [seed 3.4]
REDEEMING: Final = 60.0  # seconds that redeeming a code may take; whoever does it died otherwise
BUSY: Final = "flow_busy"  # the word for a sign-in that somebody else is completing
POLL_FIRST: Final = 0.05  # seconds between looks at a sign-in that is waited for
POLL_LAST: Final = 2.0  # [seed 3.4]


class FlowStatus(enum.StrEnum):
    """Where a sign-in stands. [seed 3.4]

    ``REDEEMING`` is a pending one whose code somebody has taken to the token endpoint. Only who
    completes sign-ins sees it; for all others it is ``PENDING``: :attr:`Flow.stands`.
    """

    PENDING = "PENDING"
    REDEEMING = "REDEEMING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Flow:
    """One sign-in. What is secret in it is in no repr.

    Args:
        flow_id: Whose, at which server.
        url: Where to send the user.
        state: What he comes back with.
        verifier: The secret of PKCE.
        created_at: Seconds since the epoch.
        status: Where it stands.
        facts: What completing it needs: issuer, client, endpoints, resource, scopes.
        browser_key: What the cookie is made with that ties it to one browser.
        changed_at: When the status changed.
        code_hash: Of the code that it was, or is being, completed with.
        error: A word for why it failed.
    """

    flow_id: str
    url: str = field(repr=False)
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    created_at: float
    status: FlowStatus = FlowStatus.PENDING
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    browser_key: str = field(default="", repr=False)
    changed_at: float = 0.0
    code_hash: str | None = field(default=None, repr=False)
    error: str | None = None

    @property
    def browser_binding(self) -> str:
        """What the browser that began it keeps in a cookie: HMAC-SHA256, 32 hex digits."""
        digest = hmac.new(self.browser_key.encode(), self.state.encode(), hashlib.sha256)
        return digest.hexdigest()[:32]

    def is_of_browser(self, binding: str) -> bool:
        """Whether *binding* is this flow's, compared in constant time."""
        return _same(binding, self.browser_binding)

    def same_as(self, other: Flow) -> bool:
        """Whether both are the same sign-in, wherever they stand."""
        return _same(self.state, other.state)

    @property
    def stands(self) -> FlowStatus:
        """Where it stands, as seen from outside: what is being redeemed is not done yet."""
        return FlowStatus.PENDING if self.status is FlowStatus.REDEEMING else self.status


class FlowStateManager:
    """Keeps sign-ins in a store, so that any process may complete them. Thread-safe.

    Args:
        store: Where.
        clock: Tells the time, in seconds since the epoch.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def find(self, flow_id: str) -> Flow | None:
        """Return a user's sign-in at a server, whatever has become of it."""
        entry = self._store.get(_flow_key(flow_id))
        return None if entry is None else _flow(entry.value)

    def find_readable(self, flow_id: str) -> Flow | None:
        """Return a user's sign-in, or None if what is kept cannot be read: it is begun anew."""
        entry = self._store.get(_flow_key(flow_id))
        return None if entry is None else _readable(entry)

    def find_by_state(self, state: str) -> Flow | None:
        """Return the sign-in that a ``state`` belongs to; None if it is unknown, or long over."""
        entry = self._store.get(_state_key(state))
        flow = None if entry is None else self.find(entry.value.decode())
        return flow if flow is not None and _same(flow.state, state) else None

    def begin(
        self, flow_id: str, make: Callable[[], Flow], *, instead_of: Flow | None = None
    ) -> Flow:
        """Return the sign-in that is under way, or begin one. [seed 3.4]

        Whoever comes late gets the one that is under way, with the same URL. One that is stale, has
        failed, or is done is replaced. It is in the store before this returns.

        Args:
            flow_id: Whose, at which server.
            make: Makes a new one; asks nobody.
            instead_of: Replace this one even if it is fresh: it asks for too little. One that
                somebody else has begun meanwhile stays.
        """
        while True:
            entry = self._store.get(_flow_key(flow_id))
            there = None if entry is None else _readable(entry)
            is_that = instead_of is not None and there is not None and there.same_as(instead_of)
            if there is not None and self.is_fresh(there) and not is_that:
                return there
            made = replace(make(), browser_key=secrets.token_hex(16))
            version = None if entry is None else entry.version
            # The state first: a flow whose state is unknown could never be completed.
            self._store.set(_state_key(made.state), flow_id.encode(), FLOW_TTL)
            if self._store.compare_and_set(_flow_key(flow_id), version, _json(made), FLOW_TTL):
                if there is not None:
                    self._store.delete(_state_key(there.state))
                return made
            self._store.delete(_state_key(made.state))  # somebody else has just begun one

    def is_fresh(self, flow: Flow) -> bool:
        """Whether a user may still complete it."""
        now = self._clock.time()
        if flow.status is FlowStatus.REDEEMING:
            return now - flow.changed_at < REDEEMING
        return flow.status is FlowStatus.PENDING and now - flow.created_at < PENDING_STALE

    def redeem(self, flow: Flow, code: str) -> Flow | None:
        """Say that *code* is about to be redeemed: of several who come with it, one is told so.

        Returns:
            The flow, to be completed or failed by whoever called; None if it was completed with
            this very code before, and nothing is to be done.

        Raises:
            OAuthError: It is over, or being completed by somebody else.
        """
        hashed = _hash(code)
        entry = self._entry(flow)
        now = None if entry is None else _flow(entry.value)
        if entry is None or now is None or not now.same_as(flow):
            raise OAuthError("this sign-in is over; begin a new one.", error="flow_expired")
        if now.status is FlowStatus.COMPLETED and now.code_hash == hashed:
            return None
        if now.status is FlowStatus.REDEEMING and now.code_hash == hashed and self.is_fresh(now):
            raise OAuthError("this sign-in is being completed.", error=BUSY, retryable=True)
        if now.status is not FlowStatus.PENDING or not self.is_fresh(now):
            raise OAuthError("this sign-in is over; begin a new one.", error="flow_over")
        taken = self._changed(now, FlowStatus.REDEEMING, code_hash=hashed)
        if self._put(taken, entry) is None:
            raise OAuthError("this sign-in is being completed.", error=BUSY, retryable=True)
        return taken

    def is_there(self, flow: Flow) -> bool:
        """Whether nobody has forgotten or replaced it."""
        now = self.find(flow.flow_id)
        return now is not None and now.same_as(flow)

    def complete(self, flow: Flow) -> None:
        """Say that it is done. Works twice."""
        self._end(flow, FlowStatus.COMPLETED, None)

    def fail(self, flow: Flow, error: str) -> None:
        """Say that it failed. One that is done stays done. [seed 3.4]"""
        self._end(flow, FlowStatus.FAILED, error)

    def forget(self, flow_id: str) -> bool:
        """Forget a sign-in and its state; whether there was one. [seed 3.4]

        One that cannot be read goes, too; then its state leads nowhere.
        """
        try:
            flow = self.find(flow_id)
        except StoreError as error:
            logger.warning("a sign-in that is forgotten cannot be read: %s", error)
            flow = None
        if flow is not None:
            self._store.delete(_state_key(flow.state))
        return self._store.delete(_flow_key(flow_id))

    def wait_for_url(
        self, flow_id: str, url: str, deadline: Deadline, cancel: Cancellation | None = None
    ) -> None:
        """Wait for the sign-in that *url* was shown for; see :meth:`wait`."""
        flow = self.find(flow_id)
        if flow is None or flow.url != url:
            raise OAuthError("the sign-in was cancelled.", error="flow_cancelled")
        self.wait(flow, deadline, cancel)

    def wait(self, flow: Flow, deadline: Deadline, cancel: Cancellation | None = None) -> None:
        """Wait until somebody, in whatever process, has completed a sign-in.

        Raises:
            OAuthError: It failed, was replaced or forgotten.
            RequestTimeout, RequestCancelled: It took too long for the caller.
        """
        delay = POLL_FIRST
        while True:
            now = self.find(flow.flow_id)
            if now is None or not now.same_as(flow):
                raise OAuthError("the sign-in was cancelled.", error="flow_cancelled")
            if now.status is FlowStatus.COMPLETED:
                return
            if now.status is FlowStatus.FAILED or not self.is_fresh(now):
                told = now.error or "it was not completed in time"
                raise OAuthError(f"the sign-in failed: {told}.", error=now.error or "flow_expired")
            pause(delay, deadline, cancel, doing="waiting for the user to sign in")
            delay = min(delay * 1.5, POLL_LAST)

    def _end(self, flow: Flow, status: FlowStatus, error: str | None) -> None:
        while True:
            entry = self._entry(flow)
            now = None if entry is None else _flow(entry.value)
            if entry is None or now is None or not now.same_as(flow):
                return
            if now.status in (FlowStatus.COMPLETED, FlowStatus.FAILED):
                return
            if self._put(self._changed(now, status, error=error, verifier=""), entry) is not None:
                return

    def _entry(self, flow: Flow) -> Entry | None:
        return self._store.get(_flow_key(flow.flow_id))

    def _changed(self, flow: Flow, status: FlowStatus, **more: Any) -> Flow:
        return replace(flow, status=status, changed_at=self._clock.time(), **more)

    def _put(self, flow: Flow, entry: Entry) -> int | None:
        return self._store.compare_and_set(
            _flow_key(flow.flow_id), entry.version, _json(flow), FLOW_TTL
        )


def _same(one: str, other: str) -> bool:
    """Compare in constant time; what is no Unicode is no reason to fail."""
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _hash(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _flow_key(flow_id: str) -> str:
    return f"oauth:flow:{_hash(flow_id)}"


def _state_key(state: str) -> str:
    return f"oauth:state:{_hash(state)}"


def _json(flow: Flow) -> bytes:
    return json.dumps(asdict(flow)).encode()


def _flow(value: bytes) -> Flow:
    try:
        found = json.loads(value)
        return Flow(**{**found, "status": FlowStatus(found["status"])})
    except (ValueError, TypeError, KeyError):
        raise StoreError(
            "the store holds a sign-in that cannot be read; another version may have put it there.",
            retryable=False,
        ) from None  # the JSON is in the original


def _readable(entry: Entry) -> Flow | None:
    """Return the flow if it can be read; what cannot is replaced by whoever signs in."""
    try:
        return _flow(entry.value)
    except StoreError as error:
        logger.warning("a sign-in is begun anew: %s", error)
        return None
