"""How much is tried: little with the other tests, much with `tox -e fuzz`."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("MCPSYNC_FUZZ", "1"))


def examples(count):
    """Try *count* examples, or MCPSYNC_FUZZ times as many.

    With the other tests they are the same ones every time, so that nobody's change fails by chance.
    """
    return settings(
        deadline=None,
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        print_blob=TIMES > 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
