"""FLAC and other lossless sound files by libsndfile. Runs in its own process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.handover import ArrayWriter
from opq_recordings.installed import library

BLOCK_ROWS = 1 << 17
WHOLE_SHIFT_BITS = {
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


def read(path: Path, writer: ArrayWriter) -> object:
    """Writes `rows`, (n, channels): whole numbers as stored, or floats. Returns form, rate, stated samples.

    Raises:
        RecordingError: not readable, or lossy (MP3, Vorbis, Opus).
    """
    soundfile: Any = library("soundfile", path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.subtype not in WHOLE_SHIFT_BITS and file.subtype not in ("FLOAT", "DOUBLE"):
                raise RecordingError(
                    f"{path}: its samples are compressed with loss ({file.subtype}); want FLAC or WAV"
                )
            dtype = np.dtype("<i4" if file.subtype in WHOLE_SHIFT_BITS else "<f8")
            writer.add(
                "rows", dtype, (file.channels,), _blocks(file, dtype, WHOLE_SHIFT_BITS.get(file.subtype, 0))
            )
            return [f"{file.format}, {file.subtype}", file.samplerate, file.frames]
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise RecordingError(f"{path}: is not a readable sound file: {why}") from error


def _blocks(file: Any, dtype: np.dtype[Any], raised_bits: int) -> Iterator[NDArray[Any]]:
    while len(block := file.read(BLOCK_ROWS, dtype=dtype.name, always_2d=True)):
        yield block >> raised_bits if raised_bits else block
