"""World: many gateways with two Boxes each, and the services of a cloud, each a process; it plays a schedule.

Boxes -> cables -> gateway 1 .. n -> [wire 1 .. n] -> brokers -> triggering-service -> store <- mauka
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli_w

from opq_hil.gateway_faults.child import put_step_ns
from opq_hil.gateway_faults.places import RELAYED, free_offset, held_ports
from opq_hil.gateway_faults.service import ServiceError, ServiceProcess
from opq_hil.gateway_faults.wire import FaultyRelay
from opq_hil.silence_faults.boxes import RATE_HZ, TrialBoxes
from opq_hil.silence_faults.evidence import FoundOutage, StoredRow, outage_lines, stored_outages, stored_rows
from opq_hil.silence_faults.schedule import SilenceSchedule, SilenceTrial
from opq_proto import ports
from opq_proto.keys import KeyFolder

SERVICES: Final = ("triggering-broker", "acquisition-broker", "triggering-service", "event-service", "mauka")
UPLINK_KEYS: Final = dict(
    zip(RELAYED, ("trigger_endpoint", "command_endpoint", "response_endpoint"), strict=True)
)
UP_S: Final = 180.0
SETTLE_S: Final = 240.0
TICK_S: Final = 0.02
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


class SilenceWorld:
    """Everything of one schedule, for the `with` block. Raises ServiceError: it did not come up."""

    def __init__(self, schedule: SilenceSchedule, folder: Path) -> None:
        self._schedule, self._folder = schedule, folder
        self._evidence = SilenceEvidence()
        self._opened = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        count = len(schedule.trials)
        offsets = free_offset(schedule.seed, 1 + 2 * count)
        self._ports = held_ports(offsets)
        cloud_offset, *rest = offsets
        self._keys = KeyFolder(folder / "curve")
        self._keys.create(True, [box_id for trial in schedule.trials for box_id in trial.box_ids])
        self._clock = folder / "clock"
        put_step_ns(self._clock, 0)
        self._data_dir = folder / "cloud"
        self._boxes = TrialBoxes(schedule.trials, folder / "ports")
        self._services = {name: self._service(name, cloud_offset) for name in SERVICES}
        brokers = {name: ports.with_offset(name, cloud_offset) for name in RELAYED}
        self._wires, self._gateways = [], []
        for trial, own, wire in zip(schedule.trials, rest[:count], rest[count:], strict=True):
            listen = {name: ports.with_offset(name, wire) for name in RELAYED}
            by_wire = trial.kind == "network_gone"
            if by_wire:
                self._wires.append(FaultyRelay(brokers, listen, schedule.seed))
            self._gateways.append(self._gateway(trial, own, listen if by_wire else brokers))
        self._slow: set[int] = set()

    def __enter__(self) -> "SilenceWorld":
        with ExitStack() as opening:
            opening.enter_context(self._ports)
            for process in (*self._services.values(), *self._gateways):
                opening.callback(self._end, process)
                process.start()
            for wire in self._wires:
                opening.enter_context(wire)
            opening.enter_context(self._boxes)
            self._wait(self._not_measured(time.time_ns()), UP_S, "all Boxes are measured")
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *what: object) -> None:
        self._opened.close()

    def play(self) -> SilenceEvidence:
        """Plays the schedule, waits until all is measured and judged, and reads store and log."""
        evidence = self._evidence
        evidence.begun_ns = time.time_ns()
        self._play()
        try:
            self._wait(self._not_measured(time.time_ns()), SETTLE_S, "all Boxes are measured again")
            self._wait(self._numbers_missing, SETTLE_S, "all that was measured is stored")
        except ServiceError as error:
            evidence.problems.append(str(error))
        self._run(JUDGED_S)
        evidence.dark_ns = self._boxes.dark_ns
        evidence.skipped_s = {box_id: box.skipped / RATE_HZ for box_id, box in self._boxes.boxes.items()}
        evidence.rows = stored_rows(self._data_dir)
        evidence.outages = stored_outages(self._data_dir)
        evidence.withdrawn = [
            str(line["box_id"])
            for line in outage_lines(self._folder / "mauka.log")
            if line["event"] == "outage.withdrawn"
        ]
        return evidence

    def _play(self) -> None:
        actions = sorted(
            [(trial.at_s, trial.gateway, True) for trial in self._schedule.trials]
            + [(trial.end_s, trial.gateway, False) for trial in self._schedule.trials]
        )
        begin_s = time.monotonic()
        while actions:
            now_s = time.monotonic() - begin_s
            while actions and actions[0][0] <= now_s:
                _, gateway, begins = actions.pop(0)
                self._act(self._schedule.trials[gateway], begins)
            self._run(TICK_S)

    def _act(self, trial: SilenceTrial, begins: bool) -> None:
        gateway = self._gateways[trial.gateway]
        match trial.kind:
            case "starved":
                (self._slow.add if begins else self._slow.discard)(trial.gateway)
                _send(gateway, signal.SIGCONT)
            case "boxes_stopped":
                self._boxes.stand_still(trial.box_ids, begins)
            case "gateway_stopped":
                _send(gateway, signal.SIGSTOP if begins else signal.SIGCONT)
            case "gateway_killed":
                (gateway.kill if begins else gateway.start)()
            case "line_pulled":
                self._boxes.pull_line(trial.box_ids, begins)
            case "network_gone":
                self._wires[trial.gateway].cut = begins
            case "broker_stopped":
                _send(self._services["triggering-broker"], signal.SIGSTOP if begins else signal.SIGCONT)
            case "mauka_stopped":
                _send(self._services["mauka"], signal.SIGSTOP if begins else signal.SIGCONT)
            case _:
                if begins:
                    self._boxes.lose_supply(trial)

    def _run(self, for_s: float) -> None:
        until_s = time.monotonic() + for_s
        while (now_s := time.monotonic()) < until_s:
            for number in self._slow:
                quota = self._schedule.trials[number].quota
                runs = now_s % QUOTA_PERIOD_S < quota * QUOTA_PERIOD_S
                _send(self._gateways[number], signal.SIGCONT if runs else signal.SIGSTOP)
            time.sleep(TICK_S)

    def _wait(self, condition: Callable[[], str | None], timeout_s: float, what: str) -> None:
        until_s = time.monotonic() + timeout_s
        while (objection := condition()) is not None:
            if time.monotonic() > until_s:
                words = {each.last_words for each in (*self._services.values(), *self._gateways)} - {""}
                logged = f"; {'; '.join(sorted(words))}" if words else ""
                raise ServiceError(f"not within {timeout_s:g} s: {what}: {objection}{logged}")
            self._run(2.0)

    def _not_measured(self, since_ns: int) -> Callable[[], str | None]:
        def objection() -> str | None:
            newest: dict[str, int] = {}
            for row in stored_rows(self._data_dir):
                newest[row.box_id] = max(newest.get(row.box_id, 0), row.end_ns)
            late = [box_id for box_id in self._boxes.boxes if newest.get(box_id, 0) < since_ns]
            return f"nothing new of Boxes {', '.join(late)}" if late else None

        return objection

    def _numbers_missing(self) -> str | None:
        killed = {
            box_id
            for trial in self._schedule.trials
            if trial.kind == "gateway_killed"  # what it had not stored is measured again, with new numbers
            for box_id in trial.box_ids
        }
        numbers: dict[str, list[int]] = {}
        for row in stored_rows(self._data_dir):
            if row.box_id not in killed:
                numbers.setdefault(row.box_id, []).append(row.sequence)
        holes = [box_id for box_id, own in numbers.items() if max(own) - min(own) + 1 != len(set(own))]
        return f"numbers are missing of Boxes {', '.join(holes)}" if holes else None

    def _gateway(self, trial: SilenceTrial, offset: int, brokers: dict[str, int]) -> ServiceProcess:
        name = f"gateway{trial.gateway}"
        settings: dict[str, Any] = {
            "data_dir": str(self._folder / name),
            "keys": {"folder": str(self._keys.root)},
            "measuring": {"flicker": False},
            "uplink": {UPLINK_KEYS[each]: f"tcp://127.0.0.1:{port}" for each, port in brokers.items()},
            "box": [{"id": box_id, "port": str(self._boxes.paths[box_id])} for box_id in trial.box_ids],
        }
        path = self._folder / f"{name}.toml"
        path.write_text(tomli_w.dumps(settings), encoding="utf-8")
        arguments = ["opq_gateway", "run", "--config", str(path), "--port-offset", str(offset)]
        return ServiceProcess(name, arguments, self._clock, self._folder / f"{name}.log")

    def _service(self, name: str, offset: int) -> ServiceProcess:
        path = self._folder / "cloud.toml"
        settings = {"data_dir": str(self._data_dir), "keys": {"folder": str(self._keys.root)}}
        path.write_text(tomli_w.dumps(settings), encoding="utf-8")
        arguments = ["opq_cloud", name, "--config", str(path), "--port-offset", str(offset)]
        return ServiceProcess(name, arguments, self._clock, self._folder / f"{name}.log")

    @staticmethod
    def _end(process: ServiceProcess) -> None:
        _send(process, signal.SIGCONT)
        process.kill()


def _send(process: ServiceProcess, number: signal.Signals) -> None:
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
