"""`opq-tools import event`: recordings of other instruments into the store, as events of a Box.

Each becomes a finished event that nobody analysed yet: a running Mauka analyses it within a second, else the
next one that starts. Its time is the recording's own, and its reason says where it comes from.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

from opq_analyze.nominal_values import Nominal, consistent, nominal_of
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.store import CloudStore
from opq_proto.errors import OpqError, RecordingError
from opq_proto.keys.key_files import checked_box_id
from opq_proto.kit.command_line import data_dir_option, json_option, mongo_option
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource, Trigger, Waveform
from opq_recordings.facts import RecordingFacts
from opq_recordings.folder import recordings_of
from opq_recordings.reading import read_recording
from opq_recordings.recording import Recording
from opq_tools.analyze.options import recording_options
from opq_tools.boxes.command import opened_store

LONGEST_S = 600.0
"""An event's samples are read and drawn at once; a longer recording is for `analyze`."""
LEAST_PER_CYCLE = 20
"""With fewer samples the analyses of events fail (`opq_measure.signal`)."""
NEAR = 0.25
"""A nominal voltage of a Box and one of a recording that differ by more are of two places."""
FULL_SCALE = 32767


@dataclass(frozen=True, slots=True)
class ImportedEvent:
    """One recording in the store."""

    event_id: int
    new: bool
    start_ns: int
    channels: dict[str, str]
    """Box -> the channel that became its waveform."""


@click.group("import")
def command() -> None:
    """Recordings of other instruments into the store, as events of a Box.

    Example: opq-tools import event archive/ --box 7
    """


@command.command("event", short_help="Recordings, or all below a folder, as events.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--box",
    "boxes",
    multiple=True,
    required=True,
    metavar="BOX[=CHANNEL]",
    help="The Box that the recordings are of, with the channel that is its voltage; repeatable, as for three "
    "phases.  [channel: the first voltage]",
)
@json_option
@recording_options
@data_dir_option
@mongo_option
def event(
    files: tuple[Path, ...],
    boxes: tuple[str, ...],
    as_json: bool,
    given: RecordingFacts,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Store recordings of any format that `analyze` reads as events, with their original times.

    FILE may be a folder: all recordings below it. A Box that does not exist is made with the nominal values
    of the first recording. Importing a file again changes nothing. A file that cannot be imported is named
    with the reason, the others are imported, and the command ends with 1. A running Mauka analyses the
    events, or the next one that starts.

    \b
    Examples:
      opq-tools import event relay.cfg --box 7
      opq-tools import event archive/ --box 7=Ua --box 8=Ub --box 9=Uc --unit kV
    """
    channels = _channels(boxes, given)
    failed = []
    imported: list[dict[str, object]] = []
    paths = recordings_of(files)
    with opened_store(mongo_uri, data_dir, make=True) as store:
        for path in paths:
            try:
                found = import_recording(store, path, channels, given)
            except (OpqError, OSError) as error:
                failed.append({"file": str(path), "why": _without(path, str(error))})
                click.echo(f"opq-tools: {error}", err=True)
                continue
            imported.append(
                {
                    "file": str(path), "event_id": found.event_id, "new": found.new,
                    "start_ns": found.start_ns, "channels": found.channels,
                }
            )  # fmt: skip
            if not as_json:
                click.echo(f"event {found.event_id}: {path}{'' if found.new else ' (was here already)'}")
    if as_json:
        click.echo(json.dumps({"imported": imported, "failed": failed}, indent=1))
    if failed:
        raise RecordingError(f"{len(failed)} of {len(paths)} recordings were not imported")


def import_recording(
    store: CloudStore, path: Path, channels: dict[str, str | None], given: RecordingFacts
) -> ImportedEvent:
    """Stores one recording; the same file with the same channels gives the same event.

    Args:
        channels: Box -> its channel; None: the first voltage.
    Raises:
        RecordingError: it cannot be read, has no start, is too long, or is of another nominal voltage.
        StoreError: nothing more was stored.
    """
    read = {
        box: consistent(read_recording(path, given if name is None else replace(given, channel=name)))
        for box, name in channels.items()
    }
    waves = {box: _waveform(path, box, recording) for box, recording in read.items()}
    nominals = {box: nominal_of(recording) for box, recording in read.items()}
    first = next(iter(read.values()))
    for box, nominal in nominals.items():
        _check_box(path, store.box(box), box, nominal, read[box].rate_hz)
    for box, nominal in nominals.items():
        _put_box(store, box, nominal)
    names = {box: recording.channel.name for box, recording in read.items()}
    what = f"{first.form}; {', '.join(names.values())} of {len(first.channels)} channels"
    because = f"imported from {path.name} ({what})"
    start_ns = min(each.start_ns for each in waves.values())
    trigger = Trigger(
        token=f"recording-{_digest(path, names)}",
        start_ns=start_ns,
        end_ns=max(each.end_ns for each in waves.values()),
        box_ids=tuple(waves),
        opened_by=next(iter(waves)),
        because=because,
    )
    event_id = store.open_event(trigger, because)
    for wave in waves.values():
        store.put_waveform(event_id, wave)
    return ImportedEvent(event_id, store.finish_event(event_id), start_ns, names)


def _channels(boxes: tuple[str, ...], given: RecordingFacts) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in boxes:
        box, equals, channel = text.partition("=")
        checked_box_id(box)
        if box in found:
            raise click.UsageError(f"--box {box} is given twice")
        found[box] = channel if equals else given.channel
    return found


def _waveform(path: Path, box: str, recording: Recording) -> Waveform:
    """The samples as counts: as stored where they are int16 without an offset, else of full scale."""
    if recording.start_ns is None:
        raise RecordingError(f"{path}: its start is not known; give --start")
    length_s = recording.samples / recording.rate_hz
    if length_s > LONGEST_S:
        raise RecordingError(f"{path}: is {length_s:,.0f} s long, want at most {LONGEST_S:g} s for an event")
    channel = recording.channel
    parts = [channel.physical(run.row, run.samples) for run in channel.runs]
    values, gain = np.concatenate(parts), channel.gain
    if values.dtype != np.int16:
        volts = values.astype(np.float64) * gain
        gain = max(float(np.abs(volts).max(initial=0.0)), 1e-9) / FULL_SCALE
        values = np.rint(volts / gain).astype(np.int16)
    gaps = tuple(Gap(each.first_sample, each.samples, each.reason) for each in recording.gaps)
    return Waveform(
        box_id=box,
        start_ns=recording.start_ns,
        uncertainty_ns=UNKNOWN_UNCERTAINTY_NS,
        source=TimeSource.FREE,
        rate_millihz=round(recording.rate_hz * 1000),
        v_per_lsb=gain,
        first_sample=0,
        counts=values,
        gaps=gaps,
    )


def _check_box(path: Path, record: BoxRecord | None, box: str, nominal: Nominal, rate_hz: float) -> None:
    """Refuses what the analyses would judge wrongly, or not at all. Raises RecordingError."""
    if rate_hz < LEAST_PER_CYCLE * nominal.hz:
        raise RecordingError(
            f"{path}: has {rate_hz / nominal.hz:.3g} samples per cycle of {nominal.hz:g} Hz; the analyses of "
            f"events want at least {LEAST_PER_CYCLE}; opq-tools analyze says what can be measured"
        )
    known_v = None if record is None else record.nominal_v
    if nominal.volts is None and known_v is None:
        raise RecordingError(f"{path}: its nominal voltage is not known; give --nominal-volts")
    if nominal.volts is not None and known_v is not None and abs(nominal.volts / known_v - 1) > NEAR:
        raise RecordingError(
            f"{path}: its nominal voltage is {nominal.volts:,g} V, but that of Box {box} is {known_v:,g} V; "
            "import it into another Box"
        )


def _put_box(store: CloudStore, box: str, nominal: Nominal) -> None:
    record = store.box(box)
    if record is None:
        made = BoxRecord(box, f"Box {box}", description="recordings of other instruments", unplugged=True)
        store.put_box(replace(made, nominal_v=nominal.volts, nominal_hz=nominal.hz))
    elif record.nominal_v is None and nominal.volts is not None:
        store.put_box(replace(record, nominal_v=nominal.volts, nominal_hz=nominal.hz))


def _digest(path: Path, names: dict[str, str]) -> str:
    """Names the contents of a recording with its Boxes and channels, wherever the file lies."""
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode())
    parts = [path]
    if path.suffix.lower() in (".cfg", ".dat"):
        parts = sorted(
            each for each in path.parent.iterdir()
            if each.stem.lower() == path.stem.lower() and each.suffix.lower() in (".cfg", ".dat")
        )  # fmt: skip
    for part in parts:
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:30]


def _without(path: Path, text: str) -> str:
    return text.removeprefix(f"{path}: ")
