"""The fold of messages: payloads in, in order; the message out, any time.

This module knows the events (what each may carry, which of them end the stream, what is
an error) and the message around the blocks. How a key folds is a row in `_fields`;
which block a piece belongs to is in `_blocks`.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final
from weakref import proxy

from unstream._json import Json
from unstream._outcome import RESULTS, Ending, Limits
from unstream._protocol import Fold, error_in, is_error
from unstream._rules import CHANGED, DROPPED, HELD, Did, State, is_empty, settle
from unstream.messages._blocks import Blocks, is_call
from unstream.messages._fields import BESIDE, keep, merge_usage
from unstream.messages._repeat import Repeat
from unstream.messages._schema import Message
from unstream.sse import Run

__all__ = ["MessagesFold", "claims"]

RESULTS["messages"] = Message


class MessagesFold(Fold[Message]):
    """The state of one stream of Messages events."""

    kind = Message
    name = "messages"

    __slots__ = (
        "_blocks",
        "_body",
        "_calls_left",
        "_ended",
        "_met",
        "_repeat",
        "_seen",
        "_started",
        "_top",
        "_usage",
        "_usage_source",
    )

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._met = False  # any event of this protocol
        self._seen = False  # anything of a message
        self._body: State | None = None  # a whole answer that was never streamed
        self._repeat: Repeat | None = None  # what the next event may be
        self._begin()

    def _begin(self) -> None:
        self._top: State = {}  # the message, but for its content and usage
        self._blocks = Blocks(proxy(self))
        self._usage: State | None = None
        self._usage_source: str | None = None
        self._started = False  # a message_start came
        self._ended = False  # a stop_reason came
        self._calls_left = self.limits.tool_calls

    # --- Payloads ---------------------------------------------------------------------

    def take(self, payloads: Run, at: int, like: int) -> int:
        """Fold payloads; see `Fold.take`."""
        self.record = None
        alike, n = 0, len(payloads)
        while at < n:
            if self._repeat is not None and like > 1:
                start = at
                at = self._repeat.take(payloads, at)
                self.n_events += at - start
                alike += at - start
                if at == n:
                    break
            data = payloads[at]
            if _LF in data or (sent := self.read(data)) is None:
                self.record = None
                break
            self.n_events += 1
            self.add(sent, data, payloads.name(at))
            at += 1
            if not self.record:
                alike = 0
                continue
            alike += 1
            if alike >= like:
                break
            self._repeat = Repeat.of(self.record, self._blocks.index)
        return at

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
        kind = kind_of(sent, name)
        take = self.events.get(kind)
        if take is None and is_whole(sent):
            take = MessagesFold.take_whole
        odd = name == "error" or kind == "error" or not _ODD.isdisjoint(sent)
        failed = odd and self._find_error(sent, kind, name)
        if take is None:
            if kind != "ping" and not failed:
                self.foreign = not self._met
                self.note("foreign_events")
        else:
            self._met, self.foreign = True, False
            if self.done:
                self.note("data_after_done")
            else:
                take(self, sent)
        self.finish_event(data)
        if type(sent.get("type")) is not str:
            self.record = None  # an equal payload of another name is another event
        if self.record is None:
            self._repeat = None

    def _find_error(self, sent: State, kind: str, name: str) -> bool:
        """Take note of the error that a payload reports; say whether it does."""
        error = error_in(sent)
        if error is None and (
            kind == "error" or (name == "error" and kind not in self.events)
        ):
            error = sent
        if error is None:
            return False
        self.fail(error)
        return True

    def stop(self) -> None:
        """Pass over `[DONE]`, which gateways add: it says nothing here."""

    # --- Events -----------------------------------------------------------------------

    def _start(self, sent: State) -> None:
        message = sent.get("message")
        self._add_message(message if type(message) is dict else {}, sent)

    def take_whole(self, sent: State) -> None:
        """Take a whole message as the data of one event: a start and its end."""
        self._add_message(sent, {})
        if self._usage_source is not None:
            self._usage_source = "message"
        self.done = True

    def _add_message(self, message: State, event: State) -> None:
        ours, theirs = self._top.get("id"), message.get("id")
        if ours and type(theirs) is str and theirs and theirs != ours:
            # A gateway asked again.
            self.note("started_over")
            self._begin()
        elif self._started:
            self.note("message_start_repeated")
        is_first, self._seen, self._started = not self._seen, True, True
        self.effects.append(("message", message, HELD))
        for part in (message, _beside(event)):
            if not is_first:  # what is there stays
                top = self._top
                part = {k: v for k, v in part.items() if top.get(k) is None}  # noqa: PLW2901
            self._keep(part)
        if self._usage_source != "message_delta":
            self._add_usage(message.get("usage"), "message_start")
            self._add_usage(event.get("usage"), "message_start")
        content = message.get("content")
        if type(content) is list and not len(self._blocks):
            self._blocks.add_all(content)
            for block in content:
                if type(block) is dict:
                    self._look_at(block)

    def _start_block(self, sent: State) -> None:
        self._seen = True
        block = sent.get("content_block")
        if type(block) is dict and self._blocks.start(sent, block):
            self.effects.append(("content_block", block, HELD))
            self._look_at(block)

    def _look_at(self, block: State) -> None:
        """Look at a block as it starts, for what it says of the message."""
        if not self.has_content:
            self.has_content = any(
                key != "type" and value is not None and not is_empty(value)
                for key, value in block.items()
            )
        if self.listens:
            kind = block.get("type")
            self.hear(
                text=kind == "text" and block.get("text"),
                reasoning=kind == "thinking" and block.get("thinking"),
            )
        to = block.get("to")
        if block.get("type") == "fallback" and type(to) is dict:
            model = to.get("model")
            if type(model) is str and model:
                self._top["model"] = model

    def _add_delta(self, sent: State) -> None:
        self._seen = True
        delta = sent.get("delta")
        if type(delta) is not dict:
            return
        self._blocks.add(sent, delta, self.effects)
        if not self.has_content:
            self.has_content = any(
                value and did is not DROPPED for _, value, did in self.effects
            )
        if self.listens:
            kind = self._blocks.kind
            for key, value, _ in self.effects:
                self.hear(
                    text=kind == key == "text" and value,
                    reasoning=kind == key == "thinking" and value,
                )

    def _stop_block(self, sent: State) -> None:
        if self._blocks.stop(sent):
            self.effects.append(("index", None, CHANGED))

    def _change(self, sent: State) -> None:
        self._seen = True
        delta = sent.get("delta")
        if type(delta) is dict:
            self._keep(delta)
            self._add_usage(delta.get("usage"), "message_delta")
        self._keep(_beside(sent))
        self._add_usage(sent.get("usage"), "message_delta")

    def _stop(self, sent: State) -> None:
        self.done = True
        self.effects.append(("type", None, CHANGED))
        if self._seen:
            self._keep(_beside(sent))
            self._add_usage(sent.get("usage"), "message_delta")

    # By the `type` in the data. All other payloads are passed over.
    events: ClassVar[Mapping[str, Callable[[Any, State], None]]] = {
        "message_start": _start,
        "content_block_start": _start_block,
        "content_block_delta": _add_delta,
        "content_block_stop": _stop_block,
        "message_delta": _change,
        "message_stop": _stop,
    }

    # --- The message ------------------------------------------------------------------

    def _keep(self, sent: State) -> None:
        keep(self._top, sent, self.effects)
        if not self._ended and self._top.get("stop_reason"):
            self._ended = True

    def _add_usage(self, usage: Json, source: str) -> None:
        if type(usage) is not dict:
            return
        if self._usage is None:
            self._usage = usage
            did: Did = HELD
        else:
            did = merge_usage(self._usage, usage)
        if did is not None:
            self.effects.append(("usage", usage, did))
        if any(value is not None for value in usage.values()):  # else it says nothing
            self._usage_source = source

    def may_open_block(self, n_open: int, *, calls: bool) -> bool:
        """Say whether there is room for one more block, and count it if it calls."""
        if n_open >= self.limits.choices:
            self.limit = self.limit or "choices"
            return False
        if calls and not self._calls_left:
            self.limit = self.limit or "tool_calls"
            return False
        self._calls_left -= calls
        return True

    # --- Bodies that are no stream ----------------------------------------------------

    def read_body(self, sent: State) -> bool:
        """Take a body that was no stream; say whether it is a whole answer."""
        if sent.get("type") != "message":
            return False
        if is_error(sent.get("error")):
            self.fail(sent["error"])
        content = sent.get("content")
        if type(content) is list:
            fit: list[Json] = []
            for block in content:
                calls = type(block) is dict and is_call(block)
                if self.may_open_block(len(fit), calls=calls):
                    fit.append(block)
            sent["content"] = fit
        self._body = sent
        return True

    # --- The result -------------------------------------------------------------------

    def judge(self, *, cut_off: bool) -> Ending:  # noqa: ARG002 - see below
        """Say how the stream ended; see `Fold.judge`.

        `cut_off` does not matter: all content stands before the stop_reason.
        """
        if self._body is not None:
            return Ending.COMPLETE
        if not self._seen:
            return Ending.EMPTY
        return Ending.TRUNCATED if self.unfinished() else Ending.COMPLETE

    def unfinished(self) -> tuple[int, ...]:
        """Return the index 0, of the one message, where that has not ended."""
        if self.done or self._ended or not self._seen:
            return ()
        return (0,)

    def close(self) -> None:
        """Note what is known at the end."""
        super().close()
        if not self._seen:
            return
        if not self._started:
            self.note("message_start_missing")
        if not self.done:
            self.note("no_done")
        if not self._ended:
            self.note("finish_missing")
        if self._usage_source is None:
            self.note("usage_missing")
        if several := self._blocks.count_several():
            self.note("arguments_several", several)

    def usage_source(self) -> str | None:
        """Say what the usage came with, last.

        "message_start" (then `output_tokens` is a placeholder), "message_delta",
        "message" (a whole one), or None.
        """
        if self._body is not None:
            return "message" if type(self._body.get("usage")) is dict else None
        return self._usage_source

    def plain(self) -> State | None:
        """Return a copy of what was folded so far; None where nothing came."""
        if self._body is not None:
            return self._body
        if not self._seen:
            return None
        plain: State = settle(self._top)
        plain.setdefault("id", "")
        plain.setdefault("type", "message")
        plain.setdefault("role", "assistant")
        plain.setdefault("model", "")
        plain["content"] = self._blocks.result()
        plain.setdefault("stop_reason", None)
        plain.setdefault("stop_sequence", None)
        if self._usage is not None:
            plain["usage"] = settle(self._usage)
        return plain


_LF: Final = ord("\n")
# What an error may stand under, beside `type` and the name of the event.
_ODD: Final = frozenset(("error", "object", "x_groq"))


def kind_of(sent: Mapping[str, Json], name: str) -> str:
    """Say what an event is: its name counts only where the data has no type.

    Proxies leave the names out (claude-code-proxy#32), or send `data: {}`.
    """
    kind = sent.get("type")
    return kind if type(kind) is str else name


def is_whole(sent: Mapping[str, Json]) -> bool:
    """Say whether an object is a whole message."""
    return sent.get("type") == "message" and type(sent.get("content")) is list


def claims(sent: Mapping[str, Json], name: str) -> bool:
    """Say whether a payload is of this protocol, by its shape."""
    if not _THEIRS.isdisjoint(sent):
        return False
    return kind_of(sent, name) in MessagesFold.events or is_whole(sent)


# Keys that payloads of other protocols have, whatever name they came under.
_THEIRS: Final = frozenset(("choices", "candidates", "object", "response"))


def _beside(sent: State) -> State:
    """Return what stands in an event beside its structure."""
    return {key: value for key, value in sent.items() if key not in BESIDE}
