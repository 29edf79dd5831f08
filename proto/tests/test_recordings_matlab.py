"""MATLAB files: what SciPy wrote is read as SciPy reads it, and a damaged file does not end the process."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy  # loads scipy.io where it is used
from recordings_under_test import volts

from opq_proto.errors import RecordingError
from opq_recordings.mat_file import mat_arrays
from opq_recordings.reading import read_recording

TYPES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


@pytest.mark.parametrize(("form", "packed"), [("5", False), ("5", True), ("4", False)])
def test_arrays_equal_scipys(tmp_path: Path, form: str, packed: bool) -> None:
    path = tmp_path / "a.mat"
    some = {
        f"x{k}": np.arange(12).reshape(4, 3).astype(t) for k, t in enumerate(TYPES) if form == "5" or k < 1
    }
    others = {"line": np.arange(5.0), "scalar": 50.0, "text": "volts", "turned": np.array([1 + 2j, 3.0])}
    nested = {"cells": np.array([1.0, "a"], dtype=object), "facts": {"fs": 1600.0}} if form == "5" else {}
    scipy.io.savemat(path, {**some, **others, **nested}, format=form, do_compression=packed)
    found, wanted = mat_arrays(path), scipy.io.loadmat(path, squeeze_me=True)
    of_5 = ("text", "facts.fs", "cells(1)", "cells(2)")
    assert set(found) == {*some, "line", "scalar", *(of_5 if form == "5" else ())}
    if form == "5":
        assert found.pop("cells(1)") == 1.0 and str(found.pop("cells(2)")) == "a"
        assert str(found.pop("text")) == "volts" and float(found.pop("facts.fs")) == 1600
    for name, array in found.items():
        assert array.dtype == wanted[name].dtype if hasattr(wanted[name], "dtype") else array.ndim == 0
        assert np.array_equal(array, wanted[name])


def test_the_other_byte_order_is_read(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    parts = [
        (6, struct.pack(">II", 6, 0)),
        (5, struct.pack(">ii", 1, 3)),
        (1, b"u"),
        (4, struct.pack(">3H", 1, 2, 500)),
    ]
    array = element(14, b"".join(element(*each) for each in parts))
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "a.mat").write_bytes(head + array)
    assert mat_arrays(tmp_path / "a.mat")["u"].tolist() == [1.0, 2.0, 500.0]
    packed = zlib.compress(array)
    (tmp_path / "b.mat").write_bytes(head + struct.pack(">II", 15, len(packed)) + packed)
    assert mat_arrays(tmp_path / "b.mat")["u"].tolist() == [1.0, 2.0, 500.0]


def test_a_recording_with_its_rate_is_read(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"u": volts(), "fs": 1600.0})
    found = read_recording(tmp_path / "a.mat")
    assert found.rate_hz == 1600 and np.array_equal(found.volts(0, found.samples), volts())


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"u": volts(), "fs": 1600.0})
    whole = path.read_bytes()
    for content in (
        whole[:-9],
        whole[:130],
        whole[:126] + b"XX" + whole[128:],
        b"",
        b"\1\0\0\0",
        whole[128:],
    ):
        path.write_bytes(content)
        with pytest.raises(
            RecordingError, match=r"a\.mat: (is not a readable MATLAB file|has no array|is empty)"
        ):
            read_recording(path)
