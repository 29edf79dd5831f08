"""World: two Boxes at each gateway, and faults that make them silent; it plays a schedule."""

import signal
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from opq_sim.faults.gateway.service import ServiceError
from opq_sim.faults.silence.boxes import RATE_HZ, TrialBoxes
from opq_sim.faults.silence.evidence import FoundOutage, StoredRow, outage_lines, stored_outages, stored_rows
from opq_sim.faults.silence.gateways_world import GatewaysWorld, send
from opq_sim.faults.silence.schedule import SilenceSchedule, SilenceTrial

SETTLE_S: Final = 240.0
QUOTA_PERIOD_S: Final = 0.2
JUDGED_S: Final = 12.0
"""Mauka looks every 2 s, and what comes from a gateway's disk is judged within some seconds."""


@dataclass(slots=True)
class SilenceEvidence:
    """Everything that a schedule left."""

    dark_ns: dict[str, tuple[int, int]] = field(default_factory=dict)
    skipped_s: dict[str, float] = field(default_factory=dict)
    """By Box, seconds of samples that it did not take, because it stood still for too long."""
    begun_ns: int = 0
    rows: list[StoredRow] = field(default_factory=list)
    outages: list[FoundOutage] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    """Boxes of outages that were reported and then withdrawn."""
    problems: list[str] = field(default_factory=list)


class SilenceWorld(GatewaysWorld):
    """Everything of one schedule, for the `with` block. Raises ServiceError: it did not come up."""

    def __init__(self, schedule: SilenceSchedule, folder: Path) -> None:
        self._schedule = schedule
        trials = {trial.gateway: trial for trial in schedule.trials}
        gateways = {number: trial.box_ids for number, trial in trials.items()}
        boxes = TrialBoxes(
            [box_id for trial in schedule.trials for box_id in trial.box_ids],
            folder / "ports",
            [box_id for trial in schedule.trials if trial.has_gps for box_id in trial.box_ids],
        )
        by_wire = [number for number, trial in trials.items() if trial.kind == "network_gone"]
        super().__init__(schedule.seed, folder, boxes, gateways, by_wire)
        self._slow: dict[int, float] = {}
        """Gateway -> share of the time in which it may run."""

    def find_evidence(self) -> SilenceEvidence:
        """Plays the schedule, waits until all is measured and judged, and reads store and log."""
        evidence = SilenceEvidence(begun_ns=time.time_ns())
        self.play(
            [(trial.at_s, partial(self._act, trial, True)) for trial in self._schedule.trials]
            + [(trial.end_s, partial(self._act, trial, False)) for trial in self._schedule.trials]
        )
        try:
            self.wait(self.not_measured(), SETTLE_S, "all Boxes are measured again")
            self.wait(self._numbers_missing, SETTLE_S, "all that was measured is stored")
        except ServiceError as error:
            evidence.problems.append(str(error))
        self.run(JUDGED_S)
        evidence.dark_ns = self.boxes.dark_ns
        evidence.skipped_s = {box_id: box.skipped / RATE_HZ for box_id, box in self.boxes.boxes.items()}
        evidence.rows = stored_rows(self.data_dir)
        evidence.outages = stored_outages(self.data_dir)
        evidence.withdrawn = withdrawn_outages(self._folder / "mauka.log")
        return evidence

    def _act(self, trial: SilenceTrial, begins: bool) -> None:
        gateway = self.gateways[trial.gateway]
        stop = signal.SIGSTOP if begins else signal.SIGCONT
        match trial.kind:
            case "starved":
                if begins:
                    self._slow[trial.gateway] = trial.quota
                else:
                    self._slow.pop(trial.gateway)
                send(gateway, signal.SIGCONT)
            case "boxes_stopped":
                self.boxes.stand_still(trial.box_ids, begins)
            case "gateway_stopped":
                send(gateway, stop)
            case "gateway_killed":
                (gateway.kill if begins else gateway.start)()
            case "line_pulled":
                self.boxes.pull_line(trial.box_ids, begins)
            case "network_gone":
                self.wires[trial.gateway].cut = begins
            case "broker_stopped":
                send(self.services["triggering-broker"], stop)
            case "mauka_stopped":
                send(self.services["mauka"], stop)
            case _:
                if begins:
                    self.boxes.lose_supply(trial.dark_ids, trial.for_s, trial.has_battery)

    def _pass_tick(self) -> None:
        for number, quota in self._slow.items():
            runs = time.monotonic() % QUOTA_PERIOD_S < quota * QUOTA_PERIOD_S
            send(self.gateways[number], signal.SIGCONT if runs else signal.SIGSTOP)

    def _numbers_missing(self) -> str | None:
        killed = {
            box_id
            for trial in self._schedule.trials
            if trial.kind == "gateway_killed"  # what it had not stored is measured again, with new numbers
            for box_id in trial.box_ids
        }
        numbers: dict[str, list[int]] = {}
        for row in stored_rows(self.data_dir):
            if row.box_id not in killed and row.sequence is not None:
                numbers.setdefault(row.box_id, []).append(row.sequence)
        holes = [box_id for box_id, own in numbers.items() if max(own) - min(own) + 1 != len(set(own))]
        return f"numbers are missing of Boxes {', '.join(holes)}" if holes else None


def withdrawn_outages(mauka_log: Path) -> list[str]:
    """Boxes whose outage was reported and then withdrawn."""
    return [str(line["box_id"]) for line in outage_lines(mauka_log) if line["event"] == "outage.withdrawn"]
