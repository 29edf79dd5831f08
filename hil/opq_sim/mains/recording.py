"""A recorded waveform for replay: raw int16, and a .json of the same name."""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError

LARGEST_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Recording:
    """Converter counts, and the values that convert them to volts."""

    name: str
    counts: NDArray[np.int16]
    rate_millihz: int
    v_per_lsb: float
    nominal_v: float
    nominal_hz: float
    effective_bits: float
    box_id: str | None
    axis_samples: float | None
    """Position of sample 0 on a time axis that recordings of one event share."""

    @property
    def volts(self) -> NDArray[np.float64]:
        return self.counts.astype(np.float64) * self.v_per_lsb

    @property
    def rate_hz(self) -> float:
        return self.rate_millihz / 1000


def read_recording(path: Path | str) -> Recording:
    """Reads `path` (.i16) and its .json, with the keys of the recordings' metadata.

    Raises:
        RecordingError: which file, what is wrong with it, what is allowed.
    """
    path = Path(path)
    if path.suffix != ".i16":
        raise RecordingError(
            f"{path}: a replay wants raw int16 samples in a file named .i16, .json beside it"
        )
    meta_path = path.with_suffix(".json")
    data = _read(path)
    if not data or len(data) % 2:
        raise RecordingError(f"{path}: {len(data)} bytes; want a whole number of int16 samples, at least one")
    try:
        meta = json.loads(_read(meta_path))
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{meta_path}: is no JSON: {error}") from error
    if not isinstance(meta, dict):
        raise RecordingError(f"{meta_path}: want an object of keys")
    checksum = meta.get("sha256")
    if isinstance(checksum, str) and checksum and hashlib.sha256(data).hexdigest() != checksum.lower():
        raise RecordingError(f"{path}: its sha256 is not the one in {meta_path.name}; get the file again")
    rate_hz = _positive(meta, "rate_hz", None, meta_path)
    axis = meta.get("first_sample_on_box1_axis")
    box_id = meta.get("box_id")
    if box_id is not None and not (str(box_id).isdecimal() and 0 < int(box_id) <= 0xFFFF_FFFF):
        raise RecordingError(f"{meta_path}: box_id is {box_id!r}; want a whole number from 1 to 4294967295")
    return Recording(
        name=path.name,
        counts=np.frombuffer(data, "<i2").astype(np.int16),
        rate_millihz=round(rate_hz * 1000),
        v_per_lsb=_positive(meta, "volts_per_lsb", None, meta_path),
        nominal_v=_positive(meta, "nominal_volts", 120.0, meta_path),
        nominal_hz=_positive(meta, "nominal_hz", 60.0, meta_path),
        effective_bits=_positive(meta, "significant_bits", 16.0, meta_path),
        box_id=str(int(box_id)) if box_id is not None else None,
        axis_samples=_number(axis),
    )


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # the end of a pipe might never come
            raise RecordingError(f"{path}: is no file")
        if path.stat().st_size > LARGEST_BYTES:
            raise RecordingError(f"{path}: larger than {LARGEST_BYTES >> 20} MiB; cut the event out")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: there is no such file") from error
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error


def _number(value: Any) -> float | None:
    """A finite JSON number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def _positive(meta: dict[str, Any], key: str, default: float | None, path: Path) -> float:
    if key not in meta and default is None:
        raise RecordingError(f"{path}: {key} is missing; want a positive number")
    value = _number(meta.get(key, default))
    if value is None or value <= 0:
        raise RecordingError(f"{path}: {key} is {meta.get(key)!r}; want a positive number")
    return value
