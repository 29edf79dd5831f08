"""Cross-check: the Box's own figures of a window against ours. Pure.

The Box computes on a microcontroller, with fixed windows and other filters: only what is far
outside of what we saw counts as a difference, i.e. a wrong gain, a lost byte, a broken firmware.
"""

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from opq_proto.link_messages import BoxMeasurement
from opq_proto.messages import Metric

RMS_SHARE = 0.02
"""Twice the class S limit of IEC 61000-4-30:2015, 5.2.1 (1 % of the declared voltage)."""
FREQUENCY_HZ = 0.1
"""Twice the class S limit of IEC 61000-4-30:2015, 5.1.2 (50 mHz)."""
THD_RATIO = 0.02
KEPT = 16


class Spanned(Protocol):
    """Samples on the Box's axis."""

    @property
    def first_sample(self) -> float: ...

    @property
    def end_sample(self) -> float: ...


class CrossCheck:
    """Pairs the Box's figures with our windows; `checked` and `differing` count them."""

    def __init__(self) -> None:
        self.checked = 0
        self.differing = 0
        self._ours: deque[tuple[float, float, Mapping[str, Metric]]] = deque(maxlen=KEPT)
        self._theirs: deque[BoxMeasurement] = deque(maxlen=KEPT)

    def ours(self, window: Spanned, metrics: Mapping[str, Metric]) -> None:
        """A window of ours with its metrics."""
        self._ours.append((window.first_sample, window.end_sample, metrics))
        self._compare()

    def theirs(self, figures: BoxMeasurement) -> None:
        """Figures of the Box; they may come before or after ours."""
        self._theirs.append(figures)
        self._compare()

    def restart(self) -> None:
        """Sample indices begin anew."""
        self._ours.clear()
        self._theirs.clear()

    def _compare(self) -> None:
        if not self._ours:
            return
        seen_to = self._ours[-1][1]
        while self._theirs and self._theirs[0].first_sample + self._theirs[0].samples <= seen_to:
            figures = self._theirs.popleft()
            first, end = figures.first_sample, figures.first_sample + figures.samples
            spans = [m for a, b, m in self._ours if a < end and b > first]
            if spans and self._ours[0][0] <= first:
                self.checked += 1
                self.differing += _differs(figures, spans)


def _differs(figures: BoxMeasurement, spans: list[Mapping[str, Metric]]) -> bool:
    for key, value, relative, absolute in (
        ("rms", figures.rms_v, RMS_SHARE, 0.0),
        ("f", figures.f_hz, 0.0, FREQUENCY_HZ),
        ("thd", figures.thd, 0.0, THD_RATIO),
    ):
        known = [metrics[key] for metrics in spans if key in metrics]
        if value is None or not known:
            continue
        low = min(metric.min for metric in known)
        high = max(metric.max for metric in known)
        slack = relative * high + absolute
        if not low - slack <= value <= high + slack:
            return True
    return False
