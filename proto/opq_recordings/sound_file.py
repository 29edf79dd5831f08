"""FLAC and other lossless sound files, by the package `soundfile` (libsndfile)."""

from pathlib import Path
from typing import Any

from opq_proto.errors import RecordingError
from opq_recordings.installed import library
from opq_recordings.recording import Channel, Content
from opq_recordings.spooled import SpooledColumn

BLOCK_ROWS = 1 << 17
WHOLE = {
    "PCM_S8": 24,
    "PCM_U8": 24,
    "PCM_16": 16,
    "PCM_24": 8,
    "PCM_32": 0,
    "ALAC_16": 16,
    "ALAC_24": 8,
    "ALAC_32": 0,
}
"""Bits by which libsndfile raises whole numbers to 32 bits."""


def read_sound(path: Path) -> Content:
    """Reads whole numbers as counts of an unknown gain, floats as volts of full scale 1.

    Raises:
        RecordingError: not readable, or lossy (MP3, Vorbis, Opus).
    """
    soundfile: Any = library("soundfile", path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.subtype not in WHOLE and file.subtype not in ("FLOAT", "DOUBLE"):
                raise RecordingError(
                    f"{path}: its samples are compressed with loss ({file.subtype}); want FLAC or WAV"
                )
            whole = file.subtype in WHOLE
            columns = [SpooledColumn("<i4" if whole else "<f8") for _ in range(file.channels)]
            while len(block := file.read(BLOCK_ROWS, dtype="int32" if whole else "float64", always_2d=True)):
                for column, values in zip(columns, block.T, strict=True):
                    column.add(values >> WHOLE[file.subtype] if whole else values)
            frames, form, rate_hz = file.frames, f"{file.format}, {file.subtype}", float(file.samplerate)
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise RecordingError(f"{path}: is no readable sound file") from error
    if not len(columns[0]):
        raise RecordingError(f"{path}: is empty, no samples in it")
    problems: tuple[str, ...] = ()
    if 0 < frames < 2**62 and frames != len(columns[0]):
        problems = (f"it states {frames} samples, but {len(columns[0])} are there; all of these were read",)
    return Content(
        form,
        tuple(
            Channel.of(f"channel {k}", column.array(), scale=None, unit=None, quantity=None, rate_hz=rate_hz)
            for k, column in enumerate(columns, 1)
        ),
        problems=problems,
    )
