"""Events on demand: a Unix socket `control` in the folder of the ports, one JSON object per line each way.

    {"do": "event", "box": "1", "kind": "sag", "depth": 0.3, "cycles": 10, "angle_deg": 0}
    {"ok": true, "box": "1", "kind": "sag", "depth": 0.3, "cycles": 10, "words": "sag to 0.7 ...", ...}
    {"do": "event", "box": "1", "kind": "supply_lost", "seconds": 30, "values": {"battery_s": 10}}
    {"do": "event", "cause": "fault", "at": "feeder2/3.1km", "values": {"type": "LG", "clear_ms": 120}}
    {"do": "status"}, {"do": "stop"}
    {"do": "list"}   ->   {"ok": true, "boxes": {"1": "/dev/pts/3"}}

A request that is not understood is answered with `{"ok": false, "error": ...}` and counted. So is `stop`
where another program runs the Boxes and would start them again. `serve` runs a host and its socket, for
processes that do nothing else.
"""

import contextlib
import json
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from opq_proto.errors import ConfigError, OpqError, PortBusyError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_sim.box.box import Box
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.mains.disturbance import MainsDisturbance, PlacedDisturbance
from opq_sim.mains.grid_events import GridEvent
from opq_sim.mains.on_demand import numbers_for, on_demand, words
from opq_sim.power_system.box_times import BoxOutage, BoxTimes, outages_of, write_box_times
from opq_sim.power_system.causes.catalogue import cause_of
from opq_sim.power_system.disturbance_truth import TruthFiles
from opq_sim.power_system.network_source import power_system_under
from opq_sim.power_system.power_source import box_times_of

NAME = "control"
LINE_BYTES = 4096
CONNECTIONS = 16
"""Connections at a time; a further one takes the place of the one that has been silent for longest."""
HIGHEST = 1e12
"""Largest amount of a number in a request."""
NUMBER_KEYS = ("depth", "cycles", "angle_deg", "hz", "degrees")
EVENT_KEYS = ("do", "box", "kind", *NUMBER_KEYS)
CAUSE_KEYS = ("do", "cause", "at", "values")
SUPPLY_LOST = "supply_lost"
"""Kind of an event that takes the Box's own supply."""
SUPPLY_KEYS = ("do", "box", "kind", "seconds", "values")
"""Keys of such a request."""
ANSWER_S = 60.0
"""How long an answer may take: a process that stands still for seconds has perhaps taken the request."""
LOST_S = 30.0
"""Duration of a supply loss where the request gives none."""


class HostedBox(Protocol):
    """A Box that has samples of its own."""

    @property
    def source(self) -> SampleSource: ...


class EventHost(Protocol):
    """A program part that runs Boxes which can be disturbed: `BoxHost`, or a host of Boxes without ptys."""

    on_open: Callable[[], object] | None

    @property
    def clock(self) -> RunClock: ...

    @property
    def boxes(self) -> Mapping[str, HostedBox]: ...

    @property
    def ports(self) -> dict[str, str]: ...

    def add_event(
        self, box_id: str, event: GridEvent | MainsDisturbance
    ) -> GridEvent | PlacedDisturbance: ...

    def run(self, stop: threading.Event) -> None: ...


class Control:
    """Serves one host of Boxes; `run` in its own thread.

    Args:
        ended_by: a sentence that says what ends the Boxes where `stop` does not; empty if `stop` ends them.
    Attributes:
        malformed: requests that were not understood or not possible.
    """

    def __init__(self, host: EventHost, folder: Path, ended_by: str = "") -> None:
        self.malformed = 0
        self._ended_by = ended_by
        self._host = host
        self._folder = folder
        self._stop = threading.Event()
        self._pending: dict[socket.socket, bytes] = {}
        """Connection -> its line so far; the one that has been silent for longest is the first."""
        self._log = log.get(service="boxes")
        self._refusals = RateLimitedLog(self._log)

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Answers requests until `stop`.

        Raises:
            PortBusyError: another process hosts Boxes in this folder.
        """
        self._stop = stop
        with _listen(self._folder) as listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            if ready is not None:
                ready.set()
            while not stop.is_set():
                for key, _ in selector.select(0.1):
                    if not isinstance(key.fileobj, socket.socket):
                        continue
                    if key.fileobj is listener:
                        self._accept(listener, selector)
                    elif key.fileobj in self._pending and not self._read(key.fileobj):
                        self._end(key.fileobj, selector)
            for connection in self._pending:
                connection.close()
            self._pending.clear()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Carries out the request of one line and returns the answer."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("want a JSON object")
            if request.get("do") == "list":
                return {"ok": True, "boxes": self._host.ports}
            if request.get("do") == "event":
                return {"ok": True, **(self._cause(request) if "cause" in request else self._event(request))}
            if request.get("do") == "status":
                return {"ok": True, **self._status()}
            if request.get("do") == "stop":
                if self._ended_by:
                    raise ValueError(self._ended_by)
                self._stop.set()
                return {"ok": True, "boxes": list(self._host.boxes)}
            raise ValueError(f"do is {request.get('do')!r}; want 'event', 'list', 'status' or 'stop'")
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, OpqError) as error:
            self.malformed += 1
            self._refusals.warning("control.refused", reason=str(error)[:200], malformed=self.malformed)
            return {"ok": False, "error": str(error)}

    def _status(self) -> dict[str, Any]:
        """The Boxes that run, and the state of their network; `network` is null without one."""
        system = power_system_under(self._host.boxes.values())
        network = None
        if system is not None:
            latest = system.latest
            network = {
                "reached_s": round(system.reached_s, 3),
                "disturbances": system.happened,
                "refused": len(system.refused),
                "latest": None if latest is None else {"id": latest.number, "words": latest.solved.words},
            }
        return {"boxes": self._host.ports, "network": network, "malformed": self.malformed}

    def _cause(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Adds a cause to the network that the Boxes are connected to."""
        _allow(request, CAUSE_KEYS)
        system = power_system_under(self._host.boxes.values())
        if system is None:
            raise ValueError("these Boxes have no network; give a scenario with one, or a kind and a box")
        values = request.get("values", {})
        if not isinstance(values, dict):
            raise ValueError(f"values is {values!r}; want a table")

        cause = cause_of(str(request["cause"]), str(request.get("at", "")), values)
        planned = system.add(cause)
        self._log.info("cause.added", cause=cause.name, at=cause.at, number=planned.number)
        words, at_s = planned.solved.words, round(planned.at_s, 6)
        return {"cause": cause.name, "at": cause.at, "id": planned.number, "words": words, "at_s": at_s}

    def _supply_lost(self, request: Mapping[str, Any], box_id: str) -> dict[str, Any]:
        """Takes a Box's own supply away."""
        _allow(request, SUPPLY_KEYS)
        box, values, given_s = (
            self._host.boxes[box_id],
            request.get("values", {}),
            _number(request, "seconds"),
        )
        if not isinstance(values, dict):
            raise ValueError(f"values is {values!r}; want a table")
        if not isinstance(box, Box) or box_id not in self._host.ports:
            raise ValueError(f"box {box_id} has no supply of its own; want one that runs on a pty")
        for_s = LOST_S if given_s is None else given_s
        at_s, supply = box.lose_supply(for_s, values)
        self._log.info("supply.lost", box_id=box_id, at_s=at_s, seconds=for_s)
        words = f"supply lost for {for_s:g} s, {supply.words}"
        return {"box": box_id, "kind": SUPPLY_LOST, "words": words, "at_s": at_s}

    def _event(self, request: Mapping[str, Any]) -> dict[str, Any]:
        box_id = str(request.get("box", ""))
        if box_id not in self._host.boxes:
            raise ValueError(f"box is {box_id!r}; hosted here: {', '.join(self._host.boxes)}")
        if request.get("kind") == SUPPLY_LOST:
            return self._supply_lost(request, box_id)
        _allow(request, EVENT_KEYS)
        given = {key: value for key in NUMBER_KEYS if (value := _number(request, key)) is not None}
        kind = str(request.get("kind", ""))
        numbers = numbers_for(kind, given)
        source = self._host.boxes[box_id].source
        wanted = on_demand(kind, numbers, source.nominal_v, source.nominal_hz)
        event = self._host.add_event(box_id, wanted)
        self._log.info("event.added", box_id=box_id, kind=kind, **asdict(numbers))
        return {
            "box": box_id,
            "kind": kind,
            **asdict(numbers),
            "words": words(kind, numbers),
            "nominal_v": source.nominal_v,
            "at_cycle": event.start_cycles,
        }

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            if len(self._pending) >= CONNECTIONS:
                self._end(next(iter(self._pending)), selector)
            connection.settimeout(0.2)
            self._pending[connection] = b""
            selector.register(connection, selectors.EVENT_READ)

    def _end(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        selector.unregister(connection)
        self._pending.pop(connection, None)
        connection.close()

    def _read(self, connection: socket.socket) -> bool:
        """Reads from a connection and answers whole lines; False when the connection is closed."""
        try:
            data = connection.recv(LINE_BYTES)
            *lines, rest = (self._pending.pop(connection) + data).split(b"\n")
            if len(rest) > LINE_BYTES:
                lines.append(rest)
                data = b""
            self._pending[connection] = rest
            for line in lines:
                connection.sendall(json.dumps(self.answer(line)).encode() + b"\n")
        except OSError:
            return False  # the peer is gone, or does not read its answers
        return bool(data)


def _number(request: Mapping[str, Any], key: str) -> float | None:
    value = request.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -HIGHEST <= value <= HIGHEST:
        raise ValueError(f"{key} is {str(value)[:40]}; want a number between -{HIGHEST:g} and {HIGHEST:g}")
    return float(value)


def _allow(request: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    unknown = [key for key in request if key not in keys]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; allowed: {', '.join(keys)}")


@contextlib.contextmanager
def _listen(folder: Path) -> Iterator[socket.socket]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    with _short(folder) as short, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(short)
        except OSError as error:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                if other.connect_ex(short) == 0:
                    raise PortBusyError(
                        f"boxes: {path} is in use: Boxes run in this folder; give another"
                    ) from error
            path.unlink(missing_ok=True)  # left over from a process that was killed
            listener.bind(short)
        listener.listen(8 * CONNECTIONS)  # a full queue refuses a further peer at once
        listener.setblocking(False)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path to `folder` below the kernel's limit of 108 bytes for sockets, however deep the folder is."""
    if len(os.fsencode(folder / NAME)) < 100:
        yield str(folder / NAME)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


def request_control(folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Sends a request to the Boxes that run in `folder` and returns their answer.

    Raises:
        OpqError: no Boxes run there, they do not answer, or they refuse (with their error text).
    """
    try:
        with _short(folder) as short, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(short)
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline(65536)
    except OSError as error:
        raise OpqError(
            f"no Boxes answer at {folder / NAME} ({error.strerror or error}); start some with "
            "`opq-tools up --sim 3` or `opq-tools sim 3`, or name the folder of running ones by --data-dir"
        ) from error
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise OpqError(f"{folder / NAME}: the answer is not JSON") from error
    if not isinstance(answer, dict) or not answer.get("ok"):
        raise OpqError(str(answer.get("error")) if isinstance(answer, dict) else "no answer")
    return answer


@contextlib.contextmanager
def truth_written(host: EventHost, folder: Path | None) -> Iterator[None]:
    """Writes the truth of a host's run (disturbances, outages) into a folder; does nothing where it is None.

    Raises:
        ConfigError: these Boxes are connected to no network.
    """
    if folder is None:
        yield
        return

    system = power_system_under(host.boxes.values())
    if system is None:
        raise ConfigError("--truth: only a scenario with a network has a truth; try --scenario village")
    files: list[TruthFiles] = []
    written: dict[str, BoxTimes] = {}
    also = host.on_open

    def outages() -> Sequence[BoxOutage]:
        """Outages, with those of supplies that were lost on demand."""
        times = box_times_of(host.boxes)
        if times != written:
            written.update(times)
            write_box_times(folder, times, host.clock.start_ns)
        return outages_of(times)

    def opened() -> None:
        files.append(TruthFiles(folder, system, host.clock.start_ns, outages))
        outages()
        if also is not None:
            also()

    host.on_open = opened
    try:
        yield
    finally:
        for each in files:
            each.close()


def serve(host: EventHost, folder: Path | None, stop: threading.Event, ended_by: str = "") -> None:
    """Hosts Boxes until `stop`, with a control socket in `folder`; `ended_by` is described at `Control`.

    Raises:
        PortBusyError: other Boxes run in `folder`.
    """
    if folder is None:
        host.run(stop)
        return
    ready = threading.Event()
    problems: list[BaseException] = []

    def control() -> None:
        try:
            Control(host, folder, ended_by).run(stop, ready)
        except (OpqError, OSError) as error:
            problems.append(error)
            stop.set()
            ready.set()

    thread = threading.Thread(target=control, name="control")
    thread.start()
    try:
        ready.wait()
        if not problems:
            host.run(stop)
    finally:
        stop.set()
        thread.join()
    if problems:
        raise problems[0]
