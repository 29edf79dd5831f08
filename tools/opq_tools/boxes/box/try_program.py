"""`opq-tools box program try`: a user's `box.py` on a recording, without a Box."""

import json
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opq_proto.kit.shared_options import json_option
from opq_proto.link.user_program import MESSAGES_PER_CALL
from opq_proto.visible_text import visible
from opq_recordings.facts import RecordingFacts
from opq_tools.boxes.box.program import ProgramFileError, read_program_file
from opq_tools.boxes.box.program_on_host import (
    ChannelMessage,
    HostProgram,
    LogLine,
    Message,
    ProgramStoppedError,
    SentCrossing,
)
from opq_tools.recordings.analyze.options import recording_options

if TYPE_CHECKING:
    from opq_recordings.recording import Recording

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MESSAGES = {LogLine: "log", SentCrossing: "crossing", ChannelMessage: "channel"}
NOT_JUDGED = ("time", "heap")
"""Limits of the Box that this machine cannot keep."""


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message with the place of its window; None: it came from the program's body, before any window."""

    message: Message
    window: int | None
    """Number of the window, from 0."""
    start_s: float | None
    """Start of the window after the recording's first sample."""
    t_ns: int | None
    """UTC of it; None also where the recording states no time."""

    def entry(self) -> dict[str, object]:
        """The object of the JSON."""
        what = MESSAGES[type(self.message)]
        place = {"window": self.window, "start_s": self.start_s, "t_ns": self.t_ns}
        return {"message": what, **place, **asdict(self.message)}

    def line(self) -> str:
        """The line of the text."""
        if self.start_s is None:
            return f"{'body':>12}  {self.message.words}"
        utc = ""
        if self.t_ns is not None:
            at = EPOCH + timedelta(microseconds=self.t_ns // 1000)
            utc = f"  {at.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
        return f"{self.start_s:10.4f} s{utc}  {self.message.words}"


@dataclass(slots=True)
class ProgramTrial:
    """What a program did with a recording."""

    windows: int = 0
    """Windows that it was called for, with the one that stopped it."""
    sent: list[SentMessage] = field(default_factory=list)
    not_sent: int = 0
    """Messages beyond those allowed in one call."""
    stopped: str | None = None
    """Why it was stopped, and where; None: it ran to the end."""


@click.command("try", short_help="Run a box.py on a recording, on this machine.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("recording", type=click.Path(path_type=Path))
@json_option
@recording_options
def try_program_command(file: Path, recording: Path, as_json: bool, given: RecordingFacts) -> None:
    """Run the program FILE on RECORDING, window by window; no Box is needed.

    FILE runs as Python with your own rights on this machine, without a sandbox: read a stranger's file first.
    RECORDING is what `analyze` reads. Each line of log and each crossing is shown with its window's time. The
    Box's limits of time and heap are not judged here. Exit code 1: the program is refused or was stopped.

    \b
    Example:
      opq-tools box program try box.py event_9354_box1.i16
      opq-tools box program try box.py mains.csv --nominal-hz 50 --json
    """
    from opq_analyze.nominal_values import consistent, nominal_of  # commands to a Box need no recording
    from opq_recordings.reading import read_recording

    text = read_program_file(file).decode()
    found = consistent(read_recording(recording, given))
    for problem in found.problems:
        click.echo(f"opq-tools: {visible(recording.name)}: {problem}", err=True)
    nominal_hz = nominal_of(found).hz
    trial = try_program(file, text, found, nominal_hz)
    if as_json:
        facts = {"channel": found.channel.name, "rate_hz": found.rate_hz, "nominal_hz": nominal_hz}
        result = {"windows": trial.windows, "not_sent": trial.not_sent, "stopped": trial.stopped}
        messages = [each.entry() for each in trial.sent]
        click.echo(json.dumps({**facts, **result, "not_judged": NOT_JUDGED, "messages": messages}))
    else:
        for each in trial.sent:
            click.echo(each.line())
        click.echo("\n".join(_end_lines(trial, nominal_hz)))
    if trial.stopped is not None:
        sys.exit(1)


def try_program(file: Path, text: str, recording: "Recording", nominal_hz: float) -> ProgramTrial:
    """Runs a program on a recording.

    Raises:
        ProgramFileError: it does not compile, raises in its body, or has no function `window`.
        RecordingError: the recording cannot be measured.
    """
    from opq_tools.boxes.box.recorded_windows import recorded_windows

    trial = ProgramTrial()
    with HostProgram() as program:
        try:
            program.load(text)
        except ProgramStoppedError as error:
            raise ProgramFileError(f"{file}: {error}") from error
        trial.sent += [SentMessage(each, None, None, None) for each in program.sent]
        for number, window in enumerate(recorded_windows(recording, nominal_hz)):
            start_s = window.first_sample / recording.rate_hz
            program.sent.clear()
            trial.windows += 1
            try:
                program.call(window)
            except ProgramStoppedError as error:
                trial.stopped = f"{error}; window {number}, {start_s:.4f} s"
            t_ns = recording.time_ns(window.first_sample)
            trial.sent += [SentMessage(each, number, start_s, t_ns) for each in program.sent]
            if trial.stopped is not None:
                break
        trial.not_sent = program.not_sent
    return trial


def _end_lines(trial: ProgramTrial, nominal_hz: float) -> list[str]:
    lines, crossings, values = (sum(type(each.message) is kind for each in trial.sent) for kind in MESSAGES)
    found = [
        f"windows: {trial.windows} at {nominal_hz:g} Hz; lines of log: {lines}; crossings: {crossings}; "
        f"values of channels: {values}; {' and '.join(NOT_JUDGED)} are not judged here"
    ]
    if trial.not_sent:
        found.append(f"not sent: {trial.not_sent} messages beyond {MESSAGES_PER_CALL} in one call")
    if trial.stopped is not None:
        found.append(f"stopped: {trial.stopped}")
    return found
