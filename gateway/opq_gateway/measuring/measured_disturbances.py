"""Disturbances of one Box as they begin and end, and which windows they touch.

    windows -> Detector (dips, swells) -> Flagging -> windows with their flags, one window later
                                       -> notices, at once
                                       -> rows of what ended, and of what is under way for REPORTED_AFTER_S

An interruption is a dip below the interruption threshold: it is reported separately while the dip lasts.
"""

from collections.abc import Iterable
from dataclasses import replace

from opq_gateway.measuring.feed import DisturbanceNotice, Values
from opq_measure.events.detector import Detector, Notice, Onset
from opq_measure.events.disturbance import Disturbance
from opq_measure.events.flagging import Flagging
from opq_measure.events.limits import Limits
from opq_measure.events.quiet import Extent
from opq_measure.timebase.window import Window
from opq_proto.messages import TimeSource

KIND = {"sag": "dip", "undervoltage": "dip", "interruption": "dip", "swell": "swell", "overvoltage": "swell"}
INTERRUPTION = "interruption"
REPORTED_AFTER_S = 1.0
"""A longer disturbance is also reported while it is under way, and again if it becomes an interruption. After
a kill the samples of the last second are measured again, so that each beginning is known."""
UNDER_WAY = "under_way_ratio"
"""1 in the row of a disturbance under way; absent where its end was missed."""


class Disturbances:
    """Finds the disturbances that begin and end in windows, and returns the windows whose flags are
    certain."""

    def __init__(
        self, box_id: str, rate_hz: float, nominal_v: float, nominal_hz: float, limits: Limits
    ) -> None:
        self._box_id, self._nominal_v, self._limits = box_id, nominal_v, limits
        self._detector = Detector(rate_hz, nominal_v, nominal_hz, limits)
        self._flagging = Flagging()
        self._open: set[str] = set()
        self._ended: list[Values] = []
        self._before: dict[bool, Values] = {}
        self._under_way: dict[int, Values] = {}
        """Number of the Detector -> row of the disturbance that was reported while under way."""

    def restore(self, rows: Iterable[Values]) -> None:
        """Accepts the rows of disturbances that were under way when the gateway ended. A disturbance under
        way in the first window is one of them and keeps its beginning."""
        self._before = {each.kind == "swell": each for each in rows}

    def accept_window(
        self, window: Window, extent: Extent, clock: tuple[int, TimeSource]
    ) -> tuple[list[DisturbanceNotice], list[tuple[Window, bool]]]:
        """Accepts the next window."""
        notices = self._detector.push_window(window, extent)
        found = self._notices_from(notices, window, clock)
        if "dip" in self._open:
            found += self._interruption(window, extent, clock)
        for event in self._detector.under_way() if self._open else ():
            known = self._under_way.get(event.number)
            if event.duration_s < REPORTED_AFTER_S:
                continue
            row = self._row(event, window, clock)
            if known is None or known.kind != row.kind:
                self._under_way[event.number] = row
                self._ended.append(replace(row, values={**row.values, UNDER_WAY: 1.0}))
        return found, self._flagging.push_window(window, notices)

    def take_ended(self) -> list[Values]:
        """Returns the disturbances that ended since the last call or have lasted long. A dip below the
        interruption threshold is returned as an interruption."""
        ended, self._ended = self._ended, []
        return ended

    def end(
        self, rest: Window | None, last: Window | None, clock: tuple[int, TimeSource]
    ) -> tuple[list[DisturbanceNotice], list[tuple[Window, bool]]]:
        """Ends the run; reports what is under way as ended, because its end will not be measured."""
        notices: list[Notice] = []
        if rest is not None:
            notices += self._detector.push_window(rest)
        notices += self._detector.end()
        at = rest if rest is not None else last
        found = [] if at is None else self._notices_from(notices, at, clock)
        if at is not None:
            found += [self._notice(kind, at.end_ns or 0, False, None, clock) for kind in sorted(self._open)]
        self._before = {}
        return found, self._flagging.end(notices)

    def _notices_from(
        self, notices: Iterable[Notice], window: Window, clock: tuple[int, TimeSource]
    ) -> list[DisturbanceNotice]:
        found = []
        for notice in notices:
            if isinstance(notice, Onset):
                level_v = notice.percent / 100 * self._nominal_v
                kind = KIND[notice.kind]
                found.append(self._notice(kind, _time_ns(window, notice.start_sample), True, level_v, clock))
            elif isinstance(notice, Disturbance):
                row = self._row(notice, window, clock)
                self._under_way.pop(notice.number, None)
                self._before.pop(row.kind == "swell", None)
                self._ended.append(row)
                start_ns, end_ns, residual_v = row.start_ns, row.end_ns, notice.residual_v
                if (
                    notice.kind == "interruption" and "interruption" not in self._open
                ):  # shorter than a window
                    found.append(self._notice("interruption", start_ns, True, residual_v, clock))
                if "interruption" in self._open:
                    found.append(self._notice("interruption", end_ns, False, residual_v, clock))
                found.append(self._notice(KIND[notice.kind], end_ns, False, residual_v, clock))
        return found

    def _row(self, event: Disturbance, window: Window, clock: tuple[int, TimeSource]) -> Values:
        """The row of a disturbance, which keeps a beginning that was reported before."""
        kind, residual_v = _kind_of(event), event.residual_v
        known = self._under_way.get(event.number)
        start_ns = _time_ns(window, event.start_sample) if known is None else known.start_ns
        before = self._before.get(kind == "swell") if event.open_at_start else None
        if before is not None:
            start_ns, worst_v = before.start_ns, before.values.get("residual_v")
            if isinstance(worst_v, float):
                residual_v = max(residual_v, worst_v) if kind == "swell" else min(residual_v, worst_v)
            kind = INTERRUPTION if before.kind == INTERRUPTION else kind
        values = {"residual_v": residual_v, "closed_ratio": 0.0 if event.open else 1.0}
        end_ns = _time_ns(window, event.end_sample)
        return Values(self._box_id, kind, start_ns, end_ns, *clock, False, values)

    def _interruption(
        self, window: Window, extent: Extent, clock: tuple[int, TimeSource]
    ) -> list[DisturbanceNotice]:
        limit_v = self._limits.interruption_percent / 100 * self._nominal_v
        back_v = limit_v + self._limits.hysteresis_percent / 100 * self._nominal_v
        assert window.start_ns is not None and window.end_ns is not None
        if "interruption" not in self._open and extent.least_v < limit_v:
            return [self._notice("interruption", window.start_ns, True, extent.least_v, clock)]
        if "interruption" in self._open and extent.last_v >= back_v:
            return [self._notice("interruption", window.end_ns, False, extent.last_v, clock)]
        return []

    def _notice(
        self, kind: str, t_ns: int, entering: bool, rms_v: float | None, clock: tuple[int, TimeSource]
    ) -> DisturbanceNotice:
        (self._open.add if entering else self._open.discard)(kind)
        return DisturbanceNotice(self._box_id, kind, t_ns, *clock, entering, rms_v)


def _kind_of(event: Disturbance) -> str:
    return INTERRUPTION if event.kind == INTERRUPTION else KIND[event.kind]


def _time_ns(window: Window, sample: float) -> int:
    """UTC of a sample near a window."""
    assert window.end_ns is not None
    since = sample - window.first_sample - float(window.edges[-1])
    return window.end_ns + round(since * 1e9 / window.rate_hz)
