"""``python -m green HOW``: greenlets call tools at once. HOW the program then exits.

What it saw goes to standard output as JSON.
"""

import json
import os
import signal
import sys
import time
from typing import Any

import gevent
import patched_first  # noqa: F401 - patches; the library is imported after it
from gevent.event import Event

import mcpsync

URL = os.environ["MCP_URL"]
LOCAL = {
    "command": sys.executable,
    "args": ["-m", "mcpsync.testing", "--stdio"],
    "env": {"PYTHONPATH": os.environ["PYTHONPATH"]},
}
manager = mcpsync.MCPManager({"remote": {"url": URL}, "local": LOCAL}, timeout=20)


def session_of(user: str) -> str:
    """Call a tool as *user*, and return the session that the call came with."""
    found: Any = manager.call_tool("remote", "whoami", user=user).structured_content
    return str(found["session"])


def add(server: str, number: int) -> int:
    """Call another tool."""
    found: Any = manager.call_tool(server, "add", {"a": number, "b": 1}, user="ada")
    return int(found.structured_content["sum"])


def run(calls: list[Any]) -> list[Any]:
    """Make calls at once, and return what they return."""
    jobs = [gevent.spawn(*call) for call in calls]
    gevent.joinall(jobs, raise_error=True)
    return [job.value for job in jobs]


def slowly(seconds: float, **options: Any) -> str:
    """Call a tool that takes its time, and say how that ended."""
    try:
        manager.call_tool("remote", "slow", {"seconds": seconds}, user="ada", **options)
    except mcpsync.MCPSyncError as error:
        return type(error).__name__
    return "done"


def patience() -> dict[str, Any]:
    """Have calls end early, each in its own way, while others go on."""
    cancel = mcpsync.Cancellation()
    begun = time.monotonic()
    jobs = [
        gevent.spawn(slowly, 60, timeout=0.3),
        gevent.spawn(slowly, 60, cancel=cancel),
        gevent.spawn(slowly, 0.5),
    ]
    sums = run([(add, "remote", n) for n in range(20)])
    gevent.spawn_later(0.2, cancel.cancel)
    gevent.joinall(jobs)
    return {
        "ended": [job.value for job in jobs],
        "sums": sums,
        "seconds": time.monotonic() - begun,
    }


def swept() -> bool:
    """Whether the sweeper closes what is idle, on a greenlet of its own."""
    ended = Event()

    def on_event(event: Any) -> None:
        if type(event).__name__ == "SweepFinished":
            ended.set()

    with mcpsync.MCPManager({"remote": {"url": URL}}, idle_timeout=0.1, on_event=on_event) as own:
        own.call_tool("remote", "echo", {"text": "one"}, user="ada")
        return bool(ended.wait(10))


def main() -> None:
    """Do it all, say what came of it, and exit with connections open."""
    at_once = time.monotonic()
    run([(slowly, 0.3) for _ in range(50)])
    seen = {
        "fifty": time.monotonic() - at_once,
        "sessions": [sorted(set(run([(session_of, user)] * 100))) for user in ("ada", "bob")],
        "local": run([(add, "local", n) for n in range(50)]),
        "patience": patience(),
        "swept": swept(),
    }
    sys.stdout.write(json.dumps(seen) + "\n")
    sys.stdout.flush()
    if sys.argv[1] == "signal":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        manager.call_tool("remote", "slow", {"seconds": 60}, user="ada")
    if sys.argv[1] == "daemon":
        gevent.spawn(slowly, 60)
        gevent.sleep(0)


if __name__ == "__main__":
    main()
