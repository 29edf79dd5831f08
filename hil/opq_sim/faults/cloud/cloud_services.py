"""CloudServices: each service of the cloud as a process of its own on one store, and a second Makai."""

import threading
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import tomli_w

from opq_proto.kit import ports
from opq_sim.faults.cloud.schedule import SERVICES
from opq_sim.faults.gateway.fork_server import ForkServer
from opq_sim.faults.gateway.service import ServiceError, ServiceProcess

GUESTS: Final = ("second", "other")
"""Makais that join and leave: on the same store, and with a store of their own."""
BROKERS: Final = ("triggering-broker", "acquisition-broker")
MAKAI: Final = ("triggering-service", "event-service")
SCALED: Final = {
    "triggering_service": {
        "ack_interval_s": 0.2,
        "batch_ms": 50,
        "alive_s": 2.0,
        "pre_ms": 500,
        "post_ms": 500,
    },
    "event_service": {"answer_timeout_s": 7.0, "ask_again_s": 2.0, "grouping_s": 2.0},
    "mauka": {"heartbeat_s": 1.0},
}
"""Time-outs on the scaled clock; waveforms are shorter, as five Boxes and their world share a process."""
LOADED: Final = (
    "opq_cloud.__main__",
    "opq_cloud.makai.triggering_broker",
    "opq_cloud.makai.acquisition_broker",
    "opq_cloud.makai.brokers.broker_traffic",
    "opq_cloud.makai.brokers.command_numbers",
    "opq_cloud.makai.triggering_service",
    "opq_cloud.makai.event_service",
    "opq_cloud.mauka.service",
)
"""Modules of SERVICES that a fork server loads."""
MAX_STOP_S: Final = 10.0
"""Limit for the end of a process; each promises to end its services within 5 s."""
HEALTH: Final = {
    "triggering-broker": "triggering_broker_health",
    "acquisition-broker": "acquisition_broker_health",
    "triggering-service": "triggering_service_health",
    "event-service": "event_service_health",
    "mauka": "mauka_health",
}
HEALTH_TIMEOUT_S: Final = 2.0


class CloudServices:
    """The cloud's services, for one thread; `folder` has configuration and logs, `data_dir` the store."""

    def __init__(
        self,
        folder: Path,
        data_dir: Path,
        keys: Path,
        clock: Path,
        offset: int,
        guests: Mapping[str, int],
        server: ForkServer | None,
    ) -> None:
        """`offset`: ports of the cloud; `guests`: ports that each of GUESTS binds itself. `server`: forks
        the processes.
        """
        self._server = server
        self._offset, self._clock, self._folder = offset, clock, folder
        first = _write(folder / "cloud.toml", data_dir, keys, {})
        self.all = {name: self._process(name, name, first, offset) for name in SERVICES}
        brokers = {
            "triggering_service": {
                "measurement_endpoint": ports.endpoint("triggering_backend", offset),
                "request_endpoint": ports.endpoint("command_backend", offset),
            },
            "event_service": {
                "answer_endpoint": ports.endpoint("response_backend", offset),
                "request_endpoint": ports.endpoint("command_backend", offset),
            },
        }
        places = dict(zip(GUESTS, (data_dir, data_dir / "other"), strict=True))
        files = {
            name: _write(folder / f"{name}.toml", place, keys, brokers) for name, place in places.items()
        }
        self._guests = {
            guest: [self._process(f"{guest}-{name}", name, file, guests[guest]) for name in MAKAI]
            for guest, file in files.items()
        }
        self.other_data_dir = places["other"]
        self._leaving: list[threading.Thread] = []
        self.stops_s: dict[str, float] = {}
        """Seconds that each needed to end."""
        self.problems: list[str] = []

    @property
    def processes(self) -> list[ServiceProcess]:
        """All processes, those of the guests too."""
        return [*self.all.values(), *(each for guest in self._guests.values() for each in guest)]

    def start(self) -> None:
        for service in self.all.values():
            service.start()

    def up(self) -> str | None:
        """Names the services that do not answer yet; None if all do."""
        absent = [name for name in SERVICES if not _answers(HEALTH[name], self._offset)]
        return f"no health of {', '.join(absent)}" if absent else None

    def tick(self, now_s: float) -> None:
        """Starts again what ended by itself."""
        for service in self.all.values():
            service.tick(now_s)

    def join(self, guest: str) -> None:
        """Starts a second Makai: on the same store (`second`) or with its own (`other`)."""
        for service in self._guests[guest]:
            service.start()

    def leave(self, guest: str) -> None:
        """Ends it in order, in the background."""
        for service in self._guests[guest]:
            thread = threading.Thread(target=self._stop, args=(service,), name=f"stop-{service.name}")
            thread.start()
            self._leaving.append(thread)

    def stop(self) -> None:
        """Sends SIGTERM to all; to the brokers once the others have ended."""
        for thread in self._leaving:
            thread.join()
        for brokers in (False, True):
            ending = [each for name, each in self.all.items() if (name in BROKERS) is brokers]
            with ThreadPoolExecutor(len(ending)) as pool:
                list(pool.map(self._stop, ending))

    def kill(self) -> None:
        """Kills what still runs."""
        for service in self.processes:
            service.kill()

    def _stop(self, service: ServiceProcess) -> None:
        try:
            took_s = service.stop()
        except ServiceError as error:
            self.problems.append(str(error))
            return
        self.stops_s[service.name] = took_s
        if took_s > MAX_STOP_S:
            self.problems.append(f"{service.name} took {took_s:.1f} s to end, {MAX_STOP_S:g} s at most")

    def _process(self, name: str, command: str, config: Path, offset: int) -> ServiceProcess:
        arguments = ["opq_cloud", command, "--config", str(config), "--port-offset", str(offset)]
        return ServiceProcess(name, arguments, self._clock, self._folder / f"{name}.log", self._server)


def _write(path: Path, data_dir: Path, keys: Path, more: dict[str, dict[str, str]]) -> Path:
    sections = {name: {**SCALED.get(name, {}), **more.get(name, {})} for name in (*SCALED, *more)}
    settings = {"data_dir": str(data_dir), "keys": {"folder": str(keys)}, **sections}
    path.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return path


def _answers(port: str, offset: int) -> bool:
    try:
        url = f"http://127.0.0.1:{ports.with_offset(port, offset)}/"
        with urllib.request.urlopen(url, timeout=HEALTH_TIMEOUT_S):
            return True
    except OSError:
        return False
