"""Rows of the contract of Messages: notes, limits, calls, verdicts, detection."""

import json
from typing import Any, Final

import pytest

from tests.messages.strategies import (
    CALL,
    STOP,
    TEXT,
    Object,
    begin,
    change,
    delta,
    end,
    fold_reads,
    input_json,
    start,
    stream,
    text,
    write,
)
from unstream import (
    Accumulator,
    Arguments,
    Ending,
    ForeignStream,
    LimitExceeded,
    Limits,
    Outcome,
    ProviderError,
    TruncatedStream,
    fold_chunks,
    messages,
)
from unstream.messages import PROTOCOL, Message

HI: Final = (begin(0, TEXT), text(0, "Hi"), end(0))
WHOLE: Final = (start(), *HI, change(usage={"output_tokens": 2}), STOP)
USAGE: Final = {"input_tokens": 3, "output_tokens": 2}


def outcome_of(*sent: Any, limits: Limits | None = None) -> Outcome[Message]:
    return fold_reads([stream(*sent)], limits=limits)


def folded(*sent: Any) -> Object:
    return outcome_of(*sent).completion.to_dict()  # type: ignore[union-attr]


def content_of(*sent: Any) -> list[Any]:
    content: list[Any] = folded(start(), *sent)["content"]
    return content


# --- The module's own functions -------------------------------------------------------


def test_fold_returns_a_message() -> None:
    message = messages.fold(stream(*WHOLE))
    assert message.output_text == "Hi"
    assert message.stop_reason == "end_turn"
    assert message.usage is not None
    assert message.usage.output_tokens == 2


def test_fold_raises_as_the_other_folds_do() -> None:
    with pytest.raises(TruncatedStream) as cut:
        messages.fold(stream(*WHOLE[:3]))
    assert cut.value.outcome.completion.output_text == "Hi"  # type: ignore[union-attr]
    with pytest.raises(ProviderError, match="overloaded"):
        messages.fold(stream({"type": "error", "error": {"message": "overloaded"}}))
    with pytest.raises(ForeignStream):
        messages.fold(stream({"object": "chat.completion.chunk", "choices": []}))
    with pytest.raises(LimitExceeded):
        messages.fold(stream(*WHOLE), limits=Limits(stream_bytes=40))


def test_chunks_that_the_official_client_parsed_are_folded() -> None:
    types = pytest.importorskip("anthropic.types")
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(types.RawMessageStreamEvent)
    sent = (
        start(),
        begin(0, CALL),
        input_json(0, '{"a":1}'),
        end(0),
        change("tool_use"),
    )
    chunks = [
        adapter.validate_python({**event, "usage": {"output_tokens": 2}})
        for event in (*sent, STOP)
    ]
    message = fold_chunks(chunks, protocol=PROTOCOL)
    assert message.content[0].to_dict()["input"] == {"a": 1}
    assert message.stop_reason == "tool_use"


# --- Notes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "codes"),
    [
        (WHOLE, {}),
        (WHOLE[:-1], {"no_done": 1}),
        ((*WHOLE[:4], STOP), {"finish_missing": 1}),
        ((start(usage=None), *HI, change(), STOP), {"usage_missing": 1}),
        (
            (start(), *HI, change(usage={"output_tokens": None}), STOP),
            {},  # that of message_start
        ),
        ((*HI, *WHOLE[4:]), {"message_start_missing": 1}),
        ((start(), start(), *WHOLE[1:]), {"message_start_repeated": 1}),
        ((start("msg_0"), *WHOLE), {"started_over": 1}),
        ((start(), *HI[1:], *WHOLE[4:]), {"block_start_missing": 1}),
        ((start(), HI[0], HI[0], *HI[1:], *WHOLE[4:]), {"block_start_repeated": 1}),
        ((start(), *HI, *HI, *HI, *WHOLE[4:]), {"index_reused": 2}),
        ((*WHOLE, *HI), {"data_after_done": 3}),
        ((*WHOLE, {"type": "ping"}), {}),
        ((WHOLE[0], {"type": "x"}, {"choices": []}, *WHOLE[1:]), {"foreign_events": 2}),
        (
            (
                start(),
                begin(0, CALL),
                input_json(0, '{"a":1}{"a":1}'),
                end(0),
                *WHOLE[4:],
            ),
            {"arguments_several": 1},
        ),
    ],
)
def test_what_is_odd_is_noted(sent: tuple[Object, ...], codes: dict[str, int]) -> None:
    notes = outcome_of(*sent).notes
    assert {note.code: note.count for note in notes} == codes


def test_a_body_is_not_noted() -> None:
    body = json.dumps({"type": "message", "content": []}).encode()
    outcome = fold_reads([body])
    assert outcome.notes == ()
    assert outcome.unfinished == ()


# --- The message ----------------------------------------------------------------------


def test_an_empty_id_starts_nothing_over() -> None:
    for other in (start(""), start("msg_1"), {"type": "message_start"}):
        assert folded(start(), *HI, other)["content"] == [
            {"type": "text", "text": "Hi"}
        ]
    assert folded(start(""), *HI, start())["id"] == "msg_1"


def test_starting_over_drops_all_of_it() -> None:
    first = start("msg_0", x=1, usage={"output_tokens": 9, "y": 1}, model="old")
    for sent in ((first, *HI, change("end_turn", {"z": 1}, w=2)), (first,)):
        assert folded(*sent, *WHOLE) == folded(*WHOLE)


def test_usage_of_a_repeated_start_counts_until_a_delta_brings_one() -> None:
    again = start(usage={"input_tokens": 5})
    assert folded(start(), again)["usage"] == {"input_tokens": 5, "output_tokens": 1}
    late = folded(start(), change(usage={"output_tokens": 2}), again)
    assert late["usage"] == USAGE


def test_keys_of_a_repeated_start_replace_nothing() -> None:
    message = folded(start(x=1, y=None), start(x=2, y=2, z=2, stop_reason="refusal"))
    assert (message["x"], message["y"], message["z"]) == (1, 2, 2)
    assert message["stop_reason"] == "refusal"
    assert folded(*WHOLE[:-1], start(stop_reason="x"))["stop_reason"] == "end_turn"


def test_content_of_a_repeated_start_counts_where_there_is_none() -> None:
    full = start(content=[{"type": "text", "text": "a"}, 5, {"type": "x"}])
    blocks = [{"type": "text", "text": "a"}, {"type": "x"}]
    assert folded(start(), full)["content"] == blocks
    assert folded(*WHOLE[:3], full)["content"] == [{"type": "text", "text": "Hi"}]
    # Their place is their index.
    assert folded(full, text(2, "!"))["content"] == [
        blocks[0],
        {"type": "x", "text": "!"},
    ]


def test_an_error_is_never_a_key_of_the_message() -> None:
    sent = (
        {**start(error={"a": 1}), "error": None},
        {**change(error=5), "error": ""},
        {**STOP, "error": False},
    )
    outcome = outcome_of(*sent)
    assert outcome.ending is Ending.COMPLETE
    assert "error" not in outcome.unwrap().to_dict()


def test_structure_is_never_a_key_of_the_message() -> None:
    message = folded(
        {**start(), "content": 1, "delta": 2},
        {**change(content=["x"], usage=[], type="y"), "message": 3},
    )
    assert message["content"] == []
    assert message["type"] == "message"
    assert message["usage"] == {"input_tokens": 3, "output_tokens": 1}
    assert not message.keys() & {"delta", "message", "error"}


@pytest.mark.parametrize("reason", [5, True, ["end_turn"], {}])
def test_a_stop_reason_that_is_no_text_is_none(reason: Any) -> None:
    outcome = outcome_of(start(), change(reason))
    assert outcome.ending is Ending.TRUNCATED
    assert outcome.completion is not None
    assert outcome.completion.stop_reason is None


def test_usage_merges_at_every_depth() -> None:
    usage = {"a": {"b": {"c": 1, "d": 2}, "e": [1]}, "f": 1, "g": "x"}
    later = {
        "a": {"b": {"c": 0, "d": None}, "e": [], "h": None},
        "f": {"i": 1},
        "g": "",
    }
    message = folded(start(usage=usage), change(usage=later))
    assert message["usage"] == {
        "a": {"b": {"c": 0, "d": 2}, "e": [], "h": None},
        "f": {"i": 1},
        "g": "",
    }


# --- Blocks ---------------------------------------------------------------------------


def test_a_block_whose_index_was_taken_stands_behind_all_before_it() -> None:
    def block(name: str) -> Object:
        return {"type": name, "id": name}

    content = content_of(
        begin(0, block("a")),
        begin(2, block("b")),
        begin(0, block("c")),
        begin(1, block("d")),
        begin(3, block("e")),
        begin(1, block("f")),
    )
    assert "".join(block["id"] for block in content) == "adbcef"


def test_a_delta_without_an_index_goes_where_the_last_went() -> None:
    content = content_of(
        begin(0, TEXT),
        begin(1, TEXT),
        text(1, "b"),
        text(0, "a"),
        text(None, "A"),
        text(1, "b"),
        text(1, "b"),
        text(None, "B"),
        end(0),
        text(None, "B"),
    )
    assert [block["text"] for block in content] == ["aA", "bbbBB"]
    assert content_of(text(None, "a"), text(0, "b")) == [{"type": "text", "text": "ab"}]


def test_a_start_after_deltas_fills_what_is_absent_or_empty() -> None:
    late: Object = {"type": "text", "text": "x", "citations": [], "n": None}
    want: Object = {"type": "text", "text": "Hi", "citations": [], "n": None}
    assert content_of(text(0, "Hi"), begin(0, late)) == [want]
    assert content_of(text(0, ""), begin(0, late)) == [{**want, "text": "x"}]
    # A block that was stopped is what it is.
    assert content_of(text(0, "Hi"), end(0), begin(0, late)) == [
        {"type": "text", "text": "Hi"},
        late,
    ]
    # It was one start: the next is a repetition, or another block.
    assert content_of(text(0, "Hi"), begin(0, late), begin(0, late)) == [want]


@pytest.mark.parametrize(
    ("sent", "block"),
    [
        ({"type": "citations_delta", "citation": {}}, {"type": "text", "text": ""}),
        (
            {"type": "signature_delta", "signature": "s"},
            {"type": "thinking", "thinking": "", "signature": "s"},
        ),
        ({"type": "text_delta", "text": 5}, {"type": "text", "text": ""}),
        ({"type": "x_delta"}, {"type": "x"}),
        ({"type": "x", "y": [1]}, {"type": "x", "y": [1]}),
        # Without a type it is what its keys say.
        ({"text": "a"}, {"type": "text", "text": "a"}),
        (
            {"partial_json": "{}"},
            {"type": "tool_use", "id": "", "name": "", "input": {}},
        ),
        ({"y": 1}, {"y": 1}),
    ],
)
def test_a_delta_without_a_block_opens_one(sent: Object, block: Object) -> None:
    [found] = content_of({"type": "content_block_delta", "index": 3, "delta": sent})
    found.pop("citations", None)
    assert found == block


def test_a_delta_that_says_nothing_opens_none() -> None:
    nothing: list[Any] = [{}, {"text": None}, [], None, "x"]
    for sent in nothing:
        sent_delta = {"type": "content_block_delta", "index": 0, "delta": sent}
        assert content_of(sent_delta) == []


def test_values_of_another_type_are_ignored() -> None:
    block = {"type": "x", "s": "a", "l": [1], "n": 1, "b": True, "o": {"p": 1}}
    for key, others in {
        "s": [1, True, ["b"], {"b": 1}],
        "l": ["b", 1, {"b": 1}, []],
        "n": ["b", True, [1], {}],
        "b": ["b", 0, [1], {}],
        "o": ["b", 1, [1], True],
    }.items():
        for value in others:
            assert content_of(begin(0, block), delta(0, "x_delta", **{key: value})) == [
                block
            ]


def test_a_signature_is_never_appended() -> None:
    block = {"type": "thinking", "thinking": "", "signature": "a"}
    sent = [delta(0, "signature_delta", signature=s) for s in ("b", "", None, 5, "c")]
    assert content_of(begin(0, block), *sent) == [{**block, "signature": "c"}]
    odd = {"type": "thinking", "signature": 5}
    assert content_of(begin(0, odd), *sent) == [odd]


def test_citations_need_a_list() -> None:
    cited = delta(0, "citations_delta", citation={"a": 1})
    assert content_of(begin(0, {**TEXT, "citations": "x"}), cited) == [
        {**TEXT, "citations": "x"}
    ]


def test_partial_json_that_a_start_brings_goes_on() -> None:
    block = {**CALL, "partial_json": '{"a'}
    assert content_of(begin(0, block)) == [block]
    assert content_of(begin(0, block), input_json(0, '":1}')) == [
        {**CALL, "input": {"a": 1}}
    ]


# --- Calls ----------------------------------------------------------------------------


def calls_of(*texts: str, reason: str | None = "tool_use", **more: Any) -> Any:
    sent = (begin(0, {**CALL, **more}), *(input_json(0, piece) for piece in texts))
    return outcome_of(start(), *sent, end(0), change(reason), STOP).calls


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [
        (("",), Arguments.WHOLE),
        ((), Arguments.WHOLE),
        (('{"a":', "1}"), Arguments.WHOLE),
        (('{"a":', '"b'), Arguments.CUT),
        (("{}", "{}"), Arguments.SEVERAL),
        (("[1]",), Arguments.MALFORMED),
        (("{'a': 1}",), Arguments.MALFORMED),
        (('{"a": NaN}',), Arguments.MALFORMED),
    ],
)
def test_a_call_is_judged_by_its_text(
    pieces: tuple[str, ...], arguments: Arguments
) -> None:
    [call] = calls_of(*pieces)
    assert (call.id, call.name, call.choice, call.position) == ("t1", "f", 0, 0)
    assert call.arguments is arguments
    assert call.runnable == (arguments is Arguments.WHOLE)
    assert call.text == ("".join(pieces) or "{}")
    assert (call.value is not None) == call.runnable


@pytest.mark.parametrize(
    ("reason", "runnable"),
    [
        ("tool_use", True),
        ("end_turn", True),
        ("pause_turn", True),
        ("max_tokens", False),
        ("model_context_window_exceeded", False),
        ("refusal", False),
        (None, False),
    ],
)
def test_a_message_that_was_stopped_has_no_call_to_run(
    reason: str | None, *, runnable: bool
) -> None:
    [call] = calls_of('{"a":1}', reason=reason)
    assert call.arguments is Arguments.WHOLE
    assert call.runnable == runnable


def test_a_stream_that_was_cut_has_no_call_to_run() -> None:
    outcome = outcome_of(start(), begin(0, CALL), input_json(0, "{}"), end(0))
    assert [call.runnable for call in outcome.calls] == [False]
    assert outcome.unfinished == (0,)


def test_what_the_server_runs_is_no_call_of_the_client() -> None:
    outcome = outcome_of(
        start(),
        begin(0, {**CALL, "type": "server_tool_use"}),
        begin(1, {**CALL, "type": "mcp_tool_use"}),
        begin(2, {**CALL, "id": "t2"}),
        change("tool_use"),
        STOP,
    )
    assert [(call.id, call.position) for call in outcome.calls] == [("t2", 0)]


def test_a_body_whose_input_is_no_object() -> None:
    content = [{**CALL, "input": "x"}, {**CALL, "input": None}, {"type": "tool_use"}]
    body = {"type": "message", "content": content, "stop_reason": "tool_use"}
    outcome = fold_reads([json.dumps(body).encode()])
    assert [call.text for call in outcome.calls] == ['"x"', "null", "{}"]
    assert [call.runnable for call in outcome.calls] == [False, False, True]
    assert outcome.unwrap().to_dict() == body


# --- Limits ---------------------------------------------------------------------------


def test_blocks_are_bounded_and_what_fits_is_folded() -> None:
    sent = (*WHOLE[:4], begin(1, TEXT), text(1, "no"), text(2, "no"), *WHOLE[4:])
    outcome = outcome_of(*sent, limits=Limits(choices=1))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "choices")
    assert outcome.completion is not None
    assert outcome.completion.to_dict() == folded(*WHOLE)


def test_what_follows_a_block_that_did_not_fit_goes_nowhere() -> None:
    other = begin(0, {**TEXT, "type": "thinking"})
    outcome = outcome_of(
        *WHOLE[:4], other, text(0, "no"), text(None, "no"), limits=Limits(choices=1)
    )
    assert outcome.completion is not None
    assert outcome.completion.output_text == "Hi"


def test_calls_are_bounded() -> None:
    sent = (begin(0, CALL), begin(1, {**CALL, "id": "t2"}), begin(2, TEXT))
    outcome = outcome_of(start(), *sent, change(), limits=Limits(tool_calls=1))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "tool_calls")
    assert outcome.completion is not None
    assert [block.type for block in outcome.completion.content] == ["tool_use", "text"]


def test_a_body_is_bounded_too() -> None:
    body = {"type": "message", "content": [CALL, CALL, TEXT]}
    data = json.dumps(body).encode()
    for bounds, left in (
        (Limits(tool_calls=1), [CALL, TEXT]),
        (Limits(choices=2), [CALL, CALL]),
    ):
        outcome = fold_reads([data], limits=bounds)
        assert outcome.ending is Ending.LIMIT
        assert outcome.completion is not None
        assert outcome.completion.to_dict()["content"] == left


# --- Looking --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (start(), False),
        (begin(0, TEXT), False),
        (begin(0, {"type": "thinking", "thinking": "", "signature": ""}), False),
        (text(0, ""), False),
        (change(), False),
        (text(0, "a"), True),
        (text(1, "a"), True),
        (begin(0, CALL), True),
        (delta(0, "thinking_delta", thinking="", estimated_tokens=5), False),
        (begin(0, {"type": "redacted_thinking", "data": "Zg=="}), True),
        (start(content=[CALL]), True),
    ],
)
def test_has_content_says_when_something_was_said(sent: Object, *, said: bool) -> None:
    accumulator = Accumulator(protocol=PROTOCOL)
    accumulator.feed(write(sent))
    assert accumulator.has_content == said


def test_a_snapshot_reads_the_input_as_far_as_it_came() -> None:
    accumulator = Accumulator(protocol=PROTOCOL)
    assert accumulator.snapshot() is None
    seen = []
    for event in (begin(0, CALL), input_json(0, '{"a"'), input_json(0, ":1}")):
        accumulator.feed(write(event))
        message = accumulator.snapshot()
        assert message is not None
        seen.append(message.content[0].to_dict())
    assert seen == [CALL, {**CALL, "partial_json": '{"a"'}, {**CALL, "input": {"a": 1}}]


# --- Detection ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        *((event, "") for event in WHOLE),
        ({}, "message_stop"),
        ({"type": 5}, "content_block_delta"),
        ({"type": "message", "role": "assistant", "content": []}, ""),
    ],
)
def test_its_own_are_claimed(sent: Object, name: str) -> None:
    assert PROTOCOL.claims(sent, name)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({}, ""),
        ({"type": "ping"}, "ping"),
        ({"type": "error", "error": {"message": "x"}}, "error"),
        ({"error": {"message": "x"}}, ""),
        ({"choices": [{"delta": {"content": "x"}}]}, ""),
        ({"choices": [{"text": "x"}], "object": "text_completion"}, ""),
        ({"choices": []}, "message_start"),
        ({"type": "response.created", "response": {}}, "response.created"),
        ({"object": "response", "type": "message", "content": []}, ""),
        ({"candidates": [{"content": {"parts": []}}]}, ""),
        ({"type": "message-start", "delta": {}}, "message-start"),
        ({"type": "message", "content": "a line of a chat"}, ""),
    ],
)
def test_others_are_not_claimed(sent: Object, name: str) -> None:
    assert not PROTOCOL.claims(sent, name)


# --- Input ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["1e999", "-1E999", "NaN", "Infinity", "9" * 5000])
@pytest.mark.parametrize("beside", ["", '"s":"\\ud83d",'])
def test_an_input_with_a_number_that_json_cannot_hold_is_kept_as_text(
    number: str, beside: str
) -> None:
    written = f'{{{beside}"n":{number}}}'
    [block] = content_of(begin(0, CALL), input_json(0, written))
    assert block == {**CALL, "partial_json": written}


@pytest.mark.parametrize("number", ["1e308", "-0.0", "12345678901234567890", "9" * 400])
@pytest.mark.parametrize("beside", ["", '"s":"\\ud83d",'])
def test_numbers_of_an_input_are_exact(number: str, beside: str) -> None:
    outcome = outcome_of(
        start(), begin(0, CALL), input_json(0, f'{{{beside}"n":{number}}}'), STOP
    )
    message = outcome.unwrap()
    block = message.content[0]
    assert isinstance(block, messages.ToolUseBlock)
    assert repr(block.input["n"]) == repr(json.loads(number))
    assert repr(Message.from_json(message.to_json())) == repr(message)


def test_an_input_that_is_too_deep_is_kept_as_text() -> None:
    written = '{"a":' * 200 + "1" + "}" * 200
    [block] = content_of(begin(0, CALL), input_json(0, written))
    assert block["partial_json"] == written


def test_a_payload_without_a_type_is_what_its_name_says() -> None:
    start = b'{"message":{"id":"m","role":"assistant","content":[],"usage":{}}}'
    delta = b'{"index":0,"delta":{"text":"%s"}}'
    names = [b"message_start", *[b"content_block_delta", b"ping"] * 20]
    payloads = [start, *[delta % b"a", delta % b"lost"] * 20]
    whole = b"".join(
        map(b"event: %s\ndata: %s\n\n".__mod__, zip(names, payloads, strict=False))
    )
    for fast in (True, False):
        accumulator = Accumulator(protocol=PROTOCOL, fast=fast)
        accumulator.feed(whole)
        message = accumulator.finish().completion
        assert message is not None
        assert message.to_dict()["content"] == [{"type": "text", "text": "a" * 20}]
