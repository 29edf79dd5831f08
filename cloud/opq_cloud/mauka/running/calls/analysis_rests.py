"""AnalysisRests: how long an installed analysis is not called after calls that ended its process or hung.

A call with the data of one Box has that Box rest, and a call with those of several its event; calls for
others go on. The analysis rests as a whole where MANY_BOXES of them fail at a time.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opq_plugins.host.failure_guard import BOXES_KEPT, MANY_BOXES, PAUSES_S, STEADY_S
from opq_proto.kit.backoff import Backoff

REST_FACTOR = 4.0
"""A rest lasts at least this multiple of the time of the calls that failed in a row: what hangs gets a fifth
of the runner's time, the others get the rest.
"""
FIRST_REST_S = PAUSES_S[1:]
"""Rest in s after the first, second, ... failure in a row; a new process has time to start."""


@dataclass(slots=True)
class _Rest:
    backoff: Backoff
    until_s: float = 0.0
    spent_s: float = 0.0
    why: str = ""


class AnalysisRests:
    """Used by the threads that call one analysis, for one event or item at a time; `clear` by any."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic_s
        self._of: OrderedDict[str, _Rest] = OrderedDict()
        """By `Box B` or `event N`."""
        self._whole = _Rest(Backoff(FIRST_REST_S))

    @property
    def rest_s(self) -> float:
        """Time in s until it may be called at all."""
        return max(0.0, self._whole.until_s - self._now())

    @property
    def some(self) -> bool:
        """Whether some Box or event may rest."""
        return bool(self._of)

    @property
    def why(self) -> str:
        """Why it, or one of its Boxes or events, rests or failed last; empty: none does."""
        failing = [f"{key}: {rest.why}" for key, rest in self._failing().items()]
        return self._whole.why or "; ".join(failing[-MANY_BOXES:])

    def rest_of(self, keys: Iterable[str]) -> tuple[float, str]:
        """Returns the longest rest of these in s, and its reason."""
        rests = [rest for rest in map(self._of.get, keys) if rest is not None]
        if not rests:
            return 0.0, ""
        longest = max(rests, key=lambda rest: rest.until_s)
        return max(0.0, longest.until_s - self._now()), longest.why

    def record_failure(self, key: str, spent_s: float, why: str) -> None:
        """Records a call for the data of this Box or event; an empty key: no data caused it."""
        if key:
            self._rest(self._of.setdefault(key, _Rest(Backoff(FIRST_REST_S))), spent_s, why)
            self._of.move_to_end(key)
            while len(self._of) > BOXES_KEPT:
                self._of.popitem(last=False)
            failing = self._failing()
            if len(failing) < MANY_BOXES:
                return
            spent_s = sum(rest.spent_s for rest in failing.values())
            self._of.clear()
        self._rest(self._whole, spent_s, why)

    def record_success(self, keys: Iterable[str]) -> None:
        """It has answered for these."""
        for key in keys:
            self._of.pop(key, None)
        self._whole = _Rest(Backoff(FIRST_REST_S))

    def clear(self) -> None:
        """Another version has replaced it."""
        self._of.clear()
        self._whole = _Rest(Backoff(FIRST_REST_S))

    def _rest(self, rest: _Rest, spent_s: float, why: str) -> None:
        rest.spent_s, rest.why = rest.spent_s + spent_s, why
        rest.until_s = self._now() + max(rest.backoff.record_failure(), REST_FACTOR * rest.spent_s)

    def _failing(self) -> dict[str, _Rest]:
        """Those that rest, or whose rest ended within STEADY_S."""
        since_s = self._now() - STEADY_S
        return {key: rest for key, rest in list(self._of.items()) if rest.until_s > since_s}
