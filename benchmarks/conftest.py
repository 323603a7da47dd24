"""Time only where `--benchmark-only` asks for it, and print what was noted."""

from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    option.benchmark_disable = not (option.benchmark_only or option.benchmark_enable)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    # There is no public way to what was measured.
    for bench in terminalreporter.config._benchmarksession.benchmarks:  # noqa: SLF001
        if bench.extra_info:
            notes = [f"{value:8.2f} {unit}" for unit, value in bench.extra_info.items()]
            terminalreporter.write_line(f"{bench.name:60} {'  '.join(notes)}")
