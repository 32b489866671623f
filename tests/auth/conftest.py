"""No test of signing in leaves a secret in a log, nor in the text of an error."""

from collections.abc import Iterator

import pytest

from support.leaks import Leaks


@pytest.fixture(autouse=True)
def leaks() -> Iterator[Leaks]:
    """Fail the test if a secret was logged, at whatever level, or told in an error."""
    found = Leaks()
    with pytest.MonkeyPatch.context() as patch, found.listening(patch):
        yield found
    texts = found.take()
    if texts:
        pytest.fail("a secret is told:\n" + "\n".join(texts), pytrace=False)
