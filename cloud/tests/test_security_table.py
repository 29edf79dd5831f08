"""docs/security.md: every test that it names is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
NAMED = re.findall(
    r"`([\w/]+\.py)::(test_\w+)`", (TESTS.parents[1] / "docs/security.md").read_text(encoding="utf-8")
)


def test_the_table_of_asvs_names_tests_that_exist() -> None:
    assert len(NAMED) > 35
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if not (TESTS / file).is_file() or f"\ndef {name}(" not in (TESTS / file).read_text(encoding="utf-8")
    ]
    assert missing == []
