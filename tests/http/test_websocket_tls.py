"""WebSocket over TLS goes by the same settings as HTTP, and stands two threads at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from mcpsync import Client, ConnectError
from transports.door import LONG
from transports.ws_peer import Server


@pytest.fixture
def server(certificate):
    server = Server({}, ssl=certificate.context())
    yield server
    server.close()


def test_a_certificate_that_nobody_vouches_for(server):
    with (
        Client(server.url, timeout=LONG) as client,
        pytest.raises(ConnectError, match="its certificate is not trusted"),
    ):
        client.connect()


def test_a_certificate_that_the_session_trusts(server, certificate):
    session = requests.Session()
    session.verify = certificate.path
    with (
        Client(server.url, session=session, timeout=LONG) as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def call(number):
            text = "x" * number * 100
            return client.call_tool("add", {"text": text}).content[0].text

        assert list(pool.map(call, range(300))) == ["done"] * 300
    assert len(server.connections) == 1
