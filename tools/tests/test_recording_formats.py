"""Recordings in every format, whole and broken."""

import io
import math
import os
import struct
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_under_test import FLAGS, RATE_HZ, Floats, as_i16, assert_refused, mains, run, shell, told

# formats: the same signal in each must give the same figures


def write_csv(path: Path, volts: Floats) -> None:
    rows = "\n".join(f"{k / RATE_HZ:.7f},{v:.6f}" for k, v in enumerate(volts))
    path.write_text(f"time_s,volts\n{rows}\n")


def write_column(path: Path, volts: Floats) -> None:
    path.write_text("\n".join(f"{v:.6f}" for v in volts))


def write_wav(path: Path, volts: Floats) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 12000, 0, "NONE", ""))
        file.writeframes(np.rint(volts / 0.0068).astype("<i2").tobytes())


def write_comtrade(path: Path, volts: Floats) -> None:
    counts = np.rint(volts / 0.0068).astype(int)
    path.write_text(
        "station,box,1999\n2,2A,0D\n"
        "1,current,A,,A,1.0,0.0,0,-32767,32767,1,1,S\n2,UL1,A,,kV,0.0000068,0.0,0,-32767,32767,1,1,S\n"
        f"60\n1\n12000,{len(volts)}\n01/11/2017,00:00:00.000000\n01/11/2017,00:00:00.000000\nASCII\n1\n"
    )
    rows = "\n".join(f"{k + 1},{round(k / RATE_HZ * 1e6)},0,{count}" for k, count in enumerate(counts))
    path.with_suffix(".dat").write_text(rows + "\n")


FORMATS: list[tuple[str, Callable[[Path, Floats], object], list[str]]] = [
    ("a.csv", write_csv, []),
    ("b.csv", write_column, ["--rate-hz", "12000"]),
    ("c.npy", np.save, ["--rate-hz", "12000"]),
    ("d.npy", lambda path, volts: np.save(path, np.rint(volts / 0.0068).astype(np.int16)), FLAGS),
    ("e.npy", lambda path, volts: np.save(path, volts.astype(np.float32)), ["--rate-hz", "12000"]),
    ("f.wav", write_wav, ["--volts-per-lsb", "0.0068"]),
    ("g.cfg", write_comtrade, []),
    ("h.i16", lambda path, volts: path.write_bytes(np.rint(volts / 0.0068).astype("<i2").tobytes()), FLAGS),
]


@pytest.mark.parametrize(("name", "write", "flags"), FORMATS, ids=[name for name, _, _ in FORMATS])
def test_every_format_says_the_same(
    name: str, write: Callable[[Path, Floats], object], flags: list[str], tmp_path: Path
) -> None:
    volts = mains(hz=60.02)
    volts[9000:11000] *= 0.7
    write(tmp_path / name, volts)
    answer = told(tmp_path / name, *flags)
    assert answer["rate_hz"] == pytest.approx(12000.0, rel=1e-6)
    assert answer["samples"] == 24000
    assert answer["frequency_hz"]["mean"] == pytest.approx(60.02, abs=2e-3)
    assert answer["rms_v"]["median"] == pytest.approx(120.0 * math.sqrt(1.0025), rel=1e-4)
    (event,) = answer["events"]
    assert event["residual_percent"] == pytest.approx(70.0 * math.sqrt(1.0025), abs=0.1)


def test_comtrade_channels_go_by_name_or_number(tmp_path: Path) -> None:
    write_comtrade(tmp_path / "g.cfg", mains())
    assert told(tmp_path / "g.dat", "--channel", "UL1") == {
        **told(tmp_path / "g.cfg", "--channel", "2"),
        "file": str(tmp_path / "g.dat"),
    }
    for channel in ("UL9", "3", "1"):  # 1 is a current
        assert_refused(tmp_path / "g.cfg", "--channel", channel)


# UTC of the first sample

START = 1_793_808_580_250_000_000  # 2026-11-04T16:09:40.25Z; 20 s before a tick of ten minutes
TICK_NS = 600 * 10**9


def write_comtrade_of(path: Path, stamp: str, revision: int = 1999, time_code: str = "0") -> None:
    write_comtrade(path, mains(0.5))
    text = path.read_text().replace("01/11/2017,00:00:00.000000", stamp, 1).replace("1999", str(revision))
    path.write_text(text + (f"{time_code},0\n0,0\n" if revision == 2013 else ""))


def test_without_a_start_there_is_no_utc(tmp_path: Path) -> None:
    answer = told(as_i16(tmp_path, mains(30.0)))
    assert answer["start_ns"] is None
    assert {each["utc"] for each in (*answer["aggregates"], *answer["frequency_10_s"])} == {False}
    assert told(as_i16(tmp_path, mains(), start_ns=None))["start_ns"] is None


@pytest.mark.parametrize("given", [["--start", "2026-11-04T16:09:40.25Z"], []])
def test_a_known_start_gives_utc_intervals(given: list[str], tmp_path: Path) -> None:
    path = as_i16(tmp_path, mains(40.0), **({} if given else {"start_ns": START}))
    answer = told(path, *given)
    assert answer["start_ns"] == START
    tens = [each for each in answer["aggregates"] if each["kind"] == "10_min"]
    tick_ns = START // TICK_NS * TICK_NS
    assert [each["start_ns"] for each in tens] == [tick_ns, tick_ns + TICK_NS]
    assert all(each["utc"] for each in (*answer["aggregates"], *answer["frequency_10_s"]))
    assert tens[0]["coverage"] == pytest.approx(19.75 / 600, abs=0.2 / 600)
    assert tens[1]["coverage"] == pytest.approx(20.25 / 600, abs=0.4 / 600)
    assert [each["start_s"] % 10 for each in answer["frequency_10_s"]] == [0.0] * 5
    whole = [each["coverage"] > 0.99 for each in answer["frequency_10_s"]]
    assert whole == [False, True, True, True, False]
    assert "from 2026-11-04 16:09:40.250 UTC" in run(path, *given).output


@pytest.mark.parametrize(
    "start", ["2026-11-04T16:09:40.25", "2026-11-04T18:09:40.250+02:00", "20261104T160940.25Z"]
)
def test_a_start_may_be_any_iso_8601(start: str, tmp_path: Path) -> None:
    path = as_i16(tmp_path, mains(0.5), start_ns=5)
    assert told(path, "--start", start)["start_ns"] == START  # the option before the .json


@pytest.mark.parametrize("start", ["", "now", "16:09", "1969-12-31", "2117-01-01", "0001-01-01T00:00+10:00"])
def test_a_start_that_is_none_is_wrong_use(start: str, tmp_path: Path) -> None:
    assert "--start" in assert_refused(as_i16(tmp_path, mains(0.5)), "--start", start)


@pytest.mark.parametrize("start_ns", [1.5, "2026-11-04", True, -1, 2**63, [1]])
def test_a_start_ns_that_is_none_is_refused(start_ns: object, tmp_path: Path) -> None:
    text = assert_refused(as_i16(tmp_path, mains(0.5), start_ns=start_ns))
    assert "mains.json" in text and "start_ns" in text


@pytest.mark.parametrize(
    ("stamp", "revision", "time_code", "start_ns"),
    [
        ("04/11/2026,16:09:40.250000", 1999, "0", START),
        ("04/11/2026,16:09:40.250000", 2013, "0", START),
        ("04/11/2026,12:09:40.250000", 2013, "-4", START),
        ("04/11/2026,21:39:40.250000", 2013, "+5h30", START),
        ("11/04/26,16:09:40.250000", 1991, "0", START),
        (",", 1999, "0", None),
        ("01/01/1970,00:00:00.000000", 1999, "0", None),
        ("01/01/9999,00:00:00.000000", 1999, "0", None),
    ],
)
def test_comtrade_tells_its_own_start(
    stamp: str, revision: int, time_code: str, start_ns: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "g.cfg"
    write_comtrade_of(path, stamp, revision, time_code)
    assert told(path)["start_ns"] == start_ns
    path.with_suffix(".json").write_text('{"start_ns": 1793808000000000001}')
    assert told(path)["start_ns"] == 1_793_808_000_000_000_001  # the .json before the file


# broken input: one line, no traceback


def npy(shape_or_array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, shape_or_array, allow_pickle=True)
    return buffer.getvalue()


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("an array of objects was unpickled",))


def wav(channels: int, width: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, width, 12000, 0, "NONE", ""))
        file.writeframes(bytes(channels * width * 600))
    return buffer.getvalue()


def table(places: Sequence[float]) -> bytes:
    """A .csv whose times are these multiples of the sampling step."""
    return b"time_s,volts\n" + b"".join(b"%.7f,0\n" % (place / RATE_HZ) for place in places)


BROKEN: list[tuple[str, bytes, list[str], str]] = [
    ("empty.i16", b"", FLAGS, "empty"),
    ("odd.i16", bytes(801), FLAGS, "odd"),
    ("bare.i16", bytes(800), [], "rate"),
    ("no_gain.i16", bytes(800), ["--rate-hz", "12000"], "volts_per_lsb"),
    ("slow.i16", bytes(800), ["--rate-hz", "100", "--volts-per-lsb", "1"], "rate_hz"),
    ("what.doc", b"1\n2\n", FLAGS, "format"),
    ("noname", b"1\n2\n", FLAGS, "format"),
    ("empty.csv", b"", FLAGS, "empty"),
    ("header.csv", b"time_s,volts\n", FLAGS, "not a table of numbers"),
    ("nothing.csv", b"time_s,volts\n0,nan\n0.1,nan\n", FLAGS, "none of its 1 channels"),
    (
        "text.csv",
        table(range(30)).replace(b"0.0016667,0", b"0.0016667,hello"),
        FLAGS,
        "line 22: volts is 'hello'",
    ),
    ("ragged.csv", b"time_s,volts\n0,1\n0.1,2,3\n", FLAGS, "line 3"),
    ("two_commas.csv", b"time_s,volts\n0,000,1,5\n0,001,1,6\n", FLAGS, "4 cells under 2 names"),
    ("names.csv", b"a,b\n0,1\n", FLAGS, "--channel: a, b"),
    ("bare_two.csv", b"0,1\n1,2\n", FLAGS, "--decimal-mark"),
    ("back.csv", b"time_s,volts\n1,1\n0,1\n", [], "rise"),
    ("uneven.csv", table([k + 0.4 * (k % 3 == 1) for k in range(60)]), [], "from row 0 to 1"),
    ("far.csv", b"time_s,volts\n-1e308,1\n1e308,2\n", [], "rise"),
    ("decimal_comma.csv", b"1,5\n1,6\n", FLAGS, "--decimal-mark"),
    ("amps.csv", b"time_s,amps\n0,1\n0.1,2\n", FLAGS, "none of its 1 channels is a voltage: amps (amps)"),
    ("one.csv", b"time_s,volts\n0,1\n", [], "rate"),
    ("binary.csv", bytes(range(256)), FLAGS, "numbers"),
    ("deep.npy", npy(np.zeros((2, 2, 2, 600))), FLAGS, "dimensions"),
    ("two.npy", npy(np.zeros((2, 600))), FLAGS, "--channel"),
    ("scalar.npy", npy(np.float64(3.0)), FLAGS, "dimensions"),
    ("none.npy", npy(np.zeros(0)), FLAGS, "empty"),
    ("nan.npy", npy(np.array([math.nan, math.nan])), FLAGS, "empty"),
    ("objects.npy", npy(np.array([Bomb()], dtype=object)), FLAGS, "readable"),
    ("complex.npy", npy(np.zeros(600, dtype=complex)), FLAGS, "whole numbers (counts) or floats (volts)"),
    ("text.npy", npy(np.array(["a", "b"])), FLAGS, "whole numbers (counts) or floats (volts)"),
    ("unclosed.npy", npy(np.zeros(600)).replace(b"(600,)", b"(600,("), FLAGS, "readable"),
    ("cut.npy", npy(np.zeros(600))[:1000], FLAGS, "readable"),
    ("noise.npy", b"hello", FLAGS, "readable"),
    ("empty.npy", b"", FLAGS, "is empty"),
    ("stereo.wav", wav(2, 2), FLAGS, "channels"),
    ("cut.wav", wav(1, 2)[:700], FLAGS, "cut short"),
    ("odd.wav", wav(1, 2)[:701], FLAGS, "cut short"),
    ("overlong.wav", wav(1, 2).replace(b"\x10\0\0\0\x01\0", b"\0\x80\0\0\x01\0"), FLAGS, "no data part"),
    ("rateless.wav", wav(1, 2).replace(struct.pack("<I", 12000), bytes(4)), FLAGS, "rate is 0 Hz"),
    ("noise.wav", b"RIFFhello", FLAGS, "readable"),
    ("empty.wav", b"", FLAGS, "is empty"),
    ("lonely.cfg", b"x", [], "its .dat file is missing"),
    ("noise.cff", b"hello", [], "want the parts CFG and DAT"),
]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("name", "content", "flags", "word"), BROKEN, ids=[name for name, _, _, _ in BROKEN])
def test_broken_input_is_refused_in_one_line(
    name: str, content: bytes, flags: list[str], word: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    text = assert_refused(path, *flags)
    assert word in text and name in text


@pytest.mark.parametrize("cfg", ["", "hello", "s,b,1999\n1,1A,0D\n1,U,A,,V,x,0,0,0,0,1,1,S\n60\n1\n0,0\n"])
def test_broken_comtrade_is_refused_in_one_line(cfg: str, tmp_path: Path) -> None:
    (tmp_path / "g.cfg").write_text(cfg)
    (tmp_path / "g.dat").write_text("1,2\n")
    assert "g.cfg" in assert_refused(tmp_path / "g.cfg")


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "{",
        "[]",
        "3",
        '{"rate_hz": 0, "volts_per_lsb": 0.0068}',
        '{"rate_hz": -12000, "volts_per_lsb": 0.0068}',
        '{"rate_hz": "12000", "volts_per_lsb": 0.0068}',
        '{"rate_hz": true, "volts_per_lsb": 0.0068}',
        '{"rate_hz": null, "volts_per_lsb": 0.0068}',
        '{"rate_hz": NaN, "volts_per_lsb": 0.0068}',
        '{"rate_hz": 12000, "volts_per_lsb": Infinity}',
        '{"rate_hz": 12000, "volts_per_lsb": [1]}',
        '{"rate_hz": 12000}',
        '{"volts_per_lsb": 0.0068}',
        '{"rate_hz": 12000, "volts_per_lsb": 0.0068, "nominal_hz": 0}',
        '{"rate_hz": 1%s, "volts_per_lsb": 0.0068}' % (400 * "0"),
        '{"rate_hz": 12000, "volts_per_lsb": 1e300}',
        '{"rate_hz": 12000, "volts_per_lsb": 0.0068, "nominal_hz": 0.5}',
        '{"rate_hz": 1e400, "volts_per_lsb": 0.0068}',
    ],
)
def test_broken_metadata_is_refused_in_one_line(facts: str, tmp_path: Path) -> None:
    path = as_i16(tmp_path, mains())
    path.with_suffix(".json").write_text(facts)
    assert "mains" in assert_refused(path)


@pytest.mark.parametrize("rate_hz", ["1.1e7", "1e300"])
def test_a_rate_beyond_memory_is_refused(rate_hz: str, tmp_path: Path) -> None:
    path = as_i16(tmp_path, mains())
    path.with_suffix(".json").write_text(f'{{"rate_hz": {rate_hz}, "volts_per_lsb": 0.0068}}')
    assert "want 64 to 10,000,000 Hz" in assert_refused(path)


@pytest.mark.parametrize("form", ["ASCII", "BINARY"])
def test_a_cut_comtrade_record_is_read_and_reported(form: str, tmp_path: Path) -> None:
    path = tmp_path / "g.cfg"
    write_comtrade(path, mains())
    path.write_text(path.read_text().replace("ASCII", form))
    binary = [struct.pack("<IIhh", k + 1, round(k / 0.012), 0, 7) for k in range(3000)]
    lines = path.with_suffix(".dat").read_bytes().splitlines(keepends=True)[:3000]
    path.with_suffix(".dat").write_bytes(b"".join(binary if form == "BINARY" else lines))
    answer = told(path)
    assert answer["samples"] == 3000
    assert answer["problems"] == ["its .cfg states 24000 rows, but it has 3000; all of these were read"]
    path.with_suffix(".dat").write_bytes(b"")
    assert "no rows of data" in assert_refused(path)


def test_an_overstated_comtrade_record_is_read(tmp_path: Path) -> None:
    """The configuration promises more samples than memory could hold; those in the file are read."""
    cfg = tmp_path / "g.cfg"
    write_comtrade(cfg, mains(0.1))
    cfg.write_text(cfg.read_text().replace("12000,1200", f"12000,{10**15}"))
    assert told(cfg)["samples"] == 1200


def test_a_pipe_is_no_recording_and_no_metadata(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.i16")
    assert "is not a file" in assert_refused(tmp_path / "pipe.i16", *FLAGS)
    path = as_i16(tmp_path, mains())
    path.with_suffix(".json").unlink()
    os.mkfifo(path.with_suffix(".json"))
    assert "is not a file" in assert_refused(path, *FLAGS)


def test_a_byte_order_mark_and_quotes_are_read(tmp_path: Path) -> None:
    path = as_i16(tmp_path, mains())
    path.with_suffix(".json").write_text("\ufeff" + path.with_suffix(".json").read_text())
    assert told(path)["samples"] == 24000
    write_csv(tmp_path / "a.csv", mains())
    text = (tmp_path / "a.csv").read_text().replace("time_s,volts", '"time_s","volts"').replace("\n", "\r\n")
    (tmp_path / "a.csv").write_text("\ufeff" + text, newline="")
    assert told(tmp_path / "a.csv")["rms_v"]["median"] == pytest.approx(120.0 * math.sqrt(1.0025), rel=1e-4)


@pytest.mark.parametrize("digits", [5, 6, 9])
def test_rounded_times_cost_no_accuracy(digits: int, tmp_path: Path) -> None:
    rows = (f"{1000.1 + k / RATE_HZ:.{digits}f},{v:.4f}\n" for k, v in enumerate(mains(hz=60.02)))
    (tmp_path / "a.csv").write_text("time_s,volts\n" + "".join(rows))
    answer = told(tmp_path / "a.csv")
    assert answer["rate_hz"] == pytest.approx(12000.0, rel=2e-7)
    assert answer["frequency_hz"]["mean"] == pytest.approx(60.02, abs=1e-4)


def test_half_floats_are_volts_and_warn_of_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "h.npy", mains().astype(np.float16))
    stated = ["--nominal-volts", "120", "--nominal-hz", "60"]
    done = shell(tmp_path / "h.npy", "--rate-hz", "12000", *stated, "--json")
    assert done.returncode == 0 and done.stderr == ""


def test_a_missing_or_binary_file_is_one_line(tmp_path: Path) -> None:
    assert "no such file" in assert_refused(tmp_path / "nothing.i16", *FLAGS)
    (tmp_path / "folder.i16").mkdir()
    assert "folder.i16 is a folder" in assert_refused(tmp_path / "folder.i16", *FLAGS)
    path = as_i16(tmp_path, mains())
    path.with_suffix(".json").write_bytes(b"\xff\xfe\x00")
    assert_refused(path)


def test_the_shell_sees_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "odd.i16").write_bytes(b"abc")
    done = shell(tmp_path / "odd.i16", *FLAGS, "--json")
    assert done.returncode in (1, 2) and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and "odd.i16" in done.stderr
