"""A recording, as `export events FILE` writes it: a waveform of int16 counts for each of its voltages."""

import math
from pathlib import Path

import click

from opq_analyze.nominal_values import nominal_of
from opq_cloud.export.exported_records import WaveformRecord, safe_name
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.event_record import NO_EVENT, EventRecord
from opq_proto.errors import RecordingError
from opq_proto.messages import Waveform
from opq_proto.visible_text import visible
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording, with_channel
from opq_recordings.recording import Recording
from opq_tools.exporting.recording_parts import RecordingPart, span_of, waveform_of


def recording_records(path: Path, given: RecordingFacts, licence: str) -> list[WaveformRecord]:
    """All voltages of a file, or the channel that `given` names, to be exported as Boxes of their names.

    Raises:
        RecordingError: it cannot be read, or the start of a voltage is not known.
    """
    first = read_recording(path, given)
    names = [each.name for each in first.channels if each.quantity == "voltage"]
    if given.channel is not None or first.channel.name not in names:
        names = [first.channel.name]
    files = _file_names(names)
    read = [first if name == first.channel.name else with_channel(first, name, given) for name in names]
    for each in read:
        if each.start_ns is None:
            which = f" of {each.channel.name}" if len(read) > 1 else ""
            raise RecordingError(f"{path}: its start{which} is not known; give --start")
    return [_record(each, file, licence) for each, file in zip(read, files, strict=True)]


def _record(recording: Recording, file: str, licence: str) -> WaveformRecord:
    box = recording.box_id or recording.channel.name
    start_ns, end_ns = span_of(recording)
    wave = waveform_of(box, recording, RecordingPart(start_ns, end_ns))
    assert wave is not None  # a recording has samples
    of = f"{recording.channel.name} of {len(recording.channels)} channels"
    changed = _changed(recording, wave)
    for each in changed:
        click.echo(f"{visible(str(recording.path))}: {recording.channel.name}: {each}", err=True)
    because = f"{visible(recording.path.name)} ({'; '.join((recording.form, of, *changed))})"
    event = EventRecord(NO_EVENT, "", start_ns, wave.end_ns, (box,), (box,), {}, True, False, because)
    nominal = nominal_of(recording)
    stated = BoxRecord(
        box,
        visible(recording.path.stem),
        phase=recording.channel.phase or None,
        nominal_v=recording.nominal_v,
        nominal_hz=nominal.hz if nominal.hz_sureness else None,
    )
    return WaveformRecord(wave, event, stated, licence, name=file)


def _changed(recording: Recording, wave: Waveform) -> list[str]:
    """What of a recording its waveform has in other words, each a clause; empty where all is equal."""
    found = []
    if wave.v_per_lsb != recording.channel.gain:
        found.append(f"its values are not 16-bit counts and are rounded to {wave.v_per_lsb * 1000:.3g} mV")
    if not math.isclose(wave.rate_hz, recording.rate_hz, rel_tol=1e-12):
        found.append(f"its rate of {recording.rate_hz:.12g} Hz is rounded to a millihertz")
    return found


def _file_names(channels: list[str]) -> list[str]:
    """A name of a file for each channel; numbered where two would be the same."""
    names = [safe_name(each) for each in channels]
    if len({each.lower() for each in names}) == len(names):
        return names
    return [f"{number}-{each}" for number, each in enumerate(names, 1)]
