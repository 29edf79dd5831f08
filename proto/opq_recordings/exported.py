"""The facts in our exports of every format: gain, exact rate, start, place on the axis, gaps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_recordings.moments import MAX_START_NS
from opq_recordings.recording import Channel, Run


def exported_channel(
    box: str, values: NDArray[np.int16], runs: tuple[Run, ...], facts: dict[str, object]
) -> Channel:
    """Our own channel export by its facts."""
    gain = facts.get("volts_per_lsb")
    millihz = facts.get("rate_millihz")
    stated = stated_facts(facts)
    if isinstance(millihz, int | float) and millihz > 0:
        stated["rate_hz"] = millihz / 1000
    length = facts.get("axis_samples")
    end = max((run.first_sample + run.samples for run in runs), default=0)
    return Channel(
        box,
        values,
        float(gain) if isinstance(gain, int | float) and gain > 0 else None,
        phase=str(facts.get("phase") or ""),
        runs=runs,
        samples=length if isinstance(length, int) and length >= end else end,
        **{**stated, "box_id": box},
    )


def stated_facts(remarks: dict[str, object]) -> dict[str, Any]:
    """The facts of a channel that remarks state in our own words."""
    found: dict[str, Any] = {}
    for key, name in (("nominal_volts", "nominal_v"), ("nominal_hz", "nominal_hz"), ("rate_hz", "rate_hz")):
        value = remarks.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
            found[name] = float(value)
    start_ns = remarks.get("start_ns")
    if isinstance(start_ns, int) and not isinstance(start_ns, bool) and 0 <= start_ns <= MAX_START_NS:
        found["start_ns"] = start_ns
    if "box_id" in remarks:
        found["box_id"] = str(remarks["box_id"])
    return found


def runs_between(facts: dict[str, object], rows: int, stored_gaps: bool) -> tuple[Run, ...]:
    """The runs between the `gaps` of our own export's facts.

    Args:
        stored_gaps: whether the missing samples have rows (as silence), or the file leaves them out.
    """
    first = facts.get("first_sample")
    zero = first if isinstance(first, int) else 0
    listed = facts.get("gaps")
    gaps = sorted(
        (int(each["first_sample"]) - zero, int(each["samples"]))
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict)
        and isinstance(each.get("first_sample"), int)
        and isinstance(each.get("samples"), int)
    )
    runs, at, row = [], 0, 0
    for begin, samples in gaps:
        if begin < at or samples < 0:
            continue
        length = min(begin - at, rows - row)
        if length > 0:
            runs.append(Run(at, row, length))
        row += length + (samples if stored_gaps else 0)
        at = begin + samples
    if row < rows:
        runs.append(Run(at, row, rows - row))
    return tuple(runs)
