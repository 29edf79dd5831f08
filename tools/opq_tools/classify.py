"""`opq-tools classify FILE`: the disturbances in a recording, with confidence and reasons.

Mauka classifies waveforms by the same function (`opq_measure.classification`). Recordings are read as
`analyze` reads them.
"""

import json
from dataclasses import replace
from pathlib import Path

import click

from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classifier import classification_of
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.classification.parts import Classification
from opq_proto.errors import RecordingError
from opq_proto.kit.command_line import json_option
from opq_recordings.bridging import bridged_samples, bridged_volts
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording
from opq_recordings.recording import Recording, Run, without_spans
from opq_tools.analyze.measuring import Measured, measured, warn_of
from opq_tools.analyze.nominal_values import consistent, nominal_of
from opq_tools.analyze.options import recording_options
from opq_tools.analyze.recorder_faults import faults_of

LONGEST_SAMPLES = 1 << 25
"""46 minutes at 12 kS/s, 0.3 GB as volts; a class describes an event, not a day."""
FACTS = (
    "nominal_volts",
    "nominal_hz",
    "nominal",
    "format",
    "channel",
    "channels",
    "gaps",
    "faults",
    "assumed",
    "problems",
)
"""The keys of `analyze` that `classify` has too."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@recording_options
def command(file: Path, as_json: bool, given: RecordingFacts) -> None:
    """The class of a recording, its confidence and severity, and the reasons.

    FILE is what `analyze` reads; of a recording with gaps the longest part without one is classified.
    Several classes at once are joined by +; `none` says that nothing is beyond its limit, `unknown` that
    nothing can be said.

    \b
    Example:
      opq-tools classify event_9354_box1.i16
      opq-tools classify mains.csv --nominal-volts 230 --nominal-hz 50 --json
    """
    whole = consistent(read_recording(file, given))
    nominal = nominal_of(whole)
    stuck = [
        (each.first, each.stop)
        for each in faults_of(whole, nominal)
        if each.kind == "stuck" and not each.whole
    ]
    if stuck:
        whole = replace(whole, channel=without_spans(whole.channel, stuck))
    recording = without_gaps(whole, nominal.hz)
    if recording.samples > LONGEST_SAMPLES:
        raise RecordingError(
            f"{file} has {recording.samples} samples; classify takes {LONGEST_SAMPLES} at most, "
            "analyze takes any number"
        )
    limits = ClassLimits()
    measured_signal = measured(recording, limits.rms, nominal)
    warn_of(measured_signal)
    recording = measured_signal.recording
    if measured_signal.kind is not None:
        fault = next(each for each in measured_signal.faults if each.whole)
        found = Classification(fault.kind, 1.0, None, (), fault.because)
        _print(found, measured_signal, file, as_json)
        return
    volts = bridged_volts(recording.volts(0, recording.samples), recording.samples)
    found = classification_of(MeasuredSignal(volts, measured_signal.analysis, limits.rms), limits)
    _print(found, measured_signal, file, as_json)


def _print(found: Classification, measured_signal: Measured, file: Path, as_json: bool) -> None:
    if as_json:
        summary = measured_signal.summary(str(file))
        facts = {key: summary[key] for key in FACTS}
        click.echo(json.dumps({**found.entry(str(file)), **facts}, allow_nan=False))
        return
    print_classification(found)


def without_gaps(recording: Recording, nominal_hz: float) -> Recording:
    """The longest part without a gap, as a recording; which it is stands in `problems`.

    Gaps of a thirty-second of a cycle do not part it (`opq_recordings.bridging`).
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
        recording, channel=replace(recording.channel, runs=runs, samples=end - first),
        start_ns=recording.time_ns(first), problems=(*recording.problems, problem),
    )  # fmt: skip


def print_classification(found: Classification) -> None:
    """Prints a line for the class and one for each part."""
    severity = "" if found.severity is None else f", severity {found.severity:.1f} of 10"
    click.echo(f"{found.kind} (confidence {found.confidence:.3f}{severity})")
    for part in found.parts:
        end_s = part.found.end_s
        until = "to the end" if end_s is None else f"to {end_s:.4f} s"
        click.echo(f"  {part.found.start_s:9.4f} s {until}: {part.kind}, {part.confidence:.3f}")
        click.echo(f"      {part.because}")
    if not found.parts:
        click.echo(f"  {found.because}")
