"""Servers that users have added, kept in one file for the processes of a machine."""

import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpsync.errors import ConfigurationError, StoreError
from mcpsync.stores import SQLiteStore, SQLiteUserServers, new_key
from mcpsync.testing import FakeClock
from support.workers import Worker

CONFIG = {"url": "https://notes.example.com/mcp", "headers": {"X-Key": "s3cret-of-ada"}}


def serve(path: str) -> None:
    """Be another process that has the file."""
    import json
    import sys

    names = {"servers": SQLiteUserServers(path), "tried": tried}
    for line in sys.stdin:
        print(json.dumps(eval(line, names), default=str), flush=True)  # noqa: S307 - the test's


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "servers.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def servers(path: Path, clock: FakeClock) -> Iterator[SQLiteUserServers]:
    made = SQLiteUserServers(path, clock=clock)
    yield made
    made.close()


@pytest.fixture
def another(path: Path) -> Iterator[Callable[[], Worker]]:
    workers: list[Worker] = []

    def make() -> Worker:
        workers.append(Worker("stores.test_user_servers", str(path)))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def test_what_a_user_has_added_is_his(servers: SQLiteUserServers, clock: FakeClock) -> None:
    added = servers.add("notes", "ada", CONFIG)
    assert (added.name, added.author, added.config) == ("notes", "ada", CONFIG)
    assert (added.updated_at, added.editable) == (clock.time(), True)
    assert servers.find("notes", "ada") == added
    assert servers.find_all("ada") == [added]
    assert servers.find("other", "ada") is None


def test_nobody_else_is_told_of_it(servers: SQLiteUserServers) -> None:
    servers.add("notes", "ada", CONFIG)
    assert servers.find("notes", "bob") is None
    assert servers.find_all("bob") == []


@pytest.mark.parametrize("whom", ["bob", "*"])
def test_whom_it_is_shared_with_may_use_it_but_not_change_it(
    servers: SQLiteUserServers, whom: str
) -> None:
    added = servers.add("notes", "ada", CONFIG)
    servers.share(added, whom)
    servers.share(added, whom)
    found = servers.find("notes", "bob")
    assert found is not None
    assert (found.db_id, found.author, found.editable) == (added.db_id, "ada", False)
    assert servers.find_all("bob") == [found]
    assert (servers.find("notes", "eve") is None) is (whom == "bob")
    servers.unshare(added, whom)
    assert servers.find("notes", "bob") is None
    assert servers.find("notes", "ada") == added


def test_a_name_is_there_once_whoever_wants_it(servers: SQLiteUserServers) -> None:
    servers.add("notes", "ada", CONFIG)
    for user in ("ada", "bob"):
        with pytest.raises(ConfigurationError, match="there is a server of that name"):
            servers.add("notes", user, CONFIG)
    assert servers.find_all("bob") == []


def test_an_entry_that_was_changed_meanwhile_is_not_replaced(
    servers: SQLiteUserServers, clock: FakeClock
) -> None:
    added = servers.add("notes", "ada", CONFIG)
    newer = servers.replace(added, {"url": "https://other.example.com/mcp"})
    assert newer is not None
    assert newer.updated_at > added.updated_at  # though no time has passed
    assert servers.replace(added, CONFIG) is None
    assert servers.find("notes", "ada") == newer
    assert newer.db_id == added.db_id


def test_what_is_removed_is_gone_and_its_shares_with_it(servers: SQLiteUserServers) -> None:
    added = servers.add("notes", "ada", CONFIG)
    servers.share(added)
    assert servers.remove(added) is True
    assert servers.remove(added) is False
    assert servers.replace(added, CONFIG) is None
    servers.share(added)
    again = servers.add("notes", "ada", CONFIG)
    assert again.db_id != added.db_id
    assert servers.find("notes", "bob") is None


def test_the_author_is_told_of_an_entry_as_it_stands(servers: SQLiteUserServers) -> None:
    added = servers.add("notes", "ada", CONFIG)
    assert servers.author_of(added.db_id, "notes") == "ada"
    assert servers.author_of(added.db_id, "crm") is None
    servers.remove(added)
    assert servers.author_of(added.db_id, "notes") is None


def test_what_is_no_json_is_refused_and_not_kept(servers: SQLiteUserServers) -> None:
    with pytest.raises(ConfigurationError):
        servers.add("notes", "ada", {"url": object()})
    assert servers.find_all("ada") == []


def test_no_repr_shows_a_secret(servers: SQLiteUserServers) -> None:
    assert "s3cret" not in repr(servers.add("notes", "ada", CONFIG))


def test_with_a_key_nobody_reads_the_file(path: Path) -> None:
    servers = SQLiteUserServers(path, key=new_key())
    servers.add("notes", "ada", CONFIG)
    servers.close()
    for each in path.parent.iterdir():
        assert b"s3cret" not in each.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = SQLiteUserServers(path, key=new_key())
    with pytest.raises(StoreError):
        other.find("notes", "ada")
    other.close()


def test_a_configuration_cannot_be_put_in_anothers_place(path: Path) -> None:
    servers = SQLiteUserServers(path, key=new_key())
    servers.add("notes", "ada", CONFIG)
    servers.add("crm", "eve", {"url": "https://eve.example.com/mcp"})
    with sqlite3.connect(path) as connection:
        (of_eve,) = connection.execute("SELECT config FROM user_servers WHERE name = 'crm'")
        connection.execute("UPDATE user_servers SET config = ? WHERE name = 'notes'", of_eve)
    connection.close()
    with pytest.raises(StoreError):
        servers.find("notes", "ada")
    servers.close()


def test_a_store_of_tokens_may_be_in_the_same_file(path: Path, servers: SQLiteUserServers) -> None:
    store = SQLiteStore(path)
    store.set("a", b"1")
    servers.add("notes", "ada", CONFIG)
    assert store.get("a") is not None
    assert servers.find("notes", "ada") is not None
    store.close()


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("this is no database, and it is long enough to be seen as none " * 20)
    with pytest.raises(StoreError):
        SQLiteUserServers(path)


def test_other_processes_see_what_is_added_and_what_is_changed(
    servers: SQLiteUserServers, another: Callable[[], Worker]
) -> None:
    added = servers.add("notes", "ada", CONFIG)
    other = another()
    assert other.ask("servers.find('notes', 'ada').db_id") == added.db_id
    assert other.ask("servers.find('notes', 'bob')") is None
    changed = other.ask("servers.replace(servers.find('notes', 'ada'), {'url': 'x'}).updated_at")
    found = servers.find("notes", "ada")
    assert found is not None
    assert (found.config, found.updated_at) == ({"url": "x"}, changed)


def test_of_many_processes_that_want_a_name_one_gets_it(
    servers: SQLiteUserServers, another: Callable[[], Worker]
) -> None:
    others = [another() for _ in range(3)]
    for number, other in enumerate(others):
        other.tell(f"[tried(servers, str(n), 'u{number}') for n in range(10)]")
    won = [sum(other.said()) for other in others]
    assert sum(won) == 10


def tried(servers: SQLiteUserServers, name: str, user: str) -> bool:
    """Whether a user got a name."""
    try:
        servers.add(name, user, {})
    except ConfigurationError:
        return False
    return True
