"""The facts that an exported file states about its samples: Box, calibration, clock, software, licence.

A `WaveformRecord` is one Box's waveform of one event with those facts; the writers in this folder are pure
functions of it. The time of the export is not among the facts, so that the same data give the same bytes.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.event_record import NO_EVENT, EventRecord
from opq_cloud.store.unknown_gain import gain_advice
from opq_proto.errors import OpqError
from opq_proto.messages import Waveform, known_uncertainty_ns
from opq_proto.wire.half_cycles import HalfCycleRms

PIECE_SAMPLES = 1 << 16
"""The number of samples that a writer holds as text at once."""
NANOSECONDS = 10**9


class ExportError(OpqError):
    """Nothing can be exported: unknown id, nothing stored, or a format that does not fit."""


@cache
def software_name() -> str:
    """Name and version of this software: `opq-toolkit 0.1.0`."""
    try:
        return f"opq-toolkit {version('opq-toolkit')}"
    except PackageNotFoundError:  # run from a folder, never installed
        return "opq-toolkit"


@dataclass(frozen=True, slots=True)
class WaveformRecord:
    """One Box's waveform of an event, or a recording's channel, with its provenance."""

    wave: Waveform
    event: EventRecord
    """The facts of a recording that is not in a store; its event is NO_EVENT."""
    box: BoxRecord
    licence: str = ""
    """The terms on which the data may be used; empty where none are stated."""
    half_cycles: HalfCycleRms | None = None
    """Urms(1/2) between the ends of a long dip or swell, as its gateway recorded it."""
    judged_v: float | None = None
    """The nominal voltage that the event was judged by; None where no finding states it."""
    name: str = ""
    """The name of its files without a suffix, if it is not made from event and Box."""

    @property
    def stem(self) -> str:
        """The name of its files without a suffix, safe on every file system."""
        return self.name or f"event-{self.event.event_id}-box-{safe_name(self.wave.box_id)}"

    @property
    def title(self) -> str:
        """A short title."""
        of = "Recording" if self.event.event_id == NO_EVENT else f"Event {self.event.event_id}"
        return f"{of}, Box {self.wave.box_id}"

    @property
    def samples(self) -> int:
        """The number of samples on the time axis, gaps included."""
        return len(self.wave.counts) + sum(gap.samples for gap in self.wave.gaps)

    def _nominal_from(self) -> str:
        if self.judged_v is not None:
            return "findings"
        return "record" if self.wave.nominal_v is None else "samples"

    def facts(self) -> dict[str, object]:
        """Provenance as JSON; unknown facts are None. The cloud does not know a gateway's firmware."""
        wave, box = self.wave, self.box
        return {
            "event_id": None if self.event.event_id == NO_EVENT else self.event.event_id,
            "because": self.event.because,
            "box_id": wave.box_id,
            "box_name": box.name,
            "phase": box.phase,
            "firmware": None,
            "nominal_volts": self.judged_v or wave.nominal_v or box.nominal_v,
            "nominal_from": self._nominal_from(),
            "nominal_hz": wave.nominal_hz or box.nominal_hz,
            "start_id": wave.start_id,
            "rate_hz": wave.rate_hz,
            "rate_millihz": wave.rate_millihz,
            "volts_per_lsb": wave.v_per_lsb if wave.gain_known else None,
            "problem": None if wave.gain_known else gain_advice(wave.box_id),
            "start_ns": wave.start_ns,
            "start_utc": utc_text(wave.start_ns),
            "uncertainty_ns": known_uncertainty_ns(wave.uncertainty_ns),
            "time_source": wave.source.name.lower(),
            "first_sample": wave.first_sample,
            "samples": len(wave.counts),
            "gaps": [asdict(gap) for gap in wave.gaps],
            "software": software_name(),
            "licence": self.licence or None,
        }


@dataclass(frozen=True, slots=True)
class AxisPiece:
    """Consecutive samples on a record's time axis; `counts` is None for a gap."""

    position: int
    """The position of its first sample, counted from the record's first sample."""
    samples: int
    counts: NDArray[np.int16] | None

    def offsets_ns(self, rate_millihz: int) -> NDArray[np.int64]:
        """(samples,) int64, nanoseconds from the record's start; exact, as in `Waveform.time_ns`."""
        whole, rest = divmod(self.position * 10**12, rate_millihz)
        steps = np.arange(self.samples, dtype=np.int64) * 10**12
        return whole + (rest + steps) // rate_millihz


def axis_pieces(wave: Waveform) -> Iterator[AxisPiece]:
    """Yields the whole time axis of a waveform, at most PIECE_SAMPLES at a time."""
    position = 0
    for run in wave.runs():
        first = run.first_sample - wave.first_sample
        yield from _pieces(position, first - position, None)
        yield from _pieces(first, len(run.counts), run.counts)
        position = first + len(run.counts)
    whole = len(wave.counts) + sum(gap.samples for gap in wave.gaps)
    yield from _pieces(position, whole - position, None)


def _pieces(first: int, samples: int, counts: NDArray[np.int16] | None) -> Iterator[AxisPiece]:
    for at in range(0, samples, PIECE_SAMPLES):
        part = None if counts is None else counts[at : at + PIECE_SAMPLES]
        yield AxisPiece(first + at, min(PIECE_SAMPLES, samples - at), part)


def utc_text(t_ns: int) -> str:
    """A time in UTC to the nanosecond: `2026-11-20T08:13:22.508831000Z`."""
    seconds, below_ns = divmod(t_ns, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{below_ns:09d}Z"


def safe_name(text: str) -> str:
    """The text as a file name of 64 characters at most: only letters, digits, `-`, `_` and `.` stay."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".")[:64] or "_"
