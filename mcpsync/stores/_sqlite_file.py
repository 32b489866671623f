"""One SQLite file, and connections to it, for the threads and processes of a machine."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .._runtime.backoff import pause
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child, notice_fork
from .._runtime.locks import assert_none_held
from ..errors import StoreError

BUSY: Final = 10.0  # seconds to wait for other processes' writes
RETRY: Final = 0.01  # seconds until a file that others are just opening is tried again
IDLE: Final = 4  # connections kept for the next threads


class SQLiteFile:
    """Lends connections to a file, which is made for its owner only if it is not there.

    Thread-safe. Every write is on the disk when its transaction is over.

    Args:
        path: The file.
        schema: SQL that makes what is not there yet.

    Raises:
        StoreError: The file cannot be made or is no database.
    """

    def __init__(self, path: str | os.PathLike[str], schema: str) -> None:
        self._path = Path(path)
        self._idle: deque[sqlite3.Connection] = deque()
        self._parents: list[deque[sqlite3.Connection]] = []
        with self.lend() as connection:
            connection.executescript(schema)
        after_fork_in_child(self._forget)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection in a transaction that nobody else writes beside."""
        with self.lend() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; what goes wrong with it becomes a ``StoreError``."""
        assert_none_held("using the store")
        notice_fork()
        connection = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._opened()
            yield connection
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
                connection = None
            raise StoreError(f"the store {self._path.name} cannot be used: {error}.") from error
        except UnicodeEncodeError:
            raise StoreError(
                f"the store {self._path.name} keeps no halves of characters."
            ) from None
        finally:
            if connection is not None:
                self._give_back(connection)

    def close(self) -> None:
        """Close the connections that nobody has. The file is opened again when it is used."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < IDLE and not connection.in_transaction:
            self._idle.append(connection)
        else:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            _turn_to_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _forget(self) -> None:
        """Leave the parent's connections alone: closing one here would end the parent's locks."""
        self._parents.append(self._idle)
        self._idle = deque()


def is_text(value: str) -> bool:
    """Whether *value* can be asked for: JSON can have halves of characters, SQLite cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    """Have the file written ahead. Whoever is first does it, and SQLite has the others not wait."""
    deadline = Deadline(BUSY)
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or deadline.expired:
                raise
            pause(RETRY, deadline)
        else:
            return
