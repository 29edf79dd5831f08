"""`opq-tools export events`: waveforms of the store, or of a recording, as files that other programs read."""

from collections.abc import Iterable
from pathlib import Path

import click

from opq_cloud.export.comtrade import DATA_FORMS, DataForm
from opq_cloud.export.event_files import WAVEFORM_FORMS, ZIP, WaveformForm, event_file
from opq_cloud.export.exported_records import ExportError, WaveformRecord, safe_name
from opq_cloud.export.selection import event_records, incident_records, known_incident
from opq_cloud.store.store import CloudStore
from opq_proto.kit.shared_options import data_dir_option, mongo_option
from opq_proto.kit.whole_file import write_whole_file
from opq_proto.visible_text import visible
from opq_recordings.facts import RecordingFacts
from opq_tools.exporting.recording_counts import recording_records
from opq_tools.recordings.analyze.options import recording_options
from opq_tools.shared import values
from opq_tools.shared.opened_store import opened_store

NUMBER = click.IntRange(1, 2**63 - 1)
boxes_option = click.option(
    "--box",
    "box_ids",
    multiple=True,
    shell_complete=values.boxes,
    help="Only this Box, by number; repeatable.  [default: all]",
)
comments_option = click.option(
    "--comments",
    is_flag=True,
    help="Write the origin of the data above the head of a CSV, in lines with #; without them the CSV of an "
    "event has no nominal values, clock, uncertainty or reasons of gaps.",
)
licence_option = click.option(
    "--licence", default="", help="Licence to state in the file: the terms on which it may be used."
)


@click.command("events", short_help="Export the waveforms of an event, an incident or a recording.")
@click.argument("wanted", metavar="[ID|FILE]", required=False, shell_complete=values.events_and_files)
@click.option("--incident", "incident_id", type=NUMBER, metavar="ID", help="All events of this incident.")
@boxes_option
@click.option(
    "--format",
    "form",
    type=click.Choice(WAVEFORM_FORMS),
    default="comtrade",
    show_default=True,
    help="Format of the file; several files come in a zip.",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option(
    "--data",
    type=click.Choice(DATA_FORMS),
    default="binary",
    show_default=True,
    help="Form of the samples in COMTRADE.",
)
@comments_option
@licence_option
@recording_options
@data_dir_option
@mongo_option
def events(
    wanted: str | None,
    incident_id: int | None,
    box_ids: tuple[str, ...],
    form: WaveformForm,
    out: Path,
    data: DataForm,
    comments: bool,
    licence: str,
    given: RecordingFacts,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Export the waveforms of an event, as converter counts with their gain and time.

    COMTRADE and NPY come in a zip. CFF and WAV are one file for one Box, a zip for several. CSV, JSON and
    PQDIF have all Boxes in one file; comtrade-site has the phases of a site in one record. FILE is a
    recording of any format that `analyze` reads: its voltages are written as Boxes of their names, and no
    store is opened. Values that are not 16-bit counts are rounded to such, which stderr and the file say.

    \b
    Examples: opq-tools export events 17 --format cff --box 1 --out dip.cff
              opq-tools export events --incident 3 --format npy --out dip.npz
              opq-tools export events relay.cfg --format pqdif --out relay.pqd
    """
    if wanted is not None and incident_id is None and not wanted.isdecimal():
        if box_ids:
            raise click.UsageError(
                "--box chooses a Box of an event; give --channel for a recording's channel"
            )
        name, records = safe_name(Path(wanted).stem), recording_records(Path(wanted), given, licence)
    elif given != RecordingFacts():
        raise click.UsageError("--channel, --unit, --start and the like are for the FILE of a recording")
    else:
        with opened_store(mongo_uri, data_dir) as store:
            name, records = _stored(store, wanted, incident_id, box_ids, licence)
    file = event_file(name, records, form, data, comments)
    write_pieces(file.pieces, out, ", a zip" if file.media_type == ZIP else "")


def _stored(
    store: CloudStore, wanted: str | None, incident_id: int | None, box_ids: tuple[str, ...], licence: str
) -> tuple[str, list[WaveformRecord]]:
    """Name and waveforms of an event, or of an incident."""
    if wanted is not None and incident_id is None:
        event_id: int = NUMBER.convert(wanted, None, None)  # type: ignore[arg-type]  # it reads text
        return f"event-{event_id}", event_records(store, event_id, box_ids, licence)
    if wanted is not None or incident_id is None:
        raise click.UsageError("want the ID of an event, the FILE of a recording, or --incident ID")
    found = incident_records(store, known_incident(store, incident_id), licence)
    having = dict.fromkeys(each.wave.box_id for each in found)
    if having and (absent := [box_id for box_id in box_ids if box_id not in having]):
        raise ExportError(
            f"incident {incident_id} has no waveform of Box {', '.join(absent)}; it has {', '.join(having)}"
        )
    records = [each for each in found if not box_ids or each.wave.box_id in box_ids]
    return f"incident-{incident_id}", records


def write_pieces(pieces: Iterable[bytes], out: Path, kind: str = "") -> None:
    """Writes a file, complete or not at all, and says how long it is."""
    written = write_whole_file(out, pieces)
    click.echo(f"{visible(str(out))}: {written} bytes{kind}", err=True)
