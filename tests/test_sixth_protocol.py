"""A protocol is added from outside, by following `docs/design.md`: Cohere's v2 chat."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import pytest
from msgspec import field

from unstream import Accumulator, Arguments, Call, Ending
from unstream._json import Json
from unstream._outcome import Completion, judge, may_run
from unstream._protocol import Fold, Protocol, error_in
from unstream._rules import Rules, State, concat, fold, last, merge, settle


class Answer(Completion):
    """What Cohere's v2 chat answers without `stream`."""

    required: ClassVar[tuple[str, ...]] = ("id", "message", "finish_reason")

    id: str = ""
    message: dict[str, Json] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: dict[str, Json] | None = None

    def calls(self, unfinished: tuple[int, ...] = ()) -> tuple[Call, ...]:
        return tuple(
            Call(
                choice=0,
                position=position,
                id=call["id"],
                name=call["function"]["name"],
                text=call["function"]["arguments"],
                arguments=(found := judge(call["function"]["arguments"])),
                runnable=may_run(
                    found, finished=not unfinished, reason=self.finish_reason
                ),
            )
            for position, call in enumerate(self.message.get("tool_calls", ()))
        )


# How the keys of a delta's message grow; the rest, objects, are merged.
MESSAGE: Final[Rules] = {"tool_plan": concat}
PIECE: Final[Rules] = {"text": concat, "thinking": concat, "arguments": concat}


class AnswerFold(Fold[Answer]):
    kind = Answer
    name = "cohere"

    __slots__ = ("_message", "_parts", "_top")

    def __init__(self, limits: Any) -> None:
        super().__init__(limits)
        self._top: State = {}
        self._message: State = {}
        self._parts: dict[tuple[str, int], State] = {}  # by list and index

    def add(
        self,
        sent: State,
        data: bytes,
        name: str = "",  # noqa: ARG002
        *,
        exact: bool = True,  # noqa: ARG002
    ) -> None:
        self.effects.clear()
        kind = sent.get("type")
        if (error := error_in(sent)) is not None:
            self.fail(error)
        delta = sent.get("delta")
        message = delta.get("message") if type(delta) is dict else None
        if kind == "message-end" and type(delta) is dict:
            self.done = True
            fold(self._top, delta, {"usage": merge}, last, self.effects)
        elif type(message) is dict:
            self._add_message(message, sent.get("index"))
            fold(self._top, {"id": sent.get("id")}, {}, last, self.effects)
        self.finish_event(data)

    def _add_message(self, message: State, index: Json) -> None:
        for key, value in message.items():
            if key not in ("content", "tool_calls", "citations"):
                fold(self._message, {key: value}, MESSAGE, last, self.effects)
            elif type(value) is dict:
                part = self._parts.setdefault(
                    (key, index if type(index) is int else 0), {}
                )
                self._grow(part, value)

    def _grow(self, part: State, value: State) -> None:
        inner = value.get("function")
        if type(inner) is dict:
            self._grow(part.setdefault("function", {}), inner)
            value = {k: v for k, v in value.items() if k != "function"}
        fold(part, value, PIECE, last, self.effects)
        if part.get("text") or part.get("thinking"):
            self.has_content = True

    def judge(self, *, cut_off: bool) -> Ending:  # noqa: ARG002
        if self.done:
            return Ending.COMPLETE
        return Ending.TRUNCATED if self._message or self._parts else Ending.EMPTY

    def unfinished(self) -> tuple[int, ...]:
        return () if self.done else (0,)

    def usage_source(self) -> str | None:
        return "usage" if "usage" in self._top else None

    def read_body(self, sent: State) -> bool:  # noqa: ARG002
        return False

    def plain(self) -> State | None:
        if not (self._top or self._message or self._parts):
            return None
        message = settle(self._message)
        for (key, _), part in sorted(self._parts.items(), key=lambda item: item[0]):
            message.setdefault(key, []).append(settle(part))
        return {
            "id": "",
            "finish_reason": None,
            **settle(self._top),
            "message": message,
        }


def claims(sent: Mapping[str, Json], _name: str) -> bool:
    return sent.get("type") in ("message-start", "content-delta", "message-end")


COHERE: Final[Protocol[Answer]] = Protocol("cohere", AnswerFold, claims)

EVENTS: Final = [
    b'{"type":"message-start","id":"c1","delta":{"message":{"role":"assistant"}}}',
    b'{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"Look it up."}}}',
    (
        b'{"type":"content-start","index":0,"delta":{"message":{"content":'
        b'{"type":"text","text":""}}}}'
    ),
    *(
        b'{"type":"content-delta","index":0,"delta":{"message":{"content":'
        b'{"text":"word %d "}}}}' % n
        for n in range(50)
    ),
    (
        b'{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"t1",'
        b'"type":"function","function":{"name":"find","arguments":""}}}}}'
    ),
    (
        b'{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":'
        b'{"function":{"arguments":"{\\"q\\": 1}"}}}}}'
    ),
    (
        b'{"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":'
        b'{"tokens":{"input_tokens":3,"output_tokens":5}}}}'
    ),
]
STREAM: Final = b"".join(b"data: " + event + b"\n\n" for event in EVENTS)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_sixth_protocol_plugs_in(step: int, fast: bool) -> None:  # noqa: FBT001
    accumulator = Accumulator(protocol=COHERE, fast=fast)
    for at in range(0, len(STREAM), step):
        accumulator.feed(STREAM[at : at + step])
    outcome = accumulator.finish()
    answer = outcome.unwrap()
    assert answer.id == "c1"
    assert answer.message["content"] == [
        {"type": "text", "text": "".join(f"word {n} " for n in range(50))}
    ]
    assert answer.message["tool_plan"] == "Look it up."
    assert answer.usage == {"tokens": {"input_tokens": 3, "output_tokens": 5}}
    [call] = outcome.calls
    assert call.arguments is Arguments.WHOLE
    assert call.runnable
    assert Answer.from_json(answer.to_json()) == answer


def test_it_has_the_verdicts_of_all() -> None:
    accumulator = Accumulator(protocol=COHERE)
    accumulator.feed(STREAM[:-200])
    outcome = accumulator.finish()
    assert outcome.ending is Ending.TRUNCATED
    assert not any(call.runnable for call in outcome.calls)
