"""``PrometheusMetrics``: counts events, and shows a manager's numbers, for Prometheus."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from .. import events
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram
    from prometheus_client.core import GaugeMetricFamily, Metric

    from ..manager import MCPManager

logger = logging.getLogger(__name__)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Counted(NamedTuple):
    """The counter of an event of a server; *labels* are fields of the event."""

    name: str
    text: str
    labels: tuple[str, ...] = ()


_COUNTED: Mapping[type, _Counted] = {
    events.ConnectionCreated: _Counted("connections_created", "Connections made."),
    events.ConnectionJoined: _Counted(
        "connections_joined", "Callers who waited for a connection that another was making."
    ),
    events.ConnectionReused: _Counted(
        "connections_reused", "Callers who were given a connection that was there."
    ),
    events.ConnectionFailed: _Counted(
        "connections_failed", "Connections that could not be made.", ("error",)
    ),
    events.ConnectionRetried: _Counted(
        "connections_retried", "Attempts at a connection that another followed.", ("error",)
    ),
    events.ConnectionClosed: _Counted("connections_closed", "Connections closed.", ("reason",)),
    events.BreakerOpened: _Counted("breaker_opened", "Times that connecting was suspended."),
    events.BreakerClosed: _Counted("breaker_closed", "Times that connecting was allowed again."),
    events.ToolsChanged: _Counted("tools_changed", "Times that a server's tools changed."),
}
_GAUGES: Mapping[str, tuple[str, str]] = {  # by key of MCPManager.get_connection_stats()
    "tracked_users": ("users", "Users who have a connection."),
    "total_connections": ("user_connections", "Connections of users."),
    "app_connection_count": ("app_connections", "Connections of the application."),
    "activity_entries": ("activity_entries", "Connections whose idleness is watched."),
    "pending_connections": ("pending_connections", "Connections being made."),
    "leased_connections": ("leased_connections", "Connections that are lent."),
}


class PrometheusMetrics:
    """An event sink that counts: ``MCPManager(servers, on_event=metrics)``. Thread-safe.

    One may serve several managers. It is a collector, registered in its registry as a whole. Users
    are no labels: they are too many, and nobody's business. Nor are the names of servers that are
    not configured, which anybody may make up: ``server`` is empty for a call of one.

    In a forked child it begins anew, since what the parent counted is the parent's. Unknown
    events are ignored.

    Args:
        registry: Where it is registered; a registry of its own if None.
        namespace: What the names of the metrics begin with.
        tool_names: Whether calls have the label ``tool``. It multiplies the time series, and who
            calls a tool chooses its name: leave it off if that is a language model.

    Raises:
        ConfigurationError: prometheus-client is not installed, or the registry has metrics of
            these names.

    Lock: _lock guards _managers.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"
    """The media type of :meth:`text`."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        namespace: str = "mcpsync",
        *,
        tool_names: bool = False,
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry
        except ImportError as error:
            raise ConfigurationError(
                "metrics need prometheus-client: pip install 'mcpsync[prometheus]'."
            ) from error
        self._namespace = namespace
        self._tool_names = tool_names
        self._managers: weakref.WeakSet[MCPManager] = weakref.WeakSet()
        self._registry = registry if registry is not None else CollectorRegistry()
        try:
            self._begin()
            self._registry.register(self)
        except ValueError as error:
            raise ConfigurationError(
                f"the metrics of namespace {namespace!r} were not accepted: {error}. "
                f"One PrometheusMetrics can serve several managers."
            ) from error
        after_fork_in_child(self._begin)

    def _begin(self) -> None:
        self._lock = new_lock("metrics")
        self._series = _Series(self._namespace, self._tool_names)

    def __call__(self, event: events.Event | events.SweepFinished, /) -> None:
        """Count *event*."""
        self._series.take(event)

    def watch(self, manager: MCPManager) -> None:
        """Show the numbers of *manager*, too, as long as it lives; those of several are added up.

        They are read from :meth:`~mcpsync.MCPManager.get_connection_stats` at each scrape.
        """
        with self._lock:
            self._managers.add(manager)

    def text(self) -> str:
        """Return everything in the registry in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry).decode("utf-8")

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now. (A registry calls this.)"""
        yield from self._series.collect()
        yield from self._gauges(self._numbers())

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without numbers. (A registry calls this.)"""
        yield from self._series.collect()
        yield from self._gauges(dict.fromkeys(_GAUGES, 0))

    def _numbers(self) -> dict[str, int]:
        with self._lock:
            managers = list(self._managers)
        sums: dict[str, int] = {}
        for manager in managers:
            try:
                stats = manager.get_connection_stats()
            except Exception:  # the other metrics are still wanted
                logger.exception("a manager's numbers could not be read")
                continue
            for key in _GAUGES.keys() & stats.keys():
                sums[key] = sums.get(key, 0) + stats[key]
        return sums

    def _gauges(self, numbers: Mapping[str, int]) -> Iterator[GaugeMetricFamily]:
        from prometheus_client.core import GaugeMetricFamily

        for key, (name, text) in _GAUGES.items():
            if key in numbers:
                yield GaugeMetricFamily(f"{self._namespace}_{name}", text, numbers[key])


class _Series:
    """The counters and histograms of one process."""

    def __init__(self, namespace: str, tool_names: bool) -> None:
        from prometheus_client import Counter, Histogram

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace=namespace, registry=None)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(
                name, text, labels, namespace=namespace, registry=None, buckets=_SECONDS
            )

        self._tools = ("tool",) if tool_names else ()
        self._counters = {
            kind: counter(counted.name, counted.text, "server", *counted.labels)
            for kind, counted in _COUNTED.items()
        }
        self._calls = counter("tool_calls", "Tool calls ended.", "server", *self._tools, "outcome")
        self._sweeps = counter("sweeps", "Sweeps that closed something.")
        self._swept = counter("swept_connections", "Connections closed by the sweeper.")
        self._connecting = histogram("connect_seconds", "Time to make a connection.", "server")
        self._calling = histogram(
            "tool_call_seconds", "Time of a tool call.", "server", *self._tools
        )

    def take(self, event: events.Event | events.SweepFinished) -> None:
        """Count *event*, if it is known."""
        counted = _COUNTED.get(type(event))
        if isinstance(event, events.CallFinished):
            self._take_call(event)
        elif isinstance(event, events.SweepFinished):
            self._sweeps.inc()
            self._swept.inc(event.closed)
        elif counted is not None:
            values = [str(getattr(event, label)) for label in counted.labels]
            self._counters[type(event)].labels(event.server_name, *values).inc()
        if isinstance(event, events.ConnectionCreated):
            self._connecting.labels(event.server_name).observe(event.seconds)

    def _take_call(self, event: events.CallFinished) -> None:
        whom = [event.server_name, *([event.tool_name] if self._tools else [])]
        if event.error == "ServerNotFound":
            whom = [""] * len(whom)
        self._calls.labels(*whom, event.error or "ok").inc()
        self._calling.labels(*whom).observe(event.seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield them all."""
        for metric in (*self._counters.values(), self._calls, self._sweeps, self._swept):
            yield from metric.collect()
        for histogram in (self._connecting, self._calling):
            yield from histogram.collect()
