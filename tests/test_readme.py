"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
CONSOLE = [code for language, code in BLOCKS if language == "console"]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README


def test_console_blocks_print_what_they_show() -> None:
    command = f"{sys.executable} -m unstream"
    sessions = [part for code in CONSOLE for part in code.split("$ ") if part]
    assert sessions
    for session in sessions:
        typed, _, shown = session.partition("\n")
        line = re.sub(r"\bunstream\b", command, typed)
        done = subprocess.run(  # noqa: S603 - our own README
            ["/bin/sh", "-c", line],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == shown


def test_the_tests_that_keep_the_promises_exist() -> None:
    kept = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", README)
    assert len(kept) >= 6
    for name, path in kept:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), name


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
