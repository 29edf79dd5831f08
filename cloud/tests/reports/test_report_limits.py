"""Files of limits: what comes with the package, a country's own, and what is refused."""

from pathlib import Path

import pytest
from golden_weeks import TEN_MS, columns, golden_week, place_of, starts_of

from opq_cloud.export.tables import table_pieces
from opq_cloud.reports.as_json import report_json, report_table
from opq_cloud.reports.limit_table import FOLDER, LimitFileError, known_standards, limit_table
from opq_cloud.reports.week import WeekError, week_of
from opq_cloud.reports.week_report import week_report

OWN = """
standard = "own"
title = "A country's own"
[sources]
law = "the law"
[[limit]]
name = "voltage"
quantity = "rms_v"
of = "nominal_v"
interval_ms = 600_000
clause = "1"
percent = 99
low = 94
high = 106
sources = ["law"]
"""


def test_every_standard_of_the_package_is_read() -> None:
    assert known_standards() == (
        "en50160",
        "iec61000-2-2",
        "iec61000-2-4-class2",
        "iec61000-2-4-class3",
        "ieee519",
    )
    for name in known_standards():
        table = limit_table(name)
        assert table.standard == name and table.limits
        assert all(limit.clause for limit in table.limits)


def test_harmonic_limits_end_at_25() -> None:
    """Even harmonics have small limits."""
    found = {each.order: each.requirement.high for each in limit_table("en50160").limits if each.order}
    assert sorted(found) == list(range(2, 26))
    assert (found[5], found[6], found[25]) == (6.0, 0.5, 1.5)
    levels = {each.order: each.requirement.high for each in limit_table("iec61000-2-2").limits if each.order}
    assert sorted(levels) == list(range(2, 51))
    assert levels[49] == round(2.27 * 17 / 49 - 0.27, 2) and levels[50] == 0.3


def test_a_country_replaces_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    table = limit_table(str(path))
    week = golden_week()
    given = columns(starts_of(week, TEN_MS), TEN_MS, {"rms_v": 240.0})  # 104.3 %
    report = week_report(table, week, place_of(given))
    (row,) = report.rows
    assert row.verdict == "pass" and row.limit.limit_words == "94 to 106 % for 99 % of the week"
    document = report_json(report)
    assert document["not_confirmed"][0] == "voltage, 99 % of 10 min values (clause 1): one source says it"


@pytest.mark.parametrize("standard", known_standards())
def test_each_limit_has_two_sources_or_says_so(standard: str) -> None:
    """A limit, table or curve with fewer than two different sources stands in the foot of the report."""
    table = limit_table(standard)
    week = golden_week()
    given = columns(starts_of(week, TEN_MS), TEN_MS, {"rms_v": 230.0})
    lines = report_json(week_report(table, week, place_of(given)))["not_confirmed"]
    for limit in table.limits:
        assert len(set(limit.sources)) == len(limit.sources)
        part = f", {limit.requirement.percent:g} % of "
        said = [line for line in lines if line.startswith(limit.name) and part in line]
        if limit.order is None:
            named = any(line.startswith(f"{limit.name},") for line in said)
        else:
            named = any(limit.order in orders_in(line) for line in said)
        assert named == (len(limit.sources) < 2), (limit.words, limit.sources, said)
    for each in table.counted:
        assert (f"{each.name} ({each.clause})" in " ".join(lines)) == (len(set(each.sources)) < 2)


def orders_in(line: str) -> set[int]:
    """The orders of `harmonic 19, 23 to 25, 95 % of ...`."""
    found: set[int] = set()
    for part in line.split(" % of ")[0].rpartition(",")[0].removeprefix("harmonic ").split(", "):
        first, _, last = part.partition(" to ")
        found.update(range(int(first), int(last or first) + 1))
    return found


def test_an_order_has_sources_of_its_own() -> None:
    """Sources that leave an order out do not confirm it."""
    levels = {each.order: each for each in limit_table("iec61000-2-4-class2").limits if each.order}
    assert not levels[21].confirmed and levels[20].confirmed and levels[50].confirmed


def test_the_foot_names_the_sources_once() -> None:
    words = limit_table("en50160").sources_in_words
    assert len(set(words)) == len(words)
    assert any("PM8000" in each for each in words) and any("Dranetz" in each for each in words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("percent = 99", "percent = 101"), "percent is 101.0, want above 0 and to 100"),
        (("low = 94", "low = 120"), "want low below high"),
        (('quantity = "rms_v"', 'quantity = "volts"'), "quantity is 'volts'; want one of f_hz"),
        (("interval_ms = 600_000", "interval_ms = 60"), "interval_ms is 60; want one of 3000"),
        (('sources = ["law"]', 'sources = ["hearsay"]'), "source 'hearsay' is not in [sources]"),
        (('sources = ["law"]', 'sources = []\norder_sources = { 3 = ["hearsay"] }'), "'hearsay' is not in"),
        (("percent = 99", "percent = 99\nyearly = true"), "yearly is not known"),
        (('clause = "1"', ""), "'clause' is missing"),
        (("low = 94\nhigh = 106", ""), "neither low nor high is given"),
        (('standard = "own"', "standard ="), "not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace(*change), encoding="utf-8")
    with pytest.raises(LimitFileError, match=words.replace("[", r"\[").replace("]", r"\]")):
        limit_table(str(path))


def test_an_unknown_standard_is_named() -> None:
    with pytest.raises(LimitFileError, match="'en50161' is not a known standard; want one of en50160"):
        limit_table("en50161")
    with pytest.raises(LimitFileError, match="not a known standard"):
        limit_table("../limits/en50160")
    with pytest.raises(LimitFileError, match=r"nowhere\.toml: No such file"):
        limit_table("/nowhere.toml")
    assert FOLDER.is_dir()


def test_weeks_are_those_of_iso_8601() -> None:
    assert week_of("2026-W01", "Europe/Berlin", 0).monday.isoformat() == "2025-12-29"
    assert week_of("2026W53", "UTC", 0).name == "2026-W53"
    thursday_ns = 1_764_201_600 * 10**9  # 2025-11-27
    assert week_of("last", "Pacific/Honolulu", thursday_ns).name == "2025-W47"
    for text in ("2026-W54", "2025-W53", "2026-47", "W47", ""):
        with pytest.raises(WeekError, match="want one such as 2026-W47"):
            week_of(text, "UTC", 0)
    with pytest.raises(WeekError, match="want a zone such as"):
        week_of("2026-W47", "Mars/Olympus", 0)


def test_the_document_has_the_keys_of_the_contract() -> None:
    week = golden_week(169)
    given = columns(starts_of(week, TEN_MS), TEN_MS, {"rms_v": 200.0})
    report = week_report(limit_table("en50160"), week, place_of(given))
    found = report_json(report)
    assert {"standard", "box_id", "from", "to", "coverage", "rows"} <= found.keys()
    assert (found["box_id"], found["hours"], found["coverage"], found["verdict"]) == ("1", 169, 1.0, "fail")
    row = next(each for each in found["rows"] if each["quantity"] == "voltage")
    assert {"quantity", "clause", "limit", "value", "share_percent", "verdict"} <= row.keys()
    assert (row["value"], row["share_percent"], row["verdict"]) == (
        pytest.approx(86.9565, abs=1e-4),
        0.0,
        "fail",
    )
    assert next(each for each in found["rows"] if each["quantity"] == "THD")["value"] is None
    lines = b"".join(table_pieces(report_table([report]), "csv", bare=True)).decode().splitlines()
    assert len(lines) == 1 + len(found["rows"]) and lines[0].startswith("site,box_id,phase,week,quantity")
