"""What tests of signing in by way of a manager share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.authority import Authority


@pytest.fixture(params=["legacy", "modern"])
def authority(request: pytest.FixtureRequest) -> Iterator[Authority]:
    with Authority(era=request.param) as authority:
        yield authority
        assert authority.mcp.violations == []


@pytest.fixture
def one() -> Iterator[Authority]:
    with Authority() as authority:
        yield authority
