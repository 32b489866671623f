"""One sign-in for several processes, some of which are killed in the midst of a refresh."""

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync._runtime.clock import SystemClock
from mcpsync.auth.tokens import LEASE, TokenStorage
from support import signing_in
from support.authority import Authority
from support.stores import description, make
from support.workers import Worker

pytestmark = pytest.mark.once  # what processes keep to is the store's, whichever Python

PATIENCE = 30
SHORT = 0.5  # seconds of the lease of whoever is killed
OWNER = signing_in.OWNER
SPENT = {"grant_type": "refresh_token"}


@pytest.fixture
def authority():
    with Authority() as authority:
        yield authority


@pytest.fixture(params=["sqlite", "redis"])
def kept(request, redis_url, tmp_path):
    """What a process needs to open the store."""
    return description(request.param, redis_url, tmp_path)


@pytest.fixture
def another(authority, kept):
    """Make another process."""
    workers = []

    def start(lease=LEASE):
        workers.append(Worker("support.signing_in", authority.url, str(lease), *kept))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.stdin.close()  # they end together
    for worker in workers:
        worker.close()


@pytest.fixture
def storage(kept):
    store = make(*kept)
    yield TokenStorage(store, SystemClock())
    store.close()


@pytest.fixture
def signed_in(authority, kept):
    """The user has signed in, and his token is over."""
    store = make(*kept)
    with signing_in.manager_of(authority.url, store) as manager:
        came = signing_in.call(manager, "whoami")
        signing_in.complete(manager, authority.approve(came["url"]))
    signing_in.age(store)
    store.close()


class Held:
    """An answer that is held back until it is let go; what was asked for has been done."""

    def __init__(self):
        self.reached, self.free = threading.Event(), threading.Event()

    def __call__(self):
        self.reached.set()
        assert self.free.wait(PATIENCE)


def test_processes_that_begin_together_register_once_and_name_one_page(authority, another):
    workers = [another() for _ in range(4)]
    for worker in workers:
        worker.ask("None")  # it is there
    for worker in workers:
        worker.tell("call('whoami')")
    [first, *others] = [worker.said() for worker in workers]
    assert first["url"]
    assert others == [first] * 3
    assert authority.count("register") == 1


def test_of_two_processes_that_complete_one_sign_in_one_redeems_the_code(authority, another):
    first, second = another(), another()
    back = authority.approve(first.ask("call('whoami')")["url"])
    held = Held()
    authority.say("/token", held)
    first.tell(f"complete({back!r})")
    assert held.reached.wait(PATIENCE)
    second.tell(f"complete({back!r})")
    held.free.set()
    assert first.said() == second.said() == ["crm", "ada"]
    assert second.ask("call('whoami')") == first.ask("call('whoami')")
    assert authority.count("token") == 1


@pytest.mark.usefixtures("signed_in")
def test_who_is_signed_out_by_one_process_is_signed_out_of_the_others(authority, another):
    first, second = another(), another()
    assert "text" in second.ask("call('whoami')")
    assert first.ask("revoke()") is True
    assert "url" in second.ask("call('whoami')")


def answer_of(worker, waiting):
    while (said := worker.said()) == "waits":
        waiting.put(worker)
    return said


@pytest.mark.usefixtures("signed_in")
def test_eight_processes_with_one_token_that_is_over_redeem_it_once(authority, another):
    held, waiting = Held(), queue.Queue()
    authority.say("/token", held)
    workers = [another() for _ in range(8)]
    for worker in workers:
        worker.ask("tell_waits()")
    try:
        for worker in workers:
            worker.tell("call('whoami')")
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(answer_of, worker, waiting) for worker in workers]
            those_who_wait = {waiting.get(timeout=PATIENCE) for _ in range(7)}
            held.free.set()
            results = [answer.result(PATIENCE) for answer in answers]
    finally:
        held.free.set()
    assert len(those_who_wait) == 7
    assert results == [{"text": results[0]["text"]}] * 8
    assert authority.count("token", **SPENT) == 1


@pytest.fixture
def survivor(authority, kept):
    """What another process than the one that is killed calls with: this one."""
    store = make(*kept)
    with signing_in.manager_of(authority.url, store) as manager:
        yield manager
    store.close()


# It is killed at steps of ours, whatever the Python; tests/stores kills with each of them.
once = pytest.mark.once

# Where the process is killed, whether its refresh token was redeemed by then, and what is left.
STEPS = {
    "locked": (False, "usable"),
    "noted": (False, "usable"),
    "asked": (True, "sign in"),
    "answered": (True, "sign in"),
    "stored": (True, "usable"),
}


def killed(victim, authority, step):
    """Have a process begin a refresh, and kill it when it has come to *step*."""
    held = Held()
    if step == "asked":
        authority.say("/token", held)
        victim.tell("call('whoami')")
        assert held.reached.wait(PATIENCE)
    else:
        victim.ask(f"stop_at({step!r})")
        victim.tell("call('whoami')")
        assert victim.said() == "stopped"
    victim.kill()
    held.free.set()


@once
@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_is_killed_while_it_refreshes_leaves_a_grant_or_says_sign_in(
    authority, another, survivor, storage, step
):
    redeemed, left = STEPS[step]
    victim = another(SHORT)
    before = storage.find(OWNER).tokens.refresh_token
    killed(victim, authority, step)
    assert authority.count("token", **SPENT) == redeemed
    began = time.monotonic()
    said = signing_in.call(survivor, "whoami")
    assert time.monotonic() - began < LEASE / 2  # it waited for the lease of whoever died
    if left == "sign in":
        assert storage.find(OWNER) is None
        assert authority.count("token", **SPENT) == 2  # it could not know
        back = authority.approve(said["url"])
        assert signing_in.complete(survivor, back) == ["crm", "ada"]
        said = signing_in.call(survivor, "whoami")
    assert "text" in said
    if left == "usable":
        assert authority.count("token", **SPENT, refresh_token=before) == 1
        assert storage.find(OWNER).tokens.refresh_token != before


@once
@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("step", ["asked", "answered"])
def test_where_refresh_tokens_are_good_more_than_once_nobody_has_to_sign_in(
    authority, another, survivor, step
):
    authority.rotate = False
    killed(another(SHORT), authority, step)
    assert "text" in signing_in.call(survivor, "whoami")
    assert authority.count("token", **SPENT) == 2
