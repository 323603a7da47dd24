"""mitmproxy's files of flows, which its own `mitmdump` reads for us, one by one.

This module knows how to ask it; not what a flow means.
"""

import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from unstream._cli._exchanges import Exchange, is_time, path_of, unbase
from unstream._json import parse
from unstream._timing import Timing

__all__ = ["flows"]

_DUMP: Final = Path(__file__).with_name("_dump") / "unstream_bodies.py"
_MARK: Final = b"unstream "


class _Flow(msgspec.Struct):
    method: str
    path: str
    body: str | None
    started: float | None
    first_byte: float | None
    total: float | None


def flows(pieces: Iterator[bytes]) -> Iterator[Exchange]:
    """Yield the exchanges of a file of mitmproxy, which `mitmdump` reads for us."""
    mitmdump = shutil.which("mitmdump")
    if mitmdump is None:
        raise OSError("mitmproxy's flows need mitmdump, which is not installed")
    logged: deque[str] = deque(maxlen=1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flows"
        with file.open("wb") as into:
            into.writelines(pieces)
        # Its settings, and the addons that they load, are left out.
        command = [mitmdump, "--set", f"confdir={folder}", "-q", "-n"]
        with (
            (Path(folder) / "errors").open("w+b") as errors,
            subprocess.Popen(  # noqa: S603 - a program of the user's own
                [*command, "-s", _DUMP, "-r", file],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            ) as process,
        ):
            try:
                yield from _read_flows(process.stdout, logged)
                failed = process.wait()
            finally:
                process.kill()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip()
        if failed:
            # Its log goes to standard output, and says more.
            lines = [*said.splitlines(), *logged]
            why = lines[-1] if lines else f"exit status {failed}"
            raise OSError(f"mitmdump cannot read these flows: {why}")


def _read_flows(lines: Any, logged: deque[str]) -> Iterator[Exchange]:
    """Yield what the addon writes; `logged` gets the other lines."""
    number = 0
    for line in lines:
        if not line.startswith(_MARK):
            if text := line.decode("utf-8", "replace").strip():
                logged.append(text)
            continue
        number += 1
        flow = msgspec.convert(parse(line[len(_MARK) :]), _Flow)
        first, timing = flow.first_byte, None
        if is_time(flow.total):
            first = first if is_time(first) else None
            timing = Timing(first_byte=first, total=flow.total)
        yield Exchange(
            number=number,
            method=flow.method,
            path=path_of(flow.path),
            body=None if flow.body is None else unbase(flow.body),
            started=flow.started if is_time(flow.started) else None,
            timing=timing,
        )
