"""The other process of a store's tests."""

import json
import sys
import time

from mcpsync._runtime.deadline import Deadline
from mcpsync.stores.holding import hold
from support.stores import make


def serve(*described: str) -> None:
    """Evaluate a line at a time; bytes come back as text."""
    names = {"store": make(*described), "hold": hold, "Deadline": Deadline, "time": time}
    names["count_up"] = count_up
    for line in sys.stdin:
        found = eval(line, names)  # noqa: S307 - the test's own
        print(json.dumps(found, default=lambda value: value.decode()), flush=True)
    names["store"].close()


def count_up(store, times):
    """Count a number in the store up, under the lock; each step is a read and a write."""
    for _ in range(times):
        with hold(store, "counter", lease=30, deadline=Deadline(60)):
            found = store.get("counter")
            store.set("counter", b"%d" % (int(found.value) + 1 if found else 1))
    return times
