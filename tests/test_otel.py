"""An outcome as the attributes and metrics of OpenTelemetry's conventions."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import unstream
from tests.strategies import chunk, stream
from unstream import Accumulator, Exchange, Limits, Outcome, otel
from unstream._detect import load

ROOT: Final = Path(__file__).parents[1]
USAGE: Final = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def clock() -> Iterator[float]:
    yield from (x / 4 for x in range(100_000))


def outcome_of(*data: bytes, protocol: str = "chat", **options: Any) -> Outcome[Any]:
    """Fold feeds that come each a quarter of a second."""
    times = clock()
    accumulator: Accumulator[Any] = Accumulator(
        protocol=load(protocol), clock=lambda: next(times), **options
    )
    for feed in data:
        accumulator.feed(feed)
    return accumulator.finish()


def exchange(
    body: dict[str, Any] | bytes | None,
    *,
    status: int = 200,
    url: str = "https://api.example.com/v1/chat/completions?key=secret",
) -> Exchange:
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    return Exchange(
        method="POST",
        url=url,
        path=url.partition(".com")[2].partition("?")[0],
        status=status,
        request_headers={"authorization": "Bearer secret"},
        response_headers={},
        request_body=data,
    )


LAST: Final = chunk({}, usage=USAGE)
LAST["choices"][0]["finish_reason"] = "stop"
ANSWER: Final = [
    stream(sent).removesuffix(b"data: [DONE]\n\n")
    for sent in (
        {**chunk({"role": "assistant", "content": ""}), "id": "c1", "model": "m-2"},
        chunk({"reasoning": "hm"}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        LAST,
    )
]
DONE: Final = b"data: [DONE]\n\n"
ASKED: Final = {
    "model": "m-1",
    "stream": True,
    "temperature": 0.5,
    "max_tokens": 100,
    "n": 1,
    "stop": "END",
    "seed": 7,
    "top_p": True,
    "response_format": {"type": "json_schema", "json_schema": {}},
    "messages": [{"role": "user", "content": "hi"}],
}


def test_what_a_span_says() -> None:
    made = otel.attributes(
        outcome_of(*ANSWER, DONE), request=exchange(ASKED), provider="acme"
    )
    assert made == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "m-1",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.seed": 7,
        "gen_ai.output.type": "json",
        "gen_ai.response.id": "c1",
        "gen_ai.response.model": "m-2",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "server.address": "api.example.com",
        "server.port": 443,
    }
    assert otel.span_name(made) == "chat m-1"


def test_what_is_not_known_is_left_out() -> None:
    nothing = unstream.Accumulator().finish()
    assert otel.attributes(nothing) == {
        "gen_ai.operation.name": "chat",
        "error.type": "empty",
    }
    assert otel.span_name(otel.attributes(nothing)) == "chat"
    assert otel.metrics(nothing) == []
    untimed = Accumulator()
    untimed.feed(b"".join(ANSWER))
    names = [metric["name"] for metric in otel.metrics(untimed.finish())]
    assert names == ["gen_ai.client.token.usage"] * 2


def test_what_is_measured() -> None:
    made = otel.metrics(outcome_of(*ANSWER, DONE), request=ASKED, provider="acme")
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "m-1",
        "gen_ai.response.model": "m-2",
    }
    found = {
        (m["name"], m["unit"], m["attributes"].get("gen_ai.token.type")) for m in made
    }
    assert found == {
        ("gen_ai.client.token.usage", "{token}", "input"),
        ("gen_ai.client.token.usage", "{token}", "output"),
        ("gen_ai.client.operation.duration", "s", None),
        ("gen_ai.client.operation.time_to_first_chunk", "s", None),
        ("gen_ai.client.operation.time_per_output_chunk", "s", None),
    }
    for metric in made:
        assert metric["attributes"].items() >= common.items()
    values = [metric["values"] for metric in made]
    assert values[:4] == [[9], [7], [1.75], [0.25]]
    assert values[4] == pytest.approx([0.25] * 5, rel=0.02)


def test_a_long_stream_has_a_sample_of_its_gaps() -> None:
    made = otel.metrics(outcome_of(*[ANSWER[2]] * 5000))
    assert [len(m["values"]) for m in made] == [1, 1, 1000]


def test_what_was_no_stream_has_no_chunks() -> None:
    body = b'{"object":"chat.completion","choices":[{"message":{"content":"a"}}]}'
    for request in (None, {"stream": False}):
        outcome = outcome_of(body)
        assert [m["name"] for m in otel.metrics(outcome, request=request)] == [
            "gen_ai.client.operation.duration"
        ]
        made = otel.attributes(outcome, request=request)
        assert not [name for name in made if "stream" in name or "chunk" in name]


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        (outcome_of(*ANSWER), 200, None),
        (outcome_of(*ANSWER[:3]), 200, "truncated"),
        (outcome_of(b"<html>"), 502, "502"),
        (outcome_of(b"<html>"), 200, "foreign"),
        (outcome_of(b""), 200, "empty"),
        (outcome_of(*ANSWER, limits=Limits(stream_bytes=9)), 200, "limit"),
        (outcome_of(b'data: {"error":"no more"}\n\n'), 200, "error"),
        (outcome_of(b'data: {"error":{"type":"overloaded"}}\n\n'), 200, "overloaded"),
        (outcome_of(b'{"error":{"code":"rate_limit","type":"x"}}'), 429, "rate_limit"),
        (outcome_of(b'{"error":{"code":429,"message":"x"}}'), 429, "429"),
        (outcome_of(b'{"error":{"code":"a sentence"}}'), 400, "400"),
    ],
)
def test_what_went_wrong(
    outcome: Outcome[Any], status: int, expected: str | None
) -> None:
    request = exchange(ASKED, status=status)
    assert otel.attributes(outcome, request=request).get("error.type") == expected
    for metric in otel.metrics(outcome, request=request):
        failed = expected if metric["name"] == otel._DURATION else None
        assert metric["attributes"].get("error.type") == failed


def test_a_choice_that_did_not_finish_holds_its_place() -> None:
    finished = stream(chunk({"content": "a"})).removesuffix(DONE)
    name = "gen_ai.response.finish_reasons"
    assert otel.attributes(outcome_of(finished))[name] == ["error"]
    assert name not in otel.attributes(outcome_of(finished, DONE))  # it never said


@pytest.mark.parametrize(
    ("path", "operation", "model"),
    [
        ("/v1/chat/completions", "chat", "m-1"),
        ("/v1/completions", "text_completion", "m-1"),
        ("/v1/messages", "chat", "m-1"),
        ("/v1/responses", "chat", "m-1"),
        ("/v1beta/models/g%2D1:streamGenerateContent", "generate_content", "m-1"),
    ],
)
def test_an_operation_that_failed_is_told_by_its_path(
    path: str, operation: str, model: str
) -> None:
    request = exchange(ASKED, status=429, url=f"https://a.com{path}")
    made = otel.attributes(outcome_of(b""), request=request)
    assert made["gen_ai.operation.name"] == operation
    assert made["gen_ai.request.model"] == model
    is_google = operation == "generate_content"
    assert made.get("gen_ai.provider.name") == ("gcp.gen_ai" if is_google else None)


def test_gemini_names_the_model_in_its_path_and_has_a_config() -> None:
    url = "https://a.com/v1beta/models/g%2D1:streamGenerateContent?alt=sse"
    body = {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 5, "candidateCount": 2, "topK": 40},
    }
    data = (ROOT / "examples" / "gemini.sse").read_bytes()
    outcome = outcome_of(data, protocol="gemini")
    made = otel.attributes(outcome, request=exchange(body, url=url))
    assert (
        made.items()
        >= {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.request.model": "g-1",
            "gen_ai.request.max_tokens": 5,
            "gen_ai.request.choice.count": 2,
            "gen_ai.request.top_k": 40,
            "gen_ai.request.stream": True,
        }.items()
    )
    whole = exchange(body, url=url.replace(":streamG", ":g"))
    assert "gen_ai.request.stream" not in otel.attributes(outcome, request=whole)


@pytest.mark.parametrize("body", [None, b"", b"[]", b"{", b'{"model":1,"stop":[1]}'])
def test_any_request_will_do(body: bytes | None) -> None:
    made = otel.attributes(outcome_of(*ANSWER), request=exchange(body), messages=True)
    assert not {n for n in made if n.startswith("gen_ai.request")} - {
        "gen_ai.request.stream",
        "gen_ai.request.stop_sequences",
    }


@pytest.mark.parametrize("url", ["http://[/x", "http://a.com:b/x", "/x", "http://:80/"])
def test_a_url_that_a_client_made_up_tells_no_server(url: str) -> None:
    request = msgspec.structs.replace(exchange(ASKED), url=url)
    made = otel.attributes(outcome_of(*ANSWER), request=request)
    assert not [name for name in made if name.startswith("server")]


# --- Messages -------------------------------------------------------------------------

TEXT: Final = {"type": "text", "content": "hi"}
CALL: Final = {"type": "tool_call", "id": "t1", "name": "f", "arguments": {"a": 1}}
RESULT: Final = {"type": "tool_call_response", "id": "t1", "response": "ok"}
THOUGHT: Final = {"type": "reasoning", "content": "hm"}
REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "chat": {
        "messages": [
            {"role": "system", "content": "be"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "hi"}, {"type": "image_url"}],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "t1", "function": {"name": "f", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "ok"},
        ]
    },
    "messages": {
        "system": [{"type": "text", "text": "be"}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "hi"}, {"type": "image"}],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
                ],
            },
        ],
    },
    "responses": {
        "instructions": "be",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "hi"},
                    {"type": "input_image"},
                ],
            },
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {
                "type": "function_call",
                "call_id": "t1",
                "name": "f",
                "arguments": '{"a":1}',
            },
            {"type": "function_call_output", "call_id": "t1", "output": "ok"},
        ],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "be"}]},
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "hi"}, {"inlineData": {"data": "AAAA"}}],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"functionCall": {"id": "t1", "name": "f", "args": {"a": 1}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "t1", "name": "f", "response": "ok"}}
                ],
            },
        ],
    },
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_was_asked_has_one_shape(name: str) -> None:
    made = otel.attributes(outcome_of(b""), request=REQUESTS[name], messages=True)
    asked = json.loads(made["gen_ai.input.messages"])
    parts = [part for message in asked for part in message["parts"]]
    if name == "chat":
        assert parts.pop(0) == {"type": "text", "content": "be"}
    else:
        instructed = json.loads(made["gen_ai.system_instructions"])
        assert instructed == [{"type": "text", "content": "be"}]
    image = parts.pop(1)
    assert set(image) == {"type"}
    assert parts == [TEXT, THOUGHT, CALL, RESULT]
    check_shape(asked)


def test_a_prompt_is_a_message() -> None:
    for request in ({"prompt": "hi"}, {"input": "hi"}):
        made = otel.attributes(outcome_of(b""), request=request, messages=True)
        asked = json.loads(made["gen_ai.input.messages"])
        assert asked == [{"role": "user", "parts": [TEXT]}]


@pytest.mark.parametrize("name", ["hello", "text", "messages", "responses", "gemini"])
def test_what_was_said_has_one_shape(name: str) -> None:
    data = (ROOT / "examples" / f"{name}.sse").read_bytes()
    outcome = outcome_of(data, protocol="chat" if name == "hello" else name)
    assert "gen_ai.output.messages" not in otel.attributes(outcome)
    made = otel.attributes(outcome, messages=True)
    messages = json.loads(made["gen_ai.output.messages"])
    check_shape(messages)
    record = outcome.record
    assert [m["finish_reason"] for m in messages] == [*record.finish_reasons]
    parts = messages[0]["parts"]
    for kind, text in (("text", record.text), ("reasoning", record.reasoning)):
        assert "".join(p["content"] for p in parts if p["type"] == kind) == text
    calls = [
        part for m in messages for part in m["parts"] if part["type"] == "tool_call"
    ]
    assert [(c["name"], c["arguments"]) for c in calls] == [
        (call.name, call.value) for call in record.calls
    ]


def test_each_choice_is_a_message_and_keeps_what_is_no_object() -> None:
    call = {"index": 0, "id": "t1", "function": {"name": "f", "arguments": '{"a'}}
    first = chunk({"tool_calls": [call], "refusal": "no"})
    second = chunk({"content": "b"})
    second["choices"][0]["index"] = 1
    made = otel.attributes(outcome_of(stream(first, second)), messages=True)
    messages = json.loads(made["gen_ai.output.messages"])
    check_shape(messages)
    assert [message["parts"] for message in messages] == [
        [{"type": "refusal", "content": "no"}, {**CALL, "arguments": '{"a'}],
        [{"type": "text", "content": "b"}],
    ]


def test_the_habits_of_some_servers() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    first = chunk({"content": [thinking, {"type": "text", "text": "a"}]})
    second = chunk({"function_call": {"name": "f", "arguments": '{"a":1}'}})
    made = otel.attributes(outcome_of(stream(first, second)), messages=True)
    [message] = json.loads(made["gen_ai.output.messages"])
    assert message["parts"] == [
        {"type": "reasoning", "content": "Hm"},
        {"type": "text", "content": "a"},
        {"type": "tool_call", "id": None, "name": "f", "arguments": {"a": 1}},
    ]


def check_shape(messages: list[Any]) -> None:
    """Check what the JSON schema of the conventions requires."""
    required = {
        "text": {"content"},
        "reasoning": {"content"},
        "tool_call": {"name"},
        "tool_call_response": {"response"},
    }
    for message in messages:
        assert isinstance(message["role"], str)
        assert isinstance(message.get("finish_reason", ""), str)
        for part in message["parts"]:
            assert part.keys() >= required.get(part["type"], set())
            assert isinstance(part.get("content", ""), str)


# --- The names ------------------------------------------------------------------------


def test_every_name_is_one_of_the_conventions() -> None:
    pytest.importorskip("opentelemetry.semconv")
    modules = [
        import_module(f"opentelemetry.semconv.{name}")
        for name in (
            "_incubating.attributes.gen_ai_attributes",
            "_incubating.metrics.gen_ai_metrics",
            "attributes.error_attributes",
            "attributes.server_attributes",
        )
    ]
    Schemas: Any = import_module("opentelemetry.semconv.schemas").Schemas  # noqa: N806
    known = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, str)
    }
    sources = ("otel.py", "_parameters.py")
    text = "".join((ROOT / "src" / "unstream" / name).read_text() for name in sources)
    text = re.sub(r'"""[^"]*?"""', "", text)
    used = set(re.findall(r'"((?:gen_ai|server|error)\.[\w.]+)"', text))
    outcome = outcome_of(*ANSWER, DONE)
    full = {**ASKED, "top_p": 1, "top_k": 1, "frequency_penalty": 1}
    full |= {"presence_penalty": 1, "n": 2}
    used |= otel.attributes(outcome, request=full, messages=True).keys()
    for metric in otel.metrics(outcome):
        used |= {metric["name"], *metric["attributes"]}
    assert len(used) > 25
    assert used - known == set()
    assert otel.SCHEMA_URL in {schema.value for schema in Schemas}


def test_nothing_imports_opentelemetry_but_the_recorder() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import unstream\n"
        "outcome = unstream.Accumulator().finish()\n"
        "assert unstream.otel.attributes(outcome)\n"
        "assert not unstream.otel.metrics(outcome)\n"
        "try:\n    unstream.otel.recorder(None, None)\n"
        "except ImportError as error:\n    assert 'unstream[otel]' in str(error)\n"
        "else:\n    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - ours


def test_a_recorder_refuses_what_is_none() -> None:
    pytest.importorskip("opentelemetry")
    with pytest.raises(TypeError, match="tracer is one of"):
        otel.recorder("a", None)
    with pytest.raises(TypeError, match="meter is one of"):
        otel.recorder(None, "a")
    otel.recorder(None, None)(outcome_of(*ANSWER))
