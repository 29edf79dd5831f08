"""How much of the last hour and day each Box measured: read from the store, kept for FRESH_S for all pages.

Minutes and hours come from the trends, the newest minute or two from Measurements.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from opq_cloud.store.store import CloudStore
from opq_cloud.store.trends.availability import (
    BAD_SHARE,
    LOW_SHARE,
    CoveredSpan,
    covered_by_measurement,
    covered_by_trend,
    measured_share,
)
from opq_cloud.store.trends.pyramid import LONGEST_MS
from opq_cloud.view.web.single_maker import SingleMaker
from opq_cloud.view.web.words import counted, number
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.messages import TREND_MS, Measurement, Trend
from opq_proto.time_units import DAY_MS, HOUR_MS

FRESH_S = 20.0
HOURS_S = 600.0
READ_S = 0.5
"""For this long one call reads Boxes whose figures are old; a call later reads the rest."""
NEWEST_MS = 5000.0
"""A Box's newest Measurement is at most this late, beyond three of its windows; later it is silent."""
LONG_AGO_MS = 0.0
ALL_TIME: Mapping[str, float] = {}
SETTLED_MS = 15_000
"""After its end a minute may still have a trend of a part, or none: then its Measurements are read."""


@dataclass(frozen=True, slots=True)
class BoxAvailability:
    """Measured shares of one Box, 0 to 1; None where it was not installed, or not for long enough."""

    hour: float | None = None
    day: float | None = None
    until_ms: float | None = None
    """The end of that hour and day: the newest Measurement's, or when it was read where the Box is silent."""

    def as_json(self) -> dict[str, float | None]:
        shares = {name: None if share is None else floored(share, 4) for name, share in self.shares}
        return {**shares, "until_ms": self.until_ms}

    @property
    def shares(self) -> tuple[tuple[str, float | None], ...]:
        return ("hour", self.hour), ("day", self.day)

    @property
    def shown(self) -> tuple[tuple[str, str, str], ...]:
        """(`hour` or `day`, words, tone) of both, as pages show them."""
        return tuple((name, percent_words(share), tone_of(share)) for name, share in self.shares)


NOT_KNOWN = BoxAvailability()


def floored(share: float, digits: int) -> float:
    """Rounded down, so that no share is shown on the better side of a limit."""
    scale = 10.0**digits
    return math.floor(share * scale + 1e-9) / scale


def percent_words(share: float | None) -> str:
    """`99.9 %`; a dash where it is not known."""
    return number(None if share is None else 100 * floored(share, 3), 1, "%")


def tone_of(share: float | None) -> str:
    """`low` (amber) below 99 %, `bad` (red) below 90 %, else empty."""
    if share is None or share >= LOW_SHARE:
        return ""
    return "low" if share >= BAD_SHARE else "bad"


@dataclass(frozen=True, slots=True)
class FleetAvailability:
    """The measured share of the last hour of several Boxes."""

    hour: float | None
    low: int
    bad: int

    @property
    def tone(self) -> str:
        return "bad" if self.bad else "low" if self.low else tone_of(self.hour)

    @property
    def share_words(self) -> str:
        return percent_words(self.hour)

    @property
    def text(self) -> str:
        if self.hour is None:
            return ""
        measured = f"Measured: {self.share_words} of the samples of the last hour"
        if not self.low and not self.bad:
            return f"{measured}."
        if self.bad:
            return f"{measured}; {counted(self.bad, 'Box', 'Boxes')} less than 90 %."
        return f"{measured}; {counted(self.low, 'Box', 'Boxes')} less than 99 %."


def together(found: Iterable[BoxAvailability]) -> FleetAvailability:
    """The mean share of the last hour, and how many Boxes are below the limits."""
    hours = [each.hour for each in found if each.hour is not None]
    tones = [tone_of(hour) for hour in hours]
    mean = sum(hours) / len(hours) if hours else None
    return FleetAvailability(mean, tones.count("low"), tones.count("bad"))


class AvailabilityReader:
    """One per View; may be called from any thread. The caller passes only Boxes that the visitor sees."""

    def __init__(
        self,
        store: CloudStore,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
        recent: Callable[[str], Sequence[Measurement]] = lambda box_id: (),
    ) -> None:
        """`recent`: a Box's Measurements of the last minutes, where they are at hand, in order of time."""
        self._store, self._now_ns, self._monotonic_s, self._recent = store, now_ns, monotonic_s, recent
        self._hours: dict[str, tuple[float, int, list[Trend]]] = {}
        self._maker = SingleMaker()
        self._found: dict[tuple[str, float], tuple[float, BoxAvailability]] = {}
        """(Box, time from which it is read) -> when its figures were read, and these."""
        self._checked_s = monotonic_s()
        """When those that are not wanted any more were last removed."""
        self._since_ms: dict[str, float] = {}

    def of(
        self, box_ids: Collection[str], since_ms: Mapping[str, float] = ALL_TIME
    ) -> Mapping[str, BoxAvailability]:
        """The figures of these Boxes, at most FRESH_S old.

        `since_ms`: the time from which the visitor may read a Box that changed hands.
        Of very many Boxes, one call reads as many as it can in READ_S: the others keep their older figures.
        Where the store cannot be read, nothing is known.
        """
        begins_ms = {box_id: self._begins_ms(from_ms) for box_id, from_ms in since_ms.items()}
        keys = [(box_id, begins_ms.get(box_id, LONG_AGO_MS)) for box_id in box_ids]
        kept, fresh_s = self._found, self._monotonic_s() - FRESH_S
        fresh = {key[0]: each[1] for key in keys if (each := kept.get(key)) and each[0] > fresh_s}
        if len(fresh) == len(keys):
            return fresh
        if self._maker.is_making(AvailabilityReader) and all(key in kept for key in keys):
            return {key[0]: kept[key][1] for key in keys}  # another thread reads newer ones
        with self._maker.made_here(AvailabilityReader):
            began_s = self._monotonic_s()
            self._forget_unwanted(set(keys), began_s)
            found, due_s = self._found, began_s - FRESH_S
            old = [key for key in keys if key not in found or found[key][0] <= due_s]
            for key in sorted(old, key=self._read_s):
                try:
                    found[key] = self._monotonic_s(), self._read(*key)
                except StoreError:
                    found[key] = self._monotonic_s(), NOT_KNOWN
                if self._monotonic_s() - began_s > READ_S:
                    break
            return {key[0]: found[key][1] for key in keys if key in found}

    def first_heard_ms(self, box_id: str) -> float | None:
        """When a Box was first heard; LONG_AGO_MS for a time before the last day; None: never."""
        if box_id not in self._since_ms:
            self.of((box_id,))
        return self._since_ms.get(box_id)

    def _forget_unwanted(self, wanted: Collection[tuple[str, float]], now_s: float) -> None:
        """Once in HOURS_S, removes the figures that were not read for as long, such as a former owner's."""
        if now_s - self._checked_s >= HOURS_S:
            self._checked_s = now_s
            found = self._found.items()
            self._found = {key: each for key, each in found if key in wanted or now_s - each[0] < HOURS_S}

    def _begins_ms(self, since_ms: float) -> float:
        """The beginning of the first whole minute that is read; LONG_AGO_MS where it is before that day."""
        past = since_ms <= self._now_ns() // 1_000_000 - DAY_MS - HOUR_MS
        return LONG_AGO_MS if past else -(-since_ms // TREND_MS) * TREND_MS

    def _read_s(self, key: tuple[str, float]) -> float:
        return self._found.get(key, (-math.inf, NOT_KNOWN))[0]

    def _read(self, box_id: str, begins_ms: float) -> BoxAvailability:
        store, now_ms = self._store, self._now_ns() // 1_000_000
        day_ms, hour_ms = now_ms - DAY_MS, (now_ms - HOUR_MS) // HOUR_MS * HOUR_MS
        hours = self._hours_of(box_id, day_ms, hour_ms)
        over_ms = now_ms - SETTLED_MS - TREND_MS
        found = store.trend_rows(box_id, hour_ms, now_ms, TREND_MS)
        minutes = [row for row in found if row.length_ms == TREND_MS and row.start_ms <= over_ms]
        stored_ms = minutes[-1].start_ms + TREND_MS if minutes else now_ms - TEN_MINUTES_MS
        newest = [covered_by_measurement(row) for row in self._rows_since(box_id, int(stored_ms), now_ms)]
        spans = [*map(covered_by_trend, hours), *map(covered_by_trend, minutes), *_apart(newest)]
        since_ms = self._first_heard_ms(box_id, day_ms, [*hours, *minutes], newest)
        if since_ms is None:
            return NOT_KNOWN
        if begins_ms > LONG_AGO_MS:
            rows = self._rows_from(box_id, [*hours, *minutes], begins_ms)
            newest = [each for each in newest if each.start_ms >= begins_ms]
            spans = [*map(covered_by_trend, rows), *_apart(newest)]
            since_ms = max(since_ms, begins_ms)
        until_ms = _until_ms(newest, now_ms, stored_ms if minutes else None)
        return BoxAvailability(
            measured_share(spans, until_ms - HOUR_MS, until_ms, since_ms),
            measured_share(spans, until_ms - DAY_MS, until_ms, since_ms),
            until_ms,
        )

    def _rows_from(self, box_id: str, rows: list[Trend], begins_ms: float) -> Iterator[Trend]:
        """The rows from a whole minute on; of one in which it is, the minutes."""
        for row in rows:
            end_ms = row.start_ms + row.length_ms
            if row.start_ms >= begins_ms:
                yield row
            elif end_ms > begins_ms:
                yield from self._store.trend_rows(box_id, int(begins_ms), end_ms, TREND_MS)

    def _hours_of(self, box_id: str, day_ms: int, hour_ms: int) -> list[Trend]:
        """The hours of the last day before `hour_ms`; late data shows after HOURS_S."""
        read_s, until_ms, rows = self._hours.get(box_id, (-math.inf, 0, []))
        if until_ms != hour_ms or self._monotonic_s() - read_s >= HOURS_S:
            rows = self._store.trend_rows(box_id, day_ms, hour_ms, HOUR_MS)
            self._hours[box_id] = self._monotonic_s(), hour_ms, rows
        return rows

    def _rows_since(self, box_id: str, stored_ms: int, now_ms: int) -> list[Measurement]:
        """The Measurements after the last stored minute: those at hand, or the store's."""
        rows = self._recent(box_id)
        if not rows or rows[0].timestamp_ms > stored_ms or not _are_whole(rows, stored_ms):
            rows = self._store.measurements(box_id, stored_ms, now_ms + TREND_MS)
        return [row for row in rows if not row.crossing and row.timestamp_ms >= stored_ms]

    def _first_heard_ms(
        self, box_id: str, day_ms: int, rows: list[Trend], newest: list[CoveredSpan]
    ) -> float | None:
        """The same, from what was read."""
        known = self._since_ms.get(box_id)
        if known is not None:
            return known
        store, midnight_ms = self._store, day_ms // DAY_MS * DAY_MS
        hour_ms = day_ms // HOUR_MS * HOUR_MS
        if store.trend_rows(box_id, midnight_ms, hour_ms, HOUR_MS) or store.trend_rows(
            box_id, midnight_ms - LONGEST_MS + DAY_MS, midnight_ms, DAY_MS
        ):
            found = LONG_AGO_MS
        elif rows:
            first = rows[0]
            if first.length_ms > TREND_MS:
                minutes = store.trend_rows(box_id, first.start_ms, first.start_ms + HOUR_MS, TREND_MS)
                first = minutes[0] if minutes else first
            found = first.start_ms + first.length_ms - min(first.time_ms, first.length_ms)
            # a hole in its first minute counts while the Measurements before it are stored
            for row in store.measurements(box_id, first.start_ms, first.start_ms + first.length_ms, 1):
                found = min(found, max(first.start_ms, covered_by_measurement(row).start_ms))
        elif newest:
            return newest[0].start_ms  # its first minute is not stored yet
        else:
            return None
        self._since_ms[box_id] = found
        return found


def _are_whole(rows: Sequence[Measurement], since_ms: float) -> bool:
    """Whether no Measurement of after a time is missing between these: some come late, or before View began.

    Where they have no numbers, none is missing if each window begins where the one before ends.
    """
    first = next((n for n in range(len(rows) - 1, -1, -1) if rows[n].timestamp_ms <= since_ms), 0)
    rows = rows[first:]
    numbers = {row.sequence for row in rows if row.sequence is not None}
    if len(numbers) == len(rows):
        return max(numbers) - min(numbers) == len(rows) - 1
    windows = [covered_by_measurement(row) for row in rows if not row.crossing]
    return all(after.start_ms - before.end_ms < before.covered_ms / 2 for before, after in pairwise(windows))


def _apart(spans: Iterable[CoveredSpan]) -> list[CoveredSpan]:
    """Measurements in order of time, each cut where the one before ends."""
    found, end_ms = list[CoveredSpan](), -math.inf
    for each in sorted(spans, key=lambda span: span.end_ms):
        start_ms = max(each.start_ms, end_ms)
        if each.end_ms > start_ms:
            found.append(CoveredSpan(start_ms, each.end_ms, each.end_ms - start_ms, each.skipped_ms))
            end_ms = each.end_ms
    return found


def _until_ms(newest: list[CoveredSpan], now_ms: float, stored_ms: float | None) -> float:
    """The end of the span to judge: that of the newest data, or now where the Box is silent."""
    if not newest:
        recent = stored_ms is not None and now_ms - stored_ms <= TREND_MS + NEWEST_MS
        return stored_ms if recent and stored_ms is not None else now_ms
    last = max(newest, key=lambda span: span.end_ms)
    late_ms = 3 * (last.end_ms - last.start_ms) + NEWEST_MS
    return last.end_ms if now_ms - last.end_ms <= late_ms else now_ms
