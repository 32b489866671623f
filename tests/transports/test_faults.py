"""Every misbehaviour of a server, in both eras: one typed error in time, and a client that lives.

Each row says what a tool call meets with, what it raises, whether the server may have run the
tool, whether it did, and a few words of the sentence.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from mcpsync import (
    Client,
    ConnectionLost,
    HTTPStatusError,
    LimitExceeded,
    Limits,
    MessageInvalid,
    RateLimited,
    RequestTimeout,
    ResponseTooLarge,
    SessionExpired,
)
from mcpsync.testing import Fault, LocalServer
from mcpsync.testing.faults import HTTP_FAULTS, LEGACY_ONLY
from transports.door import SOON, within

TIMEOUT = 0.2
LIMITS = Limits(max_response_bytes=200_000, max_line_bytes=100_000)


@dataclass(frozen=True)
class Expected:
    """What a fault leads to."""

    error: type[Exception] | None
    words: str = ""
    maybe: bool = True
    ran: bool = True
    times: int = 1


LOST = Expected(ConnectionLost, "middle of the answer")
SLOW = Expected(RequestTimeout, f"timed out after {TIMEOUT} s")
ELSEWHERE = Expected(HTTPStatusError, "not followed", maybe=False, ran=False)
WORKS = Expected(None)

EXPECTED = {
    Fault.DIE_BEFORE_ANSWER: Expected(ConnectionLost, "without an answer"),
    Fault.DIE_MID_HEADERS: LOST,
    Fault.DIE_MID_ANSWER: LOST,
    Fault.DIE_MID_STREAM: LOST,
    Fault.HANG: SLOW,
    Fault.HANG_AFTER_HEADERS: SLOW,
    Fault.DRIP: SLOW,
    Fault.DRIP_HEADERS: SLOW,
    Fault.SESSION_404: Expected(
        SessionExpired, "no longer knows the session", maybe=False, ran=False, times=2
    ),
    Fault.GARBAGE: Expected(MessageInvalid, "not JSON", ran=False),
    Fault.HTML: Expected(MessageInvalid, "text/html", ran=False),
    Fault.HTML_404: Expected(HTTPStatusError, "404", maybe=False, ran=False),
    Fault.HTTP_500: Expected(HTTPStatusError, "500", ran=False),
    Fault.HTTP_503: Expected(HTTPStatusError, "503", ran=False),
    Fault.RATE_LIMITED: Expected(RateLimited, "slow down", maybe=False, ran=False),
    Fault.WRONG_ID: Expected(MessageInvalid, "was asked"),
    Fault.HUGE: Expected(ResponseTooLarge, "00000 bytes"),
    Fault.HUGE_LINE: Expected(LimitExceeded, "bytes"),
    Fault.REPEAT_CURSOR: WORKS,
    Fault.EMPTY_202: Expected(MessageInvalid, "did not answer", ran=False),
    Fault.REDIRECT_307_SAME_ORIGIN: WORKS,
    Fault.REDIRECT_302: ELSEWHERE,
    Fault.REDIRECT_307_OTHER_ORIGIN: ELSEWHERE,
    Fault.CLOSE_AFTER_ANSWER: WORKS,
    Fault.BATCH: WORKS,
    Fault.SSE_CRLF_SPLIT: WORKS,
    Fault.SSE_BOM: WORKS,
    Fault.SSE_COMMENTS: WORKS,
    Fault.PING_FIRST: WORKS,
    Fault.UNKNOWN_REQUEST_FIRST: WORKS,
}
# Any 404 on a session is how a server says that it forgot it: asked again, it answers. (H5)
EXPECTED_LEGACY = {**EXPECTED, Fault.HTML_404: Expected(None, ran=True)}
CASES = [
    pytest.param(fault, era, id=f"{fault}-{era}")
    for fault in EXPECTED
    for era in ("legacy", "modern")
    if era == "legacy" or fault not in LEGACY_ONLY
]


@pytest.fixture(params=["json", "sse"])
def talking(request):
    """A function that connects a client to a server of an era and makes the server misbehave."""
    with ExitStack() as stack:

        def connect(fault, era):
            server = stack.enter_context(LocalServer(era, request.param))
            client = stack.enter_context(
                Client(server.url, limits=LIMITS, server_name="crm", timeout=SOON)
            )
            client.connect()
            server.inject(fault, "tools/call", EXPECTED[fault].times, size=500_000)
            return server, client

        yield connect


def test_every_fault_is_in_the_table():
    assert EXPECTED.keys() == HTTP_FAULTS


@pytest.mark.parametrize(("fault", "era"), CASES)
def test_a_call_that_meets_with(fault, era, talking):
    server, client = talking(fault, era)
    expected = (EXPECTED_LEGACY if era == "legacy" else EXPECTED)[fault]
    slow = expected is SLOW
    if expected.error is None:
        found = client.call_tool("counter", timeout=SOON)
        assert found.structured_content["total"] == 1
    else:
        with (
            within(TIMEOUT if slow else 0, TIMEOUT + SOON if slow else SOON),
            pytest.raises(expected.error) as caught,
        ):
            client.call_tool("counter", timeout=TIMEOUT if slow else SOON)
        error = caught.value
        assert type(error) is expected.error or expected.error is LimitExceeded
        assert error.maybe_executed is expected.maybe
        text = str(error)
        assert text.startswith("server 'crm', tool 'counter': ")
        assert expected.words in text
        assert text.endswith(
            "The server may have run it, and it was not repeated."
            if expected.maybe
            else "The server has not run it."
        )
        assert "\n" not in text
    assert server.executions.get("counter", 0) == int(expected.ran)
    server.release()
    if fault is Fault.CLOSE_AFTER_ANSWER:  # a call that meets with it halfway is truly lost
        assert server.wait_for(lambda s: not s.open_connections)
    total = client.call_tool("counter", timeout=SOON).structured_content["total"]
    assert total == int(expected.ran) + 1
    assert server.violations == []


IN_THE_BEGINNING = [
    pytest.param(fault, era, id=f"{fault}-{era}")
    for fault, expected in EXPECTED.items()
    for era in ("legacy", "modern")
    if expected.error is not None and fault not in LEGACY_ONLY
]


@pytest.mark.parametrize(("fault", "era"), IN_THE_BEGINNING)
def test_a_server_that_always_answers_with(fault, era):
    with LocalServer(era) as server:
        server.inject(fault, times=None, size=500_000)
        with Client(server.url, limits=LIMITS, server_name="crm") as client:
            with within(0, TIMEOUT + SOON), pytest.raises(Exception, match="server 'crm'") as found:
                client.call_tool("counter", timeout=TIMEOUT)
            assert not found.value.maybe_executed
            assert server.executions == {}
            server.clear_faults()
            assert client.call_tool("counter").structured_content["total"] == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_redirect_of_every_request_is_followed(era):
    with LocalServer(era) as server, Client(server.url) as client:
        server.inject(Fault.REDIRECT_307_SAME_ORIGIN, times=None)
        server.inject(Fault.REDIRECT_307_SAME_ORIGIN, "notifications/initialized")
        with pytest.raises(HTTPStatusError, match="more than 5 times"):
            client.connect()
        server.clear_faults()
        server.inject(Fault.REDIRECT_307_SAME_ORIGIN, "tools/call")
        assert client.call_tool("counter").structured_content["total"] == 1
        assert [r.path for r in server.requests[-2:]] == ["/mcp", "/mcp2"]
        first, second = server.requests[-2:]
        assert first.raw_body == second.raw_body
        assert first.headers == second.headers
