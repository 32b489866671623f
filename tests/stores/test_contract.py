"""What every store keeps to: one suite for all of them."""

import threading

import pytest

from mcpsync import ConfigurationError
from mcpsync.stores import Entry, Store
from support.processes import wait_until
from support.threads import outcome, start

BINARY = bytes(range(256))


def test_it_is_a_store(store):
    assert isinstance(store, Store)


def test_what_was_set_is_there_until_it_is_deleted(store):
    assert store.get("a") is None
    version = store.set("a", BINARY)
    assert store.get("a") == Entry(BINARY, version)
    assert store.get("b") is None
    assert store.delete("a")
    assert store.get("a") is None
    assert not store.delete("a")


def test_an_empty_value_is_a_value(store):
    store.set("a", b"")
    assert store.get("a").value == b""
    assert store.take("a") == b""


def test_keys_are_any_text(store):
    names = ["ü:ñ", "a b", "a\nb", "'; DROP TABLE entries; --", "*", "x" * 512]
    for name in names:
        store.set(name, name.encode())
    assert [store.get(name).value.decode() for name in names] == names


def test_each_version_is_larger_than_the_last_even_of_a_key_that_was_deleted(store):
    versions = [store.set("a", b"1"), store.set("a", b"2")]
    store.delete("a")
    versions.append(store.set("a", b"3"))
    store.take("a")
    versions.append(store.compare_and_set("a", None, b"4"))
    assert versions == sorted(set(versions))


def test_compare_and_set_keeps_a_value_only_in_place_of_the_version_it_names(store):
    first = store.compare_and_set("a", None, b"1")
    assert first is not None
    assert store.compare_and_set("a", None, b"x") is None
    assert store.compare_and_set("a", first + 1000, b"x") is None
    second = store.compare_and_set("a", first, b"2")
    assert store.get("a") == Entry(b"2", second)
    assert store.compare_and_set("a", first, b"x") is None
    assert store.get("a").value == b"2"
    assert store.compare_and_set("gone", first, b"x") is None
    assert store.get("gone") is None


def test_delete_with_a_version_spares_a_newer_value(store):
    old = store.set("a", b"1")
    store.set("a", b"2")
    assert not store.delete("a", old)
    assert store.delete("a", store.get("a").version)


def test_a_value_is_gone_when_its_time_is_over(store):
    store.set("a", b"1", ttl=0.05)
    version = store.set("b", b"1", ttl=60)
    wait_until(lambda: store.get("a") is None, "its time is over")
    assert store.take("a") is None
    assert not store.delete("a")
    assert store.get("b").version == version


def test_nothing_is_there_to_compare_with_when_its_time_is_over(store):
    version = store.set("a", b"1", ttl=0.05)
    wait_until(lambda: store.get("a") is None, "its time is over")
    assert store.compare_and_set("a", version, b"2") is None
    assert store.compare_and_set("a", None, b"2") is not None


def test_a_value_that_is_set_again_without_a_time_stays(store):
    store.set("a", b"1", ttl=0.05)
    store.set("b", b"1", ttl=0.05)
    store.set("a", b"2")
    wait_until(lambda: store.get("b") is None, "the time of the other one is over")
    assert store.get("a").value == b"2"


def test_of_many_who_take_a_value_one_gets_it(store):
    store.set("a", b"the one")
    ready = threading.Barrier(8)

    def take():
        ready.wait(20)
        return store.take("a")

    taken = [outcome(task) for task in [start(take) for _ in range(8)]]
    assert sorted(map(str, taken)) == sorted(["None"] * 7 + ["b'the one'"])


def test_of_many_who_set_in_place_of_one_version_one_succeeds(store):
    version = store.set("a", b"0")
    ready = threading.Barrier(8)

    def put(value):
        ready.wait(20)
        return store.compare_and_set("a", version, value)

    done = [outcome(task) for task in [start(lambda n=n: put(b"%d" % n)) for n in range(8)]]
    (kept,) = [each for each in done if each is not None]
    assert store.get("a") == Entry(b"%d" % done.index(kept), kept)


def test_a_lock_is_one_holders_until_he_gives_it_back(store):
    token = store.acquire("l", 60)
    assert store.acquire("l", 60) is None
    assert store.acquire("other", 60) is not None
    assert not store.release("l", token + 1)
    assert store.acquire("l", 60) is None
    assert store.release("l", token)
    assert not store.release("l", token)
    assert store.acquire("l", 60) > token


def test_a_lock_is_lost_when_its_lease_is_over(store):
    late = store.acquire("l", 0.05)
    found = []
    wait_until(lambda: found.append(store.acquire("l", 60)) or found[-1], "the lease is over")
    assert found[-1] > late
    assert not store.extend("l", late, 60)
    assert not store.release("l", late)
    assert store.acquire("l", 60) is None, "he who lost it must not give it back for another"


def test_a_lease_can_be_made_longer_while_it_runs(store):
    token = store.acquire("l", 1)
    assert store.extend("l", token, 60)
    store.acquire("m", 1)
    wait_until(lambda: store.acquire("m", 1) is not None, "a lease that began later is over")
    assert store.acquire("l", 60) is None
    assert store.release("l", token)


def test_a_lock_and_a_value_may_have_the_same_name(store):
    store.set("a", b"1")
    assert store.acquire("a", 60) is not None
    assert store.get("a").value == b"1"
    assert store.delete("a")
    assert store.acquire("a", 60) is None


@pytest.mark.parametrize("key", ["", "x" * 513, None, 7])
def test_what_is_no_key_is_refused(store, key):
    for use in (store.get, store.take, store.delete, lambda key: store.set(key, b"")):
        with pytest.raises(ConfigurationError, match="key has 1 to 512 characters"):
            use(key)
    with pytest.raises(ConfigurationError, match="key has 1 to 512 characters"):
        store.acquire(key, 1)


@pytest.mark.parametrize("value", ["text", None, b"x" * (1024 * 1024 + 1)])
def test_what_is_no_value_is_refused(store, value):
    with pytest.raises(ConfigurationError, match="value is bytes"):
        store.set("a", value)
    with pytest.raises(ConfigurationError, match="value is bytes"):
        store.compare_and_set("a", None, value)
    assert store.get("a") is None


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_a_time_that_is_none_is_refused(store, ttl):
    with pytest.raises(ConfigurationError, match="positive number of seconds"):
        store.set("a", b"1", ttl=ttl)


def test_it_can_be_closed_twice_and_keeps_what_it_has(store):
    store.set("a", b"1")
    store.close()
    store.close()
    assert store.get("a").value == b"1"
