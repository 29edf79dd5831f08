"""The Boxes of the triggering service: the last arrival, the windows and the nominal values of each."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from opq_cloud.core.lateness import PATIENCE_MS, late_ms
from opq_cloud.core.service import STALE_S, HealthReport
from opq_cloud.makai.box_starts import BoxStarts, StartTurns
from opq_cloud.makai.requested_boxes import BoxPlaces
from opq_cloud.store.box_place import box_place
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.invariants import AHEAD, MAX_AHEAD_NS, refused_words
from opq_proto.time_units import NS_PER_MS

RHYTHM_HALVES_S = 300.0
"""The remembered longest window halves in this time. In idle mode, seconds come for some minutes after a
change, and then a window of a minute again.
"""
BACK_S = 75.0
"""Time after the start of this service within which a Box that measured before is expected: one in the idle
mode sends each minute."""
ALIVE_S = 0.5
"""Live Boxes are counted at most this often, because there may be ten thousand of them."""
TWO_GATEWAYS = (
    "two gateways send under this number and key, and Measurements are lost by it: give one of them another"
)
REFUSED_SHOWN_S = 300.0
"""A Box is reported for this long after a value or Measurement of it was refused."""
CLOCK_MS = 1000
"""This machine's clock is read again where it was set by more."""


class BoxRegister:
    """Boxes that sent lately; written by the triggering service's loop, read by health."""

    def __init__(
        self,
        default: Nominal,
        monotonic_s: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._default = default
        self._now = monotonic_s
        self._now_ms = now_ms
        self._offset_ms = 0
        """UTC minus the monotonic clock.

        It follows only steps of the clock, so that the time of an arrival does not change.
        """
        self._received_s: dict[str, float] = {}
        self._last_ms: dict[str, int] = {}
        self._nominal: dict[str, Nominal] = {}
        self._window_ns: dict[str, int] = {}
        self._rhythm_s: dict[str, float] = {}
        self._refused: dict[str, tuple[float, dict[str, int]]] = {}
        """Box -> when something of it was last refused, and how often by name."""
        self._alive: dict[str, None] = {}
        self._alive_ids: tuple[str, ...] = ()
        self._alive_longest_ns = 0
        self._alive_found: tuple[float, float] = (0.0, -math.inf)
        """(within_s, when): live Boxes are determined again after `ALIVE_S`, or for a further Box."""
        self.nominals_read = 0
        """Number of times that the nominal values were read."""
        self.starts = BoxStarts()
        self._turns = StartTurns()
        self.places = BoxPlaces()
        """Places of the Boxes, from the last reading of the store."""
        self._out: frozenset[str] = frozenset()
        """Boxes that are unplugged or retired, from the last reading of the store."""
        self._deletions: Mapping[str, int] | None = None
        """Deleted Box -> when, from the last reading of the store; None: it was not read yet."""
        self._before_ms: dict[str, int] = {}
        """Box that measured before this start -> time of its last Measurement then."""
        self._begun_s = monotonic_s()

    def now_s(self) -> float:
        """Returns the time of the monotonic clock that was passed in."""
        return self._now()

    def note_columns(self, columns: Measurements) -> None:
        """Notes that each of these arrived now, at most one of each Box, with its window.

        The span of a crossing is not noted: it is not the usual length.
        """
        self.starts.note_columns(columns)
        self._turns.note_columns(columns, self._now())
        ids, timestamps_ms = columns.ids, columns.timestamp_ms.tolist()
        if not self._alive.keys() >= set(ids):
            self._alive_found = (0.0, -math.inf)
        self._received_s.update(dict.fromkeys(ids, self._now()))
        self._last_ms.update(zip(ids, timestamps_ms, strict=True))
        rhythms_s = self._rhythm_s
        lengths_ns = (columns.end_ns - columns.start_ns).tolist()
        for box_id, length_ns, crossing in zip(ids, lengths_ns, columns.crossing.tolist(), strict=True):
            if crossing:
                continue
            self._window_ns[box_id] = length_ns
            if length_ns > self._alive_longest_ns:
                self._alive_longest_ns = length_ns
            length_s = length_ns / 1e9
            decay = 0.5 ** (length_s / RHYTHM_HALVES_S)
            rhythms_s[box_id] = max(length_s, rhythms_s.get(box_id, 0.0) * decay)

    def note_refused(self, box_id: str, what: str, count: int) -> None:
        """Notes values or Measurements of a Box that cannot be true (`invariants.WORDS`)."""
        _, counts = self._refused.get(box_id, (0.0, {}))
        self._refused[box_id] = self._now(), {**counts, what: counts.get(what, 0) + count}

    def confirms_clock(self) -> bool:
        """Whether more Boxes agree with this machine's clock than are refused because they are ahead of it.

        Otherwise this machine's clock is likelier to be wrong.
        """
        since, now_ms = self._now() - REFUSED_SHOWN_S, self._now_ms()
        ahead = {box for box, (at, counts) in self._refused.items() if at >= since and AHEAD in counts}
        agreeing = {
            box
            for box, at in self._received_s.items()
            if at >= since and abs(self._last_ms[box] - now_ms) < MAX_AHEAD_NS // NS_PER_MS
        }
        return len(ahead) < len(agreeing - ahead)

    def alive(self, within_s: float) -> tuple[str, ...]:
        """Ids of the Boxes that sent within `within_s` plus the time that one of their Measurements spans."""
        self._find_alive(within_s)
        return self._alive_ids

    def slowest_ns(self, box_ids: Iterable[str], within_s: float) -> int:
        """Returns the time (UTC ns) up to which all of these Boxes have sent Measurements; 0: no Box.

        A Box that is more than `within_s` behind the newest one counts as silent, and is left out; so is one
        whose clock is ahead of this machine's by more, while others are not.
        """
        last_ms = [self._last_ms[box_id] for box_id in box_ids if box_id in self._last_ms]
        until_ms = self._now_ms() + within_s * 1000
        last_ms = [each for each in last_ms if each <= until_ms] or last_ms
        newest_ms = max(last_ms, default=0)
        return NS_PER_MS * min((each for each in last_ms if newest_ms - each <= within_s * 1000), default=0)

    def longest_alive_ns(self, within_s: float) -> int:
        """Returns the longest window of those, in nanoseconds."""
        self._find_alive(within_s)
        return self._alive_longest_ns

    def _find_alive(self, within_s: float) -> None:
        now_s = self._now()
        same_s, found_s = self._alive_found
        if same_s == within_s and 0 <= now_s - found_s < ALIVE_S:
            return
        since = now_s - within_s
        rhythm_s = self._rhythm_s.get
        alive = dict.fromkeys(box for box, at in self._received_s.items() if at + rhythm_s(box, 0.0) >= since)
        if alive.keys() != self._alive.keys():
            self._alive, self._alive_ids = alive, tuple(sorted(alive, key=box_order))
        self._alive_longest_ns = max((self._window_ns.get(box_id, 0) for box_id in self._alive), default=0)
        self._alive_found = within_s, now_s

    def read_before(self, store: CloudStore) -> None:
        """Reads which Boxes measured before this start, which is once enough. Raises StoreError."""
        self._before_ms = {box_id: row.timestamp_ms for box_id, row in store.latest_measurements().items()}
        self._begun_s = self._now()

    def read_places(self, store: CloudStore) -> Set[str]:
        """Reads the Boxes' places and nominal values from the store; returns Boxes that were deleted since.

        The first reading returns none. Raises StoreError.
        """
        records, locations, regions = store.boxes(), store.locations(), store.regions()
        known, self._deletions = self._deletions, store.people.deletions()
        before = self._deletions if known is None else known  # what was deleted before the start is not known
        deleted = {box_id for box_id, at_ms in self._deletions.items() if before.get(box_id) != at_ms}
        for box_id in deleted:
            self._forget(box_id)
        self._out = frozenset(each.box_id for each in records if not each.is_in_service)
        self.read_nominals(records)
        places = {record.box_id: box_place(record, locations, regions) for record in records}
        self.places = BoxPlaces(places)
        return deleted

    def _forget(self, box_id: str) -> None:
        """Forgets a deleted Box: one that is given its number later begins again."""
        for known in (self._received_s, self._last_ms, self._window_ns, self._rhythm_s, self._before_ms):
            known.pop(box_id, None)
        self._refused.pop(box_id, None)
        self.starts.forget(box_id)
        self._turns.forget(box_id)
        self._alive_found = (0.0, -math.inf)

    def read_nominals(self, records: Iterable[BoxRecord]) -> None:
        """Replaces the nominal values by those of the store."""
        default = self._default
        self.nominals_read += 1
        self._nominal = {
            record.box_id: Nominal(record.nominal_v or default.volts, record.nominal_hz or default.hz)
            for record in records
        }

    def nominal(self, box_id: str, declared_v: float | None, declared_hz: float | None) -> Nominal:
        """Returns the nominal values of a Box that states these: its own, else the store's, else the
        configuration's.
        """
        known = self._nominal.get(box_id, self._default)
        volts, hz = declared_v or known.volts, declared_hz or known.hz
        return known if (volts, hz) == (known.volts, known.hz) else Nominal(volts, hz)

    def health(self) -> list[HealthReport]:
        """One report per Box in service that has measured; `timestamp` is its last measurement's, as in the
        original.

        A Box without arrivals is not well, however long, also where they ended before this start. A Box that
        is late, or whose clock is ahead, is well, and its report states by how much. Where two gateways send
        as one Box, or its values are refused, a part is named after it.
        """
        now = self._now()
        offset_ms = self._now_ms() - round(1000 * now)
        if abs(offset_ms - self._offset_ms) > CLOCK_MS:
            self._offset_ms = offset_ms
        found = [
            HealthReport(f"gateway of Box {box_id}", False, info=TWO_GATEWAYS)
            for box_id in sorted(self._turns.boxes(now), key=box_order)
        ]
        for box_id, (at, counts) in sorted(self._refused.items(), key=lambda item: box_order(item[0])):
            if now - at < REFUSED_SHOWN_S:
                words = (f"{count} times {refused_words(what)}" for what, count in sorted(counts.items()))
                found.append(
                    HealthReport(f"values of Box {box_id}", False, info=f"refused: {'; '.join(words)}")
                )
        for box_id, at in sorted(self._received_s.items(), key=lambda item: box_order(item[0])):
            quiet_s = now - at
            received_ms, last_ms = self._offset_ms + round(1000 * at), self._last_ms.get(box_id)
            if last_ms is None:  # deleted since
                continue
            late_s = late_ms(received_ms, last_ms) / 1000
            patience_s = min(late_s, PATIENCE_MS / 1000)
            silent = quiet_s >= STALE_S + self._rhythm_s.get(box_id, 0.0) + patience_s
            if silent and box_id in self._out:
                continue
            info = f"late by {late_s:.0f} s, by its clock" if late_s else None
            if ahead_s := late_ms(last_ms, received_ms) / 1000:
                info = f"ahead by {ahead_s:.0f} s, by its clock"
            info = f"nothing heard for {quiet_s:.0f} s" if silent else info
            found.append(
                HealthReport(box_id, not silent, last_ms // 1000, info, received_s=received_ms // 1000)
            )
        return [*found, *self._not_back(now)]

    def _not_back(self, now_s: float) -> Iterator[HealthReport]:
        """Yields the Boxes in service that measured before this start, and have not sent since then."""
        waited_s = now_s - self._begun_s
        expected = self._before_ms.keys() - self._received_s.keys() - self._out
        for box_id in sorted(expected, key=box_order):
            if (seen_ms := self._before_ms.get(box_id)) is None:  # deleted since
                continue
            seen_s = seen_ms // 1000
            silent = waited_s >= BACK_S
            at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seen_s))
            info = f"nothing heard since {at}, before the cloud's last start" if silent else None
            yield HealthReport(box_id, not silent, seen_s, info, received_s=seen_s)
