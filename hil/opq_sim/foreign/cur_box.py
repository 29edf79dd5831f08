"""A Box of the Rust generation (CUR): docs/reference/opq-interop.md A.3 to A.5, A.11, G.1, G.4, G.5.

It behaves like the original, faults included: it subscribes to the prefix of its id and answers whatever it
receives, even if `Command.box_id` is another (H.3, H.4); it ignores `wait` (H.12); it answers ok to any
plug-in command; it stamps a window when it has read it (H.13) and reports its uptime in seconds.
"""

import random

import numpy as np
from numpy.typing import NDArray

from opq_sim.foreign import cur_frames as wire
from opq_sim.foreign.meter import ForeignMeter
from opq_sim.foreign.peer import ForeignCounts, ForeignSockets, checked_number
from opq_sim.foreign.protobuf_bytes import ProtobufError
from opq_sim.foreign.window_buffer import WindowBuffer

WINDOWS_PER_MEASUREMENT = 60
STORED_WINDOWS = 3000
"""50 s; `windows_in_storage_buffer` of the sample configuration."""
ADDRESSES = ("127.0.0.1",)
KINDS = {wire.INFO: "info", wire.DATA: "data", wire.RATE: "rate", wire.PLUGIN: "plugin"}


class CurBox:
    """One Box.

    Args:
        calibration: counts per volt.
        public_key: Z85, part of the answer to an info command.
    Raises:
        ForeignBoxError: the id is not a number of the wire.
    """

    def __init__(
        self,
        box_id: str,
        calibration: float,
        public_key: bytes,
        windows_per_measurement: int = WINDOWS_PER_MEASUREMENT,
    ) -> None:
        self.box_id = checked_number(box_id)
        self.counts = ForeignCounts()
        # more than 120 time-outs of 1000 ms in total, never reset by traffic: both are made again (A.11)
        self.sockets = ForeignSockets(f"{self.box_id}".encode("ascii"), None, 1.0, 121, True, True)
        self.rate_cycles = windows_per_measurement
        self._public_key = public_key
        self._meter = ForeignMeter(calibration)
        self._windows = WindowBuffer(STORED_WINDOWS)
        self._gathered: dict[str, list[float]] = {}
        self._since_measurement = 0
        self._started_ns: int | None = None
        self._chance = random.Random(self.box_id)

    def accept_window(self, window: NDArray[np.int16], read_ns: int) -> list[bytes] | None:
        if self._started_ns is None:
            self._started_ns = read_ns
        self._windows.add(window, read_ns // 1_000_000)
        for key, value in self._meter.values(self._windows).items():
            self._gathered.setdefault(key, []).append(value)
        self._since_measurement += 1
        if self._since_measurement < self.rate_cycles:
            return None
        gathered, self._gathered, self._since_measurement = list(self._gathered.items()), {}, 0
        self._chance.shuffle(gathered)  # map entries come in random order (docs/reference/opq-interop.md B)
        metrics = {
            key: wire.CurMetric(min(values), max(values), sum(values) / len(values))
            for key, values in gathered
        }
        self.counts.measurements += 1
        body = wire.cur_measurement(self.box_id, read_ns // 1_000_000, metrics)
        return [wire.cur_topic(self.box_id), body]

    def accept_command(self, frames: list[bytes], now_ns: int) -> list[bytes] | None:
        if len(frames) != 2:
            self.counts.ignored["frames"] += 1
            return None
        try:
            command = wire.read_cur_command(frames[1])
        except ProtobufError:
            self.counts.ignored["undecodable"] += 1
            return None
        if command.kind == 0:
            self.counts.ignored["no command"] += 1
            return None
        name = KINDS[command.kind]
        self.counts.commands[name] += 1
        if command.box_id != self.box_id:
            self.counts.commands["of another Box"] += 1  # it is answered all the same
        kind, body, cycles = self._answer(command, now_ns)
        self.counts.answers[name] += 1
        head = wire.cur_response(self.box_id, command.seq, now_ns // 1_000_000, kind, body)
        return [head, *cycles]

    def _answer(self, command: wire.CurCommand, now_ns: int) -> tuple[int, bytes, list[bytes]]:
        """Number and body of the one-of, and the cycles after it."""
        if command.kind == wire.INFO:
            uptime_s = 0 if self._started_ns is None else (now_ns - self._started_ns) // 10**9
            answer = wire.cur_info_answer(ADDRESSES, uptime_s, self._public_key, self.rate_cycles)
            return wire.INFO_RESPONSE, answer, []
        if command.kind == wire.RATE:
            old, self.rate_cycles = self.rate_cycles, command.cycles
            return wire.RATE_RESPONSE, wire.cur_rate_answer(old), []
        if command.kind == wire.PLUGIN:
            return wire.PLUGIN_RESPONSE, wire.cur_plugin_answer(), []
        counts, read_ms = self._windows.between(command.start_ms, command.end_ms)
        if len(read_ms) == 0:
            return wire.DATA_RESPONSE, wire.cur_data_header(0, 0), []
        cycles = [
            wire.cur_cycle(row, int(at_ms)) for row, at_ms in zip(counts.tolist(), read_ms, strict=True)
        ]
        return wire.DATA_RESPONSE, wire.cur_data_header(int(read_ms[0]), int(read_ms[-1])), cycles
