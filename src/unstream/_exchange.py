"""One HTTP exchange, request and response, as every adapter tells of it.

This module knows how headers and bodies are handed over; not which exchanges are
watched, nor what their bodies mean.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

__all__ = ["REQUEST_BYTES", "Exchange", "headers"]

# A window of a million tokens, at four bytes a token. What is larger holds pictures or
# files; the application, or the client, holds it once already while it is under way.
REQUEST_BYTES: Final = 4 * 1024 * 1024


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the HTTP request and the response that an `Outcome` is about.

    Secrets are in here: `authorization`, `x-api-key` and cookies among the headers, a
    `key` in the query of a URL, and what users wrote. Take what you need of it before
    you write it down; its `repr` shows the method, the path and the status alone.
    """

    method: str
    """As it was sent, such as "POST"."""
    url: str
    """The whole URL, the query included. For ASGI it is made of the `host` header."""
    path: str
    """The path of the URL, percent-decoded, without the query."""
    status: int
    """The status code of the response."""
    request_headers: dict[str, str]
    """Names in lower case; values of the same name joined by ", " (RFC 9110, 5.3)."""
    response_headers: dict[str, str]
    """The same of the response; `set-cookie` is joined, too."""
    request_body: bytes | None = None
    """The body of the request, in its content coding if it has one; None where it was
    not read whole, was streamed by the client, or has more than 4 MiB."""
    native: Any = None
    """What the framework has: the scope of ASGI, the response of httpx."""

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.path} {self.status}>"


def headers(pairs: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    """Make the mapping of an exchange from pairs of str or bytes.

    Raises TypeError or ValueError for what are no headers.
    """
    made: dict[str, str] = {}
    for name, value in pairs:
        key, text = _text(name).lower(), _text(value)
        made[key] = f"{made[key]}, {text}" if key in made else text
    return made


def _text(value: Any) -> str:
    # HTTP's own encoding of what is not ASCII; any byte has its character.
    return value if isinstance(value, str) else bytes(value).decode("latin-1")
