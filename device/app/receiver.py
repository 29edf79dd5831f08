"""Receiver: passes GPS bytes and pulses to the clock, sends its state, saves what it learnt in flash."""

import time

import codes
from journal import Journal
from opq import acquire, clock, pipeline, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = (
    "gps",
    "gps_baud",
    "leap_seconds",
    "cable_delay_ns",
    "label_offset_s",
    "tcxo_ppb_per_k",
    "tcxo_ppb_per_k_sigma",
)
"""Settings that go to the clock."""
KEEP_MS = 3_600_000
"""The learnt coefficient is saved at most once an hour: 16 KB of flash, 10,000 erases."""
KEEP_SHARE = 0.1
"""It is saved only when it changed by this share of its sigma, or the sigma fell by this share."""


class Receiver:
    """`state` is the state of the clock, as in GpsStatus."""

    def __init__(self, journal: Journal, ticks_ms: "Callable[[], int]" = time.ticks_ms) -> None:
        self.state = 0
        self._journal = journal
        self._ticks_ms = ticks_ms
        self._wrong = 0
        self._kept_ms: int | None = None

    def configure(self) -> None:
        clock.configure(
            settings.get("gps"),
            settings.integer("leap_seconds"),
            settings.integer("cable_delay_ns"),
            settings.number("tcxo_ppb_per_k"),
            settings.number("tcxo_ppb_per_k_sigma"),
            settings.integer("gps_baud"),
            settings.integer("label_offset_s"),
        )

    def poll(self) -> None:
        clock.poll()

    def second(self) -> None:
        """Once a second: updates the clock and sends its state."""
        state = clock.second(acquire.slow()[3])
        if state != self.state:
            self._journal.put(codes.CLOCK_STATE, self.state, state)
            self.state = state
        wrong = clock.labels_wrong()
        if wrong != self._wrong:
            self._journal.put(codes.CLOCK_LABEL_WRONG, wrong - self._wrong, wrong)
            self._wrong = wrong
        satellites, latitude_e7, longitude_e7 = clock.seen()
        pipeline.gps_status(satellites, latitude_e7, longitude_e7)
        self._keep()

    def _keep(self) -> None:
        now_ms = self._ticks_ms()
        if self._kept_ms is not None:
            if time.ticks_diff(now_ms, self._kept_ms) < KEEP_MS:
                return
            self._kept_ms = None  # ticks wrap within a week
        learnt = clock.learnt()
        if learnt is None:
            return
        ppb_per_k, sigma = learnt
        old, old_sigma = settings.number("tcxo_ppb_per_k"), settings.number("tcxo_ppb_per_k_sigma")
        moved = abs(ppb_per_k - old) > KEEP_SHARE * sigma or sigma < (1 - KEEP_SHARE) * old_sigma
        if not moved and old_sigma > 0:
            return
        self._kept_ms = now_ms
        settings.put("tcxo_ppb_per_k", f"{ppb_per_k:.3f}")
        settings.put("tcxo_ppb_per_k_sigma", f"{max(sigma, 0.001):.3f}")
        status = settings.save()
        if status != settings.OK:
            self._journal.put(codes.SETTINGS_FAILED, status)
