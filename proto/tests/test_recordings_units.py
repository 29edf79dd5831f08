"""The table of units: symbols and words of several alphabets, and what is not understood."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_proto.errors import RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.quantity_names import quantity_named, time_named
from opq_recordings.reading import read_recording
from opq_recordings.units import measured_in, seconds_of, side_units, unit_scale

VOLTS = {
    1.0: "V v Volt VOLTS volts [V] (V) Vrms V_rms VAC В 伏 伏特 ボルト 볼트 ولت וולט वोल्ट wolty voltů",
    1e3: "kV KV kv кВ КВ 千伏 ㎸ κV kilovolts киловольт キロボルト 킬로볼트 किलोवोल्ट kVolt KVolts [кВ]",
    1e-3: "mV mv мВ 毫伏 ㎷ millivolts милливольт ミリボルト mVolts",
    1e-6: "uV UV µV μV мкВ 微伏 ㎶ microvolts микровольт µVolts",
    1e6: "MV МВ megavolts мегавольт MVolts",
}
AMPERES = {1.0: "A a А amps Ampère ампер 安培 アンペア", 1e3: "kA кА 千安", 1e-3: "mA мА 毫安 milliamps"}
SECONDS = {
    1.0: "s S sec Sec second seconds сек с секунд 秒 초 sekund δευτερόλεπτα",
    1e-3: "ms MS мс msec milliseconds 毫秒 ミリ秒 ㎳ миллисекунды",
    1e-6: "us µs μs мкс usec microseconds 微秒",
    1e-9: "ns нс nanoseconds",
    60.0: "min мин minutes",
    3600.0: "h hours ч",
}


@pytest.mark.parametrize("scale", VOLTS)
def test_a_voltage_is_known_by_symbol_and_word(scale: float) -> None:
    for text in VOLTS[scale].split():
        assert unit_scale(text) == ("voltage", scale, "V"), text


@pytest.mark.parametrize("scale", AMPERES)
def test_amperes_are_not_a_voltage(scale: float) -> None:
    for text in AMPERES[scale].split():
        assert unit_scale(text) == ("current", scale, "A"), text


@pytest.mark.parametrize("scale", SECONDS)
def test_units_of_time_have_their_seconds(scale: float) -> None:
    for text in SECONDS[scale].split():
        assert seconds_of(text) == pytest.approx(scale), text


@pytest.mark.parametrize(
    ("text", "scale", "si"),
    [
        ("Hz", 1.0, "Hz"),
        ("кГц", 1e3, "Hz"),
        ("㎑", 1e3, "Hz"),
        ("mHz", 1e-3, "Hz"),
        ("%", 0.01, "1"),
        ("p.u.", 1.0, "1"),
        ("о.е.", 1.0, "1"),
        ("kVA", 1e3, "VA"),
        ("ВА", 1.0, "VA"),
        ("кВт", 1e3, "W"),
        ("°", 1.0, "degree"),
        ("counts", 1.0, "counts"),
        ("kΩ", 1e3, "ohm"),
        ("MW", 1e6, "W"),
    ],
)
def test_other_units_are_known_and_no_voltage(text: str, scale: float, si: str) -> None:
    assert unit_scale(text) == ("other", pytest.approx(scale), si)


@pytest.mark.parametrize(
    "text", ["foo", "V/div", "Vpp", "m", "M", "u", "kk", "khours", "Vs2", "voltage", "В/А"]
)
def test_what_is_not_understood_is_unknown(text: str) -> None:
    assert unit_scale(text) is None
    assert measured_in(text, "Ua") == (text, "other", 1.0)  # never V, whatever the name


@pytest.mark.parametrize(
    ("unit", "name", "wanted"),
    [
        (None, "Ua", (None, "voltage", 1.0)),
        ("", "", (None, None, 1.0)),
        ("none", "Ua", (None, "voltage", 1.0)),
        ("кВ", "x", ("кВ", "voltage", 1e3)),
        ("A", "Ua", ("A", "current", 1.0)),
        ("%", "Ua", ("%", "other", 1.0)),
        ("counts", "Ua", ("counts", "voltage", None)),
        ("kHz", "Ua", ("kHz", "other", 1.0)),
        ("V\0\0", "x", ("V", "voltage", 1.0)),
    ],
)
def test_a_stated_unit_outweighs_the_name(unit: str | None, name: str, wanted: object) -> None:
    assert measured_in(unit, name) == wanted


def test_a_pair_of_units_has_one_quantity() -> None:
    assert side_units("В/кВ") == ("В", "кВ") and side_units("V/A") is None and side_units("rad/s") is None


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("Напряжение 电压 A相电压 napětí Tensão Gerilim feszültség ولتاژ Spannung voltage Ua", "voltage"),
        ("Ток 电流 corrente current Strom I1", "current"),
        ("Частота 频率 frequency Мощность THD", "other"),
    ],
)
def test_names_of_quantities_are_known_in_several_languages(names: str, wanted: str) -> None:
    assert {quantity_named(each) for each in names.split()} == {wanted}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            "phase_A_voltage phaseAVoltage phase-B.voltage VOLTAGE_L1 L1Spannung Netzspannung vPhase2 Vrms_B",
            "voltage",
        ),
        (
            "grid_voltage power_supply_voltage tension_L1 ch1/volts U.L1-N U-L2 V.AN v-rms u1n U_1N UL1N",
            "voltage",
        ),
        (
            "line_current motor_current lineCurrent current_L1 Motorstrom I_a phase.B.current iPhase2 Irms_A "
            "ток_фазы_В I.L1 i-n",
            "current",
        ),
        (
            "grid_frequency voltage_thd currentThd power_factor phase_current_angle voltageUnbalance cos.phi",
            "other",
        ),
    ],
)
def test_words_of_a_name_are_parted_alike(names: str, wanted: str) -> None:
    assert {each: quantity_named(each) for each in names.split()} == dict.fromkeys(names.split(), wanted)


def test_names_of_times_are_whole_words() -> None:
    assert all(map(time_named, ["Время", "时间", "Zeit_s", "time", "Timestamp", "czas", "Χρόνος", "زمان"]))
    assert all(map(time_named, ["sample_time", "localTimestamp", "log-date", "time_ms"]))
    assert not any(map(time_named, ["tidal", "casual", "idol", "Ua", "временный", "real_time_power"]))


@given(st.text(max_size=60))
def test_any_text_is_a_unit_or_none(text: str) -> None:
    known = unit_scale(text)
    shown, quantity, scale = measured_in(text, text)
    assert known is None or (known.scale > 0 and known.quantity in ("voltage", "current", "other"))
    assert shown is None or quantity is not None or scale is None
    if shown is not None and known is None:
        assert quantity == "other"


@pytest.mark.parametrize("unit", ["pu", "p.u.", "о.е.", "PU"])
def test_remote_shares_are_refused_until_allowed(tmp_path: Path, unit: str) -> None:
    wave = np.sqrt(2) * np.sin(2 * np.pi * 50 * np.arange(400) / 1600)
    rows = "".join(f"{k / 1600:.6f},{v:.6f}\n" for k, v in enumerate(wave))
    (tmp_path / "a.csv").write_text(f"t_s,Ua ({unit})\n{rows}", encoding="utf-8")
    said = r"shares of a voltage that is not stated.*--nominal-volts, 1"
    for channel in (None, "1"):
        with pytest.raises(RecordingError, match=said):
            read_recording(tmp_path / "a.csv", RecordingFacts(channel=channel))
    found = read_recording(tmp_path / "a.csv", RecordingFacts(channel="1", unit="V", nominal_v=1.0))
    assert np.sqrt(np.mean(found.volts(0, 400) ** 2)) == pytest.approx(1.0, rel=1e-4)
