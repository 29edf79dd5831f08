"""A data set as a folder: .i16 and .json of each recording, and truth.jsonl; it appears completely or not
at all.
"""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opq_proto.errors import OpqError
from opq_sim.data_sets.kinds import DataSetError
from opq_sim.data_sets.labelled import labelled_recording
from opq_sim.data_sets.magnitudes import MAGNITUDES
from opq_sim.score.truth_file import FILE_NAME

MIN_SNR_DB = 24.0
"""With less, the noise of every recording would belong to class `noise` (8 % and more: 22 dB)."""


class DataSetStoppedError(OpqError):
    """It was stopped; nothing was written."""


@dataclass(frozen=True, slots=True)
class DataSetPlan:
    """The content of a folder; the same plan gives the same bytes.

    Raises:
        DataSetError: an impossible number.
    """

    classes: tuple[str, ...]
    per_class: int
    """Recordings of each class at each frequency."""
    snr_db: float = 30.0
    hz: tuple[int, ...] = (50, 60)
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.classes or self.per_class < 1 or self.seed < 0:
            raise DataSetError("want a class, at least one recording of each, and a seed from 0")
        if not MIN_SNR_DB <= self.snr_db <= 120.0:
            raise DataSetError(f"snr_db is {self.snr_db:g}; want {MIN_SNR_DB:g} to 120")
        if not self.hz or not set(self.hz) <= {50, 60} or len(set(self.hz)) != len(self.hz):
            raise DataSetError(f"hz is {', '.join(map(str, self.hz))}; want 50, 60 or both")

    @property
    def recordings(self) -> int:
        """Number of recordings."""
        return len(self.classes) * self.per_class * len(self.hz)


@dataclass(frozen=True, slots=True)
class DataSetReport:
    """Counts of the written folder."""

    recordings: int
    samples: int
    near_edges: int
    """Samples that another library of functions might round differently; 0: the same bytes everywhere."""


def write_data_set(
    plan: DataSetPlan,
    folder: Path,
    show: Callable[[int], None] = lambda _done: None,
    stop: threading.Event | None = None,
) -> DataSetReport:
    """Writes the folder; it must not exist, or be empty.

    Args:
        show: called with the number of recordings made.
        stop: ends it; nothing is left.
    Raises:
        DataSetError: the folder is not empty.
        DataSetStoppedError: it was stopped.
        OSError: the folder cannot be written; nothing is left.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataSetError(f"{folder} is not empty; want a folder that is new or empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    beside.mkdir()
    try:
        report = _fill(plan, beside, show, stop)
        beside.replace(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return report


def _fill(
    plan: DataSetPlan, folder: Path, show: Callable[[int], None], stop: threading.Event | None
) -> DataSetReport:
    number = samples = near_edges = 0
    with (folder / FILE_NAME).open("w", encoding="utf-8", newline="\n") as truth:
        for kind in plan.classes:
            for hz in plan.hz:
                for index in range(1, plan.per_class + 1):
                    if stop is not None and stop.is_set():
                        raise DataSetStoppedError(f"stopped after {number} recordings; nothing was written")
                    number += 1
                    made = labelled_recording(kind, hz, index, plan.seed, plan.snr_db, number)
                    name = f"{kind}_{hz}hz_{index:05d}"
                    data = made.counts.astype("<i2").tobytes()
                    (folder / f"{name}.i16").write_bytes(data)
                    facts = {**made.facts, "sha256": hashlib.sha256(data).hexdigest()}
                    text = json.dumps(facts, indent=1) + "\n"
                    (folder / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")
                    truth.write(json.dumps({**made.truth, "file": f"{name}.i16"}) + "\n")
                    samples += len(made.counts)
                    near_edges += made.near_edges
                    show(number)
        truth.flush()
        os.fsync(truth.fileno())
    return DataSetReport(number, samples, near_edges)


ALL_CLASSES = tuple(MAGNITUDES)
"""Every class of one recording, `none` first."""
