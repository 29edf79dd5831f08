"""The pages on security: what they name is there, and each section says what is held and what is not."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/security.md", "docs/security-asvs.md")
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [block for text in TEXTS.values() for block in re.split(r"\n\n|\n(?=\|)", text)]
"""Paragraphs, and rows of tables."""
NAME = re.compile(r"`((?:[\w/]+/)?test_\w+\.py)(?:::(test_\w+))?`|`(test_\w+)`")
NAMED = {named for block in BLOCKS for named in NAME.findall(block)}
"""(file, test in it or empty, test of any file) of each name."""
SLOW = re.compile(r"\bmark\.(slow|soak)\b")


@pytest.fixture(scope="module")
def tests() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in ROOT.glob("*/tests/**/test_*.py")}


def test_pages_on_security_name_tests_that_exist(tests: dict[Path, str]) -> None:
    assert len(NAMED) > 150
    missing = [
        "::".join(filter(None, (file, test, anywhere)))
        for file, test, anywhere in NAMED
        if not any(
            (not file or path.match(file)) and (not (test or anywhere) or f"def {test or anywhere}(" in text)
            for path, text in tests.items()
        )
    ]
    assert missing == []


def is_slow(text: str, test: str) -> bool:
    """Whether a test of a file, or a part of its cases, runs only when it is asked for."""
    marks = next((line for line in text.splitlines() if line.startswith("pytestmark")), "")
    decorators = text.partition(f"def {test}(")[0].rpartition("\n\n")[2]
    return bool(SLOW.search(marks) or SLOW.search(decorators))


def test_slow_tests_are_named_as_such(tests: dict[Path, str]) -> None:
    unsaid = [
        "::".join(filter(None, (file, test, anywhere)))
        for block in BLOCKS
        if "`-m slow`" not in block
        for file, test, anywhere in NAME.findall(block)
        if (name := test or anywhere)
        and any(
            (not file or path.match(file)) and f"def {name}(" in text and is_slow(text, name)
            for path, text in tests.items()
        )
    ]
    assert unsaid == []


SECTIONS = re.split(r"^## ", TEXTS["docs/security.md"], flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("section", SECTIONS, ids=[each.partition("\n")[0] for each in SECTIONS])
def test_each_section_says_what_is_not_held(section: str) -> None:
    """And names tests, of its own or on a page that it leads to."""
    assert re.search(r"`[^`]*\btest_\w+[^`]*`", section)
    assert re.search(r"\b[Nn]ot held\b|what is not held", section)
