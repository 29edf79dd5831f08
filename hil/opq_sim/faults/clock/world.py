"""World: gateways whose clocks are set, or the clocks of their Boxes, with dips and losses of supply."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from opq_proto.messages import TimeSource
from opq_sim.faults.clock.evidence import StoredEvents, newest_rows, stored_events
from opq_sim.faults.clock.schedule import DOWN_S, ClockDip, ClockSchedules, ClockTrial
from opq_sim.faults.cloud.stored_rows import store_progress
from opq_sim.faults.gateway.child import NOT_SYNCHRONISED
from opq_sim.faults.gateway.fork_server import ForkServer
from opq_sim.faults.gateway.service import ServiceError
from opq_sim.faults.silence.boxes import TrialBoxes
from opq_sim.faults.silence.evidence import stored_rows
from opq_sim.faults.silence.gateways_world import GatewaysWorld
from opq_sim.faults.silence.world import JUDGED_S, withdrawn_outages
from opq_sim.foreign.generations import foreign_host
from opq_sim.foreign.host import CALIBRATION, ForeignHost
from opq_sim.foreign.leg_box import lowest_mean
from opq_sim.mains import events
from opq_sim.mains.generator import Generator

BESIDE: Final = 24_000
"""Samples around a dip that its event asks for, and some more."""
DIP_WINDOWS: Final = 120
"""A dip of an original Box is over within so many of its next windows."""
DIP_SHARE: Final = 0.9
SHARE_WITHIN: Final = 0.0005
"""What noise and a converter's steps change in a mean."""
SYNCHRONISED_NS: Final = 2_000_000
SETTLE_S: Final = 120.0
QUIET_S: Final = 8.0
CLOUD: Final = {
    "triggering_service": {"asking": {"most_boxes": 1}},  # a gateway's dips are its own
    "event_service": {"v_per_lsb_fallback": 1 / CALIBRATION},
}
FREE_NS: Final = 10**9
"""Clock of a Box that has not learnt the time since its start."""


@dataclass(slots=True)
class ClockEvidence:
    """Everything that the schedules left."""

    stored: StoredEvents = field(default_factory=StoredEvents)
    withdrawn: list[str] = field(default_factory=list)
    """Boxes of outages that were reported and then withdrawn."""
    problems: list[str] = field(default_factory=list)
    not_sampled: set[tuple[str, float]] = field(default_factory=set)
    """(Box, `at_s` of a dip) where this machine was too busy for the Box to sample all of it, or for the
    dip to come before or after the loss of supply as it should."""
    not_shown: set[tuple[str, float]] = field(default_factory=set)
    """(Box, `at_s` of a dip) where no figure that an original Box sends falls below the limit."""
    clocks_set: int = 0
    """Number of Measurements that report that a clock was set."""


class ClockWorld(GatewaysWorld):
    """Everything of one seed, for the `with` block. Raises ServiceError: it did not come up."""

    def __init__(self, schedules: ClockSchedules, folder: Path, server: ForkServer | None = None) -> None:
        self._trials = schedules.trials
        own = [trial for trial in self._trials if trial.kind != "original"]
        boxes = TrialBoxes(
            [box_id for trial in own for box_id in trial.box_ids], folder / "ports", (), FREE_NS
        )
        gateways = {trial.gateway: trial.box_ids for trial in own}
        super().__init__(schedules.seed, folder, boxes, gateways, (), CLOUD, server)
        self._hosts: dict[int, ForeignHost] = {}
        self._dipped: list[tuple[str, float, int]] = []  # (Box, the dip's `at_s`, its first sample)
        self._not_shown: set[tuple[str, float]] = set()
        for trial in own:
            if trial.kind != "own_clock":
                self.set_clock(trial.gateway, trial.ahead_s, NOT_SYNCHRONISED)

    def find_evidence(self) -> ClockEvidence:
        """Plays the schedules, waits until all is judged, and reads store and log."""
        evidence = ClockEvidence()
        self.play([one for trial in self._trials for one in self._actions(trial)])
        try:
            self.wait(self.not_measured(), SETTLE_S, "all Boxes are measured again")
            self.run(JUDGED_S if any(trial.dark for trial in self._trials) else 0.0)
            self.wait(self._settling(), SETTLE_S, "all events are analysed")
        except ServiceError as error:
            evidence.problems.append(str(error))
        evidence.not_sampled = {
            (box_id, at_s)
            for box_id, at_s, first in self._dipped
            for begin, end in self.boxes.boxes[box_id].skips
            if begin - BESIDE < first < end + BESIDE
        }
        evidence.not_shown = self._not_shown
        evidence.not_sampled |= {
            (box_id, at_s)
            for box_id, at_s, first in self._dipped
            if self.boxes.is_dark(box_id, first - BESIDE, first + BESIDE)
        }
        evidence.stored = stored_events(self.data_dir)
        evidence.withdrawn = withdrawn_outages(self._folder / "mauka.log")
        evidence.clocks_set = sum("clock_set_s" in row.metrics for row in stored_rows(self.data_dir))
        return evidence

    def _open_more(self, opening: ExitStack) -> None:
        for trial in self._trials:
            if trial.kind == "own_clock":
                self.boxes.set_clock(trial.box_ids[0], TimeSource.NTP, trial.ahead_s)
            elif trial.kind == "original":
                sources = {box_id: Generator(seed=int(box_id)) for box_id in trial.box_ids}
                host = foreign_host(trial.generation, sources, self.keys, self.cloud_offset)
                self._hosts[trial.gateway] = opening.enter_context(host)
                host.step_clock(trial.ahead_s)

    def _actions(self, trial: ClockTrial) -> list[tuple[float, Callable[[], object]]]:
        found: list[tuple[float, Callable[[], object]]] = [
            (dip.at_s, partial(self._dip, trial, dip)) for dip in trial.dips
        ]
        ahead_s = trial.ahead_s
        for number, step in enumerate(trial.steps):
            ahead_s += step.by_s
            is_last = number == len(trial.steps) - 1
            found.append((step.at_s, partial(self._step, trial, ahead_s, step.by_s, is_last)))
            if trial.kind == "gateway_restarted":
                gateway = self.gateways[trial.gateway]
                found += [(step.at_s - 0.1, gateway.kill), (step.at_s + DOWN_S, gateway.start)]
        if trial.dark is not None:
            box_id, (at_s, for_s) = trial.box_ids[0], trial.dark
            found.append((at_s, partial(self.boxes.lose_supply, (box_id,), for_s)))
            if trial.kind.startswith("gps"):
                found.append((at_s + for_s / 2, partial(self.boxes.set_clock, box_id, TimeSource.FREE)))
                lock_s = max(trial.steps[-1].at_s, at_s + for_s + trial.lock_again_s)
                found.append((lock_s, partial(self.boxes.set_clock, box_id, TimeSource.GPS)))
        return found

    def _step(self, trial: ClockTrial, ahead_s: float, by_s: float, is_last: bool) -> None:
        box_id = trial.box_ids[0]
        if trial.kind == "original":
            self._hosts[trial.gateway].step_clock(by_s)
        elif trial.kind == "own_clock":
            self.boxes.set_clock(box_id, TimeSource.NTP, ahead_s)
        elif trial.kind.startswith("gps") and is_last:
            if trial.dark is None or not trial.dark[0] < trial.steps[-1].at_s < sum(trial.dark):
                self.boxes.set_clock(box_id, TimeSource.GPS)
        else:
            synchronised = trial.kind == "chrony_late" and is_last
            self.set_clock(trial.gateway, ahead_s, SYNCHRONISED_NS if synchronised else NOT_SYNCHRONISED)

    def _dip(self, trial: ClockTrial, dip: ClockDip) -> None:
        for box_id in trial.box_ids:
            if trial.kind == "original":
                depth = 1.0 - dip.residual_percent / 100.0
                event = events.disturbance("sag", depth, dip.cycles)
                host = self._hosts[trial.gateway]
                host.add_event(box_id, event)
                shares = host.coming_shares(box_id, DIP_WINDOWS)
                if trial.generation == "leg" and lowest_mean(*shares) > DIP_SHARE - SHARE_WITHIN:
                    self._not_shown.add((box_id, dip.at_s))
            else:
                first = self.boxes.dip(box_id, dip.residual_percent, dip.cycles)
                self._dipped.append((box_id, dip.at_s, first))

    def not_measured(self) -> Callable[[], str | None]:
        """Makes a condition: something new of each Box is stored; its time may be any."""
        before = newest_rows(self.data_dir)

        def objection() -> str | None:
            now = newest_rows(self.data_dir)
            box_ids = [box_id for trial in self._trials for box_id in trial.box_ids]
            late = [box_id for box_id in box_ids if now.get(box_id, 0) <= before.get(box_id, 0)]
            return f"nothing new of Boxes {', '.join(late)}" if late else None

        return objection

    def _settling(self) -> Callable[[], str | None]:
        """Makes a condition that names unfinished work, or what still changes."""
        moved_s, before = time.monotonic(), (0, 0)

        def objection() -> str | None:
            nonlocal moved_s, before
            progress = store_progress(self.data_dir)
            if progress is None:
                return "the store cannot be read"
            if (progress.events, progress.findings) != before:
                before, moved_s = (progress.events, progress.findings), time.monotonic()
            if progress.unfinished or progress.unanalysed:
                return f"{progress.unfinished} events are open, {progress.unanalysed} are not analysed"
            return "something still moves" if time.monotonic() - moved_s < QUIET_S else None

        return objection
