"""Tokens kept and refreshed; seed 3.5 and 3.6, requirements A16 and A23, S10."""

import contextlib
import dataclasses

import pytest

from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.clock import SystemClock
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import tokens
from mcpsync.auth.clients import ClientCredentials
from mcpsync.auth.token_endpoint import Tokens
from mcpsync.auth.tokens import LEASE, SKEW, Grant, NoGrant, TokenStorage
from mcpsync.errors import (
    ConnectionLost,
    OAuthError,
    RequestCancelled,
    RequestTimeout,
    StoreError,
)
from mcpsync.stores import MemoryStore, SQLiteStore, new_key
from mcpsync.testing import FakeClock
from support.threads import Gate, outcome, start, wait_until

OWNER = "ada:crm"
LONG = 20


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock)


@pytest.fixture
def storage(store, clock):
    return TokenStorage(store, clock)


def grant(clock, number=1, *, lasts=3600.0, refresh=True):
    return Grant(
        Tokens(
            f"access{number}",
            f"refresh{number}" if refresh else None,
            clock.time() + lasts,
            ("read",),
        ),
        ClientCredentials("me", "s3cret", "client_secret_basic", issuer="https://as.example"),
        "https://as.example",
        "https://as.example/token",
        "https://mcp.example/mcp",
        ("read",),
    )


class Redeemer:
    """An authorization server that rotates refresh tokens, and takes each of them once."""

    def __init__(self, clock, gate=None):
        self.clock, self.gate, self.redeemed = clock, gate, []

    def __call__(self, given):
        token = given.tokens.refresh_token
        if token in self.redeemed:
            raise OAuthError("no.", error="invalid_grant")
        self.redeemed.append(token)
        if self.gate is not None:
            self.gate()
        number = len(self.redeemed) + 1
        return Tokens(f"access{number}", f"refresh{number}", self.clock.time() + 3600)


def fresh(storage, redeem, **more):
    return storage.fresh(OWNER, redeem, Deadline(LONG), **more)


def test_what_is_kept_comes_back_as_it_was(storage, clock):
    kept = dataclasses.replace(grant(clock), dpop_key="pem", attempt=("hash", 1.5), step_ups=1)
    storage.keep(OWNER, kept)
    assert storage.find(OWNER) == kept
    assert storage.find("bob:crm") is None
    assert storage.find("ada:other") is None


def test_a_token_that_is_good_is_used_as_it_is(storage, clock):
    storage.keep(OWNER, grant(clock))
    redeem = Redeemer(clock)
    assert fresh(storage, redeem).tokens.access_token == "access1"
    assert redeem.redeemed == []


def test_one_that_is_nearly_over_is_refreshed_first(storage, clock):
    storage.keep(OWNER, grant(clock))
    redeem = Redeemer(clock)
    clock.advance(3600 - SKEW)
    found = fresh(storage, redeem)
    assert found.tokens.access_token == "access2"
    assert storage.find(OWNER) == found
    assert found.attempt is None


def test_one_that_was_turned_down_is_refreshed_though_it_is_not_over(storage, clock):
    storage.keep(OWNER, grant(clock))
    redeem = Redeemer(clock)
    assert fresh(storage, redeem, rejected="access1").tokens.access_token == "access2"
    assert fresh(storage, redeem, rejected="access1").tokens.access_token == "access2"
    assert redeem.redeemed == ["refresh1"]


def test_without_a_new_refresh_token_the_old_one_is_kept(storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))
    found = fresh(storage, lambda _: Tokens("access2", None, clock.time() + 60))
    assert found.tokens.refresh_token == "refresh1"
    assert found.tokens.scopes == ("read",)


@pytest.mark.parametrize("has", ["nothing", "no refresh token"])
def test_where_there_is_nothing_to_refresh_somebody_has_to_sign_in(storage, clock, has):
    if has != "nothing":
        storage.keep(OWNER, grant(clock, refresh=False))
        clock.advance(3600 - SKEW / 2)
    with pytest.raises(NoGrant):
        fresh(storage, Redeemer(clock))


def test_many_threads_redeem_one_refresh_token_once(storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))
    gate = Gate()
    redeem = Redeemer(clock, gate)
    tasks = [start(lambda: fresh(storage, redeem)) for _ in range(8)]
    gate.wait_reached()
    wait_until(lambda: storage._flights.joined == 7, "the others wait")
    gate.open()
    assert {outcome(task).tokens.access_token for task in tasks} == {"access2"}
    assert redeem.redeemed == ["refresh1"]


def test_a_refresh_is_seen_through_though_its_caller_has_no_more_time(storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))
    gate = Gate()
    redeem = Redeemer(clock, gate)
    with pytest.raises(RequestTimeout, match="waiting for new tokens"):
        storage.fresh(OWNER, redeem, Deadline(0.05))
    gate.wait_reached()
    other = start(lambda: fresh(storage, redeem))
    gate.open()
    assert outcome(other).tokens.access_token == "access2"
    assert redeem.redeemed == ["refresh1"]


def test_a_refresh_is_seen_through_though_its_caller_was_cancelled(storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))
    gate, cancel = Gate(), Cancellation()
    redeem = Redeemer(clock, gate)
    task = start(lambda: storage.fresh(OWNER, redeem, Deadline(LONG), cancel))
    gate.wait_reached()
    cancel.cancel()
    assert isinstance(outcome(task), RequestCancelled)
    gate.open()
    assert fresh(storage, redeem).tokens.access_token == "access2"
    assert redeem.redeemed == ["refresh1"]


def test_a_caller_with_less_time_than_a_dead_holders_lease_is_told_and_nothing_is_lost(
    storage, store, clock
):
    storage.keep(OWNER, grant(clock, lasts=0))
    redeem = Redeemer(clock)
    assert store.acquire(f"{_key()}:refresh", LEASE) is not None, "whoever has it is dead"
    with pytest.raises(RequestTimeout, match="waiting for new tokens"):
        storage.fresh(OWNER, redeem, Deadline(0.05))
    assert redeem.redeemed == []
    clock.advance(LEASE)
    assert fresh(storage, redeem).tokens.access_token == "access2"
    assert redeem.redeemed == ["refresh1"]


def test_two_storages_of_one_store_redeem_it_once(store, clock):
    storages = [TokenStorage(store, clock) for _ in range(4)]  # as in four processes
    storages[0].keep(OWNER, grant(clock, lasts=0))
    gate = Gate()
    redeem = Redeemer(clock, gate)
    tasks = [start(lambda each=each: fresh(each, redeem)) for each in storages]
    gate.wait_reached()
    gate.open()
    assert {outcome(task).tokens.access_token for task in tasks} == {"access2"}
    assert redeem.redeemed == ["refresh1"]


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "unauthorized_client"])
def test_a_refusal_ends_the_grant_and_says_so(storage, clock, error):
    storage.keep(OWNER, grant(clock, lasts=0))

    def refuse(_):
        raise OAuthError("no.", error=error)

    with pytest.raises(NoGrant, match=error):
        fresh(storage, refuse)
    assert storage.find(OWNER) is None


@pytest.mark.parametrize(
    "error",
    [OAuthError("busy.", error="http_503", retryable=True), ConnectionLost("cut.")],
    ids=["busy", "cut"],
)
def test_trouble_on_the_way_does_not_end_it(storage, clock, error):
    storage.keep(OWNER, grant(clock, lasts=0))

    def fail(_):
        raise error

    with pytest.raises(type(error)):
        fresh(storage, fail)
    assert storage.find(OWNER).tokens.refresh_token == "refresh1"
    assert fresh(storage, Redeemer(clock)).tokens.access_token == "access2"


def test_who_died_before_he_redeemed_leaves_it_usable(store, storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))
    store.acquire(f"{_key()}:refresh", LEASE)  # and never heard of again
    waiting = start(lambda: fresh(storage, Redeemer(clock)))
    clock.advance(LEASE + 1)
    assert outcome(waiting).tokens.access_token == "access2"


def test_the_lock_of_who_died_is_waited_for_until_his_lease_is_over(monkeypatch):
    monkeypatch.setattr(tokens, "LEASE", 0.6)  # as they are to each other, but short
    monkeypatch.setattr(tokens, "SEEN_THROUGH", 0.4)
    clock = SystemClock()
    store = MemoryStore(clock)
    storage = TokenStorage(store, clock)
    storage.keep(OWNER, grant(clock, lasts=0))
    store.acquire(f"{_key()}:refresh", tokens.LEASE)
    assert fresh(storage, Redeemer(clock)).tokens.access_token == "access2"


def test_who_died_after_he_redeemed_leaves_word_that_somebody_has_to_sign_in(storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))
    redeem = Redeemer(clock)
    redeem.redeemed.append("refresh1")  # by the one who died before he could keep what it brought
    with pytest.raises(NoGrant, match="invalid_grant"):
        fresh(storage, redeem)


def test_a_sign_in_meanwhile_is_not_overwritten(storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))

    def redeem(_):
        storage.keep(OWNER, grant(clock, 7))
        return Tokens("late", "late", clock.time() + 60)

    assert fresh(storage, redeem).tokens.access_token == "access7"
    assert storage.find(OWNER).tokens.access_token == "access7"


def test_a_sign_in_meanwhile_is_not_ended_by_a_refusal_of_the_old_token(storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))

    def redeem(_):
        storage.keep(OWNER, grant(clock, 7))
        raise OAuthError("no.", error="invalid_grant")

    assert fresh(storage, redeem).tokens.access_token == "access7"


def test_who_redeemed_before_his_lease_was_over_and_stores_after_it_loses_nothing(store, clock):
    slow, next_one = TokenStorage(store, clock), TokenStorage(store, clock)
    slow.keep(OWNER, grant(clock, lasts=0))
    his, theirs = Gate(), Gate()
    redeem = Redeemer(clock, his)

    def again(given):
        theirs()
        return redeem(given)

    first = start(lambda: fresh(slow, redeem))
    his.wait_reached()
    clock.advance(LEASE + 1)
    second = start(lambda: fresh(next_one, again))
    theirs.wait_reached()  # it has noted its attempt
    his.open()
    assert outcome(first).tokens.access_token == "access2"
    theirs.open()
    assert outcome(second).tokens.access_token == "access2"
    assert slow.find(OWNER).tokens.refresh_token == "refresh2"


def test_what_was_revoked_meanwhile_stays_revoked(storage, clock):
    storage.keep(OWNER, grant(clock, lasts=0))

    def redeem(_):
        storage.forget(OWNER)
        return Tokens("late", "late", clock.time() + 60)

    with pytest.raises(NoGrant, match="revoked"):
        fresh(storage, redeem)
    assert storage.find(OWNER) is None


def test_unreadable_tokens_are_an_error_and_can_be_forgotten(tmp_path, clock):
    path = tmp_path / "store.db"
    with (
        contextlib.closing(SQLiteStore(path, key=new_key())) as store,
        contextlib.closing(SQLiteStore(path, key=new_key())) as other,
    ):
        TokenStorage(store, clock).keep(OWNER, grant(clock))
        storage = TokenStorage(other, clock)
        with pytest.raises(StoreError, match="not among"):
            storage.find(OWNER)
        assert storage.forget(OWNER)
        assert storage.find(OWNER) is None


def test_nothing_secret_is_in_a_repr(clock):
    text = repr(dataclasses.replace(grant(clock), dpop_key="pem-secret"))
    for secret in ("access1", "refresh1", "s3cret", "pem-secret"):
        assert secret not in text


def _key():
    from mcpsync.auth.tokens import _key

    return _key(OWNER)
