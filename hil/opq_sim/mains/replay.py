"""Recordings played as Boxes: steady cycles, the whole recording bit-exact, steady cycles again.

    steady (>= lead_s) | recording | steady | recording | ...      every_s from play to play

Recordings with a place on one time axis (`first_sample_on_box1_axis`) are played on one:
whole samples by the sample at which the play starts, the fraction by the time stamp of the
stream's sample 0 (`offset_ns`). Cycles that a recording's own frequency gains over the others' are
spread over the jumps of its loop.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opq_measure.events.disturbances import find_disturbances
from opq_sim.mains.replayed_recording import ReplayedRecording
from opq_sim.mains.scenario import EVERY_S, LEAD_S
from opq_sim.mains.steady import SteadyLoop, find_steady


class PlaySchedule:
    """The start of each play, for all recordings of one axis: stream sample of play 0, 1, ...

    The first Box decides, so that whole cycles of its own loop fit; the others follow.
    """

    def __init__(
        self, recording: ReplayedRecording, steady: SteadyLoop, lead_s: float, every_s: float
    ) -> None:
        rate_hz = recording.rate_hz
        self._steady = steady
        self._length = len(recording.counts)
        self._period = max(every_s * rate_hz, self._length + lead_s * rate_hz)
        self._starts = [math.ceil(lead_s * rate_hz)]

    def start(self, play: int) -> int:
        """Stream sample of the leader's sample 0 in play `play`."""
        while len(self._starts) <= play:
            steady = self._steady
            since = self._starts[-1] + self._length
            turn_in = steady.end - steady.entry(self._length)
            wanted = self._starts[-1] + self._period - since - turn_in
            cycles = math.ceil(wanted / steady.cycle_samples)
            self._starts.append(since + turn_in + round(cycles * steady.cycle_samples))
        return self._starts[play]


class Replay:
    """One recording as an endless stream of counts; a `Source`."""

    def __init__(
        self, recording: ReplayedRecording, steady: SteadyLoop, schedule: PlaySchedule, axis_samples: float
    ) -> None:
        self.recording = recording
        self.steady = steady
        self._schedule = schedule
        self._shift = math.floor(axis_samples)
        self.offset_ns = round((axis_samples - self._shift) * 1e12 / recording.rate_millihz)
        self._disturbed = [
            math.ceil(found.start_sample)
            for found in find_disturbances(
                recording.volts, recording.rate_hz, recording.nominal_v, recording.nominal_hz
            )
        ]
        self._starts: list[int] = []  # stream samples at which segments start
        self._from: list[int] = []  # recording samples at which they start
        self._end = 0  # stream sample after the last segment
        self._play = 0
        self._plays: list[int] = []
        self._lead_in()

    @property
    def rate_millihz(self) -> int:
        return self.recording.rate_millihz

    @property
    def v_per_lsb(self) -> float:
        return self.recording.v_per_lsb

    @property
    def nominal_v(self) -> float:
        return self.recording.nominal_v

    @property
    def nominal_hz(self) -> float:
        return self.recording.nominal_hz

    @property
    def effective_bits(self) -> float:
        return self.recording.effective_bits

    @property
    def first_disturbance_s(self) -> float | None:
        """Seconds from the start to the recording's first disturbance; None: it has none."""
        if not self._disturbed:
            return None
        return (self.play_start(0) + self._disturbed[0]) * 1000 / self.rate_millihz

    def play_start(self, play: int) -> int:
        """Stream sample that is sample 0 of the recording in play `play`."""
        return self._schedule.start(play) + self._shift

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        """(count,) int16 from stream sample `first` on; not from before the last call's `first`."""
        while self._end < first + count:
            self._next_play()
        past = bisect_right(self._starts, first) - 1
        del self._starts[:past], self._from[:past]
        parts = []
        at = first
        k = 0
        while at < first + count:
            stop = self._starts[k + 1] if k + 1 < len(self._starts) else self._end
            start = self._from[k] + at - self._starts[k]
            length = min(stop, first + count) - at
            parts.append(self.recording.counts[start : start + length])
            at += length
            k += 1
        return np.concatenate(parts)

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        """Stream samples of the span at which a disturbance of the recording begins."""
        marks = (play + at for play in self._plays for at in self._disturbed)
        return tuple(sorted(mark for mark in marks if first <= mark < first + count))

    def _lead_in(self) -> None:
        """Plans whole turns backwards from the first play, and the partial turn before them."""
        left = self.play_start(0)
        turn = min((self.steady.jump(n) for n in self._turns()), key=lambda jump: jump[1])[0]
        part = left % turn
        if part:
            self._add(self.steady.end - part, part)
        for _ in range(left // turn):
            self._add(self.steady.end - turn, turn)

    def _next_play(self) -> None:
        """Plans the recording, and the steady turns up to the next play."""
        length = len(self.recording.counts)
        self._plays = [*self._plays[-1:], self._end]
        self._add(0, length)
        entry = self.steady.entry(length)
        self._add(entry, self.steady.end - entry)
        self._play += 1
        for turn in self.steady.jumps(self.play_start(self._play) - self._end):
            self._add(self.steady.end - turn, turn)

    def _turns(self) -> range:
        longest = round(self.steady.end / self.steady.cycle_samples)
        return range(max(1, longest // 2), longest + 1)

    def _add(self, start: int, length: int) -> None:
        self._starts.append(self._end)
        self._from.append(start)
        self._end += length


def replays(
    recordings: Sequence[ReplayedRecording], every_s: float = EVERY_S, lead_s: float = LEAD_S
) -> tuple[Replay, ...]:
    """Streams of several recordings; recordings on a common axis stay on it.

    Raises:
        RecordingError: a recording has no steady cycles to repeat.
    """
    steadies = [find_steady(recording) for recording in recordings]
    on_axis = [
        recording
        for recording in recordings
        if recording.axis_samples is not None and recording.rate_millihz == recordings[0].rate_millihz
    ]
    zero = min((recording.axis_samples or 0.0 for recording in on_axis), default=0.0)
    common: PlaySchedule | None = None
    made = []
    for recording, steady in zip(recordings, steadies, strict=True):
        schedule = PlaySchedule(recording, steady, lead_s, every_s)
        axis = 0.0
        if any(recording is other for other in on_axis):
            common = common or schedule
            schedule = common
            axis = (recording.axis_samples or 0.0) - zero
        made.append(Replay(recording, steady, schedule, axis))
    return tuple(made)
