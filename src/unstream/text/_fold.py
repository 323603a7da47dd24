"""The fold of text completions: chunks in, in order; the completion out, at any time.

This module knows the structure of a chunk, and what ends a choice and a stream. What is
particular to a key is a row in `_fields`.
"""

from collections.abc import Mapping
from typing import Final

from unstream._json import Json
from unstream._outcome import RESULTS, Ending, Limits
from unstream._protocol import Fold, error_in, is_error
from unstream._rules import CHANGED, State, fold, last, settle
from unstream.text._fields import CHOICE, TOP
from unstream.text._schema import TextCompletion

__all__ = ["TextFold", "claims", "to_index"]

RESULTS["text"] = TextCompletion

# What is set in the result where anything of it came.
_OURS: Final = frozenset(("id", "created", "model", "usage"))
_BESIDE_ERROR: Final = ("id", "created", "model", "usage")


class TextFold(Fold[TextCompletion]):
    """The state of one stream of text completion chunks."""

    kind = TextCompletion
    name = "text"

    __slots__ = ("_body", "_choices", "_top")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._top: State = {}
        self._choices: dict[int, _Choice] = {}
        self._body: State | None = None  # a whole answer that was never streamed

    # --- Payloads ---------------------------------------------------------------------

    def add(
        self,
        sent: State,
        data: bytes,
        name: str = "",
        *,
        exact: bool = True,  # noqa: ARG002
    ) -> None:
        """Fold a payload; see `Fold.add`."""
        self.effects.clear()
        found = self._look(sent, name)
        if found is None:
            self.record = None
            return
        top = self._top
        if "id" in top and found.get("id") and found["id"] != top["id"]:
            self.note("id_changed")
            # What is noted is counted: no event that repeats it may be passed over.
            self.effects.append(("id", found["id"], CHANGED))
        fold(top, found, TOP, last, self.effects)
        choices = found.get("choices")
        if self.done:
            self.note("data_after_done")
        elif type(choices) is list:
            for choice in choices:
                if type(choice) is dict:
                    self._add_choice(choice)
        self.finish_event(data)

    def _look(self, sent: State, name: str) -> State | None:
        """Look for an error, or another protocol; return what to fold."""
        error = error_in(sent)
        if error is None and (name == "error" or sent.get("type") == "error"):
            error = sent
        if error is not None:
            self.fail(error)
            if "choices" not in sent:
                return {key: sent[key] for key in _BESIDE_ERROR if key in sent}
        elif "choices" not in sent and "object" not in sent and "id" not in sent:
            if "type" in sent:
                self.foreign = True
                self.note("foreign_events")
                return None
            self.foreign = self.foreign or _OURS.isdisjoint(sent)
        elif _is_chat(sent):
            self.foreign = True
            self.note("foreign_events")
            return None
        return sent

    def _add_choice(self, sent: State) -> None:
        index = to_index(sent.get("index"))
        choice = self._choices.get(index)
        if choice is None:
            if len(self._choices) >= self.limits.choices:
                self.limit = self.limit or "choices"
                return
            choice = self._choices[index] = _Choice()
            self.effects.append(("index", index, CHANGED))
        fold(choice.state, sent, CHOICE, last, self.effects)
        text, reason = sent.get("text"), sent.get("finish_reason")
        said = type(text) is str and bool(text)
        self.has_content = self.has_content or said
        if self.listens:
            self.hear(text=said, reasoning=False)
        if type(reason) is str and reason:
            if not choice.finished:
                choice.finished = True
                self.effects.append(("finish_reason", reason, CHANGED))
        elif said and choice.finished:
            # It was not the end, whatever the reason that came.
            choice.finished = False
            self.note("reopened")
            self.effects.append(("finish_reason", None, CHANGED))

    def stop(self) -> None:
        """Take note of `[DONE]`: choices count no more."""
        if self.done:
            self.note("data_after_done")
        self.done = True
        self.revision += 1

    def read_body(self, sent: State) -> bool:
        """Take a body that was no stream; say whether it is a whole answer."""
        if not claims(sent, ""):
            return False
        if is_error(sent.get("error")):
            self.fail(sent["error"])
        choices = sent.get("choices")
        if type(choices) is list and len(choices) > self.limits.choices:
            self.limit = "choices"
            del choices[self.limits.choices :]
        self._body = sent
        return True

    # --- The result -------------------------------------------------------------------

    def judge(self, *, cut_off: bool) -> Ending:
        """Say how the stream ended; see `Fold.judge`."""
        if self._body is not None:
            return Ending.COMPLETE if self._body.get("choices") else Ending.EMPTY
        if not self._choices:
            return Ending.EMPTY
        if self.done or not (cut_off or self.unfinished()):
            return Ending.COMPLETE
        return Ending.TRUNCATED

    def unfinished(self) -> tuple[int, ...]:
        """Return the indexes of the choices that have not finished."""
        if self._body is not None:
            return ()
        choices = self._choices.items()
        return tuple(index for index, choice in choices if not choice.finished)

    def close(self) -> None:
        """Note what is known at the end."""
        super().close()
        choices = self._choices.values()
        if not choices or self._body is not None:
            return
        if not self.done:
            self.note("no_done")
        if missing := sum("finish_reason" not in choice.state for choice in choices):
            self.note("finish_missing", missing)
        if self.usage_source() is None:
            self.note("usage_missing")

    def usage_source(self) -> str | None:
        """Say where the usage came from: "usage", or nowhere."""
        whole = self._top if self._body is None else self._body
        return "usage" if type(whole.get("usage")) is dict else None

    def plain(self) -> State | None:
        """Return a copy of what was folded so far; None where nothing came."""
        if self._body is not None:
            return self._body
        if not self._choices and _OURS.isdisjoint(self._top):
            return None
        plain: State = {
            "id": "",
            "object": "text_completion",
            "created": 0,
            "model": "",
            "choices": [
                self._choices[index].plain(index) for index in sorted(self._choices)
            ],
        }
        plain.update(settle(self._top))
        return plain


class _Choice:
    """The state of one choice."""

    __slots__ = ("finished", "state")

    def __init__(self) -> None:
        self.state: State = {}
        self.finished = False  # and nothing was said since

    def plain(self, index: int) -> State:
        """Return a copy as plain values."""
        plain: State = {
            "index": index,
            "text": "",
            "logprobs": None,
            "finish_reason": None,
        }
        plain.update(settle(self.state))
        return plain


def claims(sent: Mapping[str, Json], _name: str) -> bool:
    """Say whether a chunk, or a body, is of this protocol."""
    if (kind := sent.get("object")) is not None:
        return bool(kind == "text_completion")
    choices = sent.get("choices")
    return type(choices) is list and any(
        type(choice) is dict and "text" in choice and "delta" not in choice
        for choice in choices
    )


def _is_chat(sent: State) -> bool:
    """Say whether each choice has a delta, or a message, in the place of a text."""
    choices = sent.get("choices")
    return type(choices) is list and bool(choices) and all(map(_has_message, choices))


def _has_message(choice: Json) -> bool:
    if type(choice) is not dict or "text" in choice:
        return False
    return type(choice.get("delta", choice.get("message"))) is dict


def to_index(value: Json) -> int:
    """Read an index; what is none is 0."""
    if type(value) is float and value.is_integer():  # a float that it passed through
        value = int(value)
    return value if type(value) is int and value >= 0 else 0
