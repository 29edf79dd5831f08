"""The class of a recording, by the same function with which Mauka classifies waveforms."""

from collections.abc import Callable
from dataclasses import replace

from opq_analyze.measuring import Measured, measured
from opq_analyze.nominal_values import consistent, nominal_of
from opq_analyze.recorder_faults import faults_of, stuck_parts
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classified_parts import Classification
from opq_measure.classification.classifier import classification_of
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_proto.errors import RecordingError
from opq_recordings.bridging import bridged_samples, bridged_volts
from opq_recordings.recording import Recording, Run, without_spans

LONGEST_SAMPLES = 1 << 25
"""46 minutes at 12 kS/s, 0.3 GB as volts; a class describes an event, not a day."""


def classified(
    whole: Recording, show: Callable[[int], None] | None = None
) -> tuple[Measured, Classification]:
    """The class of a recording, and how it was measured; of one with gaps, of the longest part without one.

    Raises:
        RecordingError: nothing can be measured, or it is too long.
    """
    whole = consistent(whole)
    nominal = nominal_of(whole)
    if stuck := stuck_parts(faults_of(whole, nominal)):
        whole = replace(whole, channel=without_spans(whole.channel, stuck))
    recording = without_gaps(whole, nominal.hz)
    if recording.samples > LONGEST_SAMPLES:
        raise RecordingError(
            f"{recording.path} has {recording.samples} samples; classify takes {LONGEST_SAMPLES} at most, "
            "analyze takes any number"
        )
    limits = ClassLimits()
    found = measured(recording, limits.rms, nominal, show=show)
    return found, class_of(found, limits)


def classified_again(found: Measured, limits: ClassLimits) -> tuple[Measured, Classification]:
    """The class of a measured recording; if it has gaps, its longest part is measured again.

    Raises:
        RecordingError: as `classified`.
    """
    if without_gaps(found.recording, found.nominal.hz) is found.recording:
        return found, class_of(found, limits)
    return classified(found.recording)


def class_of(found: Measured, limits: ClassLimits) -> Classification:
    """The class of a recording without gaps that was measured with these limits and all quantities."""
    if found.kind is not None:
        fault = next(each for each in found.faults if each.whole)
        return Classification(fault.kind, 1.0, None, (), fault.because)
    recording = found.recording
    volts = bridged_volts(recording.volts(0, recording.samples), recording.samples)
    return classification_of(MeasuredSignal(volts, found.analysis, limits.rms), limits)


def without_gaps(recording: Recording, nominal_hz: float) -> Recording:
    """The longest part without a gap, as a recording; `problems` names the part.

    Gaps of an eighth of a cycle do not part it (`opq_recordings.bridging`).
    """
    most = bridged_samples(recording.rate_hz, nominal_hz)
    parts: list[list[Run]] = []
    for run in recording.channel.runs:
        if parts and run.first_sample - parts[-1][-1].first_sample - parts[-1][-1].samples <= most:
            parts[-1].append(run)
        else:
            parts.append([run])
    if len(parts) <= 1:
        return recording
    longest = max(parts, key=lambda part: sum(run.samples for run in part))
    first, end = longest[0].first_sample, longest[-1].first_sample + longest[-1].samples
    runs = tuple(replace(run, first_sample=run.first_sample - first) for run in longest)
    problem = (
        f"it has {len(parts) - 1} gaps; its longest part without one was classified, "
        f"{first / recording.rate_hz:.4f} to {end / recording.rate_hz:.4f} s"
    )
    return replace(
        recording,
        channel=replace(recording.channel, runs=runs, samples=end - first),
        start_ns=recording.time_ns(first),
        problems=(*recording.problems, problem),
    )
