"""What the tools of the test server do."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from .call import Call
from .jsonrpc import INVALID_PARAMS, JSONObject, RPCError, encode, notification_message

Function = Callable[[Call, JSONObject], JSONObject]
_ANYTHING: JSONObject = {"type": "object"}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "number": (int, float),
    "integer": (int,),
    "string": (str,),
}


def text_result(text: str, *, is_error: bool = False) -> JSONObject:
    """Build a tool result of one text."""
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def structured_result(content: JSONObject) -> JSONObject:
    """Build a tool result with structured content and the same as text."""
    return {**text_result(encode(content).decode()), "structuredContent": content}


def check_arguments(tool: JSONObject, arguments: JSONObject) -> str | None:
    """Hold *arguments* against the input schema of *tool*; return what is wrong, or None."""
    schema = tool["inputSchema"]
    for name in schema.get("required", ()):
        if name not in arguments:
            return f"{name} is missing"
    for name, value in arguments.items():
        if "properties" not in schema:
            break
        if name not in schema["properties"]:
            return f"{name} is not known"
        problem = _check_value(schema["properties"][name], value)
        if problem is not None:
            return f"{name} {problem}"
    return None


def _check_value(schema: JSONObject, value: object) -> str | None:
    if schema.get("type") not in _PYTHON_TYPES:
        return None
    if isinstance(value, bool) or not isinstance(value, _PYTHON_TYPES[schema["type"]]):
        return f"must be of type {schema['type']}"
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of {', '.join(schema['enum'])}"
    if "minimum" in schema and isinstance(value, int | float) and value < schema["minimum"]:
        return f"must be at least {schema['minimum']}"
    return None


class Tools:
    """The tools that *catalogue* names; safe to call from many threads.

    Lock: _lock guards _counts, _announcements.
    """

    def __init__(
        self,
        catalogue: tuple[JSONObject, ...],
        count: Callable[[str], int],
        more: Mapping[str, Function] | None = None,
    ) -> None:
        self._own = {tool["name"]: tool for tool in catalogue}
        self._offered: dict[str, JSONObject] | None = self._own  # swapped whole
        self._announcements = 0
        self._count = count
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.grandchild_pid: int | None = None
        self._functions: dict[str, Function] = {
            **(more or {}),
            "add": _add,
            "echo": _echo,
            "slow": _slow,
            "fail": _fail,
            "log": _log,
            "big": _big,
            "whoami": _whoami,
            "counter": self._counter,
            "environment": _environment,
            "grandchild": self._grandchild,
        }

    @property
    def catalogue(self) -> tuple[JSONObject, ...] | None:
        """What is offered now; None if the server does not know the word."""
        offered = self._offered
        return None if offered is None else tuple(offered.values())

    def offer(self, tools: Iterable[str | JSONObject] | None) -> None:
        """Offer other tools from now on.

        Args:
            tools: Names of tools there are, and new ones as JSON objects.

        Raises:
            ValueError: There is no tool of a name.
        """
        if tools is None:
            self._offered = None
            return
        known = {**self._own, **(self._offered or {})}
        offered: dict[str, JSONObject] = {}
        for tool in tools:
            if isinstance(tool, str) and tool not in known:
                raise ValueError(f"there is no tool {tool!r}")
            found = known[tool] if isinstance(tool, str) else {"inputSchema": _ANYTHING, **tool}
            offered[found["name"]] = found
        self._offered = offered

    def define(self, name: str, function: Callable[[Call, JSONObject], JSONObject]) -> None:
        """Let a tool of the catalogue do something of its own."""
        self._functions[name] = function

    def announce_change(self, times: int) -> None:
        """Have the next call send so many notifications that the tools have changed."""
        with self._lock:
            self._announcements += times

    def run(self, call: Call) -> JSONObject:
        """Carry out a ``tools/call``.

        Raises:
            RPCError: There is no such tool, or the arguments are no object.
            CallCancelled: The caller has cancelled or gone away.
        """
        self._announce(call)
        name = call.params.get("name")
        arguments = call.params.get("arguments", {})
        offered = self._offered or {}
        if not isinstance(name, str) or name not in offered:
            raise RPCError(INVALID_PARAMS, f"Unknown tool: {name}")
        if not isinstance(arguments, dict):
            raise RPCError(INVALID_PARAMS, "Invalid params: arguments must be an object")
        problem = check_arguments(offered[name], arguments)
        if problem is not None:
            return text_result(f"Invalid arguments for tool {name}: {problem}", is_error=True)
        self._count(name)
        return self._functions.get(name, _any)(call, arguments)

    def _announce(self, call: Call) -> None:
        with self._lock:
            times, self._announcements = self._announcements, 0
        for _ in range(times):
            call.channel.send(notification_message("notifications/tools/list_changed", {}))

    def _counter(self, call: Call, _: JSONObject) -> JSONObject:
        with self._lock:
            self._counts[call.identity.key] += 1
            count, total = self._counts[call.identity.key], self._counts.total()
        return structured_result({"count": count, "total": total})

    def _grandchild(self, _: Call, __: JSONObject) -> JSONObject:
        return structured_result({"pid": self.grandchild_pid})


def _add(_: Call, arguments: JSONObject) -> JSONObject:
    total = arguments["a"] + arguments["b"]
    return {**text_result(str(total)), "structuredContent": {"sum": total}}


def _echo(_: Call, arguments: JSONObject) -> JSONObject:
    return text_result(arguments["text"])


def _any(call: Call, _: JSONObject) -> JSONObject:
    return text_result(f"{call.params['name']} was called")


def _slow(call: Call, arguments: JSONObject) -> JSONObject:
    seconds, steps = arguments["seconds"], arguments.get("steps", 5)
    for step in range(1, steps + 1):
        call.pause(seconds / steps)
        call.progress(step, steps, f"step {step} of {steps}")
    return text_result(f"waited {seconds} s in {steps} steps")


def _fail(_: Call, arguments: JSONObject) -> JSONObject:
    return text_result(arguments["message"], is_error=True)


def _log(call: Call, arguments: JSONObject) -> JSONObject:
    call.log(arguments["level"], arguments["message"])
    return text_result("logged")


def _big(_: Call, arguments: JSONObject) -> JSONObject:
    return text_result("x" * arguments["bytes"])


def _whoami(call: Call, _: JSONObject) -> JSONObject:
    who = call.identity
    return structured_result(
        {
            "authorization": who.authorization,
            "user": who.user,
            "cookie": who.cookie,
            "session": who.session,
        }
    )


def _environment(_: Call, __: JSONObject) -> JSONObject:
    return structured_result({"keys": sorted(os.environ), "cwd": os.getcwd(), "pid": os.getpid()})
