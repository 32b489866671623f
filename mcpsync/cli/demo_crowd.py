"""Many users in many threads, who call tools through one manager."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .._runtime.cancel import Cancellation
from ..config import User
from ..errors import MCPSyncError
from ..manager import MCPManager
from .demo_tally import Tally

SERVER = "demo"
CALL_TIMEOUT = 5.0
THINKING = 0.05  # seconds a thread leaves between two calls, as people and programs do


class Crowd:
    """Threads that call for their users until the ``with`` block ends.

    Args:
        manager: The manager they all share.
        tally: What they tell what they got.
        users: How many users there are.
        threads: How many threads; the users take turns having one more.
    """

    def __init__(self, manager: MCPManager, tally: Tally, users: int, threads: int) -> None:
        self._manager = manager
        self._tally = tally
        self._threads = threads
        self._users = [User(id=f"user-{number:02d}") for number in range(1, users + 1)]
        self._here = threading.Barrier(threads + 1)
        self._stop = threading.Event()
        self._cancel = Cancellation()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have them call within the block; when it is left, the calls under way finish.

        If it is left by an exception, Ctrl-C for instance, they are cancelled.
        """
        with ThreadPoolExecutor(self._threads, "demo-caller") as pool:
            try:
                turns = [pool.submit(self._call, number) for number in range(self._threads)]
                self._here.wait(CALL_TIMEOUT)  # so that all want a connection at once
                yield
            except BaseException:
                self._cancel.cancel("the demo ends")
                raise
            finally:
                self._stop.set()
                self._here.abort()
        for turn in turns:
            turn.result(0)

    def _call(self, number: int) -> None:
        user = self._users[number % len(self._users)]
        try:
            self._here.wait(CALL_TIMEOUT)
        except threading.BrokenBarrierError:
            return
        tools = (self._add, self._whoami, self._counter)
        for turn in itertools.count():
            if self._stop.is_set():
                return
            try:
                tools[turn % len(tools)](user, number * 1_000_000 + turn)
            except MCPSyncError as error:
                self._tally.note_trouble(error)
            self._stop.wait(THINKING)

    def _add(self, user: User, number: int) -> None:
        answer = self._ask(user, "add", {"a": number, "b": 1})
        self._tally.note_sum(number + 1, answer)

    def _whoami(self, user: User, _: int) -> None:
        self._tally.note_whoami(user.id, self._ask(user, "whoami", {}))

    def _counter(self, user: User, _: int) -> None:
        self._tally.note_counter(self._ask(user, "counter", {}))

    def _ask(self, user: User, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = self._manager.call_tool(
            SERVER,
            tool,
            arguments,
            user=user,
            headers={"X-User": user.id},
            timeout=CALL_TIMEOUT,
            cancel=self._cancel,
        )
        answer: dict[str, Any] = result.structured_content or {}
        return answer
