"""From a configuration to what reaches its server."""

import pytest
import requests

from mcpsync import ConfigurationError, Limits
from mcpsync.client.carriers import HttpCarrier, StdioCarrier, carrier_for
from mcpsync.config import HttpServerConfig, StdioServerConfig, WebSocketServerConfig
from mcpsync.transports.http_sse import HttpSseTransport
from mcpsync.transports.websocket import WebSocketTransport


def carrier(config, **options):
    defaults = {"headers": None, "auth": None, "session": None, "limits": Limits()}
    return carrier_for(config, **(defaults | options))


def test_a_url_is_reached_over_http_and_known_by_its_origin():
    made = carrier(HttpServerConfig(url="http://ada:pw@Example.com/mcp?x=y"))
    assert isinstance(made, HttpCarrier)
    assert made.origin == ("http", "example.com", 80)
    assert not made.silence_is_legacy


def test_a_command_is_reached_over_stdio_and_is_asked_each_time():
    made = carrier(StdioServerConfig(command="server"))
    assert isinstance(made, StdioCarrier)
    assert made.origin is None
    assert made.silence_is_legacy


def test_a_command_is_not_started_before_it_is_needed():
    carrier(StdioServerConfig(command="no-such-command"))


def test_the_clients_headers_win_over_the_configurations():
    config = HttpServerConfig(url="http://127.0.0.1/mcp", headers={"A": "config", "B": "config"})
    made = carrier(config, headers={"b": "client"})
    headers = made._settings.headers
    assert (headers["a"], headers["b"]) == ("config", "client")


def test_the_configurations_headers_win_over_the_sessions():
    session = requests.Session()
    session.headers["A"] = "session"
    config = HttpServerConfig(url="http://127.0.0.1/mcp", headers={"a": "config"})
    assert carrier(config, session=session)._settings.headers["a"] == "config"


def test_a_header_that_cannot_be_sent_is_refused_at_once():
    with pytest.raises(ConfigurationError):
        carrier(HttpServerConfig(url="http://127.0.0.1/mcp"), headers={"A": "b\nc"})


def test_http_sse_is_tried_after_streamable_http_and_known_by_its_url():
    made = carrier(HttpServerConfig(url="http://example.com/sse"))
    assert made.place == "http://example.com/sse"
    assert isinstance(made.stream(), HttpSseTransport)
    assert not made.legacy_only


def test_who_says_sse_has_nothing_else_tried():
    made = carrier(HttpServerConfig(url="http://example.com/sse", type="sse"))
    assert isinstance(made.legacy(), HttpSseTransport)
    assert made.legacy_only
    assert made.stream() is None


def test_a_websocket_is_reached_with_the_settings_of_http():
    made = carrier(WebSocketServerConfig(url="wss://example.com/mcp"))
    assert isinstance(made.legacy(), WebSocketTransport)
    assert made.origin == ("https", "example.com", 443)
    assert made.legacy_only
