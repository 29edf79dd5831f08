"""`opq-tools classify FILE`: the disturbances in a recording, with confidence and reasons.

Mauka classifies waveforms by the same function (`opq_measure.classification`). Recordings are read as
`analyze` reads them.
"""

import json
from pathlib import Path

import click

from opq_analyze.classifying import classified
from opq_analyze.measuring import Measured
from opq_measure.classification.classified_parts import Classification
from opq_proto.kit.shared_options import json_option
from opq_proto.visible_text import visible
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import recordings_in
from opq_tools.recordings.analyze.options import recording_options
from opq_tools.recordings.analyze.shown_measuring import check_complete, readable, title_of, warn_of
from opq_tools.shared.progress import shown_progress

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
    nothing can be said. Several recordings of one file are classified each, with --json a line each.

    \b
    Example:
      opq-tools classify event_9354_box1.i16
      opq-tools classify mains.csv --nominal-volts 230 --nominal-hz 50 --json
    """
    all_in = recordings_in(file, given)
    recordings = readable(all_in)
    for number, recording in enumerate(recordings, 1):
        with shown_progress(f"classifying {visible(file.name)}", recording.samples) as show:
            found, classification = classified(recording, show)
        warn_of(found)
        if len(recordings) > 1 and not as_json:
            click.echo(title_of(number, recordings))
        _print(classification, found, file, as_json)
    check_complete(file, all_in)


def _print(found: Classification, measured_signal: Measured, file: Path, as_json: bool) -> None:
    if as_json:
        summary = measured_signal.summary(str(file))
        facts = {key: summary[key] for key in FACTS}
        click.echo(json.dumps({**found.entry(str(file)), **facts}, allow_nan=False))
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
