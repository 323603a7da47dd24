"""The facade: bytes in, a verdict and a completion out.

This module knows what a payload is (a chunk, an error, `[DONE]`, noise, nothing) and
how the ending is told; not how anything folds.
"""

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from unstream._dialects import error_in, is_error, is_noise, is_whole
from unstream._express import Lane
from unstream._fit import fit, open_chunk
from unstream._fold import Fold, is_flat
from unstream._json import (
    SHALLOW,
    Json,
    Malformed,
    decode,
    encode,
    mend,
    parse,
    too_deep,
)
from unstream._limits import Limits
from unstream._outcome import Ending, Outcome, StreamFinished
from unstream._schema import ChatCompletion, Chunk, decode_chunk
from unstream.sse import BytesLike, Decoder, Event

__all__ = ["Accumulator", "afold", "fold", "fold_chunks"]

# A feed is read in blocks, so that the lines of one block, not of a whole capture, are
# held beside it: 64 KiB is what most transports hand out at once.
_BLOCK: Final = 64 * 1024
# How much is read line by line where a run of like events ends: a few events, in which
# the next run is likely to begin.
_STRETCH: Final = 1024
# Feeds below _SMALL bytes are held, to be read together: _HELD of them at most, and of
# larger ones as many as make up _ROOM bytes. That is 64 events of 320 bytes, which are
# read in some 20 microseconds, or 25 with log probabilities.
_SMALL: Final = 4096
_HELD: Final = 64
_ROOM: Final = 20 * 1024
_SPACE: Final = b" \t\r\n"
_CR: Final = ord("\r")


class Accumulator:
    """Fold one stream, fed as bytes at any cut.

    The result depends on the concatenation of what was fed, not on the cuts. Keyword:
    `limits`, the bounds of what is held; `express=False` leaves out the express lane,
    which changes the speed and nothing else.
    """

    __slots__ = (
        "_after_cr",
        "_body",
        "_cut_off",
        "_decoder",
        "_fold",
        "_has_strangers",
        "_held",
        "_is_idle",
        "_lane",
        "_most",
        "_n_bytes",
        "_n_events",
        "_n_malformed",
        "_outcome",
        "_rest",
        "_whole",
    )

    def __init__(self, *, limits: Limits | None = None, express: bool = True) -> None:
        limits = limits or _LIMITS
        self._fold = Fold(limits)
        self._lane = Lane(self._fold) if express else None
        self._is_idle = False  # the decoder stands between two events
        self._held: list[bytes] = []
        self._most = _HELD  # as many as are held at a time
        self._rest = b""  # the beginning of an event
        self._after_cr = False
        self._decoder = Decoder(limit=limits.event_bytes, error_field=True)
        # The input so far, while it may be one JSON object instead of events.
        self._body: list[bytes] | None = []
        self._whole: ChatCompletion | None = None
        self._has_strangers = False
        self._n_bytes = 0
        self._n_events = 0
        self._n_malformed = 0
        self._cut_off = False  # the input ended inside a payload
        self._outcome: Outcome | None = None

    def feed(self, data: BytesLike) -> None:
        """Take the next bytes of the stream, bytes-like, cut anywhere.

        Nothing that the stream contains raises; `finish` tells. Raises TypeError where
        `data` is not bytes-like, StreamFinished after `finish`.
        """
        if self._outcome is not None:
            raise StreamFinished("fed after finish", self._outcome)
        if type(data) is not bytes:
            data = memoryview(data).tobytes()  # what is mutable may change before long
        # Small feeds are held and read together: what is done once for a block then
        # costs an event next to nothing.
        held = self._held
        held.append(data)
        if len(held) >= self._most or len(data) >= _SMALL:
            self._read()

    def add(self, chunk: Any) -> None:
        """Take a chunk that was parsed already, in place of its bytes.

        A mapping, or an object that makes one by `model_dump()` (pydantic, as in
        `openai`) or `to_dict()`. Raises TypeError for anything else, StreamFinished
        after `finish`.
        """
        if self._outcome is not None:
            raise StreamFinished("added after finish", self._outcome)
        self._read()
        try:
            data = encode(_mapping(chunk))
        except RecursionError:
            data = b""  # too deep to be read as bytes, too
        if self._lane is not None:
            self._lane.disturb()
        self._payload(data)

    @property
    def has_content(self) -> bool:
        """Whether any choice said anything yet: text, reasoning, a tool call, audio.

        It is what the time to the first token is about: a role, a usage or an empty
        text is nothing said. Reads what the feeds left; changes nothing.
        """
        self._read()
        return self._fold.has_content or bool(self._whole and self._whole.choices)

    def snapshot(self) -> ChatCompletion | None:
        """Return the completion so far; None where nothing came yet.

        Changes nothing, and costs no more than the size of the completion.
        """
        if self._outcome is not None:
            return self._outcome.completion
        self._read()
        return self._fold.completion()

    def finish(self) -> Outcome:
        """End the input and return the verdict; again, the same one."""
        if self._outcome is None:
            self._read()
            self._decode(self._rest)
            if self._n_bytes <= self._fold.limits.stream_bytes:
                self._end()
            self._outcome = self._judge()
        return self._outcome

    # --- Blocks -----------------------------------------------------------------------

    def _read(self) -> None:
        """Read what the feeds left, but for an event that has just begun."""
        held = self._held
        if not held:
            return
        data = held[0] if len(held) == 1 else b"".join(held)
        self._most = min(_HELD, _ROOM * len(held) // (len(data) + 1) + 1)
        held.clear()
        limits = self._fold.limits
        self._n_bytes += len(data)
        if self._n_bytes > limits.stream_bytes:
            data = data[: max(limits.stream_bytes - self._n_bytes + len(data), 0)]
        if self._body is not None:
            self._body.append(data)
            if self._decoder.is_stream or self._n_bytes > limits.event_bytes:
                self._body = None
        # With LF alone the lane can be taken; a CRLF may be cut in two.
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if _CR in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if len(data) <= _BLOCK:
            self._read_block(data)
        else:
            for start in range(0, len(data), _BLOCK):
                self._read_block(data[start : start + _BLOCK])

    def _read_block(self, block: bytes) -> None:
        rest = self._rest
        if not (self._is_idle or rest):
            block = self._resume(block)
        end = block.rfind(b"\n\n") + 2
        lane = self._lane
        if (
            end == 1
            or lane is None
            or not self._is_idle
            or len(rest) + len(block) > self._fold.limits.event_bytes
        ):
            self._rest = b""
            self._decode(rest + block)
            return
        if not rest and end == len(block):
            self._read_events(block, lane)
            return
        # One copy: copying a block is a tenth of all that it costs.
        self._read_events(b"".join((rest, memoryview(block)[:end])), lane)
        self._rest = block[end:]
        # A whole line may be an event by itself: `error: ...`.
        if len(self._rest) >= _SMALL or b"\n" in self._rest:
            self._decode(self._rest)
            self._rest = b""

    def _resume(self, block: bytes) -> bytes:
        """Finish the event that an earlier block began; return what comes after it."""
        found = block.find(b"\n\n")
        end = found + 2 if found >= 0 else len(block)
        self._decode(block[:end])
        return block[end:]

    def _decode(self, data: bytes) -> None:
        """Take the ordinary way."""
        self._take(self._decoder.feed(data))
        self._is_idle = self._decoder.idle

    def _read_events(self, block: bytes, lane: Lane) -> None:
        """Read a block that starts and ends between two events."""
        start, stop = 0, len(block)
        while start < stop:
            end = lane.reach(block, start)
            n = lane.whole(block[start:end] if end - start < stop else block)
            if n:
                self._n_events += n
                start = end
            if start < stop:
                # Events of other kinds, after which there may be a run again.
                end = stop
                if lane.is_hopeful and stop - start > 2 * _STRETCH:
                    end = block.find(b"\n\n", start + _STRETCH) + 2
                self._read_lines(block[start:end], lane)
                start = end

    def _read_lines(self, block: bytes, lane: Lane) -> None:
        """Read a block, as above, line by line."""
        lines = block.split(b"\n")
        del lines[-2:]
        if any(lines[1::2]):  # not every event is of one line
            self._decode(block)
            return
        lines = [line for line in lines[::2] if line]  # blank lines are no events
        rest = iter(lines)
        at = 0
        while at < len(lines):
            n, taken = lane.run(rest)
            if taken:
                self._n_events += n
                at += n
            # It stopped at a line that did not fit, or at the end.
            for line in lines[at : at + (1 if taken else n + 1)]:
                self._line(line, lane)
                at += 1

    def _line(self, line: bytes, lane: Lane) -> None:
        """Take a line that is an event by itself."""
        if line[:6] != b"data: ":
            # The first comment tells the decoder that this is an event stream.
            if line[:1] != b":" or not self._n_events:
                lane.disturb()
                self._decode(line + b"\n\n")
            return
        self._body = None
        chunk = self._payload(line[6:])
        if chunk is None:
            lane.disturb()
        else:
            lane.learn(line, chunk)

    # --- Payloads ---------------------------------------------------------------------

    def _take(self, events: list[Event]) -> None:
        if events:
            self._body = None
            if self._lane is not None:
                self._lane.disturb()
        for event in events:
            if event.event == "error":
                self._report(event.data)
            else:
                self._payload(event.data)

    def _payload(self, data: bytes) -> Chunk | None:
        """Take a payload; return the chunk if it was one and nothing else."""
        # Too deep in `logprobs` alone is no fault: see `is_flat`.
        if self._has_strangers and not (len(data) >= SHALLOW and too_deep(data)):
            return self._odd(data)
        try:
            chunk = decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._odd(data)
        if chunk.object == "error":
            return self._odd(data)
        self._n_events += 1
        if len(data) >= SHALLOW and not is_flat(chunk) and too_deep(data):
            self._n_malformed += 1
            return None
        self._fold.add(chunk)
        return chunk

    def _odd(self, data: bytes) -> Chunk | None:
        """Take a payload that is not a chunk of known keys in known types."""
        if _is_done(data):
            self._n_events += 1
            self._fold.done = True
            return None
        try:
            sent = self._parse(data)
        except Malformed:
            if not self._split(data):
                self._n_events += 1
                self._n_malformed += 1
            return None
        self._n_events += 1
        if not isinstance(sent, dict):
            self._n_malformed += 1
            return None
        error = error_in(sent)
        if error is not None:
            self._fold.fail(error)
        if (error is sent and "choices" not in sent) or is_noise(sent):
            return None
        chunk = open_chunk(data, sent)
        # A stream that carried a stranger will do so again: to find that out by a
        # failed decode costs as much as a decode.
        self._has_strangers = bool(
            chunk.extra or any(choice.extra for choice in chunk.choices or ())
        )
        self._fold.add(chunk)
        return chunk if error is None else None

    def _report(self, data: bytes) -> None:
        """Take the payload of an event, or a field, that is named `error`."""
        if _is_done(data):
            self._payload(data)
            return
        try:
            sent = self._parse(data)
        except Malformed:
            if not self._split(data):
                self._n_events += 1
                self._n_malformed += 1
                self._fold.fail(data.decode("utf-8", "replace"))
            return
        self._n_events += 1
        if isinstance(sent, dict) and (error := error_in(sent)) is not None:
            self._fold.fail(error)
        else:
            self._fold.fail("" if sent is None else sent)
        if isinstance(sent, dict) and "choices" in sent:
            self._fold.add(fit(Chunk, sent))

    def _split(self, data: bytes) -> bool:
        """Take each line as a payload, if one of them stands for itself.

        Some servers leave out the blank line between events.
        """
        lines = data.split(b"\n")
        if len(lines) == 1 or not any(map(_stands_alone, lines)):
            return False
        for line in lines:
            self._payload(line)
        return True

    def _parse(self, data: bytes) -> Json:
        try:
            return decode(data)
        except Malformed:
            # It may be for a lone surrogate that the strict way failed.
            self._fold.has_halves = True
            return parse(data)

    # --- The end ----------------------------------------------------------------------

    def _end(self) -> None:
        so_far = self._n_malformed
        self._take(self._decoder.close(rest=True))
        self._cut_off = self._n_malformed > so_far
        decoder = self._decoder
        if self._n_events or decoder.is_stream or not decoder.n_unknown:
            return
        # No event, and yet something: a body that is no event stream.
        if self._n_bytes > self._fold.limits.event_bytes:
            return
        body = b"".join(self._body or ()).removeprefix(b"\xef\xbb\xbf")
        try:
            sent = self._parse(body)
        except Malformed:
            sent = None
        if not isinstance(sent, dict):
            self._n_malformed += 1
        elif is_whole(sent):
            if is_error(sent.get("error")):
                self._fold.fail(sent["error"])
            sent = mend(sent) if self._fold.has_halves else sent
            self._whole = fit(ChatCompletion, sent)
        else:
            self._odd(body)
            self._n_events = 0  # it was none

    def _judge(self) -> Outcome:
        fold, whole = self._fold, self._whole
        limit = fold.limit
        if self._n_bytes > fold.limits.stream_bytes:
            limit = "stream_bytes"
        elif self._decoder.n_skipped or (
            # A body that is no event stream is held whole.
            self._n_bytes > fold.limits.event_bytes
            and self._decoder.n_unknown
            and not self._n_events
        ):
            limit = "event_bytes"
        source = fold.usage_source()
        if whole is not None and whole.usage is not None:
            source = "usage"
        if fold.error is not None:
            ending = Ending.ERROR
        elif limit:
            ending = Ending.LIMIT
        elif not (whole.choices if whole else fold.choices):
            ending = Ending.EMPTY
        elif whole or fold.done or (fold.is_finished() and not self._cut_off):
            ending = Ending.COMPLETE
        else:
            ending = Ending.TRUNCATED
        return Outcome(
            ending=ending,
            completion=whole or fold.completion(),
            error=mend(fold.error) if fold.has_halves else fold.error,
            done=fold.done,
            usage_source=source,
            limit=limit,
            n_bytes=self._n_bytes,
            n_events=self._n_events,
            n_malformed=self._n_malformed,
        )


_LIMITS: Final = Limits()


def _is_done(data: bytes) -> bool:
    return data.strip(_SPACE) == b"[DONE]"


def _stands_alone(line: bytes) -> bool:
    if _is_done(line):
        return True
    try:
        return isinstance(parse(line), dict)
    except Malformed:
        return False


# --- Functions ------------------------------------------------------------------------

Source: TypeAlias = BytesLike | Iterable[BytesLike]


def fold(source: Source, *, limits: Limits | None = None) -> ChatCompletion:
    """Fold a stream, given as bytes-like or as an iterable of bytes-likes.

    Raises TruncatedStream, ProviderError, EmptyStream or LimitExceeded where the ending
    is not complete, each with the `outcome`; TypeError where `source` is a str.
    """
    accumulator = Accumulator(limits=limits)
    if isinstance(source, str):
        raise TypeError("a stream is bytes, not str")
    if isinstance(source, bytes | bytearray | memoryview):
        accumulator.feed(memoryview(source))
    else:
        for data in source:
            accumulator.feed(data)
    return accumulator.finish().unwrap()


async def afold(
    source: AsyncIterable[BytesLike], *, limits: Limits | None = None
) -> ChatCompletion:
    """Fold a stream, given as an async iterable of bytes-likes; raises as `fold`."""
    accumulator = Accumulator(limits=limits)
    async for data in source:
        accumulator.feed(data)
    return accumulator.finish().unwrap()


def fold_chunks(
    chunks: Iterable[Any], *, limits: Limits | None = None
) -> ChatCompletion:
    """Fold chunks that were parsed already: mappings, or objects with a dump.

    See `Accumulator.add`. Clients keep `[DONE]` to themselves, so the end of `chunks`
    counts as the end of the stream and a missing finish_reason is not judged. Raises
    ProviderError, EmptyStream or LimitExceeded; TypeError for a chunk that is neither.
    """
    accumulator = Accumulator(limits=limits)
    for chunk in chunks:
        accumulator.add(chunk)
    outcome = accumulator.finish()
    if outcome.ending is Ending.TRUNCATED and outcome.completion is not None:
        return outcome.completion
    return outcome.unwrap()


def _mapping(chunk: Any) -> Mapping[str, Json]:
    if not isinstance(chunk, Mapping):
        if callable(dump := getattr(chunk, "model_dump", None)):
            chunk = dump(mode="json", exclude_unset=True)
        elif callable(dump := getattr(chunk, "to_dict", None)):
            chunk = dump()
    if not isinstance(chunk, Mapping):
        raise TypeError(
            f"a chunk is a mapping or has a dump, not {type(chunk).__name__}"
        )
    return chunk
