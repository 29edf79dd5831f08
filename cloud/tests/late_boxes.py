"""Boxes of the original's generation that see two dips; a cloud that gets their Measurements in any order.

Box 1 is at the place of the dips, Box 4 sees them less deep, and Box 10 sees a step only. After each dip the
voltage comes back over five seconds, as in the scenario lightning_dip.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from judged_triggers import AT_120, batch

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.makai.judging.window_order import WindowOrder
from opq_cloud.store import CloudStore, open_store
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Measurement, Waveform
from opq_proto.wire.opqbox3_pb2 import Command
from opq_proto.wire.waveforms import waveform_from_frames
from opq_sim.foreign.cur_box import CurBox
from opq_sim.foreign.host import COUNTS_PER_VOLT
from opq_sim.foreign.peer import FRAME_LATENCY_NS
from opq_sim.foreign.window_buffer import WINDOW
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_tools.sim.history.virtual_cloud import VirtualCloud

START_NS = 1_795_000_000 * 10**9
SECONDS, STEP_S = 48.0, 0.1
DIPS_S = ((26.07, 0.16), (37.3, 0.7))
"""Beginning and length of each."""
DEPTHS = {"1": 0.75, "4": 0.85, "10": 0.93}
BACK, BACK_S = 1.02, 5.0
"""The voltage after a dip, as a share, and how long it takes to come back to the usual one."""
WARM_UP = 20
LONGEST_WINDOW_NS = 10**9 + 10**7


@dataclass(frozen=True)
class Scene:
    """What the Boxes measured, in the order of time, and the Boxes for questions."""

    rows: tuple[Measurement, ...]
    boxes: dict[str, CurBox]

    def waveform(self, box_id: str, start_ns: int, end_ns: int) -> Waveform | None:
        command = Command(seq=1, box_id=int(box_id), identity="x")
        command.data_command.start_ms, command.data_command.end_ms = start_ns // 10**6, -(-end_ns // 10**6)
        answer = self.boxes[box_id].accept_command([box_id.encode(), command.SerializeToString()], end_ns)
        return None if answer is None else waveform_from_frames(answer[0], answer[1:], 1 / COUNTS_PER_VOLT)[1]


@lru_cache(maxsize=8)
def scene(phases: tuple[int, ...]) -> Scene:
    """`phases`: by Box, by how many cycles its windows begin later than a whole second."""
    rows, boxes = [], {}
    for (box_id, level), phase in zip(DEPTHS.items(), phases, strict=True):
        volts, _ = mains(SECONDS, harmonics=MIX_3_PERCENT, frequency_hz=59.98, noise_db=75, seed=int(box_id))
        counts = np.rint(volts * _envelope(level, len(volts)) * COUNTS_PER_VOLT).astype(np.int16)
        box = boxes[box_id] = CurBox(box_id, COUNTS_PER_VOLT, b"k" * 40)
        for number, window in enumerate(counts.reshape(-1, WINDOW)[phase:], start=phase + 1):
            read_ns = START_NS + number * WINDOW * 10**9 // 12_000 + FRAME_LATENCY_NS
            if (message := box.accept_window(window, read_ns)) is not None:
                rows.append(measurement_from_wire(message[1]))
    return Scene(tuple(sorted(rows, key=lambda row: (row.timestamp_ms, row.box_id))), boxes)


def _envelope(level: float, samples: int) -> np.ndarray:
    at_s = np.arange(samples) / 12_000
    share = np.ones(samples)
    for begin_s, length_s in DIPS_S:
        since_s = at_s - begin_s - length_s
        share += np.where((since_s >= 0) & (since_s < BACK_S), (BACK - 1) * (1 - since_s / BACK_S), 0.0)
        share[(at_s >= begin_s) & (since_s < 0)] = level
    return share


def in_order(arrivals: Iterable[tuple[float, Measurement]]) -> Iterable[tuple[float, list[Measurement]]]:
    """Yields the seconds of the run, and what is judged then."""
    order, waiting = (
        WindowOrder(ServiceCounters(), lambda *_: AT_120),
        sorted(arrivals, key=lambda each: each[0]),
    )
    now_s, at = 0.0, 0
    while now_s < SECONDS + 20:
        now_s = round(now_s + STEP_S, 3)
        ready: list[Measurements] = []
        while at < len(waiting) and waiting[at][0] <= now_s:
            ready += order.accept(batch(waiting[at][1]), now_s)
            at += 1
        ready += order.due(now_s)
        yield now_s, [row for columns in ready for row in columns.rows()]


def played(scene: Scene, arrivals: Sequence[tuple[float, Measurement]], folder: Path) -> CloudStore:
    """The store of a cloud that got these Measurements at these seconds of the run; the caller closes it."""
    config = CloudConfig()
    triggers = dict(config.triggering_service.triggers)
    triggers["statistical"] = {"warm_up_windows": WARM_UP}
    config = replace(config, triggering_service=replace(config.triggering_service, triggers=triggers))
    store = open_store(None, folder)
    cloud = VirtualCloud(config, store, scene.waveform)
    for now_s, rows in in_order(arrivals):
        cloud.accept_measurements(rows, now_s)
        if now_s % 2 < STEP_S:
            cloud.store_accepted()
            cloud.answer_events(START_NS + round((now_s - 1) * 1e9))
    cloud.finish(SECONDS + 60)
    return store
