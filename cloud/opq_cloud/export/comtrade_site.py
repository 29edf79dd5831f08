"""COMTRADE of a site: the waveforms of its phases as the channels of one record, on one time axis.

The axis is that of the first phase. Each Box has its own clock of samples, so a row holds the sample of each
other channel that is nearest in time, and the channel's `skew` says how much later it was taken; no value is
interpolated. Where the rates differ, the skew is that of the middle, and the ends differ from it by
MOST_DRIFT_NS at most. The axis covers all channels: where one has no sample, its value is missing.

Source: IEEE C37.111-2013 (skew: the time of a channel in microseconds from the start of the sample period).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_cloud.export.comtrade import (
    DataForm,
    analog_line,
    axis_lines,
    dat_rows,
    data_form_for,
    field_text,
    hdr_text,
    inf_text,
    stamp_factor,
    time_quality,
)
from opq_cloud.export.exported_records import PIECE_SAMPLES, AxisPiece, WaveformRecord, axis_pieces, safe_name
from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.event_record import NO_EVENT
from opq_proto.messages import Waveform, known_uncertainty_ns

MOST_DRIFT_NS = 10_000
"""10 us are 0.2 degrees at 60 Hz; a total vector error of 1 % is 26 us (IEEE C37.118.1-2011, 5.3)."""
MOST_UNCERTAIN_NS = 1_000_000
"""Phases whose clocks are uncertain to each other by more have no angle to each other: 1 ms is 18 degrees."""


@dataclass(frozen=True, slots=True)
class PhaseChannel:
    """One Box in a record of a site."""

    record: WaveformRecord
    row: int
    """The row of its first sample."""
    skew_ns: int
    """By how much its samples are later than their rows, in the middle."""

    @property
    def box_id(self) -> str:
        return self.record.wave.box_id


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """Phases of one site in one event."""

    channels: tuple[PhaseChannel, ...]
    samples: int
    """Rows of the axis."""
    start_ns: int
    """Time of the first row."""

    @property
    def first(self) -> WaveformRecord:
        return self.channels[0].record

    @property
    def stem(self) -> str:
        return f"event-{self.first.event.event_id}-site-{safe_name(self.first.box.site or '')}"


def site_records(records: Sequence[WaveformRecord]) -> tuple[list[SiteRecord], list[WaveformRecord]]:
    """Returns the records of sites, and those of Boxes that have no place in one.

    A site needs two Boxes with stated phases at least, which share time and have clocks that can be compared.
    """
    by_site: dict[tuple[int, str], list[WaveformRecord]] = {}
    for each in records:
        if each.event.event_id != NO_EVENT and each.box.site and phase_letter(each.box.phase):
            by_site.setdefault((each.event.event_id, each.box.site), []).append(each)
    found = [made for own in by_site.values() if (made := _on_one_axis(own)) is not None]
    placed = {id(channel.record) for each in found for channel in each.channels}
    return found, [each for each in records if id(each) not in placed]


def _on_one_axis(records: Sequence[WaveformRecord]) -> SiteRecord | None:
    """The record of these phases; None where they have no common axis."""
    own = sorted(records, key=lambda each: phase_letter(each.box.phase) or "")
    first = own[0].wave
    channels = [_channel(first, each) for each in own]
    known = [each for each in channels if each is not None]
    if len(own) < 2 or len(known) < len(own):
        return None
    row = min(each.row for each in known)
    end = max(each.row + each.record.samples for each in known)
    placed = tuple(PhaseChannel(each.record, each.row - row, each.skew_ns) for each in known)
    return SiteRecord(placed, end - row, first.time_ns(row))


def _channel(first: Waveform, record: WaveformRecord) -> PhaseChannel | None:
    """The place of a waveform on the axis of the first one."""
    wave, samples = record.wave, record.samples
    if wave is first:
        return PhaseChannel(record, 0, 0)
    doubts_ns = [known_uncertainty_ns(each.uncertainty_ns) for each in (first, wave)]
    if None in doubts_ns or sum(each or 0 for each in doubts_ns) > MOST_UNCERTAIN_NS:
        return None
    if not first.start_ns < wave.end_ns or not wave.start_ns < first.end_ns:
        return None
    middle = samples // 2
    at = (wave.time_ns(middle) - first.start_ns) * first.rate_millihz
    row = (2 * at + 10**12) // (2 * 10**12) - middle

    def skew_ns(sample: int) -> int:
        return wave.time_ns(sample) - first.time_ns(row + sample)

    skew = skew_ns(middle)
    if any(abs(skew_ns(sample) - skew) > MOST_DRIFT_NS for sample in (0, samples - 1)):
        return None
    return PhaseChannel(record, row, skew)


def site_cfg_text(site: SiteRecord, form: DataForm) -> str:
    """The text of the configuration (.cfg), lines ended by CR LF."""
    count = len(site.channels)
    head = [f"{field_text(site.first.box.site or '')},OPQ,2013", f"{count},{count}A,0D"]
    channels = [
        analog_line(number, f"Box {field_text(each.box_id)}", each.record, form, f"{each.skew_ns / 1000:g}")
        for number, each in enumerate(site.channels, 1)
    ]
    waves = (each.record.wave for each in site.channels)
    worst = max(waves, key=lambda wave: (int(time_quality(wave), 16), wave.uncertainty_ns))
    end = axis_lines(site.first, form, site.start_ns, site.samples, worst)
    return "".join(f"{line}\r\n" for line in (*head, *channels, *end))


def site_dat_pieces(site: SiteRecord, form: DataForm) -> Iterator[bytes]:
    """The rows of the data: sample number from 1, time stamp, a count of each channel."""
    rate_millihz = site.first.wave.rate_millihz
    factor = stamp_factor(site.samples, rate_millihz)
    counts = [_on_rows(each, site.samples) for each in site.channels]
    for begin in range(0, site.samples, PIECE_SAMPLES):
        rows = slice(begin, min(site.samples, begin + PIECE_SAMPLES))
        stamps = AxisPiece(begin, rows.stop - begin, None).offsets_ns(rate_millihz) // factor
        values = np.stack([each[0][rows] for each in counts], axis=1)
        known = np.stack([each[1][rows] for each in counts], axis=1)
        yield dat_rows(begin, stamps, values, known, form)


def site_hdr_text(site: SiteRecord) -> str:
    """Provenance for people: that of each Box, after how their clocks compare."""
    doubts = [each.record.wave.uncertainty_ns / 1000 for each in site.channels]
    skews = ", ".join(f"Box {each.box_id} {each.skew_ns / 1000:g} us" for each in site.channels)
    lines = (
        f"Site {field_text(site.first.box.site or '')}: each row has the nearest sample of each Box",
        f"Samples are later than their rows by (skew): {skews}; drift is {MOST_DRIFT_NS / 1000:g} us at most",
        f"The clocks are uncertain by {', '.join(f'{each:g}' for each in doubts)} us",
    )
    own = (hdr_text(each.record) for each in site.channels)
    return "".join((*(f"{line}\r\n" for line in lines), *own))


def site_inf_text(site: SiteRecord) -> str:
    """Provenance for programs: a section for each Box."""
    own = (inf_text(each.record, f"[Private OPQ Box {field_text(each.box_id)}]") for each in site.channels)
    return "".join(own)


def site_form(site: SiteRecord, wanted: DataForm) -> DataForm:
    """Returns `wanted`, or binary32 where a channel needs it."""
    forms = (data_form_for(each.record, wanted) for each in site.channels)
    return next((form for form in forms if form != wanted), wanted)


def _on_rows(channel: PhaseChannel, rows: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """(rows,) counts of a channel, and where it has one."""
    counts, known = np.zeros(rows, np.int16), np.zeros(rows, np.bool_)
    for piece in axis_pieces(channel.record.wave):
        if piece.counts is not None:
            there = slice(channel.row + piece.position, channel.row + piece.position + piece.samples)
            counts[there], known[there] = piece.counts, True
    return counts, known
