"""What a ``requests.Session`` and the environment say about a URL, worked out once."""

import pytest
import requests

from mcpsync import ConfigurationError
from mcpsync.http import HttpSettings
from mcpsync.http.settings import origin_of
from mcpsync.security.guard import ANYWHERE

URL = "https://example.com/mcp"


@pytest.fixture(autouse=True)
def _clean(clean_environment):
    """The environment of the machine is not that of these tests."""


def resolve(url=URL, *, headers=None, auth=None, **settings):
    session = requests.Session()
    for name, value in settings.items():
        setattr(session, name, value)
    return HttpSettings.resolve(url, headers=headers, auth=auth, session=session)


def test_by_default_everything_is_verified_and_nothing_is_between():
    settings = HttpSettings.resolve(URL)
    assert settings.key == (True, None, None, ANYWHERE)
    assert settings.auth is None


def test_the_sessions_verify_and_cert_are_kept():
    assert resolve(verify=False).key.verify is False
    assert resolve(verify="/ca.pem").key.verify == "/ca.pem"
    assert resolve(cert=("/c.pem", "/k.pem")).key.cert == ("/c.pem", "/k.pem")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_explicit_verify_wins_over_the_environment(name, monkeypatch):
    monkeypatch.setenv(name, "/env.pem")
    assert resolve().key.verify == "/env.pem"
    assert resolve(verify=False).key.verify is False
    assert resolve(verify="/mine.pem").key.verify == "/mine.pem"
    assert resolve(trust_env=False).key.verify is True


def test_a_verify_of_none_means_that_it_is_verified():
    assert resolve(verify=None).key.verify is True


def test_the_sessions_proxies_are_used():
    proxies = {"https": "http://proxy:3128", "http": "proxy:8080"}
    assert resolve(proxies=proxies).key.proxy == "http://proxy:3128"
    assert resolve("http://example.com/mcp", proxies=proxies).key.proxy == "http://proxy:8080"


def test_the_environments_proxies_are_used(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example.com")
    assert HttpSettings.resolve(URL).key.proxy == "http://proxy:3128"
    assert HttpSettings.resolve("https://internal.example.com/mcp").key.proxy is None
    assert resolve(trust_env=False).key.proxy is None


def test_the_session_is_neither_kept_nor_closed():
    session = requests.Session()
    closed = []
    session.close = lambda: closed.append(1)
    session.headers["A"] = "before"
    settings = HttpSettings.resolve(URL, session=session)
    session.headers["A"] = "after"
    assert settings.headers["a"] == "before"
    assert closed == []


@pytest.mark.parametrize("auth", ["token", 1, ("ada",), ("a", "b", "c"), {}])
def test_auth_is_a_pair_or_a_callable(auth):
    with pytest.raises(ConfigurationError, match="auth="):
        resolve(auth=auth)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Example.COM/mcp", ("http", "example.com", 80)),
        ("https://example.com/mcp", ("https", "example.com", 443)),
        ("https://example.com:8443/other", ("https", "example.com", 8443)),
        ("HTTP://[::1]:80/", ("http", "::1", 80)),
        ("http://ada:pw@example.com", ("http", "example.com", 80)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    assert origin_of(url) == origin
