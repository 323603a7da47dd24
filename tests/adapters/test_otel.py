"""Spans and metrics of real exchanges, by OpenTelemetry's own SDK."""

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.adapters.upstream import PATH, Script, Upstream, events

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from unstream import otel

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "telemetry.md").read_text()
BLOCKS: Final = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
HELLO: Final = events("Hel", "lo", " there")
REQUEST: Final = {"model": "m-1", "stream": True, "messages": []}


class Sdk:
    """OpenTelemetry's SDK, which exports into memory."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader])
        self.tracer = self.tracers.get_tracer("test", schema_url=otel.SCHEMA_URL)
        self.meter = self.meters.get_meter("test", schema_url=otel.SCHEMA_URL)

    def spans(self) -> list[Any]:
        return [*self._spans.get_finished_spans()]

    def points(self) -> dict[str, list[Any]]:
        data: Any = self._reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    made = Sdk()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


def check(sdk: Sdk, begun: int) -> Any:
    """Check what was written of one answer; return its span."""
    [span] = [s for s in sdk.spans() if s.kind is SpanKind.CLIENT]
    assert span.name == "chat m-1"
    assert begun <= span.start_time < span.end_time <= time.time_ns()
    assert span.attributes["gen_ai.request.model"] == "m-1"
    assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert span.attributes["server.address"] == "127.0.0.1"
    first = span.attributes["gen_ai.response.time_to_first_chunk"]
    duration = (span.end_time - span.start_time) / 1e9
    assert 0 < first < duration
    assert span.status.status_code is StatusCode.UNSET
    points = sdk.points()
    tokens = {p.attributes["gen_ai.token.type"]: p for p in points[otel._USAGE]}
    assert tokens["input"].sum == span.attributes["gen_ai.usage.input_tokens"]
    assert tokens["output"].sum == span.attributes["gen_ai.usage.output_tokens"]
    assert tokens["input"].explicit_bounds == tuple(4.0**i for i in range(14))
    [measured] = points[otel._DURATION]
    assert measured.sum == pytest.approx(duration, abs=1e-6)
    assert measured.explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert measured.explicit_bounds[-1] == 81.92
    [chunk] = points[otel._FIRST_CHUNK]
    assert chunk.sum == first
    [gaps] = points[otel._EACH_CHUNK]
    assert 0 < gaps.count < len(HELLO)
    assert "error.type" not in measured.attributes
    return span


def test_a_client_of_httpx(server: Upstream, sdk: Sdk) -> None:
    httpx = pytest.importorskip("httpx")
    from unstream.httpx import observe

    script = server.serve(Script(HELLO, stepped=True))
    begun = time.time_ns()
    record = otel.recorder(sdk.tracer, sdk.meter, provider="acme")
    with (
        sdk.tracer.start_as_current_span("parent") as parent,
        observe(httpx.Client(), record) as client,
        client.stream("POST", script.url, json=REQUEST) as response,
    ):
        for _ in response.iter_raw():
            time.sleep(0.01)
            script.step()
    span = check(sdk, begun)
    assert span.attributes["gen_ai.provider.name"] == "acme"
    assert span.parent.span_id == parent.get_span_context().span_id


def test_an_asgi_application(sdk: Sdk) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("uvicorn")
    applications = pytest.importorskip("starlette.applications")
    responses = pytest.importorskip("starlette.responses")
    import asyncio

    from tests.adapters.server import serving
    from unstream.asgi import Middleware

    async def pieces() -> Any:
        for piece in HELLO:
            await asyncio.sleep(0.01)
            yield piece

    async def answer(request: Any) -> Any:
        await request.json()
        return responses.StreamingResponse(pieces(), media_type="text/event-stream")

    app = applications.Starlette()
    app.add_route(PATH, answer, methods=["POST"])
    record = otel.recorder(sdk.tracer, sdk.meter, messages=True)
    app.add_middleware(Middleware, on_finish=record)
    begun = time.time_ns()
    with serving(app) as address:
        said = {**REQUEST, "messages": [{"role": "user", "content": "hi"}]}
        response = httpx.post(f"{address}{PATH}", json=said)
        assert response.content == b"".join(HELLO)
    span = check(sdk, begun)
    assert '"content":"hi"' in span.attributes["gen_ai.input.messages"]
    assert '"content":"Hello there"' in span.attributes["gen_ai.output.messages"]


def test_a_failure_is_an_error(server: Upstream, sdk: Sdk) -> None:
    httpx = pytest.importorskip("httpx")
    from unstream.httpx import observe

    body = b'{"error":{"message":"no","code":"rate_limit_exceeded"}}'
    script = server.serve(Script([body], status=429, kind="application/json"))
    with observe(httpx.Client(), otel.recorder(sdk.tracer, sdk.meter)) as client:
        client.post(script.url, json=REQUEST)
    [span] = sdk.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "rate_limit_exceeded"
    [point] = sdk.points()[otel._DURATION]
    assert point.attributes["error.type"] == "rate_limit_exceeded"
    assert "no" not in str(span.attributes.values())


def test_a_recorder_that_breaks_disturbs_nobody(
    server: Upstream, sdk: Sdk, caplog: pytest.LogCaptureFixture
) -> None:
    httpx = pytest.importorskip("httpx")
    from unstream.httpx import observe

    class Broken:
        def start_span(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("broken")

    script = server.serve(Script(HELLO))
    record = otel.recorder(Broken(), sdk.meter)
    with (
        caplog.at_level(logging.ERROR, "unstream"),
        observe(httpx.Client(), record) as client,
    ):
        assert client.post(script.url, json=REQUEST).content == script.body
    assert [entry.getMessage() for entry in caplog.records] == ["on_finish raised"]


def test_a_tee_has_no_exchange(sdk: Sdk) -> None:
    from unstream import tee

    list(tee(iter(HELLO), otel.recorder(sdk.tracer, None)))
    list(tee(iter(HELLO), otel.recorder(None, sdk.meter)))
    [span] = sdk.spans()
    assert span.name == "chat"
    assert otel._DURATION in sdk.points()


# --- The page -------------------------------------------------------------------------


def run(number: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[number], f"telemetry.md, {number}", "exec"), names)  # noqa: S102
    return names


def test_the_clock_of_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timing = run(0, monkeypatch)["timing"]
    assert 0 < timing.first_content <= timing.total
    assert capsys.readouterr().out


def test_the_recorder_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    with run(1, monkeypatch)["client"] as client:
        assert len(client.event_hooks["response"]) == 1


def test_the_dicts_of_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(2, monkeypatch)
    assert "gen_ai.client.operation.duration" in capsys.readouterr().out


def test_prometheus(server: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("prometheus_client")
    httpx = pytest.importorskip("httpx")
    from unstream.httpx import observe

    [number] = [n for n, code in enumerate(BLOCKS) if "prometheus_client" in code]
    assert number == len(BLOCKS) - 1 == 3
    names = run(number, monkeypatch)
    script = server.serve(Script(HELLO))
    with observe(httpx.Client(), names["record"]) as observed:
        for _ in range(2):
            observed.post(script.url, json=REQUEST)
    text = client.generate_latest().decode()
    lines = dict(re.findall(r"^(llm_\w+\{[^}]*\}) (\S+)$", text, re.MULTILINE))
    [ended] = [
        value
        for name, value in lines.items()
        if 'ending="complete"' in name and "_total" in name
    ]
    assert float(ended) == 2
    assert (
        sum(float(v) for n, v in lines.items() if n.startswith("llm_tokens_total")) > 0
    )
    assert (
        sum(
            float(v)
            for n, v in lines.items()
            if n.startswith("llm_answer_seconds_count")
        )
        == 2
    )
