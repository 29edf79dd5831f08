"""docs/classes-thresholds.md shows the thresholds that the code has, each with its reason."""

from threshold_table import ROOT, page, thresholds


def test_page_shows_the_thresholds_of_the_code() -> None:
    shown = (ROOT / "docs" / "classes-thresholds.md").read_text(encoding="utf-8")
    assert shown == page(), "python proto/tests/threshold_table.py > docs/classes-thresholds.md"


def test_each_threshold_has_a_reason() -> None:
    assert [f"{each.file}: {each.name}" for each in thresholds() if not each.about] == []
