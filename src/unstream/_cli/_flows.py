"""mitmproxy's files of flows, which its own `mitmdump` reads for us, one by one.

This module knows how to ask it; not what a flow means.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from unstream._cli._exchanges import Exchange, path_of, unbase
from unstream._timing import Timing

__all__ = ["flows"]

_DUMP: Final = Path(__file__).parents[1] / "_addon" / "unstream_bodies.py"
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
                yield from _read_flows(process.stdout)
                failed = process.wait()
            finally:
                process.kill()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip()
        if failed:
            why = said.splitlines()[-1] if said else f"exit status {failed}"
            raise OSError(f"mitmdump cannot read these flows: {why}")


def _read_flows(lines: Any) -> Iterator[Exchange]:
    number = 0
    for line in lines:
        if not line.startswith(_MARK):
            continue
        number += 1
        flow = msgspec.json.decode(line[len(_MARK) :], type=_Flow)
        timing = None
        if flow.total is not None:
            timing = Timing(first_byte=flow.first_byte, total=flow.total)
        yield Exchange(
            number=number,
            method=flow.method,
            path=path_of(flow.path),
            body=None if flow.body is None else unbase(flow.body),
            started=flow.started,
            timing=timing,
        )
