"""The express lane gives what the ordinary road gives, whatever is aimed at it."""

import random
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shapes import SHAPES, build
from unstream import Accumulator, Limits

SHARED: Final = Path(__file__).parents[2] / "shared" / "corpus" / "streams"
RECORDED: Final = sorted(SHARED.rglob("*.sse"))

# Events around one or more texts: kinds of text, two texts in one, padding before and
# after, one choice and another, shapes that share a text and differ in one byte.
FRAMES: Final = [
    (b'{"id":"i","choices":[{"index":0,"delta":{"content":"', b'"}}]}'),
    (b'{"id":"j","choices":[{"index":0,"delta":{"content":"', b'"}}]}'),
    (b'{"id":"i","choices":[{"index":1,"delta":{"content":"', b'"}}]}'),
    (b'{"choices":[{"delta":{"content":"', b'"},"finish_reason":null}]}'),
    (b'{"choices":[{"delta":{"content": "', b'"},"finish_reason": null}]}'),
    (b'{"choices":[{"delta":{"reasoning":"', b'"}}]}'),
    (b'{"choices":[{"delta":{"content":null,"reasoning_content":"', b'"}}]}'),
    (b'{"choices":[{"delta":{"refusal":"', b'"}}]}'),
    (b'{"choices":[{"delta":{"role":"assistant","content":"', b'"}}],"p":"', b'"}'),
    (b'{"obfuscation":"', b'","choices":[{"delta":{"content":"', b'"}}]}'),
    (b'{"choices":[{"delta":{"content":"', b'","reasoning":"', b'"}}]}'),
    (
        b'{"choices":[{"delta":{"content":"","reasoning":"',
        b'","reasoning_details":[{"type":"t","text":"',
        b'","index":0}]}}],"provider":"P"}',
    ),
    (
        b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"',
        b'"}}]}}]}',
    ),
    (
        b'{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"',
        b'"}}]}}]}',
    ),
    (b'{"choices":[{"delta":{"tool_calls":[{"custom":{"input":"', b'"}}]}}]}'),
    (b'{"choices":[{"delta":{"content":[{"type":"text","text":"', b'"}]}}]}'),
    (b'{"service_tier":"', b'","choices":[{"delta":{"content":"', b'"}}]}'),
    (b'{"choices":[{"delta":{"x_note":"', b'","content":"', b'"}}]}'),
    (b'{"x_note":"', b'","choices":[{"delta":{"content":"', b'"}}]}'),
    (b'{"usage":{"total_tokens":1},"choices":[{"delta":{"content":"', b'"}}]}'),
    (
        (
            b'{"choices":[{"delta":{"content":[{"type":"thinking","thinking":'
            b'[{"type":"text","text":"'
        ),
        b'"}],"closed":true,"index":0}]}}],"p":"',
        b'"}',
    ),
    (
        b'{"choices":[{"delta":{"content":[{"type":"reasoning","summary":[{"text":"',
        b'","x":[1]}]}]}}]}',
    ),
    (b'{"choices":[{"delta":{"content":[{"type":"a","thinking":"', b'"}]}}]}'),
    (
        b'{"choices":[{"delta":{"reasoning_details":[{"type":"t","text":"',
        b'"},{"type":"t","text":"',
        b'"}]}}]}',
    ),
    (
        b'{"choices":[{"delta":{"reasoning_details":[],"reasoning":"',
        b'"},"logprobs":{"content":null}}]}',
    ),
    # Holes for values that are no text: a constant that ends in a colon.
    (b'{"choices":[{"delta":{"content":"', b'"}}],"x_n":', b"}"),
    (b'{"x_n":', b',"x_m":', b',"choices":[{"delta":{"reasoning":"', b'"}}]}'),
    (b'{"created":', b',"choices":[{"delta":{"content":"', b'"}}]}'),
    (b'{"id":', b',"model":', b',"choices":[{"delta":{"content":"', b'"}}]}'),
    (b'{"id":"', b'","model":"', b'","choices":[{"delta":{"content":"', b'"}}]}'),
    (b'{"choices":[{"delta":{"content":"', b'","x_tag":', b"}}]}"),
    (b'{"choices":[{"text":', b',"delta":{"id":', b',"content":"', b'"}}]}'),
    (b'{"choices":[{"index":1,"delta":{"content":"', b'"}}],"x_n": ', b"}"),
    (b'{"choices":[{"delta":{"content":"', b'"}}],"usage":', b"}"),
    (b'{"choices":[{"delta":{"content":"', b'"}}],"x_groq":', b"}"),
    (b'{"choices":[{"delta":{"content":"', b'"},"token_ids":', b"}]}"),
    (b'{"choices":[{"delta":{"content":"', b'"},"usage":', b"}]}"),
    (
        b'{"choices":[{"delta":{"content":"',
        b'"},"logprobs":{"content":',
        b',"refusal":null}}]}',
    ),
    (b'{"choices":[{"delta":{"content":"', b'"},"logprobs":', b',"x":1}]}'),
    (
        b'{"id":7,"choices":[{"delta":{"content":"',
        b'"},"logprobs":{"content":',
        b"}}]}",
    ),
    (
        b'{"choices":[{"delta":{"content":"',
        b'"},"logprobs":{"content":',
        b'}}],"x":',
        b',"usage":',
        b"}",
    ),
    (
        b'{"choices":[{"delta":{"content":"',
        b'"},"content_filter_results":',
        b',"native_finish_reason":',
        b"}]}",
    ),
    (
        b'{"choices":[{"logprobs":{"content":',
        b',"refusal":',
        b'},"delta":{"reasoning":"',
        b'"}}]}',
    ),
]

# What could make joined bodies differ from the bodies: quotes, escapes and characters
# at their edges, halves of those, control characters, look-alikes of what follows.
BODIES: Final = [
    *(b"", b"a", b" hello", b"\\n", b'\\"', b"\\\\", b"\\/", b"\\u00e9", b"\xc3\xa9"),
    *(b"\\", b'"', b'\\\\"', b'\\\\\\"', b'a"b"c', b"\\x", b"\\u12", b"34", b"n"),
    *(b"\\ud83d", b"\\ude00", b"\\uD83D\\uDE00", b"\xc3", b"\xa9", b"\xf0\x9f"),
    *(b"\x98\x80", b"\xff", b"\xed\xa0\xbd", b"\t", b"\0", b"\x7f", b"\r", b"\n"),
    *(b'"}}]}', b'","x":"', b'","content":"z', b'"},"finish_reason":"stop"}]}'),
    b'"}}]}\n\ndata: {"choices":[{"delta":{"content":"',
    b"\n\ndata: [DONE]\n\n",
]

# The same for values: one that is two, or none, or of another type than the others.
VALUES: Final = [
    *(b"1", b"2", b"37", b"[1]", b'[{"token":"a"}]', b'{"n":1}', b'"s"', b'"t"'),
    *(b"1.0", b"1.5", b"-0", b"1e400", b"01", b"1" * 21, b" 7 ", b"true", b"null"),
    *(b"", b"[]", b"[ ]", b"{}", b"[1],[2]", b"1,2", b'5,"choices":[]', b"[1]}", b"["),
    *(b'"', b'"a', b'"\\ud83d"', b'"\xff"', b'["\xff"]', b"NaN", b"[01]", b'["\0"]'),
    *(b"[" * 160 + b"]" * 160, b"[" * 149 + b"]" * 149, b'{"error":{"message":"m"}}'),
    *(b'{"n":2,"o":null}', b'{"total_tokens":3}', b'{"n":true}', b'[{"token":"\\""}]'),
    *(b'["],["]', b'{"a":"}}],\\"x_n\\":1"}', b'"\\u00e9"', b'[{"token":"b"},1]'),
]

OTHERS: Final = [
    b"data: [DONE]\n\n",
    b": keep-alive\n\n",
    b"\n",
    b"\r\n\r\n",
    b"id: 7\n",
    b"retry: 5\n\n",
    b"event: error\n",
    b"error: x\n",
    b"data: nonsense\n\n",
    b'data: {"error":{"message":"m"}}\n\n',
    b'data: {"choices":[],"usage":{"total_tokens":9}}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[{"delta":{"content":[{"type":"text","text":"L"}]}}]}\n\n',
    (
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":'
        b'{"name":"f","arguments":""}}]}}]}\n\n'
    ),
    (
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"b","function":'
        b'{"name":"g","arguments":""}},{"index":1,"id":"c","function":{"name":"h"}}]}}]}'
        b"\n\n"
    ),
    b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n',
    b'error: {"choices":[{"delta":{"content":"F"}}]}\n',
    b"event: error\r\r\n",
    b"foo\n\n",
    b'data: {"x":1}\n\n',
    b'event: x\ndata: {"choices":[{"delta":{"content":"E"}}]}\n\n',
]


def event(payload: str, *values: object) -> bytes:
    return b"data: %b\n\n" % (payload % values).encode()


def stream(seed: int) -> bytes:
    """Build a stream of runs of like events, with damage aimed at the lane."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    frames = rng.sample(FRAMES, rng.choice([1, 1, 1, 2, 3]))
    pieces = []
    values = rng.choice([VALUES, VALUES[:3], VALUES[3:5], VALUES[5:6], VALUES[6:8]])
    for _ in range(rng.randint(1, 4)):
        if rng.random() < 0.4:
            pieces.append(rng.choice(OTHERS))
        for _ in range(rng.choice([2, 5, 20, 60])):
            first, *others = rng.choice(frames)
            pieces.append(b"data: " + first)
            for other in others:
                bodies = BODIES if pieces[-1].endswith(b'"') else values
                tame = bodies[:6] if rng.random() < 0.9 else bodies
                pieces += [rng.choice(tame), other]
            pieces.append(b"\n\n")
    whole = b"".join(pieces)
    if rng.random() < 0.2:
        whole = whole.replace(b"\n\n", rng.choice([b"\r\n\r\n", b"\n", b"\n\n\n"]), 3)
    if rng.random() < 0.2:
        whole = whole[: rng.randint(0, len(whole))]
    return whole


streams = st.integers(0, 2**32).map(stream)
limits = st.sampled_from(
    [
        *(Limits(),) * 4,
        Limits(event_bytes=90),
        Limits(stream_bytes=400),
        Limits(choices=1),
        Limits(tool_calls=1),
    ]
)
steps = st.lists(st.sampled_from([1, 7, 60, 97, 300, 5000]), min_size=1, max_size=9)


def outcome(
    data: bytes, bounds: Limits, into: list[int], *, express: bool, look: bool = False
) -> str:
    return story(data, bounds, into, express=express, look=look)[-1]


def story(
    data: bytes, bounds: Limits, into: list[int], *, express: bool, look: bool
) -> list[str]:
    """Tell the snapshots, if they are looked at, and the outcome."""
    accumulator = Accumulator(limits=bounds, express=express)
    told = []
    at = turn = 0
    while at < len(data):
        step = into[turn % len(into)]
        accumulator.feed(data[at : at + step])
        if look:
            told.append(repr(accumulator.snapshot()))
        at += step
        turn += 1
    return [*told, repr(accumulator.finish())]


@given(streams, limits, steps, st.booleans())
def test_the_lane_changes_nothing(
    data: bytes,
    bounds: Limits,
    into: list[int],
    look: bool,  # noqa: FBT001 - hypothesis passes it by name
) -> None:
    plain = outcome(data, bounds, [1 << 20], express=False)
    assert outcome(data, bounds, [1 << 20], express=True) == plain
    told = story(data, bounds, into, express=True, look=look)
    assert told[-1] == plain
    assert told == story(data, bounds, into, express=False, look=look)


# Few events, of which many go to one place or change what is settled: `%d` is a text
# or a number that tells one from the next.
KNOTS: Final = [
    *(
        '{"choices":[{"delta":{"tool_calls":[' + call + "]}}]}"
        for call in (
            '{"index":1,"function":{"arguments":"%d,"}}',
            '{"index":2,"function":{"arguments":"%d,"}}',
            '{"function":{"arguments":"%d,"}}',
            '{"custom":{"input":"%d,"}}',
            '{"index":1,"id":"c%d","function":{"name":"f","arguments":""}}',
            '{"index":2,"id":"c%d","function":{"name":"f","arguments":"z"}}',
        )
    ),
    '{"choices":[{"delta":{"content":"%d,"}}]}',
    '{"choices":[{"delta":{"content":"%d,"}}],"x_groq":{"id":%d}}',
    '{"choices":[{"delta":{"content":"%d,"}}],"x_groq":{"error":"%d"}}',
    '{"choices":[{"delta":{"content":[{"type":"text","text":"%d,"}]}}]}',
    '{"choices":[{"delta":{"content":[{"type":"text","text":"%d,","x":[1]}]}}]}',
    '{"choices":[{"delta":{"reasoning_details":[{"text":"%d."},{"text":"%d;"}]}}]}',
    '{"choices":[{"delta":{"content":"%d,"}}],"x":{"a":1}}',
    '{"choices":[{"delta":{"content":"%d,"}}],"x":{"a":true}}',
    *(
        '{"choices":[{"delta":{"' + key + '":"%d,"}' + beside + "}]}"
        for key in ("content", "reasoning")
        for beside in (
            ',"content_filter_results":{"a":1}',
            ',"content_filter_results":{"a":true}',
            ',"native_finish_reason":""',
            ',"native_finish_reason":"stop"',
        )
    ),
    *(
        '{"choices":[{"delta":{"' + key + '":"%d,"}}],"x":' + number + "}"
        for key in ("content", "reasoning")
        for number in ("1", "2", "0.0", "-0.0", "%d", "null")
    ),
    '{"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"arguments":"%d"}}]}}]}',
    '{"choices":[{"delta":{"tool_calls":[{"id":"c"}]}}]}',
    '{"choices":[{"index":%d,"delta":{"content":"%d,"},"x":%d,"y":null}]}',
]


@given(
    st.lists(st.sampled_from(KNOTS), min_size=1, max_size=4).flatmap(
        lambda few: st.lists(st.sampled_from(few), min_size=4, max_size=40)
    ),
    steps,
    st.booleans(),
)
def test_the_lane_keeps_what_goes_to_one_place_in_order(
    frames: list[str],
    into: list[int],
    look: bool,  # noqa: FBT001 - as above
) -> None:
    data = b"".join(
        event(frame.replace("%d", str(turn))) for turn, frame in enumerate(frames)
    )
    plain = outcome(data, Limits(), [1 << 20], express=False)
    told = story(data, Limits(), into, express=True, look=look)
    assert told[-1] == plain
    assert told == story(data, Limits(), into, express=False, look=look)


@pytest.mark.skipif(not RECORDED, reason="the recorded streams are not here")
def test_the_lane_changes_nothing_of_recorded_streams() -> None:
    for path in RECORDED:
        data = path.read_bytes()
        plain = outcome(data, Limits(), [1 << 20], express=False)
        for step in (300, 1460, 1 << 20):
            assert outcome(data, Limits(), [step], express=True) == plain, path.name


@pytest.mark.parametrize("name", SHAPES)
def test_the_lane_changes_nothing_of_a_long_stream(name: str) -> None:
    data = build(name, 1200).stream
    plain = outcome(data, Limits(), [1 << 20], express=False)
    for step in (700, 1460, 65536, 1 << 20):
        assert outcome(data, Limits(), [step], express=True) == plain


@pytest.mark.parametrize(
    "name",
    [
        *("text", "text, padded", "reasoning, padded", "tools, padded"),
        *("n=4, padded", "logprobs, padded", "router"),
        *("unknown key, constant", "unknown key, changing"),
    ],
)
def test_the_lane_takes_nearly_all_of_a_long_stream(
    name: str, ordinary: list[bytes]
) -> None:
    shape = build(name, 5000)
    outcome(shape.stream, Limits(), [65536], express=True)
    assert len(ordinary) < len(shape.events) / 10


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the payloads that go the ordinary way."""
    payloads = []
    payload = Accumulator._payload

    def note(self: Accumulator, data: bytes) -> object:
        payloads.append(data)
        return payload(self, data)

    monkeypatch.setattr(Accumulator, "_payload", note)
    return payloads


@pytest.mark.parametrize(
    "frame",
    [
        '{"model":"m%d","choices":[{"delta":{"content":"c"}}]}',
        '{"choices":[{"delta":{"content":"c","token_id":%d}}]}',
        '{"choices":[{"delta":{"content":"c"},"seed":%d}]}',
        '{"choices":[{"delta":{"content":"c"}}],"usage":{"total_tokens":%d}}',
        '{"choices":[{"delta":{"content":[{"type":"text","text":"%d"}]}}]}',
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_lane_takes_what_changes_in_one_place(
    frame: str, end: bytes, ordinary: list[bytes]
) -> None:
    data = b"".join(event(frame, n) for n in range(500)).replace(b"\n", end)
    outcome(data, Limits(), [1000], express=True)
    assert len(ordinary) < 10


def test_the_lane_tries_again_after_a_rest(ordinary: list[bytes]) -> None:
    call = '{"index":%d,"id":"c%d","function":{"name":"f","arguments":"{}"}}'
    calls = '{"choices":[{"delta":{"tool_calls":[' + call + "]}}]}"
    text = event('{"choices":[{"delta":{"content":"c"}}]}')
    data = b"".join(event(calls, n, n) for n in range(30)) + text * 1000
    outcome(data, Limits(), [1000], express=True)
    assert len(ordinary) < 200


ROWS: Final = {
    # Each went wrong once.
    "a run that ends within the last stretch of a block": [
        event('{"choices":[{"delta":{"content":"%s"}}]}' % ("w" * (n % 7)))
        for n in range(40)
    ]
    + [event('{"choices":[{"delta":{"reasoning":"r"}}]}')] * 3
    + [event('{"choices":[{"delta":{"content":"c"}}]}')] * 23,
    "two shapes of one text, with another between": [
        event(frame % n)
        for n, frame in enumerate(
            ['{"choices":[{"delta":{"content":"%d"},"finish_reason":null}]}'] * 1
            + ['{"choices":[{"delta":{"reasoning":"%d"}}]}']
            + ['{"choices":[{"delta":{"content":"%d"},"finish_reason":null}]}']
            + ['{"choices":[{"delta":{"content":"%d"}}]}'] * 2
            + ['{"choices":[{"delta":{"reasoning":"%d"}}]}']
            + ['{"choices":[{"delta":{"content":"%d"},"finish_reason":null}]}']
            + ['{"choices":[{"delta":{"content":"%d"}}]}']
        )
    ],
    "content that becomes a list by the ordinary road": [
        event('{"choices":[{"delta":{"content":"0."}}]}'),
        event('{"obfuscation":"x","choices":[{"delta":{"content":"1."}}]}'),
        event('{"choices":[{"delta":{"content":[{"type":"text","text":"2."}]}}]}'),
        event('{"obfuscation":"","choices":[{"delta":{"content":"3."}}]}'),
    ],
    "a number where a text was, under a key that takes a number as text": [
        event('{"id":%s,"choices":[{"delta":{"content":"c"}}]}', sent)
        for sent in ('{"n":1}', '{"n":2}', '{"n":3}', '{"n":4}', "7", "8", '{"n":5}')
    ],
    "two ways to one text, by turns, after another event": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"index":1,"function":'
            '{"arguments":"%d"}}]}}]}'
            if n % 3
            else '{"choices":[{"delta":{"tool_calls":[{"custom":{"input":"%d"}}]}}]}',
            n,
        )
        + (event('{"choices":[{"delta":{"reasoning":"r"}}]}') if n % 5 == 0 else b"")
        for n in range(30)
    ],
    "two ways that become ways to one text, while both are known": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"index":%d,"id":"c%d","function":'
            '{"name":"f","arguments":"z"}}]}}]}',
            n // 17 % 2,
            n,
        )
        if n % 17 == 0
        else event(
            '{"choices":[{"delta":{"tool_calls":[{%s"function":{"arguments":"%d,"}}]}}]}',
            '"index":0,' if n * n % 7 < 3 else "",
            n,
        )
        for n in range(17, 160)
    ],
    "two texts of one event that go to one place": [
        event(
            '{"choices":[{"delta":{"reasoning_details":[{"type":"t","text":"%d."},'
            '{"type":"t","text":"%d;"}]}}]}',
            n,
            n,
        )
        for n in range(9)
    ],
    "a part with a list beside its text": [
        event('{"choices":[{"delta":{"content":[{"text":"%d","x":[1]}]}}]}', n)
        for n in range(5)
    ],
    "a usage, an id and a time that change": [
        event(
            '{"id":"%d","created":%d,"choices":[{"delta":{"content":"c"}}],'
            '"usage":{"total_tokens":%d,"n%d":null}}',
            n,
            n,
            n,
            n,
        )
        for n in range(1, 9)
    ],
    "strangers that change at every level": [
        event(
            '{"choices":[{"delta":{"content":"c","token_id":%d,"x_note":"%d"},'
            '"text":"%d","token_ids":[%d]}],"x_n":{"a":[%d]}}',
            n,
            n,
            n,
            n,
            n,
        )
        for n in range(9)
    ],
    **{
        f"{one} and {other}, alike in Python and not in JSON": [
            event('{"choices":[{"delta":{"%s":"c"}}],"x":%s}', key, sent)
            for key, sent in (
                *[("reasoning", one), ("reasoning", one), ("content", other)],
                ("reasoning", one),
            )
        ]
        for one, other in (("1", "true"), ("1", "1.0"), ('{"a":1}', '{"a":true}'))
    },
    "logprobs with lists that are empty, absent and odd": [
        event('{"choices":[{"delta":{"content":"c"},"logprobs":{"content":%s}}]}', sent)
        for sent in ("[1]", "[2]", "[ ]", "[3, 4]", "null", "[5]", " [6]", "{}", "[7]")
    ],
    "a place that is loose for one, and was not when another was learned": [
        event('{"choices":[{"delta":{"%s":"t"}}],"x":%d}', key, number) + b":\n\n"
        for key, number in (
            *[("content", 0), ("content", 0), ("reasoning", 1), ("content", 2)],
            *[("content", 3), ("content", 1), ("reasoning", 1), ("reasoning", 1)],
            *[("content", 2), ("reasoning", 1)],
        )
    ],
    "two calls of one id": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"index":%d,"id":"a","function":'
            '{"name":"f","arguments":"z"}}]}}]}',
            n,
        )
        for n in (0, 1)
    ]
    + [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"id":"a","function":'
            '{"arguments":"%d"}}]}}]}',
            n,
        )
        for n in range(6)
    ],
    "a call that has no body yet": [
        event('{"choices":[{"delta":{"tool_calls":[%s]}}]}', call)
        for call in (
            '{"id":"a","custom":{"name":"n","input":"x"}}',
            *['{"custom":{"input":"1"}}'] * 4,
            '{"id":"b"}',
            *['{"custom":{"input":"2"}}'] * 4,
        )
    ],
    "lists that are written anew, for the chunk did not fit": [
        event(
            '{"created":17.5,"choices":[{"delta":{"content":"c"},"logprobs":'
            '{"content":[%d, 2]}}]}',
            n,
        )
        for n in range(5)
    ],
    "halves of a character beside lists": [
        event(
            '{"choices":[{"delta":{"content":"%s"},"logprobs":{"content":[1, 2]}}]}',
            text,
        )
        for text in ("a", "a", "a", "\\ud83d", "\\ude00", "a", "a")
    ],
    **{
        f"lists that are nested too deeply, {beside}": [
            event(
                '{"choices":[{"delta":{"content":"c"},"logprobs":{"content":%s}}],%s}',
                "[" * depth + "]" * depth,
                f'"{beside}":{{"n":{n}}}',
            )
            for n, depth in enumerate((1, 1, 1, 1, 1, 160, 1, 1, 1))
        ]
        for beside in ("x", "usage")
    },
    "lists that are nested too deeply, after a stranger": [
        event('{"choices":[{"delta":{"content":"c"}}]%s}', beside)
        for beside in ("", "", ',"x":1', "", "")
    ]
    + [
        event(
            '{"choices":[{"delta":{"content":"c"},"logprobs":{"content":%s}}]}',
            "[" * 160 + "]" * 160,
        )
    ]
    * 2,
    "strangers in the order in which they came, null or not": [
        event(
            '{"created":%d,"choices":[{"index":%d,"delta":{"content":"c"},"x":%s,'
            '"y":%s}]}',
            turn,
            *pair,
        )
        for turn, pair in enumerate(
            [(0, n, n) for n in (1, 2, 3, 4)]
            + [(1, "null", "null")] * 2
            + [(1, "null", 5), (1, 6, "null")],
            1,
        )
    ],
    "a comment after what is no event": [b"foo\n\n: ping\n\n"],
    "CR CR LF": [b"event: error\r\r\n", event("{}").replace(b"\n\n", b"\r\r\n")],
    "an error line, which is an event by itself": [
        event('{"choices":[{"delta":{"content":"c"}}]}') * 3
        + b'error: {"choices":[{"delta":{"content":"E"}}]}\n'
    ],
    "times that change, and are none": [
        event('{"created":%s,"choices":[{"delta":{"content":"c"}}]}', sent)
        for sent in ("1", "2", "3", "4", '"x"', "5", "6", "1.5", "true", "9" * 30, "7")
    ],
    "a value that is missing": [
        event('{"x":%s,"choices":[{"delta":{"content":"c"}}]}', sent)
        for sent in ("1", "2", "3", "4", "", "5")
    ],
    "values that are nested as deeply as can be, and deeper": [
        event(
            '{"x":%s,"choices":[{"delta":{"content":"c"}}]}', "[" * depth + "]" * depth
        )
        for depth in (1, 2, 1, 2, 90, 149, 150, 151, 3000, 1, 2)
    ],
    "logprobs that are nested as deeply as can be, and deeper": [
        event(
            '{"choices":[{"delta":{"content":"c"},"logprobs":{"content":%s}}]}',
            "[" * depth + "]" * depth,
        )
        for depth in (2, 3, 149, 150, 151, 3000, 2)
    ],
    "CRLF": [
        event('{"choices":[{"delta":{"content":"%d"}}]}', n).replace(b"\n", b"\r\n")
        for n in range(9)
    ],
    "events that end in CR": [
        event('{"choices":[{"delta":{"content":"0"}}]}'),
        b'data: {"choices":[{"delta":{"content":"1"}}]}\n\r',
        event('{"choices":[{"delta":{"content":"2"}}]}'),
        b'data: {"choices":[{"delta":{"content":"3"}}]}\r\r',
        event('{"choices":[{"delta":{"content":"4"}}]}'),
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    data = b"".join(ROWS[name])
    plain = outcome(data, Limits(), [1 << 20], express=False)
    for step in (*range(1, 400, 11), len(data)):
        told = story(data, Limits(), [step], express=True, look=True)
        assert told[-1] == plain, step
        assert told == story(data, Limits(), [step], express=False, look=True), step
        assert outcome(data, Limits(), [step], express=True) == plain, step
