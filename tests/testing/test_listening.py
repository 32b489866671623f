"""The streams of the test server, as a client on a bare connection sees them."""

import pytest

from mcpsync.testing import LocalServer

ACCEPT = {"Accept": "text/event-stream"}


def session_of(client):
    return client.handshake().headers["mcp-session-id"]


def test_a_client_that_takes_no_events_gets_no_stream(connect):
    with LocalServer("legacy") as server:
        client = connect(server)
        session_of(client)
        client.send("GET", Accept="application/json")
        assert client.receive().status == 405


def test_a_stream_without_a_session_is_refused(connect):
    with LocalServer("legacy") as server:
        client = connect(server)
        client.send("GET", **ACCEPT)
        assert client.receive().status == 400


def test_a_modern_server_has_no_stream_to_get(connect):
    with LocalServer("modern") as server:
        client = connect(server)
        client.send("GET", **ACCEPT)
        assert client.receive().status == 405


@pytest.mark.parametrize("what", ["roots", "", None])
def test_there_are_four_kinds_of_changes(what):
    with LocalServer() as server, pytest.raises(KeyError):
        server.announce(what)


def test_nobody_listens_at_first():
    with LocalServer() as server:
        server.announce("tools")
        server.cut_streams()
        server.end_streams()
        assert server.open_streams == 0
