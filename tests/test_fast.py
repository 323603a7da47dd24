"""The fast roads give what the tables give, whatever is aimed at them."""

import random
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import aimed
from tests.aimed import one_of_each
from tests.shapes import SHAPES, build
from tests.strategies import check_saved, cut, fold_plainly, fold_reads
from unstream import Accumulator, Limits
from unstream.chat._fold import ChatFold
from unstream.sse import Run

HERE: Final = Path(__file__).parent / "conformance"
OTHERS: Final = {"gemini", "messages", "responses", "text_completions"}
CONFORMANCE: Final = sorted(
    path for path in HERE.glob("*/*.sse") if path.parent.name not in OTHERS
)


def event(payload: str, *values: object) -> bytes:
    return b"data: %b\n\n" % (payload % values).encode()


def told(
    data: bytes,
    bounds: Limits | None,
    into: list[int],
    *,
    fast: bool = True,
    look: bool = False,
) -> list[str]:
    """Tell the snapshots, if they are looked at, and the outcome."""
    accumulator = Accumulator(limits=bounds, fast=fast)
    seen = []
    for read in cut(data, into):
        accumulator.feed(read)
        if look:
            seen.append(repr(accumulator.snapshot()))
    return [*seen, repr(accumulator.finish())]


def check_roads(
    data: bytes, into: list[int], bounds: Limits | None = None, *, look: bool = True
) -> None:
    """Fold at once and in reads, with the fast path and without, looking or not."""
    plain = repr(fold_plainly(data, limits=bounds))
    whole = [len(data) + 1]
    assert told(data, bounds, whole) == [plain]
    assert told(data, bounds, whole, fast=False) == [plain]
    seen = told(data, bounds, into, look=look)
    assert seen[-1] == plain
    assert told(data, bounds, into, look=look, fast=False) == seen
    if look:
        assert told(data, bounds, into) == [plain]


bounds = st.sampled_from(
    [
        *(Limits(),) * 4,
        Limits(event_bytes=90),
        Limits(stream_bytes=400),
        Limits(choices=1),
        Limits(tool_calls=1),
        Limits(held_bytes=3000),
    ]
)
steps = st.lists(st.sampled_from([1, 7, 60, 97, 300, 5000]), min_size=1, max_size=9)


@given(st.integers(0, 2**40), bounds, steps, st.booleans())
def test_no_road_changes_what_is_aimed_at_it(
    seed: int,
    limits: Limits,
    into: list[int],
    look: bool,  # noqa: FBT001 - hypothesis passes it by name
) -> None:
    data = aimed.stream(random.Random(seed))  # noqa: S311 - not for secrets
    check_roads(data, into, limits, look=look)


@pytest.mark.parametrize("seed", [2028, 2112, 2601, 60115111, 8759439622])
def test_every_road_weighs_what_it_holds(seed: int) -> None:
    """These came near to a limit, where one road refused what another took."""
    data = aimed.stream(random.Random(seed))  # noqa: S311 - not for secrets
    check_roads(data, [1], Limits(held_bytes=3000), look=False)


@pytest.mark.parametrize(("name", "plain", "variants"), [*one_of_each()])
def test_a_key_that_comes_changes_and_goes_is_seen(
    name: str, plain: bytes, variants: list[bytes]
) -> None:
    """An event is like another only where every key of it is."""
    del name
    like = aimed.event(plain.replace(b"@", b"a"))
    parts = [like * 14]
    for variant in variants:
        one = aimed.event(variant.replace(b"@", b"b"))
        parts += [one * 2, like * 2, one, like * 3]
    check_roads(b"".join(parts), [200], look=False)
    for variant, other in pairwise(variants):
        one, two = (aimed.event(v.replace(b"@", b"c")) for v in (variant, other))
        check_roads(like * 14 + one * 14 + two * 2 + one * 14, [500], look=False)


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
    # Names that are not the call's: whether they open one is for the arguments to say.
    *(
        '{"choices":[{"delta":{"tool_calls":[{"index":1,"function":'
        '{"name":"' + name + '","arguments":"' + text + '"}}]}}]}'
        for name in ("f", "g")
        for text in ("{", "}", "%d", "{}")
    ),
    *(
        '{"choices":[{"delta":{"tool_calls":[{"function":'
        '{"name":"f","arguments":"' + text + '"}}]}}]}'
        for text in ("{", "}", "{}")
    ),
    # A usage of its own in each choice.
    *(
        '{"choices":[{"index":'
        + index
        + ',"delta":{"content":"%d,"},"usage":{"a":'
        + count
        + "}}]}"
        for index in "01"
        for count in "05"
    ),
    # What an id, or the end of a choice, has to do with the next event.
    *(
        '{"id":"' + identity + '","choices":[{"delta":{"content":"%d,"}}]}'
        for identity in "ab"
    ),
    '{"choices":[{"delta":{"content":"%d,"},"finish_reason":"stop"}]}',
    '{"choices":[{"delta":{},"finish_reason":"stop"}]}',
    '{"choices":[{"index":0,"text":"%d,"}]}',
    '{"choices":[{"delta":{"content":{}}}]}',
]


@given(
    st.lists(st.sampled_from(KNOTS), min_size=1, max_size=4).flatmap(
        lambda few: st.lists(st.sampled_from(few), min_size=4, max_size=60)
    ),
    steps,
    st.booleans(),
)
def test_what_goes_to_one_place_stays_in_order(
    frames: list[str],
    into: list[int],
    look: bool,  # noqa: FBT001 - as above
) -> None:
    data = b"".join(
        event(frame.replace("%d", str(turn))) for turn, frame in enumerate(frames)
    )
    check_roads(data, into, look=look)


# --- What the fast roads are worth ----------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_no_road_changes_anything_of_a_long_stream(name: str) -> None:
    data = build(name, 1200).stream
    plain = repr(fold_plainly(data))
    for step in (700, 1460, 65536):
        for fast in (True, False):
            assert told(data, None, [step], fast=fast) == [plain]


@pytest.mark.parametrize(
    "path", CONFORMANCE, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_no_road_changes_anything_of_the_conformance_set(path: Path) -> None:
    data = path.read_bytes()
    check_roads(data * 2, [97], look=False)
    check_saved(fold_reads([data]))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the payloads that the fold takes, which the fast path did not."""
    counts = []
    take = ChatFold.take

    def count(self: ChatFold, payloads: Run, at: int, like: int) -> int:
        end = take(self, payloads, at, like)
        counts.append(end - at)
        return end

    monkeypatch.setattr(ChatFold, "take", count)
    return counts


@pytest.mark.parametrize(
    "name",
    [
        *("text", "text, padded", "reasoning, padded", "tools, padded"),
        *("call, padded", "n=4, padded", "router", "unknown key, constant"),
        "unknown key, constant, padded",
    ],
)
def test_the_fast_path_takes_nearly_all_of_a_long_stream(
    name: str, taken: list[int]
) -> None:
    shape = build(name, 5000)
    fold_reads(cut(shape.stream, [65536]))
    assert sum(taken) < len(shape.events) / 8


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("step", [60, 1000, 65536])
def test_line_ends_and_cuts_do_not_keep_it_from_that(
    end: bytes, step: int, taken: list[int]
) -> None:
    line = event('{"choices":[{"delta":{"content":"c"}}]}').replace(b"\n", end)
    fold_reads(cut(line * 500, [step]))
    assert sum(taken) < 100


def test_the_fast_path_tries_again_after_a_rest(taken: list[int]) -> None:
    call = '{"index":%d,"id":"c%d","function":{"name":"f","arguments":"{}"}}'
    calls = '{"choices":[{"delta":{"tool_calls":[' + call + "]}}]}"
    text = event('{"choices":[{"delta":{"content":"c"}}]}')
    data = b"".join(event(calls, n, n) for n in range(30)) + text * 1000
    fold_reads(cut(data, [1000]))
    assert sum(taken) < 300


def test_without_it_the_fold_takes_everything(taken: list[int]) -> None:
    shape = build("text", 500)
    fold_reads([shape.stream], fast=False)
    assert sum(taken) == len(shape.events) - 1  # but for [DONE]


# --- Rows -----------------------------------------------------------------------------

ROWS: Final = {
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
    "a text where no delta is, which is two things at once": [
        event('{"choices":[{"index":0,"text":"%d"}]}', n) for n in range(30)
    ],
    "two keys of one name, at two places": [
        event(
            '{"choices":[{"delta":{"arguments":"x","tool_calls":[{"index":0,'
            '"custom":{"input":"x"}}]}}]}'
        )
        for n in range(30)
    ],
    "a key that is none, for another of its name follows": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":'
            '"%s"},"function":null,"custom":{"input":"x"}}]}}]}',
            text,
        )
        for text in ["x"] * 20 + ["y"] * 20
    ],
    "another name, before the arguments are whole and after": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":'
            '{"name":"%s","arguments":"%s"}}]}}]}',
            name,
            text,
        )
        for name, text in [("f", '{\\"a\\":'), *(("g", t) for t in "1}{}{}xyz" * 4)]
    ],
    "a usage in each of two choices": [
        event(
            '{"choices":[{"index":%d,"delta":{"content":"%d"},"usage":{"a":%d}}]}',
            n % 2,
            n,
            n % 2 + 5,
        )
        for n in range(41)
    ],
    "an id that is another": [
        event('{"id":"%s","choices":[{"delta":{"content":"c"}}]}', identity)
        for identity in "a" + "b" * 20 + "a" * 20
    ],
    "a part without text": [
        event('{"choices":[{"delta":{"content":%s,"reasoning":"%d"}}]}', part, n)
        for part in ("{}", '[""]', "[]", "[{}]")
        for n in range(20)
    ],
    **{
        f"an unknown key with {name}": [
            event('{"choices":[{"delta":{"content":"%d"}}],"a%sb":1}', n, key)
            for n in range(30)
        ]
        for name, key in (
            *[("a quote", '\\"'), ("a backslash", "\\\\"), ("a line end", "\\n")],
            *[("a control character", "\\u0001"), ("two bytes", "é")],
        )
    },
    "an unknown key, and one that has no field deeper": [
        event(
            '{"choices":[{"delta":{"x":1,"tool_calls":[{"index":0,"function":'
            '{"arguments":"%d"},"y":1}]}}]}',
            n,
        )
        for n in range(30)
    ],
    **{
        f"a usage that is {usage[:9]}": [
            event('{"choices":[],"usage":%s}', usage),
            event('{"choices":[{"delta":{"content":"c"}}],"usage":%s}', usage) * 20,
        ]
        for usage in (
            *["1e400", '{"n":1e400}', '{"n":NaN}', '{"n":"\\ud83d"}', "9" * 5000],
            *['{"n":' + "[" * 160 + "]" * 160 + "}", "[01]", '{"n":null}'],
        )
    },
    "a usage that is no UTF-8": [b'data: {"choices":[],"usage":{"n":"\xff"}}\n\n'],
    "a text without a delta, before the first delta and after": [
        event('{"choices":[{"index":0,%s}]}', said)
        for said in (
            *['"text":"a"'] * 15,
            '"delta":{"content":"\\ud83d"}',
            *['"text":"b"'] * 15,
            '"delta":{"content":"c"}',
            *['"text":"d"'] * 15,
        )
    ],
    "ids by turns": [
        event('{"id":"%s","choices":[{"delta":{"content":"c"}}]}', identity)
        for identity in ("a", *"bbab" * 6, *"ab" * 20, *"ac" * 20)
    ],
    "ids that are no text": [
        event('{"id":%s,"choices":[{"delta":{"content":"c"}}]}', identity)
        for identity in ("37", "37", '"s"', *["37"] * 20, *["1", "true", "1.0"] * 9)
    ],
    "two equal in Python and not as they are written": [
        event('{"choices":[{"delta":{"content":"c"}%s}]%s}', beside, top)
        for beside, top in (
            *[("", ',"x":2'), ("", ',"x":2.0')] * 2,
            *[(',"x":2', ""), (',"x":2.0', "")] * 2,
            *[("", ',"created":true'), ("", ',"created":1.0'), ("", ',"created":0')],
        )
    ],
    "what is extended by what is no list": [
        event('{"choices":[{"delta":{"content":"c"},"token_ids":%s}]}', ids)
        for ids in ("2", "2", '{"a":5}', '{"a":5}', "2.0", '"s"', '"s"', "[2]", "[2]")
    ],
    "a reason that is empty": [
        event('{"choices":[{"delta":{"content":"c"},"native_finish_reason":"%s"}]}', r)
        for r in ("", "", "stop", "", "stop")
    ],
    "content of parts, then of text": [
        event('{"choices":[{"delta":{"content":%s}}]}', content)
        for content in ('"a"',) * 15
        + ('["p"]',)
        + ('"b"',) * 15
        + ('[{"x":1}]', '"c"') * 9
    ],
    "a key that stands twice, with one value at first": [
        event('{"choices":[{"delta":{"content":"%s"}}],"content":"%s"}', *texts)
        for texts in ("xx",) * 20 + ("xz",) * 3 + ("xx",) * 20 + ("zx",) * 3
    ],
    "a key that ends like another": [
        event(
            '{"choices":[{"delta":{"cont\\u0065nt":"%s"}}],"\\"content":"%s"}', *texts
        )
        for texts in ("xx",) * 20 + ("xz",) * 3 + ("xx",) * 20 + ("zx",) * 3
    ],
    "white space around a colon": [
        event('{"choices":[{"delta":{"content"%s"%d"}}]}', colon, n)
        for colon in (" :", " : ", ":  ", ":\t")
        for n in range(20)
    ],
    "arguments that are numbers and lists": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":'
            '{"arguments":%s}}]}}]}',
            sent,
        )
        for sent in ("12345", "67890", "[1]", "[2]", '"a"', "5.5")
        for _ in range(20)
    ],
    "characters cut in two between events": [
        b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % text
        for text in [b"a"] * 20 + [b"\xc3", b"\xa9"] * 3 + [b"a"] * 20
    ],
    "calls that take turns at one index": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"index":0,%s"function":'
            '{%s"arguments":"%d,"}}]}}]}',
            identity and f'"id":"{identity}",',
            name and f'"name":"{name}",',
            n,
        )
        for n, (identity, name) in enumerate(
            [("p", "f"), ("q", "g")]
            + [("p", ""), ("", ""), ("", ""), ("q", ""), ("", "")] * 9
            + [*[("p", "")] * 20, *[("", "")] * 20] * 2
            + [*[("q", "")] * 20, *[("", "")] * 20]
        )
    ],
    "a name without an index, until the arguments are whole": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"function":'
            '{"name":"f","arguments":"%s"}}]}}]}',
            text,
        )
        for text in ("{", *[" "] * 30, "}", "{}", "{}", *[" "] * 30, "{}", "{}")
    ],
    "a placeholder, and what may be one": [
        event(
            '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":'
            '{"arguments":"%s"}}]}}]}',
            text,
        )
        for text in ("{", "}", "{", "}", "{", "}", *["{}"] * 20, *["{", "}"] * 10)
    ],
    "keys of ours": [
        event('{"id":"a","*%s":%s,"choices":[{"delta":{"content":"c"}}]}', key, value)
        for key in ("extra", "absent")
        for value in ('["id"]', '{"id":"b"}')
    ],
    "texts that cannot be decoded, for long": [
        event('{"choices":[{"delta":{"content":"%s"}}]}', text)
        for text in ["a"] * 200 + ["\\ud83d"] * 90 + ["a"] * 90 + ["\\x"] * 90 + ["b"]
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_each_went_wrong_once(name: str) -> None:
    data = b"".join(ROWS[name])
    for step in (*range(1, 400, 37), len(data)):
        check_roads(data, [step], look=len(data) < 10_000)


@pytest.mark.parametrize("fast", [True, False])
def test_a_call_that_was_refused_takes_its_pieces_with_it(fast: bool) -> None:  # noqa: FBT001
    def piece(call: str) -> bytes:
        return event('{"choices":[{"delta":{"tool_calls":[%s]}}]}', call)

    like = piece('{"function":{"arguments":"x"}}')
    refused = piece('{"index":7,"id":"b","function":{"name":"g","arguments":""}}')
    body = like * 20 + refused + like * 20
    limits = Limits(tool_calls=1)
    plain = fold_plainly(body, limits=limits)
    [call] = plain.calls
    assert call.text == "x" * 20
    for step in (300, len(body)):
        reads = cut(body, [step])
        assert repr(fold_reads(reads, limits=limits, fast=fast)) == repr(plain)
