"""Figures of a report in words, and what a standard covers that a report does not judge."""

import pytest

from opq_cloud.reports.limit_table import known_standards, limit_table
from opq_cloud.reports.sentences import number_words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.896e-06, "below 0.001 %"),
        (0.0, "0 %"),
        (-2e-7, "above -0.001 %"),
        (0.001, "0.001 %"),
        (88.2, "88.2 %"),
        (99.99999, "100 %"),
        (230.04, "230 %"),
        (12345.6, "12346 %"),
        (float("nan"), "\N{EN DASH}"),
        (float("inf"), "\N{EN DASH}"),
    ],
)
def test_no_figure_has_a_power_of_ten(value: float, text: str) -> None:
    assert number_words(value) == text


PHENOMENA = ("flicker", "mains signalling", "rapid voltage change", "transient", "frequency", "interharmonic")


@pytest.mark.parametrize(
    "standard", ["en50160", "iec61000-2-2", "iec61000-2-4-class2", "iec61000-2-4-class3"]
)
@pytest.mark.parametrize("phenomenon", PHENOMENA)
def test_each_phenomenon_is_judged_or_named(standard: str, phenomenon: str) -> None:
    assert standard in known_standards()
    table = limit_table(standard)
    names = [*(each.name for each in table.limits), *(each.name for each in table.not_judged)]
    assert any(each.startswith(phenomenon) for each in names), names


def test_events_have_the_clause_of_low_voltage() -> None:
    """The limits of EN 50160 here are those of clause 4, low voltage; clause 5 is medium voltage."""
    table = limit_table("en50160")
    counted = [each.clause for each in table.counted if each.clause.startswith("EN 50160")]
    assert counted and all(each == "EN 50160, 4.3.2" for each in counted)
    assert all(each.clause.startswith("4.") for each in table.limits)


def test_slow_variations_have_no_level_there() -> None:
    """The scope of IEC 61000-2-2 lists ten phenomena; a voltage that is low for long is not one."""
    table = limit_table("iec61000-2-2")
    assert "voltage" not in {each.name for each in table.limits}
    (named,) = (each for each in table.not_judged if each.name.startswith("slow variations"))
    assert "EN 50160" in named.why
