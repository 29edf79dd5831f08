"""Dips and swells that last beyond the end of their waveform: their Measurements show until when.

A long disturbance is requested as its two ends. Each Measurement holds the least and the largest Urms(1/2)
of its second, so that it shows whether the voltage stayed beyond its limit between them. The result is
one more sighting of the finding (`mauka.sightings`): it grows while the disturbance lasts and includes its
end, whenever that arrives. Where no waveform shows the end, the finding is closed by the Measurements, to
within a second; where Measurements are missing after the last one that shows it, its end lies between that
one and the first one that shows the voltage back (`END_WITHIN_S`).

The gateway's stored half cycles, where they arrive, show the same to a half cycle, also where
Measurements are missing.

Source: IEC 61000-4-30:2015, 5.4 (a dip ends where Urms(1/2) is back at the limit and the hysteresis). The
hysteresis is for fluctuation at the limit: where Measurements show the voltage within the limit for a
minute, it was over at the beginning of that minute. Otherwise a dip would never end at 91 % of nominal.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from opq_cloud.mauka.analyses.rms_voltage import Config as RmsConfig
from opq_cloud.mauka.running.known.provenance import GROWN_BY_MEASUREMENTS, VERSION, settings_hash
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.stated_starts import of_their_starts
from opq_cloud.store.store import CloudStore
from opq_measure.events.limits import Limits
from opq_measure.written_numbers import significant
from opq_plugins.sdk.modules import Analysis
from opq_proto.decision import window_ns
from opq_proto.errors import StoreError
from opq_proto.measurement.continuity import missing_s
from opq_proto.messages import END_WITHIN_S, Finding, Incident, Measurement, StoredFinding
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.half_cycles import HalfCycleRms

LOW = frozenset({"sag", "interruption", "undervoltage"})
HIGH = frozenset({"swell", "overvoltage"})
HOLE_NS = 3 * 10**9
"""Where Measurements are missing for longer, it is unknown until they come whether it lasted."""
LATE_NS = 600 * 10**9
"""How long Measurements that are not reported as missing may still come, held up by a network."""
LEDGER_HOLE_NS = 30_000_000
"""Half cycles further apart than this are not consecutive."""
PATIENCE_NS = 60 * 10**9
"""How long a finding stays open after the last Measurement that showed it: a waveform of its end arrives
sooner, or never.
"""
WITHIN_NS = 60 * 10**9
"""Within its limit for this long, though not beyond the hysteresis, it is over: a long disturbance of
IEEE 1159-2019, table 2, is beyond its limit for a minute and more.
"""
GROW_NS = 60 * 10**9
"""A finding is written again when it has grown by this much."""
SAME_NOMINAL = 0.01
CHECK_S = 10.0
SILENT_S = 120.0
"""Interval of the checks of a Box that sends nothing or is catching up."""
MAX_FOLLOWED = 1000
BACK_NS = 86_400 * 10**9
"""At a start open findings up to this age are found again: Measurements are kept for a day."""
LATEST_MS = 4 * 10**12
"""The year 2096."""
ROWS_PER_READ = 20_000
"""Measurements read at once for one Box: over five hours at one a second."""


@dataclass(slots=True)
class FollowedFinding:
    """An open finding, and what Measurements have shown of it since."""

    event_id: int
    incident_id: int
    finding: Finding
    reach_ns: int
    """It lasted at least until here."""
    written_ns: int
    worst_v: float
    nominal_v: float
    """Nominal voltage with which the finding was made."""
    windows: int = 0
    half_cycles: int = 0
    """Number of its half cycles in the gateway's ledger."""
    exact: bool = False
    """The half cycles of the ledger have shown its end."""
    cycles: float = 0.0
    """From the end of its waveform to `reach_ns`; 0: no Measurement contains the frequency."""
    over: bool = False
    """A Measurement showed that it ended at `reach_ns`, within that second."""
    over_by_ns: int | None = None
    """The latest moment of its end, where Measurements are missing after `reach_ns`."""
    newest_ns: int = 0
    again_s: float = 0.0
    """Time when its Measurements are read again."""

    def accept_measurements(self, rows: Iterable[Measurement], limits: Limits) -> None:
        """Adds its Box's Measurements from `reach_ns` on, in time order.

        Those after a hole are ignored while the missing ones may still come. Then the hole is part of it
        where the voltage is still beyond its limit after it; where it is back, its end lies in the hole.
        """
        low, within = self.finding.kind in LOW, list[Measurement]()
        seen = [row for row in rows if not row.crossing and "rms" in row.metrics]
        seen = [row for row in seen if window_ns(row)[1] > self.reach_ns]
        self.newest_ns = max([self.newest_ns, *(window_ns(row)[1] for row in seen)])
        hole = False
        for row in () if self.over else seen:
            start_ns, end_ns = window_ns(row)
            rms = row.metrics["rms"]
            if start_ns < self.finding.start_ns:  # its voltage within the limit may be that before the onset
                hole = True
                continue
            reach_ns = window_ns(within[-1])[1] if within else self.reach_ns
            if start_ns - reach_ns > HOLE_NS:
                hole = True
                if not missing_s(row.metrics) and self.newest_ns - start_ns < LATE_NS:
                    return
            if self._is_of_another_start(row):  # its end was not seen, and what comes is not part of it
                self.over, self.over_by_ns = True, start_ns
            elif not (rms.max < self.leave_v(limits) if low else rms.min > self.leave_v(limits)):
                self._lasted_for(within, low)
                self.over = True
                if hole:
                    back = rms.min >= self.leave_v(limits) if low else rms.max <= self.leave_v(limits)
                    self.over_by_ns = start_ns if back else end_ns
                else:
                    self.reach_ns = max(self.reach_ns, start_ns)
            elif rms.min >= self.limit_v(limits) if low else rms.max <= self.limit_v(limits):
                within.append(row)
                since_ns = window_ns(within[0])[0]
                self.over = end_ns - max(self.reach_ns, since_ns) >= WITHIN_NS
                self.over_by_ns = since_ns if hole else None
            else:
                self._lasted_for([*within, row], low)
                within, hole = [], False
            if self.over:
                return

    def _is_of_another_start(self, row: Measurement) -> bool:
        """Returns True if the row is of another start than the finding, or of another nominal voltage."""
        if None not in (row.start_id, self.finding.start_id) and row.start_id != self.finding.start_id:
            return True
        return row.nominal_v is not None and abs(self.nominal_v / row.nominal_v - 1) >= SAME_NOMINAL

    def _lasted_for(self, rows: Iterable[Measurement], low: bool) -> None:
        for row in rows:
            end_ns = window_ns(row)[1]
            rms, f = row.metrics["rms"], row.metrics.get("f")
            self.cycles += 0.0 if f is None else f.average * (end_ns - self.reach_ns) / 1e9
            self.reach_ns = end_ns
            self.worst_v = min(self.worst_v, rms.min) if low else max(self.worst_v, rms.max)
            self.windows += 1

    def accept_half_cycles(self, half: HalfCycleRms, limits: Limits) -> None:
        """Adds the half cycles from `reach_ns` on, up to a hole in them."""
        first = int(np.searchsorted(half.t_ns, self.reach_ns))
        t_ns = half.t_ns[first:]
        holes = np.nonzero(np.diff(t_ns, prepend=self.reach_ns) > LEDGER_HOLE_NS * half.every)[0]
        count = int(holes[0]) if len(holes) else len(t_ns)
        if self.over or not count:
            return
        low, limit_v = self.finding.kind in LOW, self.leave_v(limits)
        near_v, far_v = (half.most_v, half.least_v) if low else (half.least_v, half.most_v)
        near_v, far_v = near_v[first : first + count], far_v[first : first + count]
        back = np.nonzero(near_v >= limit_v if low else near_v <= limit_v)[0]
        lasted = int(back[0]) if len(back) else count
        for volts in far_v[:lasted].tolist():
            self.worst_v = min(self.worst_v, volts) if low else max(self.worst_v, volts)
        self.half_cycles += lasted * half.every
        self.cycles += lasted * half.every / 2
        self.over = self.exact = bool(len(back))
        self.reach_ns = max(self.reach_ns, int(t_ns[lasted if self.over else count - 1]))
        self.newest_ns = max(self.newest_ns, self.reach_ns)

    def limit_v(self, limits: Limits) -> float:
        """Returns the voltage beyond which it is one."""
        percent = limits.sag_percent if self.finding.kind in LOW else limits.swell_percent
        return self.nominal_v * percent / 100

    def leave_v(self, limits: Limits) -> float:
        """Returns the voltage at which it is over."""
        if self.finding.kind in LOW:
            return self.nominal_v * (limits.sag_percent + limits.hysteresis_percent) / 100
        return self.nominal_v * (limits.swell_percent - limits.hysteresis_percent) / 100

    def piece(self, limits: Limits) -> Finding | None:
        """Returns the Measurements' part as a finding that meets the waveform's; None: nothing new."""
        late = self.exact or self.newest_ns - self.reach_ns >= PATIENCE_NS
        before, closed = self.finding, self.over and late
        start_ns = before.end_ns - 1
        if self.reach_ns <= before.end_ns and not closed:
            return None
        end_ns = max(self.reach_ns, before.end_ns + closed)
        within_s = (self.over_by_ns - end_ns) / 1e9 if closed and self.over_by_ns and not self.exact else 0.0
        figures = tuple(each for each in before.figures if each[0] != END_WITHIN_S)
        how = "; its end is known to a second" if closed and not self.exact else ""
        if within_s > 0:
            figures += ((END_WITHIN_S, within_s),)
            how = f"; it ended within {significant(within_s, 3)} s after that: its Measurements are missing"
        cycles_per_ns = (before.duration_cycles or 0.0) / (before.end_ns - before.start_ns)
        side = "below" if before.kind in LOW else "above"
        return replace(
            before,
            start_ns=start_ns,
            end_ns=end_ns,
            closed=closed,
            figures=figures,
            residual_v=self.worst_v,
            residual_percent=100 * self.worst_v / self.nominal_v,
            duration_cycles=self.cycles or cycles_per_ns * (self.reach_ns - start_ns) or None,
            ieee1159=None,
            itic=None,
            semi_f47=None,
            analysis=GROWN_BY_MEASUREMENTS,
            analysis_version=VERSION,
            settings_hash=settings_hash(asdict(limits)),
            because=(
                f"Urms(1/2) {side} {significant(self.leave_v(limits), 4)} V in {self._evidence()}, "
                f"{significant(self.worst_v, 4)} V at worst{how}"
            ),
        )

    def _evidence(self) -> str:
        measurements = f"{self.windows} Measurements"
        ledger = f"{self.half_cycles} half cycles of its gateway's ledger"
        if not self.half_cycles:
            return measurements if self.windows else "its waveform"
        return f"{measurements} and {ledger}" if self.windows else ledger


class OpenDisturbances:
    """The disturbances that one runner follows, in its thread."""

    def __init__(self, store: Callable[[], CloudStore], limits: Limits, clock: Callable[[], float]) -> None:
        self._store, self._limits, self._clock = store, limits, clock
        self._followed: dict[int, FollowedFinding] = {}
        self._next_s = 0.0
        self._unstored: deque[tuple[int, Finding]] = deque(maxlen=MAX_FOLLOWED)
        """Events and findings that are to be stored."""

    @classmethod
    def of(
        cls, analyses: Iterable[Analysis], store: Callable[[], CloudStore], clock: Callable[[], float]
    ) -> "OpenDisturbances":
        """Uses the limits of the analysis `rms_voltage`, else its defaults."""
        configs = (one.config for one in analyses)
        rms = next((config for config in configs if isinstance(config, RmsConfig)), RmsConfig())
        return cls(store, rms.limits(), clock)

    def __len__(self) -> int:
        return len(self._followed)

    def find_again(self, now_ns: int) -> None:
        """Finds open disturbances in the store, at a start. Raises StoreError."""
        for incident in self._store().incidents(start_ns=now_ns - BACK_NS, limit=MAX_FOLLOWED):
            if not incident.closed:
                self._note_incident(incident)

    def note_findings(self, stored: Iterable[StoredFinding]) -> list[tuple[int, Finding]]:
        """Follows the findings of an event's analysis.

        Returns (event, finding) to store for disturbances whose end these findings may be.
        """
        grown: list[tuple[int, Finding]] = []
        for item in stored:
            if item.finding.kind not in LOW | HIGH:
                continue
            if item.finding.closed:
                self.note_closed(item.finding_id)
            elif item.finding_id not in self._followed:
                self._follow(item.finding_id, item.incident_id, item.event_id, item.finding)
            for finding_id, followed in list(self._followed.items()):
                if finding_id != item.finding_id and followed.finding.box_id == item.finding.box_id:
                    grown += self._grown(finding_id, followed, least_ns=0)
        return grown

    def note_half_cycles(self, event_id: int) -> list[tuple[int, Finding]]:
        """Uses half cycles that gateways sent for an event: returns (event, finding) to store."""
        try:
            halves = self._store().half_cycles(event_id)
        except StoreError:  # unreadable half cycles are ignored
            return []
        grown: list[tuple[int, Finding]] = []
        for finding_id, followed in list(self._followed.items()):
            half = halves.get(followed.finding.box_id)
            if half is not None and half.start_ns < followed.reach_ns < half.end_ns:
                grown += self._grown(finding_id, followed, 0, half)
        return grown

    def note_closed(self, finding_id: int) -> None:
        """Stops following a finding that is over."""
        self._followed.pop(finding_id, None)

    def due(self, at_once: bool = False) -> Iterator[tuple[int, Finding]]:
        """Yields every 10 s (event, finding) to store for each that has grown enough, or is over.

        Args:
            at_once: at every call, for each that has grown at all.
        """
        if not self._followed or (self._clock() < self._next_s and not at_once):
            return
        self._next_s = self._clock() + CHECK_S
        for finding_id, followed in list(self._followed.items()):
            if self._is_over(finding_id, followed):
                del self._followed[finding_id]
            elif at_once or self._clock() >= followed.again_s:
                yield from self._grown(finding_id, followed, 0 if at_once else GROW_NS)

    def store_grown(
        self,
        grown: Iterable[tuple[int, Finding]],
        put: Callable[[int, list[Finding]], Iterable[StoredFinding]],
    ) -> Iterator[StoredFinding]:
        """Has (event, finding) of each stored, those of one event in one commit; yields what was stored.

        Those that the store refuses are stored with the next ones. Raises StoreError.
        """
        self._unstored.extend(grown)
        while self._unstored:
            event_id = self._unstored[0][0]
            pieces = [piece for number, piece in self._unstored if number == event_id]
            waiting = [each for each in self._unstored if each[0] != event_id]
            self._unstored.clear()
            self._unstored.extend(waiting)
            try:  # each Box of a long dip has one a minute
                stored = put(event_id, pieces)
            except StoreError:
                self._unstored.extend((event_id, piece) for piece in pieces)
                raise
            for item in stored:
                if item.finding.closed:
                    self.note_closed(item.finding_id)
                yield item

    def _grown(
        self, finding_id: int, followed: FollowedFinding, least_ns: int, half: HalfCycleRms | None = None
    ) -> list[tuple[int, Finding]]:
        box = self._store().box(followed.finding.box_id)
        if not _has_right_nominal(box, followed):
            del self._followed[finding_id]
            return []
        if half is not None:
            followed.accept_half_cycles(half, self._limits)
        box_id, start_ms = followed.finding.box_id, followed.reach_ns // NS_PER_MS
        rows = self._store().measurements(box_id, start_ms, LATEST_MS, ROWS_PER_READ)
        rows = list(of_their_starts(() if box is None else box.starts, rows))
        before_ns = followed.reach_ns
        followed.accept_measurements(rows, self._limits)
        silent = followed.reach_ns == before_ns and not followed.over
        followed.again_s = self._clock() + (SILENT_S if silent else CHECK_S)
        piece = followed.piece(self._limits)
        if piece is None or not (piece.closed or piece.end_ns - followed.written_ns > least_ns):
            return []
        followed.written_ns = piece.end_ns
        if piece.closed:
            del self._followed[finding_id]
        return [(followed.event_id, piece)]

    def _is_over(self, finding_id: int, followed: FollowedFinding) -> bool:
        """Returns True if it was closed elsewhere, or is gone: part of another finding, or expired."""
        try:
            incident = self._store().incident(followed.incident_id)
        except StoreError:
            return False
        findings = () if incident is None else incident.findings
        return not any(one.finding_id == finding_id and not one.finding.closed for one in findings)

    def _note_incident(self, incident: Incident) -> None:
        for one in incident.findings:
            if not one.finding.closed and one.finding.kind in LOW | HIGH:
                self._follow(one.finding_id, incident.incident_id, one.event_id, one.finding)

    def _follow(self, finding_id: int, incident_id: int, event_id: int, finding: Finding) -> None:
        if (
            finding.residual_percent is None
            or finding.residual_v is None
            or finding.end_ns <= finding.start_ns
        ):
            return
        if finding.residual_percent:
            nominal_v: float | None = 100 * finding.residual_v / finding.residual_percent
        else:  # the voltage was exactly zero
            box = self._store().box(finding.box_id)
            nominal_v = None if box is None else box.at(finding.start_ns).nominal_v
        if not nominal_v:
            return
        while len(self._followed) >= MAX_FOLLOWED:
            del self._followed[next(iter(self._followed))]
        end_ns = finding.end_ns
        self._followed[finding_id] = FollowedFinding(
            event_id, incident_id, finding, end_ns, end_ns, finding.residual_v, nominal_v
        )


def _has_right_nominal(box: BoxRecord | None, followed: FollowedFinding) -> bool:
    """Returns True if the finding was made with the nominal voltage that its start stated.

    A first event may be analysed before it is known: 230 V with a nominal 120 V is a swell without end.
    """
    start_id = followed.finding.start_id
    stated = (
        [] if box is None or start_id is None else [one for one in box.starts if one.start_id == start_id]
    )
    known = {one.nominal_v for one in stated} or {
        None if box is None else box.at(followed.finding.start_ns).nominal_v
    }
    return any(not volts or abs(followed.nominal_v / volts - 1) < SAME_NOMINAL for volts in known)
