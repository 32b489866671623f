"""What a process keeps: memory, threads, sockets. Standard library only; Linux only."""

from __future__ import annotations

import gc
import os


def footprint() -> dict[str, int]:
    """Return resident bytes, threads and sockets of this process.

    Raises:
        OSError: this machine has no ``/proc``.
    """
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "bytes": resident,
        "threads": len(os.listdir("/proc/self/task")),
        "sockets": sum(_is_socket(name) for name in os.listdir("/proc/self/fd")),
    }


def growth(before: dict[str, int]) -> dict[str, int]:
    """Return what was added since *before*."""
    return {key: value - before[key] for key, value in footprint().items()}


def _is_socket(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    except OSError:  # the descriptor that listed the folder is gone by now
        return False
