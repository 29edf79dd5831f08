"""The nominal values of a recording: stated, or estimated from its samples with a sureness."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from opq_measure.nominal import cycle_rms_v, estimated_hz, estimated_volts
from opq_measure.signal import FloatArray
from opq_recordings.recording import Recording

DEFAULT_NOMINAL_HZ = 60.0
"""Used where neither a person nor the samples state it, as for silence or noise."""
EXAMINED_SAMPLES = 1 << 22
"""Samples for estimating a nominal voltage: all of a short recording, else STRETCHES_EXAMINED parts."""
STRETCHES_EXAMINED = 128
"""Number of stretches of a long recording."""

LEAST_SURENESS = 0.9
"""From this sureness on, another frequency contradicts the stated one."""
OTHER_HZ_SHARE = 0.1
"""Least difference from the stated frequency that contradicts it, as a share."""
LEAST_V = 0.02
"""A clean wave of less than this many times the stated voltage is not of it; induced voltage is small."""
MOST_V = 3.0
"""A clean wave of more than this many times the stated voltage is not of it; a swell is smaller."""


@dataclass(frozen=True, slots=True)
class Nominal:
    """The nominal values by which a recording is judged, with origin and sureness."""

    volts: float | None
    """None: unknown, so that an rms verdict must not be given."""
    hz: float
    volts_from: str = "stated"
    hz_from: str = "stated"
    volts_sureness: float = 1.0
    hz_sureness: float = 1.0
    median_rms_v: float | None = None

    @property
    def assumed(self) -> dict[str, float | None]:
        """The keys of the contract whose value is not stated, with the assumed value."""
        volts = {} if self.volts_from == "stated" else {"nominal_volts": self.volts}
        return volts | ({} if self.hz_from == "stated" else {"nominal_hz": self.hz})


def nominal_of(recording: Recording) -> Nominal:
    """The nominal values, stated or estimated from the samples."""
    stated = Nominal(recording.nominal_v, recording.nominal_hz or DEFAULT_NOMINAL_HZ)
    if recording.nominal_v is not None and recording.nominal_hz is not None:
        return stated
    if recording.nominal_hz is None:
        longest = recording.longest_run()
        first = longest.first_sample
        some = recording.volts(first, first + min(longest.samples, EXAMINED_SAMPLES >> 5))
        found = estimated_hz(some, recording.rate_hz)
        stated = replace(
            stated,
            hz=found.value or DEFAULT_NOMINAL_HZ,
            hz_from="estimated" if found.value else "default",
            hz_sureness=found.sureness,
        )
    if recording.nominal_v is None:
        rms_v = cycle_rms_v(_stretches(recording), recording.rate_hz, stated.hz)
        found = estimated_volts(rms_v, stated.hz if stated.hz_from != "default" else None)
        stated = replace(
            stated,
            volts=found.value,
            volts_from="estimated" if found.value else "unknown",
            volts_sureness=found.sureness,
            median_rms_v=float(np.median(rms_v)) if len(rms_v) else None,
        )
    return stated


def consistent(recording: Recording) -> Recording:
    """The recording without nominal values that its own samples contradict, which become problems.

    Converters write 50 or 60 Hz into every file, and meters the primary voltage beside secondary samples.
    Values that a person states stay.
    """
    stated_hz = recording.nominal_hz if recording.hz_of_file else None
    stated_v = recording.nominal_v if recording.volts_of_file else None
    if stated_hz is None and stated_v is None:
        return recording
    longest = recording.longest_run()
    first = longest.first_sample
    some = recording.volts(first, first + min(longest.samples, EXAMINED_SAMPLES >> 5))
    found = estimated_hz(some, recording.rate_hz)
    if found.value is None or found.sureness < LEAST_SURENESS:
        return recording
    if stated_hz is not None and abs(found.value / stated_hz - 1) >= OTHER_HZ_SHARE:
        problem = f"it states {stated_hz:g} Hz, but its samples are of a mains of {found.value:.4g} Hz"
        recording = replace(recording, nominal_hz=None, problems=(*recording.problems, problem))
    if stated_v is not None:
        rms_v = cycle_rms_v(_stretches(recording), recording.rate_hz, found.value)
        if len(rms_v) and not LEAST_V * stated_v <= float(np.median(rms_v)) <= MOST_V * stated_v:
            problem = (
                f"it states a nominal voltage of {stated_v:.6g} V, but its median rms is "
                f"{np.median(rms_v):.4g} V"
            )
            recording = replace(recording, nominal_v=None, problems=(*recording.problems, problem))
    return recording


def _stretches(recording: Recording) -> Iterator[FloatArray]:
    """The volts between gaps; of a long recording some stretches, evenly over all of it."""
    every = max(1, recording.samples // EXAMINED_SAMPLES * 32)
    for k, piece in enumerate(recording.pieces(EXAMINED_SAMPLES // STRETCHES_EXAMINED)):
        if k % every == 0:
            yield np.asarray(piece.volts, dtype=np.float64) * piece.v_per_lsb
