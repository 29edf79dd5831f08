"""Whether this machine is fast enough for its Boxes: samples measured against samples that real time brought.

The gateway's counters say both. Each WINDOW_S they are compared; what a slow machine measured says how many
Boxes would fit. A machine is too slow if SLOW_WINDOWS in a row are: one standstill makes one or two. The
first window begins after the start, which is heavy.
"""

from collections.abc import Callable
from dataclasses import dataclass

from opq_cloud.view.pages.machine_notice import MachineNotice
from opq_proto.kit.http_client import fetch
from opq_proto.kit.own_thread import OwnThread

WINDOW_S = 20.0
SLOW_WINDOWS = 3
SLOW_SHARE = 0.95
"""A window with less than this share measured is too slow."""
FITTING_SHARE = 0.9
"""Share of what it measured that is offered as fitting: the rest is left for disturbances."""
MEASURED = ("samples",)
MISSING = ("missing_samples", "unmeasured_samples")


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """Samples of all Boxes since the gateway's start."""

    boxes: int
    measured: float
    missing: float


def counts_in(metrics: str) -> SampleCounts:
    """Reads the gateway's counters from its metrics in Prometheus' text format."""
    totals: dict[str, dict[str, float]] = {}
    for line in metrics.splitlines():
        name, _, rest = line.removeprefix("opq_gateway_").partition('_total{box_id="')
        box_id, _, value = rest.partition('"} ')
        if value and line.startswith("opq_gateway_") and name in (*MEASURED, *MISSING):
            totals.setdefault(name, {})[box_id] = float(value)
    measured, missing = (
        sum(sum(totals.get(name, {}).values()) for name in names) for names in (MEASURED, MISSING)
    )
    return SampleCounts(len(totals.get("samples", {})), measured, missing)


def notice_between(before: SampleCounts, now: SampleCounts) -> MachineNotice | None:
    """The notice of a window; None where the machine was fast enough, or nothing came."""
    measured, missing = now.measured - before.measured, now.missing - before.missing
    if now.boxes == 0 or measured < 0 or missing < 0 or measured + missing <= 0:
        return None
    share = measured / (measured + missing)
    return (
        MachineNotice(now.boxes, share, int(now.boxes * share * FITTING_SHARE))
        if share < SLOW_SHARE
        else None
    )


class SlowWindows:
    """The slow windows in a row up to now."""

    def __init__(self) -> None:
        self._before: SampleCounts | None = None
        self._slow: list[tuple[SampleCounts, SampleCounts]] = []

    def skip(self) -> None:
        """A window without counts is neither slow nor well."""
        self._before = None

    def notice(self, now: SampleCounts) -> MachineNotice | None:
        """The notice of the last SLOW_WINDOWS, if each was slow."""
        before, self._before = self._before, now
        if before is None:
            return None
        self._slow = [*self._slow[1 - SLOW_WINDOWS :], (before, now)] if notice_between(before, now) else []
        if len(self._slow) < SLOW_WINDOWS:
            return None
        lost = sum(after.missing - first.missing for first, after in self._slow)
        measured = sum(after.measured - first.measured for first, after in self._slow)
        return notice_between(SampleCounts(0, 0, 0), SampleCounts(now.boxes, measured, lost))


class SpeedWatch(OwnThread):
    """Compares each WINDOW_S, and calls `on_window` with the notice, or None, in its own thread."""

    _join_s = 2.0

    def __init__(
        self,
        metrics_url: str,
        on_window: Callable[[MachineNotice | None], object],
        window_s: float = WINDOW_S,
    ) -> None:
        super().__init__("machine-speed")
        self._url, self._on_window, self._window_s = metrics_url, on_window, window_s

    def _run(self) -> None:
        windows = SlowWindows()
        while not self._stop.wait(self._window_s):
            try:
                now = counts_in(fetch(self._url, self._window_s).decode("utf-8", "replace"))
            except OSError:
                windows.skip()  # the gateway is not there, or too slow to answer
                continue
            self._on_window(windows.notice(now))
