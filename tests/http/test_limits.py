"""How much a server may send."""

import pytest

from mcpsync import ConfigurationError, Limits


def test_the_defaults_are_those_of_the_documentation():
    assert Limits() == Limits(16 * 2**20, 5 * 2**20, 1000, 16 * 2**20)


@pytest.mark.parametrize(
    "name", ["max_response_bytes", "max_line_bytes", "max_pages", "max_event_bytes"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_is_at_least_one(name, value):
    with pytest.raises(ConfigurationError, match=name):
        Limits(**{name: value})
