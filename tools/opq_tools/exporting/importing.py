"""`opq-tools import event`: recordings of other instruments into the store, as events of a Box.

Each becomes a finished event that was not analysed yet: a running Mauka analyses it within a second, else the
next one that starts. Its time is the recording's own, and its reason says where it comes from.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from opq_analyze.nominal_values import Nominal, consistent, nominal_of
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.store import CloudStore
from opq_measure.signal import LEAST_SAMPLES
from opq_proto.errors import OpqError, RecordingError
from opq_proto.keys.key_files import checked_box_id
from opq_proto.kit.shared_options import json_option, mongo_option, new_data_dir_option
from opq_proto.messages import Trigger
from opq_recordings.facts import RecordingFacts
from opq_recordings.folder import recordings_of, shown_path
from opq_recordings.reading import read_recording, recordings_in
from opq_recordings.recording import Recording
from opq_tools.exporting.recording_parts import LONGEST_S, RecordingPart, parts_of, span_of, waveform_of
from opq_tools.recordings.analyze.options import recording_options
from opq_tools.shared.opened_store import opened_store

OTHER_PLACE_SHARE = 0.25
"""A nominal voltage of a Box and one of a recording that differ by more are of two places."""


@dataclass(frozen=True, slots=True)
class ImportedEvent:
    """One recording in the store."""

    event_id: int
    new: bool
    start_ns: int
    channels: dict[str, str]
    """Box -> the channel that became its waveform."""
    part: str
    """Which part of a long recording, and what was found there; empty where it is all."""


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
@recording_options
@new_data_dir_option
@mongo_option
@json_option
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
    events, or the next one that starts. Of a recording of more than ten minutes, the parts where something
    is found become events.

    \b
    Examples:
      opq-tools import event relay.cfg --box 7
      opq-tools import event archive/ --box 7=Ua --box 8=Ub --box 9=Uc --unit kV
    """
    channels = _channels(boxes, given)
    failed, nothing = [], []
    imported: list[dict[str, object]] = []
    paths = recordings_of(files)
    with ExitStack() as opened:
        store: CloudStore | None = None  # no new one where nothing can be imported
        for path in paths:
            found: list[ImportedEvent] = []
            several: Sequence[dict[str, str | None] | Exception]
            try:
                several = _channels_of_each(path, channels, given)
            except (OpqError, OSError) as error:
                several = [error]
            faults = 0
            for each_of in several:
                try:
                    if isinstance(each_of, Exception):
                        raise each_of
                    read = _read(path, each_of, given)
                except (OpqError, OSError) as error:
                    faults += 1
                    failed.append(_told(path, error))
                    continue
                if store is None:
                    store = opened.enter_context(opened_store(mongo_uri, data_dir, make=True))
                try:
                    found += import_recording(store, path, read)
                except (OpqError, OSError) as error:
                    faults += 1
                    failed.append(_told(path, error))
            if faults and not found:
                continue
            imported += [{"file": str(path), **asdict(each)} for each in found]
            if not found:
                nothing.append(str(path))
            if as_json:
                continue
            for each in found:
                part = f", {each.part}" if each.part else ""
                here = "" if each.new else " (was here already)"
                click.echo(f"event {each.event_id}: {shown_path(path)}{part}{here}")
            if not found:
                nowhere = f"longer than {LONGEST_S:g} s, and nothing is found in it"
                click.echo(f"no event: {shown_path(path)}, {nowhere}")
    if as_json:
        click.echo(json.dumps({"imported": imported, "without_event": nothing, "failed": failed}, indent=1))
    if failed:
        raise RecordingError(
            f"{len(failed)} recordings were not imported, of {len(paths)} files"
            if len(failed) > len({each["file"] for each in failed})
            else f"{len(failed)} of {len(paths)} recordings were not imported"
        )


def _channels_of_each(
    path: Path, channels: dict[str, str | None], given: RecordingFacts
) -> Sequence[dict[str, str | None] | RecordingError]:
    """The channels of each recording of a file, as given where they are named.

    Raises:
        RecordingError: it cannot be read, or which Box has which of its recordings is not stated.
    """
    if None not in channels.values():
        return [channels]
    several = recordings_in(path, given)
    if len(several) == 1:
        return [channels]
    if len(channels) > 1:
        raise RecordingError(f"{path}: holds {len(several)} recordings; name the channel of each --box")
    (box,) = channels
    return [each if isinstance(each, RecordingError) else {box: each.channel.name} for each in several]


def _told(path: Path, error: OpqError | OSError) -> dict[str, str]:
    """What the result says of a recording that was not imported; a line on stderr says it at once."""
    click.echo(f"opq-tools: {error}", err=True)
    return {"file": str(path), "why": _without(path, str(error))}


def _read(path: Path, channels: dict[str, str | None], given: RecordingFacts) -> dict[str, Recording]:
    """Box -> its recording.

    Args:
        channels: Box -> its channel; None: the first voltage.
    Raises:
        RecordingError: it cannot be read, or has no start.
    """
    read = {
        box: consistent(read_recording(path, given if name is None else replace(given, channel=name)))
        for box, name in channels.items()
    }
    for recording in read.values():
        if recording.start_ns is None:
            raise RecordingError(f"{path}: its start is not known; give --start")
    return read


def import_recording(store: CloudStore, path: Path, read: dict[str, Recording]) -> list[ImportedEvent]:
    """Stores one recording; the same file with the same channels gives the same events.

    Args:
        read: Box -> its recording, with its start.
    Returns:
        One event; of a long recording, one for each part where something is found.
    Raises:
        RecordingError: it is of another nominal voltage.
        StoreError: nothing more was stored.
    """
    nominals = {box: nominal_of(recording) for box, recording in read.items()}
    for box, nominal in nominals.items():
        _check_box(path, store.box(box), box, nominal, read[box].rate_hz)
    parts = parts_of([(recording, nominals[box]) for box, recording in read.items()])
    for box, nominal in nominals.items():
        _put_box(store, box, nominal)
    return [_put_event(store, path, read, part) for part in parts]


def _put_event(
    store: CloudStore, path: Path, read: dict[str, Recording], part: RecordingPart
) -> ImportedEvent:
    first = next(iter(read.values()))
    names = {box: recording.channel.name for box, recording in read.items()}
    found = {box: waveform_of(box, recording, part) for box, recording in read.items()}
    waves = {box: wave for box, wave in found.items() if wave is not None}
    what = f"{first.form}; {', '.join(names.values())} of {len(first.channels)} channels"
    because = f"imported from {shown_path(Path(path.name))} ({what}{f'; {part.words}' if part.words else ''})"
    start_ns = min(each.start_ns for each in waves.values())
    token = f"recording-{_digest(path, names)}"
    if part.words:
        token += f"-{part.start_ns - span_of(first)[0]}"
    trigger = Trigger(
        token=token,
        start_ns=start_ns,
        end_ns=max(each.end_ns for each in waves.values()),
        box_ids=tuple(waves),
        opened_by=next(iter(waves)),
        because=because,
    )
    event_id = store.open_event(trigger, because)
    for wave in waves.values():
        store.put_waveform(event_id, wave)
    return ImportedEvent(event_id, store.finish_event(event_id), start_ns, names, part.words)


def _channels(boxes: tuple[str, ...], given: RecordingFacts) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in boxes:
        box, equals, channel = text.partition("=")
        checked_box_id(box)
        if box in found:
            raise click.UsageError(f"--box {box} is given twice")
        found[box] = channel if equals else given.channel
    return found


def _check_box(path: Path, record: BoxRecord | None, box: str, nominal: Nominal, rate_hz: float) -> None:
    """Refuses what the analyses would judge wrongly, or not at all. Raises RecordingError."""
    if rate_hz < LEAST_SAMPLES * nominal.hz:
        raise RecordingError(
            f"{path}: has {rate_hz / nominal.hz:.3g} samples per cycle of {nominal.hz:g} Hz; want at least "
            f"{LEAST_SAMPLES:g}; if its rate or nominal frequency is another, give --rate-hz or --nominal-hz"
        )
    known_v = None if record is None else record.nominal_v
    if nominal.volts is None and known_v is None:
        raise RecordingError(f"{path}: its nominal voltage is not known; give --nominal-volts")
    if (
        nominal.volts is not None
        and known_v is not None
        and abs(nominal.volts / known_v - 1) > OTHER_PLACE_SHARE
    ):
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
            each
            for each in path.parent.iterdir()
            if each.stem.lower() == path.stem.lower() and each.suffix.lower() in (".cfg", ".dat")
        )
    for part in parts:
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:30]


def _without(path: Path, text: str) -> str:
    return text.removeprefix(f"{shown_path(path)}: ")
