"""Which Boxes are there: heard lately, and what each is meant to measure."""

import time
from collections.abc import Callable, Iterable

from opq_cloud.service import Health
from opq_cloud.store.store import BoxRecord
from opq_proto.decision import Nominal
from opq_proto.messages import Measurement

STALE_S = 20.0
"""The original's health calls a Box down after this (opq-interop A.11)."""
RHYTHM_HALVES_S = 300.0
"""The longest window is forgotten by half in this time: a change in idle mode is a second at a time, for
minutes, and then a minute comes in one again."""
FORGOTTEN_S = 24 * 3600.0


class Boxes:
    """Written by the triggering service's loop, read by health."""

    def __init__(self, default: Nominal, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._default = default
        self._now = monotonic_s
        self._heard: dict[str, float] = {}
        self._last_ms: dict[str, int] = {}
        self._nominal: dict[str, Nominal] = {}
        self._window_ns: dict[str, int] = {}
        self._rhythm_s: dict[str, float] = {}

    def heard(self, box_id: str, timestamp_ms: int) -> None:
        self._heard[box_id] = self._now()
        self._last_ms[box_id] = timestamp_ms

    def measures_over(self, box_id: str, window_ns: tuple[int, int]) -> None:
        """The Box's last window; what a crossing measurement covers says nothing of its usual length."""
        length_ns = self._window_ns[box_id] = window_ns[1] - window_ns[0]
        length_s = length_ns / 1e9
        kept = 0.5 ** (length_s / RHYTHM_HALVES_S)
        self._rhythm_s[box_id] = max(length_s, self._rhythm_s.get(box_id, 0.0) * kept)

    def longest_window_ns(self, box_ids: Iterable[str]) -> int:
        return max((self._window_ns.get(box_id, 0) for box_id in box_ids), default=0)

    def alive(self, within_s: float) -> tuple[str, ...]:
        """Ids of the Boxes heard within `within_s` and the time that one of their measurements covers."""
        since = self._now() - within_s
        heard = (box for box, at in self._heard.items() if at + self._rhythm_s.get(box, 0.0) >= since)
        return tuple(sorted(heard, key=_order))

    def know(self, records: Iterable[BoxRecord]) -> None:
        """Take the nominal values of the store."""
        default = self._default
        self._nominal = {
            record.box_id: Nominal(record.nominal_v or default.volts, record.nominal_hz or default.hz)
            for record in records
        }

    def nominal(self, measurement: Measurement) -> Nominal:
        """What it is to be compared with: what it says itself, else the store, else the configuration."""
        known = self._nominal.get(measurement.box_id, self._default)
        volts = measurement.nominal_v or known.volts
        hz = measurement.nominal_hz or known.hz
        return known if (volts, hz) == (known.volts, known.hz) else Nominal(volts, hz)

    def health(self) -> list[Health]:
        """One per Box heard today; `timestamp` is its last measurement's, as the original's."""
        now = self._now()
        found = []
        for box_id, at in sorted(self._heard.items(), key=lambda item: _order(item[0])):
            quiet_s = now - at
            if quiet_s < FORGOTTEN_S:
                stale_s = STALE_S + self._rhythm_s.get(box_id, 0.0)
                info = None if quiet_s < stale_s else f"nothing heard for {quiet_s:.0f} s"
                found.append(Health(box_id, info is None, self._last_ms[box_id] // 1000, info))
        return found


def _order(box_id: str) -> tuple[int, str]:
    return len(box_id), box_id
