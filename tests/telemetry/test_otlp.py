"""Spans as a real collector gets them: OTLP over HTTP, on a socket."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.notify.servers import serving, with_status

from sopwith.core.config import Config, Telemetry
from sopwith.core.tracing import Span
from sopwith.errors import MissingExtra, NotSent
from sopwith.telemetry import otlp
from sopwith.telemetry.otlp import Otlp, endpoint_of
from sopwith.testing.clock import START

SPAN = Span(
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    span_id="00f067aa0ba902b7",
    parent="53995c3f42cd8ad8",
    name="deploy step 1",
    began_at=START,
    ended_at=START + timedelta(milliseconds=1500),
    error="failed",
    attributes={"sopwith.step": "1", "sopwith.exit_code": 7},
)


def test_a_span_arrives_with_its_ids_times_and_attributes() -> None:
    with serving(with_status(200)) as server:
        Otlp(f"http://{server.url}/v1/traces").export([SPAN])
    ((path, headers, body),) = server.requests
    assert path == "/v1/traces"
    assert {key.lower(): value for key, value in headers.items()}["content-type"] == "application/x-protobuf"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "sopwith"
    (span,) = resource.scope_spans[0].spans
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (
        SPAN.trace_id,
        SPAN.span_id,
        SPAN.parent,
    )
    assert (span.end_time_unix_nano - span.start_time_unix_nano) == 1_500_000_000
    assert span.start_time_unix_nano == 1_767_268_800_000_000_000
    assert (span.name, span.status.code, span.status.message) == ("deploy step 1", 2, "failed")
    attributes = {each.key: each.value for each in span.attributes}
    assert attributes["sopwith.exit_code"].int_value == 7


def test_a_collector_that_refuses_is_a_failure() -> None:
    with serving(with_status(400)) as server, pytest.raises(NotSent):
        Otlp(f"http://{server.url}/v1/traces").export([SPAN])


def test_what_the_sdk_logs_goes_nowhere() -> None:
    code = (
        "from tests.telemetry.test_otlp import SPAN, Otlp, serving, with_status\n"
        "with serving(with_status(400)) as server:\n"
        "    try: Otlp(f'http://{server.url}/v1/traces').export([SPAN])\n"
        "    except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("the collector of traces took no spans\n", "")


def test_where_spans_go() -> None:
    stated = Config(telemetry=Telemetry(otlp_endpoint="http://a:4318"))
    assert endpoint_of(Config(), {}) == ""
    assert endpoint_of(stated, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"}) == "http://a:4318/v1/traces"
    assert endpoint_of(Config(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b/"}) == "http://b/v1/traces"
    assert endpoint_of(Config(), {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x"}) == "http://c/x"
    assert endpoint_of(stated, {"OTEL_SDK_DISABLED": "TRUE"}) == ""


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra) as caught:
        Otlp("http://127.0.0.1:1/v1/traces")
    assert caught.value.hint == 'pip install "sopwith[otel]"'
