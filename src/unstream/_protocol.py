"""The socket: what the accumulator asks of a protocol.

A protocol is a folder: its Structs, its table of fields, its fold. Nothing above this
module names one, but the registry and the exports. This module knows what all folds
have in common: how an error is found, what may be held, what is noted; not what any
payload means.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from unstream._json import (
    Json,
    count_halves,
    mend,
    read_strictly,
    weigh,
    weigh_closely,
)
from unstream._outcome import Completion, Ending, Limits, Note
from unstream._rules import CHANGED, HELD, Effects, State
from unstream._structs import structure
from unstream.sse import Decoder, Run

__all__ = ["Fold", "Protocol", "error_in"]

T = TypeVar("T", bound=Completion)


class Protocol(msgspec.Struct, Generic[T], frozen=True):
    """Describe a protocol of streams that fold to a `T`.

    `name` is the name of its module, `claims(sent, name)` says whether a payload, a
    parsed object that came under an event name, is of this protocol by its shape.
    `framing` makes the decoder, with the arguments of `sse.Decoder`: where a body may
    be something else than an event stream, a subclass of it. `live` names the fold that
    tells events, as `module:Class`: a `_live.Live`, imported when it is asked for.
    """

    name: str
    fold: Callable[[Limits], "Fold[T]"]
    claims: Callable[[Mapping[str, Json], str], bool]
    framing: Callable[..., Decoder] = Decoder
    live: str = ""


_LF: Final = ord("\n")

# What values of unknown shape may take without being counted, and how many bytes of
# memory a byte that was fed may hold beyond that. Events of providers take 4 to 16.
_FREE: Final = 4 * 1024 * 1024
_EACH: Final = 16
# No byte of JSON weighs more than this: see `_json.weigh` of `[[[`.
_MOST: Final = 512
# A payload of so many bytes may be all that there is room for: each is to be weighed,
# so that no road takes what another refuses. Short strings are weighed with the rest.
_TIGHT: Final = 1024


class Fold(Generic[T]):
    """The state of one stream.

    A protocol's own fold says how a payload folds (`add`), what ends the stream
    (`stop`, `judge`), and what became of it (`plain`).

    *What the fast roads rest on.* `add` leaves in `effects` what each rule did. An
    event that did nothing but append texts, and forget padding, is a `record`: an equal
    event would do the same, but for the texts, as long as nothing of another kind came
    in between. `revision` counts what was of another kind.
    """

    kind: ClassVar[type[Completion]]
    name: ClassVar[str]

    __slots__ = (
        "__weakref__",  # by which its parts know it, so that no cycle holds them all
        "_debt",
        "_half_at",
        "_held",
        "_light",
        "_notes",
        "_weighed",
        "done",
        "effects",
        "error",
        "first_reasoning",
        "first_text",
        "foreign",
        "has_content",
        "has_halves",
        "is_tight",
        "limit",
        "limits",
        "listens",
        "n_events",
        "record",
        "revision",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.n_events = 0
        self.error: Json = None  # the first that was reported
        self.done = False  # the protocol's last word came
        self.limit: str | None = None  # the first of the limits that was hit
        self.foreign = False  # something came that is of no protocol we read
        self.has_content = False  # any choice said anything
        # Whether somebody waits for the first reasoning or text, and the numbers of the
        # events in which these were: see `hear`.
        self.listens = False
        self.first_reasoning = 0
        self.first_text = 0
        self.has_halves = False  # there may be lone surrogates to mend
        self.effects: Effects = []  # of the newest event
        self.record: Effects | None = None
        self.revision = 0
        self._notes: dict[str, tuple[int, int]] = {}
        self._half_at = 0
        self._weighed: tuple[bytes, int] = b"", 0
        self._held = 0
        self._debt = 0
        self._light = min(_FREE, limits.held_bytes) // _MOST
        self.is_tight = self._light < _TIGHT

    # --- What a protocol says ---------------------------------------------------------

    def add(
        self, sent: State, data: bytes, name: str = "", *, exact: bool = True
    ) -> None:
        """Fold a payload: an object, the bytes it was parsed from, its event's name."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take note of `[DONE]`."""
        self.done = True

    def read_body(self, sent: State) -> bool:
        """Take a body that was no stream; say whether it is a whole answer."""
        raise NotImplementedError

    def judge(self, *, cut_off: bool) -> Ending:
        """Say how the stream ended: complete, truncated or empty.

        `cut_off` says that the input ended inside a payload.
        """
        raise NotImplementedError

    def plain(self) -> State | None:
        """Return a copy of what was folded so far; None where nothing came."""
        raise NotImplementedError

    def usage_source(self) -> str | None:
        """Say where the usage came from."""
        raise NotImplementedError

    def unfinished(self) -> tuple[int, ...]:
        """Return the indexes of the choices that have not finished."""
        return ()

    # --- What all have in common ------------------------------------------------------

    def take(self, payloads: Run, at: int, like: int) -> int:
        """Fold payloads from `at` on, up to one that is no plain JSON object.

        Return where that is. Stop early, with `record` set, where `like` events in a
        row did nothing but append.
        """
        self.record = None
        alike = 0
        for place in range(at, len(payloads)):
            data = payloads[place]
            sent = None if _LF in data else self.read(data)
            if sent is None:
                self.record = None
                return place
            self.n_events += 1
            self.add(sent, data, payloads.name(place) if payloads.names else "")
            # mypy does not know that `add` sets it.
            alike = alike + 1 if self.record else 0  # type: ignore[redundant-expr]
            if alike >= like:
                return place + 1
        return len(payloads)

    def read(self, data: bytes) -> State | None:
        """Parse a payload, strictly; None where that fails or it is no object."""
        if len(data) > self._light and not self.admits(data):
            return None
        return read_strictly(data, data)

    def finish_event(self, data: bytes) -> None:
        """Conclude what an event did from its `effects`."""
        record: Effects | None = self.effects
        for _, _, did in self.effects:
            if did is CHANGED:
                record = None
            elif did is HELD:
                record = None
                self.hold(data)
                break
        if record is None:
            self.revision += 1
        self.record = record

    def admits(self, data: bytes) -> bool:
        """Say whether a payload may be an object, and its values may be held."""
        return data.lstrip()[:1] == b"{" and self.has_room(data)

    def has_room(self, data: bytes) -> bool:
        """Say whether the values of a payload may be held; note the limit if not."""
        if len(data) <= self._light or self._weighed[0] is data:
            return True
        weight = weigh(data)
        if not self._holds(data, weight):
            weight = weigh_closely(data, weight)
            if not self._holds(data, weight):
                self.limit = self.limit or "held_bytes"
                return False
        self._weighed = data, weight  # a payload may be read more than once
        return True

    def _holds(self, data: bytes, weight: int) -> bool:
        return (
            self._debt + weight - _EACH * len(data) <= _FREE
            and self._held + weight <= self.limits.held_bytes
        )

    def hold(self, data: bytes) -> None:
        """Count the values of a payload among those that are held."""
        known, weight = self._weighed
        if known is not data:
            weight = weigh(data)
            if weight > _EACH * len(data):
                weight = weigh_closely(data, weight)
        self._weighed = b"", 0  # there is less room now
        self._held += weight
        self._debt += max(0, weight - _EACH * len(data))
        room = min(_FREE - self._debt, self.limits.held_bytes - self._held)
        self._light = max(0, room) // _MOST
        self.is_tight = self._light < _TIGHT

    def fail(self, error: Json) -> None:
        """Take note of an error that the provider reported; the first is the cause."""
        if self.error is None:
            self.error = error

    def note(self, code: str, count: int = 1) -> None:
        """Note what is odd, at the event that is being folded."""
        first, before = self._notes.get(code, (self.n_events, 0))
        self._notes[code] = first, before + count

    def hear(self, *, text: object, reasoning: object) -> None:
        """Take note of what the event that is being folded says, where it says any.

        A protocol calls this while `listens` is true: until the first of each came.
        """
        if text and not self.first_text:
            self.first_text = self.n_events
        if reasoning and not self.first_reasoning:
            self.first_reasoning = self.n_events
        self.listens = not (self.first_text and self.first_reasoning)

    def meet_half(self) -> None:
        """Take note of half a surrogate pair; the other half may follow."""
        self._half_at = self._half_at or self.n_events

    def close(self) -> None:
        """Note what is known at the end."""
        if self._half_at and (n := count_halves(self.plain())):
            self._notes["lone_surrogate"] = self._half_at, n

    def notes(self) -> tuple[Note, ...]:
        """Return what was noted, in the order of its first sight."""
        if not self._notes:
            return ()
        return tuple(Note(code, *seen) for code, seen in self._notes.items())

    def result(self) -> T | None:
        """Return what was folded so far; None where nothing came."""
        plain = self.plain()
        if plain is None:
            return None
        if self.has_halves:
            plain = mend(plain)
        return structure(self.kind, plain)  # type: ignore[return-value]


def error_in(sent: Mapping[str, Json]) -> Json:
    """Return what a payload says of an error, or None.

    `{"error": ...}` alone or beside anything else (all servers); `x_groq.error` (Groq);
    an object whose `object` is "error" is the error itself (vLLM).
    """
    if is_error(error := sent.get("error")):
        return error
    if type(groq := sent.get("x_groq")) is dict and is_error(groq.get("error")):
        return groq["error"]
    return sent if sent.get("object") == "error" else None


def is_error(value: Any) -> bool:
    """Say whether the value of an `error` key reports anything."""
    return value not in (None, "", False, {}, [])
