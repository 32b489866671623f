"""What a request carries: whose headers win, which credentials, which cookies, where it is sent."""

import json

import pytest
import requests

from mcpsync import BearerAuth, ConfigurationError, HTTPStatusError, MCPSyncError, RefusedError
from support.processes import free_port
from transports.door import ask, door
from transports.peer import RawServer, response

SECRET = "s3cr3t-t0ken"


class Mirror(RawServer):
    """Answers with the headers it was sent; remembers the requests."""

    def __init__(self):
        self.requests = []
        self.cookies = iter(())
        super().__init__(self._converse)

    def _converse(self, peer):
        while (request := peer.read()) is not None:
            self.requests.append(request)
            more = {}
            if request.target.startswith("/mcp") and (cookie := next(self.cookies, None)):
                more["Set_Cookie"] = cookie
            peer.send(response(json.dumps(request.headers).encode(), **more))


@pytest.fixture
def mirror():
    with Mirror() as server:
        yield server


def sent(endpoint, **options):
    """The headers that arrive."""
    status, body = ask(endpoint, **options)
    assert status == 200
    return json.loads(body)


# -- headers ---------------------------------------------------------------------------------


def test_the_protocols_headers_win_over_the_calls_over_the_configured_over_the_sessions(mirror):
    session = requests.Session()
    session.headers.update({"A": "session", "B": "session", "C": "session", "D": "session"})
    endpoint = door(mirror.url, session=session, headers={"b": "set", "C": "set", "d": "set"})
    headers = sent(endpoint, extra={"C": "call", "D": "call"}, headers={"D": "protocol"})
    assert [headers[name] for name in "abcd"] == ["session", "set", "call", "protocol"]
    assert len(mirror.requests[0].names) == len(set(mirror.requests[0].names))


def test_a_call_cannot_replace_what_the_protocol_says(mirror):
    headers = sent(door(mirror.url), extra={"ACCEPT": "x"}, headers={"Accept": "application/json"})
    assert headers["accept"] == "application/json"
    assert mirror.requests[0].names.count("accept") == 1


def test_the_sessions_own_habits_are_not_sent(mirror):
    headers = sent(door(mirror.url, session=requests.Session()))
    assert headers["user-agent"].startswith("mcpsync/")
    assert "accept" not in headers
    assert headers.get("accept-encoding", "identity") == "identity"


def test_a_user_agent_of_ones_own_is_sent(mirror):
    assert sent(door(mirror.url, headers={"User-Agent": "mine"}))["user-agent"] == "mine"


def test_a_header_without_a_value_is_left_out(mirror):
    assert "a" not in sent(door(mirror.url, headers={"A": None}), extra={"A": None})


def test_the_bytes_of_a_latin_1_header_arrive(mirror):
    headers = sent(door(mirror.url, headers={"A": "né", "B": "né".encode("latin-1")}))
    assert headers["a"] == headers["b"] == "né"


BAD_HEADERS = {
    "a line break": {"A": "b\r\nC: d"},
    "a line feed": {"A": "b\nC: d"},
    "a line feed at the end": {"A": "b\n"},
    "a line break in the name": {"A\r\nB": "c"},
    "a colon in the name": {"A: b\r\nC": "d"},
    "no name": {"": "a"},
    "a space in front": {"A": " b"},
    "not latin-1": {"A": "\N{SNOWMAN}"},
    "a name that is not ASCII": {"X-Naïve": "a"},
    "a NUL": {"A": "b\0"},
    "a number": {"A": 1},
    "a length of its own": {"Content-Length": "3"},
    "a coding of its own": {"Transfer-Encoding": "chunked"},
}


@pytest.mark.parametrize("headers", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_what_cannot_be_a_header_is_refused_at_once(headers, mirror):
    with pytest.raises(ConfigurationError):
        door(mirror.url, headers=headers)
    with pytest.raises(ConfigurationError) as caught:
        ask(door(mirror.url), extra=headers)
    assert not caught.value.maybe_executed
    assert mirror.accepted == 0


def test_the_value_of_a_refused_header_is_not_told(mirror):
    with pytest.raises(ConfigurationError) as caught:
        door(mirror.url, headers={"X-Key": f"{SECRET}\n"})
    assert "X-Key" in str(caught.value)
    assert SECRET not in str(caught.value)


# -- credentials -----------------------------------------------------------------------------


def test_a_pair_is_basic_auth(mirror):
    headers = sent(door(mirror.url, auth=("ada", "pw")))
    assert headers["authorization"] == "Basic YWRhOnB3"


def test_the_sessions_auth_is_used_and_ours_wins(mirror):
    session = requests.Session()
    session.auth = ("ada", "pw")
    assert sent(door(mirror.url, session=session))["authorization"] == "Basic YWRhOnB3"
    own = door(mirror.url, session=session, auth=BearerAuth("t"))
    assert sent(own)["authorization"] == "Bearer t"


def test_credentials_in_the_url_are_basic_auth_and_are_not_in_the_request_line(mirror):
    url = mirror.url.replace("127.0.0.1", "ada:pw@127.0.0.1")
    assert sent(door(url))["authorization"] == "Basic YWRhOnB3"
    assert mirror.requests[0].target == "/mcp"


def test_a_callable_is_asked_for_every_request(mirror):
    tokens = iter("abc")

    def auth(request):
        request.headers["Authorization"] = f"Token {next(tokens)}"
        return request

    endpoint = door(mirror.url, auth=auth)
    assert [sent(endpoint)["authorization"] for _ in range(3)] == ["Token a", "Token b", "Token c"]


def test_a_bearer_token_may_be_looked_up_for_every_request(mirror):
    tokens = iter("ab")
    endpoint = door(mirror.url, auth=BearerAuth(lambda: next(tokens)))
    assert [sent(endpoint)["authorization"] for _ in range(2)] == ["Bearer a", "Bearer b"]


def test_auth_replaces_a_configured_header_and_is_sent_once(mirror):
    endpoint = door(mirror.url, auth=BearerAuth("t"), headers={"authorization": "Bearer old"})
    assert sent(endpoint)["authorization"] == "Bearer t"
    assert mirror.requests[0].names.count("authorization") == 1


def test_the_calls_own_authorization_wins(mirror):
    asked = []
    endpoint = door(mirror.url, auth=lambda request: asked.append(1) or request)
    headers = sent(endpoint, extra={"AUTHORIZATION": "Bearer mine"})
    assert headers["authorization"] == "Bearer mine"
    assert asked == []


def test_auth_sees_the_request_that_is_sent(mirror):
    seen = []

    def sign(request):
        seen.append((request.method, request.url, request.body, request.headers["Mcp-Method"]))
        return request

    sent(door(mirror.url, auth=sign), body=b"{}", headers={"Mcp-Method": "ping"})
    assert seen == [("POST", mirror.url, b"{}", "ping")]


@pytest.mark.parametrize("token", [f"{SECRET}\n", f"{SECRET}\r\nX: y", f"{SECRET}\N{SNOWMAN}", ""])
def test_a_token_that_cannot_be_sent_is_refused_and_not_told(token, mirror):
    with pytest.raises(ConfigurationError) as caught:
        ask(door(mirror.url, auth=BearerAuth(token)))
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)
    assert mirror.accepted == 0


def test_netrc_is_read(mirror, clean_environment, tmp_path):
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login ada password pw\n")
    clean_environment.setenv("NETRC", str(path))
    assert sent(door(mirror.url))["authorization"] == "Basic YWRhOnB3"
    assert sent(door(mirror.url, auth=BearerAuth("t")))["authorization"] == "Bearer t"


def test_a_call_wins_over_netrc(mirror, clean_environment, tmp_path):
    path = tmp_path / "netrc"
    path.write_text("default login ada password pw\n")
    clean_environment.setenv("NETRC", str(path))
    headers = sent(door(mirror.url), extra={"Authorization": "Bearer mine"})
    assert headers["authorization"] == "Bearer mine"


def test_a_configured_header_wins_over_netrc(mirror, clean_environment, tmp_path):
    path = tmp_path / "netrc"
    path.write_text("default login ada password pw\n")
    clean_environment.setenv("NETRC", str(path))
    endpoint = door(mirror.url, headers={"Authorization": "Bearer configured"})
    assert sent(endpoint)["authorization"] == "Bearer configured"


def test_a_session_that_trusts_no_environment_reads_no_netrc(mirror, clean_environment, tmp_path):
    path = tmp_path / "netrc"
    path.write_text("default login ada password pw\n")
    clean_environment.setenv("NETRC", str(path))
    session = requests.Session()
    session.trust_env = False
    assert "authorization" not in sent(door(mirror.url, session=session))


@pytest.mark.parametrize("host", ["example.com", "192.0.2.1", "localhost.example.com", "10.0.0.1"])
@pytest.mark.parametrize(
    "options",
    [
        {"auth": BearerAuth(SECRET)},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"headers": {"AUTHORIZATION": f"bearer {SECRET}"}},
        {"headers": {"Authorization": f"DPoP {SECRET}"}},
    ],
    ids=["auth", "headers", "any spelling", "bound to a key"],
)
def test_a_bearer_token_does_not_go_to_another_machine_in_the_clear(host, options):
    with pytest.raises(RefusedError, match="plain http") as caught:
        ask(door(f"http://{host}/mcp", **options))
    assert SECRET not in str(caught.value)
    assert not caught.value.maybe_executed


def test_a_bearer_token_of_one_call_does_not_go_to_another_machine_in_the_clear():
    with pytest.raises(RefusedError):
        ask(door("http://example.com/mcp"), extra={"Authorization": f"Bearer {SECRET}"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3"])
def test_a_bearer_token_goes_to_this_machine_in_the_clear(host, mirror):
    with pytest.raises(MCPSyncError) as caught:
        ask(door(f"http://{host}:{free_port()}/mcp", auth=BearerAuth("t")))
    assert not isinstance(caught.value, RefusedError)
    assert sent(door(mirror.url, auth=BearerAuth("t")))["authorization"] == "Bearer t"


# -- cookies ---------------------------------------------------------------------------------


def test_a_cookie_is_sent_back(mirror):
    mirror.cookies = iter(["lb=1; Path=/"])
    endpoint = door(mirror.url)
    assert "cookie" not in sent(endpoint)
    assert [sent(endpoint)["cookie"] for _ in range(2)] == ["lb=1", "lb=1"]


def test_a_cookie_is_replaced(mirror):
    mirror.cookies = iter(["lb=1", "lb=2"])
    endpoint = door(mirror.url)
    assert [sent(endpoint).get("cookie") for _ in range(3)] == [None, "lb=1", "lb=2"]


def test_cookies_are_not_shared_between_two_conversations(mirror):
    mirror.cookies = iter(["lb=1"])
    one, other = door(mirror.url), door(mirror.url)
    sent(one)
    assert "cookie" not in sent(other)
    assert sent(one)["cookie"] == "lb=1"


def test_a_configured_cookie_wins(mirror):
    mirror.cookies = iter(["lb=1"])
    endpoint = door(mirror.url, headers={"Cookie": "mine=1"})
    sent(endpoint)
    assert sent(endpoint)["cookie"] == "mine=1"


def test_a_cookie_for_another_path_or_for_https_is_not_sent(mirror):
    mirror.cookies = iter(["a=1; Path=/other", "b=1; Secure", "c=1; Domain=example.com"])
    endpoint = door(mirror.url)
    for _ in range(3):
        sent(endpoint)
    assert "cookie" not in sent(endpoint)


def test_a_cookie_that_is_none_does_no_harm(mirror):
    mirror.cookies = iter(["=; ;;", "\x01"])
    endpoint = door(mirror.url)
    for _ in range(3):
        sent(endpoint)


# -- where it is sent ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("/mcp", "/mcp"),
        ("/mcp?a=b&c=d", "/mcp?a=b&c=d"),
        ("/mcp#there", "/mcp"),
        ("/a b", "/a%20b"),
        ("/ä", "/%C3%A4"),
        ("/a%2Fb", "/a%2Fb"),
    ],
)
def test_the_path_and_query_are_sent_as_requests_would(path, target, mirror):
    sent(door(f"http://127.0.0.1:{mirror.port}{path}"))
    assert mirror.requests[0].target == target


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_the_method_is_sent(method, mirror):
    sent(door(mirror.url), method=method, body=b"x" if method == "POST" else None)
    assert mirror.requests[0].method == method
    assert mirror.requests[0].body == (b"x" if method == "POST" else b"")


BAD_URLS = (
    "",
    "mcp",
    "http://",
    "https:///mcp",
    "ftp://127.0.0.1/mcp",
    "htps://ada:s3cr3t-t0ken@127.0.0.1/mcp?key=s3cr3t-t0ken",
    "http://127.0.0.1:99999/mcp",
    "http://127.0.0.1:port/mcp",
    "http://[::1/mcp",
    "http://.example/mcp",
    "http://*/mcp",
    "http://ex ample/mcp",
    "http://\n/mcp",
)


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(ConfigurationError) as caught:
        door(url)
    assert SECRET not in str(caught.value)


def test_the_repr_hides_what_a_url_may_hide():
    endpoint = door(f"http://ada:{SECRET}@127.0.0.1/mcp?key={SECRET}")
    assert repr(endpoint) == "<HttpEndpoint http://127.0.0.1/mcp>"


# -- redirects -------------------------------------------------------------------------------


class Redirecting(RawServer):
    """Redirects as told, once for each thing it was told; then answers."""

    def __init__(self, *redirects):
        self.requests = []
        self._redirects = iter(redirects)
        super().__init__(self._converse)

    def _converse(self, peer):
        while (request := peer.read()) is not None:
            self.requests.append(request)
            status, location = next(self._redirects, (200, ""))
            location = location.replace("{port}", str(self.port))
            peer.send(response(b"{}", f"{status} X", Location=location))


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("location", ["/there?a=b", "http://127.0.0.1:{port}/there?a=b"])
def test_a_redirect_within_the_origin_keeps_method_headers_and_body(status, location):
    with Redirecting((status, location)) as server:
        endpoint = door(server.url, headers={"A": "b"}, auth=BearerAuth("t"))
        assert ask(endpoint, body=b"[1]", extra={"C": "d"}, headers={"E": "f"}) == (200, b"{}")
    first, second = server.requests
    assert second.target == "/there?a=b"
    assert (second.method, second.body) == ("POST", b"[1]")
    assert second.headers == first.headers
    assert second.headers["authorization"] == "Bearer t"
    assert (second.headers["a"], second.headers["c"], second.headers["e"]) == ("b", "d", "f")


def test_five_redirects_are_followed():
    with Redirecting(*[(307, f"/{n}") for n in range(5)]) as server:
        assert ask(server.url) == (200, b"{}")
    assert [request.target for request in server.requests][-1] == "/4"


def test_six_redirects_are_too_many():
    with (
        Redirecting(*[(307, "/mcp")] * 7) as server,
        pytest.raises(HTTPStatusError, match="more than 5 times") as caught,
    ):
        ask(server.url)
    assert caught.value.status == 307
    assert len(server.requests) == 6


REFUSED = {
    "another method": (302, "/mcp2"),
    "another method, for good": (301, "/mcp2"),
    "another method, to see": (303, "/mcp2"),
    "another host": (307, "http://localhost:{port}/mcp"),
    "another port": (307, "http://127.0.0.1:1/mcp"),
    "another scheme": (308, "https://127.0.0.1:{port}/mcp"),
    "another scheme altogether": (307, "ftp://127.0.0.1/mcp"),
    "a host in disguise": (307, "//localhost:{port}/mcp"),
    "no place": (307, ""),
    "no URL": (307, "http://[bad"),
    "no port": (307, "http://127.0.0.1:99999/"),
}


@pytest.mark.parametrize("redirect", REFUSED.values(), ids=REFUSED)
def test_a_redirect_that_could_lead_astray_is_refused(redirect):
    with (
        Redirecting(redirect) as server,
        pytest.raises(HTTPStatusError, match="which is not followed") as caught,
    ):
        ask(server.url)
    assert caught.value.status == redirect[0]
    assert ("only 307 and 308 are" in str(caught.value)) is (redirect[0] < 307)
    assert len(server.requests) == 1
    assert not caught.value.maybe_executed


def test_a_refused_redirect_does_not_tell_its_secrets():
    location = f"http://ada:{SECRET}@example.com/there?code={SECRET}"
    with (
        Redirecting((307, location)) as server,
        pytest.raises(HTTPStatusError, match=r"http://example\.com/there") as caught,
    ):
        ask(server.url)
    assert SECRET not in str(caught.value)


def test_a_redirect_with_user_info_sends_our_credentials_and_not_those():
    with Redirecting((307, "http://eve:pw@127.0.0.1:{port}/there")) as server:
        assert ask(door(server.url, auth=BearerAuth("t"))) == (200, b"{}")
    assert server.requests[1].target == "/there"
    assert server.requests[1].headers["authorization"] == "Bearer t"
