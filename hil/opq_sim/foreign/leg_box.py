"""A Box of the C++ generation (LEG): docs/reference/opq-interop.md A.3 to A.5, A.11, B.3, G.1.

It receives everything on 8194 and answers only the topic `evget`: PING with PONG, READ with samples of a
range.

The reference does not say whether the edges of a range belong to it, nor what the optional fields of an
answer contain. Here every cycle read within it is sent, both edges included, ten to a DataMessage; an empty
range is answered with ERROR; boxId, time and num_cycles are filled in.
The counters of GPS are those of a Box without a receiver: 0.
"""

import numpy as np
from numpy.typing import NDArray

from opq_sim.foreign import leg_frames as wire
from opq_sim.foreign.meter import ForeignMeter
from opq_sim.foreign.peer import ForeignCounts, ForeignSockets, checked_number
from opq_sim.foreign.protobuf_bytes import ProtobufError
from opq_sim.foreign.window_buffer import WindowBuffer

FRAMES_PER_MEASUREMENT = 10
STORED_MEASUREMENTS = 3600
"""`timeseries.measurements_count`: ten minutes."""


def lowest_mean(first: int, rms: NDArray[np.float64]) -> float:
    """Returns the lowest rms that a Box reports of these windows, the first one counted from 0 at its start.

    It reports means of ten windows, and nothing else of the voltage.
    """
    skipped = -first % FRAMES_PER_MEASUREMENT
    whole = (len(rms) - skipped) // FRAMES_PER_MEASUREMENT * FRAMES_PER_MEASUREMENT
    groups = rms[skipped : skipped + whole].reshape(-1, FRAMES_PER_MEASUREMENT)
    return float(groups.mean(axis=1).min())


class LegBox:
    """One Box.

    Args:
        calibration: counts per volt.
    Raises:
        ForeignBoxError: the id is not a number of the wire.
    """

    def __init__(self, box_id: str, calibration: float) -> None:
        self.box_id = checked_number(box_id)
        self.counts = ForeignCounts()
        # after 60 s of silence the SUB socket is made again (A.11)
        self.sockets = ForeignSockets(b"", wire.leg_topic(self.box_id), 60.0, 1, False, False)
        self._meter = ForeignMeter(calibration)
        self._windows = WindowBuffer(STORED_MEASUREMENTS * FRAMES_PER_MEASUREMENT)
        self._gathered: dict[str, list[float]] = {}
        self._last_hz = 0.0
        self._last_thd: float | None = None

    def accept_window(self, window: NDArray[np.int16], read_ns: int) -> list[bytes] | None:
        read_ms = read_ns // 1_000_000
        self._windows.add(window, read_ms)
        for key, value in self._meter.values(self._windows).items():
            self._gathered.setdefault(key, []).append(value)
        if self._windows.newest % FRAMES_PER_MEASUREMENT:
            return None
        mean = {key: sum(values) / len(values) for key, values in self._gathered.items()}
        self._gathered = {}
        self._last_hz = mean.get("f", self._last_hz)
        self._last_thd = mean.get("thd", self._last_thd)
        self.counts.measurements += 1
        body = wire.leg_trigger(self.box_id, read_ms, self._last_hz, mean["rms"], self._last_thd)
        return [wire.leg_topic(self.box_id), body]

    def accept_command(self, frames: list[bytes], now_ns: int) -> list[bytes] | None:
        if len(frames) != 2 or frames[0] != wire.LEG_TOPIC:
            self.counts.ignored["frames" if len(frames) != 2 else "topic"] += 1
            return None
        try:
            request = wire.read_leg_request(frames[1])
        except ProtobufError:
            request = None
        if request is None:
            self.counts.ignored["undecodable"] += 1
            return None
        now_ms = now_ns // 1_000_000
        if request.kind == wire.PING:
            self.counts.commands["ping"] += 1
            self.counts.answers["pong"] += 1
            return [wire.leg_answer(wire.PONG, request.sequence_number, self.box_id, now_ms)]
        if request.kind != wire.READ:
            self.counts.ignored["type"] += 1
            return None
        self.counts.commands["read"] += 1
        return self._read(request, now_ms)

    def _read(self, request: wire.LegRequest, now_ms: int) -> list[bytes]:
        counts, read_ms = self._windows.between(request.back_ms - 1, request.forward_ms + 1)
        if len(read_ms) == 0:
            self.counts.answers["error"] += 1
            return [wire.leg_answer(wire.ERROR, request.sequence_number, self.box_id, now_ms)]
        cycles = [
            wire.leg_cycle(int(at_ms), row) for row, at_ms in zip(counts.tolist(), read_ms, strict=True)
        ]
        self.counts.answers["resp"] += 1
        head = wire.leg_answer(wire.RESP, request.sequence_number, self.box_id, now_ms, len(cycles))
        starts = range(0, len(cycles), FRAMES_PER_MEASUREMENT)
        return [
            head,
            *(wire.leg_data(self.box_id, cycles[at : at + FRAMES_PER_MEASUREMENT]) for at in starts),
        ]
