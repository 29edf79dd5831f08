"""The newest events, so that a disturbance that was seen twice is one event.

Where a Box's clock was set since, another disturbance has the times of an earlier event: the start of the Box
shows that, or within one start the index of its samples.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from opq_cloud.makai.box_starts import BoxStarts
from opq_cloud.store.event_record import EventRecord
from opq_proto.measurement.continuity import SET_NS
from opq_proto.messages import Measurement, Trigger


@dataclass(slots=True)
class EventSpan:
    """An event's [start_ns, end_ns) and the Boxes that were asked for it, or saw it and were not."""

    event_id: int
    start_ns: int
    end_ns: int
    box_ids: set[str]
    token: str = ""
    located: bool = False
    """Its span is that of a transient which a gateway's detector found."""
    onsets_ns: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By Box that saw it: the span that the Box named."""
    not_asked: dict[str, int] = field(default_factory=dict)
    """Number of Boxes that were not asked, by reason."""
    passed_over: set[str] = field(default_factory=set)
    """Those among them that saw it themselves."""
    joined: dict[str, int] = field(default_factory=dict)
    """Number of Boxes of each feeder or region that joined it later."""
    longer: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Boxes that were asked for more than [start_ns, end_ns): their whole span."""
    stamps: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By Box that saw it: a sample and its time then."""
    numbers: dict[str, int] = field(default_factory=dict)
    """By Box that saw it: the number of its Measurement."""
    starts: dict[str, int] = field(default_factory=dict)
    """By Box that was asked: its start then (`BoxStarts.present`)."""

    def is_other_start(self, box_id: str, start_id: int | None, original: bool) -> bool:
        """Returns True if the Box was asked in another start than this one, so that the event has none of its
        samples.

        `original`: a Box of the original, whose start has a name only after its clock was set back.
        """
        if box_id not in self.box_ids:
            return False
        known = self.starts.get(box_id)
        return known != start_id and (original or None not in (known, start_id))

    def is_before_setting(self, measurement: Measurement | None, began_with: int | None = None) -> bool:
        """Returns True if the Box's clock was set between its Measurement for this event and this one.

        `began_with`: number of the first Measurement of the Box's present start, whose index begins
        at 0. Since then at least as much time has passed as its samples take.
        """
        if measurement is None or measurement.first_sample is None or not measurement.samples:
            return False
        known_start = self.starts.get(measurement.box_id)
        if measurement.start_id is not None and measurement.start_id == known_start:
            began_with = None
        stamp = self.stamps.get(measurement.box_id)
        start_ns, end_ns = measurement.start_ns, measurement.end_ns
        if stamp is None or start_ns is None or end_ns is None:
            return False
        known = self.numbers.get(measurement.box_id), began_with, measurement.sequence
        numbers = [number for number in known if number is not None]
        rise = len(numbers) == len(known) and numbers[0] < numbers[1] <= numbers[2]
        restarted = rise and not measurement.backfilled
        since = measurement.first_sample - (0 if restarted else stamp[0])
        since_ns = since * (end_ns - start_ns) // measurement.samples
        if restarted:
            return since_ns > start_ns - stamp[1] + SET_NS
        return abs(stamp[1] + since_ns - start_ns) > SET_NS + abs(since_ns) // 100

    def covers(self, box_id: str, start_ns: int, end_ns: int) -> bool:
        """Returns True if this Box was asked for all of [start_ns, end_ns)."""
        first_ns, last_ns = self.longer.get(box_id, (self.start_ns, self.end_ns))
        return box_id in self.box_ids and first_ns <= start_ns and end_ns <= last_ns

    def extend(self, box_ids: Iterable[str], start_ns: int, end_ns: int) -> None:
        """Adds [start_ns, end_ns) to the span of these Boxes; it meets what they were asked for before."""
        for box_id in box_ids:
            first_ns, last_ns = start_ns, end_ns
            if box_id in self.box_ids:
                known = self.longer.get(box_id, (self.start_ns, self.end_ns))
                first_ns, last_ns = min(first_ns, known[0]), max(last_ns, known[1])
            self.box_ids.add(box_id)
            self.longer[box_id] = first_ns, last_ns


def span_of_record(record: EventRecord, pre_ns: int) -> EventSpan:
    """Returns the span of a stored event. A request that is shorter than `pre_ns` located a transient."""
    onset_ns = record.onset_ns
    short = record.end_ns - record.start_ns < pre_ns
    known = EventSpan(
        record.event_id,
        record.start_ns,
        record.end_ns,
        set(record.boxes_triggered),
        record.token,
        short and onset_ns is not None,
        {record.opened_by: onset_ns} if onset_ns is not None else {},
        dict(record.not_asked),
        stamps={} if record.onset_stamp is None else {record.opened_by: record.onset_stamp},
        starts=dict(record.starts),
    )
    for box_id, span_ns in record.owed.items():
        known.extend((box_id,), *span_ns)
    return known


def span_of_trigger(event_id: int, trigger: Trigger, number: int | None, exact: bool) -> EventSpan:
    """Returns the span of an event just opened. `number`: of the Measurement that opened it."""
    stamp = stamp_of(trigger.onset_sample, trigger.onset_ns)
    return EventSpan(
        event_id,
        trigger.start_ns,
        trigger.end_ns,
        set(trigger.box_ids),
        trigger.token,
        exact,
        {trigger.opened_by: trigger.onset_ns} if trigger.onset_ns else {},
        dict(trigger.not_asked),
        stamps={} if stamp is None else {trigger.opened_by: stamp},
        numbers={} if number is None else {trigger.opened_by: number},
        starts=dict(trigger.starts),
    )


def stamp_of(sample: int | None, span_ns: tuple[int, int] | None) -> tuple[int, int] | None:
    """The first sample of a Measurement, and its time."""
    return None if sample is None or span_ns is None else (sample, span_ns[0])


class RecentEvents:
    """The last `limit` events.

    A trigger whose window lies inside the span of an event that asked the same Box adds nothing: its
    samples are on their way. This holds after a restart too, when a Box sends a measurement again.
    """

    def __init__(
        self,
        limit: int,
        spans: Iterable[EventSpan] = (),
        box_starts: BoxStarts | None = None,
    ) -> None:
        self._spans = deque(spans, maxlen=limit)
        self._starts = BoxStarts() if box_starts is None else box_starts

    def add_event(self, span: EventSpan) -> None:
        self._spans.append(span)

    def event(self, event_id: int) -> EventSpan | None:
        """Returns the event with this number, where it is still among these."""
        return next((span for span in reversed(self._spans) if span.event_id == event_id), None)

    def covering(
        self,
        box_id: str,
        start_ns: int,
        end_ns: int,
        transients: bool = True,
        measurement: Measurement | None = None,
    ) -> EventSpan | None:
        """Returns the newest event that asked this Box for all of [start_ns, end_ns).

        Without `transients` it skips events of a transient, which are too short to show anything else.
        `measurement`: that of the span, where it is one.
        """
        for span in reversed(self._spans):
            fits = span.covers(box_id, start_ns, end_ns) and (transients or not span.located)
            if fits and not self._is_before_setting(span, measurement):
                return span
        return None

    def extend(self, event_id: int, box_ids: Iterable[str], start_ns: int, end_ns: int) -> None:
        """Adds Boxes' longer spans to an event, where that is still among these."""
        span = self.event(event_id)
        if span is not None:
            span.extend(box_ids, start_ns, end_ns)

    def locating(
        self, box_id: str, start_ns: int, end_ns: int, measurement: Measurement | None = None
    ) -> EventSpan | None:
        """Returns the newest event of a transient that this Box's gateway found within [start_ns, end_ns)."""
        for span in reversed(self._spans):
            onset_ns = span.onsets_ns.get(box_id)
            found = span.located and onset_ns and start_ns <= onset_ns[0] and onset_ns[1] <= end_ns
            if found and not self._is_before_setting(span, measurement):
                return span
        return None

    def around(
        self, start_ns: int, end_ns: int, located: bool, measurement: Measurement | None = None
    ) -> EventSpan | None:
        """Returns the newest event whose span holds all of [start_ns, end_ns), whichever Boxes it asked.

        Other onsets do not join a transient's event, which is too short for them.
        """
        for span in reversed(self._spans):
            holds = span.start_ns <= start_ns and end_ns <= span.end_ns and (located or not span.located)
            if holds and not self._is_before_setting(span, measurement):
                return span
        return None

    def near(
        self, start_ns: int, end_ns: int, within_ns: int, measurement: Measurement | None = None
    ) -> EventSpan | None:
        """The newest event, not one of a transient, that is less than `within_ns` from [start_ns, end_ns)."""
        for span in reversed(self._spans):
            meets = span.start_ns < end_ns + within_ns and start_ns - within_ns < span.end_ns
            if meets and not span.located and not self._is_before_setting(span, measurement):
                return span
        return None

    def _is_before_setting(self, span: EventSpan, measurement: Measurement | None) -> bool:
        if measurement is None:
            return False
        box_id = measurement.box_id
        original = measurement.sequence is None and measurement.first_sample is None
        start_id = self._starts.present(box_id) if original else measurement.start_id
        if span.is_other_start(box_id, start_id, original):
            return True
        return span.is_before_setting(measurement, self._starts.began_with(box_id))
