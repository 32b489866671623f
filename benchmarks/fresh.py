"""Measures that need a process nothing else has run in: idle connections and users, TLS, imports.

The parent calls :func:`run`; the child is this file with the task's name and its arguments as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from footprint import footprint, growth

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300.0
IMPORT_TIMEOUT = 60.0
WARM_CLIENTS = 5
STOPWATCH = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def run(task: str, environment: dict[str, str], **arguments: Any) -> Any:
    """Carry out *task* in a new interpreter, with *environment* added, and return what it found.

    Raises:
        RuntimeError: the child failed; the text is the last line it wrote.
    """
    command = [sys.executable, str(Path(__file__)), task, json.dumps(arguments)]
    return json.loads(_run(command, {**os.environ, **environment}, TIMEOUT))


def import_seconds(statement: str, bytecode: str, python: str = sys.executable) -> float:
    """Return how long *statement* takes in a new interpreter with its bytecode in *bytecode*."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    inherited = os.environ.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
    command = [python, "-c", STOPWATCH.format(statement)]
    return float(_run(command, environment, IMPORT_TIMEOUT))


def _run(command: list[str], environment: dict[str, str], timeout: float) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout,
            check=False,
            cwd=tempfile.gettempdir(),
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer in {timeout:.0f} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(lines[-1])
    return done.stdout


def idle(who: str, url: str, era: str, connections: int) -> dict[str, int]:
    """Open *connections* clients, one call each, and tell what all of them keep."""
    from wire import Target  # the parent needs none of this

    target = Target(url, era, "json")
    if who == "mcpsync manager":
        return _idle_users(target, connections)
    make = _maker(who)
    for _ in range(WARM_CLIENTS):
        warm = make(target)
        warm.connect()
        warm.call()
        warm.close()
    before = footprint()
    kept = []
    for _ in range(connections):
        client = make(target)
        client.connect()
        client.call()
        kept.append(client)
    found = growth(before)
    for client in kept:
        client.close()
    return found


def _idle_users(target: Any, connections: int) -> dict[str, int]:
    import mcpsync

    with mcpsync.MCPManager({"bare": {"url": target.url}}) as manager:

        def call(name: str) -> None:
            user = mcpsync.User(id=name)
            manager.call_tool("bare", "echo", {"text": "hello world"}, user=user)

        for number in range(WARM_CLIENTS):
            call(f"warm {number}")
        before = footprint()
        for number in range(connections):
            call(str(number))
        return growth(before)


def https(who: str, era: str, mode: str, new: list[str], known: list[str]) -> dict[str, Any]:
    """Time a new client with its first call, on origins never seen and on one that is known."""
    from wire import Target

    found: dict[str, Any] = {}
    for name, urls in (("new", new), ("known", known)):
        found[name] = []
        for url in urls:
            target = Target(url, era, "json")
            make = _maker(who)
            started = time.perf_counter()
            client = make(target)
            client.connect()
            client.call()
            found[name].append(time.perf_counter() - started)
            client.close()
    return found


def _users(**arguments: Any) -> Any:
    from users import keep_users  # which runs this file for its measures

    return keep_users(**arguments)


def _maker(who: str) -> Callable[[Any], Any]:
    from contenders import McpsyncClient, RequestsByHand

    if who == "requests":
        return RequestsByHand
    return lambda target: McpsyncClient(target, mode=target.mode)


def main() -> None:
    """Be the child: carry out one task and print what it found."""
    sys.path.insert(1, str(ROOT))
    task, arguments = sys.argv[1:]
    tasks: dict[str, Callable[..., Any]] = {"idle": idle, "https": https, "users": _users}
    print(json.dumps(tasks[task](**json.loads(arguments))))


if __name__ == "__main__":
    main()
