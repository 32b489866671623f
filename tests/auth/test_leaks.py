"""The fixture around every test of signing in finds what it is there to find."""

import logging

import pytest
import requests

from mcpsync import Client
from mcpsync._runtime.clock import SystemClock
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import OAuth
from mcpsync.auth.codes import Verifier, new_state
from mcpsync.auth.dpop import DPoPKey
from mcpsync.errors import AuthorizationRequired, ConfigurationError
from mcpsync.http import Fetcher
from mcpsync.security.guard import AddressPolicy
from support.authority import Authority

CALLBACK = "http://127.0.0.1:9/callback"
HOW = {
    "a line": lambda text: logging.getLogger("mcpsync.auth.x").debug("got %s.", text),
    "a line of urllib3": lambda text: logging.getLogger("urllib3.x").debug("GET /?%s", text),
    "a line of requests": lambda text: logging.getLogger("requests.x").debug(text),
    "an error": lambda text: ConfigurationError(f"it was {text}!"),
    "a traceback": lambda text: _logged_with_its_cause(text),
}


def _logged_with_its_cause(text):
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("mcpsync.auth").exception("it failed")


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_what_an_authorization_server_gave_is_found(how, leaks):
    with Authority() as authority:
        auth = OAuth(CALLBACK)
        with Client(authority.url, auth=auth) as client:
            with pytest.raises(AuthorizationRequired) as caught:
                client.list_tools()
            auth.complete(authority.url, authority.approve(caught.value.authorization_url))
            client.list_tools()
        kinds = {secret.partition("-")[0] for secret in authority.secrets}
        assert {"code", "access", "refresh"} <= kinds
        assert not leaks.take(), "and nothing was told so far"
        for secret in authority.secrets:
            how(secret)
            assert len(leaks.take()) == 1, secret
        how("nothing")
        assert not leaks.take()


def test_what_we_made_ourselves_is_found(leaks):
    key = DPoPKey(SystemClock())
    made = [
        Verifier.new().secret,
        new_state(),
        key.pem,
        key.proof("POST", "https://as.example/")["DPoP"],
        "s3cr3t",
    ]
    for secret in made:
        logging.getLogger("mcpsync.auth").debug("%s", secret)
        assert len(leaks.take()) == 1


def test_a_token_in_the_query_of_a_request_of_ours_is_found_and_a_browsers_is_not(leaks):
    with Authority() as authority:
        url = f"{authority.issuer}/x?token={new_state()}"
        requests.get(url, timeout=5)
        assert not leaks.take()
        Fetcher(policy=AddressPolicy("loopback")).get(url, deadline=Deadline(5))
        assert len(leaks.take()) == 1


def test_what_is_no_secret_may_be_told(leaks):
    with Authority() as authority:
        logging.getLogger("mcpsync.auth").debug("%s %s", authority.issuer, authority.url)
        assert not leaks.take()


def test_a_test_that_does_not_ask_for_it_is_listened_to_as_well():
    listening = {type(handler).__name__ for handler in logging.getLogger("mcpsync").handlers}
    assert "Leaks" in listening
