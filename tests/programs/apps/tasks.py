"""A Celery application whose main process has called tools before it starts its pool.

``python -m tasks N`` sends N tasks and waits for their results.
"""

import os
import sys
from pathlib import Path

from celery import Celery, group

FOLDER = Path(os.environ["BROKER"])
for part in ("queue", "control", "results"):
    (FOLDER / part).mkdir(exist_ok=True)
app = Celery("tasks", broker="filesystem://", backend=f"file://{FOLDER}/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{FOLDER}/queue",
        "data_folder_out": f"{FOLDER}/queue",
        "control_folder": f"{FOLDER}/control",
    },
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(name="call")
def call(workers: int) -> None:
    """Call tools, and keep this worker until all of them have."""
    import common

    common.note("worker")
    common.meet("worker", workers)
    common.note("again")


if __name__ == "__main__":
    number = int(sys.argv[1])
    group(call.s(number) for _ in range(number))().get(timeout=30)
elif os.environ.get("ROLE") == "worker":
    import common

    common.use_in_parent()
