"""What tests of signing in by way of a manager share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcpsync.session.opening import eras
from support.authority import Authority


@pytest.fixture
def nothing_is_known() -> Iterator[None]:
    """No server's era is remembered from an earlier test."""
    eras.reset()
    yield
    eras.reset()


@pytest.fixture(params=["legacy", "modern"])
def authority(request: pytest.FixtureRequest) -> Iterator[Authority]:
    with Authority(era=request.param) as authority:
        yield authority
        assert authority.mcp.violations == []


@pytest.fixture
def one() -> Iterator[Authority]:
    with Authority() as authority:
        yield authority
