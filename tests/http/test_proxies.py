"""Through a proxy: absolute URLs for http, a tunnel for https."""

import base64

import pytest
import requests

from mcpsync import (
    ConfigurationError,
    ConnectError,
    ConnectTimeout,
)
from mcpsync.testing import LocalServer
from support.processes import free_port
from transports.door import BUDGET, SOON, ask, door, within
from transports.peer import RawServer, always, full_backlog, response
from transports.proxy import Proxy

ANSWER = always(response(b"{}"))


def through(proxy, verify=True):
    session = requests.Session()
    session.trust_env = False
    session.verify = verify
    session.proxies = {"http": proxy, "https": proxy}
    return session


@pytest.fixture
def proxy():
    with Proxy() as running:
        yield running


def test_http_goes_through_it_with_the_whole_url(proxy, serve):
    url = serve(ANSWER).url.replace("127.0.0.1", "mcp.example")
    assert ask(door(f"{url}?a=b", session=through(proxy.address))) == (200, b"{}")
    (request,) = proxy.requests
    assert (request.method, request.target) == ("POST", f"{url}?a=b")
    assert request.headers["host"] == url.split("/")[2]


def test_https_goes_through_a_tunnel(proxy, serve, certificate):
    url = serve(ANSWER, certificate.context()).url
    endpoint = door(url, session=through(proxy.address, certificate.path))
    assert [ask(endpoint) for _ in range(2)] == [(200, b"{}")] * 2
    (request,) = proxy.requests
    assert (request.method, request.target) == ("CONNECT", url.split("/")[2])


def test_the_tunnel_sees_no_credentials(proxy, serve, certificate):
    url = serve(ANSWER, certificate.context()).url
    session = through(proxy.address, certificate.path)
    ask(door(url, session=session, headers={"Authorization": "Bearer t", "X-Key": "k"}))
    assert "authorization" not in proxy.requests[0].headers
    assert "x-key" not in proxy.requests[0].headers


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_proxys_credentials_go_to_the_proxy(scheme, proxy, serve, certificate):
    url = serve(ANSWER, certificate.context() if scheme == "https" else None).url
    address = proxy.address.replace("//", "//ada:pw@")
    assert ask(door(url, session=through(address, certificate.path))) == (200, b"{}")
    expected = f"Basic {base64.b64encode(b'ada:pw').decode()}"
    assert proxy.requests[0].headers["proxy-authorization"] == expected


def test_credentials_in_the_url_are_not_in_the_request_line(proxy, serve):
    url = serve(ANSWER).url.replace("127.0.0.1", "ada:s3cr3t@127.0.0.1")
    ask(door(f"{url}#part", session=through(proxy.address)))
    assert "s3cr3t" not in proxy.requests[0].target
    assert "#" not in proxy.requests[0].target


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named(scheme):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ConnectError, match="proxy") as caught:
        ask(door(f"{scheme}://mcp.example/mcp", session=through(f"http://{address}")))
    assert address in str(caught.value)
    assert "mcp.example" in str(caught.value)
    assert not caught.value.maybe_executed


def test_a_proxy_that_refuses_the_tunnel():
    with Proxy("403 Forbidden") as proxy, pytest.raises(ConnectError, match="proxy") as caught:
        ask(door("https://mcp.example/mcp", session=through(proxy.address)))
    assert "mcp.example" in str(caught.value)
    assert not caught.value.maybe_executed


def test_a_proxy_that_wants_a_password():
    with Proxy("407 Proxy Authentication Required") as proxy:
        assert ask(door("http://mcp.example/mcp", session=through(proxy.address)))[0] == 407
        with pytest.raises(ConnectError):
            ask(door("https://mcp.example/mcp", session=through(proxy.address)))


def test_the_proxys_password_is_not_told():
    address = f"http://ada:s3cr3t@127.0.0.1:{free_port()}"
    with pytest.raises(ConnectError) as caught:
        ask(door("https://mcp.example/mcp", session=through(address)))
    assert "s3cr3t" not in str(caught.value)


def test_the_deadline_bounds_connecting_to_a_proxy():
    with (
        full_backlog() as port,
        within(BUDGET, BUDGET + SOON),
        pytest.raises(ConnectTimeout),
    ):
        ask(door("https://mcp.example/mcp", session=through(f"http://127.0.0.1:{port}")), BUDGET)


def test_the_deadline_bounds_the_opening_of_a_tunnel(serve):
    address = f"http://127.0.0.1:{serve(lambda peer: peer.wait_gone()).port}"
    with within(BUDGET, BUDGET + SOON), pytest.raises(ConnectTimeout) as caught:
        ask(door("https://mcp.example/mcp", session=through(address)), BUDGET)
    assert not caught.value.maybe_executed


@pytest.mark.parametrize(
    "location",
    [
        "http://evil.example\\@{host}/there",
        "http://evil.example:80\\x@{host}/there",
        "http://eve:pw@{host}/there",
        "//@{host}/there#part",
    ],
)
def test_a_redirect_within_the_origin_stays_there_however_the_proxy_reads_it(location, proxy):
    def move_once(peer):
        request = peer.read()
        where = location.format(host=request.headers["host"])
        is_first = request.target == "/mcp"
        peer.send(
            response(b"", "307 Moved", Location=where, Connection="close")
            if is_first
            else response(b"{}", Connection="close")
        )

    with RawServer(move_once) as server:
        url = server.url.replace("127.0.0.1", "mcp.example")
        endpoint = door(url, session=through(proxy.address), headers={"X-Key": "k"})
        assert ask(endpoint) == (200, b"{}")
    there = url.removesuffix("/mcp") + "/there"
    assert [request.target for request in proxy.requests] == [url, there]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "https", "gopher"])
def test_a_proxy_that_cannot_be_used_is_refused_and_not_gone_round(scheme):
    with LocalServer() as server, pytest.raises(ConfigurationError, match="proxy") as caught:
        ask(door(server.url, session=through(f"{scheme}://127.0.0.1:9")))
    assert not caught.value.maybe_executed
    assert server.connections_opened == 0


def test_two_proxies_share_no_sockets(serve):
    server = serve(ANSWER)
    with Proxy() as one, Proxy() as other:
        for proxy in (one, other):
            assert ask(door(server.url, session=through(proxy.address))) == (200, b"{}")
        assert [len(one.requests), len(other.requests)] == [1, 1]
