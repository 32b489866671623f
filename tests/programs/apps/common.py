"""What every program here does: it makes a manager, uses it, and forks.

The manager is made when this module is imported, in the process that will be the parent, and used
there at once: for the application itself, for a user, and with a server over stdio. Whoever calls
afterwards says who he is in a header, so that the server under test sees all there is to see.
"""

import atexit
import json
import os
import sys
from typing import Any

import mcpsync

PARENT = os.getpid()
STDIO = {
    "command": sys.executable,
    "args": ["-m", "mcpsync.testing", "--stdio"],
    "env": {"PYTHONPATH": os.environ["PYTHONPATH"]},
}
manager = mcpsync.MCPManager(
    {"remote": {"url": os.environ["MCP_URL"], "timeout": 20}, "local": STDIO}, timeout=20
)


def ask(user: str | None = None) -> str:
    """Call the remote server as this process, and return the session that the call came with."""
    me = {"X-User": str(os.getpid())}
    result = manager.call_tool("remote", "whoami", user=user, headers=me)
    return str(_structured(result)["session"])


def child() -> int:
    """Call the server over stdio, and return its process id."""
    return int(_structured(manager.call_tool("local", "environment"))["pid"])


def report() -> dict[str, Any]:
    """Use everything there is, and say what it was."""
    return {"pid": os.getpid(), "sessions": [ask(), ask("ada")], "child": child()}


def _structured(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = result.structured_content
    return found


def note(name: str) -> None:
    """Write a report to the file *name*.PID, which appears whole."""
    path = os.path.join(os.environ["REPORTS"], f"{name}.{os.getpid()}")
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(report(), file)
    os.rename(f"{path}.part", path)


def _still_there() -> None:
    if os.getpid() == PARENT:
        note("end")


def use_in_parent() -> None:
    """Open the parent's connections; when the program ends, use them once more."""
    note("start")
    atexit.register(_still_there)  # later than the library did, so it runs before
