"""FLAC and other lossless sound files, by the package `soundfile` (libsndfile)."""

from pathlib import Path
from typing import Any

from opq_proto.errors import RecordingError
from opq_recordings.guarded import read_guarded
from opq_recordings.recording import Channel, Content


def read_sound(path: Path) -> Content:
    """Reads whole numbers as counts of an unknown gain, floats as volts of full scale 1.

    Raises:
        RecordingError: not readable, or lossy (MP3, Vorbis, Opus).
    """
    read = read_guarded("sound", path)
    rows = read.arrays["rows"]
    form, rate_hz, stated = read.facts
    if not len(rows):
        raise RecordingError(f"{path}: is empty, no samples in it")
    problems: tuple[str, ...] = ()
    if 0 < stated < 2**62 and stated != len(rows):
        problems = (f"it states {stated} samples, but {len(rows)} are there; all of these were read",)
    facts: dict[str, Any] = {"scale": None, "unit": None, "quantity": None, "rate_hz": float(rate_hz)}
    channels = [Channel.of(f"channel {k}", values, **facts) for k, values in enumerate(rows.T, 1)]
    return Content(form, tuple(channels), problems=problems)
