"""A store in one SQLite file, for the processes of one machine."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .._runtime.clock import Clock, SystemClock
from ._sqlite_file import SQLiteFile
from .base import Entry, check_key, check_value
from .sealing import Keys, Sealer

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, until REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_until ON entries (until) WHERE until IS NOT NULL;
CREATE TABLE IF NOT EXISTS locks (
    name TEXT PRIMARY KEY, token INTEGER NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS numbers (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL);
INSERT OR IGNORE INTO numbers VALUES (1, 0);
"""


class SQLiteStore:
    """Keeps everything in one file, which many processes of one machine may use at a time.

    The file is made if it is not there, for its owner only. It must not be on a network drive,
    where SQLite's locks do not hold. Every write is on the disk when the method returns.

    Args:
        path: The file.
        key: What values are encrypted with, see :func:`new_key`; several to rotate, the first
            encrypts.
        clock: Tells the time; its wall clock is that of all processes.

    Raises:
        StoreError: The file cannot be made or is no database.
        ConfigurationError: The key is none.
    """

    is_shared = True

    def __init__(
        self, path: str | os.PathLike[str], *, key: Keys = None, clock: Clock | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._sealer = Sealer(key, f"The file {Path(path).name}")
        self._file = SQLiteFile(path, _SCHEMA)

    def get(self, key: str) -> Entry | None:
        """See :meth:`Store.get`."""
        check_key(key)
        with self._file.lend() as connection:
            row = connection.execute(
                "SELECT value, version FROM entries WHERE key = ? AND (until IS NULL OR until > ?)",
                (key, self._clock.time()),
            ).fetchone()
        return None if row is None else Entry(self._sealer.open(key, row[0]), row[1])

    def set(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """See :meth:`Store.set`."""
        check_key(key)
        check_value(value, ttl)
        with self._file.writing() as connection:
            return self._put(connection, key, value, ttl)

    def compare_and_set(
        self, key: str, version: int | None, value: bytes, ttl: float | None = None
    ) -> int | None:
        """See :meth:`Store.compare_and_set`."""
        check_key(key)
        check_value(value, ttl)
        with self._file.writing() as connection:
            if self._version(connection, key) != version:
                return None
            return self._put(connection, key, value, ttl)

    def delete(self, key: str, version: int | None = None) -> bool:
        """See :meth:`Store.delete`."""
        check_key(key)
        with self._file.writing() as connection:
            found = self._version(connection, key)
            if found is None or version not in (None, found):
                return False
            connection.execute("DELETE FROM entries WHERE key = ?", (key,))
            return True

    def take(self, key: str) -> bytes | None:
        """See :meth:`Store.take`."""
        check_key(key)
        with self._file.writing() as connection:
            row = connection.execute(
                "SELECT value FROM entries WHERE key = ? AND (until IS NULL OR until > ?)",
                (key, self._clock.time()),
            ).fetchone()
            connection.execute("DELETE FROM entries WHERE key = ?", (key,))
        return None if row is None else self._sealer.open(key, row[0])

    def acquire(self, name: str, lease: float) -> int | None:
        """See :meth:`Store.acquire`."""
        check_key(name)
        now = self._clock.time()
        with self._file.writing() as connection:
            held = connection.execute(
                "SELECT 1 FROM locks WHERE name = ? AND until > ?", (name, now)
            ).fetchone()
            if held is not None:
                return None
            token = _number(connection)
            connection.execute("DELETE FROM locks WHERE until <= ?", (now,))
            connection.execute("INSERT INTO locks VALUES (?, ?, ?)", (name, token, now + lease))
            return token

    def extend(self, name: str, token: int, lease: float) -> bool:
        """See :meth:`Store.extend`."""
        now = self._clock.time()
        with self._file.writing() as connection:
            done = connection.execute(
                "UPDATE locks SET until = ? WHERE name = ? AND token = ? AND until > ?",
                (now + lease, name, token, now),
            )
            return done.rowcount > 0

    def release(self, name: str, token: int) -> bool:
        """See :meth:`Store.release`."""
        with self._file.writing() as connection:
            done = connection.execute(
                "DELETE FROM locks WHERE name = ? AND token = ? AND until > ?",
                (name, token, self._clock.time()),
            )
            return done.rowcount > 0

    def close(self) -> None:
        """See :meth:`Store.close`. A closed store opens the file again when it is used."""
        self._file.close()

    def _version(self, connection: sqlite3.Connection, key: str) -> int | None:
        row = connection.execute(
            "SELECT version FROM entries WHERE key = ? AND (until IS NULL OR until > ?)",
            (key, self._clock.time()),
        ).fetchone()
        return None if row is None else int(row[0])

    def _put(
        self, connection: sqlite3.Connection, key: str, value: bytes, ttl: float | None
    ) -> int:
        now = self._clock.time()
        version = _number(connection)
        connection.execute("DELETE FROM entries WHERE until <= ?", (now,))
        connection.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
            (key, self._sealer.seal(key, value), version, None if ttl is None else now + ttl),
        )
        return version


def _number(connection: sqlite3.Connection) -> int:
    """Return the next number: larger than every one before it, in every process."""
    connection.execute("UPDATE numbers SET last = last + 1")
    row = connection.execute("SELECT last FROM numbers").fetchone()
    return int(row[0])
