"""Writes an event or an incident as one file: chooses the writer, and packs several files into a zip.

COMTRADE is several files, so it is always a zip; NPY is a zip of `.npy` and `.json`, which numpy opens as
`.npz`. CFF and WAV are one file for one Box and a zip for several: Boxes are sampled by their own clocks, and
one file with one rate would need resampled, that is other, samples. CSV, JSON and PQDIF hold all Boxes.
`comtrade-site` has the phases of a site as channels of one record, where their clocks can be compared.
`half-cycles` is a CSV of Urms(1/2) between the ends of long dips and swells; JSON contains it too.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from opq_cloud.export.comtrade import (
    DataForm,
    cff_pieces,
    cfg_text,
    dat_pieces,
    data_form_for,
    hdr_text,
    inf_text,
)
from opq_cloud.export.comtrade_site import (
    SiteRecord,
    site_cfg_text,
    site_dat_pieces,
    site_form,
    site_hdr_text,
    site_inf_text,
    site_records,
)
from opq_cloud.export.exported_records import ExportError, WaveformRecord
from opq_cloud.export.pieces import ZipMember, zip_pieces
from opq_cloud.export.pqdif import pqdif_pieces
from opq_cloud.export.sample_files import csv_pieces, half_cycle_pieces, json_pieces, npy_pieces, wav_pieces

WaveformForm = Literal[
    "comtrade", "comtrade-site", "cff", "csv", "npy", "wav", "json", "pqdif", "half-cycles"
]
WAVEFORM_FORMS: tuple[WaveformForm, ...] = get_args(WaveformForm)
NO_SITE = (
    "no site has phases for one record: want two Boxes at least whose site and phase are stated, "
    "which measured at the same time by clocks uncertain to each other by 1 ms at most, such as GPS; "
    "comtrade has a record of each Box"
)
ZIP = "application/zip"
BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file for writing or sending.

    Its bytes are made while they are read, so they can be read only once.
    """

    name: str
    media_type: str
    pieces: Iterator[bytes]


def event_file(
    stem: str,
    records: Sequence[WaveformRecord],
    form: WaveformForm,
    data: DataForm = "binary",
    comments: bool = False,
) -> ExportFile:
    """Returns the download of these waveforms in one format: a file, or a zip where the format needs several.

    Args:
        stem: name of the file, to which the format's suffix is added.
        data: how COMTRADE stores samples: as text, 16 or 32 bits, or floats.
        comments: writes the facts above the head of a CSV.
    Raises:
        ExportError: there is no waveform, or one does not fit the format.
    """
    records = [record for record in records if record.samples]
    if not records:
        raise ExportError("no waveform is stored that you may see")
    if form == "half-cycles":
        if all(record.half_cycles is None for record in records):
            raise ExportError(
                "no half cycles are stored that you may see; only long dips and swells have any"
            )
        pieces = half_cycle_pieces(records, comments)
        return ExportFile(f"{stem}-half-cycles.csv", "text/csv; charset=utf-8", pieces)
    if form == "csv":
        return ExportFile(f"{stem}.csv", "text/csv; charset=utf-8", csv_pieces(records, comments))
    if form == "json":
        return ExportFile(f"{stem}.json", "application/json", json_pieces(records))
    if form == "pqdif":
        name = f"{stem}.pqd"
        return ExportFile(name, BINARY, pqdif_pieces(records, name))
    if form == "comtrade":
        return ExportFile(f"{stem}-comtrade.zip", ZIP, zip_pieces(_comtrade_parts(records, data)))
    if form == "comtrade-site":
        sites, alone = site_records(records)
        if not sites:
            raise ExportError(NO_SITE)
        parts = [*_site_parts(sites, data), *_comtrade_parts(alone, data)]
        return ExportFile(f"{stem}-comtrade-site.zip", ZIP, zip_pieces(parts))
    if form == "npy":
        parts = [part for record in records for part in _npy_parts(record)]
        return ExportFile(f"{stem}.npz", ZIP, zip_pieces(parts))
    made = [
        ExportFile(f"{each.stem}.cff", BINARY, cff_pieces(each, data_form_for(each, data)))
        if form == "cff"
        else ExportFile(f"{each.stem}.wav", "audio/wav", wav_pieces(each))
        for each in records
    ]
    if len(made) == 1:
        return made[0]
    return ExportFile(
        f"{stem}-{form}.zip", ZIP, zip_pieces(ZipMember(each.name, each.pieces) for each in made)
    )


def _comtrade_parts(records: Iterable[WaveformRecord], data: DataForm) -> Iterator[ZipMember]:
    for each in records:
        form = data_form_for(each, data)
        texts = cfg_text(each, form), inf_text(each), hdr_text(each)
        yield from _record_parts(each.stem, texts, dat_pieces(each, form))


def _site_parts(sites: Iterable[SiteRecord], data: DataForm) -> Iterator[ZipMember]:
    for each in sites:
        form = site_form(each, data)
        texts = site_cfg_text(each, form), site_inf_text(each), site_hdr_text(each)
        yield from _record_parts(each.stem, texts, site_dat_pieces(each, form))


def _record_parts(stem: str, texts: tuple[str, str, str], rows: Iterator[bytes]) -> Iterator[ZipMember]:
    """The files of one COMTRADE record; `texts`: its configuration, information and header."""
    cfg, inf, hdr = texts
    yield ZipMember(f"{stem}.cfg", [cfg.encode()])
    yield ZipMember(f"{stem}.dat", rows)
    yield ZipMember(f"{stem}.inf", [inf.encode()])
    yield ZipMember(f"{stem}.hdr", [hdr.encode()])


def _npy_parts(record: WaveformRecord) -> tuple[ZipMember, ...]:
    facts = json.dumps(record.facts(), indent=1) + "\n"
    return (
        ZipMember(f"{record.stem}.npy", npy_pieces(record)),
        ZipMember(f"{record.stem}.json", [facts.encode()]),
    )
