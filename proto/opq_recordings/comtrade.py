"""COMTRADE (IEEE C37.111 / IEC 60255-24): all analogue channels of a record, in .cfg and .dat or one .cff."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.comtrade_cfg import (
    RATE_MATCH_SHARE,
    TRACKED_SHARE,
    AnalogField,
    Configuration,
    configuration,
)
from opq_recordings.comtrade_rows import MISSING, NO_STAMP, Rows, rows_of
from opq_recordings.even_axis import (
    BLOCK_TIMES,
    RATE_TOLERANCE,
    EvenAxis,
    axis_of_rows,
    axis_of_times,
    counted_throughout,
    interpolated,
)
from opq_recordings.recording import Channel, Content, Run, missing_rows, without_missing
from opq_recordings.stated_facts import SAMPLES_EXAMINED, chosen_rate
from opq_recordings.units import measured_in, side_units, unit_scale

MOST_TEXT = 16 << 20
"""Bytes of a .cfg; 10,000 channels have 1 MB."""
PART = re.compile(
    rb"^\s*-{2,3}\s*file type\s*:?\s*(\w+)\s*(\w*)\s*(?::\s*(\d+))?\s*-{2,3}\s*?(\r\n|\n|\r)", re.I | re.M
)
STAMP_FACTORS = (1.0, 1e-3, 1e3)
"""Recorders disagree whether stamps are in µs or ns; the rate decides."""


def read_comtrade(path: Path) -> Content:
    """Reads a record by its .cfg or .dat (the other beside it, in any case), or a .cff.

    Raises:
        RecordingError: a part is missing, or what is needed to get volts cannot be read.
    """
    if path.suffix.lower() == ".cff":
        config, rows = _from_cff(path)
    else:
        config_path, data_path = _part(path, ".cfg"), _part(path, ".dat")
        config = configuration(_text_of(config_path), str(config_path))
        rows = rows_of(data_path, config)
    return content_of(path, config, rows)


def content_of(path: Path, config: Configuration, rows: Rows) -> Content:
    """The channels on their axis."""
    problems = [*config.problems, *rows.problems]
    rows = _evened(config, rows, problems)
    count = len(rows.values[0])
    if config.rows is not None and config.rows != count and config.rows != 0:
        problems.append(f"its .cfg states {config.rows} rows, but it has {count}; all of these were read")
    try:
        axis = _axis(config, rows, problems)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error
    problems += axis.problems
    channels = tuple(
        _channel(each, values, axis, config, rows.form)
        for each, values in zip(config.analog, rows.values, strict=True)
        if each.a != 0
    )
    if unused := [each.name for each in config.analog if each.a == 0]:
        problems.append(
            f"its channels of factor 0 are constant and were left out: {', '.join(unused[:10])}"
            + (f" and {len(unused) - 10} more" if len(unused) > 10 else "")
        )
    form = f"COMTRADE {config.revision}, {rows.form}"
    return Content(form, channels, config.assumed, tuple(problems), config.code_page)


def _channel(
    field: AnalogField, values: NDArray[np.generic], axis: EvenAxis, config: Configuration, form: str
) -> Channel:
    text, ratio = _unit_and_ratio(field)
    unit, quantity, scale = measured_in(text)
    factor = 1.0 if scale is None else scale
    whole = Channel(
        name=field.name,
        values=values,
        scale=None if field.a is None or scale is None else field.a * factor,
        offset=field.b * factor,
        unit=unit,
        quantity=quantity,
        phase=field.phase,
        rate_hz=axis.rate_hz,
        start_ns=config.start.t_ns,
        nominal_hz=config.line_hz,
        runs=axis.runs,
        samples=axis.samples,
        ratio=ratio,
    )
    return without_missing(whole, _mark(values, form))


def _mark(values: NDArray[np.generic], form: str) -> float | None:
    """The mark for "no value"; 99999 in ASCII only where all values are below it."""
    mark = MISSING[form]
    if form == "ascii":
        blocks = (values[at : at + BLOCK_TIMES] for at in range(0, len(values), BLOCK_TIMES))
        if any(np.nanmax(np.abs(block), initial=0.0) > mark for block in blocks):
            return None
    return mark


def _unit_and_ratio(field: AnalogField) -> tuple[str, tuple[float, str] | None]:
    """The unit of the values, and the ratio; a unit such as `V/kV` names those of both sides."""
    unit, factor = field.unit, 1.0
    if pair := side_units(unit):
        unit = pair[1] if field.side == "P" else pair[0]
        scales = [unit_scale(each) for each in pair]
        factor = scales[1][1] / scales[0][1] if scales[0] and scales[1] else 1.0
    if field.primary and field.secondary and field.primary > 0 and field.secondary > 0 and field.side:
        return unit, (factor * field.primary / field.secondary, field.side)
    return unit, None


def _axis(config: Configuration, rows: Rows, problems: list[str]) -> EvenAxis:
    count = len(rows.values[0])
    if (
        len(config.rates) == 1
        and count > BLOCK_TIMES
        and counted_throughout(
            rows.numbers_column, rows.stamps_column, 1 / config.rates[0][0] / config.stamp_s, NO_STAMP
        )
    ):
        return EvenAxis(config.rates[0][0], (Run(0, 0, count),))
    stamps = rows.stamps()
    stamps_s = None if stamps is None else _unwrapped(stamps) * config.stamp_s
    if not config.rates:
        if stamps_s is None or not np.isfinite(stamps_s).all():
            raise RecordingError("its .cfg states no rate, and its rows have no time stamps; give --rate-hz")
        return axis_of_times(stamps_s - stamps_s[0])
    segments = _segments(config, count)
    rates = [rate for rate, _, _ in segments]
    if stamps_s is not None and len(stamps_s) > 1:
        if len(rates) == 1 and (by_stamps := _axis_of_stamps(config, rows, stamps_s, problems)) is not None:
            return by_stamps
        stamps_s = stamps_s * _stamp_factor(stamps_s[: segments[0][2]], rates[0])
    if max(rates) - min(rates) <= RATE_MATCH_SHARE * max(rates):
        mean_hz = count / sum(samples / rate for rate, _, samples in segments)
        edges = [row for _, row, _ in segments[1:]]
        return axis_of_rows(rows.numbers(), stamps_s, rates[0] if len(set(rates)) == 1 else mean_hz, edges)
    return _longest_rate(segments, problems)


def _axis_of_stamps(
    config: Configuration, rows: Rows, stamps_s: NDArray[np.float64], problems: list[str]
) -> EvenAxis | None:
    """The axis of even time stamps that contradict the rate of the .cfg, where only under theirs the first
    voltage has a mains of 50 or 60 Hz; else None.
    """
    rate_hz = config.rates[0][0]
    if _stamp_factor(stamps_s, rate_hz) != 1.0 or not np.isfinite(stamps_s).all():
        return None
    try:
        axis = axis_of_times(stamps_s - stamps_s[0])
    except RecordingError:
        return None
    if abs(axis.rate_hz / rate_hz - 1) <= RATE_TOLERANCE:
        return None
    voltage = next((k for k, each in enumerate(config.analog) if _is_voltage(each)), 0)
    values = rows.values[voltage][:SAMPLES_EXAMINED]
    known = np.where(missing_rows(values, _mark(values, rows.form)), np.nan, values.astype(np.float64))
    said: list[str] = []
    rates = [(f"the .cfg {rate_hz:.9g} Hz", rate_hz), ("the time stamps", axis.rate_hz)]
    if chosen_rate(known, rates, said, config.line_hz) == rate_hz:
        return None
    problems += [*said, *axis.problems]
    return axis


def _is_voltage(field: AnalogField) -> bool:
    return field.a != 0 and measured_in(_unit_and_ratio(field)[0])[1] == "voltage"


def _evened(config: Configuration, rows: Rows, problems: list[str]) -> Rows:
    """Rows whose rate follows the mains (segments of slightly different rates), interpolated onto even times.

    Without this they would show mains of a constant frequency, whatever the recorder followed.
    """
    count = len(rows.values[0])
    segments = _segments(config, count) if config.rates else []
    rates = [rate for rate, _, _ in segments]
    if len(set(rates)) < 2 or max(rates) - min(rates) > TRACKED_SHARE * max(rates):
        return rows
    steps_s = np.concatenate([np.full(samples, 1 / rate) for rate, _, samples in segments])
    at_s = np.concatenate(([0.0], np.cumsum(steps_s[:-1])))
    even_s = steps_s.mean() * np.arange(count)
    problems.append(
        f"its rate follows the mains, {min(rates):g} to {max(rates):g} Hz; its samples were interpolated "
        "onto even times"
    )
    values = []
    for each in rows.values:
        known = np.where(missing_rows(each, _mark(each, rows.form)), np.nan, each.astype(np.float64))
        values.append(interpolated(known, at_s, even_s))
    return replace(rows, values=tuple(values))


def _longest_rate(segments: list[tuple[float, int, int]], problems: list[str]) -> EvenAxis:
    """The segments of the rate with most samples, in their places in time; the others are gaps."""
    samples_of: dict[float, int] = {}
    for rate, _, samples in segments:
        near = next((known for known in samples_of if abs(known - rate) <= RATE_MATCH_SHARE * known), rate)
        samples_of[near] = samples_of.get(near, 0) + samples
    chosen = max(samples_of, key=lambda rate: samples_of[rate])
    runs, at_s = [], 0.0
    left_out = []
    for rate, row, samples in segments:
        if abs(chosen - rate) <= RATE_MATCH_SHARE * chosen:
            runs.append(Run(round(at_s * chosen), row, samples))
        else:
            left_out.append(f"rows {row + 1} to {row + samples} ({rate:g} Hz)")
        at_s += samples / rate
    problems.append(
        f"it has segments of several rates; those of {chosen:g} Hz were read, {', '.join(left_out)} left out"
    )
    return EvenAxis(chosen, tuple(runs))


def _segments(config: Configuration, count: int) -> list[tuple[float, int, int]]:
    """(rate, first row, rows) of each segment, over the rows that are there."""
    found, at = [], 0
    for rate, last in config.rates:
        samples = min(last, count) - at
        if samples > 0:
            found.append((rate, at, samples))
            at += samples
    if not found:
        return [(config.rates[0][0], 0, count)]
    if at < count:  # more rows than stated: at the last rate
        rate, first, _ = found[-1]
        found[-1] = (rate, first, count - first)
    return found


def _stamp_factor(stamps_s: NDArray[np.float64], rate_hz: float) -> float:
    """The factor that makes the stamps fit the rate: 1 unless µs and ns are mixed up."""
    steps_s = np.diff(stamps_s)
    known = steps_s[np.isfinite(steps_s)]
    usual = float(np.median(known)) * rate_hz if len(known) else 1.0
    for factor in STAMP_FACTORS:
        if abs(usual * factor - 1) < 0.1:
            return factor
    return 1.0


def _unwrapped(stamps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stamps of 32 bits that began again at 0."""
    steps = np.diff(stamps, prepend=stamps[:1])  # NaN where a row has no stamp
    return stamps + 2.0**32 * np.cumsum(np.nan_to_num(steps) < -(2.0**31))


def _from_cff(path: Path) -> tuple[Configuration, Rows]:
    with path.open("rb") as file:
        head = file.read(MOST_TEXT)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RecordingError(f"{path}: is text of 16 bits per letter; save it as UTF-8")
    parts: dict[bytes, tuple[re.Match[bytes], int | None]] = {}
    marks = list(PART.finditer(head))
    for k, mark in enumerate(marks):
        end = marks[k + 1].start() if k + 1 < len(marks) else None
        parts.setdefault(mark[1].upper(), (mark, end))
        if mark[1].upper() == b"DAT":
            break  # what follows are its bytes
    if b"CFG" not in parts or b"DAT" not in parts:
        found = ", ".join(sorted(name.decode("latin-1") for name in parts)) or "none"
        raise RecordingError(
            f"{path}: want the parts CFG and DAT after lines such as --- file type: CFG ---, has {found}"
        )
    mark, end = parts[b"CFG"]
    config = configuration(head[mark.end() : end], f"{path}, CFG")
    data = parts[b"DAT"][0]
    size = int(data[3]) if data[3] else None
    problems: tuple[str, ...] = ()
    if size is not None and size > path.stat().st_size - data.end():
        problems = (f"its data are cut short, {path.stat().st_size - data.end()} of {size} bytes are there",)
    rows = rows_of(path, config, data.end(), size)
    return config, replace(rows, problems=(*problems, *rows.problems))


def _text_of(path: Path) -> bytes:
    if path.stat().st_size > MOST_TEXT:
        raise RecordingError(f"{path}: has {path.stat().st_size:,} bytes, want at most {MOST_TEXT:,}")
    return path.read_bytes()


def _part(path: Path, suffix: str) -> Path:
    """The part of a record with that ending, in capitals or not."""
    if path.suffix.lower() == suffix:
        return path
    wanted = path.stem.lower() + suffix
    names = {each.name: each for each in path.parent.iterdir() if each.name.lower() == wanted}
    for name in (path.with_suffix(suffix).name, *sorted(names)):
        if name in names and names[name].is_file():
            return names[name]
    raise RecordingError(f"{path}: its {suffix} file is missing; put both into one folder, with one name")
