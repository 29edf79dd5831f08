"""Measures a recording for a person at a terminal, who sees its progress and what was assumed.

Short, because `opq_analyze.measuring` measures; three commands share these functions.
"""

from collections.abc import Sequence
from pathlib import Path

import click

from opq_analyze.measuring import Measured, Wanted, measured, warnings_of
from opq_analyze.nominal_values import Nominal
from opq_measure.events.limits import Limits
from opq_proto.errors import RecordingError
from opq_proto.visible_text import visible
from opq_recordings.recording import Recording
from opq_tools.shared.progress import shown_progress


def measured_with_progress(
    recording: Recording, limits: Limits, nominal: Nominal | None = None, wanted: Wanted | None = None
) -> Measured:
    """As `opq_analyze.measuring.measured`, with its progress on a terminal."""
    with shown_progress(f"measuring {visible(recording.path.name)}", recording.samples) as show:
        return measured(recording, limits, nominal, wanted, show)


def warn_of(found: Measured) -> None:
    """Says on stderr what was assumed and what was contradictory, a line each."""
    for text in warnings_of(found):
        click.echo(f"opq-tools: {visible(found.recording.path.name)}: {text}", err=True)


def readable(recordings: Sequence[Recording | RecordingError]) -> list[Recording]:
    """Those recordings of a file that can be read; the faults of the others are said on stderr."""
    for each in recordings:
        if isinstance(each, RecordingError):
            click.echo(f"opq-tools: {each}", err=True)
    return [each for each in recordings if isinstance(each, Recording)]


def check_complete(path: Path, recordings: Sequence[Recording | RecordingError]) -> None:
    """Raises RecordingError where a recording of the file could not be read."""
    if left := sum(isinstance(each, RecordingError) for each in recordings):
        raise RecordingError(f"{path}: {left} of its {len(recordings)} recordings could not be read")


def title_of(number: int, recordings: Sequence[Recording]) -> str:
    """The line above what is said of one of several recordings of a file."""
    return f"recording {number} of {len(recordings)}: {recordings[number - 1].channel.name}"
