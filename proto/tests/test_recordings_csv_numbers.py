"""How a CSV writes numbers: separators, decimal marks, thousands, and rows to leave out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings_under_test import RATE_HZ, ROWS, assert_same, read, volts
from test_recordings_csv import comma, table

from opq_proto.errors import RecordingError
from opq_recordings.csv_numbers import Notation, notation_of

WHOLE = np.rint(volts())
GIVEN = {"nominal_v": 230.0}


def written(folder: Path, text: str) -> Path:
    path = folder / "a.csv"
    path.write_text(text, encoding="utf-8")
    return path


def grouped(value: float, group: str, decimals: int = 0, mark: str = ".") -> str:
    return f"{value:,.{decimals}f}".replace(".", "\0").replace(",", group).replace("\0", mark)


def whole_rows(head: str, other: int = 0) -> str:
    return head + "".join(f"{v:.0f},{other}\n" for v in WHOLE)


@pytest.mark.parametrize(
    "head", ["Sample rate: 1600 Hz\nU,trigger\n", "Fs: 1600\nU,V,\n", "dt: 0.000625 s\nU,I\n"]
)
def test_names_apart_by_a_comma_are_two_columns(head: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, whole_rows(head)), channel="1")
    assert_same(found, WHOLE)
    assert len(found.channels) == 2


def test_one_name_with_comma_is_one_column(tmp_path: Path) -> None:
    for head in ("U [V]\n", "Spannung, V\n", "Title\n\nНапряжение, В\n"):
        text = head + "".join(f"{comma(v, '.2f')}\n" for v in volts())
        assert_same(read(written(tmp_path, text), rate_hz=RATE_HZ))


def test_fractional_numbers_are_one_column(tmp_path: Path) -> None:
    text = "".join(f"{comma(v, '.4f')}\n" for v in volts())  # -0,3251 and 325,0269 are not two whole numbers
    assert_same(read(written(tmp_path, text), rate_hz=RATE_HZ))


def test_two_readings_are_refused_with_option(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(f"{v:.0f},{k % 7 + 1}\n" for k, v in enumerate(WHOLE)))
    with pytest.raises(
        RecordingError, match=r"two whole numbers or one with a decimal comma.*--decimal-mark"
    ):
        read(path, rate_hz=RATE_HZ)
    assert_same(read(path, rate_hz=RATE_HZ, decimal_mark=".", channel="1"), WHOLE)
    assert read(path, rate_hz=RATE_HZ, decimal_mark=",").volts(0, 1)[0] == pytest.approx(WHOLE[0] + 0.1)
    path.with_suffix(".json").write_text('{"decimal_mark": ".", "rate_hz": 1600}')
    assert_same(read(path, channel="1"), WHOLE)


MILLIVOLTS = {
    "quoted": table(lambda k, t, v: f'{t * 1e3:.3f},"{grouped(v * 1e3, ",")}"', "t_ms,u_mV\n"),
    "quoted, whole times": table(
        lambda k, t, v: f'{t * 1e6:.0f},"{grouped(v * 1e3 if k else 800, ",")}"', "t_us,u_mV\n"
    ),
    "semicolon": table(lambda k, t, v: f"{t * 1e3:.3f};{grouped(v * 1e3, ',')}", "t_ms;u_mV\n"),
    "German": table(lambda k, t, v: f"{comma(t, '.6f')};{grouped(v * 1e3, '.', 1, ',')}", "t_s;u_mV\n"),
    "German, whole": table(lambda k, t, v: f"{comma(t, '.6f')};{grouped(v * 1e3, '.')}", "t_s;u_mV\n"),
    "American": table(lambda k, t, v: f"{t:.6f}\t{grouped(v * 1e3, ',', 2)}", "t_s\tu_mV\n"),
    "Swiss": table(lambda k, t, v: f"{t:.6f};{grouped(v * 1e3, chr(39), 1)}", "t_s;u_mV\n"),
    "French": table(
        lambda k, t, v: f"{comma(t, '.6f')};{grouped(v * 1e3, chr(0x202F), 1, ',')}", "t_s;u_mV\n"
    ),
    "blank": table(lambda k, t, v: f"{comma(t, '.6f')};{grouped(v * 1e3, ' ', 1, ',')}", "t_s;u_mV\n"),
    "minus sign": table(lambda k, t, v: f"{t:.6f};{v * 1e3:.1f}", "t_s;u_mV\n").replace("-", "−"),
}


@pytest.mark.parametrize("name", MILLIVOLTS)
def test_marks_between_thousands_are_no_decimal_marks(name: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, MILLIVOLTS[name]))
    assert found.volts(1, ROWS) == pytest.approx(volts()[1:], abs=0.011)
    assert found.rate_hz == pytest.approx(RATE_HZ) and found.gaps == ()
    assert found.assumed == {} and found.problems == ()


@pytest.mark.parametrize("mark", ["'", "’", "\u202f", " "])
def test_thousands_beside_a_decimal_comma_are_read(mark: str) -> None:
    notation = notation_of(["t;U", *(f"{k};1{mark}23{k},5" for k in range(5))])
    assert (notation.separator, notation.decimal) == (";", ",")
    assert notation.number(f"1{mark}230,5") == 1230.5


def test_indian_groups_are_numbers() -> None:
    assert Notation(";", ".", ",").number("12,34,567.5") == 1_234_567.5
    assert Notation(";", ".", ",").number("1,234,5") is None


def test_groups_of_three_everywhere_are_refused(tmp_path: Path) -> None:
    text = "t_us;U\n" + "".join(f"{625 * k};{k % 8 + 1},{100 + k}\n" for k in range(ROWS))
    with pytest.raises(RecordingError, match=r"'1,100', which is 1100 with a mark .* or 1\.100 with"):
        read(written(tmp_path, text))
    path = tmp_path / "a.csv"
    assert read(path, decimal_mark=",", unit="V").volts(0, 1)[0] == 1.1
    assert read(path, decimal_mark=".", unit="V").volts(0, 1)[0] == 1100


def test_two_decimal_marks_are_refused(tmp_path: Path) -> None:
    text = table(lambda k, t, v: f"{t:.6f};{comma(v, '.2f')}", "t_s;U\n")
    with pytest.raises(RecordingError, match=r"has two decimal marks, as in '0\.000000' and '96,12'"):
        read(written(tmp_path, text))


def test_a_second_mark_far_below_names_its_line(tmp_path: Path) -> None:
    rows = [f"{comma(k / RATE_HZ, '.6f')};{comma(volts()[k % ROWS], '.2f')}" for k in range(3000)]
    rows[2900] = rows[2900].replace(",", ".")
    with pytest.raises(RecordingError, match="line 2902"):
        read(written(tmp_path, "t_s;U_V\n" + "\n".join(rows)))


NO_ROWS = {
    "separators": ",",
    "many": ",,,",
    "spaces": " , ",
    "END": "END",
    "EOF": "[EOF]",
    "text": "End of data,",
    "remark": "# end",
    "0x1A": "\x1a",
    "unit row": "s,V",
    "header": "Time,U",
    "header, quoted": '"Time","U"',
    "line": "-----",
    "blank": "   ",
}


@pytest.mark.parametrize("at", [200, ROWS])
@pytest.mark.parametrize("name", NO_ROWS)
def test_lines_that_are_no_row_change_nothing(name: str, at: int, tmp_path: Path) -> None:
    rows = [f"{k / RATE_HZ:.6f},{v:.2f}" for k, v in enumerate(volts())]
    rows.insert(at, NO_ROWS[name])
    found = read(written(tmp_path, "Time,U\ns,V\n" + "\n".join(rows) + "\n"))
    assert_same(found)
    assert found.assumed == {} and found.problems == ()


def test_a_control_character_at_the_end_is_skipped(tmp_path: Path) -> None:
    assert_same(
        read(written(tmp_path, table(lambda k, t, v: f"{t:.6f},{v:.2f}", "t_s,u_V\n").rstrip() + "\x1a"))
    )


def test_any_other_line_is_named(tmp_path: Path) -> None:
    rows = [f"{k / RATE_HZ:.6f},{v:.2f}" for k, v in enumerate(volts())]
    rows.insert(100, "Total,")
    with pytest.raises(RecordingError, match=r"line 102: 'Total,' is not a row"):
        read(written(tmp_path, "t_s,u_V\n" + "\n".join(rows)))


def test_empty_cells_without_times_are_a_gap(tmp_path: Path) -> None:
    rows = [f"{v:.2f};1" for v in volts()]
    rows[100] = ";"
    found = read(written(tmp_path, "u_V;n\n" + "\n".join([*rows, ";", ";"])), rate_hz=RATE_HZ)
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(100, 1)] and found.samples == ROWS


UNITS = {
    "comma": "Время, с;Напряжение, кВ",
    "bracket": "Время [с];Напряжение [кВ]",
    "blank": "Время с;Напряжение кВ",
    "words": "Время (секунды);Напряжение (киловольт)",
    "Chinese": "时间 (秒);电压 (千伏)",
    "Chinese, 2": "时间,秒;电压,千伏",
    "square": "时间[s];电压[㎸]",
    "Japanese": "時間 [秒];電圧 [キロボルト]",
    "Greek": "Χρόνος (s);Τάση (kV)",
    "Persian": "زمان (ثانیه);ولتاژ (کیلوولت)",
    "Ukrainian": "Час, с;Напруга, кВ",
    "Polish": "Czas [s];Napięcie [kV]",
    "wide": "時間［ｓ］;電圧（ｋＶ）",
    "one letter": "Time, s;U, kV",
}


@pytest.mark.parametrize("name", UNITS)
def test_units_in_other_letters_are_read(name: str, tmp_path: Path) -> None:
    text = table(lambda k, t, v: f"{comma(t, '.6f')};{comma(v / 1e3, '.6f')}", UNITS[name] + "\n")
    found = read(written(tmp_path, text))
    assert_same(found)
    assert found.assumed == {} and found.channel.quantity == "voltage"


@pytest.mark.parametrize("unit", ["foo", "ед", "°C", "A", "А", "%", "о.е."])
def test_a_non_voltage_unit_is_not_volts(unit: str, tmp_path: Path) -> None:
    text = table(lambda k, t, v: f"{t:.6f};{v:.2f}", f"time_s;Ток, {unit}\n")
    with pytest.raises(RecordingError, match="is a voltage"):
        read(written(tmp_path, text))
    assert_same(read(written(tmp_path, text), channel="1", unit="V"))


@pytest.mark.parametrize(
    "name", ["Voltage, L1", "U, phase A", "U (L1)", "U, rms", "Voltage A", "Ua, V", "U L1 [V]"]
)
def test_a_phase_behind_the_name_is_no_unit(name: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, table(lambda k, t, v: f"{t:.6f};{v:.2f}", f"time_s;{name}\n")))
    assert_same(found)


def test_units_beside_their_names_are_no_columns(tmp_path: Path) -> None:
    assert_same(
        read(
            written(
                tmp_path, table(lambda k, t, v: f"{t * 1e3:.3f},{v / 1e3:.6f}", "Время, мс, Напряжение, кВ\n")
            )
        )
    )


def test_a_unit_of_time_may_say_since_when(tmp_path: Path) -> None:
    text = table(lambda k, t, v: f"{t * 1e3:.3f};{v:.2f}", "Time (ms since start);U, V\n")
    found = read(written(tmp_path, text))
    assert_same(found)
    assert found.assumed == {}


def test_counts_want_their_gain(tmp_path: Path) -> None:
    path = written(tmp_path, table(lambda k, t, v: f"{t:.6f};{v / 0.02:.0f}", "time_s;U [counts]\n"))
    with pytest.raises(RecordingError, match="gain of its counts is not known"):
        read(path)
    assert_same(read(path, volts_per_lsb=0.02))


ABOVE = {
    "scope": "Model,X1\nHorizontal Units,S\nSample Interval,0.000625\nVertical Units,mV\n\nTIME,CH1\n",
    "with channels": "Vertical Units,CH1:mV,,\nHorizontal Units,s,,\nTIME,CH1\n",
    "remarks": "#CHANNEL:CH1\n#UNITS:mV\n#Time units: s\nTime,CH1\n",
}


@pytest.mark.parametrize("name", ABOVE)
def test_units_above_the_table_are_stated(name: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, table(lambda k, t, v: f"{t:.6f},{v * 1e3:.1f}", ABOVE[name])))
    assert_same(found)
    assert found.assumed == {} and found.channel.unit == "mV"


def test_units_above_a_table_apply(tmp_path: Path) -> None:
    head = "Vertical Units,A,kV\nTIME,CH1,CH2\n"
    found = read(written(tmp_path, table(lambda k, t, v: f"{t:.6f},1,{v / 1e3:.6f}", head)))
    assert_same(found)
    assert [(each.name, each.unit) for each in found.channels] == [("CH1", "A"), ("CH2", "kV")]


def test_a_clock_above_the_table_is_its_rate(tmp_path: Path) -> None:
    head = "#CHANNEL:CH1\n#CLOCK=0.000625000S\n#SIZE=400\n#UNITS:V\n\n"
    found = read(written(tmp_path, table(lambda k, t, v: f"{v:.2f}", head)))
    assert_same(found)
    assert found.assumed == {}


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), min_size=12, max_size=40),
    st.sampled_from([(";", ".", ""), (";", ",", ""), ("\t", ".", ","), (";", ",", "."), (";", ".", "'")]),
    st.integers(1, 5),
)
def test_numbers_come_back_from_every_notation(
    values: list[float], notation: tuple[str, str, str], decimals: int
) -> None:
    separator, mark, group = notation
    values = [0.5, *values]  # shows the decimal mark
    texts = [grouped(value, group, decimals, mark) for value in values]
    lines = [f"{k}{separator}{text}" for k, text in enumerate(texts)]
    found = notation_of(lines)
    assert found.separator == separator
    back = [found.number(found.cells(line)[1]) for line in lines]
    assert back == [round(value, decimals) if decimals < 3 else value for value in values] or np.allclose(
        back,
        values,
        atol=0.5 * 10.0**-decimals + 1e-9,  # type: ignore[arg-type]
    )


@given(st.lists(st.text(alphabet="0123456789,.;-+eE \t\"'aU\x1a", max_size=30), min_size=1, max_size=30))
def test_any_lines_have_a_notation_or_a_reason(lines: list[str]) -> None:
    try:
        found = notation_of([line for line in lines if line.strip()] or ["1"])
    except RecordingError as error:
        assert str(error)
        return
    for line in lines:
        for cell in found.cells(line):
            value = found.number(cell)
            assert value is None or isinstance(value, float)
