"""Faults of the recorder: a recording without mains, a stuck value, a clipping converter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opq_analyze.nominal_values import Nominal
from opq_measure.signal_faults import clipped_at, has_mains, stuck_spans
from opq_recordings.recording import Recording

FAULT_SAMPLES = 1 << 20
"""Most samples that are searched for faults of the recorder."""
STRETCH_SAMPLES = 1 << 15
"""Samples of one searched stretch."""
CLIP_PIECES = 8
"""Pieces that are searched for clipping, 12 minutes at 12 kS/s."""
OFF_SHARE = 0.1
"""Share of a stated nominal voltage below which a recording without mains is an interruption."""


@dataclass(frozen=True, slots=True)
class RecorderFault:
    """A fault, `no_mains`, `stuck` or `clipped`, from `first` to before `stop` on the axis."""

    kind: str
    first: int
    stop: int
    because: str
    whole: bool = False

    def entry(self, rate_hz: float) -> dict[str, object]:
        return {
            "kind": self.kind,
            "start_s": self.first / rate_hz,
            "end_s": self.stop / rate_hz,
            "because": self.because,
        }


def faults_of(recording: Recording, nominal: Nominal) -> tuple[RecorderFault, ...]:
    """The recorder's faults, or that the channel has no mains. Exact zeros are not a fault."""
    found = []
    gain = recording.v_per_lsb
    clip_v: float | None = None
    for number, piece in enumerate(recording.pieces(FAULT_SAMPLES)):
        for span in stuck_spans(piece.volts, recording.rate_hz):
            first, stop = piece.first_sample + span.start, piece.first_sample + span.stop
            whole = stop - first >= recording.samples
            found.append(
                RecorderFault("stuck", first, stop, f"every sample is {gain * span.value:.6g} V", whole)
            )
        if clip_v is None and number < CLIP_PIECES:
            level = clipped_at(piece.volts, recording.rate_hz, nominal.hz)
            clip_v = None if level is None else gain * level
    if clip_v is not None and not found:
        because = f"most cycles are cut flat at {clip_v:.6g} V; harmonics and peaks are the recorder's"
        found.append(RecorderFault("clipped", 0, recording.samples, because))
    if not any(each.whole for each in found):
        found += _only_levels(recording, nominal, found) or _no_mains(recording, nominal)
    return tuple(found)


def stuck_parts(faults: Sequence[RecorderFault]) -> list[tuple[int, int]]:
    """[first, stop) of each stuck part; empty where a fault concerns the whole, because nothing would be
    left."""
    if any(each.whole for each in faults):
        return []
    return [(each.first, each.stop) for each in faults if each.kind == "stuck"]


def _only_levels(
    recording: Recording, nominal: Nominal, found: Sequence[RecorderFault]
) -> list[RecorderFault]:
    """A fault of the whole recording where less than a cycle is left beside its constant levels."""
    levels = [each for each in found if each.kind == "stuck"]
    stuck = sum(each.stop - each.first for each in levels)
    there = sum(run.samples for run in recording.channel.runs)
    if not levels or there - stuck >= recording.rate_hz / nominal.hz:
        return []
    sums = [float(np.sum(piece.volts, dtype=np.float64)) for piece in recording.pieces(FAULT_SAMPLES)]
    mean_v = recording.v_per_lsb * sum(sums) / there
    because = f"it consists of {len(levels)} constant levels; a mean of {mean_v:.4g} V"
    return [RecorderFault("no_mains", 0, recording.samples, because, whole=True)]


def _no_mains(recording: Recording, nominal: Nominal) -> list[RecorderFault]:
    """A fault of the whole recording where no stretch has a fundamental, unless its supply is off."""
    longest = recording.longest_run()
    length = min(longest.samples, STRETCH_SAMPLES)
    firsts = np.unique(np.linspace(0, longest.samples - length, 8).astype(np.int64)) + longest.first_sample
    stretches = [recording.volts(int(first), int(first) + length) for first in firsts]
    if has_mains(stretches, recording.rate_hz, nominal.hz):
        return []
    rms_v = max(math.sqrt(float(np.mean(volts**2))) for volts in stretches)
    off = nominal.volts is not None and nominal.volts_from == "stated" and rms_v < OFF_SHARE * nominal.volts
    if off:
        return []
    mean_v = float(np.mean(stretches[0]))
    shown = f"a mean of {mean_v:.4g} V" if abs(mean_v) > rms_v / 2 else "noise"
    because = f"no line near {nominal.hz:g} Hz; {shown}, {rms_v:.4g} V rms"
    return [RecorderFault("no_mains", 0, recording.samples, because, whole=True)]
