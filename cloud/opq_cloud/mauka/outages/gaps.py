"""The gap between two Measurements of a Box, and whether its supply was lost in it.

`GapJudge.between` says which fact it is; the other methods are cells of the table in `watch.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from opq_cloud.core.settings.mauka import OutageSection
from opq_cloud.mauka.measuring.sample_axis import outage_began_ns
from opq_cloud.mauka.outages.heard_boxes import (
    HeardBox,
    HeardBoxes,
    IncompleteSilence,
    OutageChange,
    outage_finding,
)
from opq_cloud.mauka.outages.outage_judgement import (
    SilenceSigns,
    judge_silence,
    measured_s,
    possibly_measured_s,
)
from opq_cloud.mauka.outages.outage_surroundings import Surroundings
from opq_cloud.mauka.outages.states import Fact
from opq_cloud.mauka.outages.stored_rows import NEXT_NS, row_end_ns
from opq_proto.decision import window_ns
from opq_proto.measurement.continuity import (
    CLOCK_SET,
    GapReason,
    dark_s,
    goes_on,
    missing_s,
    supplied_restart,
)
from opq_proto.measurement.supply_word import supply_word
from opq_proto.messages import Finding, Measurement
from opq_proto.time_units import NS_PER_S

ORIGINAL_S = 60.0
"""After this time the original reports an outage (docs/reference/opq-interop.md E.3)."""
LOOK_S = 2.0
"""Interval of checks."""


@dataclass(slots=True)
class Gap:
    """The time between two whole Measurements of a Box."""

    fact: Fact
    before: Measurement
    after: Measurement
    from_ns: int
    to_ns: int
    reported_s: float | None
    """For how long the Box had no supply, as its gateway reports it."""
    measured: float | None
    """For how much of it numbers were given, s; None: not known."""
    incomplete: IncompleteSilence | None
    """Other Measurements may still come in between."""


class GapJudge:
    """Its counters: `network_losses`, `box_restarts`, silences that were not outages."""

    def __init__(
        self,
        config: OutageSection,
        boxes: HeardBoxes,
        surroundings: Surroundings,
        clock: Callable[[], float],
        lossless: bool,
    ) -> None:
        self._config, self._boxes, self._surroundings = config, boxes, surroundings
        self._clock, self._lossless = clock, lossless
        self.network_losses = self.box_restarts = 0

    def between(self, before: Measurement, after: Measurement) -> Gap:
        """Returns what lies between two whole Measurements, and which fact it is."""
        box = self._boxes.known[after.box_id]
        measured = 0.0 if self._lossless else measured_s(before, after)
        times_ns = row_end_ns(before), window_ns(after)[0]
        reported_s, incomplete = self._dark_s(box, before, after), box.incomplete_within(before, after)
        dark_before = box.dark_before
        if reported_s is not None and CLOCK_SET in after.metrics and dark_before is not None:
            # before NEXT: the clock that was set is that of a loss which was judged with another length
            from_ns = row_end_ns(dark_before)
            to_ns = from_ns + round(reported_s * NS_PER_S)
            was = box.incomplete_after(dark_before)
            return Gap(
                Fact.CLOCK_SET, dark_before, after, from_ns, to_ns, reported_s, box.dark_measured_s, was
            )
        if goes_on(before, after):
            fact = Fact.NEXT
        elif reported_s is None:
            fact = Fact.GAP
        else:
            fact = Fact.RESTART if dark_s(after.metrics) is None else Fact.REPORT
        return Gap(fact, before, after, *times_ns, reported_s, measured, incomplete)

    def _dark_s(self, box: HeardBox, before: Measurement, after: Measurement) -> float | None:
        """For how long the Box had no supply between two Measurements, as its gateway reports it; None: it
        does not."""
        if self._lossless:  # what is not stored was not measured
            return (window_ns(after)[0] - row_end_ns(before)) / NS_PER_S
        reported_s = dark_s(after.metrics)
        if reported_s == 0.0 and not after.backfilled:  # its gateway's clock is behind where it ended
            is_over = self._clock() - box.pause_end_s > self._config.silence_s
            return 0.0 if is_over else max(0.0, box.pause_s - LOOK_S)
        return reported_s

    def end_silence(self, gap: Gap) -> Iterable[OutageChange]:
        """Judges a silence that is over, if it was one."""
        box = self._boxes.known[gap.after.box_id]
        if self._is_short(box, gap) or gap.to_ns - gap.from_ns > self._config.longest_h * 3600 * NS_PER_S:
            return ()
        changes = list(self._judge(gap, None)) if self._is_judged(box, gap) else []
        return self._kept(gap, changes)

    def end_outage(self, gap: Gap) -> Iterable[OutageChange]:
        """Judges an open outage that is over: it is closed, or withdrawn."""
        box_id = gap.after.box_id
        if self._is_short(self._boxes.known[box_id], gap):
            return ()
        return self._kept(gap, list(self._judge(gap, self._boxes.open.pop(box_id))))

    def end_reported_silence(self, gap: Gap) -> Iterable[OutageChange]:
        """Judges a loss of supply, or waits for the Measurements from before it."""
        passed_s = self._note_reported(gap)
        one = gap.incomplete
        if one is not None and one.judged is None:
            one.judged, one.passed_s = (gap.before, gap.after), passed_s
            one.waits = self._begins_later(gap, passed_s)
            if one.waits:
                return ()
        return self.end_silence(gap)

    def end_reported_outage(self, gap: Gap) -> Iterable[OutageChange]:
        """Judges an open outage with its reported length. It has its beginning and waits for nothing."""
        self._note_reported(gap)
        return self.end_outage(gap)

    def _note_reported(self, gap: Gap) -> float:
        """Limits what was measured by what was not dark; returns how much time passed, s."""
        box, reported_s = self._boxes.known[gap.after.box_id], gap.reported_s or 0.0
        waiting = gap.incomplete is not None and gap.incomplete.waits
        passed_s = gap.incomplete.passed_s if gap.incomplete and waiting else self._passed_s(box, gap)
        gap.measured = possibly_measured_s(gap.measured, passed_s, reported_s)
        if gap.fact is Fact.REPORT:
            box.dark_before, box.dark_measured_s = gap.before, gap.measured
            gap.to_ns = gap.from_ns + round(reported_s * NS_PER_S)  # whatever the clock was set to meanwhile
        return passed_s

    def _passed_s(self, box: HeardBox, gap: Gap) -> float:
        """How much time passed between two Measurements: by arrival, as clocks may have been set; what comes
        from a gateway's disk has its times only."""
        if not gap.after.backfilled and self._clock() - box.pause_end_s <= self._config.silence_s:
            return box.pause_s
        return (window_ns(gap.after)[0] - row_end_ns(gap.before)) / NS_PER_S

    def _begins_later(self, gap: Gap, passed_s: float) -> bool:
        """Whether a loss of supply began later than the first of these Measurements ends, or may have.

        Both the times and what passed by arrival have to say it: the clock may have been set meanwhile.
        """
        if self._lossless:
            return False
        reported_s = gap.reported_s or 0.0
        later_ns = window_ns(gap.after)[0] - round(reported_s * NS_PER_S) - row_end_ns(gap.before)
        return gap.fact is Fact.RESTART or (later_ns > NEXT_NS and passed_s - reported_s > 2 * LOOK_S)

    def _is_short(self, box: HeardBox, gap: Gap) -> bool:
        if gap.to_ns - gap.from_ns < self._config.silence_s * NS_PER_S:
            return True
        box.silent_from_ns = gap.from_ns
        return False

    def _is_judged(self, box: HeardBox, gap: Gap) -> bool:
        """Whether a Box that fell silent before this watch began, or is not expected, is judged at all."""
        if not self._surroundings.is_expected(box.box_id):
            return False
        known = gap.reported_s is not None  # a house with the same supply as its cloud is back as a whole
        own = not box.of_old or known
        return own or self._surroundings.another_reported(box.box_id, row_end_ns(gap.before), gap.to_ns)

    def _judge(self, gap: Gap, was: Finding | None) -> Iterable[OutageChange]:
        start_ns, metrics = row_end_ns(gap.before), gap.after.metrics
        around, word = self._surroundings.around(gap.before), supply_word(gap.before.metrics)
        restart = supplied_restart(metrics)
        silent_s = (gap.to_ns - start_ns) / NS_PER_S
        lost = tuple(each for each in missing_s(metrics).items() if each[0] is not GapReason.DARK)
        signs = SilenceSigns(
            silent_s, True, gap.measured, gap.reported_s, *around, lost, restart=restart, supply=word
        )
        judged = judge_silence(signs)
        if judged.probability >= self._config.least_probability or self.is_original_outage(silent_s):
            finding = outage_finding(gap.before, judged, gap.to_ns)
            finding = replace(finding, samples_began_ns=outage_began_ns(start_ns, metrics))
            if was is not None:
                finding = replace(finding, start_ns=was.start_ns, uncertainty_ns=was.uncertainty_ns)
            yield OutageChange(finding)
        else:
            self.box_restarts += bool(restart)
            self.network_losses += not restart
            if was is not None:
                yield OutageChange(was, withdrawn=True)

    def is_original_outage(self, silent_s: float) -> bool:
        """Whether the original would report an outage, and so this watch is to."""
        return self._config.compat and silent_s >= ORIGINAL_S

    @staticmethod
    def _kept(gap: Gap, changes: list[OutageChange]) -> list[OutageChange]:
        """Notes what is reported though Measurements may still come in between, to correct it then."""
        if gap.incomplete is not None:
            one = gap.incomplete
            one.judged, one.waits = one.judged or (gap.before, gap.after), False
            one.told += [each.finding for each in changes if not each.withdrawn]
        return changes
