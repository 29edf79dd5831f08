"""The forms of recordings: the reader of each file, and the contents of a packed file.

| suffix | format |
| --- | --- |
| .cfg, .dat, .cff | COMTRADE 1991, 1999, 2013 |
| .csv, .txt, .tsv | CSV of instruments and spreadsheets, and of `export` |
| .wav, .rf64 | WAV, RF64; .flac and other sound files by `soundfile` |
| .npy, .i16, .raw | NumPy; raw int16 |
| .json, .jsonl | our own export, the original's documents |
| .pqd, .pqdif | PQDIF |
| .h5, .hdf5, .nc, .mat | HDF5, netCDF-4, MATLAB |
| .zip, .npz | a file of these packed, as `export` writes several Boxes |

Nothing is ever unpickled. Every fault of a file is a RecordingError of one line.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from opq_proto.errors import RecordingError
from opq_proto.visible_text import visible
from opq_recordings.array_files import read_i16, read_npy, read_npz
from opq_recordings.comtrade import read_comtrade
from opq_recordings.csv_file import read_csv
from opq_recordings.facts import RecordingFacts
from opq_recordings.hdf5_file import read_hdf5, read_mat
from opq_recordings.json_file import read_json
from opq_recordings.packed import MOST_BYTES, unpacked
from opq_recordings.pqdif_file import read_pqdif
from opq_recordings.recording import Content
from opq_recordings.sound_file import read_sound
from opq_recordings.wav_file import read_wav

READERS: Mapping[str, Callable[[Path], Content]] = {
    ".cfg": read_comtrade,
    ".dat": read_comtrade,
    ".cff": read_comtrade,
    ".csv": read_csv,
    ".txt": read_csv,
    ".tsv": read_csv,
    ".wav": read_wav,
    ".rf64": read_wav,
    ".flac": read_sound,
    ".aiff": read_sound,
    ".aif": read_sound,
    ".w64": read_sound,
    ".npy": read_npy,
    ".i16": read_i16,
    ".raw": read_i16,
    ".json": read_json,
    ".jsonl": read_json,
    ".pqd": read_pqdif,
    ".pqdif": read_pqdif,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".nc": read_hdf5,
    ".nc4": read_hdf5,
    ".mat": read_mat,
}
PACKED = (".zip", ".npz")
NOTES = (".txt",)
"""In an archive, a text that is not a table is a remark and not a recording that is missing."""


def content_of(path: Path, known: RecordingFacts, unpacked_bytes: int = MOST_BYTES) -> Content:
    """The content of a file, by its form; of a packed file, of all its members.

    Args:
        known: facts that tell a reader how to read: the rate, the decimal mark.
    Raises:
        RecordingError: broken, of an unknown format, or more than may be unpacked.
        OSError: it cannot be read.
    """
    with unpacked(path, (*READERS, *PACKED), unpacked_bytes) as inside:
        arrays = read_npz(path, inside) if inside and path.suffix.lower() == ".npz" else None
        if arrays is not None:
            return arrays
        return _content(path, known) if inside is None else _joined(inside, known)


def _content(path: Path, known: RecordingFacts) -> Content:
    reader = READERS.get(path.suffix.lower())
    if path.suffix.lower() in PACKED:
        raise RecordingError(f"{path}: is packed within another file; unpack that one")
    if reader is None and path.name.startswith("event_"):
        reader = read_i16  # the name of the original's GridFS files
    if reader is None:
        ending = f"the ending {path.suffix}" if path.suffix else "a name without an ending"
        raise RecordingError(
            f"{path}: {ending} is not a known format; want one of {', '.join((*READERS, *PACKED))}"
        )
    return read_csv(path, known.rate_hz, known.decimal_mark) if reader is read_csv else reader(path)


def _joined(inside: Sequence[Path], known: RecordingFacts) -> Content:
    """The contents of a packed file as one: a channel is named by its Box, or by its file.

    Files of one name are named with the folders that tell them apart. A file that cannot be read is named.

    Raises:
        RecordingError: none of them can be read.
    """
    contents: list[tuple[Path, Content]] = []
    faults: dict[Path, RecordingError] = {}
    for member in inside:
        try:
            contents.append((member, _content(member, known)))
        except RecordingError as error:
            faults[member] = error
    if not contents:
        raise next(iter(faults.values()))
    above = Path(os.path.commonpath([path.parent for path in inside]))
    said = {
        path: str(fault).replace(visible(str(path)), visible(path.relative_to(above).as_posix()), 1)
        for path, fault in faults.items()
    }
    left_out = [f"{each}; it was left out" for each in said.values()]
    broken = tuple(each for path, each in said.items() if path.suffix.lower() not in NOTES)
    if len(contents) == 1:
        content = contents[0][1]
        return replace(content, problems=(*content.problems, *left_out), broken=broken)
    top = Path(os.path.commonpath([path.parent for path, _ in contents]))
    names = {path: path.relative_to(top).with_suffix("").as_posix() for path, _ in contents}
    boxes = Counter(each.box_id for _, content in contents for each in content.channels)
    channels = []
    for path, content in contents:
        for each in content.channels:
            one = len(content.channels) == 1
            box_id = each.box_id if boxes[each.box_id] == 1 else None
            name = box_id or (names[path] if one else f"{names[path]}: {each.name}")
            channels.append(replace(each, name=name, member=f"{names[path]}: {each.member}"))
    return Content(
        f"{len(contents)} files: {contents[0][1].form}",
        tuple(channels),
        tuple(dict.fromkeys(each for _, content in contents for each in content.assumed)),
        (
            *(f"{names[path]}: {each}" for path, content in contents for each in content.problems),
            *left_out,
        ),
        next((content.code_page for _, content in contents if content.code_page), None),
        broken,
    )
