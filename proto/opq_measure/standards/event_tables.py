"""Dips, swells and interruptions of a week counted by residual voltage and duration.

A table's cells add up to the number of its events. The first column has no lower limit, the longest has no
upper limit, and events that have not ended have a separate column. Sources: reports/event_sources.toml of the
cloud.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from opq_measure.events.curves import (
    LINE_PERCENT,
    LINE_WIDTH,
    below,
    beyond_itic,
    beyond_semi_f47,
    ieee1159,
)
from opq_measure.signal import BoolArray, FloatArray

DIPS: Final = ("dip", "interruption")
SARFI_PERCENTS: Final = (140.0, 120.0, 110.0, 90.0, 80.0, 70.0, 50.0, 10.0)
"""Thresholds of SARFI-x, percent of nominal: above 100 for swells, below for dips."""
SARFI_NAMES = (*(f"{each:g}" for each in SARFI_PERCENTS), "itic", "semi_f47")
SHORT_S: Final = 60.0
"""Longest event that SARFI counts: a short-duration variation of IEEE 1159."""


@dataclass(frozen=True, slots=True)
class SiteEvent:
    """An event at one place, of one phase or of all; `duration_s` None: it has not ended."""

    kind: str
    """One of dip, swell and interruption."""
    start_ns: int
    duration_s: float | None
    residual_percent: float
    """Of nominal: the lowest of a dip or interruption, the highest of a swell."""
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableForm:
    """The rows and columns of a table.

    `percents`: limits of the rows from the mildest on, which fall for dips and rise for swells; a value on a
    limit belongs to the higher voltages. `durations_s`: longest duration of each column but the last.
    """

    name: str
    dips: bool
    percents: tuple[float, ...]
    durations_s: tuple[float, ...]

    @property
    def row_words(self) -> tuple[str, ...]:
        """The rows in words; an outer row has one limit."""
        sign, other = ("<", "≥") if self.dips else ("≥", "<")
        first = f"u {other} {self.percents[0]:g} %"
        between = [
            f"{min(high, low):g} ≤ u < {max(high, low):g} %"
            for high, low in zip(self.percents, self.percents[1:], strict=False)
        ]
        return (first, *between, f"u {sign} {self.percents[-1]:g} %")

    @property
    def column_words(self) -> tuple[str, ...]:
        """The columns in words; the last two are longer events and those that have not ended."""
        limits = [_time_words(each) for each in self.durations_s]
        return (*(f"t ≤ {each}" for each in limits), f"t > {limits[-1]}", "not ended")


EN50160_DIPS: Final = TableForm("Dips", True, (80.0, 70.0, 40.0, 5.0), (0.2, 0.5, 1.0, 5.0, 60.0))
"""Rows A, B, C, D and X; the first has the dips from 90 to 80 %."""
EN50160_SWELLS: Final = TableForm("Swells", False, (120.0,), (0.5, 5.0, 60.0))
"""Rows T and S; a swell to exactly 120 % belongs to S."""
UNIPEDE_DIPS: Final = TableForm("Dips", True, (85.0, 70.0, 40.0, 1.0), (0.1, 0.5, 1.0, 3.0, 20.0, 60.0))
"""Depths of 10 to 15, 30, 60 and 99 %, then interruptions, as residual voltages."""


def table_of(events: Sequence[SiteEvent], form: TableForm) -> tuple[tuple[int, ...], ...]:
    """(rows, columns) counts of the table's events, which add up to their number."""
    counts = [[0] * (len(form.durations_s) + 2) for _ in range(len(form.percents) + 1)]
    for each in events:
        if (each.kind in DIPS) == form.dips:
            counts[_row(each.residual_percent, form)][_column(each.duration_s, form)] += 1
    return tuple(tuple(row) for row in counts)


def ieee1159_names(events: Sequence[SiteEvent], nominal_hz: float) -> dict[str, int]:
    """Names of IEEE 1159 -> number of events, which add up; `not ended` and `without a name` too."""
    counts: dict[str, int] = {}
    for each in events:
        name: str | None = "not ended"
        if each.duration_s is not None:
            name = ieee1159(each.residual_percent, each.duration_s, nominal_hz)
        name = name or "without a name"
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def in_one_minute(events: Sequence[SiteEvent], minute_s: float = 60.0) -> tuple[SiteEvent, ...]:
    """Dips that begin within a minute of the first one count once, by the lowest, and swells by the highest.

    A customer whose process stopped at the first of them does not suffer from the next (reclosing). The span
    is counted from the first event of each group, so that a long series does not become one event. A swell
    beside a dip, as by a lost neutral, is an event of its own.
    """
    found: list[list[SiteEvent]] = []
    last: dict[bool, list[SiteEvent]] = {}
    for each in sorted(events, key=lambda event: event.start_ns):
        group = last.get(each.kind in DIPS)
        if group is None or each.start_ns - group[0].start_ns >= minute_s * 1e9:
            group = last[each.kind in DIPS] = []
            found.append(group)
        group.append(each)
    return tuple(max(group, key=lambda event: abs(event.residual_percent - 100)) for group in found)


@dataclass(frozen=True, slots=True)
class Sarfi:
    """Numbers of short events beyond a threshold or outside a curve, at one site."""

    beyond: tuple[tuple[float, int], ...]
    """Threshold x in percent, and the events of SARFI-x."""
    itic: int
    semi_f47: int

    def counts(self) -> dict[str, int]:
        """The numbers by `SARFI_NAMES`."""
        beyond = (count for _, count in self.beyond)
        return dict(zip(SARFI_NAMES, (*beyond, self.itic, self.semi_f47), strict=True))


def sarfi_of(events: Sequence[SiteEvent]) -> Sarfi:
    """SARFI of one site: events of at most a minute, those within a minute of one another counted once."""
    short = [each for each in in_one_minute(events) if _is_short(each)]
    percents = np.array([each.residual_percent for each in short], np.float64)
    seconds = np.array([each.duration_s for each in short], np.float64)
    return Sarfi(
        tuple((limit, int(np.count_nonzero(_beyond(percents, limit)))) for limit in SARFI_PERCENTS),
        int(np.count_nonzero(beyond_itic(percents, seconds))),
        int(np.count_nonzero(beyond_semi_f47(percents, seconds))),
    )


def _is_short(event: SiteEvent) -> bool:
    return event.duration_s is not None and event.duration_s <= SHORT_S * (1 + LINE_WIDTH)


def _is_beyond(residual_percent: float, percent: float) -> bool:
    if percent < 100:
        return below(residual_percent, percent)
    return below(percent, residual_percent)


def _beyond(percents: FloatArray, limit: float) -> BoolArray:
    """(n,) as `_is_beyond`."""
    return percents < limit - LINE_PERCENT if limit < 100 else limit < percents - LINE_PERCENT


def _row(residual_percent: float, form: TableForm) -> int:
    return sum(below(residual_percent, percent) == form.dips for percent in form.percents)


def _column(duration_s: float | None, form: TableForm) -> int:
    if duration_s is None:
        return len(form.durations_s) + 1
    return sum(duration_s > each * (1 + LINE_WIDTH) for each in form.durations_s)


def _time_words(seconds: float) -> str:
    if seconds < 1:
        return f"{math.floor(seconds * 1000 + 0.5)} ms"
    return f"{seconds:g} s"
