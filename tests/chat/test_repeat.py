"""The look: what is like an earlier event, to the byte, and what is not."""

import pytest

from tests.aimed import event
from tests.shapes import build
from tests.strategies import Json, chunk, cut, fold_plainly, fold_reads, stream
from unstream.chat._repeat import Repeats

EVENTS = {
    "text": b'{"id":"i","choices":[{"index":0,"delta":{"content":"a"},"x":1}],"y":[1]}',
    "plain": b'{"id":"i","choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}',
    "padded": b'{"choices":[{"delta":{"reasoning":"a"}}],"p":"b","obfuscation":"c"}',
    "call": (
        b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":'
        b'{"arguments":"a"}}]}}]}'
    ),
    "named call": (
        b'{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","type":"function",'
        b'"function":{"name":"f","arguments":"a"}}]}}]}'
    ),
    "call without index": (
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"a"}}]}}]}'
    ),
    "two texts": (
        b'{"choices":[{"index":1,"delta":{"reasoning":"a","reasoning_details":'
        b'[{"type":"t","text":"b","index":0}]}}]}'
    ),
    "logprobs": (
        b'{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[1, "b"],'
        b'"refusal":null}}]}'
    ),
}
EVENTS["twins"] = (
    b'{"choices":[{"text":"a","stop":null,"delta":{"token_id":5,"content":"a"}}]}'
)
_BYTES = b'1 "x,}\\\n'


def altered(payload: bytes, at: int) -> list[bytes]:
    """Change one byte at a place: another for it, one more, or none."""
    before, after = payload[:at], payload[at:]
    bytes_ = [bytes([byte]) for byte in _BYTES]
    return [
        *(before + byte + after[1:] for byte in bytes_),
        *(before + byte + after for byte in bytes_),
        before + after[1:],
    ]


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_that_differs_in_one_byte_is_another(name: str) -> None:
    payload = EVENTS[name]
    like = event(payload)
    for at in range(len(payload)):
        for turn, one in enumerate(altered(payload, at)):
            other = event(one)
            if (at + turn) % 4:  # the look alone, which is tried at once
                body, fast = like * 2 + other * 2 + like, False
            else:
                body, fast = like * 14 + other + like, True
            plain = repr(fold_plainly(body))
            assert repr(fold_reads([body], fast=fast)) == plain, other


@pytest.mark.parametrize("name", EVENTS)
def test_what_happens_between_makes_an_equal_event_another(name: str) -> None:
    """The same event does something else once the state is another."""
    like = event(EVENTS[name])
    call = {"index": 0, "id": "d", "function": {"name": "g", "arguments": "{}"}}
    between: list[Json] = [
        "[DONE]",
        chunk({}, finish_reason="stop"),
        chunk({}, index=1, finish_reason="stop"),
        chunk({"content": ["part"]}),
        chunk({"content": ["part"]}, index=1),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"function": {"name": "h", "arguments": "{}"}}]}),
        chunk({"reasoning_details": [{"type": "t", "id": "r", "index": 0}]}, index=1),
        chunk({"reasoning": {"a": 1}}),
        chunk({"content": "b"}, logprobs={"content": 5}),
        {"id": "j", "choices": [], "y": [2], "usage": {"total_tokens": 1}},
        {"error": "e"},
        "nonsense",
        b'{"choices":[{"delta":{"content":"\\ud83d"}}]}',
    ]
    for one in between:
        for other in between:
            body = like * 15 + stream(one) + like * 3 + stream(other) + like * 15
            plain = repr(fold_plainly(body))
            for fast in (True, False):
                assert repr(fold_reads([body], fast=fast)) == plain, (one, other)


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize(
    "key",
    [
        *('"id":"z"', '"model":"z"', '"created":5', '"service_tier":"z"'),
        *('"system_fingerprint":"z"', '"provider":"z"', '"usage":{"a":1}', '"x":5'),
    ],
)
def test_what_stands_beside_the_choices_is_compared_too(name: str, key: str) -> None:
    like = event(EVENTS[name])
    other = event(b"{" + key.encode() + b"," + EVENTS[name][1:])
    for body in (like * 3 + other * 3 + like * 2, other * 3 + like * 3 + other * 2):
        plain = repr(fold_plainly(body))
        assert repr(fold_reads([body], fast=False)) == plain
        plain = repr(fold_plainly(like * 14 + body))
        assert repr(fold_reads([like * 14 + body])) == plain


def test_what_is_forgotten_is_forgotten_of_every_choice() -> None:
    one, two = (
        stream(*(chunk({"content": text}, index=index) for text in "ab"))
        for index in (0, 1)
    )
    parts = stream(chunk({"content": ["part"]}, index=1))
    body = two * 3 + parts + one * 3 + two * 3 + one * 20 + two * 20
    plain = fold_plainly(body)
    for fast in (True, False):
        assert repr(fold_reads([body], fast=fast)) == repr(plain)


# --- What it is worth -----------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note of each look how many events it took."""
    counts = []
    take = Repeats.take

    def count(self: Repeats, payloads: list[bytes], at: int) -> int:
        end = take(self, payloads, at)
        counts.append(end - at)
        return end

    monkeypatch.setattr(Repeats, "take", count)
    return counts


@pytest.mark.parametrize(
    "name",
    [
        *(
            "text",
            "text, padded",
            "reasoning, padded",
            "tools, padded",
            "tricky, padded",
        ),
        *("n=4, padded", "router", "logprobs, padded", "unknown key, constant, padded"),
    ],
)
def test_the_look_takes_nearly_all_of_a_long_stream(
    name: str, looks: list[int]
) -> None:
    shape = build(name, 2000)
    fold_reads(cut(shape.stream, [65536]), fast=False)
    assert sum(looks) > 0.7 * len(shape.events)


def test_what_is_dropped_may_change(looks: list[int]) -> None:
    """Together sends each text twice, with the number of its token."""
    words = [f"w{n}" for n in range(500)]
    events = [
        chunk({"content": word, "token_id": n}, text=word)
        for n, word in enumerate(words)
    ]
    body = stream(*events)
    outcome = fold_reads([body], fast=False)
    assert outcome.completion is not None
    assert outcome.completion.output_text == "".join(words)
    assert repr(outcome) == repr(fold_plainly(body))
    assert sum(looks) > 0.9 * len(events)


@pytest.mark.parametrize(
    "twin",
    [b'"\xff"', b'"\\ud800"', b'"\\q"', b"1e999", b"01", b"NaN", b'{"a":1}', b"null"],
)
def test_a_fault_in_what_is_dropped_is_seen(twin: bytes) -> None:
    like = event(EVENTS["twins"]) * 8
    odd = event(EVENTS["twins"].replace(b'"text":"a"', b'"text":' + twin))
    body = like + odd + like
    assert repr(fold_reads([body])) == repr(fold_plainly(body))
    assert repr(fold_reads([body], fast=False)) == repr(fold_plainly(body))


@pytest.mark.parametrize("delta", [[None], ["role"], "role", 5], ids=repr)
def test_a_delta_that_is_no_object(delta: Json) -> None:
    like = {**chunk({"content": "a"}), "x": 1}
    odd = {"id": "c", "x": 1, "choices": [{"index": 0, "delta": delta}]}
    body = stream(*[like] * 8, *[odd] * 8, *[like] * 8)
    assert repr(fold_reads([body])) == repr(fold_plainly(body))


def test_a_delta_of_null_has_nothing_to_drop() -> None:
    like = chunk({"content": "a", "token_id": 7})
    odd = {"choices": [{"index": 0, "delta": None}], "obfuscation": "x"}
    body = stream(*[like] * 20, *[odd] * 20, *[like] * 20)
    assert repr(fold_reads([body], fast=False)) == repr(fold_plainly(body))


def test_what_is_never_alike_is_soon_let_alone(looks: list[int]) -> None:
    events = [{**chunk({"content": "a"}), "x": n} for n in range(2000)]
    fold_reads([stream(*events)], fast=False)
    assert len(looks) < 500


def test_an_event_by_itself_is_not_looked_at(looks: list[int]) -> None:
    line = stream(chunk({"content": "a"}))
    fold_reads([line] * 100, fast=False, look=True)
    assert looks == []


def test_no_stream_takes_the_look_from_another(looks: list[int]) -> None:
    """Structs are made for keys that nobody knows, and there is no end of keys."""
    strange = [{**chunk({"content": "a"}), f"x{n // 50}": 1} for n in range(5000)]
    fold_reads([stream(*strange)], fast=False)
    looks.clear()
    shape = build("unknown key, constant", 2000)
    fold_reads(cut(shape.stream, [65536]), fast=False)
    assert sum(looks) > 0.7 * len(shape.events)
