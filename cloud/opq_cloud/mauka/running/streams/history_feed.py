"""HistoryFeed: the timer and the query of one analysis of History.

    timer --> a pass --> a History of each Box with what it asks for, or one of all Boxes --> the analysis

A pass reads one History at a time, when the analysis has room for it. What a Box measured at another place or
nominal value than its present ones is unknown there.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.stated_facts import LAST_NS, PLACE
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.nouns import MOST_TOGETHER
from opq_proto.decision import Nominal
from opq_proto.history import BoxHistory, Course, History, HistoryRequest
from opq_proto.time_units import DAY_MS, HOUR_MS

FIRST_S = 600.0
"""Time from a start of Mauka to the first pass of an analysis that was installed before."""
AGAIN_S = 600.0
"""Time after which a pass begins again where the store failed."""
PLACES = ("site", "location", "feeder")
"""Fields of which neighbours have one in common."""
STAY = (*PLACE, "nominal_v", "nominal_hz")
"""Facts of a stay: values of before the last change of one are not given. The gain is not one: the record's
gain is that of waveforms, and intervals and Trends come in volts from the gateway."""


class HistoryFeed:
    """Gives an analysis what it asks for, as often as it asks."""

    def __init__(
        self,
        store: Callable[[], CloudStore],
        request: HistoryRequest,
        nominal: Nominal,
        first_s: float,
        clock: Callable[[], float],
        utc_ns: Callable[[], int],
    ) -> None:
        """`nominal`: of Boxes that state none. `first_s`: time until the first pass."""
        self._store, self._request, self._nominal = store, request, nominal
        self._clock, self._utc_ns = clock, utc_ns
        self._next_s = clock() + first_s
        self._pass: Iterator[History] | None = None

    def read(self) -> History | None:
        """Returns the next History; None: none is due. Raises StoreError."""
        try:
            if self._pass is None:
                if self._clock() < self._next_s:
                    return None
                self._next_s = self._clock() + self._request.every_s
                self._pass = histories(self._store(), self._request, self._utc_ns(), self._nominal)
            return next(self._pass)
        except StopIteration:
            self._pass = None
            return None
        except BaseException:
            self._pass = None  # a generator that raised is over
            self._next_s = min(self._next_s, self._clock() + AGAIN_S)
            raise


def histories(store: CloudStore, request: HistoryRequest, now_ns: int, nominal: Nominal) -> Iterator[History]:
    """Yields what an analysis asks for, up to the last whole hour (or interval, or Trend, where longer).

    Boxes that are out of use have none. Raises StoreError.
    """
    unit_ms = max(
        HOUR_MS,
        request.trend_ms if request.trends else 0,
        request.interval_ms if request.intervals else 0,
    )
    end_ms = now_ns // 1_000_000 // unit_ms * unit_ms
    span_ms = end_ms - request.days * DAY_MS, end_ms
    records = sorted(
        (each for each in store.boxes() if not each.retired_ms), key=lambda box: box_order(box.box_id)
    )
    groups = [[each] for each in records]
    if request.boxes == "neighbours":
        groups = [[each, *neighbours_of(each, records)] for each in records]
    elif request.boxes == "all":
        groups = [records[: MOST_TOGETHER["all"]]] if records else []
    for group in groups:
        boxes = tuple(_box_history(store, request, span_ms, each, nominal) for each in group)
        subjects = group if request.boxes == "all" else group[:1]
        yield History(
            span_ms[0] * 1_000_000,
            span_ms[1] * 1_000_000,
            boxes,
            tuple(each.box_id for each in subjects),
        )


def neighbours_of(record: BoxRecord, records: Sequence[BoxRecord]) -> list[BoxRecord]:
    """Boxes that are stated to be on the same phase of the same site, location or feeder."""
    phase = phase_letter(record.phase)
    known = [(name, value) for name in PLACES if (value := getattr(record, name))]
    if phase is None:
        return []
    return [
        each
        for each in records
        if each.box_id != record.box_id
        and phase_letter(each.phase) == phase
        and any(getattr(each, name) == value for name, value in known)
    ][: MOST_TOGETHER["neighbours"] - 1]


def _box_history(
    store: CloudStore, request: HistoryRequest, span_ms: tuple[int, int], box: BoxRecord, nominal: Nominal
) -> BoxHistory:
    since_ns = box.spans(span_ms[0] * 1_000_000, LAST_NS, STAY)[-1].start_ns
    courses = _interval_courses(store, request, span_ms, box.box_id)
    courses += _trend_courses(store, request, span_ms, box.box_id)
    return BoxHistory(
        box.box_id,
        box.nominal_v or nominal.volts,
        box.nominal_hz or nominal.hz,
        tuple(_course_since(each, since_ns) for each in courses),
        box.site or "",
        box.location or "",
        box.feeder or "",
        box.phase or "",
        since_ns,
    )


def _course_since(course: Course, since_ns: int) -> Course:
    """The course with nothing known of what began before a moment."""
    length_ns = course.length_ms * 1_000_000
    before = slice(0, max(0, -((course.start_ns - since_ns) // length_ns)))
    for values in (course.values, course.least, course.most):
        if values is not None:
            values[before] = np.nan
    course.flagged[before] = False
    return course


def _interval_courses(
    store: CloudStore, request: HistoryRequest, span_ms: tuple[int, int], box_id: str
) -> list[Course]:
    if not request.intervals:
        return []
    length_ms, names = request.interval_ms, request.intervals
    start_ns, end_ns = (each * 1_000_000 for each in span_ms)
    columns = store.intervals.read(box_id, length_ms, start_ns, end_ns, names)
    count = (span_ms[1] - span_ms[0]) // length_ms
    place = (columns.start_ns - start_ns) // (length_ms * 1_000_000)
    flagged = np.zeros(count, np.bool_)
    flagged[place] = columns.flagged
    found = []
    for name in names:
        values = np.full(count, np.nan)
        if (known := columns.values.get(name)) is not None and known.ndim == 1:
            values[place] = known
        found.append(Course(name, length_ms, start_ns, values, flagged))
    return found


def _trend_courses(
    store: CloudStore, request: HistoryRequest, span_ms: tuple[int, int], box_id: str
) -> list[Course]:
    if not request.trends:
        return []
    length_ms = request.trend_ms
    rows = store.trend_rows(box_id, *span_ms, length_ms)
    count = (span_ms[1] - span_ms[0]) // length_ms
    found = []
    for name in request.trends:
        columns: list[NDArray[np.float64]] = [np.full(count, np.nan) for _ in range(3)]
        for row in rows:
            if (value := row.metrics.get(name)) is not None:
                for column, part in zip(columns, value, strict=True):
                    column[(row.start_ms - span_ms[0]) // length_ms] = part
        least, most, mean = columns
        found.append(
            Course(name, length_ms, span_ms[0] * 1_000_000, mean, np.zeros(count, np.bool_), least, most)
        )
    return found
