"""Where a URL that somebody else has given may lead: looked at as it is connected to. (S1, S8)"""

import functools
import socket

import pytest
import requests

from mcpsync._runtime.deadline import Deadline
from mcpsync.errors import ConnectError, HTTPStatusError, RefusedError
from mcpsync.http import Fetcher, pools
from mcpsync.http.exchange import Exchange
from mcpsync.http.sockets import open_socket
from mcpsync.security.guard import AddressPolicy
from support.processes import free_port
from transports.door import LONG, ask, door
from transports.peer import RawServer, always, response
from transports.proxy import Proxy

LOCAL = AddressPolicy("loopback")

ANSWER = response(b"{}")
PRIVATE = ["10.0.0.1", "169.254.169.254", "127.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%lo"]


def resolver(port, *answers):
    """A resolver: each time it is asked it gives the next of *answers*, a list of addresses."""
    answers = list(answers)

    def resolve(*_):
        hosts = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (
                socket.AF_INET6 if ":" in host else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (host, port),
            )
            for host in hosts
        ]

    return resolve


def resolving(monkeypatch, resolve):
    """Have every connection of the door ask *resolve*."""
    monkeypatch.setattr(pools, "open_socket", functools.partial(open_socket, resolve=resolve))


def get(fetcher, url, timeout=LONG):
    return fetcher.get(url, deadline=Deadline(timeout))


@pytest.fixture
def server():
    with RawServer(always(ANSWER)) as running:
        yield running


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_inside_is_not_connected_to(address, server, monkeypatch):
    resolving(monkeypatch, resolver(server.port, [address]))
    with pytest.raises(RefusedError, match="leads to an address that is not public") as caught:
        get(Fetcher(), f"https://as.example:{server.port}/token")
    assert server.accepted == 0
    assert not caught.value.maybe_executed


def test_of_several_addresses_only_those_in_reach_are_tried(server):
    exchange = Exchange(Deadline(LONG), LOCAL)
    resolve = resolver(server.port, ["10.0.0.1", "127.0.0.1"])
    with open_socket("as.example", server.port, exchange, resolve=resolve) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"


def test_a_name_that_was_good_when_it_was_first_asked_for_is_looked_at_again(monkeypatch, server):
    """DNS rebinding: the second answer leads inside. The first connection is not kept."""
    resolving(monkeypatch, resolver(server.port, ["127.0.0.1"], ["10.0.0.1"]))
    fetcher = Fetcher(policy=LOCAL)
    url = f"http://as.localhost:{server.port}/x"
    assert get(fetcher, url).status == 200
    server.close()
    with pytest.raises(RefusedError, match="not public"):
        get(fetcher, url)


def test_sockets_of_who_may_go_anywhere_are_not_lent_to_who_may_not(server):
    url = f"http://localhost:{server.port}/x"
    assert get(Fetcher(policy=LOCAL), url).status == 200
    with pytest.raises(RefusedError):
        get(Fetcher(policy=AddressPolicy("public")), url)
    assert server.accepted == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "①②⑦.⓪.⓪.①",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LOCALHOST.",
        "app.localhost",
        "10.0.0.1",
        "167772161",
        "169.254.169.254",
        "0xa9fea9fe",
        "[fd00:ec2::254]",
        "0.0.0.0",
        "0",
    ],
)
@pytest.mark.parametrize("proxied", [False, True], ids=["directly", "through a proxy"])
def test_an_address_inside_is_refused_in_whatever_spelling(host, proxied, server):
    with Proxy() as proxy:
        session = requests.Session()
        session.trust_env = False
        if proxied:
            session.proxies = {"https": proxy.address, "http": proxy.address}
        with pytest.raises(RefusedError, match=r"not public|is not used"):
            get(Fetcher(session=session), f"https://{host}:{server.port}/latest/meta-data")
        assert server.accepted == proxy.accepted == 0


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_proxy_may_be_inside_since_it_is_the_operators(certificate):
    """It is the proxy that resolves names then."""
    with (
        Proxy() as proxy,
        RawServer(always(ANSWER), certificate.context()) as server,
    ):
        session = requests.Session()
        session.trust_env = False
        session.verify = False
        session.proxies = {"https": proxy.address}
        answer = get(Fetcher(session=session), f"https://as.example:{server.port}/x")
        assert answer.status == 200
        assert proxy.requests[0].target == f"as.example:{server.port}"


def test_plain_http_is_for_this_machine_and_for_servers_on_it(server):
    assert get(Fetcher(policy=LOCAL), f"http://127.0.0.1:{server.port}/").status == 200
    for reach in ("loopback", "public"):
        with pytest.raises(RefusedError, match="only https"):
            get(Fetcher(policy=AddressPolicy(reach)), f"http://as.example:{server.port}/")
    with pytest.raises(RefusedError, match="only https"):
        get(Fetcher(policy=AddressPolicy("public")), f"http://127.0.0.1:{server.port}/")
    assert server.accepted == 1


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "javascript://as.example/%0aalert(1)",
        "data:application/json,{}",
        "file:///etc/passwd",
        "vbscript:x",
        "ftp://as.example/",
        "//as.example/x",
        "/token",
        "token",
        "",
        "https://",
        "https:///token",
        "https://[",
        "https://as.example:99999/",
        "https://as.example:x/",
        "https://user:s3cret@as.example/",
        "https://s3cret@as.example/",
        "https://@as.example/",
        "https://as.example\\@evil.example/",
        "https://as.example\\.evil.example/",
        "http://evil.example\\.localhost/",
        "http://evil.example#.localhost/",
        "https://as.example/\r\nX-Evil: 1",
        "https://as.example/\x00",
        "https://exa mple/",
        "https://" + "a" * 300 + "/",
    ],
)
@pytest.mark.parametrize("reach", ["public", "loopback"])
def test_what_is_not_plainly_https_is_not_asked(url, reach):
    with pytest.raises(RefusedError, match="only https") as caught:
        get(Fetcher(policy=AddressPolicy(reach)), url)
    told = str(caught.value)
    assert "s3cret" not in told
    assert told.isprintable()
    assert len(told) < 700


def test_nobody_there_is_another_error_than_not_allowed():
    with pytest.raises(ConnectError, match="nobody listens"):
        get(Fetcher(policy=LOCAL), f"http://127.0.0.1:{free_port()}/")


@pytest.fixture
def unverified():
    session = requests.Session()
    session.trust_env = False
    session.verify = False
    return session


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_what_the_operator_has_written_may_be_anywhere_and_nothing_beside_it(
    certificate, unverified, monkeypatch
):
    with RawServer(always(ANSWER), certificate.context()) as server:
        resolving(monkeypatch, resolver(server.port, ["127.0.0.1"]))
        url = f"https://mcp.internal:{server.port}"
        fetcher = Fetcher(session=unverified, trusted=[f"{url}/mcp"])
        assert get(fetcher, f"{url}/.well-known/x").status == 200
        for other in (
            f"https://as.internal:{server.port}/",
            f"https://mcp.internal:{server.port - 1}/",
        ):
            with pytest.raises(RefusedError, match="not public"):
                get(fetcher, other)
        assert server.accepted == 1
        with pytest.raises(RefusedError, match="not public"):
            get(Fetcher(session=unverified), f"{url}/.well-known/x")
        assert server.accepted == 1, "and the socket is not lent to who trusts it not"


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433"])
def test_an_address_that_the_operator_has_written_is_good(host, certificate, unverified):
    with RawServer(always(ANSWER), certificate.context()) as server:
        url = f"https://{host}:{server.port}/"
        assert get(Fetcher(session=unverified, trusted=[url]), url).status == 200


@pytest.mark.parametrize("written", ["bücher.example", "xn--bcher-kva.example", "BÜCHER.example"])
def test_the_operators_host_is_his_in_whatever_letters(written):
    policy = AddressPolicy("public", domains=())
    fetcher = Fetcher(policy=policy, trusted=["https://bücher.example/mcp"])
    fetcher.check(f"https://{written}/token")
    with pytest.raises(RefusedError):
        fetcher.check("https://bucher.example/token")


def test_even_the_operator_is_asked_over_https_or_on_this_machine():
    with pytest.raises(RefusedError, match="only https"):
        get(Fetcher(trusted=["http://mcp.internal/"]), "http://mcp.internal/")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_no_redirect_leads_from_https_to_http(certificate, unverified):
    away = response(b"", "307 Moved", Location="http://93.184.216.34/mcp")
    with RawServer(always(away), certificate.context()) as server:
        endpoint = door(server.url, session=unverified)
        with pytest.raises(HTTPStatusError, match="from https to http"):
            ask(endpoint)
        assert server.accepted == 1
