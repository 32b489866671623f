"""Seed 8.5: the limits of an answer."""

from typing import Any, Literal

import pytest

from mcpsync import Cancellation, Limits, MCPManager
from mcpsync.errors import LimitExceeded, RequestCancelled, RequestTimeout, ResponseTooLarge
from mcpsync.http.limits import MIB
from mcpsync.testing import Fault, LocalServer
from seed.things import manager_of, raised

SMALL = Limits(max_response_bytes=200_000, max_line_bytes=100_000)
LONG = 60.0  # seconds; nothing here waits for that

eras = pytest.mark.parametrize("era", ["legacy", "modern"])


def call(manager: MCPManager, tool: str = "counter", **arguments: Any) -> Any:
    return manager.call_tool("crm", tool, arguments, user="ada", timeout=LONG)


@eras
def test_an_answer_in_json_has_so_many_bytes_and_no_more(era: Literal["legacy", "modern"]) -> None:
    with LocalServer(era) as server, manager_of(server, limits=SMALL) as manager:
        call(manager)
        server.inject(Fault.HUGE, "tools/call", size=500_000)
        error = raised(lambda: call(manager))
        assert isinstance(error, ResponseTooLarge)
        assert (error.limit, error.maybe_executed) == (200_000, True)
        assert call(manager).structured_content["total"] == 3


@eras
def test_a_line_of_a_stream_that_does_not_end_fails_the_call_and_not_its_time(
    era: Literal["legacy", "modern"],
) -> None:
    with LocalServer(era, "sse") as server, manager_of(server, limits=SMALL) as manager:
        call(manager)
        server.inject(Fault.HUGE_LINE, "tools/call", size=500_000)
        error = raised(lambda: call(manager))
        assert isinstance(error, LimitExceeded)
        assert not isinstance(error, RequestTimeout)
        assert error.maybe_executed


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_two_mebibytes_in_a_line_are_taken_by_default(answer: Literal["json", "sse"]) -> None:
    text = "x" * (2 * MIB)
    with LocalServer(answer=answer) as server, manager_of(server) as manager:
        assert call(manager, "echo", text=text).content[0].text == text


@eras
def test_what_a_stream_brings_is_heard_before_it_ends(era: Literal["legacy", "modern"]) -> None:
    called_off = Cancellation()
    with LocalServer(era, "sse") as server, manager_of(server) as manager:
        error = raised(
            lambda: manager.call_tool(
                "crm",
                "slow",
                {"seconds": LONG, "steps": 60_000},
                user="ada",
                progress_callback=lambda *_: called_off.cancel("heard"),
                timeout=LONG,
                cancel=called_off,
            )
        )
    assert isinstance(error, RequestCancelled)
    assert error.reason == "heard"


def test_over_http_sse_one_stream_for_all_answers_has_no_end_and_so_no_limit_of_its_own() -> None:
    with LocalServer("legacy", transport="sse") as server:
        config = {"type": "sse"}
        with manager_of(server, config, limits=SMALL) as manager:
            for _ in range(5):
                text = "x" * 60_000
                assert call(manager, "echo", text=text).content[0].text == text
            assert manager.get_connection_stats()["total_connections"] == 1
