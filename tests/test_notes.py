"""Every code of a note has its sentence, in one place that the docs show."""

import re
from pathlib import Path
from typing import Final

from unstream._notes import NOTES

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
CODES: Final = {
    code
    for text in SOURCE
    for code in re.findall(r"\b(?:note\(|_notes\[)\"(\w+)\"", text)
}


def test_every_code_has_its_sentence() -> None:
    assert len(CODES) > 10
    assert CODES - NOTES.keys() == set()


def test_no_code_is_noted_that_is_no_literal() -> None:
    # Or the test above would not see it.
    others = [
        line.strip()
        for text in SOURCE
        for line in text.splitlines()
        if re.search(r"\bnote\((?!\")", line) and "def note(" not in line
    ]
    assert others == []


def test_sentences_are_sentences() -> None:
    assert list(NOTES) == sorted(NOTES)
    for sentence in NOTES.values():
        assert re.fullmatch(r"[A-Z].*\.", sentence)
        assert "\n" not in sentence


def test_the_docs_are_in_step() -> None:
    page = (ROOT / "docs" / "notes.md").read_text()
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE)) == NOTES
