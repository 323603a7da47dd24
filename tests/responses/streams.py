"""Streams of responses: as OpenAI sends them, made from their answer, and worse."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import strategies
from tests.strategies import pieces, values
from unstream import Limits, Outcome
from unstream.responses import PROTOCOL, Response

Json: TypeAlias = Any
Event: TypeAlias = dict[str, Json]

fold_reads: Final = partial(strategies.fold_reads, protocol=PROTOCOL)


def frame(events: Iterable[Event], *, names: bool = True) -> bytes:
    """Write events as a stream, named as OpenAI names them."""
    out = []
    for event in events:
        if names and isinstance(event.get("type"), str):
            out.append(f"event: {event['type']}\n")
        out.append(f"data: {json.dumps(event)}\n\n")
    return "".join(out).encode("utf-8", "replace")


def ev(kind: str, **keys: Json) -> Event:
    return {"type": f"response.{kind}", **keys}


def response(status: str = "in_progress", *output: Json, **keys: Json) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "output": list(output),
        "usage": {"total_tokens": 3} if status == "completed" else None,
        **keys,
    }


def outcome_of(*events: Event, limits: Limits | None = None) -> Outcome[Response]:
    return fold_reads([frame(events)], limits=limits)


def folded(*events: Event) -> Json:
    """Return the response that events fold to, as plain values."""
    completion = outcome_of(*events).completion
    return None if completion is None else completion.to_dict()


def output_of(*events: Event) -> Json:
    return folded(*events)["output"]


# --- Streams made from their answer ---------------------------------------------------

_texts: Final = st.lists(pieces.filter(bool), min_size=1, max_size=5).map(tuple)
_Texts: TypeAlias = tuple[str, ...]


def _grow(
    kind: str, texts: _Texts, field: str, address: Event, draw: DrawFn
) -> Iterator[Event]:
    """Give the deltas of a text, and its `done`."""
    for text in texts:
        padding = {"obfuscation": "x" * len(text)} if draw(st.booleans()) else {}
        yield ev(f"{kind}.delta", **address, delta=text, **padding)
    yield ev(f"{kind}.done", **address, **{field: "".join(texts)})


def _part(
    address: Event, kind: str, texts: _Texts, draw: DrawFn
) -> tuple[Json, list[Event]]:
    """Make a part of an item, and the events that bring it."""
    field = "refusal" if kind == "refusal" else "text"
    family = "reasoning_summary_text" if kind == "summary_text" else kind
    name = "reasoning_summary_part" if kind == "summary_text" else "content_part"
    part: Event = {"type": kind}
    if kind == "output_text":
        part["annotations"] = []
    done = {**part, field: "".join(texts)}
    events = [
        ev(f"{name}.added", **address, part={**part, field: ""}),
        *_grow(family, texts, field, address, draw),
        ev(f"{name}.done", **address, part=done),
    ]
    return done, events


# The family of an item's own text, its key, and how it stands in the item.
_CALLS: Final = {
    "function_call": ("function_call_arguments", "arguments"),
    "mcp_call": ("mcp_call_arguments", "arguments"),
    "custom_tool_call": ("custom_tool_call_input", "input"),
    "code_interpreter_call": ("code_interpreter_call_code", "code"),
    "robot_call": ("robot_call_script", "script"),
}
_PARTS: Final = {
    "message": ("output_text", "refusal"),
    "reasoning": ("summary_text",),
}


@st.composite
def _items(draw: DrawFn, index: int) -> tuple[Json, list[Event]]:
    """Make an item, as it stands in the answer, and its events but its own `done`."""
    kind = draw(st.sampled_from((*_CALLS, *_PARTS)))
    item_id = f"item_{index}"
    item: Event = {"id": item_id, "type": kind, "status": "in_progress"}
    done: Event = {**item, "status": "completed"}
    events: list[Event] = []
    if kind in _PARTS:
        among = "summary" if kind == "reasoning" else "content"
        item[among], done[among] = [], []
        for place in range(draw(st.integers(0, 3))):
            address = {"item_id": item_id, "output_index": index}
            address[f"{among}_index"] = place
            part_kind = draw(st.sampled_from(_PARTS[kind]))
            part, more = _part(address, part_kind, draw(_texts), draw)
            done[among].append(part)
            events += more
    else:
        family, field = _CALLS[kind]
        texts = draw(_texts)
        keys = {"call_id": f"call_{index}", "name": draw(st.sampled_from(("f", "é")))}
        address = {"item_id": item_id, "output_index": index}
        item |= {**keys, field: draw(st.sampled_from(("", None)))}
        done |= {**keys, field: "".join(texts)}
        events = list(_grow(family, texts, field, address, draw))
    return done, [ev("output_item.added", output_index=index, item=item), *events]


def _interleaved(lists: list[list[Event]], draw: DrawFn) -> list[Event]:
    """Merge lists, each in its order."""
    lists = [list(events) for events in lists if events]
    merged = []
    together = draw(st.booleans())
    while lists:
        some = draw(st.sampled_from(lists)) if together else lists[0]
        merged.append(some.pop(0))
        lists = [events for events in lists if events]
    return merged


@st.composite
def _answers(draw: DrawFn) -> tuple[Json, list[Event]]:
    made = [draw(_items(index)) for index in range(draw(st.integers(0, 3)))]
    output = [item for item, _ in made]
    lists = [
        [*events, ev("output_item.done", output_index=index, item=output[index])]
        for index, (_, events) in enumerate(made)
    ]
    last = response("completed", *output)
    events = [
        ev("created", response=response()),
        *_interleaved(lists, draw),
        ev("completed", response=last),
    ]
    if draw(st.booleans()):
        events = [{**event, "sequence_number": n} for n, event in enumerate(events)]
    return last, events


# The response, and the events that bring it.
answers: Final = _answers()


# --- And worse ------------------------------------------------------------------------

_KINDS: Final = (
    *("response.created", "response.in_progress", "response.queued"),
    *("response.completed", "response.incomplete", "response.failed"),
    *("response.cancelled", "response.done", "response.", "response", "error", ""),
    *("response.output_item.added", "response.output_item.done"),
    *("response.content_part.added", "response.content_part.done"),
    *("response.output_text.delta", "response.output_text.done"),
    *("response.output_text.annotation.added", "response.refusal.delta"),
    *("response.reasoning_summary_part.added", "response.reasoning_text.delta"),
    *("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done"),
    *(
        "response.function_call_arguments.delta",
        "response.function_call.arguments.done",
    ),
    *(
        "response.custom_tool_call_input.delta",
        "response.code_interpreter_call_code.done",
    ),
    *("response.shell_call_command.added", "response.shell_call_command.delta"),
    *("response.shell_call_output_content.delta", "response.mcp_call_arguments.delta"),
    *("response.shell_call_output_content.done", "response.robot_call_script.delta"),
    *("response.apply_patch_call_operation_diff.delta", "response.robot_call.moving"),
    *("response.image_generation_call.partial_image", "response.audio.delta"),
    *("response.web_search_call.searching", "keepalive", "codex.rate_limits", "ping"),
    *("message_start", "response.delta", "response..delta", "response.x.y.z.added"),
)
_INDEXES: Final = (0, 0, 0, 1, 1, 2, 7, 10**30, -1, True, "0", 1.5, None)
_IDS: Final = ("item_0", "item_1", "msg_1", "fc_1", "", None, 5)
_TYPES: Final = (
    *("message", "message", "reasoning", "function_call", "custom_tool_call"),
    *("mcp_call", "shell_call", "shell_call_output", "apply_patch_call", "robot_call"),
    *("code_interpreter_call", "web_search_call", "", None, 5),
)


def _some(**fields: SearchStrategy[Json]) -> SearchStrategy[Event]:
    """Make an object of some of the fields, one value in six of any kind."""
    pairs = [
        st.tuples(st.just(name), value | value | value | value | value | values)
        for name, value in fields.items()
    ]
    return st.lists(st.one_of(pairs), max_size=6).map(dict)


_parts: Final = _some(
    type=st.sampled_from(
        ("output_text", "refusal", "reasoning_text", "summary_text", "sketch", None)
    ),
    text=pieces,
    refusal=pieces,
    annotations=st.just([]),
    logprobs=st.just([]),
)
_wholes: Final = _some(
    id=st.sampled_from(_IDS),
    type=st.sampled_from(_TYPES),
    status=st.sampled_from(("in_progress", "completed", "incomplete", None)),
    call_id=st.sampled_from(("call_1", "call_2")),
    name=st.sampled_from(("find", "")),
    content=st.lists(_parts, max_size=2),
    summary=st.lists(_parts, max_size=2),
    arguments=st.sampled_from(("", "{}", '{"a":', None)),
    input=pieces,
    action=st.sampled_from(({"commands": []}, {"commands": ["ls"]}, {}, None)),
    operation=st.sampled_from(({"diff": ""}, {"diff": "+a", "path": "p"}, None)),
    output=st.lists(st.just({"stdout": "a"}), max_size=2),
    script=pieces,
    x_item=values,
)
_responses: Final = _some(
    id=st.sampled_from(("resp_1", "resp_2", "", None)),
    object=st.just("response"),
    status=st.sampled_from(
        ("in_progress", "completed", "failed", "incomplete", "queued", None)
    ),
    output=st.lists(_wholes, max_size=3),
    usage=st.sampled_from(({"input_tokens": 1}, {"total_tokens": 2, "x": None}, None)),
    error=st.sampled_from(({"code": "c", "message": "m"}, None)),
    incomplete_details=st.sampled_from(({"reason": "max_output_tokens"}, None)),
    x_top=values,
)
_loose: Final = st.builds(
    lambda kind, keys: {"type": kind, **keys},
    st.sampled_from(_KINDS),
    _some(
        item_id=st.sampled_from(_IDS),
        output_index=st.sampled_from(_INDEXES),
        content_index=st.sampled_from(_INDEXES),
        summary_index=st.sampled_from(_INDEXES),
        command_index=st.sampled_from(_INDEXES),
        annotation_index=st.sampled_from(_INDEXES),
        delta=pieces | st.sampled_from(({"stdout": "a"}, {"stdout": "", "n": 1})),
        text=pieces,
        arguments=pieces,
        command=pieces,
        script=pieces,
        item=_wholes,
        part=_parts,
        response=_responses,
        annotation=st.just({"type": "url_citation", "url": "u"}),
        output=st.lists(st.just({"stdout": "b"}), max_size=2),
        logprobs=st.sampled_from(([], [{"token": "a", "logprob": -0.5}])),
        obfuscation=st.sampled_from(("", "x7")),
        sequence_number=st.integers(0, 9),
        error=st.sampled_from(({"message": "m"}, None)),
    ),
)


@st.composite
def _runs(draw: DrawFn) -> list[Event]:
    """Give one event many times over, with other texts, as most streams do."""
    event = draw(_loose)
    texts = draw(st.lists(pieces, min_size=2, max_size=30))
    return [{**event, "delta": text} for text in texts]


FAMILIES: Final = (
    *("output_text", "refusal", "reasoning_summary_text", "robot_call_script"),
    *("function_call_arguments", "shell_call_command"),
)


@st.composite
def _addresses(draw: DrawFn) -> Event:
    """Make an address: most often that of the first part of the first item."""
    address: Event = {"item_id": "item_0", "output_index": 0, "content_index": 0}
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        key = draw(st.sampled_from((*address, "summary_index", "command_index")))
        address[key] = "item_1" if key == "item_id" else 1
        if draw(st.booleans()):
            del address[key]
    return address


_ITEM: Final = {"id": "item_0", "type": "message", "content": []}
# What changes where the next delta goes, or might.
CHANGES: Final[tuple[Event, ...]] = (
    ev("output_item.added", item=_ITEM),
    ev("output_item.done", item={**_ITEM, "content": [{"type": "x"}]}),
    ev("content_part.added", part={"type": "output_text", "text": ""}),
    ev("content_part.done", part={"type": "output_text", "text": "given"}),
    ev("output_text.done", text="whole"),
    ev("function_call_arguments.done", arguments="whole"),
    ev("shell_call_command.done", command="whole"),
    ev("output_text.annotation.added", annotation={}),
    ev("in_progress", response=response("in_progress", _ITEM)),
    ev("created", response=response()),
    ev("completed", response=response("completed")),
    {"type": "keepalive"},
)


@st.composite
def _segments(draw: DrawFn) -> list[Event]:
    """Give runs of deltas that are like each other, with changes between them."""
    events: list[Event] = [draw(st.sampled_from(CHANGES)) for _ in range(2)]
    families = draw(st.lists(st.sampled_from(FAMILIES), min_size=1, max_size=2))
    some = [ev(f"{family}.delta", **draw(_addresses())) for family in families]
    is_numbered, is_padded = draw(st.booleans()), draw(st.booleans())
    for _ in range(draw(st.integers(2, 5))):
        event = draw(st.sampled_from(some))
        for _ in range(draw(st.sampled_from((1, 2, 5, 30)))):
            if is_padded:
                event = {**event, "obfuscation": "x" * (len(events) % 5)}
            if is_numbered:
                event = {**event, "sequence_number": len(events)}
            events.append({**event, "delta": "abé\n😀"[len(events) % 5]})
        if draw(st.booleans()):
            change = draw(st.sampled_from(CHANGES))
            events.append({**draw(_addresses()), **change})
    return events


segments: Final = _segments()


def _mutated(draw: DrawFn, event: Event) -> list[Event]:
    """Return what comes in the place of an event: most often that event."""
    what = draw(st.integers(0, 19))
    if what == 0:
        return []
    if what == 1:
        return [event, event]
    if what == 2:
        return [draw(_loose), event]
    if what == 3 and event:
        key = draw(st.sampled_from(sorted(event)))
        return [{**event, key: draw(values)}]
    if what == 4 and event:
        key = draw(st.sampled_from(sorted(event)))
        return [{name: event[name] for name in event if name != key}]
    return [event]


@st.composite
def _mutations(draw: DrawFn) -> list[Event]:
    _, events = draw(answers)
    return [one for event in events for one in _mutated(draw, event)]


def _joined(lists: Iterable[list[Event]]) -> list[Event]:
    return [event for events in lists for event in events]


event_lists: Final = (
    _mutations()
    | segments
    | st.lists(_loose, max_size=12)
    | st.lists(_runs() | st.lists(_loose, max_size=4), max_size=3).map(_joined)
)


@st.composite
def _streams(draw: DrawFn) -> bytes:
    body = frame(draw(event_lists), names=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        noise = draw(
            st.sampled_from((b"\n", b"\r", b"{", b'"', b"\xff", b"\\ud83d", b"NaN"))
            | st.sampled_from((b"data: [DONE]\n\n", b"event: error\n", b": ping\n\n"))
        )
        body = body[:at] + noise + body[at:]
    if draw(st.integers(0, 4)) == 0:
        body = body[: draw(st.integers(0, len(body)))]
    return body


streams: Final = _streams()

# Bounds of bytes are the framing's, and tested there.
limits: Final = st.just(Limits()) | st.builds(
    Limits,
    choices=st.integers(1, 3),
    tool_calls=st.integers(1, 3),
)
