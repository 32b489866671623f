"""A bearer token the application already has."""

import pytest
from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from mcpsync import BearerAuth
from mcpsync.errors import ConfigurationError


@pytest.fixture
def request_():
    """A request on its way out."""
    request = PreparedRequest()
    request.headers = CaseInsensitiveDict({"X-Other": "1"})
    return request


def test_the_token_is_added_to_the_request_and_nothing_else_changes(request_):
    assert BearerAuth("s3cret")(request_) is request_
    assert dict(request_.headers) == {"X-Other": "1", "Authorization": "Bearer s3cret"}


def test_the_token_takes_the_place_of_another_however_that_is_written(request_):
    request_.headers["authorization"] = "Basic eA=="
    BearerAuth("s3cret")(request_)
    assert request_.headers["Authorization"] == "Bearer s3cret"
    assert len(request_.headers) == 2


def test_a_callable_is_asked_for_every_request(request_):
    tokens = iter(["first", "second"])
    auth = BearerAuth(lambda: next(tokens))
    assert auth(request_).headers["Authorization"] == "Bearer first"
    assert auth(request_).headers["Authorization"] == "Bearer second"


def test_a_callable_is_not_asked_before_there_is_a_request():
    BearerAuth(pytest.fail)


def test_what_the_callable_raises_is_the_applications_own(request_):
    def fail():
        raise LookupError("no token for this user")

    with pytest.raises(LookupError, match="no token for this user"):
        BearerAuth(fail)(request_)


@pytest.mark.parametrize("token", ["", None])
@pytest.mark.parametrize("wrap", [lambda token: token, lambda token: lambda: token])
def test_an_empty_token_is_not_sent(request_, token, wrap):
    with pytest.raises(ConfigurationError, match="the bearer token is empty"):
        BearerAuth(wrap(token))(request_)
    assert "Authorization" not in request_.headers


@pytest.mark.parametrize(
    "token", ["s3cret\n", "s3\r\nX-Evil: 1", " s3cret", "s3 cret", "s3crét", "s3\0", b"s3cret", 7]
)
def test_a_token_that_no_header_can_hold_is_not_sent_and_not_shown(request_, token):
    with pytest.raises(ConfigurationError, match="the bearer token is not one") as caught:
        BearerAuth(token)(request_)
    assert "s3" not in str(caught.value)
    assert "Authorization" not in request_.headers


@pytest.mark.parametrize("token", ["s3cret", lambda: "s3cret"])
def test_the_token_is_never_shown(token):
    auth = BearerAuth(token)
    assert repr(auth) == str(auth) == "BearerAuth(…)"
