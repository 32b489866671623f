"""What the tests of the seed's behaviour ask again and again."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from mcpsync import MCPManager, MCPSyncError
from mcpsync._runtime.deadline import Deadline
from mcpsync.testing import LocalServer
from mcpsync.transports.base import CallScope
from support.threads import wait_until


def manager_of(server: LocalServer, config: dict[str, Any] | None = None, **options: Any) -> Any:
    """A manager with one server, ``crm``, that tries again without waiting for long."""
    options.setdefault("connect_backoff", 0.01)
    return MCPManager({"crm": {"url": server.url, **(config or {})}}, **options)


def kinds(told: list[Any]) -> list[str]:
    """The classes of the events, in order."""
    return [type(event).__name__ for event in told]


def closed(told: list[Any]) -> list[tuple[str | None, str, str]]:
    """Which connections were closed, and why."""
    events = [event for event in told if type(event).__name__ == "ConnectionClosed"]
    return [(event.user_id, event.server_name, event.reason) for event in events]


def methods(server: LocalServer) -> list[str]:
    """The JSON-RPC methods that came, or the HTTP method where there was none."""
    return [request.rpc_method or request.http_method for request in server.requests]


def ordered(server: LocalServer, *wanted: str) -> list[str]:
    """Those of the methods that are wanted, in the order in which they came."""
    return [method for method in methods(server) if method in wanted]


def soon(seconds: float = 10.0) -> CallScope:
    """A call that may take so long."""
    return CallScope(Deadline(seconds))


def raised(call: Callable[[], Any]) -> MCPSyncError:
    """The error that a call raises; it has to raise one of ours."""
    try:
        result = call()
    except MCPSyncError as error:
        return error
    raise AssertionError(f"no error but {result!r}")


def count(told: list[Any], kind: str) -> int:
    """How many events of a kind there were."""
    return kinds(told).count(kind)


def wait_for_hanging(server: LocalServer, how_many: int = 1) -> None:
    """Wait until so many answers hang."""
    assert server.wait_for(lambda server: server.hanging == how_many), "no answer hangs"


def wait_for_joiners(told: list[Any], how_many: int) -> None:
    """Wait until so many callers wait for another one's connection."""
    wait_until(lambda: count(told, "ConnectionJoined") == how_many, f"{how_many} joiners")


def port_of(server: LocalServer) -> int:
    """The port that a server listens on."""
    port = urlsplit(server.url).port
    assert port is not None
    return port
