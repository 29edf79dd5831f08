"""OutageWatch finds silent Boxes and decides whether each lost its supply or only its network.

    Measurements --> facts --> TABLE: state x fact --> signs --> judgement --> finding `outage`
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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from opq_cloud.core.settings.mauka import OutageSection
from opq_cloud.mauka.outages.gaps import LOOK_S, ORIGINAL_S, GapJudge
from opq_cloud.mauka.outages.heard_boxes import (
    HeardBox,
    HeardBoxes,
    IncompleteSilence,
    OutageChange,
    outage_finding,
)
from opq_cloud.mauka.outages.outage_judgement import SilenceSigns, is_next, judge_silence
from opq_cloud.mauka.outages.outage_surroundings import Surroundings
from opq_cloud.mauka.outages.states import Fact, State
from opq_cloud.mauka.outages.stored_rows import (
    reported_loss,
    row_before,
    row_before_missing,
    row_end_ns,
    rows_between,
    rows_since,
)
from opq_cloud.mauka.outages.stored_spans import StoredSpans
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.supply_word import supply_word
from opq_proto.messages import Finding, Measurement
from opq_proto.time_units import NS_PER_S

MAX_JUDGED = 50
"""Silences that one check judges: reading Measurements of some neighbours takes a millisecond each."""
ROWS_OF_NEW_BOX = 1000
"""Measurements read at once for a Box that is new."""
BACK_NS = 7 * 86_400 * NS_PER_S
"""Open outages in the store are found again at a start, if they began within this time."""
LOOK_BACK_NS = 60 * NS_PER_S
"""Measurements are read for this time before, to find when the voltage went or came back."""
HOUSE_BOXES = 200
"""Most Boxes of an installation whose cloud has the same supply."""
MAX_INCIDENTS = 1000
SETTLE_S = 30.0
"""A loss of supply is reported after this time, though Measurements of before it may still come; then it is
corrected."""
COMPLETE_S = 900.0
"""Measurements from a gateway's disk are awaited for this long."""
MAX_INCOMPLETE = 20
"""Silences of one Box that wait for them."""

Changes = Iterable[OutageChange]
Action = Callable[..., Changes]
"""It gets the Box and its Measurement (ROW to UNLIT), the gap (NEXT to CLOCK_SET), or the Box."""
COLUMNS = State.HEARD, State.SILENT, State.BACK, State.LOST, State.DARK, State.DARK_LOST


def no(*_: object) -> Changes:
    """Nothing is done."""
    return ()


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
        self._store, self._config, self._clock = store, config, clock
        self._lossless, self._looked = lossless, False
        self._boxes = HeardBoxes(config.silence_s, clock)
        self._surroundings = Surroundings(store, config, nominal, place_of, self._boxes)
        self._gaps = GapJudge(config, self._boxes, self._surroundings, clock, lossless)
        self._stored = StoredSpans()
        self._awaited: dict[str, float] = {}
        """When it was first seen, by Box that is not watched yet (`_begin`)."""
        self._returned: list[tuple[HeardBox, Measurement]] = []
        """Boxes whose stored Measurements this check reads back."""
        self.silences: dict[str, str] = {}
        """Boxes that are silent now and may have lost only their network, with the evidence for it."""
        self._changes: list[OutageChange] = []
        """Changes that were found before the store failed; the next call of `find_changes` returns them."""
        self._network_losses = 0
        self._table = self._made_table()

    def _made_table(self) -> Mapping[Fact, Sequence[Action]]:
        """What is done with a Box of each state (column) at each fact (row)."""
        note, read, read_all, darken = self._note, self._read_silence, self._read_back, self._darken
        over, end = self._gaps.end_silence, self._gaps.end_outage
        loss, end_loss = self._gaps.end_reported_silence, self._gaps.end_reported_outage
        dark, forget, close = self._judge_dark, self._forget_dark, self._close_dark
        judge = self._judge_silence
        return {
            #                HEARD   SILENT  BACK    LOST      DARK    DARK_LOST
            Fact.ROW:       (note,   read,   read,   read_all, note,   note),
            Fact.CROSSING:  (note,   read,   note,   read_all, note,   note),  # BACK: a whole window follows
            Fact.JUMP:      (read,   read,   read,   read_all, note,   note),
            Fact.UNLIT:     (darken, darken, darken, darken,   note,   note),  # LOST: it runs on its battery
            Fact.NEXT:      (no,     no,     no,     no,       no,     no),
            Fact.GAP:       (over,   over,   over,   end,      over,   end),
            Fact.REPORT:    (loss,   loss,   loss,   end_loss, loss,   end_loss),
            Fact.RESTART:   (loss,   loss,   loss,   end_loss, loss,   end_loss),
            Fact.CLOCK_SET: (over,   over,   over,   end,      over,   end),   # again, with its true length
            Fact.LIT:       (no,     no,     no,     no,       forget, close),
            Fact.DARKNESS:  (no,     no,     no,     no,       dark,   no),
            Fact.SILENCE:   (no,     judge,  no,     no,       judge,  no),    # DARK: its battery is empty
        }  # fmt: skip

    def _cell(self, fact: Fact, box_id: str, now_s: float) -> Action:
        return self._table[fact][COLUMNS.index(self._boxes.state(box_id, now_s))]

    @property
    def network_losses(self) -> int:
        """Silences of Boxes that lost only their network, and outages that were withdrawn for it."""
        return self._gaps.network_losses + self._network_losses

    @property
    def box_restarts(self) -> int:
        """Silences of Boxes that restarted with their supply there."""
        return self._gaps.box_restarts

    @property
    def open_outages(self) -> dict[str, Finding]:
        """Outages that last, by Box."""
        return dict(self._boxes.open)

    def find_again(self) -> None:
        """Continues outages that are open in the store, at a start. Raises StoreError."""
        store = self._store()
        newest = store.latest_measurements()
        since_ns = max((row_end_ns(row) for row in newest.values()), default=0) - BACK_NS
        for incident in store.incidents(start_ns=since_ns, limit=MAX_INCIDENTS):
            for one in incident.findings:
                if one.finding.kind == "outage" and not one.finding.closed:
                    self._boxes.open[one.finding.box_id] = one.finding

    def note_stored(self, rows: Sequence[Measurement] | Measurements) -> None:
        """Notes rows stored since the last check, each Box's in time order: they need not be read again.

        For a caller that stores a minute at once (a history): otherwise each Box would be read at each check.
        """
        self._stored.note(rows)

    def find_changes(self, is_ended: Callable[[], bool] = lambda: False) -> list[OutageChange]:
        """Returns what has changed since the last check. Raises StoreError.

        Once `is_ended`, it reads back no further Box and judges none: the first check of a large house
        takes some seconds.
        """
        store, now_s = self._store(), self._clock()
        newest = store.latest_measurements()
        changes, self._returned = self._changes, []
        for box_id, row in newest.items():
            if is_ended():
                return []
            box = self._boxes.known.get(box_id) or self._begin(row, len(newest) <= HOUSE_BOXES, now_s)
            if box is None:
                continue
            self._boxes.known[box_id] = box
            if box.is_new(row):
                act = self._cell(self._fact_of_row(box, row), box_id, now_s)
                self._end_pause(box, now_s)
                act(box, row, now_s)
        self._looked = True
        self._stored.clear()
        # after the newest row of every Box is noted, because a silence is judged by the Boxes around it
        for box, row in self._returned:
            changes += self._judge_returned(box, row, now_s)
        changes += self._judge_completed(now_s)
        changes += self._judge_unlit(now_s)
        changes += self._judge_silent(now_s)
        self._changes = []
        return changes

    # -- the newest Measurement of a Box

    def _fact_of_row(self, box: HeardBox, row: Measurement) -> Fact:
        if self._surroundings.is_unlit(row):
            return Fact.UNLIT
        if not 0 < row_end_ns(row) - box.end_ns < self._config.silence_s * NS_PER_S:
            return Fact.JUMP
        return Fact.CROSSING if row.crossing else Fact.ROW

    def _end_pause(self, box: HeardBox, now_s: float) -> None:
        """Notes by arrival that a silence is over: the clock of the Box may have been set back meanwhile."""
        if now_s - box.at_s >= self._config.silence_s:
            box.pause_s, box.pause_end_s = now_s - box.at_s, now_s

    def _note(self, box: HeardBox, row: Measurement, now_s: float) -> Changes:
        box.note(row, now_s)
        return ()

    def _darken(self, box: HeardBox, row: Measurement, now_s: float) -> Changes:
        self._boxes.lit[box.box_id] = box.row
        return self._note(box, row, now_s)

    def _read_silence(self, box: HeardBox, row: Measurement, now_s: float) -> Changes:
        """Reads back, unless the noted rows reach from its last Measurement to this one without a silence."""
        longest_ns = self._stored.longest_gap_ns(box.row, row)
        if longest_ns is not None and longest_ns < self._config.silence_s * NS_PER_S:
            return self._note(box, row, now_s)
        return self._read_back(box, row, now_s)

    def _read_back(self, box: HeardBox, row: Measurement, now_s: float) -> Changes:
        self._returned.append((box, row))
        return ()

    def _begin(self, row: Measurement, is_house: bool, now_s: float) -> HeardBox | None:
        """Begins to watch a Box with this Measurement of it, or, at a start, with the last one before an
        outage that is open or (`is_house`) from which the Box was back before this check.

        None: Measurements of before that outage are still on their way; the next check begins again.
        """
        box_id, store, first = row.box_id, self._store(), row
        of_old = not self._looked or box_id in self._awaited
        if not of_old:
            first = self._first_since(row)
        elif (found := self._boxes.open.get(box_id)) is not None:
            first = row_before(store, box_id, found.start_ns) or row
        elif is_house and not self._lossless:
            loss = reported_loss(store, row)
            waited_s = 0.0 if loss is None else now_s - self._awaited.setdefault(box_id, now_s)
            if loss is not None and not loss.is_whole and waited_s < SETTLE_S:
                return None
            first = (row_before_missing(store, row) if loss is None else loss.before) or row
        self._awaited.pop(box_id, None)
        return HeardBox(first, row_end_ns(first), now_s, True, of_old, sequence=first.sequence)

    def _first_since(self, row: Measurement) -> Measurement:
        """Returns the first whole Measurement of a Box that is new since the last check."""
        rows = self._store().measurements(row.box_id, 0, row.timestamp_ms, ROWS_OF_NEW_BOX)
        return next((each for each in rows if not each.crossing), row)

    # -- what lies between two Measurements

    def _judge_returned(self, box: HeardBox, row: Measurement, now_s: float) -> Iterator[OutageChange]:
        """Judges each silence since the last check of a Box that sends again."""
        rows = rows_since(self._store(), box.row, row, self._config.longest_h)
        for before, after in pairwise(rows):
            if not is_next(before, after) and len(box.incomplete) < MAX_INCOMPLETE:
                box.incomplete.append(IncompleteSilence(before, after, now_s, now_s))
        yield from self._judge_pairs(rows, now_s)
        if row.crossing:
            return  # its first whole window is still to come
        box.note(row, now_s)
        was = self._boxes.open.get(row.box_id)
        if was is None or row_end_ns(row) - was.start_ns < self._config.silence_s * NS_PER_S:
            return  # or the row is what its gateway kept of the window in which it fell silent
        del self._boxes.open[row.box_id]
        yield self._end_lit(was, was.start_ns, row)  # it measured on, or was dark

    def _judge_pairs(self, rows: Sequence[Measurement], now_s: float) -> Iterator[OutageChange]:
        for before, after in pairwise(row for row in rows if not row.crossing):
            gap = self._gaps.between(before, after)
            yield from self._cell(gap.fact, after.box_id, now_s)(gap)

    def _judge_completed(self, now_s: float) -> Iterator[OutageChange]:
        """Judges what lies between two Measurements when those between them have come, or come no more."""
        for box in self._boxes.known.values():
            for each in [one for one in box.incomplete if now_s >= one.due_s]:
                waited_s = now_s - each.since_s
                ends = each.judged or (each.before, each.after)
                rows = rows_since(self._store(), *ends, self._config.longest_h)
                each.due_s = now_s + max(LOOK_S, waited_s)
                whole = box.holds_none_before(each.after) or all(is_next(*pair) for pair in pairwise(rows))
                if whole or waited_s >= COMPLETE_S:
                    box.incomplete.remove(each)
                    if len(rows) > 2 or each.waits:
                        yield from self._judge_again(rows, each.told, now_s)
                elif each.waits and waited_s >= SETTLE_S:
                    yield from self._judge_pairs(rows, now_s)
                elif each.waits:
                    each.due_s = now_s + LOOK_S

    def _judge_again(
        self, rows: Sequence[Measurement], told: Sequence[Finding], now_s: float
    ) -> Iterator[OutageChange]:
        """Judges Measurements that are whole now, and withdraws what was reported when they were not."""
        changes = list(self._judge_pairs(rows, now_s))
        true_ns = {each.finding.start_ns for each in changes if not each.withdrawn}
        yield from (OutageChange(each, withdrawn=True) for each in told if each.start_ns not in true_ns)
        yield from changes

    # -- Boxes on battery without voltage

    def _judge_unlit(self, now_s: float) -> Iterator[OutageChange]:
        judged = 0
        for box_id, lit in list(self._boxes.lit.items()):
            box = self._boxes.known[box_id]
            if not self._surroundings.is_unlit(box.row):
                yield from self._cell(Fact.LIT, box_id, now_s)(box)
            elif (box.end_ns - row_end_ns(lit)) / NS_PER_S >= self._config.silence_s:
                act = self._cell(Fact.DARKNESS, box_id, now_s)
                judged += act is not no
                yield from act(box) if judged <= MAX_JUDGED else ()

    def _judge_dark(self, box: HeardBox) -> Changes:
        """Judges a Box that has measured no voltage for `silence_s`."""
        store, lit = self._store(), self._boxes.lit[box.box_id]
        unlit_s = (box.end_ns - row_end_ns(lit)) / NS_PER_S
        before = rows_between(store, box.box_id, row_end_ns(lit) - LOOK_BACK_NS, box.end_ns)
        whole = [row for row in before if not self._surroundings.is_dead(row, row.metrics["rms"].min)]
        lit = self._boxes.lit[box.box_id] = whole[-1] if whole else lit
        around, word = self._surroundings.around(lit), supply_word(box.row.metrics)
        judged = judge_silence(SilenceSigns(unlit_s, False, None, None, *around, supply=word, silent=False))
        likely = judged.probability >= self._config.least_probability
        if likely and self._surroundings.is_expected(box.box_id):
            return self._opened(outage_finding(lit, judged))
        return ()

    def _forget_dark(self, box: HeardBox) -> Changes:
        """Handles a voltage that is back before it was an outage."""
        del self._boxes.lit[box.box_id]
        return ()

    def _close_dark(self, box: HeardBox) -> Changes:
        """Handles a voltage that is back after an outage."""
        del self._boxes.lit[box.box_id]
        was = self._boxes.open.pop(box.box_id)
        return (self._end_lit(was, max(was.start_ns, box.end_ns - LOOK_BACK_NS), box.row),)

    def _end_lit(self, was: Finding, since_ns: int, row: Measurement) -> OutageChange:
        """Ends the outage of a Box that sends again, at a row with a voltage; withdraws it if no row since
        its beginning was dark.
        """
        rows = rows_between(self._store(), was.box_id, since_ns, row_end_ns(row))
        if since_ns == was.start_ns and not any(map(self._surroundings.is_unlit, rows)):
            self._network_losses += 1
            return OutageChange(was, withdrawn=True)
        # the voltage shows it a second before the report arrives
        dead = [
            at for at, each in enumerate(rows) if self._surroundings.is_dead(each, each.metrics["rms"].max)
        ]
        after = rows[dead[-1] + 1 :] if dead else rows
        end_ns = max(was.start_ns, window_ns(after[0] if after else row)[0])
        figures = (*was.figures, ("lost_s", (end_ns - was.start_ns) / NS_PER_S))
        return OutageChange(replace(was, end_ns=end_ns, closed=True, figures=figures))

    # -- Boxes that are silent now

    def _judge_silent(self, now_s: float) -> Iterator[OutageChange]:
        """Judges Boxes that are silent now; the one with the shortest silence first."""
        after_s = max(ORIGINAL_S, self._config.silence_s) if self._config.compat else self._config.silence_s
        silent = [
            (now_s - box.at_s, box_id)
            for box_id, box in self._boxes.known.items()
            if not box.judged
            and now_s - box.at_s >= after_s
            and self._cell(Fact.SILENCE, box_id, now_s) is not no
        ]
        self.silences = {}
        for _, box_id in sorted(silent)[:MAX_JUDGED]:
            act = self._cell(Fact.SILENCE, box_id, now_s)
            yield from act(self._boxes.known[box_id], now_s)

    def _judge_silence(self, box: HeardBox, now_s: float) -> Changes:
        """Judges a silence that lasts: an outage, or a reason in `silences` why not yet."""
        box_id, silent_s = box.box_id, now_s - box.at_s
        if silent_s > self._config.longest_h * 3600 or not self._surroundings.is_expected(box_id):
            box.judged = True
            return ()
        row = self._boxes.lit.get(box_id, box.row)
        around = self._surroundings.around(row)
        word, gateways = self._surroundings.last_word(box_id), self._surroundings.gateways_together(row)
        signs = SilenceSigns(silent_s, False, None, None, *around, supply=word, gateways=gateways)
        judged = judge_silence(signs)
        if judged.probability >= self._config.least_probability or self._gaps.is_original_outage(silent_s):
            return self._opened(outage_finding(row, judged, because=f"nothing came for {silent_s:.0f} s"))
        likely_percent = min(99.0, 100 * (1 - judged.probability))
        self.silences[box_id] = f"its network, or the Box itself ({likely_percent:.0f} %): {judged.against}"
        return ()

    def _opened(self, finding: Finding) -> Changes:
        self._boxes.open[finding.box_id] = finding
        return (OutageChange(finding),)
