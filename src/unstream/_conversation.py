"""Messages of requests and answers, of any protocol, in the one shape that is logged.

That shape is the JSON schema of `gen_ai.input.messages` and `gen_ai.output.messages` of
OpenTelemetry's conventions: a role and typed parts. What is read is told by its shape,
for clients mix them. A part that is no text, reasoning or tool call keeps its type and
nothing else: an image is no use in a log, and may have a megabyte.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, TypeGuard

from unstream._json import Json, Malformed, read_object
from unstream._rules import State

__all__ = ["asked", "instructions", "said"]

_ITEMS: Final = ("function_call", "custom_tool_call")
_THOUGHTS: Final = ("summary", "content", "thinking")
_RESULTS: Final = ("function_call_output", "custom_tool_call_output", "tool_result")


def asked(request: State) -> list[State]:
    """Return the messages of a request, in their order."""
    for key in ("messages", "input", "contents", "prompt"):
        if (sent := request.get(key)) is not None:
            texts = [sent] if isinstance(sent, str) else _list(sent)
            return [_message(each, "user") for each in texts]
    return []


def instructions(request: State) -> list[State]:
    """Return what a request instructs apart from its messages."""
    for key in ("system", "instructions", "systemInstruction", "system_instruction"):
        if (sent := request.get(key)) is not None:
            return list(_parts(sent))
    return []


def said(answer: State, reasons: Iterable[str | None]) -> list[State]:
    """Return the messages of an answer: one for each choice, with why it finished."""
    if "output" in answer:  # items, which are one message
        parts = [part for item in _list(answer["output"]) for part in _parts_of(item)]
        messages: list[State] = [{"role": "assistant", "parts": parts}]
    elif "content" in answer:
        messages = [_message(answer, "assistant")]
    else:
        choices = _list(answer.get("choices") or answer.get("candidates"))
        messages = [
            _message(choice.get("message") or choice.get("content") or choice)
            for choice in choices
            if isinstance(choice, dict)
        ]
    for message, reason in zip(messages, reasons, strict=False):
        message["finish_reason"] = reason or "error"  # as the conventions have it
    return messages


def _message(sent: Json, role: str = "assistant") -> State:
    if not isinstance(sent, dict):
        return {"role": role, "parts": list(_parts(sent))}
    told = sent.get("role")
    role = told if isinstance(told, str) and told else role
    role = "assistant" if role == "model" else role
    return {"role": role, "parts": list(_parts_of(sent))}


def _parts_of(sent: Json) -> Iterable[State]:
    """Yield the parts of a message, or of an item that stands for one."""
    if not isinstance(sent, dict):
        yield from _parts(sent)
        return
    if sent.get("type") in (*_ITEMS, *_RESULTS, "reasoning"):
        yield from _parts([sent])
        return
    if isinstance(
        thought := sent.get("reasoning_content") or sent.get("reasoning"), str
    ):
        yield {"type": "reasoning", "content": thought}
    if (identity := sent.get("tool_call_id")) is not None:
        yield {
            "type": "tool_call_response",
            "id": identity,
            "response": sent.get("content"),
        }
        return
    for key in ("content", "parts", "text"):
        yield from _parts(sent.get(key))
    if isinstance(refusal := sent.get("refusal"), str) and refusal:
        yield {"type": "refusal", "content": refusal}
    for call in _list(sent.get("tool_calls")):
        inner = call.get("function") or call.get("custom") if _is(call) else None
        if _is(inner):
            text = inner.get("arguments", inner.get("input"))
            yield _call(call.get("id"), inner.get("name"), text)
    if _is(call := sent.get("function_call")):  # as it was before tools
        yield _call(None, call.get("name"), call.get("arguments"))


def _parts(content: Json) -> Iterable[State]:
    """Yield the parts of a content: a text, or a list of parts, or one of them."""
    if isinstance(content, str):
        if content:
            yield {"type": "text", "content": content}
        return
    for part in _list(content):
        if not _is(part):
            yield from _parts(part if isinstance(part, str) else None)
        elif "parts" in part:
            yield from _parts(part["parts"])
        else:
            yield _part(part)


def _part(part: State) -> State:  # noqa: PLR0911 - a row for each kind
    """Read a part by its shape."""
    kind = part.get("type")
    text = part.get("text")
    if isinstance(thought := part.get("thinking"), str):
        return {"type": "reasoning", "content": thought}
    if kind in ("reasoning", "thinking"):  # of the latter Mistral has a list
        inner = [each for key in _THOUGHTS for each in _list(part.get(key))]
        texts = [each["text"] for each in inner if _is(each) and _has_text(each)]
        return {"type": "reasoning", "content": "".join(texts)}
    if isinstance(text, str):
        is_thought = part.get("thought") is True
        return {"type": "reasoning" if is_thought else "text", "content": text}
    if kind == "tool_use":
        return _call(part.get("id"), part.get("name"), part.get("input"))
    if kind in _ITEMS:
        text = part.get("arguments", part.get("input"))
        return _call(part.get("call_id"), part.get("name"), text)
    if _is(call := part.get("functionCall")):
        return _call(call.get("id"), call.get("name"), call.get("args"))
    result: Json = None
    if kind in _RESULTS:
        identity = part.get("tool_use_id", part.get("call_id"))
        result = part.get("content", part.get("output"))
    elif _is(reply := part.get("functionResponse")):
        identity, result = reply.get("id"), reply.get("response")
    else:
        return {"type": kind if isinstance(kind, str) else next(iter(part), "empty")}
    return {"type": "tool_call_response", "id": identity, "response": result}


def _call(identity: Json, name: Json, arguments: Json) -> State:
    """Make a tool call; arguments that are no object stay as they came."""
    if isinstance(arguments, str):
        with suppress(Malformed):
            arguments = read_object(arguments)
    name = name if isinstance(name, str) else ""
    return {"type": "tool_call", "id": identity, "name": name, "arguments": arguments}


def _has_text(part: State) -> bool:
    return isinstance(part.get("text"), str)


def _is(value: Any) -> TypeGuard[State]:
    return isinstance(value, dict)


def _list(value: Json) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
