"""64 threads, a server that misbehaves, and whatever a manager can do; what must hold all the same.

Nobody looks at whether it survives. Looked at is what was promised: no call is run twice, errors
tell the truth, users are kept apart, what was disconnected is not handed out, nothing is left.
"""

import itertools
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mcpsync import (
    BreakerPolicy,
    Cancellation,
    CircuitOpen,
    ConnectionClosed,
    MCPManager,
    MCPSyncError,
)
from mcpsync.testing import Fault, LocalServer
from mcpsync.transports import streamable_http_legacy

pytestmark = pytest.mark.stress

THREADS = 64
ROUNDS = 25
PATIENCE = 60.0  # many threads that switch all the time on a busy machine
USERS = ("ada", "bob", "eve", "joe", None)
SERVERS = ("crm", "mail")
LENIENT = BreakerPolicy(max_cycles=10**6, max_failed_rounds=10**6)

# What may befall a request of which kind. A handshake is refused, but its answer is never lost: a
# session that nobody was told of is nobody's to end.
ANYTIME = (
    Fault.DIE_BEFORE_ANSWER,
    Fault.DIE_MID_HEADERS,
    Fault.DIE_MID_ANSWER,
    Fault.DIE_MID_STREAM,
    Fault.CLOSE_AFTER_ANSWER,
    Fault.HANG,
    Fault.HANG_AFTER_HEADERS,
    Fault.HTTP_500,
    Fault.HTTP_503,
    Fault.RATE_LIMITED,
    Fault.GARBAGE,
)
AT_CONNECTING = (Fault.HTTP_503, Fault.HTML_404)
FAULTS = {
    "tools/call": ANYTIME,
    "tools/list": (*ANYTIME, Fault.REPEAT_CURSOR),
    "ping": ANYTIME,
    "initialize": AT_CONNECTING,
    "server/discover": AT_CONNECTING,
}


@pytest.fixture(autouse=True)
def _switch_all_the_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(streamable_http_legacy, "DELETE_TIMEOUT", PATIENCE)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Witness:
    """Sees every execution at the server: of what, for whom, in which session.

    Lock: _lock guards executed, sessions, cookies, wrong.
    """

    def __init__(self, server: LocalServer) -> None:
        self._lock = threading.Lock()
        self.executed: Counter[str] = Counter()
        self.sessions: dict[str, set[str]] = defaultdict(set)
        self.cookies: dict[str, set[str]] = defaultdict(set)
        self.wrong: list[str] = []
        tools: Any = server._endpoint.runner.dispatcher.tools
        self._echo = tools._functions["echo"]
        tools._functions["echo"] = self._run

    def _run(self, call: Any, arguments: dict[str, str]) -> Any:
        text, who = arguments["text"], call.identity
        user = text.partition("/")[0]
        with self._lock:
            self.executed[text] += 1
            if who.session is not None:
                self.sessions[who.session].add(user)
            if who.cookie is not None:
                self.cookies[who.cookie].add(user)
            if who.user != user:
                self.wrong.append(f"{text} came with the header of {who.user}")
        return self._echo(call, arguments)


class Calm(random.Random):
    """Chance that neither hurries nor cancels."""

    def choice(self, seq: Any) -> Any:
        return seq[-1]

    def random(self) -> float:
        return 1.0


class World:
    """A manager, its server, and what was asked of both and came of it.

    Lists and counters are only ever appended to: one step of the interpreter.
    """

    def __init__(self, server: LocalServer, manager: MCPManager, seed: int) -> None:
        self.server = server
        self.manager = manager
        self.witness = Witness(server)
        self._seed = seed
        self._numbers = itertools.count()
        self._revisions = itertools.count()
        self.outcomes: list[tuple[str, MCPSyncError | None]] = []
        self.errors: list[MCPSyncError] = []  # of what is no call
        self.under_way: set[str] = set()  # calls over a connection that was borrowed before
        self.not_before: dict[tuple[str, str], float] = defaultdict(float)
        self.done = threading.Event()
        self.doomed: list[Cancellation] = []

    # -- what the threads do ------------------------------------------------------------------

    def work(self, number: int, barrier: threading.Barrier) -> None:
        """Do random things, as many as ROUNDS."""
        chance = random.Random(f"{self._seed}/{number}")
        barrier.wait(PATIENCE)
        for _ in range(ROUNDS):
            user, server = chance.choice(USERS), chance.choice(SERVERS)
            (deed,) = chance.choices(list(DEEDS), list(DEEDS.values()))
            try:
                deed(self, chance, user, server)
            except MCPSyncError as error:
                self.errors.append(error)

    def call(self, chance: random.Random, user: str | None, server: str) -> None:
        """Call a tool, once."""
        self._record(
            user,
            lambda text, **options: self.manager.call_tool(
                server, "echo", {"text": text}, user=user, **options
            ),
            self._options(chance),
        )

    def lease(self, chance: random.Random, user: str | None, server: str) -> None:
        """Borrow a connection and call over it."""
        bound = self.not_before[str(user), server]
        with self.manager.connection(server, user=user, timeout=PATIENCE) as connection:
            self._check(connection, user, bound)
            for _ in range(chance.randrange(3)):
                self._record(
                    user,
                    lambda text, **options: connection.call_tool("echo", {"text": text}, **options),
                    self._options(chance),
                    borrowed=True,
                )

    def force_new(self, chance: random.Random, user: str | None, server: str) -> None:
        """Have a connection replaced: what one gets was made after one asked."""
        if user is not None:
            began = time.time()
            made = self.manager.get_user_connection(
                server, user=user, force_new=True, timeout=PATIENCE
            )
            self._check(made, user, began)

    def disconnect_one(self, _: random.Random, user: str | None, server: str) -> None:
        """Disconnect a user from a server: nothing older is handed out from then on."""
        if user is not None:
            began = time.time()
            self.manager.disconnect_user_connection(user, server)
            self._forbid(began, (user, server))

    def disconnect_user(self, _: random.Random, user: str | None, __: str) -> None:
        """Disconnect a user from everything."""
        if user is not None:
            began = time.time()
            self.manager.disconnect_user_connections(user)
            self._forbid(began, *((user, server) for server in SERVERS))

    def sweep(self, _: random.Random, user: str | None, __: str) -> None:
        """Close what is idle, which after a hundredth of a second everything is."""
        self.manager.check_idle_connections(user)

    def update(self, _: random.Random, __: str | None, server: str) -> None:
        """Change the configuration: what was made from the old one is stale."""
        config = {"url": self.server.url, "headers": {"X-Revision": str(next(self._revisions))}}
        self.manager.registry.update_server(server, config)

    def tools(self, _: random.Random, user: str | None, server: str) -> None:
        """Ask for the tools: all of them, or none."""
        functions = self.manager.get_server_tool_functions(user, server, timeout=PATIENCE)
        assert functions is None or len(functions) == 8, functions

    def look(self, _: random.Random, user: str | None, __: str) -> None:
        """Look at the statistics: never is anything below nothing."""
        stats = self.manager.stats()
        assert all(value >= 0 for value in stats.values() if isinstance(value, int)), stats
        assert stats["leased_connections"] <= THREADS
        repr(self.manager)

    # -- what misbehaves ----------------------------------------------------------------------

    def torment(self) -> None:
        """Be the server's bad luck until the threads are done."""
        chance = random.Random(f"{self._seed}/torment")
        while not self.done.wait(0.004):
            method = chance.choice(list(FAULTS))
            self.server.inject(chance.choice(FAULTS[method]), method=method)
            if chance.random() < 0.1:
                self.server.expire_sessions()
            if chance.random() < 0.1:
                self.server.drop_idle_connections()
            if chance.random() < 0.5:
                self.server.release()
            while self.doomed and chance.random() < 0.7:
                self.doomed.pop().cancel()

    # -- what must hold -----------------------------------------------------------------------

    def _options(self, chance: random.Random) -> dict[str, Any]:
        options: dict[str, Any] = {"timeout": chance.choice((0.05, 0.3, PATIENCE, PATIENCE))}
        if chance.random() < 0.1:
            options["cancel"] = Cancellation()
            self.doomed.append(options["cancel"])
        return options

    def _record(
        self,
        user: str | None,
        invoke: Callable[..., Any],
        options: dict[str, Any],
        *,
        borrowed: bool = False,
    ) -> None:
        text = f"{user}/{next(self._numbers)}"
        if borrowed:
            self.under_way.add(text)
        try:
            result = invoke(text, headers={"X-User": str(user)}, **options)
        except MCPSyncError as error:
            self.outcomes.append((text, error))
        else:
            assert result.content[0].text == text, "the answer to another call"
            self.outcomes.append((text, None))

    def _check(self, connection: Any, user: str | None, not_before: float) -> None:
        assert connection.user_id == user
        assert connection.created_at >= not_before, "made before a disconnect that was over"

    def _forbid(self, began: float, *keys: tuple[str, str]) -> None:
        for key in keys:
            self.not_before[key] = max(began, self.not_before[key])

    def run(self) -> None:
        """Let the threads loose, then check that all is well again."""
        barrier = threading.Barrier(THREADS)
        tormentor = threading.Thread(target=self.torment)
        tormentor.start()
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                for future in [pool.submit(self.work, n, barrier) for n in range(THREADS)]:
                    future.result(2 * PATIENCE)
        finally:
            self.done.set()
            tormentor.join(PATIENCE)
            self.server.clear_faults()

    def check_calls(self) -> None:
        """No call was run twice, what returned was run, and errors told the truth."""
        executed = self.witness.executed
        assert [text for text, times in executed.items() if times > 1] == [], "run twice"
        assert len({text for text, _ in self.outcomes}) == len(self.outcomes)
        for text, error in self.outcomes:
            if error is None:
                assert executed[text] == 1, f"{text} was answered, and not run"
            elif not error.maybe_executed:
                assert executed[text] == 0, f"{text} was run, and {error!r} says that it was not"
            # Who waits for a connection may be told that its user was disconnected. What is under
            # way on one is never cut: not by a sweep, a disconnect, or a new configuration.
            if isinstance(error, ConnectionClosed):
                assert text not in self.under_way, f"{text} was cut"
                assert not error.maybe_executed, f"{text} was cut"

    def check_users(self) -> None:
        """No user was in the session of another, or sent a header or cookie of another."""
        witness = self.witness
        assert witness.wrong == []
        shared = {**witness.sessions, **witness.cookies}
        assert {each: users for each, users in shared.items() if len(users) > 1} == {}

    def check_recovery(self) -> None:
        """Once the server behaves, everybody is served."""
        for server in SERVERS:
            self.manager.clear_cooldown(server)
            for user in USERS:
                self.call(Calm(), user, server)
        last = self.outcomes[-len(SERVERS) * len(USERS) :]
        assert [error for _, error in last if error is not None] == []

    def check_end(self, goodbyes_lost: Callable[[], int]) -> None:
        """Nothing is left once the manager is closed: here, and at the server.

        But for a goodbye that met a socket which the server was just closing.
        """
        self.manager.close(timeout=PATIENCE)
        stats = self.manager.stats()
        assert {name: n for name, n in stats.items() if isinstance(n, int) and n} == {}
        left = dict.fromkeys(self.server.open_sessions, "")
        for request in self.server.requests:
            if request.session_id in left:  # a session that we were never told of is in no request
                left[request.session_id] += f" {request.rpc_method or request.http_method}"
        left = {session: seen for session, seen in left.items() if seen}
        assert len(left) <= goodbyes_lost(), left


DEEDS: dict[Any, int] = {
    World.call: 40,
    World.lease: 20,
    World.force_new: 5,
    World.disconnect_one: 5,
    World.disconnect_user: 3,
    World.sweep: 4,
    World.update: 1,
    World.tools: 6,
    World.look: 4,
}


@pytest.fixture
def goodbyes_lost(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """How many sessions could not be deleted so far: there is a line of the log for each."""
    caplog.set_level("DEBUG", streamable_http_legacy.logger.name)
    return lambda: sum("was not deleted" in record.msg for record in caplog.records)


def run(era: Any, seed: int, goodbyes_lost: Callable[[], int], **options: Any) -> World:
    """Run the world, and check whatever holds with any breaker."""
    options = {"idle_timeout": 0.01, "trust_timeout": 0.02, "connect_backoff": 0.001, **options}
    with LocalServer(era, set_cookie="node=n{n}") as server:
        servers = {name: {"url": server.url} for name in SERVERS}
        with MCPManager(servers, timeout=PATIENCE, **options) as manager:
            world = World(server, manager, seed)
            world.run()
            world.check_users()
            world.check_recovery()
            world.check_end(goodbyes_lost)
        assert server.violations == []
    world.check_calls()
    return world


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_promises_are_kept_whatever_happens(
    era: str, seed: int, goodbyes_lost: Callable[[], int]
) -> None:
    world = run(era, seed, goodbyes_lost, breaker=LENIENT)
    outcomes = Counter(type(error).__name__ for _, error in world.outcomes)
    assert outcomes["NoneType"], f"no call came through, so little was tried: {outcomes}"


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_promises_are_kept_with_a_breaker_that_opens(
    era: str, goodbyes_lost: Callable[[], int]
) -> None:
    world = run(era, 7, goodbyes_lost)
    for error in (*world.errors, *(error for _, error in world.outcomes)):
        if isinstance(error, CircuitOpen):
            assert not error.maybe_executed
            assert error.retry_after is not None
