"""Guards around every test, and a line with the counts for whoever adds up several runs."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcpsync._runtime import locks
from support import guards
from support.redis import redis_server

if TYPE_CHECKING:
    from support.leaks import Leaks


def pytest_configure(config: pytest.Config) -> None:
    """Watch sockets and locks from the first import of a test on."""
    loopback = config.stash[guards.LOOPBACK] = guards.Loopback()
    loopback.install()
    locks.check_discipline(True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests that are marked `once` out where MCPSYNC_ONCE says another Python has run them.

    MCPSYNC_ONCE names a file that the first of several runs writes; without it all tests run.
    """
    path, this = os.environ.get("MCPSYNC_ONCE"), sys.version
    if path is None:
        return
    if _first_to_write(Path(path), this) == this:
        return
    gone = [item for item in items if item.get_closest_marker("once")]
    items[:] = [item for item in items if not item.get_closest_marker("once")]
    config.hook.pytest_deselected(items=gone)


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of what the collector goes through while they run."""
    gc.collect()
    gc.freeze()


def _first_to_write(note: Path, text: str) -> str:
    """Write *text* unless somebody has written before; return what stands there."""
    mine = note.with_name(f"{note.name}.{os.getpid()}")
    mine.write_text(text, encoding="utf-8")
    with contextlib.suppress(FileExistsError):
        os.link(mine, note)  # in one step: two runs may begin at the same time
    mine.unlink()
    return note.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(pytestconfig: pytest.Config) -> Iterator[None]:
    before = guards.Snapshot.take()
    yield
    found = guards.leftovers(before) + pytestconfig.stash[guards.LOOPBACK].take_offences()
    if found:
        pytest.fail(f"the test left behind: {', '.join(found)}", pytrace=False)


@pytest.fixture(autouse=True)
def _no_secret_is_told(request: pytest.FixtureRequest) -> None:
    """Have every test that signs somebody in fail if a secret is in a log line or an error.

    Those are all of tests/auth, and those of modules that use one of the authorities.
    """
    if guards.signs_in(request.module):
        request.getfixturevalue("leaks")


@pytest.fixture
def leaks() -> Iterator[Leaks]:
    """What is secret in this test, and what was said of it; see :class:`support.leaks.Leaks`."""
    from support.leaks import Leaks

    found = Leaks()
    with pytest.MonkeyPatch.context() as patch, found.listening(patch):
        yield found
    texts = found.take()
    if texts:
        pytest.fail("a secret is told:\n" + "\n".join(texts), pytrace=False)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the tests' own, for all of them."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Append `passed failed skipped` to the file MCPSYNC_COUNTS, if there is such a variable."""
    path = os.environ.get("MCPSYNC_COUNTS")
    if path is None:
        return
    stats = {key: len(reports) for key, reports in terminalreporter.stats.items()}
    passed = stats.get("passed", 0) + stats.get("xfailed", 0)
    failed = sum(stats.get(key, 0) for key in ("failed", "error", "xpassed"))
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{passed} {failed} {stats.get('skipped', 0)}\n")
