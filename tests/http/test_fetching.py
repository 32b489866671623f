"""Requests to those whom somebody else has named: what goes along, and what is taken from them."""

import gzip
import json
import threading
import tracemalloc

import pytest
import requests

from mcpsync import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.errors import (
    ConfigurationError,
    ConnectionLost,
    HTTPStatusError,
    MessageInvalid,
    RequestCancelled,
    RequestTimeout,
    ResponseTooLarge,
)
from mcpsync.http import Fetched, Fetcher
from mcpsync.http.fetching import MAX_BYTES
from mcpsync.security.guard import AddressPolicy
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import RawServer, always, chunk, response, silent

LOCAL = AddressPolicy("loopback")

SECRET = "s3cr3t-t0ken"
CHUNKED = response(Content_Length="", Transfer_Encoding="chunked")


class Mirror(RawServer):
    """Answers with the headers it was sent, and sets a cookie; remembers the requests."""

    def __init__(self):
        self.requests = []
        super().__init__(self._converse)

    def _converse(self, peer):
        while (request := peer.read()) is not None:
            self.requests.append(request)
            body = b"" if request.method == "HEAD" else json.dumps(request.headers).encode()
            peer.send(response(body, Set_Cookie="a=b; Path=/"))


@pytest.fixture
def mirror():
    with Mirror() as server:
        yield server


@pytest.fixture
def fetcher():
    return Fetcher(policy=LOCAL)


def get(fetcher, server, timeout=LONG, cancel=None):
    return fetcher.get(server.url, deadline=Deadline(timeout), cancel=cancel)


# -- what goes along -------------------------------------------------------------------------


def test_a_form_is_sent_as_one(fetcher, mirror):
    fields = {"grant_type": "refresh_token", "x": "a b&c=ü"}
    fetcher.post_form(mirror.url, fields, deadline=Deadline(LONG))
    (request,) = mirror.requests
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"
    assert request.body == b"grant_type=refresh_token&x=a+b%26c%3D%C3%BC"


def test_a_document_is_sent_as_json(fetcher, mirror):
    fetcher.post_json(mirror.url, {"client_name": "ü"}, deadline=Deadline(LONG))
    (request,) = mirror.requests
    assert request.headers["content-type"] == "application/json"
    assert request.json == {"client_name": "ü"}


def test_the_headers_of_the_fetcher_go_along_and_those_of_a_request_win(mirror):
    fetcher = Fetcher(policy=LOCAL, headers={"X-Tenant": "a", "Authorization": "Basic x"})
    fetcher.get(mirror.url, deadline=Deadline(LONG), headers={"authorization": "Basic y"})
    (request,) = mirror.requests
    assert request.headers["x-tenant"] == "a"
    assert request.headers["authorization"] == "Basic y"
    assert request.names.count("authorization") == 1


def test_a_header_that_cannot_be_one_is_refused_and_not_told(fetcher, mirror):
    with pytest.raises(ConfigurationError) as caught:
        fetcher.get(mirror.url, deadline=Deadline(LONG), headers={"X-Key": f"{SECRET}\r\nA: b"})
    assert SECRET not in str(caught.value)
    assert mirror.accepted == 0


def test_the_sessions_credentials_headers_and_cookies_are_for_its_own_server(mirror):
    session = requests.Session()
    session.auth = ("ada", SECRET)
    session.headers["X-Api-Key"] = SECRET
    session.headers["Authorization"] = f"Bearer {SECRET}"
    session.cookies.set("sid", SECRET)
    fetched = get(Fetcher(session=session, policy=LOCAL), mirror)
    (request,) = mirror.requests
    assert SECRET not in str(request.headers)
    assert not {"authorization", "x-api-key", "cookie"} & set(request.headers)
    assert fetched.status == 200


@pytest.mark.parametrize("way", ["NETRC", "HOME"])
@pytest.mark.parametrize("given", [False, True], ids=["without a session", "with one"])
def test_what_stands_in_netrc_is_not_sent_to_whom_a_server_names(
    way, given, mirror, tmp_path, clean_environment
):
    file = tmp_path / ".netrc"
    file.write_text(f"default login ada password {SECRET}\n")
    file.chmod(0o600)
    clean_environment.setenv(way, str(file if way == "NETRC" else tmp_path))
    assert requests.get(mirror.url, timeout=LONG).request.headers["Authorization"], "it is found"
    mirror.requests.clear()
    get(
        Fetcher(session=requests.Session() if given else None, policy=LOCAL),
        mirror,
    )
    assert "authorization" not in mirror.requests[0].headers


def test_cookies_are_not_kept(fetcher, mirror):
    for _ in range(2):
        get(fetcher, mirror)
    assert all("cookie" not in request.headers for request in mirror.requests)


def test_a_user_agent_of_ones_own_is_sent(mirror):
    session = requests.Session()
    session.headers["User-Agent"] = "mine"
    get(Fetcher(session=session, policy=LOCAL), mirror)
    assert mirror.requests[0].headers["user-agent"] == "mine"


def test_the_socket_is_used_again(fetcher, mirror):
    for _ in range(3):
        get(fetcher, mirror)
    assert mirror.accepted == 1


def test_the_headers_alone_can_be_asked_for(fetcher, mirror):
    answer = fetcher.head(mirror.url, deadline=Deadline(LONG))
    assert (answer.status, answer.body) == (200, b"")
    assert mirror.requests[0].method == "HEAD"


# -- redirects -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/x",
        "http://169.254.169.254/latest/meta-data",
        "https://as.example/x",
        "javascript:alert(1)",
        "//evil.example",
        "http://user:s3cr3t-t0ken@127.0.0.1/",
        "",
    ],
)
def test_no_redirect_leads_to_another_origin(status, location, fetcher, serve):
    server = serve(always(response(status=f"{status} Moved", Location=location)))
    with pytest.raises(HTTPStatusError, match="is not followed") as caught:
        fetcher.post_form(server.url, {"code": SECRET}, deadline=Deadline(LONG))
    assert SECRET not in str(caught.value)
    assert caught.value.status == status


def test_redirects_that_keep_origin_and_method_are_followed_but_not_for_ever(fetcher, serve):
    server = serve(always(response(status="307 Moved", Location="/mcp")))
    with pytest.raises(HTTPStatusError, match="more than 5 times"):
        get(fetcher, server)


# -- bodies ----------------------------------------------------------------------------------


def sending_without_an_end(head):
    def script(peer):
        peer.read()
        try:
            peer.sock.sendall(head)
            while True:
                peer.sock.sendall(chunk(b" " * 65536))
        except OSError:
            return

    return script


@pytest.mark.parametrize("head", [CHUNKED, response(Content_Length="")], ids=["chunked", "plain"])
def test_a_body_without_an_end_is_cut_at_a_mebibyte(head, fetcher, serve):
    server = serve(sending_without_an_end(head))
    with within(0, SOON), pytest.raises(ResponseTooLarge) as caught:
        get(fetcher, server)
    assert caught.value.limit == MAX_BYTES
    assert server.gone.wait(SOON), "the connection is cut"


def test_a_length_beyond_the_limit_is_not_waited_for(fetcher, serve):
    server = serve(always(response(b"{}" + b" " * MAX_BYTES)))
    with pytest.raises(ResponseTooLarge):
        get(fetcher, server)


def test_a_mebibyte_is_taken(fetcher, serve):
    body = b"{}" + b" " * (MAX_BYTES - 2)
    assert get(fetcher, serve(always(response(body)))).json() == {}


def test_a_small_body_that_unpacks_to_a_large_one_is_cut(fetcher, serve):
    bomb = gzip.compress(b" " * (200 * MAX_BYTES), 6)
    server = serve(always(response(bomb, Content_Encoding="gzip")))
    tracemalloc.start()
    try:
        with pytest.raises(ResponseTooLarge):
            get(fetcher, server)
        assert tracemalloc.get_traced_memory()[1] < 16 * MAX_BYTES
    finally:
        tracemalloc.stop()


def test_a_body_that_drips_ends_with_the_deadline(fetcher, serve):
    def script(peer):
        peer.read()
        peer.send(response(Content_Length="1000"))
        peer.drip(b" " * 1000)

    server = serve(script)
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
        get(fetcher, server, BUDGET)


def test_headers_that_drip_end_with_the_deadline(fetcher, serve):
    def script(peer):
        peer.read()
        peer.drip(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200)

    server = serve(script)
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
        get(fetcher, server, BUDGET)


def test_one_request_has_no_more_than_its_own_time(fetcher, serve, monkeypatch):
    monkeypatch.setattr("mcpsync.http.fetching.MAX_SECONDS", BUDGET)
    server = serve(silent)
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
        get(fetcher, server, 60)


def test_a_cancel_ends_it_at_once(fetcher, serve):
    cancel = Cancellation()
    server = serve(silent)
    threading.Timer(0.05, cancel.cancel).start()
    with within(0, SOON), pytest.raises(RequestCancelled):
        get(fetcher, server, LONG, cancel)


def test_a_body_that_ends_early_is_no_answer(fetcher, serve):
    def script(peer):
        peer.read()
        peer.send(response(Content_Length="100") + b'{"issuer": "x"}')

    with pytest.raises(ConnectionLost, match="in the middle"):
        get(fetcher, serve(script))


NOT_OBJECTS = {
    "a page": b"<html><script>alert('s3cr3t-t0ken')</script></html>",
    "a list": b'["s3cr3t-t0ken"]',
    "a string": b'"s3cr3t-t0ken"',
    "null": b"null",
    "nothing": b"",
    "the beginning of one": b'{"access_token": "s3cr3t-t0ken"',
    "two": b"{}{}",
    "not UTF-8": b'{"a": "\xff\xfes3cr3t-t0ken"}',
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a long number": b'{"a": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("body", NOT_OBJECTS.values(), ids=NOT_OBJECTS)
def test_what_is_no_json_object_is_told_without_being_shown(body, fetcher, serve):
    answer = get(fetcher, serve(always(response(body))))
    with pytest.raises(MessageInvalid, match="did not answer with a JSON object") as caught:
        answer.json()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "<" not in str(caught.value)


@pytest.mark.parametrize("kind", ["text/html", "", "application/octet-stream", "a" * 5000])
def test_json_is_json_whatever_it_is_called(kind, fetcher, serve):
    answer = get(fetcher, serve(always(response(b'{"a": 1}', kind=kind))))
    assert answer.json() == {"a": 1}


def test_a_status_is_no_error_here(fetcher, serve):
    answer = get(fetcher, serve(always(response(b"{}", "418 Teapot"))))
    assert answer.status == 418


def test_the_body_is_in_no_repr():
    answer = Fetched(f"https://ada:{SECRET}@as.example/x?{SECRET}", 200, {}, SECRET.encode())
    assert SECRET not in repr(answer)
