"""The planned events on one Box's voltage, on demand and recurring: placed, marked, and dropped when over."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from opq_sim.mains.disturbance import MainsDisturbance, PlacedDisturbance, turned
from opq_sim.mains.grid import Grid
from opq_sim.mains.grid_events import GridEvent, Recurring, not_before
from opq_sim.mains.profiles import FloatArray

KEPT_S = 60.0
"""Seconds for which a finished event is kept."""


class Agenda:
    """Events of the common grid (`GridEvent`) and disturbances of this Box alone (`MainsDisturbance`).

    Attributes:
        events: those of the grid, placed in its phase.
        placed: those of this Box.
        own: the grid as this Box sees it, with the disturbances' changes of its phase.
    """

    def __init__(self, grid: Grid, rate_hz: float, recurring: tuple[Recurring, ...] = ()) -> None:
        self.grid = grid
        self.own = grid
        self.events: list[GridEvent] = []
        self.placed: list[PlacedDisturbance] = []
        self._rate_hz = rate_hz
        self._marks: list[int] = []  # samples at which events begin to count
        self._recurring = recurring
        self._plays = [0] * len(recurring)  # how many of each are placed
        self._looked = 0  # recurring events are placed up to here

    @property
    def is_empty(self) -> bool:
        """True if nothing is placed, and nothing recurs."""
        return not (self.events or self.placed or self._recurring)

    def add(self, event: GridEvent | MainsDisturbance, horizon: int) -> GridEvent | PlacedDisturbance:
        """Places an event at the first possible point not before its own and not before sample `horizon`."""
        soon_s = horizon / self._rate_hz
        if isinstance(event, GridEvent):
            return self._add_event(not_before(event, self.grid.cycles_at(soon_s)))
        return self._add_event(replace(event, start_s=max(event.start_s, soon_s)))

    def plan_until(self, horizon: int) -> None:
        """Places recurring events that may begin before sample `horizon`, and drops those long over."""
        if horizon < self._looked:
            return
        self._looked = horizon + round(self._rate_hz)
        soon_s = self._looked / self._rate_hz + 1.0
        for number, recurring in enumerate(self._recurring):
            while recurring.first_s + self._plays[number] * recurring.every_s <= soon_s:
                self._add_event(recurring.placed(self._plays[number], self.grid))
                self._plays[number] += 1
        self._discard_before(max(0.0, soon_s - KEPT_S))
        self._marks = [mark for mark in self._marks if mark > horizon - KEPT_S * self._rate_hz]

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        """Samples in the span at which an event begins to count."""
        return tuple(sorted(mark for mark in self._marks if first <= mark < first + count))

    def events_during(self, cycles: FloatArray) -> Iterator[GridEvent]:
        """Events of the grid that overlap a span of its phase."""
        for event in self.events:
            if len(cycles) and event.start_cycles <= cycles[-1] and event.stop_cycles >= cycles[0]:
                yield event

    def _add_event(self, event: GridEvent | MainsDisturbance) -> GridEvent | PlacedDisturbance:
        if isinstance(event, GridEvent):
            self.events.append(event)
            if event.mark_cycles is not None:
                self._marks.append(self._first_sample(event.start_cycles + event.mark_cycles))
            return event
        placed = event.placed(self.own)
        self.own = turned(self.own, placed)
        self.placed.append(placed)
        self._marks.append(math.ceil(placed.start_s * self._rate_hz - 1e-6))
        return placed

    def _first_sample(self, cycles: float) -> int:
        """The first sample at or after a phase of the grid."""
        low, high = 0, 1 << 42
        while low < high:
            middle = (low + high) // 2
            if self.grid.cycles_at(middle / self._rate_hz) < cycles:
                low = middle + 1
            else:
                high = middle
        return low

    def _discard_before(self, before_s: float) -> None:
        """Drops events that are long over; the phase that they changed stays."""
        past = self.grid.cycles_at(before_s)
        self.events = [event for event in self.events if event.stop_cycles > past]
        over = [one for one in self.placed if one.stop_s + one.disturbance.tail_s() < before_s]
        self.placed = [one for one in self.placed if one not in over]
        for one in over:
            profiles = one.disturbance.profiles(one.span)
            if profiles:
                gained = sum(float(profile.cycles(np.array([before_s]))[0]) for profile in profiles)
                left = tuple(profile for profile in self.own.profiles if profile not in profiles)
                phase_cycles = self.own.phase_cycles + gained
                self.own = replace(self.own, phase_cycles=phase_cycles, profiles=left)
