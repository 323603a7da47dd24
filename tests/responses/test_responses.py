"""The contract of responses, row by row: what the streams of the set do not show."""

import json
from typing import Any, Final

import pytest

from tests.responses.streams import (
    Event,
    Json,
    ev,
    fold_reads,
    folded,
    frame,
    outcome_of,
    output_of,
    response,
)
from unstream import (
    Accumulator,
    EmptyStream,
    Ending,
    ForeignStream,
    Limits,
    TruncatedStream,
    responses,
)
from unstream.responses import (
    PROTOCOL,
    CustomToolCall,
    FunctionCall,
    Message,
    OutputItem,
    OutputText,
    Part,
    Reasoning,
    Response,
    SummaryText,
)

# --- Events in short ------------------------------------------------------------------

CREATED: Final = ev("created", response=response())
DONE: Final = ev("completed", response=response("completed"))


def added(kind: str = "message", index: Json = 0, **keys: Json) -> Event:
    return ev("output_item.added", output_index=index, item={"type": kind, **keys})


def item_done(kind: str = "message", index: Json = 0, **keys: Json) -> Event:
    return ev("output_item.done", output_index=index, item={"type": kind, **keys})


def text(delta: Json = "a", **keys: Json) -> Event:
    return ev("output_text.delta", delta=delta, **keys)


def said(*texts: str, kind: str = "message", **keys: Json) -> Json:
    parts = [{"type": "output_text", "text": one} for one in texts]
    return {"type": kind, **keys, "content": parts}


# --- The kind of an event -------------------------------------------------------------


def test_a_type_in_the_data_goes_before_the_name() -> None:
    body = b"event: response.refusal.delta\n" + frame([text()], names=False)
    whole = fold_reads([body]).completion
    assert whole is not None
    assert whole.output_text == "a"


@pytest.mark.parametrize("kind", ["", None, 5])
def test_a_type_that_is_none_leaves_the_name(kind: Json) -> None:
    event = {**text(), "type": kind}
    body = b"event: response.output_text.delta\n" + frame([event], names=False)
    whole = fold_reads([body]).completion
    assert whole is not None
    assert whole.output_text == "a"


def test_equal_payloads_of_other_names_are_other_events() -> None:
    payload = b'data: {"delta":"a","content_index":0,"output_index":0}\n\n'
    kinds = [b"output_text", b"refusal", b"output_text"] * 20
    body = b"".join(b"event: response.%b.delta\n%b" % (kind, payload) for kind in kinds)
    for fast in (True, False):
        whole = fold_reads([body], fast=fast).completion
        assert whole is not None
        part = {"type": "output_text", "text": "a" * 40, "refusal": "a" * 20}
        assert whole.to_dict()["output"] == [{"type": "message", "content": [part]}]


@pytest.mark.parametrize("kind", ["response.delta", "response..delta", "response."])
def test_a_kind_without_a_family_is_nothing(kind: str) -> None:
    assert folded(CREATED, {**text(output_index=0), "type": kind}) == response()


def test_a_delta_without_an_address_has_no_place_in_a_response() -> None:
    assert folded(CREATED, ev("audio.delta", delta="UklGRg==")) == response()


def test_a_payload_of_two_lines_is_not_like_one_of_one_line() -> None:
    body = frame([CREATED, *[text(output_index=0)] * 30], names=False)
    # The second line is of no field that the standard knows.
    odd = body.replace(b'", "delta": "a"', b'",\n"delta": "a"', 20)
    assert odd.count(b'",\n') == 20
    for fast in (True, False):
        outcome = fold_reads([odd], fast=fast)
        assert outcome.n_malformed == 20
        assert outcome.completion is not None
        assert outcome.completion.output_text == "a" * 10


# --- The envelope ---------------------------------------------------------------------


def test_later_objects_are_laid_over_earlier_ones_nulls_too() -> None:
    first = ev("created", response=response(a=1, b={"x": 1}, c=3))
    then = ev("in_progress", response={"a": None, "b": {"y": 2}})
    assert folded(first, then) == response(a=None, b={"y": 2}, c=3)


@pytest.mark.parametrize("output", [None, [], "absent"])
def test_an_output_that_is_empty_erases_nothing(output: Json) -> None:
    later = response()
    later["output"] = output
    if output == "absent":
        del later["output"]
    event = ev("in_progress", response=later)
    assert output_of(CREATED, text(), event) == [said("a")]


def test_an_output_under_way_replaces_the_items_at_its_places() -> None:
    snapshot = ev("in_progress", response=response("in_progress", said("A"), 5))
    events = [
        text(output_index=0),
        text("b", output_index=1),
        text("c", output_index=2),
    ]
    outcome = [said("A!"), said("b"), said("c")]
    assert output_of(CREATED, *events, snapshot, text("!", output_index=0)) == outcome


def test_replaced_items_leave_their_room() -> None:
    snapshot = ev("in_progress", response=response("in_progress", said("a"), said("b")))
    outcome = outcome_of(*[snapshot] * 5, DONE, limits=Limits(choices=2))
    assert outcome.limit is None
    assert len(outcome.unwrap().output) == 2


@pytest.mark.parametrize("kind", ["completed", "incomplete", "cancelled", "done"])
def test_a_terminal_event_is_the_last_word(kind: str) -> None:
    event = ev(kind, response=response(kind, said("b")))
    outcome = outcome_of(CREATED, text(), event)
    assert outcome.ending is Ending.COMPLETE
    assert outcome.unwrap().output_text == "b"
    assert not outcome.done


def test_a_terminal_event_without_a_response_is_one() -> None:
    outcome = outcome_of(CREATED, text(), {"type": "response.completed", "x": 1})
    assert outcome.ending is Ending.COMPLETE
    assert outcome.unwrap().to_dict() == {**response("in_progress", said("a")), "x": 1}


def test_a_second_terminal_event_is_laid_over() -> None:
    first = ev("completed", response=response("completed", said("a")), beside=1, more=1)
    second = ev("completed", response={"status": "incomplete", "output": []}, beside=2)
    assert folded(first, second) == {
        **response("incomplete", said("a"), usage={"total_tokens": 3}),
        "beside": 2,
        "more": 1,
    }


def test_what_stands_beside_a_response_gives_way_to_a_key_of_it() -> None:
    event = ev("completed", response=response("completed", x=1), x=2, status="no")
    assert folded(event) == response("completed", x=1)


def test_transport_does_not_stand_in_the_response() -> None:
    event = {**DONE, "sequence_number": 5, "stream_id": "s", "event_id": "e"}
    assert folded({**event, "obfuscation": "x"}) == response("completed")


@pytest.mark.parametrize("word", ["completed", "done"])
def test_a_terminal_status_of_failed_is_an_error(word: str) -> None:
    event = ev(word, response=response("failed", error={"code": "c"}))
    assert outcome_of(CREATED, event).error == {"code": "c"}


def test_created_once_more_before_anything_came_is_the_same_response() -> None:
    outcome = outcome_of(ev("queued", response=response("queued", x=1)), CREATED)
    assert outcome.completion is not None
    assert outcome.completion.to_dict() == response(x=1)
    assert "several_responses" not in codes(outcome)


def test_created_of_another_id_is_another_response() -> None:
    outcome = outcome_of(CREATED, ev("created", response={"id": "resp_2"}))
    assert outcome.completion is not None
    assert outcome.completion.to_dict() == {"id": "resp_2", "output": []}
    assert "several_responses" in codes(outcome)


def test_a_whole_response_in_the_place_of_an_event_is_taken() -> None:
    whole = response("completed", said("a"))
    outcome = fold_reads([frame([whole])])
    assert outcome.unwrap().to_dict() == whole
    polled = fold_reads([frame([response("in_progress", said("a"))])])
    assert polled.ending is Ending.TRUNCATED


# --- Which item -----------------------------------------------------------------------


def test_of_several_items_of_an_id_the_index_decides_else_the_newest() -> None:
    items = [added(id="x"), added(id="x", index=1)]
    outcome = output_of(*items, text("0", item_id="x", output_index=0))
    assert [len(item.get("content", ())) for item in outcome] == [1, 0]
    for index in (None, 7):
        outcome = output_of(*items, text("1", item_id="x", output_index=index))
        assert [len(item.get("content", ())) for item in outcome] == [0, 1]


def test_an_index_of_another_known_type_opens_a_new_item_behind_it() -> None:
    events = [added("web_search_call"), text(output_index=0), text("b", output_index=1)]
    assert output_of(*events) == [{"type": "web_search_call"}, said("a"), said("b")]


def test_an_item_of_an_unknown_type_takes_texts_of_known_families() -> None:
    events = [added("x_message"), text(output_index=0, item_id="other")]
    assert output_of(*events) == [said("a", kind="x_message")]


def test_a_closed_item_takes_no_event_without_an_id() -> None:
    assert output_of(item_done(id="x"), text(output_index=0)) == [
        {"type": "message", "id": "x"}
    ]


def test_a_closed_item_and_another_id_are_a_new_item() -> None:
    events = [item_done(id="x"), text(output_index=0, item_id="y")]
    assert output_of(*events) == [{"type": "message", "id": "x"}, said("a", id="y")]


def test_an_id_that_is_unknown_and_no_index_are_a_new_item_behind_all_others() -> None:
    events = [added(index=5), text(item_id="y"), text("b", item_id="y")]
    assert output_of(*events) == [{"type": "message"}, said("ab", id="y")]


def test_neither_id_nor_index_are_the_newest_open_item_of_the_type() -> None:
    events = [added(id="x"), added(index=1, id="y"), item_done(index=1, id="y"), text()]
    assert output_of(*events) == [said("a", id="x"), {"type": "message", "id": "y"}]


ITEM: Final = {"id": "x", "call_id": "c", "arguments": ""}
DELTA: Final = ev("function_call_arguments.delta", output_index=0, delta="{")


@pytest.mark.parametrize(
    ("again", "is_same"),
    [
        ({}, True),
        ({"id": "y"}, False),
        ({"id": None}, False),
        ({"call_id": "d"}, False),
    ],
)
def test_an_item_that_is_added_again_starts_afresh(
    again: Json, *, is_same: bool
) -> None:
    first, second = dict(ITEM), {**ITEM, **again}
    events = [added("function_call", **first), DELTA, added("function_call", **second)]
    outcome = outcome_of(*events)
    assert outcome.completion is not None
    output = outcome.completion.to_dict()["output"]
    assert [one["arguments"] for one in output] == ([""] if is_same else ["{", ""])
    assert ("index_reused" in codes(outcome)) is not is_same


def test_items_without_ids_are_told_apart_by_their_calls() -> None:
    events = [added("function_call", call_id=call, arguments="") for call in "ccd"]
    assert [item["call_id"] for item in output_of(*events)] == ["c", "d"]


def test_an_item_that_ended_is_not_started_afresh() -> None:
    events = [item_done("function_call", **ITEM), added("function_call", **ITEM)]
    assert len(output_of(*events)) == 2


def test_what_deltas_built_stays_where_the_item_has_nothing() -> None:
    delta = ev("apply_patch_call_operation_diff.delta", item_id="x", delta="+a")
    operation = {"type": "create_file", "path": "p", "diff": ""}
    item = added("apply_patch_call", None, id="x", operation=operation, status=None)
    assert output_of(delta, item) == [
        {
            "type": "apply_patch_call",
            "id": "x",
            "operation": {**operation, "diff": "+a"},
            "status": None,
        }
    ]


def test_what_the_item_has_goes_before_what_deltas_built() -> None:
    given = {"type": "output_text", "text": "whole", "annotations": []}
    events = [text("b", content_index=1), text(), added(id="x", content=[given])]
    assert output_of(*events, text("!", item_id="x")) == [
        {
            "type": "message",
            "id": "x",
            "content": [
                {**given, "text": "whole!"},
                {"type": "output_text", "text": "b"},
            ],
        }
    ]


def test_an_unknown_family_finds_its_name_when_the_item_comes() -> None:
    delta = ev("robot_call_script.delta", item_id="x", delta="go")
    assert output_of(delta) == [{"id": "x", "robot_call_script": "go"}]
    item = added("robot_call", None, id="x", script="")
    assert output_of(delta, item, delta) == [
        {"type": "robot_call", "id": "x", "script": "gogo"}
    ]


def test_an_item_that_ends_is_another_one_where_its_type_is() -> None:
    events = [added(id="x"), item_done("reasoning", id="x", summary=[])]
    assert [item["type"] for item in output_of(*events)] == ["message", "reasoning"]


@pytest.mark.parametrize("index", [0, None])
def test_an_item_that_ends_takes_another_id(index: Json) -> None:
    events = [added(id="x"), item_done(index=index, id="x"), text(item_id="x")]
    assert output_of(*events) == [{"type": "message", "id": "x"}]


# --- Texts and parts ------------------------------------------------------------------


def test_a_text_that_was_given_is_appended_to() -> None:
    part = {"type": "output_text", "text": "a"}
    given = ev("content_part.added", output_index=0, content_index=0, part=part)
    assert output_of(added(content=[]), given, text("b")) == [said("ab")]


def test_a_delta_follows_a_done() -> None:
    done = ev("output_text.done", text="whole")
    assert output_of(text(), done, text("!")) == [said("whole!")]


@pytest.mark.parametrize("kind", ["refusal.done", "function_call_arguments.done"])
def test_a_done_in_which_its_text_is_missing_is_nothing(kind: str) -> None:
    event = ev(kind, output_index=0, text="x", refusal=None)
    assert folded(CREATED, event) == response()


def test_a_part_that_was_given_twice_starts_afresh() -> None:
    part = {"type": "output_text", "text": ""}
    given = ev("content_part.added", output_index=0, content_index=0, part=part)
    assert output_of(given, text(), given, text("b")) == [said("b")]


def test_a_part_that_deltas_opened_keeps_their_text() -> None:
    part: Event = {"type": "output_text", "text": "", "annotations": [], "x": None}
    given = ev("content_part.added", output_index=0, content_index=0, part=part)
    assert output_of(text(), given) == [
        {"type": "message", "content": [{**part, "text": "a"}]}
    ]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "refusal", "refusal": ""}, "message"),
        ({"type": "reasoning_text", "text": ""}, "reasoning"),
    ],
)
def test_a_part_opens_an_item_of_its_type(part: Json, kind: str) -> None:
    event = ev("content_part.added", item_id="x", output_index=0, part=part)
    assert output_of(event) == [{"id": "x", "type": kind, "content": [part]}]


def test_a_part_without_indexes_goes_where_its_type_belongs() -> None:
    part = {"type": "summary_text", "text": "s"}
    event = ev("reasoning_summary_part.done", item_id="x", part=part)
    assert output_of(event) == [{"id": "x", "type": "reasoning", "summary": [part]}]


def test_logprobs_open_nothing() -> None:
    tokens = [{"token": "a", "logprob": -1.0}]
    assert output_of(added(), text("", logprobs=tokens)) == [{"type": "message"}]
    assert output_of(text(), text("", logprobs=tokens)) == [
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "a", "logprobs": tokens}],
        }
    ]


def test_an_empty_list_of_logprobs_is_none() -> None:
    events = [text(logprobs=[]), ev("output_text.done", text="b", logprobs=[])]
    assert output_of(*events) == [said("b")]


def test_a_progress_that_says_more_is_no_status() -> None:
    item = {"id": "x", "status": "in_progress"}
    for keys in ({"size": 1}, {"content_index": 0}):
        event = ev("web_search_call.searching", item_id="x", output_index=0, **keys)
        assert output_of(added("web_search_call", **item), event)[0]["status"] == (
            "in_progress"
        )


def test_a_progress_is_of_an_item_of_its_type_that_has_a_status() -> None:
    event = ev("web_search_call.searching", output_index=0, sequence_number=1)
    assert output_of(added("web_search_call"), event) == [{"type": "web_search_call"}]
    call = {"type": "x_call", "status": "in_progress"}
    assert output_of(added("x_call", status="in_progress"), event) == [call]
    ended = item_done("web_search_call", status="completed")
    assert output_of(ended, event)[0]["status"] == "completed"


def test_output_content_replaces_from_its_index_on() -> None:
    def delta(index: int, **texts: Json) -> Event:
        return ev(
            "shell_call_output_content.delta",
            output_index=0,
            command_index=index,
            delta=texts,
        )

    done = ev(
        "shell_call_output_content.done",
        output_index=0,
        command_index=1,
        output=[{"stdout": "B"}, {"stdout": "C"}],
    )
    events = [delta(0, stdout="a"), delta(1, stdout="b"), delta(2, stderr=""), done]
    assert output_of(*events, delta(2, stdout="!", n=1)) == [
        {
            "type": "shell_call_output",
            "output": [{"stdout": "a"}, {"stdout": "B"}, {"stdout": "C!"}],
        }
    ]


# --- Endings, notes -------------------------------------------------------------------


def codes(outcome: Any) -> list[str]:
    return [note.code for note in outcome.notes]


@pytest.mark.parametrize(
    ("events", "noted"),
    [
        ([CREATED, added(), DONE], []),
        ([CREATED, added()], ["no_done", "usage_missing"]),
        ([CREATED, text(), DONE], ["item_not_added"]),
        ([CREATED, item_done(), DONE], ["item_not_added"]),
        ([CREATED, added(id="x"), added(id="y"), DONE], ["index_reused"]),
        ([CREATED, DONE, text()], ["data_after_done"]),
        ([CREATED, DONE, CREATED, DONE], ["several_responses"]),
        ([CREATED, {"type": "message_start", "message": {}}, DONE], ["foreign_events"]),
        ([CREATED, {"type": "keepalive", "sequence_number": 3}, DONE], []),
        ([CREATED, {"type": "codex.rate_limits", "x": 1}, DONE], []),
        ([{"type": "keepalive"}], []),
    ],
)
def test_what_is_noted(events: list[Event], noted: list[str]) -> None:
    assert codes(outcome_of(*events)) == noted


def test_what_comes_after_a_done_mark_is_folded_and_noted() -> None:
    reads = [frame([CREATED]), b"data: [DONE]\n\n", frame([text()] * 30 + [DONE])]
    for fast in (True, False):
        outcome = fold_reads(reads, fast=fast)
        assert outcome.unwrap().output_text == "a" * 30
        assert [(n.code, n.count) for n in outcome.notes] == [
            ("data_after_done", 31),
            ("item_not_added", 1),
        ]


FOREIGN: Final[list[Json]] = [
    {"id": "c", "object": "chat.completion.chunk", "choices": []},
    {"type": "message_start", "message": {"id": "m"}},
    {"candidates": [{"content": {"parts": [{"text": "a"}]}}]},
    {"response": {"candidates": []}},
    {"detail": "not found"},
]


@pytest.mark.parametrize("event", FOREIGN)
def test_only_events_of_another_protocol_are_foreign(event: Json) -> None:
    outcome = outcome_of(event)
    assert outcome.ending is Ending.FOREIGN
    assert outcome.completion is None
    with pytest.raises(ForeignStream):
        outcome.unwrap()
    assert outcome_of(event, CREATED).ending is Ending.TRUNCATED


def test_an_announced_error_is_one_whatever_its_type() -> None:
    body = b'event: error\ndata: {"type":"server_error","message":"m"}\n\n'
    assert fold_reads([body]).error == {"type": "server_error", "message": "m"}


def test_an_error_inside_of_an_event_of_a_response_is_none() -> None:
    assert outcome_of(CREATED, text(error={"message": "m"})).error is None


def test_a_stream_that_is_cut_off_inside_its_first_event_is_empty() -> None:
    for names in (True, False):
        outcome = fold_reads([frame([CREATED], names=names)[:60]])
        assert outcome.ending is Ending.EMPTY
        assert outcome.n_malformed == 1


def test_what_says_something_is_content() -> None:
    def has_content(*events: Event) -> bool:
        accumulator = Accumulator(protocol=PROTOCOL)
        accumulator.feed(frame(events))
        return accumulator.has_content

    reasoning = added("reasoning", summary=[])
    assert not has_content(CREATED, added(content=[]), text(""), reasoning)
    assert has_content(text())
    assert has_content(added("function_call"))
    whole = {"type": "reasoning", "id": "r", "summary": [{"text": "Hm"}]}
    assert has_content(ev("output_item.done", output_index=0, item=whole))
    assert has_content(ev("output_text.done", text="a"))
    assert has_content(ev("completed", response=response("completed", said("a"))))


# --- Calls ----------------------------------------------------------------------------

CALL: Final = {"call_id": "c", "name": "f"}


def call(kind: str = "function_call", value: str = "{}", **keys: Json) -> Json:
    field = "input" if kind == "custom_tool_call" else "arguments"
    return {"type": kind, **CALL, field: value, **keys}


def ended(*output: Json, reason: str | None = None) -> Event:
    if reason is None:
        return ev("completed", response=response("completed", *output))
    details = {"reason": reason}
    return ev(
        "incomplete",
        response=response("incomplete", *output, incomplete_details=details),
    )


def closed(item: Json, index: int = 0) -> Event:
    return ev("output_item.done", output_index=index, item=item)


def opened(item: Json, index: int = 0) -> Event:
    return ev("output_item.added", output_index=index, item=item)


CUSTOM: Final = call("custom_tool_call", "go")


@pytest.mark.parametrize(
    ("events", "runnable"),
    [
        ([opened(call())], False),
        ([opened(CUSTOM)], False),
        ([opened(call(status="completed"))], True),
        ([closed(call())], True),
        ([closed(CUSTOM)], True),
        ([closed(call(value='{"a'))], False),
        ([closed(call(value=""))], True),
        ([closed(call(status="incomplete"))], False),
        ([closed(CUSTOM), ended(CUSTOM)], True),
        ([opened(CUSTOM), ended()], True),
        ([ended(CUSTOM)], True),
        ([closed(CUSTOM), ended(reason="max_output_tokens")], False),
        ([closed(call()), ended(reason="content_filter")], False),
        ([closed(CUSTOM), ended(reason="steered")], True),
        ([opened(CUSTOM), ended(reason="steered")], False),
        ([ended(CUSTOM, reason="max_messages")], True),
        ([ended({**CUSTOM, "status": "in_progress"}, reason="steered")], False),
    ],
)
def test_a_call_may_run_when_it_ended_by_itself(
    events: list[Event], *, runnable: bool
) -> None:
    [verdict] = outcome_of(CREATED, *events).calls
    assert verdict.runnable is runnable
    assert (verdict.id, verdict.name, verdict.position) == ("c", "f", 0)


def test_the_text_of_a_custom_call_is_whole_or_cut() -> None:
    for events, arguments in (([closed(CUSTOM)], "whole"), ([opened(CUSTOM)], "cut")):
        [verdict] = outcome_of(*events).calls
        assert verdict.arguments == arguments
        assert verdict.text == "go"
        assert verdict.value is None


def test_calls_stand_in_the_order_of_the_output() -> None:
    outcome = outcome_of(
        CREATED,
        opened(call(call_id="late"), 3),
        closed({"type": "mcp_call", "name": "m", "arguments": "{}"}, 1),
        closed({**CUSTOM, "call_id": "early"}, 2),
    )
    assert [(c.id, c.position, c.runnable) for c in outcome.calls] == [
        ("early", 0, True),
        ("late", 1, False),
    ]
    assert outcome.unfinished == (2,)


def test_a_body_has_calls_too() -> None:
    body = json.dumps(response("completed", call(), CUSTOM)).encode()
    assert [c.runnable for c in fold_reads([body]).calls] == [True, True]
    body = json.dumps(response("in_progress", call(), CUSTOM)).encode()
    assert [c.runnable for c in fold_reads([body]).calls] == [False, False]


# --- Limits ---------------------------------------------------------------------------


def test_items_over_the_limit_are_left_out_and_the_rest_counts() -> None:
    events = [added(index=n, id=str(n)) for n in range(3)]
    outcome = outcome_of(CREATED, *events, DONE, limits=Limits(choices=2))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "choices")
    assert outcome.completion is not None
    assert [item.id for item in outcome.completion.output] == ["0", "1"]
    assert outcome.usage_source == "usage"


def test_calls_have_a_limit_of_their_own() -> None:
    events = [opened(call(), 0), added(index=1), opened({**CUSTOM, "id": "x"}, 2)]
    outcome = outcome_of(*events, limits=Limits(tool_calls=1))
    assert outcome.limit == "tool_calls"
    assert outcome.completion is not None
    assert len(outcome.completion.output) == 2


@pytest.mark.parametrize("framed", [True, False])
def test_a_whole_output_is_under_the_limits(*, framed: bool) -> None:
    event = ended(call(), call(), said("a"))
    body = frame([event]) if framed else json.dumps(event["response"]).encode()
    outcome = fold_reads([body], limits=Limits(tool_calls=1))
    assert outcome.limit == "tool_calls"
    assert outcome.completion is not None
    assert [item.type for item in outcome.completion.output] == [
        *("function_call", "message")
    ]


# --- What claims a stream -------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "name", "claimed"),
    [
        (CREATED, "", True),
        ({"type": "response.x.y"}, "", True),
        ({"delta": "a"}, "response.output_text.delta", True),
        (response("completed"), "", True),
        ({"response": response()}, "", True),
        ({"type": "keepalive"}, "", False),
        ({"type": "error", "error": {"message": "m"}}, "error", False),
        ({"error": {"message": "m"}}, "", False),
        ({"type": "message_start"}, "message_start", False),
        ({}, "", False),
        *((event, "", False) for event in FOREIGN),
    ],
)
def test_a_payload_is_claimed_by_its_shape(
    sent: Json, name: str, *, claimed: bool
) -> None:
    assert PROTOCOL.claims(sent, name) is claimed


# --- Ways in, and the result ----------------------------------------------------------

STREAM: Final = [CREATED, added(content=[]), text("a"), text("b"), ended(said("ab"))]


def test_messages_of_a_socket_are_added_one_by_one() -> None:
    accumulator = Accumulator(protocol=PROTOCOL)
    for event in STREAM:
        message = json.dumps({**event, "stream_id": "s", "event_id": "e"})
        accumulator.add(json.loads(message))
    outcome = accumulator.finish()
    assert outcome.ending is Ending.COMPLETE
    assert outcome.unwrap().to_dict() == response("completed", said("ab"))


def test_events_of_the_official_client_are_added() -> None:
    official = pytest.importorskip("openai.types.responses")
    accumulator = Accumulator(protocol=PROTOCOL)
    for event in (text("a", item_id="x", output_index=0, content_index=0), text("b")):
        accumulator.add(official.ResponseTextDeltaEvent.construct(**event))
    snapshot = accumulator.snapshot()
    assert snapshot is not None
    assert snapshot.output_text == "ab"


def test_an_event_that_does_nothing_is_no_odd_payload() -> None:
    item = {"id": "m", "type": "message", "content": []}
    added = ev("output_item.added", item=item)
    done = ev("output_item.done", item={**item, "content": [{"type": "x"}]})
    address = {"item_id": "m", "output_index": 0, "content_index": 0}
    said = [ev("output_text.delta", **address, delta=text) for text in "é😀b\n"]
    # After the done of its item a delta does nothing, and here the fast path waits.
    events = [added, added, said[0], added, said[1], added, said[2], done]
    body = frame([*events, said[3], said[1], said[0], said[2], said[0]], names=False)
    assert fold_reads([body]).notes == fold_reads([body], fast=False).notes


def test_a_stream_is_folded_at_once() -> None:
    body = frame(STREAM)
    assert responses.fold(body).output_text == "ab"
    assert responses.fold([body[:99], body[99:]]).output_text == "ab"
    with pytest.raises(TruncatedStream):
        responses.fold(frame(STREAM[:-1]))
    with pytest.raises(EmptyStream):
        responses.fold(b"")


async def _reads(*reads: bytes) -> Any:
    for read in reads:
        yield read


def test_a_stream_is_folded_as_it_comes() -> None:
    async def work() -> Response:
        return await responses.afold(_reads(frame(STREAM)))

    coroutine = work()
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value.output_text == "ab"


def test_the_result_is_typed_by_what_its_types_say() -> None:
    summary = {"type": "summary_text", "text": "s"}
    body = response(
        "completed",
        {"type": "reasoning", "id": "r", "summary": [summary]},
        said("a", id="m", role="assistant"),
        call(),
        CUSTOM,
        {"type": "hologram", "size": 3},
        "no item",
    )
    whole = Response.from_dict({**body, "output": body["output"][:-1]})
    kinds = [Reasoning, Message, FunctionCall, CustomToolCall, OutputItem]
    assert [type(item) for item in whole.output] == kinds
    reasoning, message = whole.output[:2]
    assert isinstance(reasoning, Reasoning)
    assert reasoning.summary == [SummaryText(text="s")]
    assert isinstance(message, Message)
    assert isinstance(message.content[0], OutputText)
    assert whole.output[4].extra == {"size": 3}
    # What fits no list of items stays as it came.
    odd = Response.from_dict(body)
    assert (odd.output, odd.extra["output"]) == ([], body["output"])
    assert odd.to_dict() == body


def test_a_class_does_not_take_the_type_of_another() -> None:
    part = OutputText.from_dict({"type": "refusal", "refusal": "no"})
    assert type(part) is OutputText
    assert part.to_dict() == {"type": "refusal", "refusal": "no"}
    assert type(Part.from_dict({"type": ["x"]})) is Part


def test_a_response_that_is_made_has_what_every_response_has() -> None:
    plain = Response(id="resp_1", output=[Message(content=[OutputText(text="a")])])
    assert plain.to_dict()["output"] == [
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "a", "annotations": []}],
        }
    ]
    assert plain.to_dict()["error"] is None
    assert "user" not in plain.to_dict()
