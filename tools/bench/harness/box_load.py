"""The load of a bench: N Boxes on CURVE with the connections of `sim fleet`, in their own process.

    python -m bench.harness.box_load PLAN.json     orders on stdin, a JSON line each; answers on stdout

Measurements have the bytes of a fleet's. On an order a Box reports a crossing and measures the time to its
command. No Box answers: the cost of waveforms is not in this bench.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_gateway.uplink.connection import Endpoints
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder, read_secret_file
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.measurement.wire import bodies_of, measurement_to_wire
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.frames import ACK_PLUGIN, command_from_wire, topic
from opq_sim.fleet.connections import FleetConnections

NOMINAL_V = 120.0
NOMINAL_HZ = 60.0
STEADY_METRICS = {
    "f": (59.99, 60.01, 60.0),
    "rms": (119.9, 120.1, 120.0),
    "thd": (0.019, 0.021, 0.02),
    "trans": (0.9, 1.1, 1.0),
}
Indices = NDArray[np.int64]
STEADY_VALUES = np.array([STEADY_METRICS[name] for name in METRIC_NAMES])
"""Least, most, mean of each metric; values that no trigger reacts to."""
TICK_S = 0.02
SPREAD_S = 0.001
"""Wait between sends under load: Boxes send one after the other, not in bursts."""
EARLIER_EVENTS = 20_000
"""Events in the store before the load."""
SPACING_NS = 30 * 10**9
"""Time between two of them."""
ANSWERED_S = 120.0
"""Longest wait for all Boxes."""
COMMAND_S = 5.0
"""A command that takes longer counts as lost."""


@dataclass(slots=True)
class CrossedBox:
    """The Box that crossed, and the monotonic time of its command."""

    box: int = -1
    at_ms: int = 0
    """Time of the crossing by the Box; a command for another span asks it only as a neighbour."""
    requested_s: float = 0.0


def steady(
    ids: tuple[str, ...], which: Indices, start_ns: Indices, end_ns: Indices, values: NDArray[np.float32]
) -> Measurements:
    """Windows of Boxes with GPS, of these values."""
    nominals = (Nominal(NOMINAL_V, NOMINAL_HZ),) * len(ids)
    return Measurements.of_windows(ids, nominals, which, start_ns, end_ns, values, 1000, TimeSource.GPS)


class BoxLoad:
    """All Boxes of the process, in one thread."""

    def __init__(self, boxes: int, curve: Path, endpoints: Endpoints) -> None:
        keys = KeyFolder(curve)
        self._ids = [str(1000 + number) for number in range(boxes)]
        pairs = [read_secret_file(keys.box_secret(box_id)) for box_id in self._ids]
        server = read_secret_file(keys.server_secret).public
        self._crossed = CrossedBox()
        self.lines = FleetConnections(self._ids, pairs, server, endpoints, self._command)
        self._topics = [topic(box_id) for box_id in self._ids]
        self._sequences = np.full(boxes, time.time_ns() // 1_000_000)
        self._draw = np.random.default_rng(1)
        self._crossings = 0
        """Crossings so far; each is half a minute after the one before."""
        self._before, self._answered_s = self._sequences.copy(), np.full(boxes, np.nan)
        """By Box: sequence before `acknowledged`, and when a later one was acknowledged first, monotonic."""

    def connect(self) -> dict[str, float]:
        """Connects all Boxes to the triggering broker; returns the seconds that it took."""
        began_s = time.monotonic()
        while not self.lines.stands.all():
            now_s = time.monotonic()
            self.lines.open_more(now_s)
            self.lines.tick(now_s)
            self.lines.wait(TICK_S)
        return {"seconds": time.monotonic() - began_s}

    def run(
        self, rate_hz: float, seconds: float, crossings_per_s: float = 0.0
    ) -> dict[str, float | list[float]]:
        """Sends `rate_hz` Measurements a second of each Box, spread evenly; returns the number sent.

        In addition one Box after the other crosses, about `crossings_per_s` times a second: returns the
        seconds to its command, for commands that came before the next crossing.
        """
        boxes, began_s, sent = len(self._ids), time.monotonic(), 0
        refused = 0
        done = 0
        found: list[float] = []
        crossed_s, next_s = 0.0, began_s
        number = 0
        while (now_s := time.monotonic()) < began_s + seconds:
            due = int((now_s - began_s) * rate_hz * boxes)
            due = min(due, done + boxes)  # Measurements missed during a stall are not sent later
            which = np.arange(done, due) % boxes
            done = max(due, int((now_s - began_s) * rate_hz * boxes) - boxes)
            for box, body in zip(which.tolist(), self._bodies(which, rate_hz), strict=True):
                if self.lines.publish(box, self._topics[box], body):
                    sent += 1
                else:
                    refused += 1
            if crossings_per_s and now_s >= next_s:
                next_s = now_s + self._draw.uniform(0.5, 1.5) / crossings_per_s  # in no step with any turns
                if number and self._crossed.requested_s:
                    found.append(self._crossed.requested_s - crossed_s)
                crossed_s = self._cross()
                number, sent = number + 1, sent + 1
            self.lines.wait(SPREAD_S)
        seconds = time.monotonic() - began_s
        found += self._awaited(crossed_s) if number else []
        return {
            "sent": sent,
            "refused": refused,
            "seconds": seconds,
            "crossings": number,
            "latencies_s": found,
        }

    def acknowledged(self, rate_hz: float) -> dict[str, list[float]]:
        """Seconds until each Box has an acknowledgement of a Measurement sent from now on."""
        self._before, began_s = self._sequences.copy(), time.monotonic()
        self._answered_s = np.full(len(self._before), np.nan)
        while np.isnan(self._answered_s).any() and time.monotonic() < began_s + ANSWERED_S:
            self.lines.open_more(time.monotonic())
            self.lines.tick(time.monotonic())
            self.run(rate_hz, 1.5 / rate_hz)  # longer than a round, so that each Box sends
        return {"latencies_s": (self._answered_s[~np.isnan(self._answered_s)] - began_s).tolist()}

    def cross(self, count: int) -> dict[str, list[float]]:
        """Lets one Box after the other cross; returns the seconds to each command."""
        return {"latencies_s": [each for _ in range(count) for each in self._awaited(self._cross())]}

    def _awaited(self, crossed_s: float) -> list[float]:
        """Seconds from the last crossing to its command; empty where it did not come within COMMAND_S."""
        while not self._crossed.requested_s and time.monotonic() < crossed_s + COMMAND_S:
            self.lines.wait(COMMAND_S)
        return [self._crossed.requested_s - crossed_s] if self._crossed.requested_s else []

    def _cross(self) -> float:
        """Lets the next Box cross; returns the monotonic time."""
        number = self._crossings
        self._crossings += 1
        box = number % len(self._ids)
        at_ns = time.time_ns() + (number - EARLIER_EVENTS) * SPACING_NS
        self._crossed = CrossedBox(box, at_ns // 10**6)
        body = self._crossing(box, at_ns)
        began_s = time.monotonic()
        self.lines.publish(box, self._topics[box], body)
        return began_s

    def _bodies(self, which: Indices, rate_hz: float) -> list[bytes]:
        if not len(which):
            return []
        end_ns = np.full(len(which), time.time_ns())
        noise = 1 + 1e-6 * self._draw.standard_normal((len(which), 1, 1))
        self._sequences[which] += 1
        values = (STEADY_VALUES * noise).astype(np.float32)
        batch = steady(tuple(self._ids), which, end_ns - round(1e9 / rate_hz), end_ns, values)
        numbers = self._sequences[which]
        return bodies_of(replace(batch, sequence=numbers, oldest_sequence=numbers))

    def _crossing(self, box: int, end_ns: int) -> bytes:
        """The Measurement of a dip of one cycle; dips are half a minute apart, so that no event has two."""
        self._sequences[box] += 1
        sequence = int(self._sequences[box])
        rms = {"rms": Metric(60.0, 60.0, 60.0)}
        row = Measurement(
            self._ids[box],
            end_ns // 10**6,
            rms,
            end_ns - 17 * 10**6,
            end_ns,
            1000,
            TimeSource.GPS,
            sequence,
            sequence,
            False,
            True,
            NOMINAL_V,
            NOMINAL_HZ,
        )
        return measurement_to_wire(row)

    def _command(self, box: int, data: bytes) -> None:
        crossed, command = self._crossed, command_from_wire(data)
        if command.send_command_to_plugin.plugin_name == ACK_PLUGIN:
            newest = int(re.findall("[0-9]+", command.send_command_to_plugin.message)[-1])
            if newest > self._before[box] and np.isnan(self._answered_s[box]):
                self._answered_s[box] = time.monotonic()
        if box != crossed.box or crossed.requested_s:
            return
        span = command.data_command  # all fields are 0 in other commands
        if span.start_ms <= crossed.at_ms <= span.end_ms:
            crossed.requested_s = time.monotonic()


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    load = BoxLoad(plan["boxes"], Path(plan["curve"]), Endpoints(**plan["endpoints"]))
    orders: dict[str, Callable[..., Mapping[str, object]]] = {
        "connect": load.connect,
        "run": load.run,
        "cross": load.cross,
        "acknowledged": load.acknowledged,
    }
    for line in sys.stdin:
        order = json.loads(line)
        began_s = time.process_time()
        answer = orders[order.pop("order")](**order)
        print(json.dumps({**answer, "cpu_s": time.process_time() - began_s}), flush=True)


if __name__ == "__main__":
    main()
