"""The official SDK's client, driven from blocking code by a loop thread, in a process of its own.

It runs in the benchmark's own virtual environment with ``mcp`` and nothing else, so it imports
only those neighbours that need nothing. Commands come as JSON lines on standard input; every
answer is one JSON line on standard output.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

from mcp import Client  # type: ignore[import-not-found, unused-ignore]

from footprint import footprint, growth
from timing import run_block, run_storm

TIMEOUT = 60.0
ARGUMENTS = {"text": "hello world"}


class Loop:
    """An event loop on a thread, as people who must call the SDK from Flask keep one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run *coroutine* on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT)


class Held:
    """One client, entered and left by one task, because the SDK's scopes want that."""

    def __init__(self, loop: Loop, url: str, mode: str) -> None:
        self._loop = loop
        self._url, self._mode = url, mode
        self._ready: asyncio.Future[Any] | None = None
        self._stop: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self.client: Any = loop.run(self._enter())

    async def _enter(self) -> Any:
        self._ready = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._hold(self._ready, self._stop))
        return await self._ready

    async def _hold(self, ready: asyncio.Future[Any], stop: asyncio.Event) -> None:
        try:
            async with Client(self._url, mode=self._mode) as client:
                ready.set_result(client)
                await stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _leave(self) -> None:
        assert self._stop is not None
        assert self._task is not None
        self._stop.set()
        await self._task

    def call(self) -> None:
        """Make one tool call and check the answer."""
        result = self._loop.run(self.client.call_tool("echo", ARGUMENTS))
        if result.content[0].type != "text":
            raise AssertionError(f"not the canned answer: {result!r}")

    def close(self) -> None:
        """Leave the client's scope."""
        self._loop.run(self._leave())


class Worker:
    """Carries out one command at a time."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._held: Held | None = None

    def open(self, url: str, mode: str, warm_up: int) -> dict[str, Any]:
        """Connect and warm up."""
        self._held = Held(self._loop, url, mode)
        for _ in range(warm_up):
            self._held.call()
        return {"version": version("mcp")}

    def block(self, calls: int) -> dict[str, Any]:
        """Time *calls* sequential calls."""
        block = run_block(self._open_client().call, calls)
        return {"seconds": block.seconds, "cpu": block.cpu}

    def storm(self, threads: int, each: int) -> dict[str, Any]:
        """Time *each* calls from each of *threads* threads."""
        storm = run_storm(self._open_client().call, threads, each)
        return {"calls": storm.calls, "seconds": storm.seconds}

    def connect(self, urls: list[str], mode: str) -> dict[str, Any]:
        """Time a new client with its first call, for each of *urls*."""
        seconds = []
        for url in urls:
            started = time.perf_counter()
            held = Held(self._loop, url, mode)
            held.call()
            seconds.append(time.perf_counter() - started)
            held.close()
        return {"seconds": seconds}

    def idle(self, url: str, mode: str, connections: int) -> dict[str, Any]:
        """Open *connections* clients, one call each, and count what they keep."""
        warm = Held(self._loop, url, mode)
        warm.call()
        warm.close()
        before = footprint()
        kept = []
        for _ in range(connections):
            kept.append(Held(self._loop, url, mode))
            kept[-1].call()
        return growth(before)

    def close(self) -> dict[str, Any]:
        """Close the client that :meth:`open` opened."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
        return {}

    def _open_client(self) -> Held:
        if self._held is None:
            raise RuntimeError("not open")
        return self._held


def main() -> None:
    """Answer commands until standard input ends."""
    logging.disable(logging.WARNING)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        action: Callable[..., dict[str, Any]] = getattr(worker, command.pop("do"))
        try:
            answer = action(**command)
        except Exception as error:  # noqa: BLE001 - told to the parent, which prints it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    os._exit(0)  # daemon threads with an event loop make the interpreter's own end noisy


if __name__ == "__main__":
    main()
