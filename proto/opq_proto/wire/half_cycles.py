"""Urms(1/2) of a Box during a dip or swell: requested by a plug-in command, answered in one message.

The original does not have this (docs/reference/contracts.md, fields from 1000 on): an original Box answers
the command with ok and no data, and no original client sends it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import FrameError
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_proto.wire.opqbox3_pb2 import HalfCycleRms as WireHalfCycles
from opq_proto.wire.waveforms import time_source

MAX_POINTS = 20_000
"""Points of one answer, 120 to 200 kB: 166 s at 60 Hz; for a longer span a point is several half cycles."""
_LATEST_NS = 2**62


@dataclass(frozen=True, slots=True)
class HalfCycleRms:
    """A gateway's Urms(1/2) in [start_ns, end_ns); empty where its ledger has none.

    Source: IEC 61000-4-30:2015, 5.4.
    """

    box_id: str
    start_ns: int
    end_ns: int
    t_ns: NDArray[np.int64]
    """(n,) rising, UTC: the middle of the value's cycle, or of the first cycle of a point with several."""
    least_v: NDArray[np.float32]
    """(n,) volts."""
    most_v: NDArray[np.float32]
    """(n,) volts; equal to `least_v` where `every` is 1."""
    every: int = 1
    """Half cycles in a point."""
    uncertainty_ns: int = UNKNOWN_UNCERTAINTY_NS
    source: TimeSource = TimeSource.FREE


class HalfCycleSeries:
    """Collects values in time order, in at most `most` points; joins pairs of points if there are more."""

    def __init__(self, start_ns: int, most: int) -> None:
        self.newest_ns = start_ns - 10**9
        self._start_ns, self._most = start_ns, most
        self._every, self._in_last = 1, 0
        self._points: list[tuple[int, float, float]] = []

    def add(self, t_ns: int, rms_v: float) -> None:
        """Adds a value; its time is after those before."""
        self.newest_ns = t_ns
        if self._points and self._in_last < self._every:
            first_ns, least_v, most_v = self._points[-1]
            self._points[-1] = (first_ns, min(least_v, rms_v), max(most_v, rms_v))
            self._in_last += 1
            return
        if len(self._points) >= self._most:
            self._halve()
            self.add(t_ns, rms_v)
            return
        self._points.append((t_ns, rms_v, rms_v))
        self._in_last = 1

    def ended(self, box_id: str, end_ns: int, uncertainty_ns: int, source: TimeSource) -> HalfCycleRms:
        """Returns all values."""
        t_ns = np.array([point[0] for point in self._points], dtype=np.int64)
        least_v, most_v = (np.array([point[at] for point in self._points], dtype=np.float32) for at in (1, 2))
        span = self._start_ns, end_ns
        return HalfCycleRms(box_id, *span, t_ns, least_v, most_v, self._every, uncertainty_ns, source)

    def _halve(self) -> None:
        points = self._points
        odd = len(points) % 2
        self._points = [
            (one[0], min(one[1], two[1]), max(one[2], two[2]))
            for one, two in zip(points[::2], points[1::2], strict=False)
        ]
        if odd:
            self._points.append(points[-1])
        else:
            self._in_last += self._every
        self._every *= 2


def half_cycles_question(start_ns: int, end_ns: int) -> str:
    """Returns the plug-in command's message that requests [start_ns, end_ns)."""
    return f"{start_ns} {end_ns}"


def read_question(message: str) -> tuple[int, int]:
    """Returns the requested [start_ns, end_ns).

    Raises:
        FrameError: the message is not such a request.
    """
    words = message.split(" ")
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and len(word) < 20 for word in words):
        raise FrameError("want <start_ns> <end_ns>, whole numbers of ns since 1970")
    start_ns, end_ns = int(words[0]), int(words[1])
    if not start_ns < end_ns < _LATEST_NS:
        raise FrameError("the span ends before it begins, or after 2116")
    return start_ns, end_ns


def half_cycles_to_wire(found: HalfCycleRms) -> WireHalfCycles:
    """Converts to a message; times in whole us."""
    at_us = (found.t_ns - found.start_ns) // 1000
    message = WireHalfCycles(
        start_ns=found.start_ns,
        end_ns=found.end_ns,
        time_source=int(found.source),  # type: ignore[arg-type]
        every=found.every,
        step_us=np.diff(at_us, prepend=0).tolist(),
        least_v=found.least_v.tolist(),
    )
    if found.every > 1:
        message.most_v.extend(found.most_v.tolist())
    if found.uncertainty_ns < UNKNOWN_UNCERTAINTY_NS:
        message.uncertainty_ns = found.uncertainty_ns
    return message


def half_cycles_from_wire(box_id: str, message: WireHalfCycles) -> HalfCycleRms:
    """Reads a gateway's message.

    Raises:
        FrameError: lengths, times or voltages are impossible, or there are more than MAX_POINTS.
    """
    count, every = len(message.least_v), max(1, message.every)
    start_ns, end_ns = message.start_ns, message.end_ns
    if count > MAX_POINTS or len(message.step_us) != count or len(message.most_v) not in (0, count):
        raise FrameError(
            f"Box {box_id}: half cycles of {count} points; want at most {MAX_POINTS}, each complete"
        )
    span_us = (end_ns - start_ns) // 1000 + 1
    if not 0 <= start_ns < end_ns < _LATEST_NS or sum(message.step_us) > span_us or 0 in message.step_us[1:]:
        raise FrameError(f"Box {box_id}: half cycles at impossible times; want rising ones within the span")
    t_ns = start_ns + np.cumsum(np.array(message.step_us, dtype=np.int64)) * 1000
    least_v = np.array(message.least_v, dtype=np.float32)
    most_v = np.array(message.most_v, dtype=np.float32) if len(message.most_v) else least_v
    if not (np.isfinite(least_v).all() and np.isfinite(most_v).all() and (least_v <= most_v).all()):
        raise FrameError(
            f"Box {box_id}: half cycles with impossible voltages; want numbers from 0, least up to most"
        )
    if count and float(least_v.min()) < 0:
        raise FrameError(
            f"Box {box_id}: half cycles with impossible voltages; want numbers from 0, least up to most"
        )
    uncertainty_ns = message.uncertainty_ns if message.HasField("uncertainty_ns") else UNKNOWN_UNCERTAINTY_NS
    source = time_source(message.time_source)
    return HalfCycleRms(box_id, start_ns, end_ns, t_ns, least_v, most_v, every, uncertainty_ns, source)
