"""The servers, shared by all tests that do not kill them; and clients."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mcpsync
from support.counterparts import Counterpart, Kind, http_server
from support.matrix import TABLE
from support.processes import ServerProcess

ServerFor = Callable[[Kind], ServerProcess]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this directory has the marks `real` and `once`.

    What other people's servers do is the same whatever Python asks them. What we do with sockets,
    processes and threads is said with our own server, and with every Python.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.real)
            item.add_marker(pytest.mark.once)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of servers and steps."""
    if lines := TABLE.lines():
        terminalreporter.section("servers that somebody else wrote")
        for line in lines:
            terminalreporter.write_line(line.rstrip())


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFor]:
    running: dict[tuple[str, ...], ServerProcess] = {}
    logs = tmp_path_factory.mktemp("servers")

    def server_for(kind: Kind) -> ServerProcess:
        if kind.process_key not in running:
            log = logs / f"{'-'.join(kind.process_key)}.log"
            running[kind.process_key] = http_server(kind, log).start()
        return running[kind.process_key]

    yield server_for
    for server in running.values():
        server.stop()


@pytest.fixture(scope="session")
def counterpart(
    kind: Kind, _servers: ServerFor, tmp_path_factory: pytest.TempPathFactory
) -> Counterpart:
    """A server that other tests use too; over stdio every client starts its own."""
    folder = None
    if kind.family == "filesystem":
        folder = tmp_path_factory.mktemp("files")
        (folder / "notes.txt").write_text("remember the milk\n", encoding="utf-8")
    return Counterpart(kind, _servers(kind) if kind.transport != "stdio" else None, folder)


@pytest.fixture(scope="session")
def client(counterpart: Counterpart) -> Iterator[mcpsync.Client]:
    """One client for all the tests that only ask: the first of them has connected it."""
    with counterpart.client(timeout=20) as client:
        client.connect()
        yield client


@pytest.fixture
def own_counterpart(kind: Kind, tmp_path: Path) -> Iterator[Counterpart]:
    """A server over HTTP that this test may kill."""
    server = http_server(kind, tmp_path / "server.log").start()
    yield Counterpart(kind, server)
    server.stop()
