"""A recording as a Box would have sampled it, for replay: int16 counts with the gain to volts.

Any recording that `opq_recordings` reads can be played; .i16 keeps its counts bit for bit, volts are rounded
to the counts of a 16-bit converter.
"""

import hashlib
import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_measure.nominal import cycle_rms_v, estimated_hz, estimated_volts
from opq_proto.errors import RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording
from opq_recordings.recording import Recording

LARGEST_BYTES = 512 * 2**20
FULL_SCALE = 32_000
"""Counts of the largest value of a recording that is not int16; some room is left, as in a Box."""


@dataclass(frozen=True, slots=True)
class ReplayedRecording:
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


def read_replay(path: Path | str) -> ReplayedRecording:
    """Reads a recording for replay; of .i16 also the further keys of its .json.

    Raises:
        RecordingError: which file, what is wrong with it, what is allowed; also for gaps, or several in one.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > LARGEST_BYTES:
        raise RecordingError(f"{path}: larger than {LARGEST_BYTES >> 20} MiB; cut the event out")
    found = read_recording(path, RecordingFacts())
    if found.others:
        raise RecordingError(
            f"{path}: holds {1 + len(found.others)} recordings, and a Box plays one; write it out, such as "
            f"opq-tools export events {shlex.quote(str(path))} --channel {shlex.quote(found.channel.name)} "
            "--format csv --out one.csv"
        )
    if found.gaps:
        raise RecordingError(f"{path}: has {len(found.gaps)} gaps, which a Box cannot play; cut a part out")
    meta, meta_path = found.facts, path.with_suffix(".json")
    checksum = meta.get("sha256")
    if (
        isinstance(checksum, str)
        and checksum
        and hashlib.sha256(path.read_bytes()).hexdigest() != checksum.lower()
    ):
        raise RecordingError(f"{path}: its sha256 is not the one in {meta_path.name}; get the file again")
    box_id = found.box_id
    if box_id is not None and not (box_id.isdecimal() and 0 < int(box_id) <= 0xFFFF_FFFF):
        raise RecordingError(
            f"{meta_path}: box_id is {box_id!r:.40}; want a whole number from 1 to 4294967295"
        )
    counts, v_per_lsb = _counts(found)
    nominal_v, nominal_hz = _nominal(found)
    return ReplayedRecording(
        name=path.name,
        counts=counts,
        rate_millihz=round(found.rate_hz * 1000),
        v_per_lsb=v_per_lsb,
        nominal_v=nominal_v,
        nominal_hz=nominal_hz,
        effective_bits=_significant_bits(meta, meta_path),
        box_id=str(int(box_id)) if box_id is not None else None,
        axis_samples=_number(meta.get("first_sample_on_box1_axis")),
    )


def _counts(found: Recording) -> tuple[NDArray[np.int16], float]:
    """(n,) int16 and the volts of a count."""
    (run,) = found.channel.runs
    stored = found.channel.physical(run.row, run.samples)
    if stored.dtype.kind == "i" and stored.dtype.itemsize == 2:
        return stored.astype(np.int16), found.v_per_lsb
    volts = found.volts(0, found.samples)
    largest_v = float(np.abs(volts).max())
    if not 0 < largest_v < math.inf:
        raise RecordingError(f"{found.path}: is silent, every sample is 0")
    v_per_lsb = largest_v / FULL_SCALE
    return np.rint(volts / v_per_lsb).astype(np.int16), v_per_lsb


def _nominal(found: Recording) -> tuple[float, float]:
    """The nominal values, stated or estimated."""
    volts = found.volts(0, min(found.samples, 1 << 20))
    hz = found.nominal_hz or estimated_hz(volts, found.rate_hz).value or 60.0
    if found.nominal_v is not None:
        return found.nominal_v, hz
    rms_v = cycle_rms_v([volts], found.rate_hz, hz)
    return estimated_volts(rms_v, hz).value or (float(np.median(rms_v)) if len(rms_v) else 0.0) or 120.0, hz


def _number(value: Any) -> float | None:
    """A finite JSON number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def _significant_bits(meta: Mapping[str, object], path: Path) -> float:
    value = _number(meta.get("significant_bits", 16.0))
    if value is None or value <= 0:
        raise RecordingError(
            f"{path}: significant_bits is {meta.get('significant_bits')!r:.40}; want a positive number"
        )
    return value
