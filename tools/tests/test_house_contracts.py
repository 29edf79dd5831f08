"""What scripts call and peers read is as it was: held to the texts in `contracts`, one file per thing.

A change that is meant is written with `python tools/tests/contract_snapshot.py`, and stands in the log
with its reason.
"""

import difflib
import re
import sys
from pathlib import Path

import pytest
from contract_snapshot import GOLDEN, ROOT, how_to_renew, main, quick_texts

sys.path.append(str(ROOT / "gateway" / "tests"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return quick_texts(tmp_path_factory.mktemp("contracts"))


def assert_unchanged(name: str, found: str) -> None:
    path = GOLDEN / name
    golden = path.read_text(encoding="utf-8").splitlines()
    changes = "\n".join(difflib.unified_diff(golden, found.splitlines(), "before", "now", n=1, lineterm=""))
    assert not changes, (
        f"{path.relative_to(ROOT)} differs. If this is meant, say so in the log of changes, and renew it by\n"
        f"  {how_to_renew(name)}\n{changes}"
    )


@pytest.mark.parametrize("part", ["commands", "config", "rest", "answers", "files"])
def test_what_scripts_call_is_as_it_was(part: str, texts: dict[str, str]) -> None:
    for name in [name for name in texts if name.startswith(f"{part}/")]:
        assert_unchanged(name, texts[name])


def test_every_text_is_held(texts: dict[str, str]) -> None:
    there = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.txt")}
    assert there - {"answers/system.txt"} == set(texts)


def test_the_named_command_renews_the_contract(
    tmp_path: Path, texts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "gone.txt").write_text("opq-gone\n")
    (tmp_path / "rest").mkdir()
    (tmp_path / "rest" / "other.txt").write_text("left alone\n")
    *_, part = how_to_renew("commands/opq-tools.txt").split()
    main([part], tmp_path, lambda _: dict(texts))
    written = (tmp_path / "commands" / "opq-tools.txt").read_text(encoding="utf-8")
    assert written == (GOLDEN / "commands" / "opq-tools.txt").read_text(encoding="utf-8")
    assert not (tmp_path / "commands" / "gone.txt").exists() and (tmp_path / "rest" / "other.txt").exists()
    said = capsys.readouterr().out
    assert "renewed  commands/opq-tools.txt" in said and "removed  commands/gone.txt" in said
    with pytest.raises(SystemExit, match="there are no contracts x; there are answers, commands, config"):
        main(["x"], tmp_path, lambda _: dict(texts))


def test_a_command_with_offset_takes_data_dir() -> None:
    """One that speaks to a running system is told which by either, after its own name."""
    found = (GOLDEN / "commands" / "opq-tools.txt").read_text(encoding="utf-8")
    commands = {
        block.split("\n", 1)[0]: {line.split()[0] for line in block.splitlines()[1:] if line.strip()}
        for block in re.split(r"\n(?=\S)", found)
    }
    with_offset = {name for name, options in commands.items() if "--port-offset" in options}
    assert len(with_offset) > 30
    assert {name for name in with_offset if "--data-dir" not in commands[name]} == set()
