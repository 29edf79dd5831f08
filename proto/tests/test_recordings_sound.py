"""WAV in all its forms, FLAC, and arrays: the same counts from each."""

import math
import os
import struct
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from recordings_under_test import GAIN, RATE_HZ, ROWS, assert_same, counts, read, volts

from opq_proto.errors import RecordingError

SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")


def wav(
    data: bytes,
    bits: int = 16,
    form: int = 1,
    channels: int = 1,
    length: int | None = None,
    extensible: bool = False,
    name: bytes = b"RIFF",
    before: bytes = b"",
) -> bytes:
    frame = channels * bits // 8
    head = struct.pack(
        "<HHIIHH", 0xFFFE if extensible else form, channels, RATE_HZ, RATE_HZ * frame, frame, bits
    )
    if extensible:
        head += struct.pack("<HHIH", 22, bits, 4, form) + SUBFORMAT
    chunks = before + b"fmt " + struct.pack("<I", len(head)) + head
    chunks += b"data" + struct.pack("<I", len(data) if length is None else length) + data
    return name + struct.pack("<I", min(4 + len(chunks), 2**32 - 1)) + b"WAVE" + chunks


def data(bits: int, form: int = 1) -> bytes:
    if form == 3:
        return (counts() / 32768).astype(f"<f{bits // 8}").tobytes()
    wide = counts().astype(np.int64)
    if bits == 8:
        return ((wide >> 8) + 128).astype(np.uint8).tobytes()
    if bits == 24:
        return b"".join(int(each * 256).to_bytes(3, "little", signed=True) for each in wide)
    return (wide << (bits - 16)).astype(f"<i{bits // 8}").tobytes()


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("bits", "form"), [(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (64, 3)])
def test_every_width_is_read(bits: int, form: int, extensible: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(data(bits, form), bits, form, extensible=extensible))
    gain = GAIN * 32768 if form == 3 else GAIN * 2.0 ** (16 - bits)
    found = read(path, volts_per_lsb=gain)
    assert_same(found, within_v=256 * GAIN if bits == 8 else 0.011)
    assert found.rate_hz == RATE_HZ and found.assumed == {}


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_a_piped_length_reaches_the_end(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(data(16), length=length))
    found = read(path, volts_per_lsb=GAIN)
    assert_same(found)
    assert "a pipe" in found.problems[0]


def test_a_length_that_is_plausible_is_binding(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(data(16), length=600))
    assert read(path, volts_per_lsb=GAIN).samples == 300
    path.write_bytes(wav(data(16), length=10_000))
    with pytest.raises(RecordingError, match="is cut short, 400 of 5000 samples are there"):
        read(path, volts_per_lsb=GAIN)


def test_rf64_has_its_length_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    size = struct.pack("<QQQI", 900, 2 * ROWS, ROWS, 0)
    path.write_bytes(
        wav(data(16) + b"LIST", length=0xFFFFFFFF, name=b"RF64", before=b"ds64" + b"\x1c\0\0\0" + size)
    )
    assert_same(read(path, volts_per_lsb=GAIN))


def test_of_two_channels_one_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    both = np.stack([counts(), -counts()], axis=1).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(both.tobytes())
    with pytest.raises(RecordingError, match=r"which of its 2 channels.*--channel"):
        read(path, volts_per_lsb=GAIN)
    assert_same(read(path, volts_per_lsb=GAIN, channel="1"))
    assert_same(read(path, volts_per_lsb=GAIN, channel="channel 2"), -volts())


@pytest.mark.parametrize(("form", "name"), [(7, "µ-law"), (0x11, "IMA ADPCM"), (0x55, "MP3")])
def test_a_compressed_form_names_its_conversion(form: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(800), 8, form))
    with pytest.raises(RecordingError, match=rf"compressed \({name}\); convert it: ffmpeg"):
        read(path, volts_per_lsb=GAIN)


@pytest.mark.parametrize(
    ("subtype", "dtype", "gain"), [("PCM_16", "int16", GAIN), ("PCM_24", "int32", GAIN / 256)]
)
def test_flac_is_read_without_loss(subtype: str, dtype: str, gain: float, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="the extra `recordings` is not installed")
    path = tmp_path / "a.flac"
    whole = counts() if dtype == "int16" else counts().astype(np.int32) << 16
    soundfile.write(str(path), whole, RATE_HZ, subtype=subtype)
    found = read(path, volts_per_lsb=gain)
    assert_same(found)
    assert np.array_equal(found.channel.values, counts().astype(int) * round(GAIN / gain))


def test_numpy_floats_are_volts(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    wave_v = volts()
    wave_v[100] = math.nan
    np.save(path, wave_v)
    found = read(path, rate_hz=1600.0)
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(100, 1)]
    np.save(path, np.stack([volts(), -volts()]))
    assert_same(read(path, rate_hz=1600.0, channel="column 2"), -volts())
    for dtype in (np.int16, np.int32, np.int64, ">i2"):
        np.save(path, counts().astype(dtype))
        assert_same(read(path, rate_hz=1600.0, volts_per_lsb=GAIN))


def test_npz_and_hdf5_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", u=volts(), i=volts())
    assert_same(read(tmp_path / "a.npz", rate_hz=1600.0, channel="u"))
    h5py = pytest.importorskip("h5py", reason="the extra `recordings` is not installed")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["mains/u"] = volts()
        file.attrs["fs"] = 1600.0
    assert_same(read(tmp_path / "a.h5"))


@pytest.mark.skipif(sys.platform == "win32", reason="a sparse file")
def test_wav_of_hours_is_mapped_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "day.wav"
    head = wav(b"", length=2**31)
    path.write_bytes(head)
    os.truncate(path, len(head) + 2**31)
    found = read(path, volts_per_lsb=GAIN)
    assert found.samples == 2**30 and isinstance(found.channel.values.base, np.memmap)
