"""What stores that are shared keep to between processes."""

import os
import signal
import subprocess
import sys

import pytest

from support.processes import wait_until

pytestmark = pytest.mark.once  # what processes keep to is the store's, whichever Python


def test_other_processes_see_what_is_kept(shared):
    store, another = shared
    version = store.set("a", b"1")
    other = another()
    assert other.ask("store.get('a')") == ["1", version]
    assert other.ask("store.compare_and_set('a', None, b'x')") is None
    newer = other.ask(f"store.compare_and_set('a', {version}, b'2')")
    assert store.get("a") == (b"2", newer)
    assert newer > version


def test_of_many_processes_that_take_a_value_one_gets_it(shared):
    store, another = shared
    others = [another() for _ in range(4)]
    for name in map(str, range(20)):
        store.set(name, b"the one")
        for other in others:
            other.tell(f"store.take({name!r})")
        assert sorted(map(str, [other.said() for other in others])) == ["None"] * 3 + ["the one"]


def test_processes_that_count_under_a_lock_lose_no_step(shared):
    store, another = shared
    others = [another() for _ in range(4)]
    for other in others:
        other.tell("count_up(store, 25)")
    assert [other.said() for other in others] == [25] * 4
    assert store.get("counter").value == b"100"
    assert store.acquire("counter", 1) is not None


def test_the_lock_of_a_process_that_was_killed_comes_free_with_its_lease(shared):
    store, another = shared
    other = another()
    token = other.ask("store.acquire('l', 2)")
    other.kill()
    assert store.acquire("l", 1) is None
    taken = []
    wait_until(lambda: taken.append(store.acquire("l", 60)) or taken[-1], "the lease is over")
    assert taken[-1] > token


def test_a_process_that_was_stopped_too_long_has_lost_its_lock_and_is_told(shared):
    store, another = shared
    other = another()
    token = other.ask("store.acquire('l', 0.3)")
    os.kill(other.process.pid, signal.SIGSTOP)
    taken = []
    wait_until(lambda: taken.append(store.acquire("l", 60)) or taken[-1], "the lease is over")
    os.kill(other.process.pid, signal.SIGCONT)
    assert other.ask(f"store.extend('l', {token}, 60)") is False
    assert other.ask(f"store.release('l', {token})") is False
    assert store.extend("l", taken[-1], 60)


def test_a_process_that_is_killed_while_it_writes_leaves_an_old_value_or_a_new_one(shared):
    store, another = shared
    store.set("a", b"0" * 100_000)
    for _ in range(5):
        other = another()
        other.tell("[store.set('a', b'%d' % (n % 10) * 100_000) for n in range(100_000)]")
        before = store.get("a").version
        wait_until(lambda before=before: store.get("a").version > before + 3, "it writes")
        other.kill()
        assert len(set(store.get("a").value)) == 1
        assert store.set("a", b"0" * 100_000)


def test_a_forked_child_uses_it_beside_its_parent(shared):
    store, _ = shared
    store.set("a", b"parent")
    pid = os.fork()
    if pid == 0:
        done = store.take("a") == b"parent" and store.set("b", b"child")
        os._exit(0 if done else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert store.get("b").value == b"child"
    assert store.get("a") is None


OPENS = """
import sys
from mcpsync.stores import SQLiteStore, new_key
for line in sys.stdin:
    store = SQLiteStore(line.strip(), key=new_key())
    store.set("a", b"1")
    store.close()
    print("opened", flush=True)
"""


def test_processes_that_open_a_new_file_at_the_same_moment_can_all_use_it(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(6)
    ]
    try:
        for name in range(20):
            for worker in workers:
                worker.stdin.write(f"{tmp_path / str(name)}\n")
                worker.stdin.flush()
            assert [worker.stdout.readline() for worker in workers] == ["opened\n"] * 6
    finally:
        for worker in workers:
            worker.communicate(timeout=20)
