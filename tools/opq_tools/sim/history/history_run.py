"""Runs a history minute by minute: Boxes -> VirtualCloud -> store. Each minute is noted when it is stored.

A resumed run repeats the minute that was not noted, without duplicates: Measurements are unique by Box and
time, events by the span that they cover, findings by their content.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.store.store import CloudStore
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement, Waveform
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_tools.sim.history.history_boxes import grid_of, outages_of
from opq_tools.sim.history.history_intervals import HistoryIntervals
from opq_tools.sim.history.progress_file import HistoryProgress, write_progress
from opq_tools.sim.history.virtual_cloud import VirtualCloud

CHUNK_S = 60
"""Seconds that are stored and noted together."""
ALONE_CHUNK_S = 6 * 3600
"""The same of intervals alone."""
LAST_MS = 10_000
"""Most age of a Box's last Measurement, unless its supply or network was out."""
LATE_S = 1.0
"""Time after which all Measurements of a moment are judged; events that ended before can be answered."""


class HistoryBoxes(Protocol):
    """Boxes whose time is passed in."""

    def measured(self, until_s: float) -> tuple[Measurements | None, Sequence[Measurement]]:
        """New complete Measurements up to then: those of steady spans as columns, the others one by one."""
        ...

    def waveform(self, box_id: str, start_ns: int, end_ns: int) -> Waveform | None:
        """A Box's samples; None where it has none of this span."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryFigures:
    """Figures of one call, without the earlier content of the store."""

    cpu_s: float
    box_hours: float

    @property
    def box_hours_per_cpu_minute(self) -> float | None:
        return self.box_hours / (self.cpu_s / 60) if self.cpu_s else None


def measured_to_s(progress: HistoryProgress, store: CloudStore) -> dict[str, float]:
    """Box -> end of its last stored Measurement of the noted time, in seconds after the beginning."""
    if not progress.done_s:
        return {}
    start_ms = progress.start_ns // 1_000_000
    done_ms = start_ms + round(progress.done_s * 1000)
    found: dict[str, float] = {}
    for box_id in store.latest_measurements():
        reach_ms, ends = LAST_MS, list[int]()
        while not ends and done_ms - reach_ms // 60 >= start_ms:
            rows = store.measurements(box_id, done_ms - reach_ms, done_ms + 1)
            ends = [row.end_ns for row in rows if row.end_ns is not None]
            reach_ms *= 60
        if ends:
            found[box_id] = (max(ends) - progress.start_ns) / 1e9
    return found


def run_history(
    progress: HistoryProgress,
    boxes: HistoryBoxes,
    store: CloudStore,
    folder: Path,
    stop: threading.Event,
    on_progress: Callable[[HistoryProgress], object] = lambda progress: None,
    intervals: HistoryIntervals | None = None,
) -> tuple[HistoryProgress, HistoryFigures]:
    """Runs to the end, or until `stop`; returns the progress and the figures of this call.

    `intervals`: class A of the same Boxes beside their Measurements.

    Raises:
        StoreError, OpqError: writing failed; minutes noted before stay valid.
    """
    cloud = VirtualCloud(CloudConfig(), store, boxes.waveform)
    if progress.done_s:
        cloud.resume(progress.done_s)

    def store_until(from_s: float, until_s: float) -> None:
        at_s = from_s
        while at_s < until_s:
            at_s = min(until_s, at_s + 1.0)
            cloud.accept(*boxes.measured(at_s), at_s)
            cloud.answer_events(progress.start_ns + round((at_s - LATE_S) * 1e9))
        cloud.store_accepted()
        if intervals is not None:
            intervals.store_until(until_s)

    def finish(at_s: float) -> None:
        cloud.finish(at_s)
        if intervals is not None:
            intervals.finish()

    return _run(progress, CHUNK_S, store_until, finish, folder, stop, on_progress)


def run_intervals(
    progress: HistoryProgress,
    intervals: HistoryIntervals,
    folder: Path,
    stop: threading.Event,
    on_progress: Callable[[HistoryProgress], object] = lambda progress: None,
) -> tuple[HistoryProgress, HistoryFigures]:
    """Runs class A alone to the end, or until `stop`, as `run_history`."""

    def store_until(from_s: float, until_s: float) -> None:
        intervals.store_until(until_s)

    def finish(at_s: float) -> None:
        intervals.finish()

    return _run(progress, ALONE_CHUNK_S, store_until, finish, folder, stop, on_progress)


def _run(
    progress: HistoryProgress,
    chunk_s: float,
    store_until: Callable[[float, float], None],
    finish: Callable[[float], None],
    folder: Path,
    stop: threading.Event,
    on_progress: Callable[[HistoryProgress], object],
) -> tuple[HistoryProgress, HistoryFigures]:
    """Stores each part, from and to seconds after the beginning, and notes it; `finish` gets the end."""
    began_s, began_cpu_s = progress.done_s, time.process_time()
    while not progress.finished and not stop.is_set():
        until_s = min(progress.length_s, progress.done_s + chunk_s)
        store_until(progress.done_s, until_s)
        progress = progress.done_to(until_s)
        if progress.finished:
            finish(until_s)
        write_progress(folder, progress)
        on_progress(progress)
    return progress, HistoryFigures(
        cpu_s=time.process_time() - began_cpu_s, box_hours=progress.boxes * (progress.done_s - began_s) / 3600
    )


def play(
    path: Path | None,
    progress: HistoryProgress,
    store: CloudStore,
    folder: Path,
    stop: threading.Event,
    on_progress: Callable[[HistoryProgress], object],
) -> tuple[HistoryProgress, HistoryFigures]:
    """Runs the history of a scenario's file, as `run_history`, with what `intervals` of it says.

    Class A has a network of its own, since one forgets what its readers have passed.
    """
    class_a = None
    if progress.intervals != "none":
        class_a = HistoryIntervals(grid_of(path, progress), progress, store, outages_of(progress))
    if class_a is not None and progress.intervals == "alone":
        return run_intervals(progress, class_a, folder, stop, on_progress)
    measured_s = measured_to_s(progress, store)
    grid, outages = grid_of(path, progress), outages_of(progress)
    boxes = VirtualBoxes(grid, progress.start_ns, progress.seed, measured_s, outages)
    return run_history(progress, boxes, store, folder, stop, on_progress, class_a)
