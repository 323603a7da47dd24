"""The public names, and what importing them brings in."""

import inspect
import subprocess
import sys
import types
from importlib.metadata import requires

import pytest

import unstream
import unstream.asgi
import unstream.httpx
import unstream.mitmproxy
from unstream import sse, usage

ADAPTERS = (unstream.asgi, unstream.httpx, unstream.mitmproxy)
MODULES = (unstream, sse, usage, *ADAPTERS)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_is_sorted_and_resolves(module: types.ModuleType) -> None:
    names = module.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(module, name) for name in names)
    # Constants, classes, then functions, each in order: as the linter sorts.
    order = sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert names == order


def test_all_is_complete() -> None:
    public = {name for name in vars(unstream) if not name.startswith("_")}
    # Modules without an underscore are imported by their own name.
    modules = {"sse", "usage", "asgi", "httpx", "mitmproxy"}
    assert public - set(unstream.__all__) <= modules


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module: types.ModuleType) -> None:
    assert module.__doc__
    for name in module.__all__:
        thing = getattr(module, name)
        if not inspect.isclass(thing) and not inspect.isfunction(thing):
            continue
        assert thing.__doc__, name
        for inner, value in vars(thing).items():
            if inspect.isfunction(value) and not inner.startswith("_"):
                assert value.__doc__, f"{name}.{inner}"


def test_what_may_be_raised_is_documented() -> None:
    for function in (
        *(unstream.fold, unstream.afold, unstream.fold_chunks, unstream.Outcome.unwrap),
        *(unstream.Accumulator.feed, unstream.Accumulator.add, sse.Decoder.feed),
        *(usage.ask, usage.Filter.feed),
    ):
        assert "aises" in (function.__doc__ or ""), function.__qualname__


def test_importing_brings_in_msgspec_and_the_standard_library_alone() -> None:
    code = (
        "import sys; import msgspec; before = set(sys.modules); import unstream; "
        "from unstream import sse, usage; "
        "print(*sorted(set(sys.modules) - before), sep='\\n')"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    new = {name.partition(".")[0] for name in done.stdout.split()}
    assert new - {"unstream", "msgspec"} <= sys.stdlib_module_names
    assert "unstream.asgi" not in done.stdout
    # What takes long to import, or does I/O, has no business here.
    heavy = {
        "asyncio",
        "logging",
        "socket",
        "ssl",
        "http",
        "email",
        "urllib",
        "typing_extensions",
    }
    assert not new & heavy


def test_the_adapters_bring_in_nothing_of_what_they_are_for() -> None:
    code = (
        "import sys; from unstream import asgi, httpx, mitmproxy; "
        "print(*sorted(name for name in sys.modules if '.' not in name), sep='\\n')"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    others = {"httpx", "httpx2", "starlette", "mitmproxy", "brotli", "zstandard"}
    assert not set(done.stdout.split()) & others


def test_nothing_but_msgspec_is_required() -> None:
    needed = [one for one in requires("unstream") or () if "extra ==" not in one]
    assert [one.partition(">")[0].strip() for one in needed] == ["msgspec"]
