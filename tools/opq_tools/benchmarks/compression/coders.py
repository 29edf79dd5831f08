"""The coders that are held against each other: bytes in, bytes out, nothing computed.

The others get the whole signal at once and the best of a few ways to lay it out; ours has chunks that each
stand alone, as the ring seals them.
"""

import io
import lzma
import zlib
from collections.abc import Callable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import OpqError

Counts = NDArray[np.int16]
MISSING = "soundfile and zstandard are not installed: pip install 'opq-toolkit[bench]'"
RATE_HZ = 12_000
LZMA = [{"id": lzma.FILTER_DELTA, "dist": 2}, {"id": lzma.FILTER_LZMA2, "preset": 9}]


class NoCoderError(OpqError):
    """A coder is not installed; the benchmark has nothing to stand beside."""


def peers() -> dict[str, Callable[[Counts], int]]:
    """Bytes that each of the others needs, by name.

    Raises:
        NoCoderError: the extra is not installed.
    """
    try:
        import soundfile
        import zstandard
    except (ImportError, OSError) as error:  # OSError: soundfile without its libsndfile
        raise NoCoderError(MISSING) from error
    return {
        "FLAC, strongest": lambda counts: flac_bytes(soundfile, counts),
        "zstd 19": lambda counts: zstd_bytes(zstandard, counts),
        "lzma 9": lambda counts: min(len(_lzma(data)) for data in layouts(counts)),
        "zlib 9": lambda counts: min(len(zlib.compress(data, 9)) for data in layouts(counts)),
    }


def flac_bytes(library: ModuleType, counts: Counts) -> int:
    """As 16 bits, or as 8 where the low byte never changes."""
    subtype = "PCM_S8" if len(np.unique(counts & 0xFF)) == 1 else "PCM_16"
    out = io.BytesIO()
    library.write(out, counts, RATE_HZ, format="FLAC", subtype=subtype, compression_level=1.0)
    return len(out.getvalue())


def zstd_bytes(library: ModuleType, counts: Counts) -> int:
    """The best layout."""
    compressor = library.ZstdCompressor(level=19)
    return min(len(compressor.compress(data)) for data in layouts(counts))


def layouts(counts: Counts) -> list[bytes]:
    """As it is; differences of one and two steps and of a cycle, high bytes before low ones."""
    wide = counts.astype(np.int64)
    laid = [counts.tobytes()]
    for change in (
        np.diff(wide, prepend=0),
        np.diff(wide, 2, prepend=[0, 0]),
        np.concatenate((wide[: RATE_HZ // 60], wide[RATE_HZ // 60 :] - wide[: -RATE_HZ // 60])),
        np.concatenate((wide[: RATE_HZ // 50], wide[RATE_HZ // 50 :] - wide[: -RATE_HZ // 50])),
    ):
        laid.append(change.astype(">i2").view(np.uint8).reshape(-1, 2).T.tobytes())
    return laid


def _lzma(data: bytes) -> bytes:
    return min(
        (lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters) for filters in (LZMA, LZMA[1:])),
        key=len,
    )
