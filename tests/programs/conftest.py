"""A server of before 2026, whose sessions somebody has to end, and a program that calls it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mcpsync
from mcpsync.testing import LocalServer
from programs.running import Program
from support import counterparts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this directory has the mark `real`, and needs processes that fork."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.real)
            item.add_marker(
                pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
            )


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer("legacy") as running:
        yield running


@pytest.fixture
def program_of(server: LocalServer, tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Make a program of an environment, with the library that is tested on its path."""
    made: list[Program] = []
    library = tmp_path / "library"
    library.mkdir()
    (library / "mcpsync").symlink_to(Path(mcpsync.__file__).parent)

    def make(family: str) -> Program:
        python = Path(counterparts.obtain(family)[0])
        folder = tmp_path / family
        folder.mkdir()
        made.append(Program(python, folder, library, server))
        return made[-1]

    yield make
    for program in made:
        program.kill()
