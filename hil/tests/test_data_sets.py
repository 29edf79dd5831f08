"""Data sets: the same bytes, the truth that was put in, whole folders or none."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_measure.rms import half_cycle_rms_v
from opq_measure.timebase.cycles import half_cycle_edges
from opq_sim.data_sets.draws import KeyedDraws
from opq_sim.data_sets.folder import (
    ALL_CLASSES,
    DataSetPlan,
    DataSetStoppedError,
    write_data_set,
)
from opq_sim.data_sets.kinds import EXCLUSIVE_CLASSES, MAKERS, DataSetError, checked_classes
from opq_sim.data_sets.labelled import LabelledRecording, labelled_recording
from opq_sim.data_sets.magnitudes import BACKGROUND, CLASSES_LEFT_OUT, MAGNITUDES, Magnitude
from opq_sim.score.truth_file import read_truth

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = """
    sag swell interruption undervoltage overvoltage impulsive_transient oscillatory_transient
    periodic_notching harmonics interharmonics flicker frequency_deviation phase_jump dc_offset noise
    rapid_voltage_change mains_signalling
""".split()  # noqa: SIM905 - docs/reference/contracts.md's list as it is
MINUTES_LONG = ("undervoltage", "overvoltage")
QUICK = tuple(kind for kind in ALL_CLASSES if kind not in MINUTES_LONG)
DIGEST = "efda65e7db2d1e9b1c8beed105c6317b17bd4f1be814a7c84f6864c810490194"
"""Digest of `--classes` QUICK and harmonics+sag, each at 50 and 60 Hz, seed 7, 30 dB. The same on
Python 3.11 to 3.13 with NumPy 1.26 to 2.5; a change of it is a change of every data set."""


def made(kind: str, hz: int = 60, index: int = 1, seed: int = 7, snr_db: float = 30.0) -> LabelledRecording:
    return labelled_recording(kind, hz, index, seed, snr_db, number=1)


def data_set_digest(folder: Path) -> str:
    """sha256 over the names and bytes of all files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def test_the_bytes_are_independent_of_versions(tmp_path: Path) -> None:
    plan = DataSetPlan((*QUICK, "harmonics+sag"), 1, seed=7)
    report = write_data_set(plan, tmp_path / "set")
    assert report.near_edges == 0  # so that the digest does not depend on this machine's sine
    assert data_set_digest(tmp_path / "set") == DIGEST


def test_every_class_of_the_contract_can_be_made() -> None:
    assert set(ALL_CLASSES) == {*CONTRACT, "none"} == {*MAKERS, "none"}
    assert not set(CLASSES_LEFT_OUT) & set(ALL_CLASSES)


@pytest.mark.parametrize("kind", [*QUICK, "harmonics+sag", "phase_jump+swell", "noise+periodic_notching"])
def test_the_truth_names_place_and_class(kind: str) -> None:
    for hz in (50, 60):
        one = made(kind, hz)
        truth, facts = one.truth, one.facts
        assert truth["class"] == kind and facts["nominal_hz"] == hz
        if kind == "none":
            assert (truth["parts"], truth["boxes"], truth["start_ns"]) == ([], {}, None)
            continue
        assert sorted(part["class"] for part in truth["parts"]) == kind.split("+")
        end_ns = facts["start_ns"] + facts["samples"] * 10**9 // 12_000
        assert facts["start_ns"] + 15 * 10**8 <= truth["start_ns"] <= truth["end_ns"] < end_ns - 10**9
        for part in truth["parts"]:
            drawn = [m for m in MAGNITUDES[part["class"]] if m.name in part["drawn"]]
            assert drawn
            for magnitude in drawn:
                size = part["drawn"][magnitude.name]
                size = abs(size) if magnitude.distribution == "either sign" else size
                assert magnitude.least <= size <= magnitude.most


def at(truth: dict[str, Any], from_s: float, to_s: float) -> slice:
    """Samples around the start of the disturbance."""
    start = (truth["start_ns"] - 1_735_689_600 * 10**9) / 1e9
    return slice(round((start + from_s) * 12_000), round((start + to_s) * 12_000))


@pytest.mark.parametrize("kind", [kind for kind in EXCLUSIVE_CLASSES if kind not in MINUTES_LONG])
@pytest.mark.parametrize("hz", [50, 60])
def test_the_residual_is_the_truths(kind: str, hz: int) -> None:
    one = made(kind, hz, index=2, snr_db=80.0)
    volts = one.counts * one.facts["volts_per_lsb"]
    rms_v = half_cycle_rms_v(volts, half_cycle_edges(volts, 12_000.0))
    percent = 100 * rms_v / one.facts["nominal_volts"]
    residual = one.truth["boxes"]["1"]["residual_percent"]
    furthest = percent[np.argmax(np.abs(percent - 100.0))]
    assert furthest == pytest.approx(residual, abs=0.1)


@pytest.mark.parametrize("hz", [50, 60])
@pytest.mark.parametrize(
    "kind", ["impulsive_transient", "oscillatory_transient", "periodic_notching", "phase_jump", "dc_offset"]
)
def test_an_unchanged_voltage_stays_below_one(kind: str, hz: int) -> None:
    for index in (1, 2, 3):
        one = made(kind, hz, index, snr_db=80.0)
        volts = one.counts * one.facts["volts_per_lsb"]
        nominal = 12_000.0 / hz  # by samples: an edge at a zero crossing would be moved by the disturbance
        rms_v = half_cycle_rms_v(volts, np.arange(0.0, len(volts) - 1, nominal / 2))
        assert np.max(np.abs(rms_v / np.median(rms_v) - 1)) < 0.05


def test_minutes_long_ones_last_longer_than_a_minute() -> None:
    for kind in MINUTES_LONG:
        truth = made(kind).truth
        assert 61e9 < truth["end_ns"] - truth["start_ns"] < 66e9


def test_nothing_happens_before_the_start_and_something_after() -> None:
    for kind in ("impulsive_transient", "oscillatory_transient", "phase_jump", "dc_offset", "harmonics"):
        one = made(kind, snr_db=120.0)
        volts = one.counts * one.facts["volts_per_lsb"]
        quiet = np.abs(change(volts[at(one.truth, -1.0, -0.0005)]))
        loud = np.abs(change(volts[at(one.truth, -0.05, 0.05)]))
        assert quiet.max() < 1.2, kind  # 0.05 Hz off nominal: 0.3 degrees from cycle to cycle
        assert loud.max() > 3 * quiet.max(), kind


def change(volts: np.ndarray) -> np.ndarray:
    """From each cycle to the next."""
    return np.asarray(volts[200:] - volts[:-200])


def test_a_recording_is_independent_of_others(tmp_path: Path) -> None:
    write_data_set(DataSetPlan(("sag",), 2, hz=(60,)), tmp_path / "one")
    write_data_set(DataSetPlan(("phase_jump", "sag"), 3), tmp_path / "more")
    names = [path.name for path in (tmp_path / "one").glob("*.i16")]
    assert len(names) == 2
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "more" / name).read_bytes()
    other = [made("sag", seed=8), made("sag", index=2), made("sag", hz=50)]
    assert not any(np.array_equal(made("sag").counts, each.counts) for each in other)


def test_a_folder_holds_recordings_facts_and_truth(tmp_path: Path) -> None:
    seen: list[int] = []
    plan = DataSetPlan(("none", "phase_jump"), 2)
    report = write_data_set(plan, tmp_path / "set", seen.append)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8] and report.recordings == plan.recordings == 8
    lines = [json.loads(line) for line in (tmp_path / "set" / "truth.jsonl").read_text().splitlines()]
    assert len({line["id"] for line in lines}) == 8
    for line in lines:
        path = tmp_path / "set" / line["file"]
        facts = json.loads(path.with_suffix(".json").read_text())
        assert hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"]
        assert path.stat().st_size == 2 * facts["samples"]
    assert len(list((tmp_path / "set").iterdir())) == 17
    truth = read_truth(tmp_path / "set")
    assert (len(truth.disturbances), truth.nothing, truth.problems) == (4, 4, ())


def test_a_stop_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def stop_it(done: int) -> None:
        if done == 2:
            stop.set()

    with pytest.raises(DataSetStoppedError, match="stopped after 2 recordings"):
        write_data_set(DataSetPlan(("phase_jump",), 5), tmp_path / "set", stop_it, stop)
    assert list(tmp_path.iterdir()) == []

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_data_set(DataSetPlan(("phase_jump",), 5), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataSetError, match="is not empty"):
        write_data_set(DataSetPlan(("none",), 1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("quake", "class is 'quake'"),
        ("outage", "without supply"),
        ("unbalance", "three phases"),
        ("sag+swell", "exclude each other"),
        ("none+sag", "without the class none"),
        ("sag+sag", "different parts"),
        ("sag,harmonics+sag,sag+harmonics", "twice"),
        ("", "class is ''"),
    ],
)
def test_impossible_classes_are_refused_with_reason(names: str, why: str) -> None:
    with pytest.raises(DataSetError, match=why):
        checked_classes(names)


def test_parts_are_in_alphabetical_order() -> None:
    assert checked_classes("sag, swell + harmonics") == ("sag", "harmonics+swell")


@pytest.mark.parametrize(
    "wrong", [{"snr_db": 20.0}, {"snr_db": float("nan")}, {"hz": (55,)}, {"per_class": 0}]
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataSetError):
        DataSetPlan(**{"classes": ("sag",), "per_class": 1, **wrong})


def test_noise_is_white_normal_and_unit() -> None:
    noise = KeyedDraws("a").noise(400_000, 0)
    assert np.array_equal(noise[:70_000], KeyedDraws("a").noise(70_000, 0))
    assert abs(noise.mean()) < 5e-3 and noise.std() == pytest.approx(1.0, abs=5e-3)
    assert abs(np.mean(noise[1:] * noise[:-1])) < 8e-3
    assert np.mean(noise**4) == pytest.approx(2.9, abs=0.03)
    beyond = [np.mean(np.abs(noise) > k) for k in (1.0, 2.0)]
    assert beyond == pytest.approx([0.3173, 0.0455], rel=0.03)
    other = KeyedDraws("a").noise(400_000, 1)
    assert abs(np.mean(noise * other)) < 8e-3


def test_magnitudes_are_spread_as_the_table_says() -> None:
    draws = KeyedDraws("spread")
    flat = [draws.magnitude(Magnitude("x", "", 10.0, 20.0)) for _ in range(2000)]
    even = [draws.magnitude(Magnitude("x", "", 1.0, 100.0, "log-uniform")) for _ in range(2000)]
    signed = [draws.magnitude(Magnitude("x", "", 1.0, 2.0, "either sign")) for _ in range(2000)]
    assert np.mean(flat) == pytest.approx(15.0, abs=0.3) and min(flat) >= 10.0 and max(flat) <= 20.0
    assert np.mean(np.array(even) < 10.0) == pytest.approx(0.5, abs=0.04)
    assert np.mean(np.array(signed) < 0) == pytest.approx(0.5, abs=0.04)


def magnitude_table() -> str:
    """The table in Markdown, as docs/sim-data-sets.md has it."""
    lines = [
        "| class | quantity | unit | least | most | distribution |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, magnitudes in {"every recording": BACKGROUND, **MAGNITUDES}.items():
        if not magnitudes:
            lines.append(f"| {kind} | | | | | |")
        for number, one in enumerate(magnitudes):
            name = kind if number == 0 else ""
            spread = (
                f"one of {', '.join(f'{each:g}' for each in one.choices)}"
                if one.choices
                else one.distribution
            )
            lines.append(f"| {name} | {one.name} | {one.unit} | {one.least:g} | {one.most:g} | {spread} |")
    return "\n".join(lines) + "\n"


def test_the_page_shows_the_table_of_the_code() -> None:
    assert magnitude_table() in (ROOT / "docs" / "sim-data-sets.md").read_text(encoding="utf-8")
