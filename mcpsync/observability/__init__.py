"""Event sinks: to Prometheus, and to the log. And traces: OpenTelemetry."""

from .logs import LogSink
from .otel import OpenTelemetryTracing
from .prometheus import PrometheusMetrics

__all__ = ["LogSink", "OpenTelemetryTracing", "PrometheusMetrics"]
