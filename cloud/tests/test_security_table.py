"""The pages on security: every test that they name is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/security.md", "docs/security-asvs.md")
NAMED = [
    named
    for page in PAGES
    for named in re.findall(r"`([\w/]+\.py)::(test_\w+)`", (ROOT / page).read_text(encoding="utf-8"))
]


def test_pages_on_security_name_tests_that_exist() -> None:
    assert len(NAMED) > 100
    texts = {
        path: path.read_text(encoding="utf-8") for path in ROOT.glob("*/tests/**/test_*.py") if path.is_file()
    }
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if not any(path.match(file) and f"\ndef {name}(" in text for path, text in texts.items())
    ]
    assert missing == []
