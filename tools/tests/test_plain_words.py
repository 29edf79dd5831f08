"""The forms of tools/plain_words.py find what they are for, and no room gets more of them."""

import runpy
from pathlib import Path

import pytest
from contract_snapshot import ROOT

WORDS = runpy.run_path(str(ROOT / "tools" / "plain_words.py"), run_name="plain_words")


def found(path: Path, text: str) -> list[tuple[int, str]]:
    path.write_text(text, encoding="utf-8")
    return [(line, form) for line, form, _ in WORDS["places"](path)]


@pytest.mark.parametrize(
    ("sentence", "form"),
    [
        ("A pause is no trigger that hangs.", "is no "),
        ("These were no Boxes.", "were no "),
        ("Rows that are none are refused.", "are none"),
        ("Nobody reads it.", "Nobody"),
        ("It is written anew.", "anew"),
        ("The page says whence.", "whence"),
        ("It tells the gateway.", "tells"),
    ],
)
def test_a_form_is_found_in_prose_and_code(tmp_path: Path, sentence: str, form: str) -> None:
    assert found(tmp_path / "page.md", f"# A page\n\n{sentence}\n") == [(3, form)]
    assert found(tmp_path / "code.py", f'"""{sentence}"""\nx = 1  # {sentence}\n') == [(1, form), (2, form)]


@pytest.mark.parametrize(
    "sentence",
    [
        "It is no longer there.",
        "It has no value, and there are no more of them.",
        "none: the data folder",
        "A Box that is not known is refused.",
    ],
)
def test_plain_sentences_pass(tmp_path: Path, sentence: str) -> None:
    assert found(tmp_path / "page.md", sentence) == []


def test_code_that_is_not_text_passes(tmp_path: Path) -> None:
    assert found(tmp_path / "code.py", "nobody = 3\nassert nobody is not None\n") == []


def test_no_room_has_more_than_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert WORDS["main"]([]) == 0, capsys.readouterr().out


def test_a_given_file_is_shown_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.md"
    path.write_text("It is plain.\nNobody reads it.\n", encoding="utf-8")
    assert WORDS["main"]([str(path)]) == 1
    assert capsys.readouterr().out == f"{path}:2: 'Nobody'; say: name who does not, or say not\n"
