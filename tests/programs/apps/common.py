"""What every program here does: it makes a manager and a client, uses them, and only then forks.

They are made when this module is imported. Who calls says in a header which process he is,
so that the server under test sees all there is to see; what only the process itself can know, it
writes to a file.
"""

import atexit
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import mcpsync

PARENT = os.getpid()
REPORTS = Path(os.environ["REPORTS"])
manager = mcpsync.MCPManager(
    {
        "remote": {"url": os.environ["MCP_URL"]},
        "local": {
            "command": sys.executable,
            "args": ["-m", "mcpsync.testing", "--stdio"],
            "env": {"PYTHONPATH": os.environ["PYTHONPATH"]},
        },
    },
    timeout=20,
)
client = mcpsync.Client(os.environ["MCP_URL"], timeout=20)


def report() -> dict[str, Any]:
    """Use every kind of connection, and say whose they are."""
    me = {"X-User": str(os.getpid())}
    remote: list[Any] = [
        manager.call_tool("remote", "whoami", headers=me),
        manager.call_tool("remote", "whoami", headers=me, user="ada"),
        client.call_tool("whoami", headers=me),
    ]
    local: Any = manager.call_tool("local", "environment")
    return {
        "pid": os.getpid(),
        "sessions": [result.structured_content["session"] for result in remote],
        "stdio": local.structured_content["pid"],
    }


def note(name: str) -> None:
    """Write a report to the file *name*.PID, which appears as a whole."""
    text = json.dumps(report())
    part = REPORTS / f".{name}.{os.getpid()}"
    part.write_text(text, encoding="utf-8")
    part.rename(REPORTS / f"{name}.{os.getpid()}")


def meet(name: str, others: int) -> None:
    """Wait until so many processes have written a report, so that none does the work of two."""
    give_up = time.monotonic() + 20
    while len(list(REPORTS.glob(f"{name}.*"))) < others:
        if time.monotonic() > give_up:
            raise TimeoutError(f"fewer than {others} wrote a report")
        time.sleep(0.01)


def use_in_parent() -> None:
    """Open the parent's connections, and use them once more when it exits."""
    note("start")

    def once_more() -> None:
        if os.getpid() == PARENT:
            note("end")

    atexit.register(once_more)  # later than the library did, so it runs before
