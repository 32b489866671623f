"""What happens, as lines of the log; and what no line of ours ever holds."""

import dataclasses
import logging
import re

import pytest

from mcpsync import MCPManager, MCPSyncError, events
from mcpsync.observability import LogSink
from mcpsync.testing import LocalServer
from support.source import ROOT, library

LINES = [
    (
        events.ConnectionCreated("crm", "42", 0.01234),
        "INFO",
        "ConnectionCreated server_name=crm user_id=42 seconds=0.012",
    ),
    (events.ConnectionJoined("crm", None), "DEBUG", "ConnectionJoined server_name=crm"),
    (events.ConnectionReused("crm", None), "DEBUG", "ConnectionReused server_name=crm"),
    (
        events.ConnectionFailed("crm", None, "ConnectError"),
        "WARNING",
        "ConnectionFailed server_name=crm error=ConnectError",
    ),
    (
        events.ConnectionRetried("crm", None, 1, 2.0, "ConnectError"),
        "WARNING",
        "ConnectionRetried server_name=crm attempt=1 delay=2.000 error=ConnectError",
    ),
    (
        events.ConnectionClosed("crm", None, "idle"),
        "INFO",
        "ConnectionClosed server_name=crm reason=idle",
    ),
    (
        events.BreakerOpened("crm", None, 30.0, "failures"),
        "WARNING",
        "BreakerOpened server_name=crm seconds=30.000 cause=failures",
    ),
    (events.BreakerClosed("crm", None), "INFO", "BreakerClosed server_name=crm"),
    (events.ToolsChanged("crm", None, 7), "INFO", "ToolsChanged server_name=crm tools=7"),
    (
        events.CallFinished("crm", None, "add", 0.5, None),
        "DEBUG",
        "CallFinished server_name=crm tool_name=add seconds=0.500",
    ),
    (
        events.CallFinished("crm", None, "add", 0.5, "RequestTimeout"),
        "WARNING",
        "CallFinished server_name=crm tool_name=add seconds=0.500 error=RequestTimeout",
    ),
    (events.SweepFinished(3), "INFO", "SweepFinished closed=3"),
]


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.DEBUG, "mcpsync")
    return caplog


@pytest.mark.parametrize(("event", "level", "line"), LINES, ids=lambda value: str(value)[:40])
def test_an_event_is_one_line_with_its_fields(logged, event, level, line):
    LogSink()(event)
    (record,) = logged.records
    assert (record.name, record.levelname, record.getMessage()) == ("mcpsync.events", level, line)


def test_the_table_above_has_every_event():
    there = {kind for kind in vars(events).values() if dataclasses.is_dataclass(kind)}
    assert {type(event) for event, _, _ in LINES} == there - {events.Event}


def test_the_fields_are_attributes_of_the_record(logged):
    LogSink()(events.CallFinished("crm", "42", "add", 0.5, None))
    (record,) = logged.records
    assert (record.event, record.server_name, record.user_id) == ("CallFinished", "crm", "42")
    assert (record.tool_name, record.seconds) == ("add", 0.5)


@pytest.mark.parametrize("name", ["a b", "a=b", "a\nConnectionCreated", 'a"b', "", "\u2028", "ü"])
def test_a_name_can_pretend_neither_a_field_nor_a_line(logged, name):
    LogSink()(events.CallFinished("crm", "42", name, 0.5, None))
    message = logged.records[0].getMessage()
    assert len(message.splitlines()) == 1
    assert re.fullmatch(r'CallFinished server_name=\S+ user_id=42 tool_name=".*" \S+', message)


def test_lines_go_to_the_logger_that_is_given_if_it_wants_them(logged):
    logger = logging.getLogger("mcpsync.test_of_logs")
    logger.setLevel(logging.INFO)
    sink = LogSink(logger)
    sink(events.ConnectionReused("crm", None))
    sink(events.BreakerClosed("crm", None))
    assert [record.name for record in logged.records] == ["mcpsync.test_of_logs"]


def test_an_event_of_the_future_is_ignored(logged):
    @dataclasses.dataclass(frozen=True, slots=True)
    class Unheard(events.Event):
        secret: str

    LogSink()(Unheard("crm", "42", "of"))
    LogSink()(object())
    assert logged.records == []


# -- all loggers of the library --------------------------------------------------------------------


def test_no_line_of_the_library_holds_arguments_results_or_credentials(logged):
    with LocalServer() as server:
        servers = {"crm": {"url": server.url, "headers": {"X-Key": "secret-key"}}}
        with MCPManager(servers, on_event=LogSink()) as manager:
            headers = {"Authorization": "Bearer secret-token"}
            for tool, arguments in [("echo", {"text": "secret-text"}), ("secret", {"a": "secret"})]:
                try:
                    manager.call_tool("crm", tool, arguments, user="42", headers=headers)
                except MCPSyncError:
                    continue
    lines = [logging.Formatter().format(record) for record in logged.records]
    assert any("CallFinished" in line for line in lines)
    assert [line for line in lines if re.search(r"secret-\w+", line)] == []


def test_the_page_names_every_unit_that_logs():
    page = (ROOT / "docs" / "howto" / "observe.md").read_text("utf-8")
    units = {
        ".".join(module.name.split(".")[:2])
        for module in library()
        if "getLogger(" in module.text and module.unit not in {"cli", "testing"}
    }
    assert sorted(unit for unit in units if f"`{unit}`" not in page) == []
