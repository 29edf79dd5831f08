"""Places rows on an even sample axis, from their sample numbers, their times, or both. Pure.

Where both say that rows are missing there is a gap. Where they contradict each other the times decide, as
long as they are even elsewhere, and the contradiction is a problem that a person reads.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.recording import Run, release_pages

UNEVEN_STEPS = 0.5
"""Steps that a time may be off its even place; less is rounding in the file."""
JITTER_STEPS = 0.25
"""Steps that few times may be off; if many are, they are not a clock."""
MOST_UNEVEN = 0.02
"""Share of steps that may be uneven (gaps); with more, the times are not a clock of an even axis."""
RATE_TOLERANCE = 0.005
BLOCK_TIMES = 1 << 17
"""Times looked at together, so that memory does not grow with a long column."""
STRETCHES_EXAMINED = 16
"""Number of stretches of a long column that are examined for the decimals of its times."""
STRETCH_ROWS = 64
"""Rows of one such stretch."""
LONGEST_AXIS = 1_000_000
"""An axis with gaps has at most this many samples, or MAX_SAMPLES_PER_ROW for each row; otherwise a number
is broken."""
MAX_SAMPLES_PER_ROW = 1000
"""Most samples of an axis with gaps per row."""


@dataclass(frozen=True, slots=True)
class EvenAxis:
    """The rate, the runs of rows on the axis, and the contradictions."""

    rate_hz: float
    runs: tuple[Run, ...]
    problems: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        return self.runs[-1].first_sample + self.runs[-1].samples if self.runs else 0


def axis_of_times(times_s: NDArray[np.float64], rate_hz: float | None = None, unit: str = "row") -> EvenAxis:
    """The axis of rows that have only times (CSV, or COMTRADE without a rate).

    Args:
        times_s: (n,) seconds, rounded as the file has them.
        rate_hz: the rate that the user states; None: from the times.
    Raises:
        RecordingError: without the path; times that do not rise or are not even, with the place.
    """
    count = len(times_s)
    if count > BLOCK_TIMES and (even := _even_throughout(times_s, rate_hz)) is not None:
        return even
    if not np.isfinite(times_s).all():
        raise RecordingError(f"{unit} {int(np.argmin(np.isfinite(times_s)))} has no time")
    if count < 2:
        if rate_hz is None:
            raise RecordingError("one sample has no rate; give --rate-hz")
        return EvenAxis(rate_hz, (Run(0, 0, count),))
    with np.errstate(over="ignore", invalid="ignore"):
        steps_s = np.diff(times_s)
        span_s = float(times_s[-1] - times_s[0])
    if not (np.isfinite(span_s) and span_s > 0):
        raise RecordingError(f"its times do not rise: {times_s[0]:.9g} to {times_s[-1]:.9g} s")
    if (steps_s < 0).any():
        at = int(np.argmax(steps_s < 0)) + 1
        raise RecordingError(
            f"its times do not rise at {unit} {at} ({times_s[at]:.9g} s after {times_s[at - 1]:.9g} s)"
        )
    resolution_s = _resolution(times_s)
    step_s = 1 / rate_hz if rate_hz else float(np.median(steps_s)) or span_s / (count - 1)
    gaps = _gaps_at(steps_s, step_s, resolution_s)
    places = np.arange(count, dtype=np.int64)
    for _ in range(2):  # the second time with the step of the whole line
        places[1:] = np.arange(1, count, dtype=np.int64) + np.cumsum(gaps)
        if rate_hz is None:
            step_s = _slope(places, times_s)
            gaps = _gaps_at(steps_s, step_s, resolution_s)
    uneven = np.abs(steps_s - step_s * (gaps + 1)) > UNEVEN_STEPS * step_s + resolution_s
    beside = np.abs(steps_s / step_s - gaps - 1) > max(JITTER_STEPS, 1.01 * resolution_s / step_s)
    most = max(3.0, MOST_UNEVEN * count)
    if uneven.any() or (gaps > 0).sum() > most or beside.sum() > most:
        off = next(each for each in (uneven, beside, gaps > 0) if each.any())
        at = int(np.argmax(off)) + 1
        raise RecordingError(
            f"its times are not even: {step_s:.6g} s from one {unit} to the next, but "
            f"{steps_s[at - 1]:.6g} s from {unit} {at - 1} to {at} ({times_s[at]:.9g} s); "
            "give --rate-hz to count rows instead"
        )
    _check_length(int(places[-1]) + 1, count)
    wander = times_s - times_s[0] - step_s * places
    problems = []
    if (apart := float(np.ptp(wander)) / step_s) > 2 * UNEVEN_STEPS + 1:
        problems.append(f"its times wander by {apart:.1f} samples from a clock of {1 / step_s:.6g} Hz")
    return EvenAxis(1 / step_s, _runs_of(places), tuple(problems))


def rows_of_same_time(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows whose time is that of the row before; none where the decimals of the times are too few to tell
    rows apart. `times_s` as of `axis_of_times`.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # `axis_of_times` refuses steps of 1e308 s
        some_s = np.diff(times_s[:BLOCK_TIMES])
        step_s = float(np.median(some_s)) if len(some_s) else 0.0
        if not step_s > 0 or _resolution(times_s) > UNEVEN_STEPS * step_s:
            return np.empty(0, np.int64)
        parts = [
            np.flatnonzero(np.diff(_block(times_s, at, 1)) == 0) + (at if at else 1)
            for at in range(0, len(times_s), BLOCK_TIMES)
        ]
    return np.concatenate(parts)


def _even_throughout(times_s: NDArray[np.float64], rate_hz: float | None) -> EvenAxis | None:
    """The axis of a long column of times without any gap, computed block by block; None for all others."""
    count, first_s = len(times_s), float(times_s[0])
    blocks = range(0, count, BLOCK_TIMES)
    resolution_s = _resolution(times_s)
    middle = (count - 1) / 2
    with np.errstate(over="ignore", invalid="ignore"):
        mean_s = sum(float((_block(times_s, at) - first_s).sum()) for at in blocks) / count
        rise = sum(
            float((np.arange(len(part)) + (at - middle)) @ (part - first_s - mean_s))
            for at in blocks
            for part in (_block(times_s, at),)
        )
        step_s = rise / (count * (count * count - 1) / 12)  # the sum of the squares of the indices
        if not (np.isfinite(step_s) and step_s > 0) or (
            rate_hz and abs(step_s * rate_hz - 1) > RATE_TOLERANCE
        ):
            return None
        least_s = max(JITTER_STEPS * step_s, 1.01 * resolution_s)
        for at in blocks:
            part = _block(times_s, at, 1)
            even_s = first_s + mean_s + step_s * (np.arange(len(part)) + (max(0, at - 1) - middle))
            if (
                not (np.abs(np.diff(part) - step_s) <= least_s).all()
                or not (np.abs(part - even_s) <= max(UNEVEN_STEPS * step_s, 1.01 * resolution_s)).all()
            ):
                return None
    return EvenAxis(rate_hz or 1 / step_s, (Run(0, 0, count),))


def _block(times_s: NDArray[np.float64], at: int, before: int = 0) -> NDArray[np.float64]:
    """A block of a long column and some rows before it; the pages of earlier blocks are given back."""
    release_pages(times_s)
    return times_s[max(0, at - before) : at + BLOCK_TIMES]


def axis_of_rows(
    numbers: NDArray[np.int64] | None,
    times_s: NDArray[np.float64] | None,
    rate_hz: float,
    edges: Sequence[int] = (),
) -> EvenAxis:
    """The axis of rows with a known rate, by sample numbers and time stamps where they are usable.

    Args:
        edges: rows at which another segment begins; there a number may go on over a gap in time.
    """
    count = len(numbers) if numbers is not None else len(times_s) if times_s is not None else 0
    problems: list[str] = []
    by_number = _number_gaps(numbers, problems)
    by_time = _time_gaps(times_s, rate_hz, problems)
    gaps = np.zeros(max(0, count - 1), dtype=np.int64)
    if by_number is not None and by_time is not None:
        close = np.abs(by_number - by_time) <= np.maximum(1, RATE_TOLERANCE * by_number)
        gaps = np.where((by_number > 0) & (by_time > 0) & close, by_number, by_time)
        apart = by_number != gaps
        apart[[row - 1 for row in edges if 0 < row < count]] = False
        if apart.any():
            at = int(np.argmax(apart)) + 1
            problems.append(
                f"from row {at} to {at + 1} the sample number says {by_number[at - 1]} missing samples, the "
                f"time stamp {by_time[at - 1]}; the time stamp was taken"
            )
    elif by_number is not None:
        gaps = by_number
    elif by_time is not None:
        gaps = by_time
    places = np.arange(count, dtype=np.int64)
    places[1:] += np.cumsum(gaps)
    if count and places[-1] + 1 > max(LONGEST_AXIS, MAX_SAMPLES_PER_ROW * count):
        problems.append("its sample numbers and time stamps are broken; its rows were counted instead")
        places = np.arange(count, dtype=np.int64)
    return EvenAxis(rate_hz, _runs_of(places), tuple(problems))


def counted_throughout(numbers: NDArray[Any], stamps: NDArray[Any], step: float, no_stamp: int) -> bool:
    """Whether a long column counts row by row, and its stamps rise by nearly one `step` each, or are absent.

    Block by block, so that memory does not grow. False is not a verdict: `axis_of_rows` then looks closely.
    """
    factor, risen = 1.0, 0.0
    for at in range(0, len(numbers), BLOCK_TIMES):
        rows = slice(max(0, at - 1), at + BLOCK_TIMES)
        release_pages(numbers)
        release_pages(stamps)
        if not (np.diff(numbers[rows].astype(np.float64)) == 1).all():
            return False
        some = stamps[rows].astype(np.float64)
        absent = some == no_stamp
        if absent.all():
            continue
        steps = np.diff(some)
        steps += 2.0**32 * (steps < -(2.0**31))  # stamps of 32 bits that began again at 0
        if at == 0:
            usual = float(np.median(steps))
            factor = next((each for each in (1.0, 1e-3, 1e3) if abs(usual * each / step - 1) < 0.1), 1.0)
        steps *= factor / step
        if absent.any() or not ((steps > 0.5) & (steps < 1.5)).all():  # also NaN
            return False
        risen += float(steps.sum())
    return risen == 0.0 or abs(risen / (len(numbers) - 1) - 1) < RATE_TOLERANCE


def interpolated(
    values: NDArray[np.float64], at_s: NDArray[np.float64], wanted_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(m,) values at other times, by the cubic through the four samples around each; NaN stays NaN there."""
    if len(values) < 4:
        return np.interp(wanted_s, at_s, values)
    first = np.clip(np.searchsorted(at_s, wanted_s) - 2, 0, len(values) - 4)
    found = np.zeros(len(wanted_s))
    for k in range(4):
        weight = np.ones(len(wanted_s))
        for other in range(4):
            if other != k:
                weight *= (wanted_s - at_s[first + other]) / (at_s[first + k] - at_s[first + other])
        found += weight * values[first + k]
    return found


def _number_gaps(numbers: NDArray[np.int64] | None, problems: list[str]) -> NDArray[np.int64] | None:
    """(n - 1,) missing samples by the sample numbers; None where these do not count."""
    if numbers is None or len(numbers) < 2:
        return None
    steps = np.diff(numbers)
    if (steps == 0).all():
        return None
    steps = np.where(steps < -(2**31), steps + 2**32, steps)
    if (steps < 1).any():
        at = int(np.argmax(steps < 1)) + 1
        problems.append(
            f"its sample numbers do not count: row {at + 1} has {numbers[at]} after {numbers[at - 1]}; "
            "they were not used"
        )
        return None
    found: NDArray[np.int64] = steps - 1
    if (found > 0).mean() > MOST_UNEVEN and (found > 0).sum() > 3:
        problems.append(f"its sample numbers jump at {(found > 0).sum()} of {len(found)} rows; not used")
        return None
    return found


def _time_gaps(
    times_s: NDArray[np.float64] | None, rate_hz: float, problems: list[str]
) -> NDArray[np.int64] | None:
    """(n - 1,) missing samples by the stamps; None where these are not a clock of this rate."""
    if times_s is None or len(times_s) < 2 or not np.isfinite(times_s).all():
        return None
    steps_s = np.diff(times_s)
    if (steps_s == 0).all():
        return None
    resolution_s = _resolution(times_s)
    step_s = 1 / rate_hz
    if resolution_s > UNEVEN_STEPS * step_s:
        return None  # too coarse to see a sample
    usual_s = float(np.median(steps_s))
    if abs(usual_s - step_s) > RATE_TOLERANCE * step_s + resolution_s:
        whose = f"{1 / usual_s:.6g} Hz" if usual_s > 0 else "no rate"
        problems.append(f"its rate is {rate_hz:.6g} Hz, but its time stamps have {whose}; the rate was taken")
        return None
    found = np.maximum(0, np.rint(steps_s / step_s).astype(np.int64) - 1)
    off = (np.abs(steps_s - step_s) > UNEVEN_STEPS * step_s + resolution_s).sum()
    if off > max(3.0, MOST_UNEVEN * len(steps_s)):
        problems.append(f"its time stamps are not even at {off} of {len(steps_s)} rows; they were not used")
        return None
    if (steps_s < 0).any():
        at = int(np.argmax(steps_s < 0)) + 1
        problems.append(f"its time stamp goes back at row {at + 1}")
    return found


def _gaps_at(steps_s: NDArray[np.float64], step_s: float, resolution_s: float) -> NDArray[np.int64]:
    """(n - 1,) rows missing at each step; rounded times show only what is larger than their rounding."""
    least_s = max(UNEVEN_STEPS * step_s, 1.01 * resolution_s)
    with np.errstate(over="ignore"):  # a step of 1e300 s is one of more than 2^40 rows
        rows = np.rint(np.minimum(steps_s / step_s, 2.0**40)).astype(np.int64) - 1
    return np.where(steps_s - step_s > least_s, np.maximum(0, rows), 0)


def _slope(places: NDArray[np.int64], times_s: NDArray[np.float64]) -> float:
    """Seconds per place of the line fitted through all times."""
    x = places - places.mean()
    y = times_s - times_s[0]
    with np.errstate(over="ignore", invalid="ignore"):
        slope = float(x @ (y - y.mean()) / (x @ x))
    return slope if slope > 0 else float(y[-1] / places[-1])


def _resolution(times_s: NDArray[np.float64]) -> float:
    """The last decimal that the times have, seconds; with all digits of a float that of the float."""
    count = len(times_s)
    if count <= BLOCK_TIMES:
        some_s = times_s[:: max(1, count // 1000)].astype(np.float64)
    else:  # rows far apart would bring in all pages of a mapped column
        begins = range(0, count - STRETCH_ROWS + 1, (count - STRETCH_ROWS) // STRETCHES_EXAMINED)
        some_s = np.concatenate([times_s[at : at + STRETCH_ROWS] for at in begins])
    noise_s = 4 * float(np.spacing(np.abs(some_s).max()))
    for digits in range(13):
        unit_s = 10.0**-digits
        with np.errstate(over="ignore", invalid="ignore"):  # 1e308 s has no decimals
            off_s = some_s - unit_s * np.rint(some_s / unit_s)
        if np.abs(off_s).max() <= noise_s:
            return max(unit_s, noise_s)
    return noise_s


def _runs_of(places: NDArray[np.int64]) -> tuple[Run, ...]:
    if not len(places):
        return ()
    edges = np.flatnonzero(np.diff(places) != 1) + 1
    rows = [0, *edges.tolist(), len(places)]
    return tuple(
        Run(int(places[first]) - int(places[0]), first, stop - first)
        for first, stop in itertools.pairwise(rows)
    )


def _check_length(samples: int, rows: int) -> None:
    if samples > max(LONGEST_AXIS, MAX_SAMPLES_PER_ROW * rows):
        raise RecordingError(
            f"its times leave {samples - rows} samples out between {rows} rows; "
            "give --rate-hz to count rows instead"
        )
