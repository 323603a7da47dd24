"""Incomplete JSON: what can be read of it already."""

from typing import Final, Literal

from unstream._json import Json

__all__ = ["partial_json"]

_MODES: Final[dict[str, Literal["on", "trailing-strings"]]] = {
    "keep": "trailing-strings",
    "drop": "on",
}


def partial_json(
    text: str | bytes, *, strings: Literal["keep", "drop"] = "keep"
) -> Json:
    """Read the beginning of a JSON text: the longest value that it holds already.

    For showing structured output, or the arguments of a call, while they come; what is
    read so must not be run. A number that ends the text is read as far as it goes, and
    so is a string, unless `strings="drop"` leaves it out; a key without a value and a
    word that is not whole are left out. None where nothing can be read yet.

    It is read by jiter. Raises ValueError for what is no beginning of JSON, or for
    another `strings`; ImportError where jiter is missing.
    """
    if strings not in _MODES:
        raise ValueError(f'strings is "keep" or "drop", not {strings!r}')
    try:
        import jiter  # noqa: PLC0415 - an extra
    except ImportError:
        raise ImportError(
            "partial_json needs jiter: pip install 'unstream[partial]'"
        ) from None
    data = text.encode() if isinstance(text, str) else text
    try:
        return jiter.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        # The partial modes pass over more than an early end: what stands behind it.
        if not str(error).startswith(("EOF", "unexpected end")):
            raise
    try:
        return jiter.from_json(data, allow_inf_nan=False, partial_mode=_MODES[strings])
    except ValueError as error:
        if str(error).startswith("EOF"):
            return None
        raise
