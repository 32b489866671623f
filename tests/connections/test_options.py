"""What a call of a manager takes, parted by whom it concerns."""

import math
from typing import Any

import pytest

from mcpsync import Cancellation
from mcpsync.connections.options import ConnectOptions, Parted, part
from mcpsync.errors import ConfigurationError


def test_nothing_given_is_nothing_for_either() -> None:
    assert part({}) == Parted({})


def test_what_is_the_calls_goes_one_way_and_what_is_the_connections_the_other() -> None:
    cancel, scope = Cancellation(), object()
    call: Any = {"timeout": 3, "headers": {"X-A": "b"}, "cancel": cancel, "meta": {"a": 1}}
    connect: Any = {
        "custom_user_vars": {"KEY": "k"},
        "request_body": {"messageId": "7"},
        "request_scope": scope,
        "connection_timeout": 5,
        "oauth_start": print,
        "oauth_end": repr,
        "return_on_oauth": True,
    }
    parted = part({**call, **connect})
    assert parted.call == call
    assert parted[1:] == ({"KEY": "k"}, {"messageId": "7"}, scope, 5.0, print, repr, True)


def test_every_option_of_a_connection_has_its_place() -> None:
    assert set(Parted._fields) == {"call", *ConnectOptions.__annotations__}


def test_what_the_caller_gave_is_not_touched() -> None:
    options: Any = {"timeout": 3, "connection_timeout": 5, "custom_user_vars": {"KEY": "k"}}
    part(options)
    assert options == {"timeout": 3, "connection_timeout": 5, "custom_user_vars": {"KEY": "k"}}


def test_variables_are_as_they_were_when_the_call_began() -> None:
    values = {"KEY": "k"}
    parted = part({"custom_user_vars": values})
    values["KEY"] = "other"
    assert parted.custom_user_vars == {"KEY": "k"}


def test_none_is_as_good_as_nothing() -> None:
    options: Any = dict.fromkeys(ConnectOptions.__annotations__)
    assert part(options) == Parted({})


@pytest.mark.parametrize("seconds", [0, -1, math.nan, "5", True])
def test_a_time_for_connecting_is_a_positive_number(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        part({"connection_timeout": seconds})


def test_it_may_be_without_end() -> None:
    assert part({"connection_timeout": math.inf}).connection_timeout == math.inf


@pytest.mark.parametrize("values", ["KEY=k", ["KEY"], 7])
def test_variables_are_a_mapping_and_the_error_does_not_show_them(values: Any) -> None:
    with pytest.raises(ConfigurationError, match="custom_user_vars must be a mapping") as caught:
        part({"custom_user_vars": values})
    assert "KEY" not in str(caught.value)


def test_what_is_misspelt_is_left_to_those_who_know_what_a_call_takes() -> None:
    options: Any = {"tiemout": 3}
    assert part(options).call == {"tiemout": 3}
