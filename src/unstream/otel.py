"""An outcome as telemetry: the attributes and metrics of OpenTelemetry for GenAI.

The names are those of the semantic conventions 1.41.0, which are in development:
<https://github.com/open-telemetry/semantic-conventions/tree/v1.41.0/docs/gen-ai>. These
are the last of which constants are published, and what OpenTelemetry's own
instrumentations write; `docs/telemetry.md` says what is renamed after them.

Plain dicts need nothing; `recorder` needs opentelemetry-api: extra `unstream[otel]`.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from unstream._conversation import asked, instructions, said
from unstream._exchange import Exchange
from unstream._json import Json, dump, parse_whole
from unstream._outcome import Ending, Outcome, Record
from unstream._parameters import parameters

__all__ = ["SCHEMA_URL", "attributes", "metrics", "recorder", "span_name"]

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"
"""The version of the conventions, for `get_tracer` and `get_meter`."""

Attributes: TypeAlias = dict[str, Any]
Request: TypeAlias = Exchange | Mapping[str, Json] | bytes | None

_SECONDS: Final = [round(0.01 * 2**i, 2) for i in range(14)]
_TOKENS: Final = [4**i for i in range(14)]
_DURATION: Final = "gen_ai.client.operation.duration"
_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
_EACH_CHUNK: Final = "gen_ai.client.operation.time_per_output_chunk"
_USAGE: Final = "gen_ai.client.token.usage"
# Each with its unit, what it is, and the buckets that the conventions ask for; they ask
# for none of the time per chunk: OpenTelemetry's own instrumentations take these.
_METRICS: Final = {
    _USAGE: ("{token}", "Number of input and output tokens used.", _TOKENS),
    _DURATION: ("s", "GenAI operation duration.", _SECONDS),
    _FIRST_CHUNK: ("s", "Time to receive the first chunk.", _SECONDS),
    _EACH_CHUNK: ("s", "Time per output chunk after the first.", _SECONDS),
}
# To record a gap takes some microseconds; of a longer stream so many are recorded.
_GAPS: Final = 1000

_OPERATIONS: Final = {"gemini": "generate_content", "text": "text_completion"}
# What is asked for, where no answer tells.
_PATHS: Final = (
    (re.compile(r":(stream)?generateContent", re.IGNORECASE), "generate_content"),
    (re.compile(r"(?<!chat)/completions/*$"), "text_completion"),
)
_MODEL: Final = re.compile(r"/models/([^/:]+):")

# What names a kind of error, and is no sentence.
_CODE: Final = re.compile(r"[\w.:-]{1,64}")


def attributes(
    outcome: Outcome[Any],
    *,
    request: Request = None,
    provider: str | None = None,
    messages: bool = False,
) -> Attributes:
    """Return the attributes of a span of `gen_ai.inference.client`.

    `request` is what was asked: the exchange of an adapter, or the body, as JSON or
    parsed. `provider` is `gen_ai.provider.name`, which no stream tells; without it
    there is none, but `gcp.gen_ai` for Gemini's protocol. With `messages` come what was
    asked and said, as text of JSON: **they are other people's words**. What is not
    known is left out, never guessed.

    `error.type` is, of what failed: the code or type of error that the provider named;
    else the status, such as "429"; else the ending: "truncated", "error", "empty",
    "foreign" or "limit".
    """
    record, body = outcome.record, _body(request)
    made = _common(outcome, record, request, body, provider)
    made["error.type"] = _error(outcome, request)
    made |= parameters(body)
    if _streams(outcome, request, body):
        made["gen_ai.request.stream"] = True
    if isinstance(request, Exchange):
        made |= _server(request.url)
    if record.id:
        made["gen_ai.response.id"] = record.id
    reasons = record.finish_reasons
    if all(reasons) or outcome.ending is not Ending.COMPLETE:
        # A place cannot be left out: so the conventions call one that never finished.
        made["gen_ai.response.finish_reasons"] = [r or "error" for r in reasons]
    if (timing := outcome.timing) is not None and "gen_ai.request.stream" in made:
        made["gen_ai.response.time_to_first_chunk"] = timing.first_event
    if (usage := record.usage) is not None:
        made["gen_ai.usage.input_tokens"] = usage.input
        made["gen_ai.usage.output_tokens"] = usage.output
        made["gen_ai.usage.cache_read.input_tokens"] = usage.cached_read
        made["gen_ai.usage.cache_creation.input_tokens"] = usage.cached_write
        made["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning
    if messages:
        whole = outcome.completion
        answer = [] if whole is None else said(whole.to_dict(), reasons)
        for name, found in (
            ("gen_ai.input.messages", asked(body)),
            ("gen_ai.system_instructions", instructions(body)),
            ("gen_ai.output.messages", answer),
        ):
            made[name] = dump(found) if found else None
    return {name: value for name, value in made.items() if value not in (None, [])}


def span_name(attributes: Mapping[str, Any]) -> str:
    """Return the name of a span of these attributes, such as "chat gpt-5"."""
    model = attributes.get("gen_ai.request.model", "")
    return f"{attributes['gen_ai.operation.name']} {model}".rstrip()


def metrics(
    outcome: Outcome[Any], *, request: Request = None, provider: str | None = None
) -> list[dict[str, Any]]:
    """Return what is to be recorded in histograms, for each metric of the conventions.

    Each is a dict of `name`, `unit`, `attributes` and `values`: one value, but for the
    time per output chunk, which has one for each gap between feeds, within 2 %; of more
    than 1000 gaps, that many at even ranks. Times need `outcome.timing`, those of
    chunks a stream, token counts a usage that was sent.
    """
    record, body = outcome.record, _body(request)
    common = _common(outcome, record, request, body, provider)
    made: list[dict[str, Any]] = []

    def add(name: str, values: list[Any], **beside: str) -> None:
        if values and values[0] is not None:
            fields = common | beside
            unit = _METRICS[name][0]
            made.append(
                {"name": name, "unit": unit, "attributes": fields, "values": values}
            )

    if (usage := record.usage) is not None:
        add(_USAGE, [usage.input], **{"gen_ai.token.type": "input"})
        add(_USAGE, [usage.output], **{"gen_ai.token.type": "output"})
    if (timing := outcome.timing) is not None:
        failed = _error(outcome, request)  # of the others none asks
        add(_DURATION, [timing.total], **({"error.type": failed} if failed else {}))
        if _streams(outcome, request, body):
            add(_FIRST_CHUNK, [timing.first_event])
            if timing.gaps is not None:
                add(_EACH_CHUNK, timing.gaps.sample(_GAPS))
    return made


def recorder(
    tracer: Any,
    meter: Any,
    *,
    provider: str | None = None,
    messages: bool = False,
) -> Callable[..., None]:
    """Return an `on_finish` for any adapter that writes a span and metrics.

    `tracer` and `meter` are those of opentelemetry-api; None writes none of the one or
    the other. The span begins where `outcome.timing` does, and is a child of the span
    in whose context the request was. For the keywords see `attributes`. Raises
    ImportError without opentelemetry-api, TypeError for what is no tracer or meter.
    """
    try:
        from opentelemetry.trace import (  # noqa: PLC0415 - an extra
            SpanKind,
            Status,
            StatusCode,
        )
    except ImportError as error:
        raise ImportError("pip install unstream[otel]") from error
    if tracer is not None and not hasattr(tracer, "start_span"):
        raise TypeError(f"tracer is one of get_tracer(...), not {tracer!r}")
    if meter is not None and not hasattr(meter, "create_histogram"):
        raise TypeError(f"meter is one of get_meter(...), not {meter!r}")
    histograms = {} if meter is None else _histograms(meter)

    def record(outcome: Outcome[Any], exchange: Exchange | None = None) -> None:
        if tracer is not None:
            fields = attributes(
                outcome, request=exchange, provider=provider, messages=messages
            )
            end = time.time_ns()
            total = 0.0 if outcome.timing is None else outcome.timing.total
            span = tracer.start_span(
                span_name(fields),
                kind=SpanKind.CLIENT,
                attributes=fields,
                start_time=end - int(total * 1e9),
            )
            if "error.type" in fields:
                span.set_status(Status(StatusCode.ERROR))
            span.end(end)
        if meter is not None:
            for metric in metrics(outcome, request=exchange, provider=provider):
                histogram = histograms[metric["name"]]
                for value in metric["values"]:
                    histogram.record(value, metric["attributes"])

    return record


def _histograms(meter: Any) -> dict[str, Any]:
    return {
        name: meter.create_histogram(
            name, unit, description, explicit_bucket_boundaries_advisory=bounds
        )
        for name, (unit, description, bounds) in _METRICS.items()
    }


# --- What is known of a request -------------------------------------------------------


def _body(request: Request) -> dict[str, Any]:
    if isinstance(request, Mapping):
        return dict(request)
    body = request.request_body if isinstance(request, Exchange) else request
    try:
        sent = parse_whole(body) if body else None
    except ValueError:
        return {}
    return sent if type(sent) is dict else {}


def _server(url: str) -> Attributes:
    try:
        parts = urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:  # it may be made of a `host` that a client made up
        return {}
    host = parts.hostname
    return {"server.address": host, "server.port": port} if host else {}


def _streams(outcome: Outcome[Any], request: Request, body: Mapping[str, Json]) -> bool:
    if type(stream := body.get("stream")) is bool:
        return stream
    if isinstance(request, Exchange) and "enerateContent" in request.path:
        return ":streamGenerateContent" in request.path
    return outcome.timing is not None and outcome.timing.first_event is not None


def _common(
    outcome: Outcome[Any],
    record: Record,
    request: Request,
    body: Mapping[str, Json],
    provider: str | None,
) -> Attributes:
    """Return the attributes that spans and metrics share."""
    operation = _OPERATIONS.get(outcome.protocol, "chat")
    path = request.path if isinstance(request, Exchange) else ""
    if outcome.completion is None:
        found = [name for pattern, name in _PATHS if pattern.search(path)]
        operation = next(iter(found), operation)
    made: Attributes = {"gen_ai.operation.name": operation}
    if provider is not None:
        made["gen_ai.provider.name"] = provider
    elif operation == "generate_content":
        made["gen_ai.provider.name"] = "gcp.gen_ai"  # any Google endpoint, it says
    model = body.get("model")
    if type(model) is str and model:
        made["gen_ai.request.model"] = model
    elif (named := _MODEL.search(path)) is not None:
        made["gen_ai.request.model"] = unquote(named[1])
    if record.model:
        made["gen_ai.response.model"] = record.model
    return made


def _error(outcome: Outcome[Any], request: Request) -> str | None:
    """Name the kind of what went wrong."""
    status = request.status if isinstance(request, Exchange) else 0
    if outcome.ending is Ending.COMPLETE and status < 400:  # noqa: PLR2004
        return None
    error = outcome.error
    if type(error) is dict:
        for code in (error.get("code"), error.get("type"), error.get("status")):
            if type(code) is str and _CODE.fullmatch(code) and code != "error":
                return code
    return str(status) if status >= 400 else str(outcome.ending)  # noqa: PLR2004
