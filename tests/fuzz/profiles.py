"""Which of the profiles a run has."""

import os

from hypothesis import HealthCheck, settings

LONG = bool(os.environ.get("MCPSYNC_FUZZ"))


def examples(short, long):
    """How many examples a test takes: few with the other tests, many with `tox -e fuzz`."""
    return settings(
        deadline=None,
        max_examples=long if LONG else short,
        derandomize=not LONG,  # the same everywhere, so that nobody's change fails by chance
        print_blob=LONG,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
