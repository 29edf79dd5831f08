"""The last stretch of a run: samples and the half-cycle edges in them, counted from the run's beginning."""

from collections import deque

import numpy as np

from opq_measure.signal import FloatArray, SignalArray
from opq_measure.timebase.window import Window

JOINED_SAMPLES = 1.0
"""An edge this close to the last one is the same edge."""


class Recent:
    """Grows at one end and is cut at the other; positions and indices never change.

    `volts[0]` is sample `first_sample` of the run, `edges[0]` its half-cycle edge `first_edge`, at an
    absolute position. Windows may be held unjoined: they are joined when their samples or edges are read,
    which does not happen while the voltage is quiet.
    """

    def __init__(self, first_sample: int = 0) -> None:
        self.stop_sample = first_sample
        self.stop_edge = 0
        self.last_edge = -np.inf
        """Position of the newest half edge."""
        self._volts: FloatArray = np.empty(0)
        self._edges: FloatArray = np.empty(0)
        self._first_sample = first_sample
        self._first_edge = 0
        self._held: deque[tuple[int, Window]] = deque()  # each with the index of its first half edge
        self._forgotten = 0

    @property
    def volts(self) -> FloatArray:
        self._join()
        return self._volts

    @property
    def edges(self) -> FloatArray:
        self._join()
        return self._edges

    @property
    def first_sample(self) -> int:
        self._join()
        return self._first_sample

    @property
    def first_edge(self) -> int:
        self._join()
        return self._first_edge

    def add(self, volts: SignalArray, half_edges: FloatArray) -> None:
        """Appends the next samples and edges.

        Raises:
            ValueError: edges do not rise, or lie after the samples.
        """
        self._join()
        if len(volts):
            self._volts = np.concatenate((self._volts, np.asarray(volts, dtype=np.float64)))
            self.stop_sample = self._first_sample + len(self._volts)
        if len(half_edges) == 0:
            return
        edges = np.concatenate((self._edges, half_edges))
        if not (edges[1:] > edges[:-1]).all():
            raise ValueError("half_edges do not rise, want each after the one before")
        if edges[-1] > self.stop_sample:
            raise ValueError(f"half edge {edges[-1]:g} lies after the last sample, {self.stop_sample}")
        self._edges = edges
        self.stop_edge = self._first_edge + len(edges)
        self.last_edge = float(edges[-1])

    def goes_on(self, window: Window) -> bool:
        """Whether a window begins on the last edge."""
        return abs(window.first_sample + float(window.half_edges[0]) - self.last_edge) < JOINED_SAMPLES

    def hold(self, window: Window) -> None:
        """Appends a window, in volts, that begins on the last edge; it is joined later."""
        self._held.append((self.stop_edge - 1, window))
        self.stop_sample = window.first_sample + len(window.volts)
        self.stop_edge += len(window.half_edges) - 1
        self.last_edge = window.first_sample + float(window.half_edges[-1])

    def positions(self, first: int, stop: int) -> FloatArray:
        """Positions of the half edges `first` .. `stop`, which must be there."""
        return self.edges[first - self.first_edge : stop - self.first_edge]

    def around(self, first: int, last: int) -> tuple[FloatArray, FloatArray, int, int]:
        """Between two half edges: samples, edges within them, number of the first sample and first edge."""
        first, last = max(first, self.first_edge), min(last, self.stop_edge - 1)
        edges = self.positions(first, last + 1)
        begin = max(self.first_sample, int(np.floor(edges[0])))
        end = min(self.stop_sample, int(np.ceil(edges[-1])) + 1)
        part = self.volts[begin - self.first_sample : end - self.first_sample]
        return part, edges - begin, begin, first

    def discard_before(self, before_edge: int) -> None:
        """Drops everything before a half edge; held windows only as a whole."""
        self._forgotten = before_edge
        held = self._held
        if not held:
            self._cut(before_edge)
            return
        while len(held) > 1 and held[1][0] < before_edge:
            held.popleft()
        if held[0][0] < before_edge:
            self._volts = self._edges = np.empty(0)

    def _join(self) -> None:
        if not self._held:
            return
        volts, edges = [self._volts], [self._edges]
        if len(self._edges) == 0:  # forgotten
            self._first_edge, first = self._held[0]
            self._first_sample = first.first_sample
            edges.append(first.first_sample + first.half_edges[:1])
        stop = self._first_sample + len(self._volts)
        for _, window in self._held:
            volts.append(window.volts[stop - window.first_sample :])
            edges.append(window.first_sample + window.half_edges[1:])
            stop = window.first_sample + len(window.volts)
        self._held.clear()
        self._volts, self._edges = np.concatenate(volts), np.concatenate(edges)
        self._cut(self._forgotten)

    def _cut(self, before_edge: int) -> None:
        drop = min(before_edge, self.stop_edge - 1) - self._first_edge
        if drop <= 0:
            return
        self._edges = self._edges[drop:].copy()
        self._first_edge += drop
        samples = int(np.floor(self._edges[0])) - self._first_sample
        self._volts = self._volts[samples:].copy()
        self._first_sample += samples
