"""The last stretch of a run: samples and the half-cycle edges in them, counted from the run's beginning."""

import numpy as np

from opq_measure.signal import FloatArray, SignalArray


class Recent:
    """Grows at one end and is cut at the other; positions and indices never change.

    `volts[0]` is sample `first_sample` of the run, `edges[0]` its half-cycle edge `first_edge`, at an
    absolute position.
    """

    def __init__(self, first_sample: int = 0) -> None:
        self.volts: FloatArray = np.empty(0)
        self.edges: FloatArray = np.empty(0)
        self.first_sample = first_sample
        self.first_edge = 0

    @property
    def stop_sample(self) -> int:
        return self.first_sample + len(self.volts)

    @property
    def stop_edge(self) -> int:
        return self.first_edge + len(self.edges)

    def add(self, volts: SignalArray, half_edges: FloatArray) -> None:
        """The samples and edges that follow.

        Raises:
            ValueError: edges do not rise, or lie behind the samples.
        """
        if len(volts):
            self.volts = np.concatenate((self.volts, np.asarray(volts, dtype=np.float64)))
        if len(half_edges) == 0:
            return
        edges = np.concatenate((self.edges, half_edges))
        if not (edges[1:] > edges[:-1]).all():
            raise ValueError("half_edges do not rise")
        if edges[-1] > self.stop_sample:
            raise ValueError(f"half edge {edges[-1]:g} lies behind the last sample, {self.stop_sample}")
        self.edges = edges

    def positions(self, first: int, stop: int) -> FloatArray:
        """Of the half edges `first` .. `stop`, which must be there."""
        return self.edges[first - self.first_edge : stop - self.first_edge]

    def around(self, first: int, last: int) -> tuple[FloatArray, FloatArray, int, int]:
        """Between two half edges: samples, edges in them, the first sample and the first edge of the run."""
        first, last = max(first, self.first_edge), min(last, self.stop_edge - 1)
        edges = self.positions(first, last + 1)
        begin = max(self.first_sample, int(np.floor(edges[0])))
        end = min(self.stop_sample, int(np.ceil(edges[-1])) + 1)
        part = self.volts[begin - self.first_sample : end - self.first_sample]
        return part, edges - begin, begin, first

    def forget(self, before_edge: int) -> None:
        """Drop what lies before a half edge."""
        drop = min(before_edge, self.stop_edge - 1) - self.first_edge
        if drop <= 0:
            return
        self.edges = self.edges[drop:].copy()
        self.first_edge += drop
        samples = int(np.floor(self.edges[0])) - self.first_sample
        self.volts = self.volts[samples:].copy()
        self.first_sample += samples
