"""The ways of docs/architecture.md and docs/mauka-running.md: each stay exists, and none comes twice."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAY = re.compile(r"^\d+\. `([\w/]+\.\w+)` `([\w.]+)`", re.MULTILINE)
PAGES = {"architecture.md": (ROOT, 3), "mauka-running.md": (ROOT / "cloud" / "opq_cloud", 1)}


@pytest.mark.parametrize("page", PAGES)
def test_each_stay_of_a_way_exists_and_none_comes_twice(page: str) -> None:
    base, count = PAGES[page]
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    ways = [
        found
        for part in re.split(r"^(?:\*\*|## )", text, flags=re.MULTILINE)
        if (found := STAY.findall(part))
    ]
    assert len(ways) == count
    for way in ways:
        paths = [path for path, _ in way]
        assert len(set(paths)) == len(paths), "a step back"
        for path, name in way:
            source = (base / path).read_text(encoding="utf-8")
            for part in name.split("."):
                assert re.search(rf"\b{part}\b", source), f"{path} has no {name}"
