"""GatewaysWorld: many gateways with their Boxes, and the services of a cloud, each a process.

Boxes -> cables -> gateway 1 .. n -> [wire 1 .. n] -> brokers -> triggering-service -> store <- mauka
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import tomli_w

from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit import ports
from opq_sim.faults.gateway.child import MACHINES_STATE, put_step_ns
from opq_sim.faults.gateway.fork_server import ForkServer
from opq_sim.faults.gateway.places import RELAYED, free_offset, held_ports
from opq_sim.faults.gateway.service import ServiceError, ServiceProcess
from opq_sim.faults.gateway.wire import FaultyRelay
from opq_sim.faults.silence.boxes import TrialBoxes
from opq_sim.faults.silence.evidence import stored_rows

SERVICES: Final = ("triggering-broker", "acquisition-broker", "triggering-service", "event-service", "mauka")
UPLINK_KEYS: Final = dict(
    zip(RELAYED, ("trigger_endpoint", "command_endpoint", "response_endpoint"), strict=True)
)
UP_S: Final = 180.0
TICK_S: Final = 0.02


class GatewaysWorld:
    """Everything of one schedule, for the `with` block. Raises ServiceError: it did not come up.

    Attributes:
        boxes, gateways, services, wires: its parts; a gateway without Boxes on cables has no process.
    """

    def __init__(
        self,
        seed: int,
        folder: Path,
        boxes: TrialBoxes,
        gateways: Mapping[int, tuple[str, ...]],
        by_wire: Iterable[int] = (),
        cloud: Mapping[str, Any] | None = None,
        server: ForkServer | None = None,
    ) -> None:
        """:
        Args:
            gateways: number -> ids of its Boxes.
            by_wire: gateways whose network can be cut.
            cloud: settings of the cloud in addition to its places.
            server: forks the processes; None: each is started.
        """
        self.boxes, self._folder, self._server = boxes, folder, server
        self._opened = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        offsets = free_offset(seed, 1 + 2 * len(gateways))
        self._ports = held_ports(offsets)
        self.cloud_offset, *rest = offsets
        self.keys = KeyFolder(folder / "curve")
        self.keys.create(True, list(boxes.boxes))
        self.data_dir = folder / "cloud"
        self._settings = {
            "data_dir": str(self.data_dir),
            "keys": {"folder": str(self.keys.root)},
            **(cloud or {}),
        }
        self.services = {name: self._service(name) for name in SERVICES}
        brokers = {name: ports.with_offset(name, self.cloud_offset) for name in RELAYED}
        self.wires: dict[int, FaultyRelay] = {}
        self.gateways: dict[int, ServiceProcess] = {}
        for number, own, wire in zip(gateways, rest[: len(gateways)], rest[len(gateways) :], strict=True):
            listen = {name: ports.with_offset(name, wire) for name in RELAYED}
            if number in by_wire:
                self.wires[number] = FaultyRelay(brokers, listen, seed)
            uplink = listen if number in by_wire else brokers
            self.gateways[number] = self._gateway(number, gateways[number], own, uplink)

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self._ports)
            for process in self.processes:
                opening.callback(self._end, process)
                process.start()
            for wire in self.wires.values():
                opening.enter_context(wire)
            opening.enter_context(self.boxes)
            self._open_more(opening)
            self.wait(self.not_measured(), UP_S, "all Boxes are measured")
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *what: object) -> None:
        self._opened.close()

    @property
    def processes(self) -> tuple[ServiceProcess, ...]:
        """Services and gateways."""
        return (*self.services.values(), *self.gateways.values())

    def set_clock(self, gateway: int, ahead_s: float, bound_ns: int = MACHINES_STATE) -> None:
        """Sets a gateway's clock, as `put_step_ns`."""
        put_step_ns(self._clock(f"gateway{gateway}"), round(ahead_s * 1e9), bound_ns)

    def not_measured(self) -> Callable[[], str | None]:
        """Makes a condition: something of each Box that was sampled from now on is stored."""
        return self._not_stored_since(time.time_ns())

    def run(self, for_s: float) -> None:
        """Lets time pass."""
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            self._pass_tick()
            time.sleep(TICK_S)

    def play(self, actions: Sequence[tuple[float, Callable[[], object]]]) -> None:
        """Carries out (seconds from now, action), each at its time."""
        waiting = sorted(actions, key=lambda one: one[0])
        begin_s = time.monotonic()
        while waiting:
            while waiting and waiting[0][0] <= time.monotonic() - begin_s:
                waiting.pop(0)[1]()
            self.run(TICK_S)

    def wait(self, condition: Callable[[], str | None], timeout_s: float, what: str) -> None:
        """Waits until `condition` has no objection.

        Raises:
            ServiceError: it still has one after `timeout_s`.
        """
        until_s = time.monotonic() + timeout_s
        while (objection := condition()) is not None:
            if time.monotonic() > until_s:
                words = {each.last_words for each in self.processes} - {""}
                logged = f"; {'; '.join(sorted(words))}" if words else ""
                raise ServiceError(f"not within {timeout_s:g} s: {what}: {objection}{logged}")
            self.run(2.0)

    def _open_more(self, opening: ExitStack) -> None:
        """Opens what a kind of world has in addition."""

    def _pass_tick(self) -> None:
        """Does what a kind of world does in each tick."""

    def _not_stored_since(self, since_ns: int) -> Callable[[], str | None]:
        def objection() -> str | None:
            newest: dict[str, int] = {}
            for row in stored_rows(self.data_dir):
                newest[row.box_id] = max(newest.get(row.box_id, 0), row.end_ns)
            late = [box_id for box_id in self.boxes.boxes if newest.get(box_id, 0) < since_ns]
            return f"nothing new of Boxes {', '.join(late)}" if late else None

        return objection

    def _clock(self, name: str) -> Path:
        return self._folder / f"{name}.clock"

    def _gateway(
        self, number: int, box_ids: tuple[str, ...], offset: int, brokers: Mapping[str, int]
    ) -> ServiceProcess:
        name = f"gateway{number}"
        settings: dict[str, Any] = {
            "data_dir": str(self._folder / name),
            "keys": {"folder": str(self.keys.root)},
            "measuring": {"flicker": False},
            "uplink": {UPLINK_KEYS[each]: f"tcp://127.0.0.1:{port}" for each, port in brokers.items()},
            "box": [{"id": box_id, "port": str(self.boxes.paths[box_id])} for box_id in box_ids],
        }
        return self._process(name, settings, ["opq_gateway", "run"], offset)

    def _service(self, name: str) -> ServiceProcess:
        return self._process(name, self._settings, ["opq_cloud", name], self.cloud_offset)

    def _process(
        self, name: str, settings: Mapping[str, Any], command: list[str], offset: int
    ) -> ServiceProcess:
        path, clock = self._folder / f"{name}.toml", self._clock(name)
        path.write_text(tomli_w.dumps(settings), encoding="utf-8")
        put_step_ns(clock, 0)
        arguments = [*command, "--config", str(path), "--port-offset", str(offset)]
        return ServiceProcess(name, arguments, clock, self._folder / f"{name}.log", self._server)

    @staticmethod
    def _end(process: ServiceProcess) -> None:
        send(process, signal.SIGCONT)
        process.kill()


def send(process: ServiceProcess, number: signal.Signals) -> None:
    """Sends a signal to a process, if it runs."""
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
