"""For the tests of `opq_recordings`: one known signal, written as other instruments write it."""

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording
from opq_recordings.recording import Recording

RATE_HZ, ROWS, GAIN = 1600, 400, 0.02
START_NS = 1_710_669_600 * 10**9
"""2024-03-17T10:00:00Z."""


def volts() -> NDArray[np.float64]:
    """230 V, 50 Hz, with a sag to 60 % from 0.10 to 0.18 s."""
    t_s = np.arange(ROWS) / RATE_HZ
    wave = 230 * math.sqrt(2) * np.sin(2 * np.pi * 50 * t_s + 0.3)
    wave[160:288] *= 0.6
    return wave


def counts() -> NDArray[np.int16]:
    return np.rint(volts() / GAIN).astype(np.int16)


CFG = {
    "station": "Station,REC1,1999",
    "counts": "1,1A,0D",
    "channels": "1,Ua,A,,V,0.02,0,0,-32767,32767,1,1,S",
    "hz": "50",
    "rates": "1\r\n1600,400",
    "start": "17/03/2024,10:00:00.000000",
    "trigger": "17/03/2024,10:00:00.000000",
    "form": "BINARY",
    "factor": "1",
}


def cfg_text(more: Sequence[str] = (), end: str = "\r\n", **changed: str | None) -> str:
    """A .cfg with some parts changed; None leaves a part out."""
    parts = [text for text in {**CFG, **changed}.values() if text is not None]
    return end.join([*parts, *more]).replace("\r\n", end) + end


def dat_bytes(
    form: str = "BINARY",
    values: Sequence[float] | None = None,
    numbers: Sequence[int] | None = None,
    stamps: Sequence[int] | None = None,
    status: int = 0,
    end: str = "\r\n",
) -> bytes:
    """The rows of a .dat: one analogue channel, some words of status."""
    rows = list(counts().tolist() if values is None else values)
    numbers = list(range(1, len(rows) + 1)) if numbers is None else numbers
    stamps = [round(k * 1e6 / RATE_HZ) for k in range(len(rows))] if stamps is None else stamps
    if form == "ASCII":
        lines = (
            f"{n},{t},{v if v is not None else ''}" for n, t, v in zip(numbers, stamps, rows, strict=True)
        )
        return "".join(line + end for line in lines).encode()
    kind = {"BINARY": "h", "BINARY32": "i", "FLOAT32": "f"}[form]
    return b"".join(
        struct.pack(f"<II{kind}", n, t, v) + bytes(2 * status)
        for n, t, v in zip(numbers, stamps, rows, strict=True)
    )


def comtrade(folder: Path, cfg: str | bytes, dat: bytes, name: str = "relay") -> Path:
    (folder / f"{name}.dat").write_bytes(dat)
    path = folder / f"{name}.cfg"
    path.write_bytes(cfg if isinstance(cfg, bytes) else cfg.encode())
    return path


def read(path: Path, **given: object) -> Recording:
    return read_recording(path, RecordingFacts(**given))  # type: ignore[arg-type]


def assert_same(
    found: Recording, wanted_v: NDArray[np.float64] | None = None, within_v: float = 0.011
) -> None:
    """The recording is the whole signal, on its axis, without a gap."""
    wanted_v = volts() if wanted_v is None else wanted_v
    assert found.samples == len(wanted_v) and found.gaps == ()
    assert abs(found.rate_hz / RATE_HZ - 1) < 1e-5
    assert np.abs(found.volts(0, found.samples) - wanted_v).max() <= within_v
