"""CSV as instruments and spreadsheets write it: separators, marks, headers, units, times, holes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from recordings_under_test import RATE_HZ, ROWS, START_NS, assert_same, read, volts

from opq_proto.errors import RecordingError
from opq_recordings.csv_file import read_csv

SECONDS = [k / RATE_HZ for k in range(ROWS)]
VOLTS = volts().tolist()


def table(row: Callable[[int, float, float], str], head: str = "") -> str:
    """Lines above, and a row for each sample: its number, its time in seconds, its volts."""
    rows = (row(k, t, v) for k, (t, v) in enumerate(zip(SECONDS, VOLTS, strict=True)))
    return head + "".join(f"{each}\n" for each in rows)


def comma(value: float, form: str) -> str:
    return format(value, form).replace(".", ",")


KNOWN: dict[str, str | bytes] = {
    "own": table(lambda k, t, v: f"{t:.6f},{v:.2f}", "time_s,volts\n"),
    "tab": table(lambda k, t, v: f"{t:.6f}\t{v:.2f}", "time_s\tvolts\n"),
    "semicolon": table(lambda k, t, v: f"{comma(t, '.6f')};{comma(v, '.2f')}", "time_s;volts\n"),
    "german": table(
        lambda k, t, v: f'"{comma(t, ".6f")}";"{comma(v, ".2f")}"', '"Zeit (s)";"Spannung (V)"\n'
    ),
    "quoted commas": table(lambda k, t, v: f'"{comma(t, ".6f")}","{comma(v, ".2f")}"', '"time_s","volts"\n'),
    "ms": table(lambda k, t, v: f"{t * 1e3:.4f},{v:.2f}", "Time [ms],Voltage [V]\n"),
    "us and kV": table(lambda k, t, v: f"{t * 1e6:.0f};{v / 1e3:.5f}", "t_us;U_kV\n"),
    "pico": table(lambda k, t, v: f"{t * 1e3:.6f},{v:.4f}", "Time,Channel A\n(ms),(V)\n\n"),
    "scope": table(lambda k, t, v: f"{t:.6e},{v:.6e},", "X,CH1,\nSecond,Volt,\n"),
    "increment": table(
        lambda k, t, v: f"{k},{v:.5e},,", "X,CH1,Start,Increment,\nSequence,Volt,-0.1,6.25e-04\n"
    ),
    "beside": table(
        lambda k, t, v: (
            f"{('Record Length,400', 'Sample Interval,6e-4')[k] if k < 2 else ','},,{t:.9f},{v:.4f},"
        )
    ),
    "below": table(lambda k, t, v: f"{t - 0.1:+.8E},{v:+.5E}", "x-axis,1\nsecond,Volt\n"),
    "above": table(
        lambda k, t, v: f"{t:.8f},{v:.5f}",
        "MAKER,Waveform\nSegments,1,SegmentSize,400\n#1,17-Mar-2024 10:00:00,0\nTime,Ampl\n",
    ),
    "rate above": table(lambda k, t, v: f"{v:.5f}", "; Samplerate: 1.6 kHz\n; Channels (1/1): CH1\nCH1\n"),
    "interval alone above": table(lambda k, t, v: f"{v:.5f}", "Interval: 0.625 ms\nVolt\n"),
    "interval above": table(lambda k, t, v: f"{v:.5f}", "Sample Interval,0.000625\nVolt\n"),
    "interval below settings": table(
        lambda k, t, v: f"{k},{v * 1e3:.2f}",
        "Channel\t\t\t  :,CH1\nPK-PK\t\t\t\t  :,Vpp=650.5V\nTime interval\t\t  :,625.00uS\n"
        "\nindex,CH1_Voltage(mV)\n",
    ),
    "blanks": table(lambda k, t, v: f"   {t:.7e}   {v:.7e}", "% exported\n% time volts\n"),
    "no header": table(lambda k, t, v: f"{t:.6f},{v:.2f}"),
    "index": table(lambda k, t, v: f"{k},{t:.6f},{v:.2f}", ",time_s,volts\n"),
    "turned": table(lambda k, t, v: f"{v:.2f},{t:.6f}", "volts,time_s\n"),
    "signs": table(lambda k, t, v: f"+{t:.6f};{v:+.2f}", "Time;Value\n"),
    "rounded": table(lambda k, t, v: f"{t * 1e3:.1f},{v:.2f}", "Time (ms),V\n"),
    "coarse": table(lambda k, t, v: f"{t * 1e3:.0f},{v:.2f}", "Time (ms),V\n"),
    "utf-16": table(lambda k, t, v: f"{t:.6f};{v:.2f}", "Zeit [s];Spannung [V]\n").encode("utf-16"),
    "utf-16 bare": table(lambda k, t, v: f"{t:.6f};{v:.2f}", "Zeit [s];U [V]\n").encode("utf-16-le"),
    "latin-1": table(lambda k, t, v: f"{t * 1e6:.0f};{v:.2f}", "Prüfung\nZeit [µs];Spannung [V]\n").encode(
        "latin-1"
    ),
    "phases": table(lambda k, t, v: f"{t:.6f},1.0,{v:.2f},{-v:.2f}", "time_s,Ia,Ua,Ub\n"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_forms_of_instruments_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    text = KNOWN[name]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = read(path)
    assert_same(found)
    assert found.start_ns is None


DATED = {
    "iso": table(lambda k, t, v: f"2024-03-17T10:00:{t:09.6f}Z,{v:.2f}", "timestamp,voltage\n"),
    "zone": table(lambda k, t, v: f"2024-03-17 12:00:{t:09.6f}+02:00,{v:.2f}", "timestamp,voltage\n"),
    "two columns": table(lambda k, t, v: f"2024-03-17,10:00:{t:09.6f},{v:.2f}", "Date,Time,V\n"),
    "american": table(lambda k, t, v: f"03/17/2024 10:00:{t:09.6f},{v:.2f}", "Timestamp,V\n"),
    "dots": table(lambda k, t, v: f"17.03.2024 10:00:{t:09.6f};{v:.2f}", "Zeit;V\n"),
    "s": table(lambda k, t, v: f"{START_NS // 10**9 + t:.6f},{v:.2f}", "time,voltage\n"),
    "ms": table(lambda k, t, v: f"{START_NS // 10**6 + t * 1e3:.3f},{v:.2f}", "time,voltage\n"),
    "us": table(lambda k, t, v: f"{START_NS // 10**3 + round(t * 1e6)},{v:.2f}", "timestamp_us,voltage\n"),
    "ns": table(lambda k, t, v: f"{START_NS + round(t * 1e9)},{v:.2f}", "time_ns,volts\n"),
}


@pytest.mark.parametrize("name", DATED)
def test_dates_and_unix_times_give_the_start_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(DATED[name])
    found = read(path)
    assert_same(found)
    assert found.start_ns == START_NS


@pytest.mark.parametrize("stamp", ["10:00:{:09.6f}", "03/04/2024 10:00:{:09.6f}"])
def test_a_clock_without_date_is_no_start(stamp: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(lambda k, t, v: f"{stamp.format(t)};{v:.2f}", "Time;U\n"))
    found = read(path)
    assert_same(found)
    assert found.start_ns is None


def test_what_is_not_stated_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(lambda k, t, v: f"{t:.6f},{v:.2f}", "Time,Value\n"))
    assert read(path).assumed == {"time_unit": "s", "unit": "V"}
    path.write_text(KNOWN["phases"] if isinstance(KNOWN["phases"], str) else "")
    assert read(path).assumed == {"channel": "Ua", "unit": "V"}
    path.write_text(KNOWN["ms"] if isinstance(KNOWN["ms"], str) else "")
    assert read(path).assumed == {}


@pytest.mark.parametrize("left_out", [range(160, 170), range(333, 334), range(1, 2), range(398, 399)])
def test_missing_rows_are_a_gap_at_their_place(left_out: range, tmp_path: Path) -> None:
    lines = table(lambda k, t, v: f"{t:.6f},{v:.2f}").splitlines()
    kept = [line for k, line in enumerate(lines) if k not in left_out]
    path = tmp_path / "a.csv"
    path.write_text("time_s,volts\n" + "\n".join(kept))
    found = read(path)
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(left_out.start, len(left_out))]
    assert found.samples == ROWS and found.rate_hz == pytest.approx(RATE_HZ, rel=1e-6)


@pytest.mark.parametrize("mark", ["", "NaN", "nan", "n/a", "-"])
def test_cells_without_a_number_are_gaps(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(lambda k, t, v: f"{t:.6f},{mark if k == 100 else v}", "time_s,volts\n"))
    assert [(gap.first_sample, gap.reason) for gap in read(path).gaps] == [(100, "no value")]


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_quoted_empty_cell_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    shown = [f"{value:.2f}" for value in volts()]
    path.write_text("\n".join(["U [V]", *shown[:50], '""', *shown[50:], "", ""]))
    found = read(path, rate_hz=RATE_HZ)
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(50, 1)]
    assert found.samples == len(shown) + 1


def test_several_columns_want_a_channel(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(lambda k, t, v: f"{t:.6f},{v:.2f},{2 * v:.2f}", "time_s,CH1,CH2\n"))
    with pytest.raises(RecordingError, match=r"give --channel: CH1, CH2"):
        read(path)
    assert np.allclose(read(path, channel="CH2").volts(0, ROWS), 2 * volts(), atol=0.01)
    assert np.allclose(read(path, channel="1", unit="kV").volts(0, ROWS), 1000 * volts(), atol=6)


@pytest.mark.parametrize("name", ["frequency", "grid_freq", "Hz", "active power", "temperature", "THD"])
def test_another_quantitys_column_is_never_voltage(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(lambda k, t, v: f"{t:.6f},{v:.2f}", f"time_s,{name}\n"))
    with pytest.raises(RecordingError, match="none of its 1 channels is a voltage"):
        read(path)
    assert_same(read(path, unit="V", channel=name))


def test_rows_too_sparse_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(lambda k, t, v: f"{t * 1e6:.0f},{v:.2f}"))  # microseconds, which it does not say
    with pytest.raises(
        RecordingError, match=r"its rate is 0\.0016 Hz, want 64 to .*; if the unit of its times"
    ):
        read(path)


def test_an_ambiguous_decimal_comma_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(lambda k, t, v: f"{comma(t, '.6f')},{comma(v, '.2f')}", "time_s,volts\n"))
    with pytest.raises(RecordingError, match="4 cells under 2 names; is its decimal mark also its separator"):
        read(path)


def test_a_wrong_row_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(lambda k, t, v: f"{t:.6f},{'what' if k == 200 else v}", "time_s,volts\n"))
    with pytest.raises(RecordingError, match=r"line 202: volts is 'what', want a number"):
        read(path)
    path.write_text(table(lambda k, t, v: f"{t:.6f},{v:.2f}{',5' if k == 200 else ''}", "time_s,volts\n"))
    with pytest.raises(RecordingError, match=r"line 202: has 3 cells under 2 columns"):
        read(path)


def test_columns_named_with_underscores_are_read(tmp_path: Path) -> None:
    names = "timestamp,phase_A_voltage,phase_B_voltage,phase_C_voltage,line_current,frequency\n"
    rows = table(lambda k, t, v: f"{t:.6f},{v:.3f},{v / 2:.3f},{v / 3:.3f},{v / 99:.4f},50")
    (tmp_path / "log.csv").write_text(names + rows)
    recording = read(tmp_path / "log.csv")
    assert [each.quantity for each in recording.channels] == ["voltage"] * 3 + ["current", "other"]
    assert recording.channel.name == "phase_A_voltage"


@pytest.mark.parametrize("row", ['"{},{}"', "{}:{}", "{}/{}"])
def test_columns_in_one_cell_are_named(row: str, tmp_path: Path) -> None:
    rows = table(lambda k, t, v: row.format(f"{t:.6f}", f"{v:.3f}"), row.format("time", "U") + "\n")
    (tmp_path / "joined.csv").write_text(rows)
    with pytest.raises(RecordingError, match="its 2 columns time, U in one cell"):
        read(tmp_path / "joined.csv")


def test_a_repeated_row_is_counted(tmp_path: Path) -> None:
    """A row that is written twice is left out and reported; with a rate of the user too."""
    rows = [f"{at / 1600:.6f},{value:.4f}" for at, value in enumerate(volts())]
    path = tmp_path / "twice.csv"
    path.write_text("\n".join(["time_s,volts", *rows[:101], rows[100], rows[100], *rows[101:]]))
    for rate_hz in (None, 1600.0):
        found = read_csv(path, rate_hz)
        assert (len(found.channels[0].values), found.channels[0].samples) == (len(rows), len(rows))
        assert found.problems == (
            "row 102 repeats time and values of the row before, and so do 1 more; they were left out",
        )


def test_one_time_with_two_values_is_refused(tmp_path: Path) -> None:
    rows = [f"{at / 1600:.6f},{value:.4f}" for at, value in enumerate(volts())]
    path = tmp_path / "twice.csv"
    path.write_text("\n".join(["time_s,volts", *rows[:101], "0.062500,7.0", *rows[101:]]))
    with pytest.raises(RecordingError, match=r"rows 101 and 102 have the same time \(0.0625 s\) and other "):
        read_csv(path, None)
    (problem,) = read_csv(path, 1600.0).problems
    assert problem.startswith("its times are not even") and problem.endswith("; rows were counted")
