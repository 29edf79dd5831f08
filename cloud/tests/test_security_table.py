"""The pages on security: what they name is there, and each section says what is held and what is not."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/security.md", "docs/security-asvs.md")
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
NAMED = {
    named
    for text in TEXTS.values()
    for named in re.findall(r"`((?:[\w/]+/)?test_\w+\.py)(?:::(test_\w+))?`|`(test_\w+)`", text)
}
"""(file, test in it or empty, test of any file) of each name."""


def test_pages_on_security_name_tests_that_exist() -> None:
    assert len(NAMED) > 150
    texts = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("*/tests/**/test_*.py")}
    missing = [
        "::".join(filter(None, (file, test, anywhere)))
        for file, test, anywhere in NAMED
        if not any(
            (not file or path.match(file)) and (not (test or anywhere) or f"def {test or anywhere}(" in text)
            for path, text in texts.items()
        )
    ]
    assert missing == []


SECTIONS = re.split(r"^## ", TEXTS["docs/security.md"], flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("section", SECTIONS, ids=[each.partition("\n")[0] for each in SECTIONS])
def test_each_section_says_what_is_not_held(section: str) -> None:
    """And names tests, of its own or on a page that it leads to."""
    assert re.search(r"`[^`]*\btest_\w+[^`]*`", section)
    assert re.search(r"\b[Nn]ot held\b|what is not held", section)
