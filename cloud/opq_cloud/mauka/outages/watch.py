"""OutageWatch finds silent Boxes and decides whether each lost its supply or only its network.

    Measurements --> which Box is silent, since when --> signs --> judgement --> finding `outage`
                                                                             \\--> withdrawn: only the
                                                                                 network was lost

Its owner calls `find_changes` at each check. A silence that lasts is judged at every check. When the Box
sends again, it is judged once more: what the gateway reports with the first Measurement after it decides.

The watch reads the stored Measurements of that Box, unless its caller passed them to `note_stored`. Numbers
that are missing between two of them may still come from the gateway's disk. Then the silence is judged again
when they have come. If the gateway reports that the supply was lost after the last stored Measurement, the
judgement waits for the rest, at most SETTLE_S; an outage that was reported without them is corrected later.

Measurements are put in the order of their numbers, because a clock that is set moves their times.

A Box that was silent before the first check is judged when it sends again. If no Box at all sent meanwhile,
the cloud was stopped too, and the silence is not judged: a whole installation that is stopped lost no supply.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from opq_cloud.core.settings.mauka import OutageSection
from opq_cloud.mauka.measuring.sample_axis import outage_began_ns
from opq_cloud.mauka.outages.heard_boxes import IncompleteSilence, NewestMeasurement, OutageChange
from opq_cloud.mauka.outages.judgement import (
    DEAD_PERCENT,
    TOGETHER_S,
    NeighbourSight,
    SilenceSigns,
    is_next,
    judge_silence,
    measured_s,
    possibly_measured_s,
)
from opq_cloud.mauka.outages.stored_rows import (
    NEXT_NS,
    lowest_percent,
    reported_loss,
    row_before,
    row_before_missing,
    row_end_ns,
    rows_between,
    rows_since,
)
from opq_cloud.mauka.outages.stored_spans import StoredSpans
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.store import CloudStore
from opq_proto.decision import NS_PER_MS, Nominal, window_ns
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, Measurement
from opq_proto.wire.continuity import (
    CLOCK_SET,
    DARK_CAUSES,
    GapReason,
    dark_s,
    goes_on,
    missing_s,
    restart_cause,
    supplied_restart,
)
from opq_proto.wire.measurement_columns import MeasurementColumns
from opq_proto.wire.supply_word import SUPPLY, SupplyWord, supply_word

S = 10**9
AROUND_NS = 2 * S
EDGE_NS = 3 * S
"""Boxes of an installation that is stopped or started fall silent, or send again, within this time."""
ORIGINAL_S = 60.0
"""After this time the original reports an outage (docs/reference/opq-interop.md E.3)."""
MAX_NEIGHBOURS = 12
MAX_JUDGED = 50
"""Silences that one check judges: reading Measurements of some neighbours takes a millisecond each."""
ROWS = 1000
"""Measurements read at once for a Box that is new."""
BACK_NS = 7 * 86_400 * S
"""Open outages in the store are found again at a start, if they began within this time."""
WELL_NS = 70 * S
"""A gateway reports each minute that the supply of a Box with a battery is well."""
RETURNED_S = 15.0
"""A Box that sends again is read for this time after: its first Measurement is the one that the loss of
supply cut short, and how long it was dark comes with a later one, within ten (gateway's `CAUSE_WAITS`)."""
LOOK_S = 2.0
"""Interval of checks."""
LOOK_BACK_NS = 60 * S
"""Measurements are read for this time before, to find when the voltage went or came back."""
HOUSE_BOXES = 200
"""The cloud of a larger installation has not the same supply as its Boxes."""
MAX_INCIDENTS = 1000
SETTLE_S = 30.0
"""A loss of supply is told after this time, though Measurements of before it may still come; then it is
corrected."""
COMPLETE_S = 900.0
"""Measurements from a gateway's disk are awaited for this long."""
MAX_INCOMPLETE = 20
"""Silences of one Box that wait for them."""


class OutageWatch:
    """Belongs to one thread. `network_losses`, `box_restarts`: silences that were not outages."""

    def __init__(
        self,
        store: Callable[[], CloudStore],
        config: OutageSection,
        nominal: Nominal,
        place_of: Callable[[str], BoxPlace],
        clock: Callable[[], float],
        lossless: bool = False,
    ) -> None:
        """`lossless`: data missing in the store was never measured (a history); numbers are ignored."""
        self._store, self._config, self._nominal = store, config, nominal
        self._lossless, self._looked = lossless, False
        self._place_of, self._clock = place_of, clock
        self._newest: dict[str, NewestMeasurement] = {}
        self._stored = StoredSpans()
        self._open: dict[str, Finding] = {}
        self._awaited: dict[str, float] = {}
        """When it was first seen, by Box that is not watched yet (`_begin`)."""
        self._dark: dict[str, Measurement] = {}
        """By Box without supply and voltage, by its last report: the last row before."""
        self.silences: dict[str, str] = {}
        """Boxes that are silent now and may have lost only their network, with the evidence for it."""
        self._changes: list[OutageChange] = []
        """Changes that were found before the store failed; the next call of `find_changes` returns them."""
        self.network_losses = self.box_restarts = 0

    @property
    def open_outages(self) -> dict[str, Finding]:
        """Outages that last, by Box."""
        return dict(self._open)

    def find_again(self) -> None:
        """Continues outages that are open in the store, at a start. Raises StoreError."""
        store = self._store()
        newest = store.latest_measurements()
        since_ns = max((row_end_ns(row) for row in newest.values()), default=0) - BACK_NS
        for incident in store.incidents(start_ns=since_ns, limit=MAX_INCIDENTS):
            for one in incident.findings:
                if one.finding.kind == "outage" and not one.finding.closed:
                    self._open[one.finding.box_id] = one.finding

    def note_stored(self, rows: Sequence[Measurement] | MeasurementColumns) -> None:
        """Notes rows stored since the last check, each Box's in time order: they need not be read again.

        For a caller that stores a minute at once (a history): otherwise each Box would be read at each check.
        """
        self._stored.note(rows)

    def find_changes(self) -> list[OutageChange]:
        """Returns what has changed since the last check. Raises StoreError."""
        store, now_s = self._store(), self._clock()
        newest = store.latest_measurements()
        changes, back = self._changes, list[tuple[str, Measurement]]()
        for box_id, row in newest.items():
            end_ns = row_end_ns(row)
            known = self._newest.get(box_id) or self._begin(row, len(newest) <= HOUSE_BOXES, now_s)
            if known is None:
                continue
            self._newest[box_id] = known
            if not known.is_new(row):
                continue
            was_silent = not 0 < end_ns - known.end_ns < self._config.silence_s * S
            if now_s - known.at_s >= self._config.silence_s:  # its clock may have been set back meanwhile
                was_silent, known.pause_s, known.pause_end_s = True, now_s - known.at_s, now_s
            was_silent |= now_s - known.pause_end_s <= RETURNED_S and not row.crossing
            if self._is_dark(row):
                self._dark.setdefault(box_id, known.row)
            if box_id in self._dark:
                known.note(row, now_s)
            elif box_id in self._open or (was_silent and not self._is_shown_whole(known, row)):
                back.append((box_id, row))
            else:
                known.note(row, now_s)
        self._looked = True
        self._stored.clear()
        for box_id, row in back:
            changes += self._judge_back(store, box_id, row, now_s)
        changes += self._judge_completed(store, now_s)
        changes += self._judge_dark(store)
        changes += self._judge_silent(store, now_s)
        self._changes = []
        return changes

    def _first_since(self, row: Measurement) -> Measurement:
        """Returns the first whole Measurement of a Box that is new since the last check."""
        rows = self._store().measurements(row.box_id, 0, row.timestamp_ms, ROWS)
        return next((each for each in rows if not each.crossing), row)

    def _begin(self, row: Measurement, is_house: bool, now_s: float) -> NewestMeasurement | None:
        """Begins to watch a Box with this Measurement of it, or, at a start, with the last one before an
        outage that is open or (`is_house`) from which the Box was back before this check.

        None: Measurements of before that outage are still on their way; the next check begins again.
        """
        box_id, store, first = row.box_id, self._store(), row
        of_old = not self._looked or box_id in self._awaited
        if not of_old:
            first = self._first_since(row)
        elif (found := self._open.get(box_id)) is not None:
            first = row_before(store, box_id, found.start_ns) or row
        elif is_house and not self._lossless:
            loss = reported_loss(store, row)
            waited_s = 0.0 if loss is None else now_s - self._awaited.setdefault(box_id, now_s)
            if loss is not None and not loss.is_whole and waited_s < SETTLE_S:
                return None
            first = (row_before_missing(store, row) if loss is None else loss.before) or row
        self._awaited.pop(box_id, None)
        end_ns = row_end_ns(first)
        return NewestMeasurement(first, end_ns, now_s, True, of_old, sequence=first.sequence)

    def _is_shown_whole(self, known: NewestMeasurement, row: Measurement) -> bool:
        """Whether the noted rows reach from a Box's last Measurement to this one without a silence."""
        longest_ns = self._stored.longest_gap_ns(known.row, row)
        return longest_ns is not None and longest_ns < self._config.silence_s * S

    def _judge_back(
        self, store: CloudStore, box_id: str, row: Measurement, now_s: float
    ) -> Iterable[OutageChange]:
        """Judges each silence since the last check of a Box that sends again."""
        known = self._newest[box_id]
        rows = rows_since(store, known.row, row, self._config.longest_h)
        for before, after in pairwise(rows):
            if not is_next(before, after) and len(known.incomplete) < MAX_INCOMPLETE:
                known.incomplete.append(IncompleteSilence(before, after, now_s, now_s))
        yield from self._judge_pairs(store, rows)
        if row.crossing:
            return  # its first whole window is still to come
        known.note(row, now_s)
        was = self._open.get(box_id)
        if was is None or row_end_ns(row) - was.start_ns < self._config.silence_s * S:
            return  # or the row is what its gateway kept of the window in which it fell silent
        yield self._lit_again(store, self._open.pop(box_id), was.start_ns, row)  # it measured on, or was dark

    def _judge_pairs(self, store: CloudStore, rows: Sequence[Measurement]) -> Iterable[OutageChange]:
        for before, after in pairwise(row for row in rows if not row.crossing):
            yield from self._judge_pair(store, before, after)

    def _judge_pair(
        self, store: CloudStore, before: Measurement, after: Measurement
    ) -> Iterable[OutageChange]:
        """Judges the silence between two Measurements, if there was one."""
        box_id, known = after.box_id, self._newest[after.box_id]
        measured: float | None = 0.0 if self._lossless else measured_s(before, after)
        from_ns, to_ns = row_end_ns(before), window_ns(after)[0]
        reported_s = self._dark_s(before, after)
        incomplete = known.incomplete_within(before, after)
        if reported_s is not None and CLOCK_SET in after.metrics and known.dark_before is not None:
            before = known.dark_before  # the clock shows now how long the loss of supply was
            measured = known.dark_measured_s
            from_ns = row_end_ns(before)
            to_ns = from_ns + round(reported_s * S)
            incomplete = known.incomplete_after(before)
        elif goes_on(before, after):
            return
        elif reported_s is not None:
            passed_s = self._passed_s(before, after)
            if incomplete is not None and incomplete.waits:
                passed_s = incomplete.passed_s
            measured = possibly_measured_s(measured, passed_s, reported_s)
            if dark_s(after.metrics) is not None:
                known.dark_before, known.dark_measured_s = before, measured
                to_ns = from_ns + round(reported_s * S)  # whatever the clock was set to meanwhile
            if incomplete is not None and incomplete.judged is None and box_id not in self._open:
                incomplete.judged, incomplete.passed_s = (before, after), passed_s
                incomplete.waits = self._begins_later(before, after, reported_s, passed_s)
                if incomplete.waits:
                    return
        if to_ns - from_ns < self._config.silence_s * S:
            return
        known.silent_from_ns = from_ns
        if to_ns - from_ns <= self._config.longest_h * 3600 * S or box_id in self._open:
            changes = list(self._judge_over(store, before, after, to_ns, reported_s, measured))
            if incomplete is not None:
                incomplete.judged, incomplete.waits = incomplete.judged or (before, after), False
                incomplete.told += [each.finding for each in changes if not each.withdrawn]
            yield from changes

    def _begins_later(
        self, before: Measurement, after: Measurement, reported_s: float, passed_s: float
    ) -> bool:
        """Whether a loss of supply began later than the first of these Measurements ends, or may have.

        Both the times and what passed by arrival have to say it: the clock may have been set meanwhile.
        """
        if self._lossless:
            return False
        later_ns = window_ns(after)[0] - round(reported_s * S) - row_end_ns(before)
        return dark_s(after.metrics) is None or (later_ns > NEXT_NS and passed_s - reported_s > 2 * LOOK_S)

    def _passed_s(self, before: Measurement, after: Measurement) -> float:
        """How much time passed between two Measurements: by arrival, as clocks may have been set; what comes
        from a gateway's disk has its times only."""
        known = self._newest[after.box_id]
        if not after.backfilled and self._clock() - known.pause_end_s <= self._config.silence_s:
            return known.pause_s
        return (window_ns(after)[0] - row_end_ns(before)) / S

    def _dark_s(self, before: Measurement, after: Measurement) -> float | None:
        """For how long the Box had no supply between two Measurements, as its gateway reports it; None: it
        does not. An older gateway reports only that the Box began again after its supply was lost."""
        if self._lossless:
            return (window_ns(after)[0] - row_end_ns(before)) / S
        reported_s = dark_s(after.metrics)
        if reported_s == 0.0 and not after.backfilled:  # its gateway's clock is behind where it ended
            known = self._newest[after.box_id]
            is_over = self._clock() - known.pause_end_s > self._config.silence_s
            return 0.0 if is_over else max(0.0, known.pause_s - LOOK_S)
        if reported_s is None and not missing_s(after.metrics) and CLOCK_SET not in after.metrics:
            by_power = restart_cause(after.metrics) in DARK_CAUSES
            reported_s = (window_ns(after)[0] - row_end_ns(before)) / S if by_power else None
        return reported_s

    def _judge_completed(self, store: CloudStore, now_s: float) -> Iterator[OutageChange]:
        """Judges what lies between two Measurements when those between them have come, or come no more."""
        for known in self._newest.values():
            for each in [one for one in known.incomplete if now_s >= one.due_s]:
                waited_s = now_s - each.since_s
                rows = rows_since(store, *(each.judged or (each.before, each.after)), self._config.longest_h)
                each.due_s = now_s + max(LOOK_S, waited_s)
                whole = known.holds_none_before(each.after) or all(is_next(*pair) for pair in pairwise(rows))
                if whole or waited_s >= COMPLETE_S:
                    known.incomplete.remove(each)
                    if len(rows) > 2 or each.waits:
                        yield from self._judge_again(store, rows, each.told)
                elif each.waits and waited_s >= SETTLE_S:
                    yield from self._judge_pairs(store, rows)
                elif each.waits:
                    each.due_s = now_s + LOOK_S

    def _judge_again(
        self, store: CloudStore, rows: Sequence[Measurement], told: Sequence[Finding]
    ) -> Iterator[OutageChange]:
        """Judges Measurements that are whole now, and withdraws what was told when they were not."""
        changes = list(self._judge_pairs(store, rows))
        true_ns = {each.finding.start_ns for each in changes if not each.withdrawn}
        yield from (OutageChange(each, withdrawn=True) for each in told if each.start_ns not in true_ns)
        yield from changes

    def _judge_over(
        self,
        store: CloudStore,
        before: Measurement,
        after: Measurement,
        end_ns: int,
        reported_s: float | None,
        measured: float | None,
    ) -> Iterable[OutageChange]:
        """Judges a silence that is over; `measured`: seconds of it for which numbers were given."""
        box_id = after.box_id
        was = self._open.pop(box_id, None)
        if was is None and not self._is_expected(store.box(box_id)):
            return
        start_ns = row_end_ns(before)
        of_old = was is None and self._newest[box_id].of_old
        known = reported_s is not None  # a house whose cloud has the same supply is back with all of it
        if of_old and not known and not self._anybody_reported(store, box_id, start_ns, end_ns):
            return
        around, word = self._around(store, box_id, before), supply_word(before.metrics)
        restart = supplied_restart(after.metrics)
        silent_s = (end_ns - start_ns) / S
        lost = tuple(each for each in missing_s(after.metrics).items() if each[0] is not GapReason.DARK)
        signs = SilenceSigns(
            silent_s, True, measured, reported_s, *around, lost, restart=restart, supply=word
        )
        judged = judge_silence(signs)
        if judged.probability >= self._config.least_probability or self._by_original(signs):
            finding = self._finding(box_id, before, judged.because, judged.probability, end_ns)
            finding = replace(finding, samples_began_ns=outage_began_ns(start_ns, after.metrics))
            if was is not None:
                finding = replace(finding, start_ns=was.start_ns, uncertainty_ns=was.uncertainty_ns)
            yield OutageChange(finding)
        else:
            self.box_restarts += bool(restart)
            self.network_losses += not restart
            if was is not None:
                yield OutageChange(was, withdrawn=True)

    def _anybody_reported(self, store: CloudStore, box_id: str, start_ns: int, end_ns: int) -> bool:
        """Returns True if another Box measured during a silence, except in its first and last seconds."""
        first_ms, last_ms = (start_ns + EDGE_NS) // NS_PER_MS, (end_ns - EDGE_NS) // NS_PER_MS
        others = (other_id for other_id in self._newest if other_id != box_id)
        return first_ms < last_ms and any(store.measurements(each, first_ms, last_ms, 1) for each in others)

    def _judge_dark(self, store: CloudStore) -> Iterator[OutageChange]:
        """Judges Boxes on battery without voltage for `silence_s`, and those whose voltage is back."""
        opened = 0
        for box_id, lit in list(self._dark.items()):
            known = self._newest[box_id]
            unlit_s = (known.end_ns - row_end_ns(lit)) / S
            if not self._is_dark(known.row):
                del self._dark[box_id]
                if (was := self._open.pop(box_id, None)) is not None:
                    since_ns = max(was.start_ns, known.end_ns - LOOK_BACK_NS)
                    yield self._lit_again(store, was, since_ns, known.row)
            elif box_id not in self._open and unlit_s >= self._config.silence_s and opened < MAX_JUDGED:
                opened += 1
                before = rows_between(store, box_id, row_end_ns(lit) - LOOK_BACK_NS, known.end_ns)
                whole = [row for row in before if not self._is_dead(row, row.metrics["rms"].min)]
                lit = self._dark[box_id] = whole[-1] if whole else lit
                around = self._around(store, box_id, lit)
                word = supply_word(known.row.metrics)
                signs = SilenceSigns(unlit_s, False, None, None, *around, supply=word, silent=False)
                judged = judge_silence(signs)
                likely = judged.probability >= self._config.least_probability
                if likely and self._is_expected(store.box(box_id)):
                    self._open[box_id] = self._finding(box_id, lit, judged.because, judged.probability, None)
                    yield OutageChange(self._open[box_id])

    def _is_dark(self, row: Measurement) -> bool:
        """Whether a Box reports that its supply is lost, and measures less than a tenth of its voltage."""
        if SUPPLY not in row.metrics or "rms" not in row.metrics or row.crossing:
            return False
        low = supply_word(row.metrics) in (SupplyWord.ON_BATTERY, SupplyWord.FAILING)
        return low and self._is_dead(row, row.metrics["rms"].max)

    def _is_dead(self, row: Measurement, rms_v: float) -> bool:
        nominal_v = row.nominal_v or self._nominal_v(self._store(), row.box_id)
        return rms_v < DEAD_PERCENT / 100 * nominal_v

    def _lit_again(self, store: CloudStore, was: Finding, since_ns: int, row: Measurement) -> OutageChange:
        """Ends the outage of a Box that sends again, at a row with a voltage; no dark row: it was none."""
        rows = rows_between(store, was.box_id, since_ns, row_end_ns(row))
        if since_ns == was.start_ns and not any(map(self._is_dark, rows)):
            self.network_losses += 1
            return OutageChange(was, withdrawn=True)
        # the voltage shows it a second before the report arrives
        dead = [at for at, each in enumerate(rows) if self._is_dead(each, each.metrics["rms"].max)]
        after = rows[dead[-1] + 1 :] if dead else rows
        end_ns = max(was.start_ns, window_ns(after[0] if after else row)[0])
        figures = (*was.figures, ("lost_s", (end_ns - was.start_ns) / S))
        return OutageChange(replace(was, end_ns=end_ns, closed=True, figures=figures))

    def _judge_silent(self, store: CloudStore, now_s: float) -> Iterator[OutageChange]:
        """Judges Boxes that are silent now; the one with the shortest silence first."""
        after_s = max(ORIGINAL_S, self._config.silence_s) if self._config.compat else self._config.silence_s
        silent = [
            (now_s - known.at_s, box_id)
            for box_id, known in self._newest.items()
            if box_id not in self._open and not known.judged and now_s - known.at_s >= after_s
        ]
        self.silences = {}
        for silent_s, box_id in sorted(silent)[:MAX_JUDGED]:
            if silent_s > self._config.longest_h * 3600 or not self._is_expected(store.box(box_id)):
                self._newest[box_id].judged = True
                continue
            row = self._dark.get(box_id, self._newest[box_id].row)
            around = self._around(store, box_id, row)
            word, gateways = self._last_word(store, box_id), self._gateways_together(store, row)
            signs = SilenceSigns(silent_s, False, None, None, *around, supply=word, gateways=gateways)
            judged = judge_silence(signs)
            if judged.probability >= self._config.least_probability or self._by_original(signs):
                because = judged.because or f"nothing came for {silent_s:.0f} s"
                finding = self._finding(box_id, row, because, judged.probability, None)
                self._open[box_id] = finding
                yield OutageChange(finding)
            else:
                likely_percent = min(99.0, 100 * (1 - judged.probability))
                likely = f"its network, or the Box itself ({likely_percent:.0f} %)"
                self.silences[box_id] = f"{likely}: {judged.against}"

    def _last_word(self, store: CloudStore, box_id: str) -> SupplyWord | None:
        """Returns its last report of its supply: in its last Measurement, or `well` in its last minute."""
        last = self._newest[box_id].row
        if (word := supply_word(last.metrics)) is not None:
            return word
        before = rows_between(store, box_id, row_end_ns(last) - WELL_NS, row_end_ns(last))
        return SupplyWord.WELL if SupplyWord.WELL in map(supply_word, (r.metrics for r in before)) else None

    def _gateways_together(self, store: CloudStore, row: Measurement) -> int:
        """Number of gateways at different places whose Boxes fell silent together with this one; 0 where its
        own is not known. Boxes of one place share a network, and an original Box is its own gateway."""
        if self._gateway_of(store, row) is None:
            return 0
        at_ns = self._newest[row.box_id].end_ns
        places: dict[str, set[object]] = {}
        for other_id, other in self._newest.items():
            gateway = self._gateway_of(store, other.row)
            if gateway is not None and (other_id == row.box_id or self._together(other, at_ns)):
                places.setdefault(gateway, set()).add(self._place_of(other_id).place)
        return len({min(map(str, each)) for each in places.values()})

    def _gateway_of(self, store: CloudStore, row: Measurement) -> str | None:
        if row.sequence is None:
            return f"box {row.box_id}"
        box = store.box(row.box_id)
        return None if box is None or box.gateway_id is None else str(box.gateway_id)

    def _by_original(self, signs: SilenceSigns) -> bool:
        return self._config.compat and signs.silent_s >= ORIGINAL_S

    def _is_expected(self, box: BoxRecord | None) -> bool:
        """Returns True if the Box should send; the original treats an unknown Box as unplugged."""
        if box is None:
            return not self._config.compat
        not_known = self._config.compat
        unplugged = not_known if box.unplugged is None else box.unplugged
        return not unplugged and not box.retired_ms

    def _around(
        self, store: CloudStore, box_id: str, before: Measurement
    ) -> tuple[float | None, Sequence[NeighbourSight], int]:
        """Returns its last voltage, its neighbours, and how many others sent after it fell silent."""
        known = self._newest[box_id]
        at_ns = max(row_end_ns(before), known.end_ns if before is known.row else 0)
        own = self._place_of(box_id)
        neighbours: list[NeighbourSight] = []
        others = 0
        for other_id, other in self._newest.items():
            if other_id == box_id:
                continue
            together = self._together(other, at_ns)
            place = self._place_of(other_id)
            near = place.feeder == own.feeder if own.feeder else place.place == own.place and own.place
            if place.grid != own.grid or not near:
                others += not together and other.end_ns > at_ns + AROUND_NS
            elif len(neighbours) < MAX_NEIGHBOURS:
                span = at_ns - AROUND_NS, at_ns + AROUND_NS
                lowest = lowest_percent(store, other_id, *span, self._nominal)
                neighbours.append(NeighbourSight(other_id, together, lowest))
        last = lowest_percent(store, box_id, at_ns - AROUND_NS, at_ns + AROUND_NS // 2, self._nominal)
        return last, neighbours, others

    def _together(self, other: NewestMeasurement, at_ns: int) -> bool:
        """Returns True if another Box fell silent at a moment and is silent for long enough, or was."""
        reach_ns = TOGETHER_S * S
        if other.silent_from_ns is not None and abs(other.silent_from_ns - at_ns) <= reach_ns:
            return True
        silent_s = self._clock() - other.at_s
        return silent_s >= self._config.silence_s / 2 and abs(other.end_ns - at_ns) <= reach_ns

    def _nominal_v(self, store: CloudStore, box_id: str) -> float:
        return ((box := store.box(box_id)) and box.nominal_v) or self._nominal.volts

    def _finding(
        self, box_id: str, before: Measurement, because: str, probability: float, end_ns: int | None
    ) -> Finding:
        """Makes the finding: the supply was lost in the window that never came, in its middle +- half."""
        began_ns, last_ns = window_ns(before)
        half_ns = (last_ns - began_ns) // 2
        start_ns = last_ns + half_ns
        clock_ns = before.uncertainty_ns
        known = clock_ns is not None and clock_ns < UNKNOWN_UNCERTAINTY_NS
        uncertainty_ns = (
            min(half_ns + (clock_ns or 0), UNKNOWN_UNCERTAINTY_NS) if known else UNKNOWN_UNCERTAINTY_NS
        )
        figures = [("probability", probability)]
        if end_ns is not None:
            figures.append(("silent_s", (end_ns - last_ns) / S))
        return Finding(
            "outage", box_id, start_ns, max(start_ns, end_ns or 0), uncertainty_ns, closed=end_ns is not None,
            confidence=probability, because=because, measurement_type="HEALTH", figures=tuple(figures),
        )  # fmt: skip
