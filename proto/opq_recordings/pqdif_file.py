"""PQDIF (IEEE 1159.3): the waveforms of a file, as channels of voltages and currents.

A data source defines channels, an observation has instances of them: times (values, or counts of even steps)
and values with a scale. Trends, phasors and spectra are not waveforms and are left out, with a note. Our own
export keeps its facts in the container's comments, so that gains, starts and gaps come back exactly.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.even_axis import axis_of_times
from opq_recordings.exported import exported_channel, runs_between
from opq_recordings.moments import MAX_START_NS
from opq_recordings.pqdif_elements import PqdifElement, records_of
from opq_recordings.pqdif_tags import INCREMENT, SCALED, SECONDS, VOLTAGE, VOLTS, Meaning, Tag
from opq_recordings.quantity_names import Quantity
from opq_recordings.recording import Channel, Content, Run, without_missing

CURRENT = 2
"""QUANTITY_MEASURED of a current."""
AMPERES = 7
"""QUANTITY_UNITS of a current."""
PHASE_NAMES = ("", "AN", "BN", "CN", "NG", "AB", "BC", "CA", "residual", "net")
SAME_SHARE = 1e-12
NOT_SCALED = "series have a scale or an offset, and their storage method does not say scaled"


@dataclass(frozen=True, slots=True)
class _Source:
    """A data source with its channel definitions."""

    tree: PqdifElement
    channels: tuple[PqdifElement, ...]
    nominal_hz: float | None = None
    ratios: Mapping[int, float] = field(default_factory=dict)
    """Channel definition -> system side over monitor side of its transducer."""
    uses_transducer: bool = False
    """Whether the ratio is to be applied, so that the values are those of the system."""


def read_pqdif(path: Path) -> Content:
    """Reads all waveforms.

    Raises:
        RecordingError: no PQDIF, broken, or without a waveform.
    """
    source: _Source | None = None
    facts: list[dict[str, object]] = []
    found: list[Channel] = []
    left_out: dict[str, int] = {}
    said: list[str] = []
    for record in records_of(path, said):
        if record.tag == Tag.CONTAINER:
            facts = _own_facts(record)
        elif record.tag == Tag.DATA_SOURCE:
            listed = record.member(Tag.CHANNEL_DEFINITIONS)
            source = _Source(record, tuple(listed.each(Tag.CHANNEL_DEFINITION)) if listed else ())
        elif record.tag == Tag.MONITOR_SETTINGS and source is not None:
            source = replace(
                source,
                nominal_hz=record.number(Tag.NOMINAL_FREQUENCY),
                ratios=_ratios(record),
                uses_transducer=bool(record.whole(Tag.USE_TRANSDUCER)),
            )
        elif record.tag == Tag.OBSERVATION and source is not None:
            found += _observation(path, record, source, left_out)
    if not found:
        what = ", ".join(f"{count} {name}" for name, count in left_out.items()) or "no observations"
        raise RecordingError(f"{path}: has no waveform; it has {what}")
    if facts and (own := _exported(found, facts)):
        return Content("PQDIF, of opq-tools export", own, (), tuple(said))
    not_scaled = left_out.pop(NOT_SCALED, 0)
    said += [f"{count} {name} are not waveforms and were left out" for name, count in left_out.items()]
    if not_scaled:
        said.append(f"{not_scaled} {NOT_SCALED}, so they were not applied")
    problems = tuple(said)
    channels = tuple(found)
    zone_stated = source is not None and source.tree.text(Tag.TIME_ZONE).upper() in ("UTC", "GMT")
    assumed = () if zone_stated or all(each.start_ns is None for each in channels) else ("time_zone",)
    return Content("PQDIF", channels, assumed, problems)


def _observation(
    path: Path, record: PqdifElement, source: _Source, left_out: dict[str, int]
) -> list[Channel]:
    """The waveforms of an observation."""
    listed = record.member(Tag.CHANNEL_INSTANCES)
    instances = list(listed.each(Tag.CHANNEL_INSTANCE)) if listed is not None else []
    series = [_series_of(instance) for instance in instances]
    found = []
    for k, instance in enumerate(instances):
        index = instance.whole(Tag.CHANNEL_INDEX)
        definition = (
            source.channels[index] if index is not None and 0 <= index < len(source.channels) else None
        )
        if definition is None:
            left_out["channels without a definition"] = left_out.get("channels without a definition", 0) + 1
            continue
        if definition.guid(Tag.QUANTITY_TYPE) != Meaning.WAVEFORM:
            left_out["channels of other kinds"] = left_out.get("channels of other kinds", 0) + 1
            continue
        start_ns = record.time_ns(Tag.TIME_START)
        channel = _channel(path, definition, series, k, start_ns, source, left_out)
        if channel is not None and index is not None and (ratio := source.ratios.get(index)) is not None:
            channel = _with_ratio(channel, ratio, source.uses_transducer)
        if channel is None:
            left_out["waveforms without times or values"] = (
                left_out.get("waveforms without times or values", 0) + 1
            )
        else:
            found.append(channel)
    return found


def _series_of(instance: PqdifElement) -> list[PqdifElement]:
    listed = instance.member(Tag.SERIES_INSTANCES)
    return list(listed.each(Tag.SERIES_INSTANCE)) if listed is not None else []


def _channel(
    path: Path,
    definition: PqdifElement,
    all_series: Sequence[Sequence[PqdifElement]],
    index: int,
    start_ns: int | None,
    source: _Source,
    told: dict[str, int],
) -> Channel | None:
    listed = definition.member(Tag.SERIES_DEFINITIONS)
    definitions = list(listed.each(Tag.SERIES_DEFINITION)) if listed is not None else []
    time = values = None
    scale, offset, unit, nominal_v = 1.0, 0.0, None, None
    for at, series in enumerate(all_series[index][: len(definitions)]):
        known = definitions[at]
        kind = known.guid(Tag.VALUE_TYPE)
        method = known.whole(Tag.STORAGE_METHOD) or 0
        numbers = _values(series, all_series)
        if numbers is None:
            continue
        factor = series.number(Tag.SERIES_SCALE)
        added = series.number(Tag.SERIES_OFFSET) or 0.0
        if kind == Meaning.TIME and time is None and known.whole(Tag.QUANTITY_UNITS) in (SECONDS, None):
            time = _times(numbers, method, factor, added)
        elif kind == Meaning.VALUE and values is None:
            values, unit = numbers, known.whole(Tag.QUANTITY_UNITS)
            nominal_v = series.number(Tag.SERIES_BASE)
            if method & SCALED:
                scale, offset = factor or 1.0, added
            elif factor not in (None, 0.0, 1.0) or added:
                told[NOT_SCALED] = told.get(NOT_SCALED, 0) + 1
    if time is None or values is None or not len(values):
        return None
    axis_runs, rate_hz, first_s, samples = _axis(path, time, len(values))
    quantity = _quantity(definition.whole(Tag.QUANTITY_MEASURED), unit)
    begin_ns = None if start_ns is None else start_ns + round(first_s * 1e9)
    phase = definition.whole(Tag.PHASE) or 0
    phase_name = PHASE_NAMES[phase] if 0 <= phase < len(PHASE_NAMES) else ""
    whole = Channel(
        definition.text(Tag.CHANNEL_NAME) or phase_name or f"channel {index + 1}",
        values,
        scale,
        offset,
        unit={VOLTS: "V", AMPERES: "A"}.get(unit if unit is not None else -1),
        quantity=quantity,
        phase=phase_name,
        rate_hz=rate_hz,
        start_ns=begin_ns if begin_ns is not None and 0 <= begin_ns <= MAX_START_NS else None,
        nominal_v=nominal_v if nominal_v and nominal_v > 0 else None,
        nominal_hz=source.nominal_hz if source.nominal_hz and source.nominal_hz > 0 else None,
        runs=axis_runs,
        samples=samples,
    )
    return without_missing(whole)


def _ratios(settings: PqdifElement) -> dict[int, float]:
    """Channel definition -> ratio of its transducer, from the monitor settings."""
    listed = settings.member(Tag.CHANNEL_SETTINGS)
    found = {}
    for each in listed.each(Tag.CHANNEL_SETTING) if listed is not None else ():
        index = each.whole(Tag.CHANNEL_INDEX)
        system, monitor = each.number(Tag.SYSTEM_SIDE_RATIO), each.number(Tag.MONITOR_SIDE_RATIO)
        if index is not None and system and monitor and SAME_SHARE < abs(system / monitor) < 1 / SAME_SHARE:
            found[index] = abs(system / monitor)
    return found


def _with_ratio(channel: Channel, ratio: float, applied: bool) -> Channel:
    """The channel with its transducer's ratio: in values of the system where the file says to apply it."""
    if not applied:
        return replace(channel, ratio=(ratio, "S"))
    return replace(
        channel, scale=(channel.scale or 1.0) * ratio, offset=channel.offset * ratio, ratio=(ratio, "P")
    )


def _quantity(measured: int | None, unit: int | None) -> Quantity:
    if measured == VOLTAGE or (measured is None and unit == VOLTS):
        return "voltage"
    return "current" if measured == CURRENT or (measured is None and unit == AMPERES) else "other"


def _values(series: PqdifElement, all_series: Sequence[Sequence[PqdifElement]]) -> NDArray[Any] | None:
    """The values of a series, or those of the series that it shares."""
    found = series.member(Tag.SERIES_VALUES)
    if found is None:
        channel, other = series.whole(Tag.SHARED_CHANNEL), series.whole(Tag.SHARED_SERIES)
        if channel is None or other is None or not 0 <= channel < len(all_series):
            return None
        if not 0 <= other < len(all_series[channel]):
            return None
        found = all_series[channel][other].member(Tag.SERIES_VALUES)
    return None if found is None else found.values()


def _times(
    numbers: NDArray[Any], method: int, scale: float | None, offset: float
) -> NDArray[np.float64] | tuple[list[tuple[int, float]], float]:
    """Times in seconds; or, where they are stored as even steps, the steps and the first time."""
    factor = scale if scale else 1.0
    if not method & INCREMENT:
        times: NDArray[np.float64] = numbers.astype(np.float64) * factor + offset
        return times
    steps = [
        (int(numbers[at]), float(numbers[at + 1]) * factor)
        for at in range(1, len(numbers) - 1, 2)
        if 0 < numbers[at] < 2**40 and numbers[at + 1] > 0
    ]
    return steps, offset


def _axis(
    path: Path, time: NDArray[np.float64] | tuple[list[tuple[int, float]], float], count: int
) -> tuple[tuple[Run, ...], float, float, int]:
    """The runs, the rate, the time of sample 0 and the length of the axis."""
    if isinstance(time, tuple):
        steps, first_s = time
        if not steps:
            raise RecordingError(
                f"{path}: its times have no steps; want the step from one sample to the next"
            )
        if any(abs(step_s - steps[0][1]) > 1e-3 * steps[0][1] for _, step_s in steps):
            raise RecordingError(f"{path}: its times have {len(steps)} different steps; want one rate")
        return (Run(0, 0, count),), _rate(steps[0][1]), first_s, count
    try:
        axis = axis_of_times(time[:count])
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error
    return axis.runs, axis.rate_hz, float(time[0]), axis.samples


def _rate(step_s: float) -> float:
    """The rate of a step; in whole millihertz where it is one but for the last digits of the division."""
    rate_hz = 1 / step_s
    whole = round(rate_hz * 1000) / 1000
    return whole if abs(whole - rate_hz) <= SAME_SHARE * rate_hz else rate_hz


def _own_facts(container: PqdifElement) -> list[dict[str, object]]:
    if not container.text(Tag.APPLICATION).startswith("opq-toolkit"):
        return []
    try:
        found = json.loads(container.text(Tag.COMMENTS))
    except (ValueError, RecursionError):
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _exported(found: Sequence[Channel], facts: list[dict[str, object]]) -> tuple[Channel, ...]:
    """The waveforms of our own export, parts between gaps joined again; empty if the facts differ."""
    channels = []
    by_box: dict[str, list[dict[str, object]]] = {}
    for fact in sorted(facts, key=_start_ns):
        by_box.setdefault(str(fact.get("box_id")), []).append(fact)
    left = deque(found)  # in the order of the file: Box after Box, each by time
    for fact in (each for of_box in by_box.values() for each in of_box):
        parts: list[NDArray[Any]] = []
        taken = 0
        while left and taken != fact.get("samples"):
            parts.append(left.popleft().values)
            taken += len(parts[-1])
        if not parts or taken != fact.get("samples"):
            return ()
        values = np.concatenate(parts)
        runs = runs_between(fact, len(values), stored_gaps=False)
        channels.append(exported_channel(str(fact.get("box_id")), values, runs, fact))
    return tuple(channels)


def _start_ns(fact: dict[str, object]) -> int:
    start_ns = fact.get("start_ns")
    return start_ns if isinstance(start_ns, int) else 0
