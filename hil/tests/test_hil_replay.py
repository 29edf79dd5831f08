"""Replay: bit-exact, phase-continuous, on one time axis; made recordings, the real ones where present."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from opq_measure.events.disturbances import Limits, find_disturbances
from opq_measure.timebase.cycles import track
from opq_measure.waveform.high_pass import high_pass
from opq_proto.errors import RecordingError
from opq_sim.mains.replay import Replay, replays
from opq_sim.mains.replayed_recording import ReplayedRecording, read_replay

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "data" / "recordings"


def recording(
    hz: float = 60.03,
    cycles: int = 100,
    dip: tuple[int, int] | None = (55, 65),
    axis: float | None = None,
    box_id: str | None = None,
    start_s: float = 0.0,
) -> ReplayedRecording:
    """A sine with a third harmonic; its dip to 70 % between two cycles."""
    t_s = np.arange(cycles * 200) / 12_000 + start_s
    turn = 2 * math.pi * hz * t_s
    volts = 120 * math.sqrt(2) * (np.sin(turn) + 0.03 * np.sin(3 * turn + 1))
    if dip:
        volts[dip[0] * 200 : dip[1] * 200] *= 0.7
    counts = np.rint(volts / 0.0068).astype(np.int16)
    return ReplayedRecording("made.i16", counts, 12_000_000, 0.0068, 120.0, 60.0, 16.0, box_id, axis)


def stream(replay: Replay, seconds: float) -> np.ndarray:
    return np.concatenate([replay.counts(at, 200) for at in range(0, round(seconds * 12_000), 200)])


def real(*box_ids: int) -> list[ReplayedRecording]:
    paths = [RECORDINGS / f"event_9354_box{box_id}.i16" for box_id in box_ids]
    if not all(path.exists() for path in paths):
        pytest.skip("the recordings are not here; they have no licence, so the project does not ship them")
    return [read_replay(path) for path in paths]


def check_stream(replay: Replay, seconds: float, plays: int, limits: Limits, found_in_file: int) -> None:
    """Every play is bit-exact, the file's own disturbances come back, nothing else is there."""
    counts = stream(replay, seconds)
    length = len(replay.recording.counts)
    for play in range(plays):
        start = replay.play_start(play)
        assert np.array_equal(counts[start : start + length], replay.recording.counts)
    own = find_disturbances(replay.recording.volts, 12_000.0, limits=limits)
    played = find_disturbances(counts * replay.v_per_lsb, 12_000.0, limits=limits)
    assert len(own) == found_in_file
    assert len(played) == plays * len(own)
    for at, one in enumerate(played):
        same = own[at % len(own)]
        assert one.kind == same.kind
        assert one.residual_v == pytest.approx(same.residual_v, rel=0.001)  # asked: 1 %
        start = replay.play_start(at // len(own)) + same.start_sample
        assert one.start_sample == pytest.approx(start, abs=20)


@pytest.mark.parametrize("hz", [59.4, 60.0, 60.03, 60.77])
def test_a_synthetic_dip_plays_bit_exact(hz: float):
    (replay,) = replays([recording(hz)], every_s=15.0)
    assert replay.play_start(0) >= 120_000
    check_stream(replay, 30.0, 2, Limits(), 1)


@pytest.mark.parametrize("hz", [59.4, 60.03])
def test_the_phase_never_jumps_at_a_join(hz: float):
    (replay,) = replays([recording(hz, dip=None)], every_s=14.0)
    volts = stream(replay, 30.0) * replay.v_per_lsb
    tracked = track(volts, 12_000.0)
    steps_hz = np.diff(tracked.phase_rad) / np.diff(tracked.positions) * 12_000 / 2 / math.pi
    # one sample of phase inside a two-cycle window would show as 0.6 Hz between quarter cycles
    assert np.max(np.abs(steps_hz - hz)) < 0.15
    assert abs(float(np.mean(steps_hz)) - hz) < 0.002
    transient_v = np.abs(high_pass(volts, 12_000.0, 400.0))
    assert transient_v[2000:-2000].max() < 3.0


def test_the_first_steady_part_lasts_ten_seconds():
    """The period is kept."""
    (replay,) = replays([recording()])
    assert replay.play_start(0) >= 120_000
    assert replay.play_start(1) - replay.play_start(0) == pytest.approx(60 * 12_000, abs=220)
    (hasty,) = replays([recording()], every_s=1.0)
    gap = hasty.play_start(1) - hasty.play_start(0) - len(hasty.recording.counts)
    assert gap >= 120_000 - 1


def test_recordings_of_an_axis_keep_their_distance():
    first = recording(axis=0.0, box_id="1")
    second = recording(axis=822.5, box_id="4", cycles=90, dip=(51, 61), start_s=822.5 / 12_000)
    one, other = replays([second, first], every_s=13.0)[::-1]
    for play in range(3):
        assert other.play_start(play) - one.play_start(play) == 822
    assert (one.offset_ns, other.offset_ns) == (0, 41_667)  # half a sample of 83.3 us
    check_stream(one, 29.0, 2, Limits(), 1)
    check_stream(other, 29.0, 2, Limits(), 1)
    sines = [stream(replay, 29.0) for replay in replays([first, second], every_s=13.0)]
    steady = slice(60_000, 100_000)  # the same sample number is half a sample apart in time
    shift = np.fft.rfft(sines[0][steady]) * np.conj(np.fft.rfft(sines[1][steady]))
    at = int(np.argmax(np.abs(shift)))
    apart = np.angle(shift[at]) / (2 * math.pi) * 40_000 / at
    assert abs(abs(apart) - 0.5) < 0.3


def test_recordings_without_axis_keep_their_period():
    one, other = replays([recording(60.0), recording(59.9, cycles=80, dip=None)], every_s=13.0)
    check_stream(one, 28.0, 2, Limits(), 1)
    check_stream(other, 28.0, 2, Limits(), 0)


def test_a_recording_beginning_with_its_event_is_refused():
    with pytest.raises(RecordingError, match="steady cycles"):
        replays([recording(dip=(3, 60))])


def test_only_box_1_has_the_real_dip():
    one, other = replays(real(1, 4), every_s=14.0)
    check_stream(one, 28.0, 2, Limits(), 1)
    check_stream(other, 28.0, 2, Limits(), 0)
    assert other.play_start(1) - one.play_start(1) == 822
    assert one.marks(0, 28 * 12_000)
    assert other.marks(0, 28 * 12_000) == ()


def test_both_see_the_dip_at_95_percent():
    for replay in replays(real(1, 4), every_s=14.0):
        check_stream(replay, 28.0, 2, Limits(sag_percent=95.0), 1)


def write(folder: Path, data: bytes, meta: object) -> Path:
    path = folder / "event.i16"
    path.write_bytes(data)
    path.with_suffix(".json").write_text(meta if isinstance(meta, str) else json.dumps(meta))
    return path


GOOD = {"rate_hz": 12000, "volts_per_lsb": 0.0068}


@pytest.mark.parametrize(
    ("data", "meta", "wanted"),
    [
        (b"", GOOD, "is empty"),
        (b"\0" * 3, GOOD, "3 bytes"),
        (b"\0" * 4, "{", "is not JSON: line 1"),
        (b"\0" * 4, [1], "object"),
        (b"\0" * 4, {"rate_hz": 12000}, "put volts_per_lsb into event.json"),
        (b"\0" * 4, {**GOOD, "rate_hz": -1}, "rate_hz"),
        (b"\0" * 4, {**GOOD, "rate_hz": "12000"}, "rate_hz"),
        (b"\0" * 4, '{"rate_hz": 12000, "volts_per_lsb": NaN}', "volts_per_lsb"),
        (b"\0" * 4, {**GOOD, "rate_hz": 10**400}, "rate_hz"),
        (b"\0" * 4, "[" * 100_000, "is not JSON"),
        (b"\0" * 4, {**GOOD, "box_id": "roof"}, "box_id"),
        (b"\0" * 4, {**GOOD, "sha256": "0" * 64}, "sha256"),
    ],
)
def test_a_broken_recording_says_what_is_wrong(tmp_path: Path, data: bytes, meta: object, wanted: str):
    with pytest.raises(RecordingError, match=wanted):
        read_replay(write(tmp_path, data, meta))


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".cfg"])
def test_any_recording_can_be_played(suffix: str, tmp_path: Path):
    """Volts become counts of 16 bits; the nominal values are estimated where they are not stated."""
    path = tmp_path / f"mains{suffix}"
    counts = recording(cycles=60, dip=(30, 35)).counts
    volts = counts * 0.0068
    if suffix == ".csv":
        path.write_text("time_s,volts\n" + "".join(f"{k / 12000:.9f},{v:.6f}\n" for k, v in enumerate(volts)))
    elif suffix == ".npy":
        np.save(path, volts)
        path.with_suffix(".json").write_text('{"rate_hz": 12000, "box_id": 7}')
    else:
        path.write_text(
            f"s,r,1999\n1,1A,0D\n1,U,A,,V,0.0068,0,0,-9,9,1,1,P\n60\n1\n12000,{len(counts)}\n,\n,\nBINARY\n1\n"
        )
        rows = np.zeros(len(counts), np.dtype([("n", "<u4"), ("t", "<u4"), ("v", "<i2")]))
        rows["n"], rows["t"] = np.arange(1, len(counts) + 1), np.round(np.arange(len(counts)) / 0.012)
        rows["v"] = counts
        path.with_suffix(".dat").write_bytes(rows.tobytes())
    found = read_replay(path)
    assert (found.nominal_v, found.nominal_hz, found.rate_hz) == (120.0, 60.0, 12000.0)
    assert np.abs(found.volts - volts).max() <= found.v_per_lsb
    assert found.box_id == ("7" if suffix == ".npy" else None)
    (replay,) = replays([found], every_s=3.0, lead_s=1.0)
    start = replay.play_start(0)
    replay.counts(0, start)
    assert np.array_equal(replay.counts(start, len(counts)), found.counts)


def test_a_recording_with_a_gap_is_not_played(tmp_path: Path):
    volts = recording(cycles=60).volts
    volts[500:600] = np.nan
    np.save(tmp_path / "a.npy", volts)
    (tmp_path / "a.json").write_text('{"rate_hz": 12000}')
    with pytest.raises(RecordingError, match="has 1 gaps, which a Box cannot play"):
        read_replay(tmp_path / "a.npy")


def test_a_file_of_several_recordings_is_not_played(tmp_path: Path):
    volts = recording(cycles=60).volts
    np.savez(tmp_path / "a.npz", u=volts, v=volts[:9000], fs=12000.0)
    with pytest.raises(RecordingError, match=r"holds 2 recordings, and a Box plays one; .* --channel u "):
        read_replay(tmp_path / "a.npz")


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    path = write(tmp_path, b"", GOOD)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecordingError, match="is not a file"):
        read_replay(path)


def test_a_missing_recording_or_metadata_is_named(tmp_path: Path):
    with pytest.raises(RecordingError, match="no such file"):
        read_replay(tmp_path / "none.i16")
    (tmp_path / "alone.i16").write_bytes(b"\0\0")
    with pytest.raises(RecordingError, match=r"alone\.json"):
        read_replay(tmp_path / "alone.i16")


def test_two_cycles_are_refused(tmp_path: Path):
    for counts in (1, 10, 400, 1000):
        path = write(tmp_path, b"\0\1" * counts, GOOD)
        with pytest.raises(RecordingError, match="steady cycles"):
            replays([read_replay(path)])
