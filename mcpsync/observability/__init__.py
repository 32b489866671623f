"""Event sinks: to Prometheus, and to the log."""

from .logs import LogSink
from .prometheus import PrometheusMetrics

__all__ = ["LogSink", "PrometheusMetrics"]
