"""A PDF says which letters no font of this machine has."""

import pytest

from opq_cloud.reports.missing_letters import missing_letters, missing_words

CUNEIFORM = "\U00012000\U00012001"


@pytest.fixture(scope="module", autouse=True)
def report_extra() -> None:
    """Takes a second, which each worker would need where it only finds the tests."""
    pytest.importorskip("weasyprint", reason="needs the extra report")


def test_letters_of_every_font_are_not_missing() -> None:
    style = "<style>p { content: '\U00012000' }</style>"
    assert missing_letters(f"{style}<p title='x'>Gr\u00f6\u00dfe &Omega;</p>") == ""
    assert missing_words("") == ""


def test_letters_without_a_font_are_named() -> None:
    missing = missing_letters(f"<p>{CUNEIFORM}{CUNEIFORM} mill</p>")
    if not missing:
        pytest.skip("a font of this machine has cuneiform")
    assert missing == CUNEIFORM
    assert "U+12000" in missing_words(missing) and "fonts-noto-core" in missing_words(missing)
    assert CUNEIFORM[0] not in missing_words(missing, name_them=False)


@pytest.mark.parametrize(
    ("letter", "package"),
    [
        ("\u5de5", "fonts-noto-cjk"),
        ("\ud55c", "fonts-noto-cjk"),
        ("\u0e17", "fonts-noto-core"),
        ("\u0939", "fonts-noto-core"),
        ("\U0001f600", "fonts-noto-color-emoji"),
    ],
)
def test_a_package_with_a_font_is_named(letter: str, package: str) -> None:
    assert missing_words(letter).endswith(f"sudo apt install {package}")
