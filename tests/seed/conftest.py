"""What the tests of the seed's behaviour share: a server, a clock, and what was told."""

from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import MCPManager
from mcpsync.testing import FakeClock, LocalServer
from seed.things import manager_of


@pytest.fixture(params=["legacy", "modern"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(era=request.param) as server:
        yield server
        server.clear_faults()
        assert server.violations == []


@pytest.fixture
def legacy() -> Iterator[LocalServer]:
    with LocalServer(era="legacy") as server:
        yield server
        server.clear_faults()
        assert server.violations == []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def manager(server: LocalServer, clock: FakeClock, told: list[Any]) -> Iterator[MCPManager]:
    with manager_of(server, clock=clock, on_event=told.append) as manager:
        yield manager
