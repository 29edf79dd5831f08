"""FindingWriter: findings of one event into the store, joined into incidents as `planning.py` plans it.

The plan is made outside of any transaction. Where another process has written meanwhile, the store refuses it
and it is made again: of several that write at once one succeeds each time.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from opq_cloud.mauka.joining.planning import plan_join
from opq_cloud.mauka.measuring.sightings import SAME_CLOCK_LIMIT_NS
from opq_cloud.mauka.running.calls.event_analysis import EventResult
from opq_cloud.store.box_place import BoxPlace, box_place
from opq_cloud.store.box_record import BoxRecord, LocationRecord
from opq_cloud.store.incidents.join_plan import CarriedOut, JoinPlan
from opq_cloud.store.intervals.phases_together import wiring_then
from opq_cloud.store.intervals.served_phases import members_of_sites
from opq_cloud.store.store import CloudStore, JoinStore
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import TEN_MINUTES_NS
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, StoredFinding, WaveformAlignment

PLACES_S = 10.0
"""Facts about a Box are read again after this time."""
ANGLES_BACK_NS = 3600 * 10**9
"""Ten minutes of so long before a moment show how the phases of a site were connected: the newest are not
stored yet."""
TRIES_S = 60.0
"""For this long a refused plan is made again and again."""
LONGEST_PAUSE_S = 0.05
MANY_BOXES = 200
"""From this number on, all Boxes of the store are read at once."""
CLOCK_MS = 3000
"""A Box's clock is taken from a Measurement at most this far away."""
CLOCK_ROWS = 8
MAX_CLOCKS = 100_000
STILL_CLOCK_MS = 30_000
"""Span of the wider search for Measurements if near ones are missing or late, as on an overloaded machine."""
STILL_CLOCK_ROWS = 400
"""Rows of that search, at most."""


@dataclass(slots=True)
class _Places:
    """The store's facts about Boxes at one moment."""

    until_s: float
    regions: dict[str, tuple[str, ...]]
    locations: dict[str, LocationRecord]
    boxes: dict[str, tuple[BoxRecord | None, BoxPlace]]
    """Box -> its facts, None where the store does not know it, and its present place."""
    rightly: dict[tuple[str, int], bool] = field(default_factory=dict)
    """Site and ten minutes -> whether its phases were connected as stated, as far as is known."""

    def enter(self, box_id: str, box: BoxRecord | None) -> None:
        """Keeps the store's facts about a Box."""
        self.boxes[box_id] = box, BoxPlace() if box is None else self._place(box)

    def place(self, box_id: str, t_ns: int | None) -> BoxPlace:
        box, present = self.boxes[box_id]
        if box is None or t_ns is None or not box.stated:
            return present
        return self._place(box.at(t_ns))

    def _place(self, box: BoxRecord) -> BoxPlace:
        return box_place(box, self.locations, self.regions)


class FindingWriter:
    """Belongs to one thread; the counters are its runner's."""

    def __init__(self, store: Callable[[], CloudStore]) -> None:
        self._store = store
        self._places: _Places | None = None
        self._sites: tuple[int, dict[str, list[BoxRecord]]] | None = None
        """Site -> Boxes that are or were there, with the revision of the Boxes."""
        self._clocks: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """Box -> when (ms) it had which clock."""

    def put_findings(self, event_id: int, findings: Sequence[Finding]) -> CarriedOut:
        """Stores and joins findings; idempotent, and atomic across processes.

        Raises:
            StoreError: the database refuses, or others write without a pause for `TRIES_S`.
        """
        if not findings:
            return CarriedOut(())
        store = self._store()
        self._read_places(findings)
        stamped = [self.with_clock(one) for one in findings]
        done = carry_out_plan(store, lambda: plan_join(store, stamped, event_id, self.place_of))
        if done is None:
            raise StoreError(
                f"event {event_id}: others changed the store's findings for {TRIES_S:g} s without a pause"
            )
        return done

    def begin_incidents(self, event_id: int, findings: Sequence[Finding]) -> CarriedOut | None:
        """Stores one Box's findings of an event if they begin an incident; None: they come with the others'.

        Leaves out a Box with an unknown clock, which alignment with the others may determine. Idempotent;
        does nothing where others write at the same moment.
        """
        box_alone = [self.with_clock(replace(one, alignment=None)) for one in findings]
        known = [
            one
            for one in box_alone
            if one.clock_id is not None or one.uncertainty_ns < UNKNOWN_UNCERTAINTY_NS
        ]
        if not known:
            return None
        plan = plan_join(self._store(), known, event_id, self.place_of)
        return self._store().carry_out(plan) if plan.new_incidents() else None

    def put_result(self, result: EventResult) -> CarriedOut:
        """Stores a result in the same order as the live path: first the first Box with findings."""
        for box_id in result.order:
            first = [one for one in result.findings if one.box_id == box_id]
            if first:
                self.begin_incidents(result.event_id, first)
                break
        return self.put_findings(result.event_id, result.findings)

    def place_of(self, box_id: str, t_ns: int | None = None) -> BoxPlace:
        """Returns where a Box was at a moment (None: now), as the store knew it at most `PLACES_S` ago.

        Where the phases of its site were then connected otherwise than stated, its phase is not known.
        """
        places = self._fresh_places()
        if box_id not in places.boxes:
            places.enter(box_id, self._store().box(box_id))
        box, place = places.boxes[box_id][0], places.place(box_id, t_ns)
        if box is None or place.phase is None or t_ns is None:
            return place
        site = box.at(t_ns).site
        return place if site is None or self._rightly_connected(site, t_ns) else replace(place, phase=None)

    def _rightly_connected(self, site: str, t_ns: int) -> bool:
        ten, rightly = t_ns // TEN_MINUTES_NS, self._fresh_places().rightly
        if (site, ten) not in rightly:
            span_ns = t_ns - ANGLES_BACK_NS, (ten + 1) * TEN_MINUTES_NS
            members = self._members_of(site)
            rightly[site, ten] = wiring_then(self._store().intervals, site, members, *span_ns) is None
        return rightly[site, ten]

    def _members_of(self, site: str) -> Sequence[BoxRecord]:
        """Returns the Boxes that are or were at a site."""
        store = self._store()
        revision = store.boxes_revision()
        if self._sites is None or self._sites[0] != revision:
            self._sites = revision, members_of_sites(store.boxes())
        return self._sites[1].get(site, ())

    def _fresh_places(self) -> _Places:
        store, now_s = self._store(), time.monotonic()
        if self._places is None or now_s >= self._places.until_s:
            self._places = _Places(now_s + PLACES_S, store.regions(), store.locations(), {})
        return self._places

    def _read_places(self, findings: Sequence[Finding]) -> None:
        """Reads the places of many Boxes at once, which costs less than one after the other."""
        boxes = {one.box_id for one in findings}
        if len(boxes) < MANY_BOXES:
            return
        places = self._fresh_places()
        if unknown := boxes - places.boxes.keys():
            known = {box.box_id: box for box in self._store().boxes()}
            for box_id in unknown:
                places.enter(box_id, known.get(box_id))

    def with_clock(self, one: Finding) -> Finding:
        """Returns the finding with the clock that the Box's Measurements of that time name."""
        if one.clock_id is not None or one.uncertainty_ns <= SAME_CLOCK_LIMIT_NS // 2:
            return one  # a common clock would change nothing
        clock_id = self._clock_of(one.box_id, one.start_ns // 1_000_000)
        if clock_id is None and one.alignment is not None and one.uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS:
            return _with_alignment(one, one.alignment)
        return one if clock_id is None else replace(one, clock_id=clock_id)

    def _clock_of(self, box_id: str, at_ms: int) -> int | None:
        """The Box's clock; None: no Measurement of the surrounding time names one, or they name two."""
        clocks = self._clocks_within(box_id, at_ms, CLOCK_MS, CLOCK_ROWS)
        if not clocks:
            known_ms, clock_id = self._clocks.get(box_id, (0, 0))
            if abs(at_ms - known_ms) <= STILL_CLOCK_MS:
                return clock_id
            clocks = self._clocks_within(box_id, at_ms, STILL_CLOCK_MS, STILL_CLOCK_ROWS)
        if len(clocks) != 1:
            return None
        (clock_id,) = clocks
        self._clocks[box_id] = at_ms, clock_id
        self._clocks.move_to_end(box_id)
        while len(self._clocks) > MAX_CLOCKS:
            self._clocks.popitem(last=False)
        return clock_id

    def _clocks_within(self, box_id: str, at_ms: int, reach_ms: int, limit: int) -> set[int]:
        rows = self._store().measurements(box_id, at_ms - reach_ms, at_ms + reach_ms, limit)
        return {row.clock_id for row in rows if row.clock_id is not None}


def _with_alignment(one: Finding, by: WaveformAlignment) -> Finding:
    """Applies the alignment where the Box's own clock is unknown.

    The waveforms show how far it is off a known clock, or off another unknown one.
    """
    if by.reference_ns >= UNKNOWN_UNCERTAINTY_NS:
        return replace(one, clock_id=by.common_id)
    off_ns = abs(by.offset_ns) + by.uncertainty_ns + by.reference_ns
    return replace(one, uncertainty_ns=min(off_ns, UNKNOWN_UNCERTAINTY_NS))


def carry_out_plan(
    store: JoinStore, plan: Callable[[], JoinPlan], tries_s: float = TRIES_S
) -> CarriedOut | None:
    """Makes the plan again while others write; None: they wrote without a pause for `tries_s`."""
    end_s = time.monotonic() + tries_s
    pause_s = 0.0
    while time.monotonic() < end_s:
        done = store.carry_out(plan())
        if done is not None:
            return done
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s + 0.001)
        time.sleep(random.uniform(0.0, pause_s))
    return None


def put_findings(store: CloudStore, event_id: int, findings: Sequence[Finding]) -> list[StoredFinding]:
    """Stores findings once, for a program or a test; returns them as they are stored."""
    return list(FindingWriter(lambda: store).put_findings(event_id, findings).stored)
