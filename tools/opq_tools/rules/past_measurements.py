"""Measurements of the past for a backtest: of a recording, or of stored history."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from opq_measure.events.limits import Limits
from opq_proto.messages import Measurement, Metric
from opq_proto.time_units import NS_PER_S
from opq_recordings.recording import Recording
from opq_tools.shared.rule_server import ServerRefusedError


def measurements_of(recording: Recording) -> Iterator[Measurement]:
    """A Measurement for each 10/12-cycle window, as the gateway makes them."""
    from opq_tools.recordings.analyze.shown_measuring import measured_with_progress, warn_of

    found = measured_with_progress(recording, Limits())
    warn_of(found)
    analysis = found.analysis
    start_ns = recording.start_ns or 0
    starts = np.append(analysis.window_starts, np.inf)
    for k, first in enumerate(analysis.window_starts):
        own = slice(*np.searchsorted(analysis.half_starts, (first, starts[k + 1])))
        cycles = slice(*np.searchsorted(analysis.cycle_starts, (first, starts[k + 1])))
        if cycles.start == cycles.stop:
            continue
        last = min(starts[k + 1], float(recording.samples))
        begin_ns, end_ns = (start_ns + round(x * NS_PER_S / analysis.rate_hz) for x in (float(first), last))
        metrics = {"rms": _metric(analysis.half_rms_v[own], np.sqrt(np.nanmean(analysis.rms_v[cycles] ** 2)))}
        for name, value in (("f", analysis.window_hz[k]), ("thd", analysis.window_thd[k])):
            if np.isfinite(value):
                metrics[name] = Metric(float(value), float(value), float(value))
        yield Measurement(
            recording.box_id or "1",
            round(end_ns / 1e6),
            metrics,
            start_ns=begin_ns,
            end_ns=end_ns,
            nominal_v=found.nominal.volts,
            nominal_hz=found.nominal.hz,
        )


def _metric(values: Any, average: float) -> Metric:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (float(average), float(average))
    return Metric(low, high, float(average))


def history(
    box_ids: tuple[str, ...], first_ms: int, last_ms: int, data_dir: Path | None, mongo_uri: str | None
) -> Iterator[Measurement]:
    """Stored Measurements of those Boxes, or of all.

    Raises:
        ServerRefusedError: there is no store.
        BoxNotKnownError: it does not know one of the Boxes.
    """
    from opq_cloud.export.selection import all_measurements
    from opq_cloud.store import FILE_NAME, open_store
    from opq_tools.exporting.export_command import LATEST_MS
    from opq_tools.shared.opened_store import check_known_boxes, store_place

    mongo_uri, folder = store_place(mongo_uri, data_dir)
    if mongo_uri is None and not (folder / FILE_NAME).is_file():
        raise ServerRefusedError(
            f"{folder} has no {FILE_NAME}: want the store's --data-dir, or a --recording"
        )
    store = open_store(mongo_uri, folder)
    try:
        check_known_boxes(store, box_ids)
        for box_id in box_ids or tuple(store.latest_measurements()):
            yield from all_measurements(store, box_id, first_ms, min(last_ms, LATEST_MS))
    finally:
        store.close()
