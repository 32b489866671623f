"""Events and a manager's numbers, as Prometheus reads them."""

import gc
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from mcpsync import ConfigurationError, MCPManager, events
from mcpsync.testing import LocalServer
from support.threads import outcome, start

prometheus_client = pytest.importorskip("prometheus_client")

from mcpsync.observability import PrometheusMetrics  # noqa: E402

STATS = {
    "tracked_users": 1,
    "total_connections": 2,
    "activity_entries": 3,
    "app_connection_count": 4,
    "pending_connections": 5,
    "leased_connections": 6,
}
EVENTS = [
    (events.ConnectionCreated("crm", "42", 0.2), "connections_created_total", {}),
    (events.ConnectionJoined("crm", "42"), "connections_joined_total", {}),
    (events.ConnectionReused("crm", "42"), "connections_reused_total", {}),
    (
        events.ConnectionFailed("crm", "42", "ConnectError"),
        "connections_failed_total",
        {"error": "ConnectError"},
    ),
    (
        events.ConnectionRetried("crm", "42", 1, 2.0, "ConnectError"),
        "connections_retried_total",
        {"error": "ConnectError"},
    ),
    (events.ConnectionClosed("crm", "42", "idle"), "connections_closed_total", {"reason": "idle"}),
    (events.BreakerOpened("crm", "42", 30.0, "failures"), "breaker_opened_total", {}),
    (events.BreakerClosed("crm", "42"), "breaker_closed_total", {}),
    (events.ToolsChanged("crm", "42", 7), "tools_changed_total", {}),
    (events.CallFinished("crm", "42", "add", 0.2, None), "tool_calls_total", {"outcome": "ok"}),
    (
        events.CallFinished("crm", "42", "add", 0.2, "RequestTimeout"),
        "tool_calls_total",
        {"outcome": "RequestTimeout"},
    ),
]


class Manager:
    """Has numbers, as a manager has."""

    def __init__(self, **stats):
        self.stats = STATS | stats

    def get_connection_stats(self):
        return self.stats


@pytest.fixture
def registry():
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return PrometheusMetrics(registry)


@pytest.mark.parametrize(("event", "name", "labels"), EVENTS, ids=lambda value: str(value)[:40])
def test_every_event_is_counted_by_server_and_by_what_happened(
    metrics, registry, event, name, labels
):
    metrics(event)
    metrics(event)
    assert registry.get_sample_value(f"mcpsync_{name}", {"server": "crm", **labels}) == 2


def test_the_table_above_has_every_event():
    there = {kind for kind in vars(events).values() if hasattr(kind, "server_name")}
    assert {type(event) for event, _, _ in EVENTS} == there - {events.Event}


def test_sweeps_and_what_they_closed_are_counted(metrics, registry):
    metrics(events.SweepFinished(3))
    metrics(events.SweepFinished(4))
    assert registry.get_sample_value("mcpsync_sweeps_total") == 2
    assert registry.get_sample_value("mcpsync_swept_connections_total") == 7


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("tool_call_seconds", events.CallFinished("crm", None, "add", 0.2, None)),
        ("tool_call_seconds", events.CallFinished("crm", None, "add", 0.2, "MCPError")),
        ("connect_seconds", events.ConnectionCreated("crm", None, 0.2)),
    ],
)
def test_how_long_calls_and_connecting_take_is_a_histogram(metrics, registry, name, event):
    def value(suffix, **labels):
        return registry.get_sample_value(f"mcpsync_{name}_{suffix}", {"server": "crm", **labels})

    metrics(event)
    assert (value("count"), value("sum")) == (1, 0.2)
    assert (value("bucket", le="0.1"), value("bucket", le="0.25")) == (0, 1)


def test_users_and_tools_are_no_labels(metrics):
    for event, _, _ in EVENTS:
        metrics(event)
    assert "crm" in metrics.text()
    assert "42" not in set(metrics.text().split('"'))
    assert '"add"' not in metrics.text()


def test_tools_are_a_label_where_that_is_wanted(registry):
    metrics = PrometheusMetrics(registry, tool_names=True)
    metrics(events.CallFinished("crm", "42", "add", 0.2, None))
    labels = {"server": "crm", "tool": "add"}
    assert registry.get_sample_value("mcpsync_tool_calls_total", labels | {"outcome": "ok"}) == 1
    assert registry.get_sample_value("mcpsync_tool_call_seconds_count", labels) == 1


def test_names_that_are_made_up_do_not_become_labels(registry):
    metrics = PrometheusMetrics(registry, tool_names=True)
    for number in range(3):
        metrics(events.CallFinished(f"no{number}", None, f"tool{number}", 0.1, "ServerNotFound"))
    labels = {"server": "", "tool": "", "outcome": "ServerNotFound"}
    assert registry.get_sample_value("mcpsync_tool_calls_total", labels) == 3
    assert "no1" not in metrics.text()
    assert "tool1" not in metrics.text()


def test_an_event_of_the_future_is_ignored(metrics):
    @dataclass(frozen=True, slots=True)
    class Unheard(events.Event):
        what: str

    before = metrics.text()
    metrics(Unheard("crm", "42", "of"))
    metrics(object())
    assert metrics.text() == before


def test_no_count_is_lost_between_threads(metrics, registry):
    def many():
        for _ in range(500):
            metrics(events.ConnectionReused("crm", None))

    for future in [start(many) for _ in range(8)]:
        assert outcome(future) is None
    labels = {"server": "crm"}
    assert registry.get_sample_value("mcpsync_connections_reused_total", labels) == 4000


# -- a manager's numbers ---------------------------------------------------------------------------


def test_a_managers_numbers_are_read_when_they_are_asked_for(metrics, registry):
    manager = Manager()
    metrics.watch(manager)
    manager.stats["tracked_users"] = 9
    found = {
        name: registry.get_sample_value(f"mcpsync_{name}")
        for name in (
            "users",
            "user_connections",
            "activity_entries",
            "app_connections",
            "pending_connections",
            "leased_connections",
        )
    }
    assert list(found.values()) == [9, 2, 3, 4, 5, 6]


def test_the_numbers_of_several_managers_are_added_up_each_once(metrics, registry):
    managers = [Manager(), Manager()]
    for manager in [*managers, managers[0]]:
        metrics.watch(manager)
    assert registry.get_sample_value("mcpsync_user_connections") == 4


def test_a_manager_is_not_kept_alive(metrics, registry):
    manager = Manager()
    metrics.watch(manager)
    del manager
    gc.collect()
    assert registry.get_sample_value("mcpsync_user_connections") is None


def test_numbers_that_cannot_be_read_cost_no_others(metrics, registry, caplog):
    broken, sound = Manager(), Manager(something_else=["crm"])
    broken.get_connection_stats = lambda: 1 / 0
    metrics.watch(broken)
    metrics.watch(sound)
    metrics(events.BreakerClosed("crm", None))
    assert registry.get_sample_value("mcpsync_breaker_closed_total", {"server": "crm"}) == 1
    assert registry.get_sample_value("mcpsync_user_connections") == 2
    assert "could not be read" in caplog.text


def test_a_real_manager_has_all_the_numbers_that_are_shown(registry):
    metrics = PrometheusMetrics(registry)
    with (
        LocalServer() as server,
        MCPManager({"crm": {"url": server.url}}, on_event=metrics) as made,
    ):
        metrics.watch(made)
        made.call_tool("crm", "add", {"a": 1, "b": 2}, user="42")
        assert set(STATS) <= set(made.get_connection_stats())
        assert registry.get_sample_value("mcpsync_user_connections") == 1
        labels = {"server": "crm", "outcome": "ok"}
        assert registry.get_sample_value("mcpsync_tool_calls_total", labels) == 1


# -- registries and processes ----------------------------------------------------------------------


def test_the_text_is_what_prometheus_reads():
    metrics = PrometheusMetrics()
    metrics(events.ConnectionFailed('a "quoted"\nname', None, "ConnectError"))
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(metrics.text())}
    failed = families["mcpsync_connections_failed"]
    assert failed.type == "counter"
    assert {"server": 'a "quoted"\nname', "error": "ConnectError"} in [
        sample.labels for sample in failed.samples
    ]
    assert metrics.content_type.startswith("text/plain; version=0.0.4")


def test_without_a_registry_it_has_one_of_its_own():
    one, other = PrometheusMetrics(), PrometheusMetrics()
    one(events.BreakerClosed("crm", None))
    assert 'breaker_closed_total{server="crm"} 1.0' in one.text()
    assert "crm" not in other.text()
    assert "mcpsync" not in prometheus_client.generate_latest().decode()


def test_two_of_one_name_in_a_registry_are_refused_and_the_first_goes_on(metrics, registry):
    with pytest.raises(ConfigurationError, match="can serve several managers"):
        PrometheusMetrics(registry)
    PrometheusMetrics(registry, namespace="other")
    metrics(events.BreakerClosed("crm", None))
    assert registry.get_sample_value("mcpsync_breaker_closed_total", {"server": "crm"}) == 1


def test_a_metric_of_somebody_else_with_the_same_name_is_refused(registry):
    prometheus_client.Counter("mcpsync_tool_calls", "Theirs.", registry=registry)
    with pytest.raises(ConfigurationError, match="namespace 'mcpsync' were not accepted"):
        PrometheusMetrics(registry)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_counts_from_zero_and_keeps_watching():
    program = """
import os
from mcpsync import events
from mcpsync.observability import PrometheusMetrics
class Manager:
    def get_connection_stats(self): return {"tracked_users": 5}
metrics, manager = PrometheusMetrics(), Manager()
metrics.watch(manager)
metrics(events.BreakerClosed("crm", None))
metrics._lock.__enter__()  # whoever held it is not there in the child
pid = os.fork()
if pid == 0:
    metrics(events.BreakerClosed("crm", None))
    text = metrics.text()
    os._exit(0 if 'closed_total{server="crm"} 1.0' in text and "users 5.0" in text else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run(program).stdout == "0\n"


def test_without_the_package_the_error_says_what_to_install():
    program = """
import sys
sys.modules["prometheus_client"] = None
from mcpsync import ConfigurationError
from mcpsync.observability import LogSink, PrometheusMetrics
try:
    PrometheusMetrics()
except ConfigurationError as error:
    print(error)
"""
    assert "pip install 'mcpsync[prometheus]'" in run(program).stdout


def test_the_package_is_imported_when_metrics_are_made():
    program = "import sys, mcpsync.observability; print('prometheus_client' in sys.modules)"
    assert run(program).stdout == "False\n"


def run(program):
    """Run *program* in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
