"""Measures a recording for a person at a terminal, who sees its progress and what was assumed.

Short, because `opq_analyze.measuring` measures; three commands share these functions.
"""

import click

from opq_analyze.measuring import Measured, Wanted, measured, warnings_of
from opq_analyze.nominal_values import Nominal
from opq_measure.events.limits import Limits
from opq_proto.errors import RecordingError
from opq_recordings.recording import Recording
from opq_tools.progress import shown_progress


def measured_with_progress(
    recording: Recording, limits: Limits, nominal: Nominal | None = None, wanted: Wanted | None = None
) -> Measured:
    """As `opq_analyze.measuring.measured`, with its progress on a terminal."""
    with shown_progress(f"measuring {recording.path.name}", recording.samples) as show:
        return measured(recording, limits, nominal, wanted, show)


def warn_of(found: Measured) -> None:
    """Says on stderr what was assumed and what was contradictory, a line each."""
    for text in warnings_of(found):
        click.echo(f"opq-tools: {found.recording.path.name}: {text}", err=True)


def check_complete(recording: Recording) -> None:
    """Raises RecordingError where further recordings of the file are left out."""
    if recording.others:
        count = len(recording.others)
        raise RecordingError(
            f"{recording.path}: {count} of {1 + count} recordings were left out; choose with --channel"
        )
