"""recording: a recorded waveform in windows, faster than real time. DATASOURCE: a file .i16 or .npy (int16).

A .json of the same name has `rate_hz`, `volts_per_lsb`, and `box_id`, `start` (Unix ms) if known. The source
can be rewound. The columns: wave_windows.py; a record's time of arrival is the end of its window.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, Literal

import numpy as np

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_proto.time_units import NS_PER_MS
from opq_rules.connections.access import Guarded
from opq_rules.feeds.wave_windows import COLUMNS, RATES_MILLIHZ, WavePiece, WaveWindows
from opq_rules.files.records import Open, open_plain_file

MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Config:
    windowMs: int = field(default=200, metadata={"minimum": 1, "maximum": 10_000, "ms": True})
    unit: Literal["counts", "volts"] = "counts"
    speed: float = field(
        default=0.0, metadata={"minimum": 0, "maximum": 1e6, "help": "1: real time; 0: as fast as possible"}
    )
    startMs: int | None = field(
        default=None,
        metadata={"minimum": 0, "help": "Unix ms of the first sample; without it: that of the .json, or 0"},
    )


class Source(Guarded, SourceOfSdk):
    columns = COLUMNS

    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        files = self.access.files
        self._whole = _read(files.checked(datasource), partial(open_plain_file, files), self._config.startMs)
        self._from = 0

    def rewind(self, offset: object) -> None:
        self._from = int(str(offset))

    def open(self, context: SourceContext) -> None:
        whole, config = self._whole, self._config
        windows = WaveWindows(config.windowMs, config.unit == "volts")
        size = max(1, round(whole.rate_millihz * config.windowMs / 1e6))
        context.connected(True)
        while self._from < len(whole.counts):
            end = min(self._from + size, len(whole.counts))
            rows = windows.push_piece(whole.part(self._from, end)) or windows.rest()
            self._from = end
            if not context.emit_many(rows, offset=end, arrived_ms=rows[-1]["end_ms"]):
                return
            if config.speed and context.wait(config.windowMs / 1000 / config.speed):
                return
        while not context.wait(60.0):
            pass


def _read(path: Path, open_file: Open, start_ms: int | None) -> WavePiece:
    """Reads a recording. Raises ValueError with what is wrong with the file or its .json."""
    beside = path.with_suffix(".json")
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise ValueError(f"DATASOURCE  {path} has more than {MAX_BYTES} bytes")
            if path.suffix == ".npy":
                counts = _mapped(file)
            elif path.suffix == ".i16" and size % 2 == 0:
                counts = np.fromfile(file, "<i2")
            else:
                raise ValueError(f"DATASOURCE  {path}: want a .npy, or a .i16 of whole samples")
        with open_file(beside) as file:
            facts = json.load(file)
        rate_hz, v_per_lsb = float(facts["rate_hz"]), float(facts["volts_per_lsb"])
    except (EOFError, SyntaxError, OverflowError, MemoryError, RecursionError, TokenError) as error:
        raise ValueError(f"DATASOURCE  {path} or its .json cannot be read") from error
    except (OSError, KeyError, TypeError) as error:
        why = error if isinstance(error, OSError) else f"{beside}: want rate_hz and volts_per_lsb"
        raise ValueError(f"DATASOURCE  {why}") from error
    if counts.ndim != 1 or counts.dtype != np.int16 or not len(counts):
        raise ValueError(
            f"DATASOURCE  {path} contains {counts.dtype} of shape {counts.shape}; want int16 (n,)"
        )
    if round(rate_hz * 1000) not in RATES_MILLIHZ or not 0 < v_per_lsb < 1e6:
        raise ValueError(
            f"DATASOURCE  {beside}: rate_hz {rate_hz}, volts_per_lsb {v_per_lsb} are "
            "invalid; want positive numbers"
        )
    began = facts.get("start")
    if start_ms is None:
        start_ms = began if isinstance(began, int) and began >= 0 else 0
    box = str(facts.get("box_id", "0"))
    return WavePiece(box, 0, 0, start_ms * NS_PER_MS, 0, "free", round(rate_hz * 1000), v_per_lsb, counts)


def _mapped(file: BinaryIO) -> Any:
    """The array of a .npy file, read as it is used. Raises ValueError if the file has none."""
    first = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("DATASOURCE  contains objects; want int16 (n,)")
    return np.memmap(file, dtype=dtype, mode="r", offset=file.tell(), shape=shape)
