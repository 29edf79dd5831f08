"""COMTRADE as recorders write it: what is clear is read, contradictions are said, nothing is guessed."""

from pathlib import Path

import numpy as np
import pytest
from recordings_under_test import (
    GAIN,
    ROWS,
    START_NS,
    assert_same,
    cfg_text,
    comtrade,
    counts,
    dat_bytes,
    read,
    volts,
)

from opq_proto.errors import RecordingError


@pytest.mark.parametrize("form", ["ASCII", "BINARY", "BINARY32", "FLOAT32"])
@pytest.mark.parametrize("revision", ["", ",1999", ",2013"])
def test_every_revision_reads_as_by_an_independent_reader(form: str, revision: str, tmp_path: Path) -> None:
    more = ["0,0", "0,0"] if revision == ",2013" else []
    start = "03/17/24,10:00:00.000000" if not revision else "17/03/2024,10:00:00.000000"
    text = cfg_text(more, station=f"Station,REC1{revision}", form=form, start=start, trigger=start)
    path = comtrade(tmp_path, text, dat_bytes(form))
    found = read(path)
    assert_same(found)
    assert found.start_ns == START_NS and found.nominal_hz == 50.0
    assert found.assumed == ({} if more else {"time_zone": "UTC"}) and found.problems == ()
    import comtrade as independent  # loads pandas: not while tests are found

    other = independent.Comtrade(ignore_warnings=True, use_double_precision=True)
    other.load(str(path), str(path.with_suffix(".dat")))
    assert np.allclose(found.volts(0, ROWS), np.asarray(other.analog[0]), atol=1e-9)


@pytest.mark.parametrize("form", ["ASCII", "BINARY", "FLOAT32"])
def test_a_cff_is_the_same_in_one_file(form: str, tmp_path: Path) -> None:
    data = dat_bytes(form)
    kind = "ASCII" if form == "ASCII" else f"{form}: {len(data)}"
    parts = (
        f"--- file type: CFG ---\r\n{cfg_text(form=form)}--- file type: INF ---\r\n\r\n"
        f"--- file type: HDR ---\r\nno matter\r\n--- file type: DAT {kind} ---\r\n"
    )
    (tmp_path / "a.cff").write_bytes(parts.encode() + data)
    assert_same(read(tmp_path / "a.cff"))
    (tmp_path / "b.cff").write_bytes(parts.encode() + data[: len(data) // 2])
    found = read(tmp_path / "b.cff")
    assert 190 < found.samples < 210 and any("400 rows" in each for each in found.problems)


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("latin-1", "Tensão da fase A, réseau, Größe"),
        ("latin-1", "ÜBERSPANNUNG °C"),
        ("gb18030", "220kV母线Ⅰ_Ua"),
        ("gb18030", "822B极Ⅱ低端换流变交流系统A相电压Uac"),
        ("cp1251", "1СШ-110_ТН_110кВ напряжение"),
        ("cp866", "Сириус-2-Л Iв"),
        ("utf-8-sig", "Напруга 电压"),
    ],
)
def test_names_choose_their_code_page(page: str, name: str, tmp_path: Path) -> None:
    named = name.replace(",", " ")
    text = cfg_text(channels=f"1,{named},A,,V,0.02,0,0,-32767,32767,1,1,S").encode(page)
    found = read(comtrade(tmp_path, text, dat_bytes()))
    assert_same(found)
    assert found.channel.name == named
    assert found.assumed.get("encoding") == (None if page == "utf-8-sig" else page)


def test_russian_and_two_sided_units_are_read(tmp_path: Path) -> None:
    for unit, gain in (("В", GAIN), ("кВ", 1000 * GAIN), ("мВ", GAIN / 1000)):
        text = cfg_text(channels=f"1,Ua,A,,{unit},0.02,0,0,-9,9,1,1,S").encode("cp1251")
        assert np.allclose(read(comtrade(tmp_path, text, dat_bytes())).volts(0, ROWS), gain * counts()), unit
    both = cfg_text(channels="1,Ua,A,,В/кВ,0.02,0,0,-9,9,220,100,S")  # 220 kV to 100 V
    path = comtrade(tmp_path, both.encode("cp1251"), dat_bytes())
    assert read(path).channel.ratio == (2200.0, "S") and read(path).channel.unit == "В"
    assert_same(read(path))
    assert np.allclose(read(path, side="primary").volts(0, ROWS), 2200 * GAIN * counts())
    path = comtrade(tmp_path, both.replace(",S\r", ",P\r").encode("cp1251"), dat_bytes())
    assert np.allclose(read(path).volts(0, ROWS), 1000 * GAIN * counts())


def test_a_channel_of_factor_0_is_reported(tmp_path: Path) -> None:
    channels = "1,Idle,A,,V,0.0000,0,0,-9,9,1,1,S\r\n2,Ua,A,,V,0.02,0,0,-9,9,1,1,S"
    rows = dat_bytes("ASCII").decode().splitlines()
    data = "\r\n".join(f"{n},{t},0,{v}" for n, t, v in (row.split(",") for row in rows)).encode()
    found = read(comtrade(tmp_path, cfg_text(counts="2,2A,0D", channels=channels, form="ASCII"), data))
    assert_same(found)
    assert [each.name for each in found.channels] == ["Ua"]
    assert "its channels of factor 0 are constant and were left out: Idle" in found.problems


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_is_accepted(encoding: str, tmp_path: Path) -> None:
    text = cfg_text(form="ASCII").encode(encoding)
    assert_same(read(comtrade(tmp_path, text, dat_bytes("ASCII").decode().encode(encoding))))


@pytest.mark.parametrize("end", ["\n", "\r", "\r\r\n", "\r\n\r\n"])
def test_empty_lines_and_line_ends_do_not_matter(end: str, tmp_path: Path) -> None:
    text = cfg_text(form="ASCII", end=end)
    assert_same(read(comtrade(tmp_path, text, dat_bytes("ASCII", end=end) + b"  \r\n\r\n\x1a")))


def test_the_parts_are_found_in_any_case(tmp_path: Path) -> None:
    comtrade(tmp_path, cfg_text(), dat_bytes()).rename(tmp_path / "Relay.Cfg")
    (tmp_path / "relay.dat").rename(tmp_path / "Relay.DAT")
    assert_same(read(tmp_path / "Relay.Cfg"))
    assert_same(read(tmp_path / "Relay.DAT"))


def test_rows_that_were_never_recorded_are_a_gap(tmp_path: Path) -> None:
    keep = [k for k in range(ROWS) if not 200 <= k < 313]
    numbers, stamps = [k + 1 for k in keep], [round(k * 625) for k in keep]
    values = counts()[keep].tolist()
    for form in ("ASCII", "BINARY"):
        data = dat_bytes(form, values, numbers, stamps)
        text = cfg_text(form=form, rates=f"1\r\n1600,{len(keep)}")
        found = read(comtrade(tmp_path, text, data))
        assert [(gap.first_sample, gap.samples, gap.reason) for gap in found.gaps] == [(200, 113, "absent")]
        assert found.samples == ROWS and found.problems == ()
        wave = found.volts(0, ROWS)
        assert np.isnan(wave[200:313]).all()
        assert np.abs(wave[313:] - volts()[313:]).max() < GAIN


def test_jumping_times_are_a_reported_gap(tmp_path: Path) -> None:
    stamps = [k * 625 + (70_625 if k >= 200 else 0) for k in range(ROWS)]
    found = read(comtrade(tmp_path, cfg_text(), dat_bytes(stamps=stamps)))
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(200, 113)]
    assert "from row 200 to 201" in found.problems[0]


@pytest.mark.parametrize(
    ("numbers", "stamps"),
    [
        ([1] * ROWS, None),
        (None, [0] * ROWS),
        ([k % 100 + 1 for k in range(ROWS)], None),
        ([0] * ROWS, [0] * ROWS),
    ],
)
def test_senseless_numbers_or_times_do_not_matter(
    numbers: list[int] | None, stamps: list[int] | None, tmp_path: Path
) -> None:
    assert_same(read(comtrade(tmp_path, cfg_text(), dat_bytes(numbers=numbers, stamps=stamps))))


def test_a_rate_that_the_times_contradict_is_said(tmp_path: Path) -> None:
    stamps = [round(k * 1e6 / 1200) for k in range(ROWS)]
    found = read(comtrade(tmp_path, cfg_text(), dat_bytes(stamps=stamps)))
    assert found.rate_hz == 1600 and "1600 Hz, but its time stamps have" in found.problems[0]


@pytest.mark.parametrize(
    ("form", "mark"),
    [
        ("BINARY", -(2**15)),
        ("BINARY32", -(2**31)),
        ("FLOAT32", float("nan")),
        ("FLOAT32", float(np.finfo(np.float32).min)),
        ("ASCII", 99999),
        ("ASCII", None),
        ("ASCII", "NaN"),
    ],
)
def test_a_sample_marked_missing_is_a_gap(form: str, mark: float | None, tmp_path: Path) -> None:
    values = counts().tolist()
    values[300] = values[301] = values[20] = mark
    found = read(comtrade(tmp_path, cfg_text(form=form), dat_bytes(form, values)))
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(20, 1), (300, 2)]
    assert {gap.reason for gap in found.gaps} == {"no value"} and found.samples == ROWS


def test_optional_fields_may_be_empty(tmp_path: Path) -> None:
    text = cfg_text(channels="1,Ua,,,V,0.02,,,,,,,", factor="")
    assert_same(read(comtrade(tmp_path, text, dat_bytes())))
    assert_same(read(comtrade(tmp_path, cfg_text(channels="1,Ua,A,,V,0.02,0", factor=None), dat_bytes())))
    found = read(comtrade(tmp_path, cfg_text(hz=""), dat_bytes()))
    assert_same(found)
    assert found.nominal_hz is None


@pytest.mark.parametrize("form", ["BINARY", "ASCII", "FLOAT32"])
@pytest.mark.parametrize("rate", [16_000, 4800, 1920, 800, 1650])
def test_the_rate_with_mains_is_taken(rate: int, form: str, tmp_path: Path) -> None:
    found = read(comtrade(tmp_path, cfg_text(form=form, rates=f"1\r\n{rate},400"), dat_bytes(form)))
    assert found.rate_hz == pytest.approx(1600, rel=1e-6) and found.gaps == ()
    said = (
        f"by the .cfg {rate} Hz and the time stamps; 1600 Hz was taken, under which its mains is 50 or 60 Hz"
    )
    assert len(found.problems) == 1 and said in found.problems[0]


def test_a_gap_is_found_by_the_stamps_rate(tmp_path: Path) -> None:
    keep = np.delete(np.arange(400), slice(100, 110))
    data = dat_bytes(values=counts()[keep].tolist(), stamps=(keep * 625).tolist())
    found = read(comtrade(tmp_path, cfg_text(rates="1\r\n3200,390"), data))
    assert [(each.first_sample, each.samples) for each in found.gaps] == [(100, 10)]


def test_without_mains_the_cfgs_rate_counts(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(-9000, 9000, 400).tolist()
    found = read(comtrade(tmp_path, cfg_text(rates="1\r\n4800,400"), dat_bytes(values=noise)))
    assert found.rate_hz == 4800 and "4800 Hz, but its time stamps have 1600 Hz" in found.problems[0]


@pytest.mark.parametrize("rates", ["0\r\n0,400", "1\r\n0,400", "0"])
def test_without_a_rate_the_times_are_the_clock(rates: str, tmp_path: Path) -> None:
    assert_same(read(comtrade(tmp_path, cfg_text(rates=rates), dat_bytes())))


def test_uneven_times_are_refused_with_place(tmp_path: Path) -> None:
    stamps = [k * 625 if k < 200 else 125_000 + (k - 200) * 1250 for k in range(ROWS)]
    path = comtrade(tmp_path, cfg_text(rates="0\r\n0,400"), dat_bytes(stamps=stamps))
    with pytest.raises(RecordingError, match=r"not even.* from row \d+ to \d+"):
        read(path)


def test_several_segments_of_one_rate_are_one(tmp_path: Path) -> None:
    assert_same(read(comtrade(tmp_path, cfg_text(rates="2\r\n1600,200\r\n1600,400"), dat_bytes())))


def test_a_rate_following_the_mains_is_resampled(tmp_path: Path) -> None:
    """A recorder of 32 samples a cycle: 50.2 Hz is 1606.4 Hz, 49.9 Hz is 1596.8 Hz."""
    cycle = np.rint(np.sin(2 * np.pi * np.arange(ROWS) / 32) * 16_000).astype(int).tolist()
    rates = "2\r\n1606.4,200\r\n1596.8,400"
    stamps = [*(k / 1606.4 for k in range(200)), *(200 / 1606.4 + k / 1596.8 for k in range(200))]
    data = dat_bytes(values=cycle, stamps=[round(each * 1e6) for each in stamps])
    found = read(comtrade(tmp_path, cfg_text(rates=rates), data))
    assert found.gaps == () and "its rate follows the mains, 1596.8 to 1606.4 Hz" in found.problems[0]
    wave = found.volts(0, found.samples)
    for first, hz in ((0, 50.2), (200, 49.9)):
        t_s = np.arange(first, first + 192) / found.rate_hz
        mains = np.stack([np.sin(2 * np.pi * hz * t_s), np.cos(2 * np.pi * hz * t_s)], axis=1)
        left = (
            wave[first : first + 192]
            - mains @ np.linalg.lstsq(mains, wave[first : first + 192], rcond=None)[0]
        )
        assert np.abs(left).max() < 0.003 * 320


def test_a_gap_between_segments_is_no_contradiction(tmp_path: Path) -> None:
    stamps = [k * 625 + (70_625 if k >= 200 else 0) for k in range(ROWS)]
    text = cfg_text(rates="2\r\n1600,200\r\n1600,400")
    found = read(comtrade(tmp_path, text, dat_bytes(stamps=stamps)))
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(200, 113)] and found.problems == ()


def test_a_half_rate_segment_is_reported(tmp_path: Path) -> None:
    found = read(comtrade(tmp_path, cfg_text(rates="2\r\n800,100\r\n1600,400"), dat_bytes()))
    assert found.rate_hz == 1600 and found.samples == 300
    assert found.start_ns == START_NS + 125_000_000
    assert "rows 1 to 100 (800 Hz)" in found.problems[0]


@pytest.mark.parametrize("stated", [300, 500])
def test_unstated_rows_are_read_and_reported(stated: int, tmp_path: Path) -> None:
    found = read(comtrade(tmp_path, cfg_text(rates=f"1\r\n1600,{stated}"), dat_bytes()))
    assert_same(found)
    assert found.problems == (f"its .cfg states {stated} rows, but it has 400; all of these were read",)


def test_unstated_status_words_are_found(tmp_path: Path) -> None:
    """By the sample numbers, where the `.cfg` does not state them."""
    found = read(comtrade(tmp_path, cfg_text(), dat_bytes(status=2)))
    assert_same(found)
    assert "rows of 10 bytes, but they have 14" in found.problems[0]


def test_another_data_form_is_read_and_reported(tmp_path: Path) -> None:
    for stated, form in (("BINARY", "ASCII"), ("ASCII", "BINARY")):
        found = read(comtrade(tmp_path, cfg_text(form=stated), dat_bytes(form)))
        assert_same(found)
        assert f"states {stated} data" in found.problems[0]


@pytest.mark.parametrize(
    ("stamp", "t_ns"),
    [
        ("17/03/2024,10:00:00", START_NS),
        ("17/03/2024,10:00:00.", START_NS),
        ("17/3/24,10:0:0.0", START_NS),
        ("2024/03/17,10:00:00.000", START_NS),
        ("03/17/2024,10:00:00.000", START_NS),
        ("17-03-2024,10:00:00.000", START_NS),
        ("17/03/2024 10:00:00.000", START_NS),
        ("17/03/2024,10:00:00.123456789", START_NS + 123_456_789),
        ("17/03/2024,10:00:00,5", START_NS + 500_000_000),
        ("16/03/2024,24:00:00.000", START_NS - 10 * 3600 * 10**9),
        ("31/12/2016,23:59:60.500", 1_483_228_800_500_000_000),
        ("01/01/1970,00:00:00", None),
        (",", None),
    ],
)
def test_times_of_every_form_are_read(stamp: str, t_ns: int | None, tmp_path: Path) -> None:
    found = read(comtrade(tmp_path, cfg_text(start=stamp), dat_bytes()))
    assert found.start_ns == t_ns and found.problems == ()


@pytest.mark.parametrize(
    "stamp", ["99/99/2024,10:00:00", "hello/a/b,x", "31/02/2024,10:00:00", "17/03/2024,25:00:00"]
)
def test_an_unreadable_time_is_unknown(stamp: str, tmp_path: Path) -> None:
    found = read(comtrade(tmp_path, cfg_text(start=stamp), dat_bytes()))
    assert_same(found)
    assert found.start_ns is None and "start is not known" in found.problems[0]


@pytest.mark.parametrize(
    ("code", "hours"),
    [
        ("0", 0),
        ("-4", -4),
        ("+5h30", 5.5),
        ("5h30", 5.5),
        ("+5:30", 5.5),
        ("-10h30", -10.5),
        ("5.5", None),
        ("x", None),
        ("CET", None),
        ("+99", None),
    ],
)
def test_an_unknown_time_code_is_not_utc(code: str, hours: float | None, tmp_path: Path) -> None:
    text = cfg_text([f"{code},{code}", "0,0"], station="Station,REC1,2013")
    found = read(comtrade(tmp_path, text, dat_bytes()))
    assert found.start_ns == (None if hours is None else START_NS - round(hours * 3600 * 1e9))
    assert bool(found.problems) == (hours is None)


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("V", 1.0),
        ("Volt", 1.0),
        ("VOLTS", 1.0),
        ("Vrms", 1.0),
        ("mV", 1e-3),
        ("uV", 1e-6),
        ("µV", 1e-6),
        ("kV", 1e3),
        ("KV", 1e3),
        ("kv", 1e3),
        ("MV", 1e6),
        ("V ", 1.0),
        ("[V]", 1.0),
    ],
)
def test_units_are_read_as_recorders_write_them(unit: str, scale: float, tmp_path: Path) -> None:
    text = cfg_text(channels=f"1,Ua,A,,{unit},{GAIN / scale!r},0,0,-32767,32767,1,1,S")
    assert_same(read(comtrade(tmp_path, text, dat_bytes())))


@pytest.mark.parametrize("unit", ["", "p.u.", "A", "foo"])
def test_a_non_voltage_unit_needs_the_user(unit: str, tmp_path: Path) -> None:
    path = comtrade(tmp_path, cfg_text(channels=f"1,Ua,A,,{unit},0.02,0,0,-9,9,1,1,S"), dat_bytes())
    with pytest.raises(RecordingError, match=r"--channel|--unit"):
        read(path)
    assert_same(read(path, channel="1", unit="V"))
    assert np.allclose(read(path, channel="Ua", unit="kV").volts(0, ROWS), 1000 * GAIN * counts())


def test_all_channels_are_listed(tmp_path: Path) -> None:
    lines = ["1,Ia,A,,A,1,0,0,-9,9,1,1,S", *(f"{k},U{k},A,,V,0.02,{k},0,-9,9,1,1,S" for k in (2, 3))]
    text = cfg_text(counts="3,3A,0D", channels="\r\n".join(lines), form="ASCII")
    rows = "".join(f"{k + 1},{k * 625},7,{v},{-v}\r\n" for k, v in enumerate(counts().tolist()))
    path = comtrade(tmp_path, text, rows.encode())
    found = read(path)
    assert [each.name for each in found.channels] == ["Ia", "U2", "U3"]
    assert found.channel.name == "U2" and found.assumed["channel"] == "U2"
    assert np.allclose(found.volts(0, ROWS), counts() * GAIN + 2)
    assert np.allclose(read(path, channel="3").volts(0, ROWS), -counts() * GAIN + 3)
    with pytest.raises(RecordingError, match=r"no channel 'U9'; it has Ia \(A\), U2 \(V\), U3 \(V\)"):
        read(path, channel="U9")


def test_a_voltage_converts_across_its_transformer(tmp_path: Path) -> None:
    text = cfg_text(channels="1,Ua,A,,V,0.02,0,0,-9,9,110000,100,S")
    path = comtrade(tmp_path, text, dat_bytes())
    assert read(path).channel.ratio == (1100.0, "S")
    assert_same(read(path))
    assert_same(read(path, side="secondary"))
    assert np.allclose(read(path, side="primary").volts(0, ROWS), 1100 * GAIN * counts())
    path = comtrade(tmp_path, text.replace(",S\r", ",P\r"), dat_bytes())
    assert np.allclose(read(path, side="secondary").volts(0, ROWS), GAIN * counts() / 1100)
    path = comtrade(tmp_path, cfg_text(channels="1,Ua,A,,V,0.02,0"), dat_bytes())
    with pytest.raises(RecordingError, match="states no ratio of a transformer"):
        read(path, side="primary")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"counts": "hello"}, "line 2: 'hello' does not state the number of analogue channels"),
        ({"counts": "9999999,9999999A,0D"}, "line 2: 9999999 analogue"),
        ({"channels": "1,Ua"}, "line 3: '1,Ua' is not an analogue channel"),
        ({"channels": "1,Ua,A,,V,x,0,0,-9,9,1,1,S"}, "line 3: a of channel 'Ua' is 'x', want a number"),
        (
            {"channels": "1,Ua,A,,V,0,0,0,-9,9,1,1,S"},
            "line 3: a of channel 'Ua' is 0, want a number other than",
        ),
        ({"channels": "1,Ua,A,,V,0.02,y,0,-9,9,1,1,S"}, "line 3: b of channel 'Ua' is 'y'"),
        ({"channels": "1,Ua,A,,V,,0,0,-9,9,1,1,S"}, "give --volts-per-lsb"),
        ({"rates": "1\r\nfast,400"}, "line 6: 'fast,400' is not a rate"),
        ({"form": "WORDS"}, "line 9: 'WORDS' is not a form of the data"),
    ],
)
def test_a_missing_need_for_volts_is_named(changed: dict[str, str], why: str, tmp_path: Path) -> None:
    path = comtrade(tmp_path, cfg_text(**changed), dat_bytes())
    with pytest.raises(RecordingError) as refused:
        read(path)
    assert why in str(refused.value) and "\n" not in str(refused.value)
