"""The parts of a recording that become waveforms; of a long one, what was found with a little beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_analyze.measuring import Wanted
from opq_analyze.nominal_values import Nominal
from opq_measure.events.limits import Limits
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource, Waveform
from opq_proto.time_units import NS_PER_S
from opq_recordings.recording import Recording
from opq_tools.recordings.analyze.shown_measuring import measured_with_progress

FULL_SCALE = 32767
LONGEST_S = 600.0
"""An event's samples are read and drawn at once, so it is not longer."""
LASTING_S = 60.0
"""Of what lasts longer, its first minute is a part: a steady state may last as long as the recording."""
BESIDE_S = 2.0
"""Before and after what was found: a steady second, and room for its start."""


@dataclass(frozen=True, slots=True)
class RecordingPart:
    """Part of a recording from `start_ns` to before `end_ns`; `words` say which, empty for all of it."""

    start_ns: int
    end_ns: int
    words: str = ""


def parts_of(recordings: Sequence[tuple[Recording, Nominal]]) -> list[RecordingPart]:
    """All of the channels of a file where it is short; else a part for whatever was found, in time order.

    What is nearer than twice `BESIDE_S` is one part, as long as that is no longer than `LONGEST_S`. Empty
    where nothing is found in a long one.

    Raises:
        RecordingError: a channel cannot be measured.
    """
    spans = [span_of(recording) for recording, _ in recordings]
    first_ns, last_ns = min(span[0] for span in spans), max(span[1] for span in spans)
    longest_ns, beside_ns = round(LONGEST_S * NS_PER_S), round(BESIDE_S * NS_PER_S)
    if last_ns - first_ns <= longest_ns:
        return [RecordingPart(first_ns, last_ns)]
    found: list[tuple[int, int, str]] = []
    for recording, nominal in recordings:
        analysis = measured_with_progress(recording, Limits(), nominal, Wanted(cycles=False)).analysis
        for each in analysis.events:
            begin_ns = span_of(recording)[0] + round(each.start_s * NS_PER_S)
            end_ns = begin_ns + round(min(each.duration_s, LASTING_S) * NS_PER_S)
            kind = each.kind.replace("_", " ")
            if each.duration_s > LASTING_S:
                kind += f" of {each.duration_s:,.0f} s"
            found.append((max(first_ns, begin_ns - beside_ns), min(last_ns, end_ns + beside_ns), kind))
    parts = []
    for begin_ns, end_ns, kinds in _joined(sorted(found)):
        for start_ns in range(begin_ns, end_ns, longest_ns):
            stop_ns = min(end_ns, start_ns + longest_ns)
            start_s, stop_s, whole_s = (
                each / NS_PER_S for each in (start_ns - first_ns, stop_ns - first_ns, last_ns - first_ns)
            )
            words = f"{start_s:,.1f} to {stop_s:,.1f} s of {whole_s:,.0f} s: {', '.join(kinds)}"
            parts.append(RecordingPart(start_ns, stop_ns, words))
    return parts


def span_of(recording: Recording) -> tuple[int, int]:
    """Time of its first sample, and of its end; one whose start is not known begins at 0."""
    start_ns = recording.start_ns or 0
    return start_ns, start_ns + round(recording.samples / recording.rate_hz * NS_PER_S)


def waveform_of(box: str, recording: Recording, part: RecordingPart) -> Waveform | None:
    """The samples of a part as counts: as stored where they fit int16 without an offset, else of full scale.

    None where the channel has no sample in the part.
    """
    start_ns, channel = span_of(recording)[0], recording.channel
    begin, stop = (
        round((each - start_ns) * recording.rate_hz / NS_PER_S) for each in (part.start_ns, part.end_ns)
    )
    runs = [
        (max(begin, run.first_sample), min(stop, run.first_sample + run.samples), run)
        for run in channel.runs
        if run.first_sample < stop and run.first_sample + run.samples > begin
    ]
    if not runs:
        return None
    pieces = [channel.physical(run.row + first - run.first_sample, end - first) for first, end, run in runs]
    counts, gain = _counts(np.concatenate(pieces), channel.gain)
    first, end = runs[0][0], runs[-1][1]
    gaps = [each for each in recording.gaps if first < each.first_sample < end]
    return Waveform(
        box_id=box,
        start_ns=start_ns + round(first * NS_PER_S / recording.rate_hz),
        uncertainty_ns=UNKNOWN_UNCERTAINTY_NS,
        source=TimeSource.FREE,
        rate_millihz=round(recording.rate_hz * 1000),
        v_per_lsb=gain,
        first_sample=first,
        counts=counts,
        gaps=tuple(Gap(each.first_sample, each.samples, each.reason) for each in gaps),
    )


def _joined(found: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, list[str]]]:
    joined: list[tuple[int, int, list[str]]] = []
    for begin_ns, end_ns, kind in found:
        if joined and begin_ns <= joined[-1][1]:
            before_ns, until_ns, kinds = joined[-1]
            kinds = kinds if kind in kinds else [*kinds, kind]
            joined[-1] = (before_ns, max(end_ns, until_ns), kinds)
        else:
            joined.append((begin_ns, end_ns, [kind]))
    return joined


def _counts(values: NDArray[Any], gain: float) -> tuple[NDArray[np.int16], float]:
    """(n,) int16 and the volts of one: the values themselves where all are such numbers."""
    if values.dtype == np.int16:
        return values, gain
    if values.min() >= -FULL_SCALE - 1 and values.max() <= FULL_SCALE:
        counts = values.astype(np.int16)
        if np.array_equal(counts, values):
            return counts, gain
    volts = values.astype(np.float64) * gain
    gain = max(float(np.abs(volts).max(initial=0.0)), 1e-9) / FULL_SCALE
    return np.rint(volts / gain).astype(np.int16), gain
