"""Arrays on disk: raw int16 (.i16) and NumPy (.npy, .npz). Nothing is ever unpickled."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np

from opq_proto.errors import RecordingError
from opq_recordings.exported import exported_channel, runs_between
from opq_recordings.named_arrays import channels_of_arrays, content_of_variables
from opq_recordings.recording import Channel, Content


def read_i16(path: Path) -> Content:
    """Raw int16, little endian, one channel."""
    size = path.stat().st_size
    if size == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    if size % 2:
        raise RecordingError(f"{path}: has {size} bytes, an odd number; want 2 per sample")
    counts = np.memmap(path, dtype="<i2", mode="r")
    return Content("int16", (Channel.of("counts", counts, scale=None, unit=None, quantity=None),))


def read_npy(path: Path) -> Content:
    """Counts (whole numbers) or volts (floats), of one or several columns; NaN is a missing sample.

    Beside a .json of our own export, its gaps are left out of the samples.
    """
    try:
        samples = np.lib.format.open_memmap(path, mode="r")  # never unpickles: refuses objects
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError) as error:
        raise RecordingError(
            f"{path}: is not a readable .npy file; want one array of numbers, saved by numpy.save"
        ) from error
    facts = _export_beside(path)
    if facts and samples.ndim == 1 and samples.dtype.kind == "i":
        runs = runs_between(facts, len(samples), stored_gaps=False)
        box = str(facts.get("box_id"))
        return Content("NumPy, of opq-tools export", (exported_channel(box, samples, runs, facts),))
    channels, problems = channels_of_arrays(path, samples)
    return Content("NumPy", channels, problems=problems)


def read_npz(path: Path, members: Sequence[Path]) -> Content | None:
    """The arrays of a .npz, unpacked; None if these are separate recordings, as `export` writes them."""
    if any(each.suffix.lower() != ".npy" or each.with_suffix(".json").exists() for each in members):
        return None
    named = {}
    top = Path(os.path.commonpath([each.parent for each in members]))
    for each in members:
        try:
            named[_member_name(each, top)] = np.lib.format.open_memmap(each, mode="r")
        except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError):
            continue  # a text or an object beside the numbers
    return content_of_variables(path, "NumPy", named)


def _member_name(member: Path, top: Path) -> str:
    """The name of an array in a .npz: its whole path, since two folders may have files of one name."""
    return member.relative_to(top).with_suffix("").as_posix()


def _export_beside(path: Path) -> dict[str, object]:
    """The .json of our own export; empty where there is none or it is another's."""
    try:
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "rate_millihz" in found and "gaps" in found else {}
