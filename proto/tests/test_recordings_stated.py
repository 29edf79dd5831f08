"""What a file states of its values and its rate is applied or reported: units, factors, marks, members."""

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy  # loads scipy.io where it is used
from hypothesis import given
from hypothesis import strategies as st

from opq_analyze.classifying import classified
from opq_proto.errors import RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.folder import recordings_of
from opq_recordings.named_arrays import recordings_of_array
from opq_recordings.packed import member_path
from opq_recordings.reading import read_recording
from opq_recordings.recording import Recording

RATE_HZ = 1600.0


def sine(peak: float = 325.0, hz: float = 50.0, samples: int = 800) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(samples) / RATE_HZ)


def rms_v(found: Recording) -> float:
    volts = found.volts(0, found.samples)
    return float(np.sqrt(np.nanmean(volts**2)))


def hdf5(path: Path, values: np.ndarray, attributes: dict[str, Any], group: str = "") -> Path:
    with h5py.File(path, "w") as file:
        place = file.create_group(group) if group else file
        place.create_dataset("voltage", data=values).attrs.update(attributes)
        file.attrs["sample_rate"] = RATE_HZ
    return path


@pytest.mark.parametrize(
    ("values", "attributes"),
    [
        (sine() * 1000, {"units": "mV"}),
        (sine() / 1000, {"unit": b"kV"}),
        (np.round(sine() / 0.02).astype("i2"), {"scale_factor": 0.02, "units": "V"}),
        (np.round((sine() - 40) / 0.02).astype("i2"), {"scale_factor": 0.02, "add_offset": 40.0}),
        (np.round(sine() * 1000).astype("i4"), {"units": np.array(["mV"], dtype=h5py.string_dtype())}),
    ],
)
def test_a_data_sets_unit_and_factor_apply(
    tmp_path: Path, values: np.ndarray, attributes: dict[str, Any]
) -> None:
    found = read_recording(hdf5(tmp_path / "a.h5", values, attributes))
    assert rms_v(found) == pytest.approx(325 / np.sqrt(2), rel=1e-3)
    assert float(np.nanmean(found.volts(0, 800))) == pytest.approx(0, abs=0.05)


def test_a_unit_beyond_voltage_is_refused(tmp_path: Path) -> None:
    for unit, said in (("A", r"voltage \(A\)"), ("furlong", r"\(furlong\)"), ("counts", "gain of its")):
        with pytest.raises(RecordingError, match=said):
            read_recording(hdf5(tmp_path / f"{unit}.h5", sine(), {"units": unit}))


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize(("dtype", "mark"), [("f8", -9999.0), ("f4", 9.96921e36), ("i2", -32768)])
def test_a_mark_for_no_value_is_a_gap(tmp_path: Path, name: str, dtype: str, mark: float) -> None:
    values = sine().astype(dtype)
    values[300:304] = mark
    stated = {name: np.array(mark, dtype), "units": "V"}
    found = read_recording(hdf5(tmp_path / "a.h5", values, stated, group="feeder/one"))
    assert [(gap.first_sample, gap.samples, gap.reason) for gap in found.gaps] == [(300, 4, "no value")]


@pytest.mark.parametrize(
    "beside",
    [
        {"Tinterval": 1 / RATE_HZ},
        {"dt": np.float32(1 / RATE_HZ)},
        {"Ts": np.array([1 / RATE_HZ])},
        {"fs": np.array(RATE_HZ)},
        {"t": np.arange(800) / RATE_HZ},
        {"SampleRate": 1600},
    ],
)
def test_the_rate_has_three_sources(tmp_path: Path, beside: dict[str, Any]) -> None:
    np.savez(tmp_path / "a.npz", u=sine(), **beside)
    scipy.io.savemat(tmp_path / "a.mat", {"u": sine(), **beside})
    scipy.io.savemat(tmp_path / "structure.mat", {"scope": {"u": sine(), **beside, "note": "cellar"}})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = sine()
        for name, value in beside.items():
            file[name] = value
    for name in ("a.npz", "a.mat", "structure.mat", "a.h5"):
        found = read_recording(tmp_path / name)
        assert found.rate_hz == pytest.approx(RATE_HZ), name
        assert rms_v(found) == pytest.approx(325 / np.sqrt(2), rel=1e-6), name


@pytest.mark.parametrize("name", ["calibration_factor", "gain", "volts_per_lsb"])
def test_gain_applies_to_counts_only(tmp_path: Path, name: str) -> None:
    counts = np.round((sine() - 40) / 0.02).astype("i2")
    found = read_recording(hdf5(tmp_path / "a.h5", counts, {name: 0.02, "offset": 40.0}))
    assert rms_v(found) == pytest.approx(325 / np.sqrt(2), rel=1e-3)
    assert float(np.mean(found.volts(0, 800))) == pytest.approx(0, abs=0.05)
    of_volts = read_recording(hdf5(tmp_path / "b.h5", sine(), {name: 0.02, "offset": 40.0, "units": "V"}))
    assert rms_v(of_volts) == pytest.approx(325 / np.sqrt(2), rel=1e-6)


def test_netcdf_is_read_by_its_ending(tmp_path: Path) -> None:
    """The old form is named."""
    found = read_recording(hdf5(tmp_path / "a.nc", sine(), {"units": "V"}))
    assert found.rate_hz == RATE_HZ and rms_v(found) == pytest.approx(325 / np.sqrt(2), rel=1e-6)
    (tmp_path / "b.nc").write_bytes(b"CDF\1" + bytes(100))
    with pytest.raises(RecordingError, match="is netCDF-3; save it as netCDF-4"):
        read_recording(tmp_path / "b.nc")


@pytest.mark.parametrize("begins_s", [0.0, -0.1, 1_710_669_600.0])
def test_a_first_time_column_is_the_clock(tmp_path: Path, begins_s: float) -> None:
    """As Simulink's Scope and To Workspace write `Array`."""
    at = np.arange(800) / RATE_HZ
    table = np.stack([begins_s + at, sine(), sine(100)], axis=1)
    scipy.io.savemat(tmp_path / "a.mat", {"ScopeData": table})
    np.save(tmp_path / "a.npy", table)
    for name, channel in (("a.mat", "ScopeData 2"), ("a.npy", "column 2")):
        found = read_recording(tmp_path / name, RecordingFacts(channel=channel))
        assert found.rate_hz == pytest.approx(RATE_HZ, rel=1e-6) and len(found.channels) == 2
        assert np.array_equal(found.volts(0, 800), sine())
        assert found.start_ns == (1_710_669_600 * 10**9 if begins_s > 1 else None)


def test_columns_of_voltages_have_no_clock_among_them(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([sine(), sine(100)], axis=1))
    assert len(read_recording(tmp_path / "a.npy", RecordingFacts(1600.0, channel="1")).channels) == 2


def test_the_fitting_rate_is_taken_and_reported(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"u": sine(), "fs": 16_000.0, "dt": 1 / RATE_HZ})
    found = read_recording(tmp_path / "a.mat")
    assert found.rate_hz == RATE_HZ
    assert [each for each in found.problems if "stated twice" in each and "mains" in each]


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def csv(peak: float) -> bytes:
    rows = (f"{k / RATE_HZ:.6f},{value:.3f}" for k, value in enumerate(sine(peak)))
    return "\n".join(("t_s,u_V", *rows)).encode()


def test_same_names_in_two_folders_are_separate(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"17/event.csv": csv(325), "18/event.csv": csv(100)})
    for channel, peak in (("17/event", 325), ("2", 100)):
        found = read_recording(path, RecordingFacts(channel=channel))
        assert rms_v(found) == pytest.approx(peak / np.sqrt(2), rel=1e-4)
    assert [each.name for each in found.channels] == ["17/event", "18/event"]


def test_files_of_an_operating_system_are_not_recordings(tmp_path: Path) -> None:
    beside = {"__MACOSX/m/._a.csv": b"\0\5\26\7", "m/._a.csv": b"\0", ".DS_Store": b"x", "m/Thumbs.db": b"x"}
    found = read_recording(packed(tmp_path / "a.zip", {"m/a.csv": csv(325), **beside}))
    assert [each.name for each in found.channels] == ["u_V"]
    for name, content in {"m/a.csv": csv(325), **beside}.items():
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(content)
    assert recordings_of([tmp_path / "d"]) == [tmp_path / "d/m/a.csv"]


def test_a_path_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a.csv", csv(325))
        file.writestr("a.csv", csv(100))
    with pytest.raises(RecordingError, match=r"holds 'a\.csv' twice"):
        read_recording(tmp_path / "a.zip")


@given(st.text(max_size=40))
def test_no_member_leaves_its_folder(name: str) -> None:
    found = member_path(name)
    assert not found.is_absolute() and ".." not in found.parts and "\0" not in str(found)


def test_a_recording_of_constant_levels_has_no_mains(tmp_path: Path) -> None:
    rows = [f"{k / RATE_HZ},{12 if k < 200 else 24}" for k in range(400)]
    (tmp_path / "a.csv").write_text("\n".join(("t_s,u_V", *rows)))
    found, kind = classified(read_recording(tmp_path / "a.csv"))
    assert kind.kind == "no_mains" and "2 constant levels" in kind.because
    assert [each.kind for each in found.faults] == ["stuck", "stuck", "no_mains"]


def test_a_sizeless_heap_does_not_stop_the_reader(tmp_path: Path) -> None:
    """libhdf5 2.0.0 reads the text attribute of such a file without end."""
    path = hdf5(tmp_path / "a.h5", sine(), {"units": "V"})
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    size = int.from_bytes(content[first + 8 : first + 16], "little")
    free = first + 16 + -(-size // 8) * 8
    assert content[free : free + 2] == b"\0\0"
    assert read_recording(path).channel.unit == "V"
    content[free + 8 : free + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="reading it does not end"):
        read_recording(path)


def test_a_matlab_7_3_vector_has_one_dimension(tmp_path: Path) -> None:
    for shape in ((1, -1), (-1, 1)):
        with h5py.File(tmp_path / "a.mat", "w") as file:
            file["u"] = sine().reshape(shape)
            file["t"] = (5 + np.arange(len(sine())) / RATE_HZ).reshape(shape)
        found = read_recording(tmp_path / "a.mat")
        assert found.rate_hz == pytest.approx(RATE_HZ) and found.samples == len(sine())


def test_an_object_of_matlab_has_no_values(tmp_path: Path) -> None:
    """Simulink saves a `timeseries`, whose data set has numbers that lead to other places."""
    with h5py.File(tmp_path / "a.mat", "w") as file:
        for name in ("ans/voltage", "ans/current"):
            file[name] = np.arange(6, dtype="u4")
            file[name].attrs["MATLAB_class"] = np.bytes_("timeseries")
        file["empty"] = np.zeros(2, "u8")
        file["empty"].attrs.update(MATLAB_class=np.bytes_("double"), MATLAB_empty=np.uint8(1))
    with pytest.raises(
        RecordingError, match=r"has objects of MATLAB \(timeseries\), which only MATLAB reads"
    ):
        read_recording(tmp_path / "a.mat")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat", "a.h5"])
def test_an_array_of_recordings_is_read_apart(name: str, tmp_path: Path) -> None:
    """Two recordings of three channels, as sets for machine learning have; the second is half as high."""
    both = np.stack(
        [np.stack([sine(), sine() / 2, sine() / 3]), np.stack([sine(), sine() / 2, sine() / 3]) / 2]
    )
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, both)
    elif name == "a.npz":
        np.savez(path, U=both)
    elif name == "a.mat":
        scipy.io.savemat(path, {"U": both})
    else:
        with h5py.File(path, "w") as file:
            file["U"] = both
    given = RecordingFacts(rate_hz=1600.0, channel="4")
    recording = read_recording(path, given)
    assert len(recording.channels) == 6
    assert recording.volts(0, recording.samples) == pytest.approx(sine() / 2)
    assert any("2 recordings of 3 channels" in each for each in recording.problems)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize(("recordings", "samples"), [(500, 128), (100, 400), (40, 64), (128, 128)])
def test_the_axis_of_time_is_known(
    order: tuple[int, int, int], alike: bool, recordings: int, samples: int
) -> None:
    """Of three axes, also where there are more recordings than samples; of files, MATLAB's order too."""
    rng = np.random.default_rng(7)
    begins = np.zeros(recordings) if alike else rng.uniform(0, 2 * np.pi, recordings)
    turns = 2 * np.pi * (50 * np.arange(samples) / 1600 - np.arange(3)[:, None] / 3)
    whole = 325 * np.sin(begins[:, None, None] + turns) + rng.normal(0, 1, (recordings, 3, samples))
    found, said = recordings_of_array("U", np.transpose(whole, order))
    assert len(found) == recordings and f"{recordings} recordings of 3 channels with {samples}" in str(said)
    first = found["U recording 1"]
    assert np.array_equal(first if first.shape[0] == 3 else first.T, whole[0])


def test_an_array_without_recordings_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((0, 6, 1600), np.int16))
    with pytest.raises(RecordingError, match="is empty, an array of 0 x 6 x 1600"):
        read_recording(tmp_path / "a.npy", RecordingFacts(rate_hz=1600.0))
