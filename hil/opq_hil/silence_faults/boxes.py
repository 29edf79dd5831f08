"""Boxes of many gateways on cables, in one thread; they can stand still and lose their supply."""

import threading
import time
from pathlib import Path

from opq_hil.box.box import Box
from opq_hil.box.source import RunClock
from opq_hil.gateway_faults.boxes import GPS_UNCERTAINTY_NS, TICK_S, Cable
from opq_hil.mains import events
from opq_hil.mains.generator import Generator
from opq_hil.silence_faults.schedule import SilenceTrial
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_proto.own_thread import OwnThread

RATE_HZ = 12_000


class TrialBox(Box):
    """A Box that counts all that it skipped, across its starts."""

    skipped = 0

    def _skip_what_is_too_old(self, now_ns: int) -> bool:
        before = self.missing_samples
        overrun = super()._skip_what_is_too_old(now_ns)
        self.skipped += self.missing_samples - before
        return overrun


class TrialBoxes(OwnThread):
    """The Boxes of a world for the `with` block.

    Attributes:
        dark_ns: by Box, [from, to) without supply, UTC.
    """

    def __init__(self, trials: tuple[SilenceTrial, ...], ports: Path) -> None:
        super().__init__("boxes")
        self._trials = trials
        self.boxes = {
            box_id: TrialBox(box_id, measurements=False) for trial in trials for box_id in trial.box_ids
        }
        self.paths = {box_id: ports / f"box{box_id}" for box_id in self.boxes}
        self.dark_ns: dict[str, tuple[int, int]] = {}
        self._cables = {box_id: Cable(path) for box_id, path in self.paths.items()}
        self._still: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        monotonic_ns, now_ns = time.monotonic_ns(), time.time_ns()
        gps = RunClock(monotonic_ns, now_ns, GPS_UNCERTAINTY_NS, TimeSource.GPS)
        free = RunClock(monotonic_ns, now_ns, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE)
        self._start_ns, self._start_monotonic_ns = now_ns, monotonic_ns
        for trial in self._trials:
            for box_id in trial.box_ids:
                self._cables[box_id].plug()
                self.boxes[box_id].start(self._cables[box_id], gps if trial.has_gps else free)
        super().start()

    def close(self) -> None:
        super().close()
        for cable in self._cables.values():
            cable.unplug()

    def stand_still(self, box_ids: tuple[str, ...], still: bool) -> None:
        """Stops the Boxes, or lets them go on."""
        with self._lock:
            self._still = self._still | set(box_ids) if still else self._still - set(box_ids)

    def pull_line(self, box_ids: tuple[str, ...], out: bool) -> None:
        """Pulls the Boxes' cables out, or puts them in again."""
        with self._lock:
            for box_id in box_ids:
                (self._cables[box_id].unplug if out else self._cables[box_id].plug)()

    def lose_supply(self, trial: SilenceTrial) -> None:
        """Takes supply and mains from the trial's Boxes for `for_s`; a battery carries a Box through it."""
        with self._lock:
            for box_id in trial.dark_ids:
                box = self.boxes[box_id]
                own = {"battery_s": 2 * trial.for_s} if trial.has_battery else {}
                at_s, _ = box.lose_supply(trial.for_s, own)
                source = box.source
                assert isinstance(source, Generator)
                if trial.has_battery:
                    box.add_event(events.disturbance("interruption", 1.0, trial.for_s * 60.0, 0.0))
                begin_ns = self._start_ns + round(at_s * 1e9)
                self.dark_ns[box_id] = begin_ns, begin_ns + round(trial.for_s * 1e9)

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            now_ns = time.monotonic_ns()
            with self._lock:
                for box_id, box in self.boxes.items():
                    if box_id in self._still:
                        continue
                    cable = self._cables[box_id]
                    box.tick(now_ns)
                    cable.flush(now_ns)
                    while data := cable.receive():
                        box.receive(data)
