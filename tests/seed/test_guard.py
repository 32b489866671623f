"""Seed 8.5: what is reached, and what is not. (And 8.1.13: the domain policy)"""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from mcpsync import Cancellation, ConfigurationError, MCPManager, MCPSyncError, RefusedError
from mcpsync.auth import BearerAuth
from mcpsync.errors import HTTPStatusError, RequestCancelled
from mcpsync.http import Fetcher, HttpSettings
from mcpsync.http.guarding import guarded
from mcpsync.http.redirects import settings_abroad
from mcpsync.security.addresses import is_within
from mcpsync.security.guard import AllowedAddress, AllowedDomain, Guard
from mcpsync.testing import LocalServer
from security.world import PUBLIC, World, names, world
from seed.things import raised
from transports.door import ask, door
from transports.peer import Peer, RawServer, response
from transports.proxy import Proxy

__all__ = ["names", "world"]

OTHER = "http://public.example:8080/there"
SECRETS = ("t0ken", "k3y", "0wn", "s3ssion", "c00kie")
PROTOCOL = {
    "accept": "application/json",
    "content-type": "application/json",
    "mcp-session-id": "s3ssion",
    "mcp-protocol-version": "2025-11-25",
}


class Answering(RawServer):
    """Answers with what it was told, one after the other; then with {}."""

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[Any] = []
        self._answers = iter(answers)
        super().__init__(self._converse)

    def _converse(self, peer: Peer) -> None:
        while (request := peer.read()) is not None:
            self.requests.append(request)
            peer.send(next(self._answers, response(b"{}")))


def moved(to: str, status: int = 307, **headers: str) -> bytes:
    """A redirect."""
    return response(b"", f"{status} Moved", Location=to, **headers)


@pytest.fixture
def other(world: World) -> Iterator[Answering]:
    """The server that stands for public.example."""
    with Answering() as other:
        world.stand_ins[PUBLIC] = other.port
        yield other


def send(url: str, **settings: Any) -> tuple[int, bytes]:
    return ask(
        door(url, headers={"X-Key": "k3y"}, auth=BearerAuth("t0ken"), **settings),
        body=b"[1]",
        headers=PROTOCOL,
        extra={"X-Own": "0wn"},
    )


# -- redirects --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirects_that_change_the_method_are_not_followed(status: int, other: Answering) -> None:
    with Answering(moved("/here", status), moved(OTHER, status)) as server:
        for _ in range(2):
            with pytest.raises(HTTPStatusError, match="is not followed"):
                send(server.url)
        assert len(server.requests) == 2
    assert other.accepted == 0


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_that_keep_the_method_are_followed_with_the_body(
    status: int, other: Answering
) -> None:
    with Answering(moved("/here", status), moved(OTHER, status)) as server:
        assert send(server.url) == (200, b"{}")
        assert server.requests[1].target == "/here"
    (request,) = other.requests
    assert (request.method, request.target, request.body) == ("POST", "/there", b"[1]")
    assert request.headers["host"] == "public.example:8080"


def test_more_than_five_redirects_are_too_many_wherever_they_lead(other: Answering) -> None:
    other._answers = iter([moved(f"/{n}") for n in range(9)])
    with (
        Answering(moved("/2"), moved(OTHER)) as server,
        pytest.raises(HTTPStatusError, match="more than 5 times"),
    ):
        send(server.url)
    assert len(server.requests) + len(other.requests) == 6


@pytest.mark.parametrize("source", ["yaml", "user"])
def test_a_redirect_leads_to_no_host_that_is_not_listed(
    source: str, world: World, other: Answering
) -> None:
    with Answering(*[moved(OTHER)] * 9) as server:
        config = {"url": server.url, "source": source}
        allowed = {"allowed_domains": ["127.0.0.1"], "allowed_addresses": ["127.0.0.1"]}
        with MCPManager({"theirs": config}, connect_attempts=1, **allowed) as manager:
            error = raised(lambda: manager.call_tool("theirs", "add", {}, user="ada"))
    assert isinstance(error, HTTPStatusError)
    assert "allowed_domains" in str(error)
    assert other.accepted == 0


@pytest.mark.parametrize("is_operators", [True, False])
def test_whom_a_server_names_has_to_be_listed(is_operators: bool) -> None:
    policy = Guard(["login.example"]).for_named(is_operators)
    Fetcher(policy=policy).check("https://login.example/token")
    with pytest.raises(RefusedError) as caught:
        Fetcher(policy=policy).check("https://evil.example/token")
    assert caught.value.rule == "domain"


@pytest.mark.parametrize("is_operators", [True, False])
def test_whom_a_server_names_may_be_inside_where_that_is_allowed(is_operators: bool) -> None:
    policy = Guard(allowed_addresses=["10.0.0.5:443"]).for_named(is_operators)
    Fetcher(policy=policy).check("https://10.0.0.5/token")
    with pytest.raises(RefusedError) as caught:
        Fetcher(policy=policy).check("https://10.0.0.6/token")
    assert caught.value.rule == "address"


def test_another_origin_is_shown_no_certificate_of_ours_and_has_to_have_a_good_one() -> None:
    session = requests.Session()
    session.cert, session.verify, session.trust_env = "/ours.pem", "/bundle.pem", False
    settings = HttpSettings.resolve("https://a.example/mcp", session=session)
    assert (settings.key.cert, settings.key.verify) == ("/ours.pem", "/bundle.pem")
    abroad = settings_abroad(settings, "https://public.example/mcp")
    assert (abroad.key.cert, abroad.key.verify) == (None, "/bundle.pem")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/x",
        "http://127.0.0.1:1/x",
        "http://10.0.0.5/x",
        "http://2852039166/latest",
        "http://[::ffff:10.0.0.5]/x",
        "http://localhost:{port}/x",
        "http://mcp.internal/x",
        "http://private.example/x",
        "http://loop.example:{port}/x",
        "http://ada:s3cret@public.example/x",
        "ftp://public.example/x",
    ],
)
@pytest.mark.parametrize("source", ["operator", "user"])
def test_a_redirect_inside_is_not_followed_even_with_allowlists(
    target: str, source: str, world: World
) -> None:
    with Answering(*[moved(world.at(target))] * 9) as server:
        config = {"url": server.url, **({"source": "user"} if source == "user" else {})}
        domains = ["127.0.0.1", "*.example", "10.0.0.5", "localhost", "mcp.internal"]
        with MCPManager(
            {"theirs": config},
            allowed_domains=domains,
            allowed_addresses=["127.0.0.0/8", "10.0.0.0/8", "mcp.internal", "localhost"],
            connect_attempts=1,
        ) as manager:
            error = raised(lambda: manager.call_tool("theirs", "add", {}, user="ada"))
        assert isinstance(error, HTTPStatusError | RefusedError)
        assert "s3cret" not in str(error)
        assert "would allow it" not in str(error), "nothing would"
        assert not error.maybe_executed
    assert world.server.accepted == 0
    assert set(world.connected) == {"127.0.0.1"}, "the server itself"


def test_a_redirect_to_another_origin_takes_nothing_of_ours_along(other: Answering) -> None:
    here = moved("/here", Set_Cookie="sid=c00kie; Path=/")
    with Answering(here, moved(OTHER)) as server:
        assert send(server.url) == (200, b"{}")
        told = str(server.requests[1].headers)
        assert all(secret in told for secret in SECRETS), "within the origin all of it goes"
    (request,) = other.requests
    assert not any(secret in str(request.headers) for secret in SECRETS)
    ours = {"accept", "content-type", "content-length", "user-agent", "mcp-protocol-version"}
    assert set(request.headers) <= {"host", "accept-encoding", *ours}
    assert request.headers["accept"] == request.headers["content-type"] == "application/json"


def test_who_was_redirected_away_gets_nothing_back_on_his_return(
    other: Answering, world: World
) -> None:
    """Not even by way of the first origin's own name: what comes back is another's word."""
    other._answers = iter([moved("/again"), moved(f"http://127.0.0.1:{world.server.port}/")])
    with (
        Answering(moved(OTHER)) as server,
        pytest.raises(HTTPStatusError, match="not public"),
    ):
        send(server.url)
    assert not any(secret in str(other.requests) for secret in SECRETS)
    assert world.server.accepted == 0


def test_the_cookies_and_challenges_of_another_origin_are_its_own(other: Answering) -> None:
    other._answers = iter(
        [response(b"", "401 No", WWW_Authenticate="Bearer", Set_Cookie="a=b; Path=/")]
    )
    asked: list[Any] = []

    def credentials(request: Any) -> Any:
        asked.append(request.url)
        return request

    with Answering(moved(OTHER)) as server:
        endpoint = door(server.url, auth=credentials)
        assert ask(endpoint)[0] == 401
        assert ask(endpoint)[0] == 200
        assert asked == [server.url, server.url]
        assert "cookie" not in server.requests[1].headers


def test_a_redirect_goes_without_headers_where_there_are_none(other: Answering) -> None:
    with Answering(moved(OTHER)) as server:
        assert ask(door(server.url), method="GET", body=None) == (200, b"{}")
    assert other.requests[0].method == "GET"


def test_a_redirect_within_the_origin_keeps_everything() -> None:
    with Answering(moved("/here")) as server:
        assert send(server.url) == (200, b"{}")
    first, second = server.requests
    assert second.headers == first.headers


def test_what_another_origin_takes_too_long_for_can_be_called_off(
    world: World,
) -> None:
    cancel = Cancellation()

    def silent(peer: Peer) -> None:
        peer.read()
        cancel.cancel("enough")
        peer.wait_gone()

    with RawServer(silent) as slow, Answering(moved(OTHER)) as server:
        world.stand_ins[PUBLIC] = slow.port
        with pytest.raises(RequestCancelled):
            ask(door(server.url), cancel=cancel)


def test_closing_ends_what_was_redirected(world: World) -> None:
    def silent(peer: Peer) -> None:
        peer.read()
        endpoint.close(MCPSyncError("closed"))
        peer.wait_gone()

    with RawServer(silent) as slow, Answering(moved(OTHER)) as server:
        world.stand_ins[PUBLIC] = slow.port
        endpoint = door(server.url)
        with pytest.raises(MCPSyncError, match="closed"):
            ask(endpoint)


# -- proxies ----------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def proxy_of(url: str) -> str | None:
    return HttpSettings.resolve(url).key.proxy


def test_proxies_come_from_the_environment_and_an_empty_lower_case_is_none(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("HTTPS_PROXY", "http://upper:3128")
    assert proxy_of("https://a.example/mcp") == "http://upper:3128"
    environment.setenv("https_proxy", "http://lower:3128")
    assert proxy_of("https://a.example/mcp") == "http://lower:3128"
    environment.setenv("https_proxy", "")
    assert proxy_of("https://a.example/mcp") is None


def test_the_proxy_of_a_configuration_comes_before_that_of_the_environment(
    environment: pytest.MonkeyPatch,
) -> None:
    with Proxy() as proxy, LocalServer() as server:
        environment.setenv("http_proxy", "http://127.0.0.1:9")
        with MCPManager({"crm": {"url": server.url, "proxy": proxy.address}}) as manager:
            manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
        assert {request.target for request in proxy.requests} == {server.url}


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("a.example", "https://a.example/mcp"),
        ("example", "https://a.example/mcp"),
        (".example", "https://a.example/mcp"),
        ("*", "https://a.example/mcp"),
        ("10.0.0.0/8", "https://10.1.2.3/mcp"),
        ("10.1.2.3", "https://10.1.2.3/mcp"),
        ("a.example:8443", "https://a.example:8443/mcp"),
    ],
)
def test_who_is_in_no_proxy_is_asked_directly(
    entry: str, url: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("https_proxy", "http://proxy:3128")
    assert proxy_of(url) == "http://proxy:3128"
    environment.setenv("no_proxy", entry)
    assert proxy_of(url) is None


def test_the_proxy_is_chosen_anew_for_where_a_redirect_leads(
    environment: pytest.MonkeyPatch, world: World
) -> None:
    with (
        Proxy() as proxy,
        Answering() as behind,
        Answering(moved(f"http://public.example:{behind.port}/there")) as server,
    ):
        environment.setenv("http_proxy", proxy.address)
        environment.setenv("no_proxy", "127.0.0.1")
        assert send(server.url) == (200, b"{}")
        assert proxy.requests[0].target == f"http://public.example:{behind.port}/there"
        assert not any(secret in str(proxy.requests) for secret in SECRETS)


def test_a_redirect_does_not_lead_past_the_proxy_of_a_configuration(world: World) -> None:
    with (
        Proxy() as proxy,
        Answering(*[response(b"{}", Connection="close")] * 9) as behind,
    ):
        there = f"http://public.example:{behind.port}/there"
        with Answering(*[moved(there, Connection="close")] * 9) as server:
            config = {"url": server.url, "proxy": proxy.address}
            with MCPManager({"crm": config}, connect_attempts=1) as manager:
                raised(lambda: manager.call_tool("crm", "add", {}, user="ada"))
            assert [each.target for each in proxy.requests][:2] == [server.url, there]
        assert PUBLIC not in world.connected


def test_through_a_proxy_it_has_to_be_a_literal_or_an_allowed_host(world: World) -> None:
    with Proxy() as proxy:
        session = requests.Session()
        session.trust_env = False
        session.proxies = {"http": proxy.address}

        def settings(url: str, *domains: str) -> HttpSettings:
            found = HttpSettings.resolve(url, session=session)
            return guarded(found, url, Guard(domains or None).for_server(False))

        with pytest.raises(RefusedError, match="an IP literal or an explicitly allowed host"):
            settings("http://public.example/mcp")
        with pytest.raises(RefusedError, match="not public"):
            settings("http://10.0.0.5/mcp")
        assert settings(f"http://{PUBLIC}/mcp").key.proxy == proxy.address
        assert settings("http://public.example/mcp", "*.example").key.proxy == proxy.address
        assert proxy.accepted == 0


# -- WebSocket --------------------------------------------------------------------------------


def called(url: str, **options: Any) -> MCPSyncError:
    with MCPManager(
        {"theirs": {"url": url, "source": "user"}}, connect_attempts=1, **options
    ) as manager:
        return raised(lambda: manager.call_tool("theirs", "add", {}, user="ada"))


def test_a_websocket_whose_name_leads_inside_is_not_opened_whatever_is_listed(
    world: World,
) -> None:
    error = called(world.at("ws://loop.example:{port}/mcp"), allowed_domains=["loop.example"])
    assert isinstance(error, RefusedError)
    assert error.rule == "address"
    assert world.connected == []


def test_a_websocket_that_is_public_is_opened(world: World) -> None:
    error = called("ws://public.example/mcp", allowed_domains=["public.example"])
    assert not isinstance(error, RefusedError)
    assert set(world.connected) == {PUBLIC}


# -- the lists --------------------------------------------------------------------------------


RANGES = """
    0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0
    127.255.255.255 169.254.0.0 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.255
    192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 224.0.0.0 239.255.255.255 240.0.0.0
    255.255.255.255 :: ::1 fc00:: fdff:ffff:: fe80:: febf:: fec0:: feff:: ::ffff:10.0.0.1
    ::ffff:a00:1 2002:a00:1:: 64:ff9b::a00:1 2001:0:a00:1::
"""
OUTSIDE = """
    1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0
    198.17.255.255 198.20.0.0 223.255.255.255 2606:4700::1111 ::ffff:1.1.1.1
"""


def test_every_range_is_known_at_both_its_ends() -> None:
    assert [each for each in RANGES.split() if is_within(each, "public")] == []
    assert [each for each in OUTSIDE.split() if not is_within(each, "public")] == []


@pytest.mark.parametrize(
    ("entry", "hit", "missed"),
    [
        ("a.example", "https://a.example:443 ws://A.example:80", "https://b.a.example:443"),
        ("*.a.example", "https://a.example:443 https://c.b.a.example:1", "https://ba.example:443"),
        ("www.a.example", "https://a.example:443", "https://w.a.example:443"),
        ("a.example", "https://www.a.example:443", "https://wwwa.example:443"),
        (
            "*.www.a.example",
            "https://www.a.example:443 https://b.www.a.example:443",
            "https://a.example:443 https://b.a.example:443",
        ),
        ("https://a.example", "https://a.example:8443", "http://a.example:80 wss://a.example:443"),
        ("wss://*.example", "wss://a.example:443", "ws://a.example:80 https://a.example:443"),
        ("a.example:8443", "https://a.example:8443 http://a.example:8443", "https://a.example:443"),
        ("https://*.example:8443", "https://a.example:8443", "https://a.example:443"),
        ("A.Example.", "https://a.example:443", "https://a.example.b:443"),
        ("10.0.0.5", "http://10.0.0.5:80", "http://10.0.0.50:80"),
        ("[fd00::1]:8080", "http://fd00::1:8080", "http://fd00::1:80"),
    ],
)
def test_domains_are_matched_by_host_wildcard_scheme_and_port(
    entry: str, hit: str, missed: str
) -> None:
    policy = Guard([entry]).for_server(False)

    def is_listed(url: str) -> bool:
        scheme, _, rest = url.partition("://")
        host, _, port = rest.rpartition(":")
        return policy.names(scheme, host, int(port))

    assert [url for url in hit.split() if not is_listed(url)] == []
    assert [url for url in missed.split() if is_listed(url)] == []


@pytest.mark.parametrize(
    "entry",
    [
        *("", "*", "*.", "a b", "ftp://a.example", "https://", "https://a.example/mcp"),
        *("a.example:", "a.example:0", "a.example:99999", "a.example:x", "a.*.example", "**.a"),
        *("ada@a.example", "a.example?b", "bücher.example", "-a.example", None),
    ],
)
def test_what_is_no_entry_for_domains_is_refused(entry: Any) -> None:
    with pytest.raises(ConfigurationError, match="allowed_domains"):
        AllowedDomain.parse(entry)


@pytest.mark.parametrize(
    "entry",
    [
        *("http://10.0.0.5", "10.0.0.5/mcp", "10.0.0.5:80/8", "mcp.internal/mcp", "a b", ""),
        *("${HOST}:80", "mcp.internal:", "mcp.internal:0", "10.0.0.5:99999", "*.internal", None),
        *("8.8.8.8", "8.8.8.8:53", "0.0.0.0/0", "::/0", "10.0.0.0/7", "2606:4700::1111", "[::1"),
        *("10.0.0.1/8", "10.0.0.300", "2130706433"),
    ],
)
def test_an_allowed_address_has_no_scheme_or_path_and_is_not_public(entry: Any) -> None:
    with pytest.raises(ConfigurationError, match="allowed_addresses"):
        AllowedAddress.parse(entry)


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "expected"),
    [
        ("10.0.0.5:80", "a.example", 80, "10.0.0.5", True),
        ("10.0.0.5:80", "a.example", 81, "10.0.0.5", False),
        ("10.0.0.5", "a.example", 81, "10.0.0.5", True),
        ("10.0.0.5", "a.example", 81, "::ffff:10.0.0.5", True),
        ("10.0.0.5", "a.example", 81, "10.0.0.6", False),
        ("10.0.0.0/8", "a.example", 81, "10.9.9.9", True),
        ("10.0.0.0/8", "a.example", 81, "192.168.0.1", False),
        ("[fd00::1]:80", "a.example", 80, "fd00::1", True),
        ("fd00::1", "a.example", 9, "fd00::1", True),
        ("fd00::/8", "a.example", 9, "fd12::1", True),
        ("fe80::/10", "a.example", 9, "fe80::1%lo", True),
        ("MCP.internal:80", "mcp.INTERNAL.", 80, "10.0.0.5", True),
        ("mcp.internal:80", "a.mcp.internal", 80, "10.0.0.5", False),
    ],
)
def test_an_allowed_address_is_matched_by_host_or_address_and_port(
    entry: str, host: str, port: int, address: str, expected: bool
) -> None:
    policy = Guard(allowed_addresses=[entry]).for_server(False)
    assert policy.admits(host, port, address) is expected


@pytest.mark.parametrize("name", ["allowed_domains", "allowed_addresses"])
def test_a_list_is_a_list(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is a list of texts"):
        MCPManager({}, **{name: "a.example"})
    with pytest.raises(ConfigurationError, match="guard is"):
        MCPManager({}, guard="none")  # type: ignore[arg-type]


# -- 8.1.13 -----------------------------------------------------------------------------------


def test_the_domain_policy_is_held_against_the_resolved_url(server: LocalServer) -> None:
    port = server.url.split(":")[2].partition("/")[0]
    config = {"url": f"http://{{{{WHERE}}}}:{port}/mcp", "custom_user_vars": {"WHERE": {}}}
    with MCPManager(
        {"crm": config},
        allowed_domains=["127.0.0.1"],
        allowed_addresses=[f"127.0.0.1:{port}"],
    ) as manager:

        def add(where: str) -> Any:
            return manager.call_tool(
                "crm", "add", {"a": 1, "b": 2}, user="ada", custom_user_vars={"WHERE": where}
            )

        error = raised(lambda: add("localhost"))
        assert isinstance(error, RefusedError)
        assert error.rule == "domain"
        assert "allowed_domains" in str(error)
        assert server.requests == []
        assert add("127.0.0.1").content[0].text == "3"
