"""The public names, and what importing them brings in."""

import inspect
import pkgutil
import subprocess
import sys
import types
from importlib import import_module
from importlib.metadata import requires

import pytest

import unstream
from unstream import sse, usage
from unstream._outcome import RESULTS
from unstream._protocol import Protocol

NAMES = [
    found.name
    for found in pkgutil.iter_modules(unstream.__path__)
    if not found.name.startswith("_")
]
MODULES = (unstream, *(import_module(f"unstream.{name}") for name in NAMES))
PROTOCOLS = [module for module in MODULES if hasattr(module, "PROTOCOL")]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_is_sorted_and_resolves(module: types.ModuleType) -> None:
    names = module.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(module, name) for name in names)
    # Constants, classes, then functions, each in order: as the linter sorts.
    order = sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert names == order


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_is_complete(module: types.ModuleType) -> None:
    ours = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and getattr(value, "__module__", "") == module.__name__
    }
    assert ours <= set(module.__all__)


@pytest.mark.parametrize("module", PROTOCOLS, ids=lambda module: module.__name__)
def test_a_protocol_is_found_by_its_name(module: types.ModuleType) -> None:
    protocol: Protocol[unstream.ChatCompletion] = module.PROTOCOL
    assert module.__name__ == f"unstream.{protocol.name}"
    # What was saved is loaded by the name that stands in it.
    accumulator = unstream.Accumulator(protocol=protocol)
    assert accumulator.finish().protocol == protocol.name
    assert RESULTS[protocol.name].__name__ in module.__all__


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
        *(unstream.Accumulator.events, unstream.events, unstream.partial_json),
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
        *("asyncio", "logging", "socket", "ssl", "http", "email", "urllib"),
        *("typing_extensions", "pydantic", "pydantic_core"),
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


def test_the_version_is_known() -> None:
    assert unstream.__version__.partition(".")[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = unstream.nothing
