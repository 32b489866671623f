"""``python -m multi METHOD``: processes of multiprocessing, after the parent has called tools."""

import multiprocessing
import sys
from typing import Any

import common


def single() -> None:
    """What a process of its own does."""
    common.note("worker")


def pooled(workers: int) -> None:
    """What a process of a pool does."""
    common.note("worker")
    common.meet("worker", workers)


def main(context: Any) -> None:
    """Use the manager, then two processes, then two in a pool, and never close anything."""
    common.use_in_parent()
    processes = [context.Process(target=single) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    pool = context.Pool(2)
    pool.map(pooled, [4, 4], chunksize=1)
    pool.close()
    pool.join()


if __name__ == "__main__":
    main(multiprocessing.get_context(sys.argv[1]))
