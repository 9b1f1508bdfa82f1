"""Spans to a collector of OpenTelemetry over OTLP/HTTP. The SDK is imported when the first span goes out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from sopwith.core.config import Config
from sopwith.core.tracing import Span
from sopwith.errors import MissingExtra, NotSent
from sopwith.version import __version__

LIMIT_SECS = 10
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def endpoint_of(config: Config, environ: Mapping[str, str]) -> str:
    """Where spans go: as config.json says, else the standard variables; empty: nowhere."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    if config.telemetry.otlp_endpoint:
        return f"{config.telemetry.otlp_endpoint}/v1/traces"
    traces, base = (environ.get(name, "").strip() for name in _ENDPOINTS)
    return traces or (f"{base.rstrip('/')}/v1/traces" if base else "")


class Otlp:
    """A collector. Headers and certificates are taken from the standard variables."""

    def __init__(self, endpoint: str) -> None:
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
            raise MissingExtra(
                "traces need the OpenTelemetry SDK, which is not installed", hint='pip install "sopwith[otel]"'
            )
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        # its own words would go to stderr
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        self._exporter: Any = OTLPSpanExporter(endpoint=endpoint, timeout=LIMIT_SECS)
        self._resource = Resource.create({"service.name": "sopwith", "service.version": __version__})

    def export(self, spans: Sequence[Span]) -> None:
        """Blocks, 10 seconds at most. Raises NotSent."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = self._exporter.export([self._made(span) for span in spans])
        if result is not SpanExportResult.SUCCESS:
            raise NotSent("the collector of traces took no spans")

    def _made(self, span: Span) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
        from opentelemetry.trace.status import Status, StatusCode

        def context(span_id: str) -> SpanContext:
            return SpanContext(int(span.trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(1))

        return ReadableSpan(
            name=span.name,
            context=context(span.span_id),
            parent=context(span.parent) if span.parent else None,
            resource=self._resource,
            attributes=span.attributes,
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.OK),
            start_time=_nanoseconds(span.began_at),
            end_time=_nanoseconds(span.ended_at),
            instrumentation_scope=InstrumentationScope("sopwith", __version__),
        )


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000) * 1_000_000
