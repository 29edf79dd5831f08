"""Heads of a CSV: rows of forms and units, volt-amperes, units at the end of names, and further clocks."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from recordings_under_test import ROWS, assert_same, read, volts
from test_recordings_csv import comma

from opq_proto.errors import RecordingError
from opq_recordings.quantity_names import Quantity, quantity_named, volt_amperes
from opq_recordings.recording import Recording
from opq_recordings.units import unit_scale
from opq_recordings.written_times import chained_span_in, time_of_digits, time_span_in, written_time

START = datetime(2024, 3, 17, 11, 59, 59, 800_000)
STEP = timedelta(microseconds=625)
START_NS = 1_710_676_799_800_000_000


def stamps(form: str, start: datetime = START) -> list[str]:
    return [(start + at * STEP).strftime(form) for at in range(ROWS)]


def file_of(folder: Path, head: str, times: list[str], separator: str = ";", scale: float = 1.0) -> Recording:
    rows = "".join(
        f"{time}{separator}{comma(value * scale, '.7f') if separator == ';' else f'{value * scale:.7f}'}\n"
        for time, value in zip(times, volts(), strict=True)
    )
    path = folder / "a.csv"
    path.write_text(head + rows, encoding="utf-8")
    return read(path)


@pytest.mark.parametrize(
    ("head", "form", "name", "scale"),
    [
        ("Datum;Uhrzeit;U L1\nTT.MM.JJJJ;hh:mm:ss,000;V\n", "%d.%m.%Y;%H:%M:%S,%f", "U L1", 1.0),
        ("Messung 7;;\nDate;Heure;Tension\njj/mm/aaaa;hh:mm;kV\n", "%d/%m/%Y;%H:%M:%S,%f", "Tension", 1e-3),
        ("Zeit;Spannung\n[dd.MM.yyyy HH:mm:ss];[mV]\n", "%d.%m.%Y %H:%M:%S,%f", "Spannung", 1e3),
        ("Дата;Время;U\nдд.мм.гггг;чч:мм:сс;В\n", "%d.%m.%Y;%H:%M:%S,%f", "U", 1.0),
    ],
)
def test_a_row_of_forms_names_no_column(
    head: str, form: str, name: str, scale: float, tmp_path: Path
) -> None:
    found = file_of(tmp_path, head, stamps(form), scale=scale)
    assert_same(found, volts())
    assert (found.start_ns, [each.name for each in found.channels]) == (START_NS, [name])


@pytest.mark.parametrize("units", ["[s];[-]", "s;", "s;n/a"])
def test_a_row_of_units_may_lack_one(units: str, tmp_path: Path) -> None:
    times = [comma(at / 1600, ".7f") for at in range(ROWS)]
    found = file_of(tmp_path, f"Zeit;Spannung\n{units}\n", times)
    assert_same(found, volts())
    assert [(each.name, each.unit) for each in found.channels] == [("Spannung", None)]


@pytest.mark.parametrize(
    ("name", "others", "quantity"),
    [
        ("V.A", ["voltage"], "other"),
        ("V A", [], "other"),
        ("va", ["voltage", "current"], "other"),
        ("VA", [], "voltage"),
        ("VA", ["VB", "IA"], "voltage"),
        ("V A", ["V B", "V C"], "voltage"),
        ("Va", ["Ia", "U"], "voltage"),
        ("V_A", ["voltage"], None),
        ("VAr", ["voltage"], None),
    ],
)
def test_volt_amperes_are_a_phase_beside_others(
    name: str, others: list[str], quantity: Quantity | None
) -> None:
    names = [name, *others]
    voltages = [each for each in names if quantity_named(each) == "voltage"]
    assert volt_amperes(name, voltages, names) == quantity


@pytest.mark.parametrize("unit", ["V.A", "V A", "V·A", "kV.A", "V-A", "V*A"])
def test_a_product_of_units_is_volt_amperes(unit: str) -> None:
    found = unit_scale(unit)
    assert found is not None
    assert (found.quantity, found.si) == ("other", "VA")


def test_an_apparent_power_is_no_voltage(tmp_path: Path) -> None:
    rows = "".join(f"{at / 1600:.7f},{value:.7f},1200\n" for at, value in enumerate(volts()))
    path = tmp_path / "a.csv"
    path.write_text(f"time,grid_voltage,V.A\n{rows}")
    assert [each.quantity for each in read(path).channels] == ["voltage", "other"]


@pytest.mark.parametrize(
    ("name", "quantity"),
    [
        ("volts_per_hertz", "other"),
        ("voltage_ratio", "other"),
        ("voltage_deviation", "other"),
        ("V_LL_AB", "voltage"),
        ("voltage_uv", "voltage"),
    ],
)
def test_the_words_of_a_name_say_it(name: str, quantity: Quantity) -> None:
    assert quantity_named(name) == quantity


@pytest.mark.parametrize(
    ("names", "units"),
    [
        ("voltage_kv,current_ma", ["kv", "ma"]),
        ("bus_kv,feeder_kv", ["kv", "kv"]),
        ("voltage_mv,voltage_lv", [None, None]),
        ("voltage,voltage_ma", [None, None]),
        ("voltage kilovolts,current kiloamps", ["kilovolts", "kiloamps"]),
        ("voltage_uv,voltage_vw", [None, None]),
        ("kV_bus,kA_fault", ["kV", "kA"]),
        ("KV_L1,kV_A", ["KV", None]),  # the second may be an apparent power
        ("voltage,power_pu", [None, "pu"]),
    ],
)
def test_units_of_names_in_any_letters(names: str, units: list[str | None], tmp_path: Path) -> None:
    path = _of_names(names, tmp_path)
    assert [each.unit for each in read(path, channel="1").channels] == units


@pytest.mark.parametrize("names", ["KV_A,KV_B,KV_C", "kV_R,kV_S,kV_T", "kV.phase.A,kV.phase.B,kV.phase.C"])
def test_kilovolts_before_phases(names: str, tmp_path: Path) -> None:
    channels = read(_of_names(names, tmp_path)).channels
    assert [each.unit and each.unit.lower() for each in channels] == ["kv"] * 3


def test_shares_by_name_are_no_volts(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="'Va_pu' is in pu, shares of a voltage that is not stated"):
        read(_of_names("Va_pu,Vb_pu,Vc_pu", tmp_path))


def _of_names(names: str, folder: Path) -> Path:
    """A CSV with volts in the first column of these names, 1.5 in the others."""
    others = ",1.5" * names.count(",")
    rows = "".join(f"{at / 1600:.7f},{value:.7f}{others}\n" for at, value in enumerate(volts()))
    path = folder / "a.csv"
    path.write_text(f"time,{names}\n{rows}")
    return path


@pytest.mark.parametrize(
    ("head", "separator", "times"),
    [
        ("Pvm;Klo;U\n", ";", lambda: stamps("%d.%m.%Y;%H.%M.%S,%f")),
        ("Aika;U\n", ";", lambda: stamps("%d.%m.%Y klo %H.%M.%S,%f")),
        ("time,u\n", ",", lambda: stamps("%Y%m%d%H%M%S.%f")),
        ("time,u\n", ",", lambda: stamps("%Y%m%d%H%M%S%f")),
        ("ts,u\n", ",", lambda: [str(START_NS + at * 625_000) for at in range(ROWS)]),
        ("received_at,u\n", ",", lambda: [f"{START_NS // 10**6 + at * 0.625:.3f}" for at in range(ROWS)]),
    ],
)
def test_further_forms_of_times_give_the_start(
    head: str, separator: str, times: Callable[[], list[str]], tmp_path: Path
) -> None:
    found = file_of(tmp_path, head, times(), separator)
    assert_same(found, volts())
    assert (found.start_ns, found.rate_hz) == (START_NS, 1600.0)


def test_a_counter_is_not_unix_time(tmp_path: Path) -> None:
    rows = "".join(f"{at / 1600:.7f},{150_000_000 + at},{value:.7f}\n" for at, value in enumerate(volts()))
    path = tmp_path / "a.csv"
    path.write_text(f"time,energy_wh,voltage\n{rows}")
    found = read(path)
    assert_same(found, volts())
    assert found.start_ns is None


def test_the_hour_left_out_in_spring_is_told(tmp_path: Path) -> None:
    begun = datetime(2026, 3, 29, 1, 59, 59, 900_000)
    times = [
        (moment + timedelta(hours=moment.hour == 2)).strftime("%Y-%m-%d %H:%M:%S.%f")
        for moment in (begun + at * STEP for at in range(ROWS))
    ]
    found = file_of(tmp_path, "time,u\n", times, ",")
    assert_same(found, volts())
    assert found.problems == (
        "line 162: its clock leaves out an hour, as summer time begins; the rows go on",
    )


def test_a_real_hour_without_rows_is_refused(tmp_path: Path) -> None:
    times = [
        (START + at * STEP + timedelta(hours=at >= ROWS // 2)).strftime("%Y-%m-%d %H:%M:%S.%f")
        for at in range(ROWS)
    ]
    with pytest.raises(RecordingError, match="5760000 samples out"):
        file_of(tmp_path, "time,u\n", times, ",")


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("13.4.2026 9.30", "2026-04-13T09:30:00"),
        ("2026-04-13 10.11.12,5", "2026-04-13T10:11:12.5"),
        ("13-04-2026 kl. 23.59", "2026-04-13T23:59:00"),
    ],
)
def test_clocks_with_points_follow_a_date(text: str, clock: str) -> None:
    found = written_time(text)
    expected = datetime.fromisoformat(clock).replace(tzinfo=UTC)
    assert found is not None
    assert found.t_ns == round(expected.timestamp() * 10) * 10**8


@pytest.mark.parametrize(
    ("span", "begin"),
    [
        ("00:00 - 00:15", "00:00"),
        ("00:15-00:30", "00:15"),
        ("12:00-13:00", "12:00"),
        ("00:00 – 00:15", "00:00"),
        ("00:00 to 00:15", "00:00"),
        ("00:00..00:15", "00:00"),
        ("9:00 AM - 9:15 AM", "9:00 AM"),
        ("2026-03-01 00:00 - 00:15", "2026-03-01 00:00"),
        ("01.03.2026 00:00 - 01.03.2026 00:15", "01.03.2026 00:00"),
        ("2026-03-01T00:00Z/2026-03-01T00:15Z", "2026-03-01T00:00Z"),
    ],
)
def test_a_span_of_time_is_named(tmp_path: Path, span: str, begin: str) -> None:
    path = tmp_path / "meter.csv"
    for head, row in (("time,u", f"{span},230.1"), ("date,time,u", f"2026-03-01,{span},230.1")):
        path.write_text("\n".join([head, *[row] * 3]))
        with pytest.raises(RecordingError) as refused:
            read(path)
        assert "is a span of time; want one time in a cell, such as" in str(refused.value)
    assert time_span_in(f"{span},230.1") == (span, begin)


@pytest.mark.parametrize(
    "text", ["2026-03-01 00:00-05:00", "00:00:00-03:30", "2026-03-01T00:00:00.5+05:45", "10:00 -12:00", "1-2"]
)
def test_a_time_with_zone_is_no_span(text: str) -> None:
    assert time_span_in(text) is None


def test_spans_like_zones_are_known_by_their_rows(tmp_path: Path) -> None:
    """00:30-01:00 may have a zone; one that is the next row's clock each time is the end of a span."""
    path = tmp_path / "meter.csv"
    clocks = ["00:00", "00:30", "01:00", "01:30", "02:00"]
    rows = [f"2026-03-01 {one}-{other},230.1" for one, other in pairwise(clocks)]
    path.write_text("\n".join(["time,u", *rows]))
    with pytest.raises(RecordingError, match=r"line 2: '00:00-00:30' is a span of time; .* such as '00:00'"):
        read(path)
    assert chained_span_in(["00:00-01:00", "01:00-01:00", "02:00-01:00"]) is None
    assert chained_span_in(["23:00-03:30", "00:00-03:30", "01:00-02:30"]) is None


def test_a_span_beside_a_time_may_stay() -> None:
    assert time_span_in("2026-03-01 00:15,00:00 - 00:15,230.1") is None


@pytest.mark.parametrize("text", ["20261325020000", "1234567890123", "20261025", "2026102502.5"])
def test_other_digits_are_not_a_date(text: str) -> None:
    assert time_of_digits(text) is None


@pytest.mark.parametrize(
    ("head", "per_s", "zone"),
    [
        ("Time (s since 2024-03-17 11:59:59.8);U\n", 1, False),
        ("time [ms since 2024-03-17T11:59:59.8Z];U\n", 1e3, True),
        ("seconds since 2024-03-17 11:59:59.8 UTC;U\n", 1, True),
        ("Time_s since 2024-03-17 12:59:59.8+01:00;U\n", 1, True),
        ("t (µs since 17.03.2024 11:59:59,8);U\n", 1e6, False),
        ("Zeit;U\n[s since 2024-03-17 11:59:59.8];[V]\n", 1, False),
        ("Time since 2024-03-17 11:59:59.8 (ms);U\n", 1e3, False),
        ("Time since 2024-03-17 11:59:59.8 [µs];U\n", 1e6, False),
        ("seconds since 2024-03-17 11:59:59.8 (UTC);U\n", 1, True),
        ("t (ms since 2024-03-17 11:59:59.8 (UTC));U\n", 1e3, True),
    ],
)
def test_times_count_from_the_moment_named(head: str, per_s: float, zone: bool, tmp_path: Path) -> None:
    """Rows begin 2.5 s after it."""
    times = [comma((2.5 + at / 1600) * per_s, ".7f") for at in range(ROWS)]
    found = file_of(tmp_path, head, times)
    assert_same(found, volts())
    assert found.start_ns == START_NS + 2_500_000_000 and found.rate_hz == pytest.approx(1600)
    assert ("time_zone" in found.assumed) is not zone and "time_unit" not in found.assumed


@pytest.mark.parametrize("since", ["start", "31.31.2024 5:00", "trigger 7"])
def test_a_moment_not_understood_leaves_no_start(since: str, tmp_path: Path) -> None:
    found = file_of(tmp_path, f"time [s since {since}];U\n", [comma(at / 1600, ".7f") for at in range(ROWS)])
    assert found.start_ns is None and found.rate_hz == pytest.approx(1600)
    assert any("count from" in each for each in found.problems) is (since != "start")


@pytest.mark.parametrize(
    ("heading", "per_s"),
    [
        ("Time since start (ms)", 1e3),
        ("Time since start [s]", 1),
        ("Time since trigger 1 (us)", 1e6),
        ("Elapsed time since trigger (µs)", 1e6),
        ("Time since start of run 3 (ms)", 1e3),
        ("Time (ms since start (of run 3))", 1e3),
        ("time [ms since start]", 1e3),
    ],
)
def test_a_unit_behind_a_moment_counts(heading: str, per_s: float, tmp_path: Path) -> None:
    times = [comma(at / 1600 * per_s, ".7f") for at in range(ROWS)]
    found = file_of(tmp_path, f"{heading};U (V)\n", times)
    assert_same(found, volts())
    assert found.rate_hz == pytest.approx(1600) and found.start_ns is None
    assert "time_unit" not in found.assumed
    assert any("count from" in each for each in found.problems) is any(each.isdecimal() for each in heading)


def test_values_since_a_moment_keep_their_unit(tmp_path: Path) -> None:
    times = [comma(at / 1600, ".7f") for at in range(ROWS)]
    found = file_of(tmp_path, "time (s);U since repair 3 (kV)\n", times, scale=1e-3)
    assert_same(found, volts())
    assert [(each.name, each.unit) for each in found.channels] == [("U since repair 3 (kV)", "kV")]


@pytest.mark.parametrize(
    "of",
    ["1970", "epoch 1970", "Unix epoch (1970-01-01)", "1970-01-01 (UTC)", "1970-01-01 00:00:00", "the epoch"],
)
def test_unix_time_may_name_its_moment(of: str, tmp_path: Path) -> None:
    times = [str((START_NS + at * 625_000) / Decimal(10**9)) for at in range(ROWS)]
    found = file_of(tmp_path, f"Time (s since {of}),U\n", times, ",")
    assert_same(found, volts())
    assert (found.start_ns, found.problems) == (START_NS, ())
    assert not {"time_zone", "time_unit"}.intersection(found.assumed)
