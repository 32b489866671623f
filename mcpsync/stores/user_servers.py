"""Servers that users have added themselves: the application's database of them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from .._runtime.clock import Clock, SystemClock
from ..errors import ConfigurationError, StoreError
from ._sqlite_file import SQLiteFile, is_text
from .sealing import Keys, Sealer

EVERYBODY: Final = "*"  # whom a server is shared with that is everybody's


@dataclass(frozen=True, slots=True)
class UserServer:
    """A server that a user has added.

    Args:
        db_id: Which entry it is. No other ever has the same.
        name: What it is called. No two entries are called the same.
        author: The id of the user who added it.
        config: What its configuration was written as. It may hold secrets, so it is in no repr.
        updated_at: When it was changed last, in seconds since the epoch.
        editable: Whether whoever asked may change it.
    """

    db_id: str
    name: str
    author: str
    config: Mapping[str, Any]
    updated_at: float
    editable: bool = False

    def __repr__(self) -> str:
        return f"<UserServer {self.name!r} {self.db_id!r} by {self.author!r}>"


class UserServers(Protocol):
    """Where servers are kept that users have added. Thread-safe.

    It decides who may use a server and who may change it; whom an entry is not for must not be
    told of it. Every method may raise ``StoreError``.
    """

    def find(self, name: str, user_id: str) -> UserServer | None:
        """Return the server of that name, if this user may use it."""

    def find_all(self, user_id: str) -> list[UserServer]:
        """Return the servers that this user may use, the oldest first."""

    def author_of(self, db_id: str, name: str) -> str | None:
        """Return the id of the user who added the entry, as it stands now; None if it is gone."""

    def add(self, name: str, author: str, config: Mapping[str, Any]) -> UserServer:
        """Add a server, or raise ``ConfigurationError`` if there is one of that name."""

    def replace(self, entry: UserServer, config: Mapping[str, Any]) -> UserServer | None:
        """Replace what is kept, if it is still *entry*; None if somebody was faster."""

    def remove(self, entry: UserServer) -> bool:
        """Forget an entry; whether it was there."""


_SCHEMA = """
CREATE TABLE IF NOT EXISTS user_servers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, db_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE, author TEXT NOT NULL, config BLOB NOT NULL, updated_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS user_servers_author ON user_servers (author);
CREATE TABLE IF NOT EXISTS user_server_shares (
    db_id TEXT NOT NULL REFERENCES user_servers (db_id), user_id TEXT NOT NULL,
    PRIMARY KEY (db_id, user_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS user_server_shares_user ON user_server_shares (user_id);
"""
_COLUMNS = "db_id, name, author, config, updated_at"
_MINE = """(author = :user OR db_id IN (
    SELECT db_id FROM user_server_shares WHERE user_id IN (:user, '*')
))"""


class SQLiteUserServers:
    """Keeps users' servers in one SQLite file, which many processes of a machine may use.

    A user may use what he has added and what is shared with him, and change only the former.

    Args:
        path: The file; it may be that of a :class:`SQLiteStore`.
        key: What configurations are encrypted with, see :func:`new_key`; several to rotate, the
            first encrypts.
        clock: Tells the time.

    Raises:
        StoreError: The file cannot be made or is no database.
        ConfigurationError: The key is none.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, key: Keys = None, clock: Clock | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._sealer = Sealer(key, f"The file {Path(path).name}")
        self._file = SQLiteFile(path, _SCHEMA)

    def find(self, name: str, user_id: str) -> UserServer | None:
        """See :meth:`UserServers.find`."""
        if not is_text(name):  # a model may ask for anything
            return None
        with self._file.lend() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM user_servers WHERE name = :name AND {_MINE}",  # noqa: S608
                {"name": name, "user": user_id},
            ).fetchone()
        return None if row is None else self._read(row, user_id)

    def find_all(self, user_id: str) -> list[UserServer]:
        """See :meth:`UserServers.find_all`."""
        with self._file.lend() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM user_servers WHERE {_MINE} ORDER BY number",  # noqa: S608
                {"user": user_id},
            ).fetchall()
        return [self._read(row, user_id) for row in rows]

    def author_of(self, db_id: str, name: str) -> str | None:
        """See :meth:`UserServers.author_of`."""
        with self._file.lend() as connection:
            row = connection.execute(
                "SELECT author FROM user_servers WHERE db_id = ? AND name = ?", (db_id, name)
            ).fetchone()
        return None if row is None else str(row[0])

    def add(self, name: str, author: str, config: Mapping[str, Any]) -> UserServer:
        """See :meth:`UserServers.add`."""
        db_id = secrets.token_hex(12)
        entry = UserServer(db_id, name, author, dict(config), self._clock.time(), editable=True)
        row = (db_id, name, author, self._sealed(entry), entry.updated_at)
        with self._file.writing() as connection:
            taken = connection.execute(
                "SELECT 1 FROM user_servers WHERE name = ?", (name,)
            ).fetchone()
            if taken is None:
                connection.execute(
                    f"INSERT INTO user_servers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
                    row,
                )
        if taken is not None:
            raise ConfigurationError("there is a server of that name.", server_name=name)
        return entry

    def replace(self, entry: UserServer, config: Mapping[str, Any]) -> UserServer | None:
        """See :meth:`UserServers.replace`."""
        now = max(self._clock.time(), entry.updated_at + 1e-3)  # never the same twice
        newer = replace(entry, config=dict(config), updated_at=now)
        with self._file.writing() as connection:
            done = connection.execute(
                "UPDATE user_servers SET config = ?, updated_at = ? "
                "WHERE db_id = ? AND updated_at = ?",
                (self._sealed(newer), now, entry.db_id, entry.updated_at),
            )
        return newer if done.rowcount else None

    def remove(self, entry: UserServer) -> bool:
        """See :meth:`UserServers.remove`."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM user_server_shares WHERE db_id = ?", (entry.db_id,))
            done = connection.execute("DELETE FROM user_servers WHERE db_id = ?", (entry.db_id,))
        return done.rowcount > 0

    def share(self, entry: UserServer, user_id: str = EVERYBODY) -> None:
        """Let another user use a server, or everybody; they still may not change it."""
        with self._file.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO user_server_shares "
                "SELECT db_id, ? FROM user_servers WHERE db_id = ?",
                (user_id, entry.db_id),
            )

    def unshare(self, entry: UserServer, user_id: str = EVERYBODY) -> None:
        """Take that back."""
        with self._file.writing() as connection:
            connection.execute(
                "DELETE FROM user_server_shares WHERE user_id = ? AND db_id = ?",
                (user_id, entry.db_id),
            )

    def close(self) -> None:
        """Give back what is open. The file is opened again when it is used."""
        self._file.close()

    def _sealed(self, entry: UserServer) -> bytes:
        try:
            written = json.dumps(dict(entry.config))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                "a server's configuration is kept as JSON, and this is none.",
                server_name=entry.name,
            ) from error
        return self._sealer.seal(entry.db_id, written.encode())

    def _read(self, row: tuple[str, str, str, bytes, float], user_id: str) -> UserServer:
        db_id, name, author, sealed, updated_at = row
        try:
            config = json.loads(self._sealer.open(db_id, sealed))
        except ValueError:
            config = None
        if not isinstance(config, dict):
            raise StoreError(f"what is kept of server {name!r} cannot be read.", server_name=name)
        return UserServer(db_id, name, author, config, updated_at, editable=author == user_id)
