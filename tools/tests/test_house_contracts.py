"""What scripts call and peers read is as it was: held to the texts in `contracts`, one file per thing.

A change that is meant is written with `python tools/tests/contract_snapshot.py`, and stands in CHANGELOG.md
with its reason.
"""

import difflib
import sys
from pathlib import Path

import pytest
from contract_snapshot import GOLDEN, ROOT, quick_texts

sys.path.append(str(ROOT / "gateway" / "tests"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return quick_texts(tmp_path_factory.mktemp("contracts"))


def assert_unchanged(name: str, found: str) -> None:
    path = GOLDEN / name
    golden = path.read_text(encoding="utf-8").splitlines()
    changes = "\n".join(difflib.unified_diff(golden, found.splitlines(), "before", "now", n=1, lineterm=""))
    assert not changes, (
        f"{path.relative_to(ROOT)} has changed; see the top of {Path(__file__).name}\n{changes}"
    )


@pytest.mark.parametrize("part", ["commands", "config", "rest", "answers", "files"])
def test_what_scripts_call_is_as_it_was(part: str, texts: dict[str, str]) -> None:
    for name in [name for name in texts if name.startswith(f"{part}/")]:
        assert_unchanged(name, texts[name])


def test_every_text_is_held(texts: dict[str, str]) -> None:
    there = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.txt")}
    assert there - {"answers/system.txt"} == set(texts)
