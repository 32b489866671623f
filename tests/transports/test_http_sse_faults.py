"""Every misbehaviour of a server of HTTP+SSE: one typed error in time, and a client that lives."""

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
)
from mcpsync.testing import Fault, LocalServer
from mcpsync.testing.faults import HTTP_FAULTS
from transports.door import SOON, within

TIMEOUT = 0.2
LIMITS = Limits(max_response_bytes=200_000, max_line_bytes=100_000)
WORKS = None

# The error, whether the server may have run the tool, and whether it did.
EXPECTED = {
    Fault.DIE_BEFORE_ANSWER: (ConnectionLost, True, True),
    Fault.DIE_MID_HEADERS: (ConnectionLost, True, True),
    Fault.DIE_MID_ANSWER: (ConnectionLost, True, True),
    Fault.DIE_MID_STREAM: (ConnectionLost, True, True),
    Fault.HANG: (RequestTimeout, True, True),
    Fault.HANG_AFTER_HEADERS: (RequestTimeout, True, True),
    Fault.DRIP: (RequestTimeout, True, True),
    Fault.DRIP_HEADERS: (RequestTimeout, True, True),
    Fault.SESSION_404: WORKS,  # which names a session id, and there is none
    Fault.GARBAGE: (RequestTimeout, True, False),  # the POST was taken, and no answer comes
    Fault.HTML: (MessageInvalid, True, False),
    Fault.HTML_404: WORKS,  # the stream is taken for forgotten, and opened anew
    Fault.HTTP_500: (HTTPStatusError, True, False),
    Fault.HTTP_503: (HTTPStatusError, True, False),
    Fault.RATE_LIMITED: (RateLimited, False, False),
    Fault.WRONG_ID: (MessageInvalid, True, True),
    Fault.HUGE: (LimitExceeded, True, True),
    Fault.HUGE_LINE: (LimitExceeded, True, True),
    Fault.REPEAT_CURSOR: WORKS,
    Fault.EMPTY_202: (RequestTimeout, True, False),
    Fault.REDIRECT_307_SAME_ORIGIN: WORKS,  # to where there is nothing: forgotten, opened anew
    Fault.REDIRECT_302: (HTTPStatusError, False, False),
    Fault.REDIRECT_307_OTHER_ORIGIN: (HTTPStatusError, False, False),
    Fault.CLOSE_AFTER_ANSWER: WORKS,
    Fault.BATCH: WORKS,
    Fault.SSE_CRLF_SPLIT: WORKS,
    Fault.SSE_BOM: WORKS,
    Fault.SSE_COMMENTS: WORKS,
    Fault.PING_FIRST: WORKS,
    Fault.UNKNOWN_REQUEST_FIRST: WORKS,
}


def test_every_fault_is_in_the_table():
    assert EXPECTED.keys() == HTTP_FAULTS


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_call_that_meets_with(fault):
    expected = EXPECTED[fault]
    with (
        LocalServer(transport="sse") as server,
        Client(server.url, limits=LIMITS, server_name="crm", timeout=SOON) as client,
    ):
        client.connect()
        server.inject(fault, "tools/call", size=500_000)
        if expected is WORKS:
            assert client.call_tool("counter").structured_content["total"] == 1
            return
        error, maybe, ran = expected
        slow = error is RequestTimeout
        with within(TIMEOUT if slow else 0, TIMEOUT + SOON), pytest.raises(error) as caught:
            client.call_tool("counter", timeout=TIMEOUT if slow else SOON)
        assert caught.value.maybe_executed is maybe
        assert str(caught.value).startswith("server 'crm', tool 'counter': ")
        assert server.executions.get("counter", 0) == int(ran)
        assert server.violations == []
        server.clear_faults()
        if fault not in (Fault.DRIP, Fault.DRIP_HEADERS):  # all that follows waits behind that
            assert client.call_tool("add", {"a": 1, "b": 2}).content[0].text == "3"


@pytest.mark.parametrize(
    "fault", [Fault.HANG, Fault.HANG_AFTER_HEADERS, Fault.DRIP, Fault.DIE_BEFORE_ANSWER]
)
def test_a_stream_that_does_not_begin(fault):
    with LocalServer(transport="sse") as server, Client(server.url, timeout=TIMEOUT) as client:
        server.inject(fault, "GET")
        with (
            within(0, TIMEOUT + SOON),
            pytest.raises((RequestTimeout, ConnectionLost, HTTPStatusError)),
        ):
            client.connect()
        server.clear_faults()
        client.connect(timeout=SOON)
