"""Where a URL may lead, by whose word it is there: one table, driven through the real path.

Each row is a server of a manager, or a URL that a server names. Everything is real from the
configuration to the socket: what is looked up goes to a name server on this machine (see
``support.names`` for why it is not the system's that asks it), and what is connected to is written
down. Sockets for other machines end there, as if nobody listened; those for this one are made.
(Seed 5.1 to 5.6, requirement S1)
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from mcpsync import ConfigurationError, MCPManager, MCPSyncError, RefusedError
from mcpsync._runtime.deadline import Deadline
from mcpsync.client.carriers import settings_for
from mcpsync.config.parsing import parse_server
from mcpsync.connections.guarding import fetcher_for
from mcpsync.errors import ConnectError
from mcpsync.http import Fetcher
from mcpsync.http.guarding import check_guarded
from mcpsync.security.guard import Guard
from mcpsync.testing import LocalServer
from security.world import PUBLIC, World, names, world
from transports.door import LONG
from transports.proxy import Proxy

__all__ = ["names", "world"]

HERE = {"allowed_addresses": ["127.0.0.1:{port}"]}
TENS = {"allowed_addresses": ["10.0.0.0/8"]}
LISTED = {"allowed_domains": ["public.example", "*.below.example", "https://tls.example:8443"]}


@dataclass(frozen=True)
class Row:
    """A URL, whose word it is, what was allowed, and what comes of it.

    Args:
        url: ``{port}`` in it is the port of a server on this machine.
        expected: The rule that forbids it; ``schema`` if no configuration may have it; ``-``
            and an address if that is connected to.
        source: ``user``, ``operator``, ``template`` (the operator's, with a user's value for
            ``{{WHERE}}``) or ``named`` (by a server of a user's).
        policy: The manager's arguments.
        proxied: Whether it goes through a proxy.
    """

    url: str
    expected: str
    source: str = "user"
    policy: dict[str, Any] = field(default_factory=dict)
    proxied: bool = False
    where: str = ""

    def __str__(self) -> str:
        said = "".join(f" {key}={value}" for key, value in self.policy.items())
        via = " proxied" if self.proxied else ""
        return f"{self.source}: {self.url} {self.where}{said}{via} {self.expected}"


def rows(urls: str, expected: str, **more: Any) -> list[Row]:
    """A row for each of these URLs."""
    return [Row(url, expected, **more) for url in urls.split()]


LITERALS = """
    http://127.0.0.1:{port}/mcp http://127.1:{port}/mcp http://127.0.1:{port}/mcp
    http://2130706433:{port}/mcp http://0x7f000001:{port}/mcp http://0x7f.1:{port}/mcp
    http://0X7F.0x0.0x0.0x1:{port}/mcp http://0177.0.0.1:{port}/mcp http://017700000001:{port}/mcp
    http://0177.0.0x1:{port}/mcp http://127.0.0.1.:{port}/mcp http://127.255.255.254:{port}/mcp
    http://0.0.0.0:{port}/mcp http://0:{port}/mcp http://00:{port}/mcp
    http://[::1]:{port}/mcp http://[0:0:0:0:0:0:0:1]:{port}/mcp http://[::]:{port}/mcp
    http://[::ffff:127.0.0.1]:{port}/mcp http://[::ffff:7f00:1]:{port}/mcp
    http://[::127.0.0.1]:{port}/mcp http://[64:ff9b::7f00:1]:{port}/mcp
    http://[64:ff9b::10.0.0.1]/mcp http://[64:ff9b:1::a00:1]/mcp http://[2002:7f00:1::]/mcp
    http://[2002:a9fe:a9fe::]/mcp http://[2001:0:a00:1::]/mcp http://[2001:0:808:808::f5ff:fffe]/mcp
    http://[fe80::1]/mcp http://[fe80::1%25lo]/mcp http://[fe80::1%lo]/mcp http://[fec0::1]/mcp
    http://[fc00::1]/mcp http://[fd00:ec2::254]/mcp http://[ff02::1]/mcp http://[2001:db8::1]/mcp
    https://10.0.0.1/mcp https://167772161/mcp https://012.0.0.1/mcp https://10.1/mcp
    https://172.16.0.1/mcp https://172.31.255.255/mcp https://192.168.1.1/mcp
    https://192.168.257/mcp https://100.64.0.1/mcp https://169.254.169.254/latest/meta-data
    https://0xa9fea9fe/mcp https://2852039166/mcp https://168.63.129.16/mcp https://192.0.0.192/mcp
    https://198.18.0.1/mcp https://224.0.0.1/mcp https://240.0.0.1/mcp https://255.255.255.255/mcp
    https://0.1.2.3/mcp http://127%2e0%2e0%2e1:{port}/mcp http://127.0.0.1../mcp
    http://[::ffff:0:127.0.0.1]/mcp http://[3fff::1]/mcp
    http://127.0.0.1#@public.example/ https://192.88.99.1/mcp http://4294967295/mcp
    wss://127.0.0.1:{port}/mcp ws://2130706433:{port}/mcp
    ws://[::ffff:10.0.0.1]/mcp ws://169.254.169.254/mcp
"""
NAMES = """
    http://localhost:{port}/mcp http://LOCALHOST:{port}/mcp http://localhost.:{port}/mcp
    http://loc%61lhost:{port}/mcp http://app.localhost:{port}/mcp http://localhost.localdomain/mcp https://mcp.internal/mcp
    https://metadata.google.internal/mcp https://printer.local/mcp https://redis/mcp
    https://rag_api:8000/mcp https://metadata/mcp ws://localhost:{port}/mcp wss://redis:6379/mcp
    https://router.home.arpa/mcp
"""
RESOLVED = """
    https://private.example/mcp https://PRIVATE.example./mcp https://shared.example/mcp
    https://meta.example/mcp http://loop.example:{port}/mcp http://loop6.example:{port}/mcp
    https://mapped.example/mcp https://nat64.example/mcp https://sixtofour.example/mcp
    https://many.example/mcp ws://loop.example:{port}/mcp wss://private.example/mcp
    https://private.example:8443/mcp
"""
ODD = """
    https://ada:s3cret@public.example/mcp https://s3cret@public.example/mcp
    https://public.example@127.0.0.1:{port}/mcp https://@public.example/mcp
    http://public.example;@127.0.0.1/ https://public.example\\@127.0.0.1/mcp http://public.example\\.localhost/mcp
    https://public.example/m\u200bcp
"""
SCHEMA = """
    file:///etc/passwd gopher://127.0.0.1:6379/_INFO ftp://127.0.0.1/ dict://127.0.0.1/
    javascript:alert(1) data:text/plain,x //127.0.0.1/mcp /mcp https:///mcp https:// http://[::1/
    http://127.0.0.1:99999/mcp http://127.0.0.1:x/mcp ldap://127.0.0.1/ unix:///run/docker.sock
    ws://ada:s3cret@public.example/mcp
    http://①②⑦.⓪.⓪.①:{port}/mcp http://\uff11\uff12\uff17.0.0.1:{port}/mcp
    http://127\u30020\u30020\u30021:{port}/mcp https://\uff4cocalhost/mcp
"""
TABLE = [
    *rows(LITERALS, "address"),
    *rows(NAMES, "name"),
    *rows(RESOLVED, "address"),
    *rows(ODD, "form"),
    *rows(SCHEMA, "schema"),
    *rows(
        "https://public.example/mcp http://public.example/mcp wss://public.example/", f"-{PUBLIC}"
    ),
    Row(f"https://{PUBLIC}/mcp", f"-{PUBLIC}"),
    Row("https://six.example/mcp", "-2606:4700::1111"),
    Row("https://mixed.example/mcp", f"-{PUBLIC}"),
    Row("http://127.0.0.1%20.example.com/mcp", "unknown"),  # a name: only IPv6 has zones
    # private addresses that are allowed, and what is beside them
    Row("http://127.0.0.1:{port}/mcp", "-127.0.0.1", policy=HERE),
    Row("http://2130706433:{port}/mcp", "-127.0.0.1", policy=HERE),
    Row("http://loop.example:{port}/mcp", "-127.0.0.1", policy=HERE),
    Row("http://[::ffff:127.0.0.1]:{port}/mcp", "-::ffff:127.0.0.1", policy=HERE),
    Row("http://127.0.0.1:1/mcp", "address", policy=HERE),
    Row("http://127.0.0.2:{port}/mcp", "address", policy=HERE),
    Row("http://[::1]:{port}/mcp", "address", policy=HERE),
    Row("ws://127.0.0.1:1/mcp", "address", policy=HERE),
    Row("https://private.example/mcp", "-10.0.0.5", policy=TENS),
    Row("https://mcp.internal/mcp", "-10.0.0.5", policy=TENS),
    Row("https://nat64.example/mcp", "-64:ff9b::a00:5", policy=TENS),
    Row("https://meta.example/mcp", "address", policy=TENS),
    Row("https://11.0.0.1.nip.example/mcp", "unknown", policy=TENS),
    Row("https://mcp.internal/mcp", "-10.0.0.5", policy={"allowed_addresses": ["mcp.internal"]}),
    Row("https://mcp.internal:8/mcp", "name", policy={"allowed_addresses": ["mcp.internal:443"]}),
    Row("https://a.mcp.internal/mcp", "name", policy={"allowed_addresses": ["mcp.internal"]}),
    Row("https://redis/mcp", "-10.0.0.7", policy={"allowed_addresses": ["redis:443"]}),
    # domains: another list, which opens no way inside
    Row("https://public.example/mcp", f"-{PUBLIC}", policy=LISTED),
    Row("https://PUBLIC.example./mcp", f"-{PUBLIC}", policy=LISTED),
    Row("https://www.public.example/mcp", f"-{PUBLIC}", policy=LISTED),
    Row("https://a.public.example/mcp", "domain", policy=LISTED),
    Row("https://badpublic.example/mcp", "domain", policy=LISTED),
    Row("https://public.example.evil.example/mcp", "domain", policy=LISTED),
    Row(f"https://{PUBLIC}/mcp", "domain", policy=LISTED),
    Row("https://notbelow.example/mcp", "domain", policy=LISTED),
    Row("https://a.below.example/mcp", "unknown", policy=LISTED),
    Row("https://below.example/mcp", "unknown", policy=LISTED),
    Row("https://tls.example/mcp", "domain", policy=LISTED),
    Row("http://tls.example:8443/mcp", "domain", policy=LISTED),
    Row("wss://tls.example:8443/mcp", "domain", policy=LISTED),
    Row("https://tls.example:8443/mcp", "unknown", policy=LISTED),
    Row("http://127.0.0.1:{port}/mcp", "domain", policy=LISTED | HERE),
    Row("https://private.example/mcp", "domain", policy=LISTED | TENS),
    Row("https://private.example/", "address", policy={"allowed_domains": ["*.example"]}),
    Row("http://127.0.0.1:{port}/", "address", policy={"allowed_domains": ["127.0.0.1"]}),
    Row("http://localhost:{port}/", "name", policy={"allowed_domains": ["localhost"]}),
    Row("https://public.example/", "domain", policy={"allowed_domains": []}),
    Row(
        "http://loop.example:{port}/",
        "-127.0.0.1",
        policy={"allowed_domains": ["*.example"]} | HERE,
    ),
    # the operator's own URLs, and those that hold a user's value in their host
    Row("http://127.0.0.1:{port}/mcp", "-127.0.0.1", "operator"),
    Row("http://localhost:{port}/mcp", "-127.0.0.1", "operator"),
    Row("https://private.example/mcp", "-10.0.0.5", "operator"),
    Row("https://private.example/mcp", "-10.0.0.5", "operator", LISTED),
    Row("http://loop.example:{port}/{{WHERE}}", "-127.0.0.1", "template", where="x"),
    Row("http://{{WHERE}}@127.0.0.1:{port}/mcp", "-127.0.0.1", "template", where="s3cret"),
    Row("http://a:{{WHERE}}@loop.example:{port}/", "-127.0.0.1", "template", where="x@10.0.0.1/"),
    Row("http://{{WHERE}}@{{WHERE}}:{port}/mcp", "form", "template", where="127.0.0.1"),
    Row("http://127.0.0.1:{port}/mcp", "address", "operator", {"guard": "all"}),
    Row("ws://127.0.0.1:{port}/mcp", "address", "operator", {"guard": "all"}),
    Row("http://localhost:{port}/mcp", "name", "operator", {"guard": "all"}),
    Row("https://private.example/mcp", "address", "operator", {"guard": "all"}),
    Row("https://other.example/mcp", "domain", "operator", LISTED | {"guard": "all"}),
    Row("http://127.0.0.1:{port}/mcp", "-127.0.0.1", "operator", HERE | {"guard": "all"}),
    Row("http://{{WHERE}}:{port}/mcp", "address", "template", where="127.0.0.1"),
    Row("http://{{WHERE}}:{port}/mcp", "address", "template", where="loop.example"),
    Row("http://{{WHERE}}:{port}/mcp", "name", "template", where="localhost"),
    Row("http://{{WHERE}}:{port}/mcp", "-127.0.0.1", "template", HERE, where="loop.example"),
    Row("https://{{WHERE}}.example/mcp", "address", "template", where="private"),
    Row("https://{{WHERE}}.example/mcp", "domain", "template", LISTED, where="evil"),
    Row("{{WHERE}}", "address", "template", where="http://169.254.169.254/latest"),
    Row("ws://{{WHERE}}/mcp", "address", "template", where="10.0.0.1"),
    # whom a server names: who issues its tokens
    Row("https://127.0.0.1:{port}/token", "address", "named"),
    Row("https://meta.example/token", "address", "named"),
    Row("https://redis/token", "name", "named"),
    Row("http://public.example/token", "form", "named"),
    Row("http://127.0.0.1:{port}/token", "form", "named"),
    Row("http://127.0.0.1:{port}/token", "-127.0.0.1", "named", HERE),
    Row("https://other.example/token", "domain", "named", LISTED),
    Row("https://public.example/token", f"-{PUBLIC}", "named", LISTED),
    # through a proxy, which resolves names as it likes
    Row("https://public.example/mcp", "proxy", proxied=True),
    Row("https://private.example/mcp", "proxy", proxied=True),
    Row("http://loop.example:{port}/mcp", "proxy", proxied=True),
    Row("http://127.0.0.1:{port}/mcp", "address", proxied=True),
    Row("http://2130706433:{port}/mcp", "address", proxied=True),
    Row("http://[::ffff:7f00:1]:{port}/mcp", "address", proxied=True),
    Row("http://localhost:{port}/mcp", "name", proxied=True),
    Row("https://other.example/mcp", "domain", policy=LISTED, proxied=True),
    Row("https://mcp.internal/mcp", "name", policy=TENS, proxied=True),
    Row("https://public.example/token", "proxy", "named", proxied=True),
    Row(
        "http://loop.example:{port}/mcp",
        "proxied",
        policy={"allowed_domains": ["*.example"]},
        proxied=True,
    ),
    Row(
        "http://loop.example:{port}/",
        "proxied",
        policy={"allowed_addresses": ["loop.example"]},
        proxied=True,
    ),
    Row("http://93.184.216.34%40loop.example:{port}/mcp", "proxy", proxied=True),
    Row("http://1.1.1.1%2f.loop.example:{port}/mcp", "proxy", proxied=True),
    Row("http://127.0.0.1:{port}/mcp", "proxied", policy=HERE, proxied=True),
    Row("http://loop.example:{port}/mcp", "proxied", "operator", proxied=True),
    Row("http://loop.example:{port}/mcp", "proxy", "operator", {"guard": "all"}, proxied=True),
]


@pytest.fixture
def session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def reach(row: Row, world: World, session: requests.Session) -> None:
    """Call a tool of the server that the row is about, or fetch what it is."""
    url, policy = world.at(row.url), world.at(row.policy)
    if row.source == "named":
        guard = Guard(policy.get("allowed_domains"), policy.get("allowed_addresses", ()))
        fetcher = Fetcher(session=session, policy=guard.for_named(is_operators=False))
        fetcher.get(url, deadline=Deadline(LONG))
        return
    config: dict[str, Any] = {"url": url}
    if row.source == "user":
        config["source"] = "user"
    if row.source == "template":
        config["custom_user_vars"] = {"WHERE": {}}
    with MCPManager(
        {"theirs": config}, session=session, connect_attempts=1, timeout=LONG, **policy
    ) as manager:
        own = {"WHERE": row.where} if row.source == "template" else None
        manager.call_tool("theirs", "add", {}, user="ada", custom_user_vars=own)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_url_leads_where_its_source_may_lead_and_nowhere_else(
    row: Row, world: World, session: requests.Session
) -> None:
    with Proxy() as proxy:
        if row.proxied:
            session.proxies = {"http": proxy.address, "https": proxy.address}
        try:
            reach(row, world, session)
            error: MCPSyncError | None = None
        except MCPSyncError as raised:
            error = raised
        told = str(error)
        assert "s3cret" not in told
        if row.expected.startswith("-"):
            assert row.expected[1:] in world.connected
            assert getattr(error, "rule", "") == ""
            assert world.connected == [row.expected[1:]] * len(world.connected)
        elif row.expected == "proxied":
            assert proxy.accepted > 0
            assert getattr(error, "rule", "") == ""
        else:
            assert world.connected == []
            assert world.server.accepted == proxy.accepted == 0
            assert is_expected(error, row.expected)
            assert error is not None
            assert not error.maybe_executed
            if row.expected in ("domain", "name", "proxy"):
                assert world.names.asked == [], "what the URL says is enough"


def is_expected(error: MCPSyncError | None, expected: str) -> bool:
    """Whether the error is that of the rule."""
    if expected == "schema":
        return isinstance(error, ConfigurationError)
    if expected == "unknown":
        return isinstance(error, ConnectError)
    return isinstance(error, RefusedError) and error.rule == expected


@pytest.mark.parametrize("url", [*LITERALS.split(), "http://[2606:4700::5efe:a00:1]/mcp"])
def test_the_entry_that_an_error_names_would_allow_the_address(url: str) -> None:
    url = url.replace("{port}", "8080").replace("ws", "http", 1)

    def check(*allowed: str) -> None:
        policy = Guard(allowed_addresses=allowed).for_server(is_operators=False)
        check_guarded(url, policy, scheme="http", proxied=False)

    with pytest.raises(RefusedError) as caught:
        check()
    check(caught.value.message.partition("; '")[2].partition("'")[0])


def test_a_socket_that_is_there_by_the_operators_word_carries_nothing_of_others(
    world: World,
) -> None:
    with LocalServer() as server:
        port = server.url.split(":")[2].partition("/")[0]
        url = f"http://loop.example:{port}/mcp"
        servers = {"ours": {"url": url}, "theirs": {"url": url, "source": "user"}}
        with MCPManager(servers, connect_attempts=1, timeout=LONG) as manager:
            manager.call_tool("ours", "add", {"a": 1, "b": 2}, user="ada")
            seen = len(server.requests)
            with pytest.raises(RefusedError) as caught:
                manager.call_tool("theirs", "add", {"a": 1, "b": 2}, user="ada")
        assert caught.value.rule == "address"
        assert len(server.requests) == seen


@pytest.mark.parametrize("netrc", ["machine 127.0.0.1", "default"])
@pytest.mark.parametrize("source", ["operator", "user", "template"])
def test_what_the_operator_has_for_his_own_servers_goes_to_no_other(
    source: str, netrc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"{netrc} login ada password s3cret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session = requests.Session()
    session.headers["X-Key"] = "k3y"
    configured = requests.Session()
    configured.auth = ("ada", "0wn")
    with LocalServer() as server:
        port = server.url.split(":")[2].partition("/")[0]
        config: dict[str, Any] = {"url": server.url, "headers": {"X-Theirs": "1"}}
        if source == "user":
            config["source"] = "user"
        if source == "template":
            config |= {"url": f"http://{{{{WHERE}}}}:{port}/mcp", "custom_user_vars": {"WHERE": {}}}
        for each in (session, configured):
            with MCPManager(
                {"theirs": config}, session=each, allowed_addresses=[f"127.0.0.1:{port}"]
            ) as manager:
                own = {"WHERE": "127.0.0.1"} if source == "template" else None
                numbers = {"a": 1, "b": 2}
                manager.call_tool("theirs", "add", numbers, user="ada", custom_user_vars=own)
        sent = [request.headers for request in server.requests]
    assert all(headers["x-theirs"] == "1" for headers in sent)
    told = {name for headers in sent for name in headers if name in ("x-key", "authorization")}
    assert told == ({"x-key", "authorization"} if source == "operator" else set())


@pytest.mark.parametrize("source", ["yaml", "user"])
def test_a_certificate_of_the_operators_is_shown_to_his_own_servers_only(source: str) -> None:
    session = requests.Session()
    session.cert = "/some/where.pem"
    config = parse_server("theirs", {"url": "https://public.example/mcp", "source": source})
    cert = settings_for(config, session=session).key.cert
    assert cert == (None if source == "user" else "/some/where.pem")


INSIDE = "https://10.0.0.5/token"


@pytest.mark.parametrize(
    ("config", "mode", "is_good"),
    [
        ({"url": "https://10.0.0.5/mcp"}, "untrusted", True),
        ({"url": "https://10.0.0.5/mcp"}, "all", False),
        ({"url": "https://10.0.0.5/mcp", "source": "user"}, "untrusted", False),
        ({"url": "https://{{WHERE}}/mcp", "custom_user_vars": {"WHERE": {}}}, "untrusted", False),
        ({"url": "https://a.example/mcp"}, "untrusted", False),
    ],
)
def test_a_servers_own_origin_is_trusted_if_the_operator_wrote_it(
    config: dict[str, Any], mode: Any, is_good: bool
) -> None:
    fetcher = fetcher_for(
        Guard(mode=mode),
        parse_server("crm", config),
        config["url"].replace("{{WHERE}}", "10.0.0.5"),
        None,
    )
    assert is_allowed(fetcher, INSIDE) is is_good


@pytest.mark.parametrize(
    ("more", "mode", "is_good"),
    [({}, "untrusted", True), ({}, "all", False), ({"source": "user"}, "untrusted", False)],
)
def test_what_a_configuration_says_of_tokens_is_trusted_if_it_is_the_operators(
    more: dict[str, Any], mode: Any, is_good: bool
) -> None:
    config = parse_server("crm", {"url": "https://a.example/mcp", **more})
    fetcher = fetcher_for(Guard(mode=mode), config, "https://a.example/mcp", None, said=[INSIDE])
    assert is_allowed(fetcher, INSIDE) is is_good


def test_friends_of_a_server_on_this_machine_may_be_here_if_the_operator_says_where_it_is() -> None:
    here = "http://127.0.0.1:9/token"
    for source, url, mode, is_good in (
        ("yaml", "http://127.0.0.1:8/mcp", "untrusted", True),
        ("yaml", "http://127.0.0.1:8/mcp", "all", False),
        ("yaml", "https://a.example/mcp", "untrusted", False),
        ("user", "http://127.0.0.1:8/mcp", "untrusted", False),
    ):
        config = parse_server("crm", {"url": url, "source": source})
        assert is_allowed(fetcher_for(Guard(mode=mode), config, url, None), here) is is_good  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"HOST": "evil.example"}},
        {
            "api_key": {
                "key": "evil.example",
                "authorization_type": "custom",
                "custom_header": "Host",
            }
        },
        {"oauth_headers": {"host": "evil.example"}},
    ],
)
def test_a_user_cannot_have_another_host_asked_than_that_of_the_url(more: dict[str, Any]) -> None:
    """Behind one address there are many hosts, and ``allowed_domains`` has looked at the URL's."""
    written = {"url": "https://public.example/mcp", **more}
    parse_server("ours", written)
    with pytest.raises(ConfigurationError, match="Host"):
        parse_server("theirs", {**written, "source": "user"})


def is_allowed(fetcher: Fetcher, url: str) -> bool:
    """Whether this may be asked."""
    try:
        fetcher.check(url)
    except RefusedError:
        return False
    return True


def test_the_table_is_as_long_as_it_has_to_be() -> None:
    assert len({str(row) for row in TABLE}) == len(TABLE) >= 120


@pytest.mark.parametrize(("source", "shown"), [("user", None), (None, "/ours.pem")])
def test_those_whom_a_users_server_names_are_shown_no_certificate_of_the_operators(source, shown):
    session = requests.Session()
    session.cert = "/ours.pem"
    config = parse_server("crm", {"url": "https://crm.example/mcp", "source": source})
    fetcher = fetcher_for(Guard(), config, config.url, session)
    assert fetcher._settings("https://as.example/token").key.cert == shown


def test_a_name_that_means_something_here_only_is_not_given_to_a_proxy_for_a_network_is_allowed():
    policy = Guard(allowed_addresses=["10.0.0.0/8"]).for_named(True)
    check_guarded("https://redis/token", policy, scheme="https", proxied=False)
    with pytest.raises(RefusedError) as caught:
        check_guarded("https://redis/token", policy, scheme="https", proxied=True)
    assert caught.value.rule == "name"
