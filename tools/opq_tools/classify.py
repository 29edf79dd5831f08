"""`opq-tools classify FILE`: the disturbances in a recording, with confidence and reasons.

Mauka classifies waveforms by the same function (`opq_measure.classification`). Recordings are read as
`analyze` reads them.
"""

import json
from pathlib import Path

import click
import numpy as np

from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classifier import classification_of
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.classification.parts import Classification
from opq_proto.errors import RecordingError
from opq_proto.kit.command_line import json_option
from opq_tools.analyze.command import measured, recording_options
from opq_tools.analyze.recordings import RecordingFacts, read_recording

LONGEST_SAMPLES = 1 << 25
"""46 minutes at 12 kS/s, 0.3 GB as volts; a class describes an event, not a day."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@recording_options
@click.option(
    "--channel", help="COMTRADE: name or number of the analogue channel.  [default: the first voltage]"
)
def command(
    file: Path,
    as_json: bool,
    rate_hz: float | None,
    volts_per_lsb: float | None,
    nominal_volts: float | None,
    nominal_hz: float | None,
    channel: str | None,
) -> None:
    """The class of a recording, its confidence and severity, and the reasons.

    FILE is what `analyze` reads. Several classes at once are joined by +; `none` says that nothing is
    beyond its limit, `unknown` that nothing can be said.

    \b
    Example:
      opq-tools classify event_9354_box1.i16
      opq-tools classify mains.csv --nominal-volts 230 --nominal-hz 50 --json
    """
    given = RecordingFacts(rate_hz, volts_per_lsb, nominal_volts, nominal_hz)
    recording = read_recording(file, given, channel)
    if len(recording.samples) > LONGEST_SAMPLES:
        raise RecordingError(
            f"{file} has {len(recording.samples)} samples; classify takes {LONGEST_SAMPLES} at most, "
            "analyze takes any number"
        )
    limits = ClassLimits()
    volts = np.asarray(recording.samples, dtype=np.float64) * recording.v_per_lsb
    found = classification_of(MeasuredSignal(volts, measured(recording, limits.rms), limits.rms), limits)
    if as_json:
        click.echo(json.dumps(found.entry(str(file)), allow_nan=False))
        return
    print_classification(found)


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
