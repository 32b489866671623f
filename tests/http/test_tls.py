"""TLS as the settings want it."""

import ssl

import pytest
import requests
from urllib3.exceptions import InsecureRequestWarning

from mcpsync import ConfigurationError, ConnectError, TransportError
from mcpsync.http.adapter import adapters
from mcpsync.http.sockets import TLSSocket
from transports.door import ask, door
from transports.peer import always, response

ANSWER = always(response(b"{}"))
unverified = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


def session_with(**settings):
    session = requests.Session()
    for name, value in settings.items():
        setattr(session, name, value)
    return session


def test_a_trusted_certificate(serve, certificate):
    url = serve(ANSWER, certificate.context()).url
    endpoint = door(url, session=session_with(verify=certificate.path))
    assert ask(endpoint) == (200, b"{}")


def test_a_certificate_that_nobody_vouches_for(serve, certificate):
    url = serve(ANSWER, certificate.context()).url
    with pytest.raises(ConnectError, match="its certificate is not trusted") as caught:
        ask(url)
    assert not caught.value.maybe_executed
    assert "127.0.0.1" in str(caught.value)


def test_a_certificate_of_another_host(serve, certificate):
    url = serve(ANSWER, certificate.context()).url.replace("127.0.0.1", "localhost")
    endpoint = door(url, session=session_with(verify=certificate.path))
    with pytest.raises(ConnectError, match="its certificate is not trusted"):
        ask(endpoint)


@unverified
def test_nothing_is_verified_when_told_so(serve, certificate):
    url = serve(ANSWER, certificate.context()).url
    assert ask(door(url, session=session_with(verify=False))) == (200, b"{}")


def test_who_does_not_verify_is_warned_as_requests_warns(serve, certificate):
    url = serve(ANSWER, certificate.context()).url
    with pytest.warns(InsecureRequestWarning):
        ask(door(url, session=session_with(verify=False)))


@unverified
def test_who_verifies_does_not_get_the_socket_of_who_does_not(serve, certificate):
    server = serve(ANSWER, certificate.context())
    assert ask(door(server.url, session=session_with(verify=False))) == (200, b"{}")
    with pytest.raises(ConnectError, match="not trusted"):
        ask(server.url)
    assert server.accepted == 2


def test_a_client_certificate(serve, certificate):
    url = serve(ANSWER, certificate.context(ask_client=True)).url
    session = session_with(verify=certificate.path, cert=(certificate.path, certificate.key))
    assert ask(door(url, session=session)) == (200, b"{}")


def test_a_client_certificate_that_is_missing(serve, certificate):
    url = serve(ANSWER, certificate.context(ask_client=True)).url
    with pytest.raises(TransportError):  # TLS 1.3 tells only after the request was sent
        ask(door(url, session=session_with(verify=certificate.path)))


def test_the_environments_bundle_is_used(serve, certificate, clean_environment):
    url = serve(ANSWER, certificate.context()).url
    clean_environment.setenv("REQUESTS_CA_BUNDLE", certificate.path)
    assert ask(url) == (200, b"{}")


def test_a_session_that_trusts_no_environment_uses_no_bundle_of_it(
    serve, certificate, clean_environment
):
    url = serve(ANSWER, certificate.context()).url
    clean_environment.setenv("REQUESTS_CA_BUNDLE", certificate.path)
    with pytest.raises(ConnectError, match="not trusted"):
        ask(door(url, session=session_with(trust_env=False)))


@pytest.mark.parametrize("setting", ["verify", "cert"])
def test_tls_files_that_are_not_there(setting, serve):
    server = serve(ANSWER)
    session = session_with(**{setting: "/nowhere/file.pem"})
    with pytest.raises(ConfigurationError, match="TLS files") as caught:
        ask(door(server.url.replace("http:", "https:"), session=session))
    assert not caught.value.maybe_executed
    assert server.accepted == 0


def test_a_handshake_is_not_repeated_for_the_next_request(serve, certificate):
    server = serve(ANSWER, certificate.context())
    endpoint = door(server.url, session=session_with(verify=certificate.path))
    assert [ask(endpoint) for _ in range(3)] == [(200, b"{}")] * 3
    assert server.accepted == 1


def test_old_protocols_are_not_spoken(certificate):
    endpoint = door("https://127.0.0.1/mcp", session=session_with(verify=certificate.path))
    context = adapters.get(endpoint._settings.key).tls_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.sslsocket_class is TLSSocket
