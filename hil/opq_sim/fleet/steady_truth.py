"""DIR/steady.jsonl of a run's truth: the voltage of each outlet while nothing changes there.

    {"box", "start_ns", "end_ns", "rms_v", "harmonics_v": orders 1 .. 50, V, "angle_deg"}

From one change to the next is a line; a span in which the voltage fluctuates has none. The
angle is that of its fundamental against the phase of the whole system. So what an interval of
class A has to be follows by sums over its lines.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from opq_sim.power_system.power_system import PowerSystem

FILE_NAME = "steady.jsonl"
AT_ONCE_S = 600.0
"""The network remembers changes for an hour."""


class SteadyTruth:
    """Writes the file from the run's start on."""

    def __init__(self, folder: Path, system: PowerSystem, start_ns: int) -> None:
        self._system, self._start_ns = system, start_ns
        self._file = (folder / FILE_NAME).open("w", encoding="utf-8")
        self._begin_s = dict.fromkeys(system.voltages, 0.0)
        self._reached_s = 0.0

    def advance(self, until_s: float) -> None:
        """Writes the spans that end by then."""
        while self._reached_s < until_s:
            from_s, self._reached_s = self._reached_s, min(until_s, self._reached_s + AT_ONCE_S)
            for box_id, voltage in self._system.voltages.items():
                changes = voltage.changes(from_s, self._reached_s)
                for begin_s, end_s in pairwise([self._begin_s[box_id], *changes]):
                    self._write(box_id, begin_s, end_s)
                self._begin_s[box_id] = changes[-1] if changes else self._begin_s[box_id]

    def close(self) -> None:
        """Writes the spans that go on, up to the time reached."""
        for box_id, begin_s in self._begin_s.items():
            self._write(box_id, begin_s, self._reached_s)
        self._file.close()

    def _write(self, box_id: str, begin_s: float, end_s: float) -> None:
        steady = self._system.voltages[box_id].steady(begin_s, end_s) if end_s > begin_s else None
        if steady is None:
            return
        harmonics_v = steady.fundamental_v * np.abs(steady.ratios)
        begin = np.array([begin_s])
        turned = self._system.voltages[box_id].cycles(begin) - self._system.cycles(begin)
        line = {
            "box": box_id,
            "start_ns": self._start_ns + round(begin_s * 1e9),
            "end_ns": self._start_ns + round(end_s * 1e9),
            "rms_v": round(steady.rms_v, 6),
            "harmonics_v": [round(each, 6) for each in harmonics_v.tolist()],
            "angle_deg": round(360 * (float(turned[0]) % 1.0), 6),
        }
        self._file.write(json.dumps(line) + "\n")
