"""Sentences, numbers and times, as people read them."""

import math
import re
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opq_cloud.reports.report_page import tenths
from opq_cloud.reports.sentences import number_words
from opq_cloud.view.pages.front_week import supply_words
from opq_cloud.view.web import words
from opq_measure.written_numbers import significant
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, Incident, StoredFinding

THIN = words.THIN
START_NS = 1_795_164_307_861_234_567  # 2026-11-20 08:45:07.861234567 UTC
SAG = Finding(
    kind="sag",
    box_id="1",
    start_ns=START_NS,
    end_ns=START_NS + 150_000_000,
    uncertainty_ns=1_200_000,
    residual_v=102.2,
    residual_percent=85.1666,
    duration_cycles=9.0,
)


def _incident(*findings: Finding, kind: str = "sag", closed: bool = True) -> Incident:
    percents = [item.residual_percent for item in findings if item.residual_percent is not None]
    return Incident(
        incident_id=7,
        kind=kind,
        box_ids=tuple(item.box_id for item in findings),
        event_ids=(3,),
        start_ns=START_NS,
        end_ns=START_NS + 150_000_000,
        closed=closed,
        residual_percent=max(percents, key=lambda value: abs(value - 100)) if percents else None,
        findings=tuple(StoredFinding(k + 1, 7, 3, item) for k, item in enumerate(findings)),
    )


def test_a_sag_is_reported_in_one_sentence() -> None:
    incident = _incident(SAG, replace(SAG, box_id="4", residual_v=103.0, residual_percent=85.8))
    assert words.headline(incident) == f"Sag to 85.2{THIN}% at Boxes 1 and 4"
    assert words.sentence(incident, 120.0) == (
        f"The voltage at Box 1 fell to 102.2{THIN}V, 85.2{THIN}% of the nominal 120{THIN}V, "
        f"for 9.0 cycles (150{THIN}ms); Box 4 had the same."
    )
    assert words.outline(incident) == f"to 85.2{THIN}% for 150{THIN}ms at Boxes 1 and 4"


def test_a_box_that_has_a_name_is_named() -> None:
    incident = _incident(SAG, replace(SAG, box_id="4", residual_v=103.0, residual_percent=85.8))
    names = {"4": "Roof", "9": "Attic"}
    assert words.headline(incident, names).endswith(" at Boxes 1 and 4 (Roof)")
    assert words.outline(incident, names).endswith(" at Boxes 1 and 4 (Roof)")
    assert "Box 4 (Roof) had the same" in words.sentence(incident, 120.0, names)
    assert words.boxes(["9"], names) == "Box 9 (Attic)"
    assert words.boxes([str(k) for k in range(7)], names) == "7 Boxes"


def test_a_manual_class_may_have_no_level() -> None:
    """A class given by people has no level if it is not a class of voltage."""
    labelled = _incident(SAG, kind="harmonics")
    assert words.headline(labelled) == "Harmonics at Box 1"
    assert words.outline(labelled) == f"for 150{THIN}ms at Box 1"


def test_boxes_of_equal_statement_are_grouped() -> None:
    """Boxes with equal statements are grouped, and differing ones come first."""
    said = [(str(k), "refused" if k == 7 else "arrived") for k in range(1, 13)]
    (one, refused), (rest, arrived) = words.alike(said)
    assert (one, refused, arrived) == (["7"], "refused", "arrived")
    assert words.boxes(rest) == "11 Boxes" and rest[:2] == ["1", "2"] and "7" not in rest


def test_each_class_has_its_own_words() -> None:
    """A swell, an interruption, and a class without a residual."""
    swell = replace(SAG, kind="swell", residual_v=138.0, residual_percent=115.0)
    assert "rose to 138.0" in words.sentence(_incident(swell, kind="swell"), 120.0)
    gone = replace(SAG, kind="interruption", residual_v=1.2, residual_percent=1.0)
    assert "was lost" in words.sentence(_incident(gone, kind="interruption"), 120.0)
    noise = replace(SAG, kind="noise", residual_v=None, residual_percent=None, duration_cycles=None)
    assert words.sentence(_incident(noise, kind="noise"), 120.0) == f"Noise at Box 1, for 150{THIN}ms."
    begin = replace(noise, end_ns=START_NS + 50_000_000, duration_cycles=3.0)
    end = replace(begin, start_ns=START_NS + 100_000_000, end_ns=START_NS + 150_000_000)
    assert words.sentence(_incident(begin, end, kind="noise"), 120.0).endswith(f"for 150{THIN}ms.")


def test_a_sag_still_open_says_so() -> None:
    incident = _incident(replace(SAG, closed=False), closed=False)
    assert "had not recovered when the recording ended" in words.sentence(incident, 120.0)
    assert "without an end" in words.outline(incident)


def test_a_states_extreme_and_end_are_named() -> None:
    """It names the Box where it is worst, and lasts until its last part."""
    first = Finding("flicker", "1", START_NS, START_NS + 3_000_000, 100, because="Pst 1.2", severity=3.0)
    worst = replace(first, box_id="4", end_ns=first.end_ns - 1, because="Pst 2.6", severity=6.0)
    later = replace(first, start_ns=START_NS + 120_000_000, end_ns=START_NS + 150_000_000)
    incident = _incident(first, worst, later, kind="flicker")
    incident = replace(incident, box_ids=("1", "4"))
    assert words.sentence(incident, 120.0) == (
        f"Flicker at Boxes 1 and 4, for 150{THIN}ms, the most at Box 4: Pst 2.6."
    )
    alone = replace(_incident(first, kind="flicker"), box_ids=("1",))
    assert words.sentence(alone, 120.0) == f"Flicker at Box 1, for 3.0{THIN}ms: Pst 1.2."


def test_combined_classes_read_as_words() -> None:
    assert words.class_words("harmonics+sag") == "Harmonics and sag"
    assert words.class_words("dc_offset+sag") == "DC offset and sag"
    assert words.class_words("sag+dc_offset") == "Sag and DC offset"
    assert words.class_words("brand_new") == "Brand new"
    assert words.class_phrase("oscillatory_transient") == "oscillatory transient"
    assert words.class_phrase("dc_offset+sag") == "DC offset and sag"
    assert words.class_tone("interruption+sag") == "out"
    assert words.class_tone("harmonics+sag") == "down"
    assert words.class_tone("noise") == "other"


@pytest.mark.parametrize(
    ("value", "digits", "unit", "text"),
    [
        (None, 2, "V", "–"),
        (float("nan"), 2, "V", "–"),
        (float("inf"), 2, "", "–"),
        (0.0, 1, "V", f"0.0{THIN}V"),
        (-3.25, 2, "", "−3.25"),
        (-3e-7, 2, "%", f"0.00{THIN}%"),
        (12345.678, 1, "", f"12{THIN}345.7"),
    ],
)
def test_numbers(value: float | None, digits: int, unit: str, text: str) -> None:
    assert words.number(value, digits, unit) == text


def read_back(text: str) -> float:
    return float(text.replace("\u2212", "-").replace(THIN, ""))


@given(st.floats(), st.integers(0, 6))
@example(-0.0, 2)
@example(-4e-3, 2)
@example(3.896e-06, 3)
@example(1e6, 0)
def test_a_number_is_written_without_powers(value: float, digits: int) -> None:
    """As many decimals as its quantity has, half the last one off at most; no minus zero."""
    text = words.number(value, digits)
    if not math.isfinite(value):
        assert text == words.UNKNOWN
        return
    assert re.fullmatch(rf"\u2212?\d{{1,3}}({THIN}\d{{3}})*" + (rf"\.\d{{{digits}}}" if digits else ""), text)
    assert text.startswith("\u2212") is (read_back(text) < 0)
    off = abs(Decimal(text.replace("\u2212", "-").replace(THIN, "")) - Decimal(value))
    assert off <= Decimal("0.5") * Decimal(10) ** -digits


@given(
    st.floats(-1e308, 1e308, allow_subnormal=False) | st.sampled_from([math.inf, -math.inf, math.nan]),
    st.integers(1, 7),
)
@example(1e6, 6)
@example(-0.0, 3)
@example(9.9999, 3)
def test_significant_digits_have_no_power(value: float, digits: int) -> None:
    """Settings, limits and reasons of a finding have a number of digits, whatever their size."""
    text = significant(value, digits)
    if not math.isfinite(value):
        assert text == words.UNKNOWN
        return
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", text) and text != "-0"
    assert len(text.replace(".", "").replace("-", "").strip("0")) <= digits
    off = abs(Decimal(text) - Decimal(value))
    assert value == 0 or off <= Decimal("0.5") * Decimal(10) ** (Decimal(value).adjusted() + 1 - digits)
    assert words.plain(value, "V") == (f"{significant(value)}{THIN}V")


@given(st.floats())
@example(-0.0)
@example(-0.04)
def test_a_report_writes_no_power(value: float) -> None:
    for text in (number_words(value), tenths(value), number_words(value, digits=3)):
        assert re.fullmatch(r"–|–? ?%|(below |above )?-?\d+(\.\d+)?( %)?", text), text
        assert not re.match(r"-0(\.0*)? ", text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "an instant"),
        (0.0083, "8.3 ms"),
        (0.15, "150 ms"),
        (0.9999, "1.00 s"),
        (2.345, "2.35 s"),
        (200, "3 min 20 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds).replace(THIN, " ") == text


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [
        (None, "uncertainty not known"),
        (UNKNOWN_UNCERTAINTY_NS, "uncertainty not known"),
        (90, "± 90 ns"),
        (1_200, "± 1.2 µs"),
        (1_200_000, "± 1.2 ms"),
        (850_000, "± 850 µs"),
        (2_000_000_000, "± 2.0 s"),
    ],
)
def test_doubt(value_ns: int | None, text: str) -> None:
    assert words.uncertainty(value_ns).replace(THIN, " ") == text


def test_times_are_exact_and_truncated() -> None:
    """They are cut, and never pass through a float."""
    assert words.utc(START_NS, 6) == "2026-11-20 08:45:07.861234"
    assert words.utc(START_NS, 0) == "2026-11-20 08:45:07"
    assert words.utc_attribute(START_NS) == "2026-11-20T08:45:07.861Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "just now"),
        (4, "just now"),
        (40, "40 s ago"),
        (200, "3 min ago"),
        (7300, "2 h ago"),
        (3e5, "3 days ago"),
    ],
)
def test_ago(seconds: float, text: str) -> None:
    assert words.ago(START_NS, START_NS + int(seconds * 1e9)).replace(THIN, " ") == text


@given(st.text(max_size=60))
def test_no_class_can_break_the_words(kind: str) -> None:
    words.class_words(kind)
    assert words.class_tone(kind) in {"down", "out", "up", "other"}


def test_an_old_value_has_its_age() -> None:
    assert words.state(True, 9_999, 10_000) == "Live"
    assert words.state(True, 42_900, 10_000) == f"Live, 42{THIN}s old"
    assert words.state(False, 89_000, 10_000) == f"Silent for 89{THIN}s"
    assert words.state(False, 5_400_000, 10_000) == f"Silent for 1{THIN}h"
    assert words.state(False, 3 * 86_400_000, 10_000) == "Silent for 3 days"


def test_a_verdict_without_damage_is_not_good() -> None:
    assert words.ITIC_SHORT["no_damage"] == "May stop working"


def test_how_many_report_is_said_in_words() -> None:
    assert words.reporting(1, 1) == "1 Box, and it reports."
    assert words.reporting(3, 3) == "3 Boxes, all of them reporting."
    assert words.reporting(3, 0) == "3 Boxes, none of them reporting now."


@pytest.mark.parametrize(
    ("below", "said"),
    [(0, "0 dips and interruptions"), (1, "1 dip or interruption"), (3, "3 dips and interruptions")],
)
def test_the_front_page_counts_in_words(below: int, said: str) -> None:
    found = supply_words(below, 2.0).replace(words.THIN, " ")
    assert found == f"{said} below 90 %, 2.0 min without supply"
