"""Threads that call, cancel, close and forget at the same time; what must hold all the same."""

import itertools
import queue
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync import (
    Cancellation,
    Client,
    ConnectionClosed,
    MCPSyncError,
    RequestCancelled,
    SessionExpired,
)
from mcpsync.http import reset_pools
from mcpsync.protocol.lifecycle import State
from mcpsync.testing import LocalServer
from support.processes import children, wait_until
from transports.children import packaged

pytestmark = pytest.mark.stress
THREADS = 8
PATIENCE = 30.0  # many threads that switch often on a busy machine


@pytest.fixture(autouse=True)
def _switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(params=["legacy", "modern"])
def server(request):
    with LocalServer(request.param) as running:
        yield running
        assert running.violations == []


def outcomes(work, n=THREADS):
    """What *work* gives or raises in *n* threads that start together."""
    barrier = threading.Barrier(n)

    def run(number):
        barrier.wait(PATIENCE)
        try:
            return work(number)
        except MCPSyncError as error:
            return error

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


@pytest.mark.parametrize("seed", range(4))
def test_a_cancel_never_hits_another_call_and_nobody_gets_the_answer_of_another(server, seed):
    chance = random.Random(seed)
    doomed: queue.SimpleQueue[Cancellation | None] = queue.SimpleQueue()

    def cancel_all():
        while (cancel := doomed.get(timeout=PATIENCE)) is not None:
            cancel.cancel()

    def call(number):
        for n in range(25):
            text = f"{number}-{n}"
            cancel = Cancellation() if chance.random() < 0.5 else None
            if cancel is not None:
                doomed.put(cancel)
            try:
                assert (
                    client.call_tool("echo", {"text": text}, cancel=cancel).content[0].text == text
                )
            except RequestCancelled:
                assert cancel is not None
        return "done"

    canceller = threading.Thread(target=cancel_all)
    canceller.start()
    with Client(server.url, timeout=PATIENCE) as client:
        assert outcomes(call) == ["done"] * THREADS
        doomed.put(None)
        canceller.join(PATIENCE)


@pytest.mark.parametrize("seed", range(3))
def test_sessions_that_are_forgotten_all_the_time_cost_no_call_and_repeat_none(seed):
    chance = random.Random(seed)
    finished = threading.Event()

    def count():
        while True:
            try:
                return client.call_tool("counter").structured_content["total"]
            except SessionExpired:  # forgotten again before it was used: it was not run
                continue

    def forget():
        while not finished.is_set():
            wait_for_requests(chance.randrange(5, 25))
            server.expire_sessions()

    def wait_for_requests(n):
        seen = len(server.requests)
        server.wait_for(lambda s: len(s.requests) > seen + n or finished.is_set(), 0.5)

    with LocalServer("legacy") as server, Client(server.url, timeout=PATIENCE) as client:
        forgetter = threading.Thread(target=forget)
        forgetter.start()
        totals = outcomes(lambda _: [count() for _ in range(15)])
        finished.set()
        forgetter.join(PATIENCE)
        assert sorted(itertools.chain(*totals)) == [*range(1, 15 * THREADS + 1)]
        assert server.executions == {"counter": 15 * THREADS}


@pytest.mark.parametrize("seed", range(6))
def test_a_close_at_any_moment_leaves_no_session_and_no_call_without_an_outcome(server, seed):
    chance = random.Random(seed)
    client = Client(server.url, timeout=PATIENCE)
    client.connect()
    begin = len(server.requests) + chance.randrange(8)

    def work(number):
        if number == 0:
            server.wait_for(lambda s: len(s.requests) >= begin, PATIENCE)
            client.close()
            return 0
        return client.call_tool("add", {"a": number, "b": 0}).structured_content["sum"]

    for number, outcome in enumerate(outcomes(work)):
        assert outcome == number or isinstance(outcome, ConnectionClosed), repr(outcome)
    with pytest.raises(ConnectionClosed):
        client.list_tools()
    assert server.wait_for(lambda s: not s.open_sessions), "a session was left behind"


@pytest.mark.parametrize("seed", range(6))
def test_a_close_while_it_connects_leaves_no_call_without_an_outcome(server, seed):
    chance = random.Random(seed)
    client = Client(server.url, timeout=PATIENCE)
    begin = chance.randrange(5)

    def work(number):
        if number == 0:
            server.wait_for(lambda s: len(s.requests) >= begin, PATIENCE)
            client.close()
            return 0
        return client.call_tool("add", {"a": number, "b": 0}).structured_content["sum"]

    for number, outcome in enumerate(outcomes(work)):
        assert outcome == number or isinstance(outcome, ConnectionClosed), repr(outcome)
    assert client.state is State.CLOSED


@pytest.mark.parametrize("seed", range(4))
def test_a_close_at_any_moment_leaves_no_child(seed):
    chance = random.Random(seed)
    before = children()
    client = Client(packaged("legacy"), timeout=PATIENCE)
    closed = threading.Event()

    def work(number):
        if number == 0:
            closed.wait(chance.random() * 0.25)
            client.close(timeout=1)
            return 0
        return client.call_tool("add", {"a": number, "b": 0}).structured_content["sum"]

    for number, outcome in enumerate(outcomes(work)):
        assert outcome == number or isinstance(outcome, ConnectionClosed), repr(outcome)
    wait_until(lambda: children() == before, "the child is gone")


def test_pools_that_are_reset_all_the_time_cost_no_call(server):
    stop = threading.Event()

    def reset():
        while not stop.wait(0.01):
            reset_pools()

    def call(number):
        for n in range(20):
            total = client.call_tool("add", {"a": number, "b": n}).structured_content["sum"]
            assert total == number + n
        return "done"

    resetter = threading.Thread(target=reset)
    resetter.start()
    try:
        with Client(server.url, timeout=PATIENCE) as client:
            assert outcomes(call) == ["done"] * THREADS
    finally:
        stop.set()
        resetter.join(PATIENCE)
