"""The gateway: one process that serves any number of Boxes.

reader (one thread for all ports) -> intake -> ring
                                            -> measuring (one thread) -> feed, ledger -+
health (HTTP)                                                                          v
command handler (one thread)  <------------- commands --------------------  uplink (one thread)
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from opq_gateway.commands.claim_codes import ClaimCodes
from opq_gateway.commands.command_handler import CommandedBox, CommandHandler
from opq_gateway.commands.local_orders import LocalOrders
from opq_gateway.commands.order_proofs import OrderProofs, administrator_of
from opq_gateway.config import BoxSection, Config, box_folder, data_folder, key_folder
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.feed_readers import FeedReaders
from opq_gateway.local.health import HealthServer, pages_of
from opq_gateway.local.measured import ledgers_of
from opq_gateway.local.metrics import (
    GatewayMetrics,
    show_feed,
    show_gps,
    show_rings,
    show_shares,
    show_threads,
)
from opq_gateway.local.power import PowerFail
from opq_gateway.local.running_gateway import note_address
from opq_gateway.measured_shares import MeasuredShares
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.measuring.ledger_rows import ledger_reader_of
from opq_gateway.measuring.measuring import Measuring, measuring_of
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.sealer import Sealer
from opq_gateway.ring.syncing import Syncing
from opq_gateway.serial_side.box_settings import limits
from opq_gateway.serial_side.early_ports import EarlyPorts
from opq_gateway.serial_side.gps_comparison import GpsComparison
from opq_gateway.serial_side.intake import Intake
from opq_gateway.serial_side.outputs import Outputs
from opq_gateway.serial_side.reader import SerialReader
from opq_gateway.serial_side.serial_clock import Clocks
from opq_gateway.serial_side.station import BoxStation
from opq_gateway.serial_side.system_time import ClockWatch
from opq_gateway.setup.setup import SetupService
from opq_gateway.software_version import software_version
from opq_gateway.update.journal import UpdateFolder
from opq_gateway.update.updater import Updater
from opq_gateway.uplink.configured_uplink import places_of, queue_of, uplink_of
from opq_gateway.uplink.uplink import Uplink
from opq_proto.errors import KeyFileError, OpqError, PortBusyError
from opq_proto.keys.key_files import KeyFolder, missing_server_key, read_secret_file, read_server_key
from opq_proto.kit import log
from opq_proto.kit.http_server import url_of
from opq_proto.kit.system_record import GATEWAY, MeantService, identity_of, note_meant
from opq_proto.kit.watchdog import Heartbeats, Notifier, Watchdog
from opq_proto.kit.whole_file import open_private, private_folder

if TYPE_CHECKING:
    from opq_gateway.rules.edge_rules import EdgeRules

RESTART_S = 1.0
STOP_S = 2.0
WATCHED = frozenset({"reader", "measuring", "uplink", "commands"})
"""The gateway restarts when one of these threads hangs; a slow disk or nmcli does not justify a restart."""
PROBLEMS_SHOWN = 3
"""Most Boxes with a problem that the service manager's status line names."""


class Gateway:
    """Serves the Boxes of a configuration.

    Attributes:
        counters, statuses: by Box id, live.
    """

    def __init__(
        self,
        config: Config,
        early: EarlyPorts | None = None,
        on_trial: bool = False,
        port_offset: int = 0,
        config_file: Path | None = None,
    ) -> None:
        """Reads the keys; nothing is opened yet, except `early` ports. `on_trial`: an update is tried.

        `port_offset`: the offset that was added to the ports of `config`, which is of `config_file`.

        Raises:
            KeyFileError: a key file is missing or bad; the text names it and says where it comes from.
        """
        self.config = config
        self._early, self._on_trial, self._port_offset = early, on_trial, port_offset
        self._config_file = config_file
        keys = key_folder(config)
        _check_there(keys, [box.id for box in config.box])
        self._server_key = read_server_key(keys.server_public).public
        self._pairs = {box.id: read_secret_file(keys.box_secret(box.id)) for box in config.box}
        self.counters = {box.id: BoxCounters() for box in config.box}
        self.statuses = {box.id: BoxStatus(box.id, config.measurement_cycles) for box in config.box}
        self.claims = ClaimCodes(self.statuses)
        self.feed = MeasuredFeed()
        self.heartbeats = Heartbeats()
        self.shares = MeasuredShares(self.counters)
        self.metrics = GatewayMetrics(self.statuses, self.counters)
        show_shares(self.metrics, self.shares)
        self._log = log.get(service="gateway")
        self._clock_watch = ClockWatch()
        self._gps = GpsComparison(system=self._clock_watch.state, on_contradiction=self._gps_contradicts)
        show_gps(self.metrics, self._gps)

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Serves until `stop`; then everything ends within about two seconds.

        Raises:
            PortBusyError: the health address is taken, or another gateway has the data folder.
            OpqError: the data folder cannot be used.
        """
        assert self.config.health_endpoint is not None
        power = PowerFail(self.config.power, stop.set, report=self._report_power)
        with contextlib.ExitStack() as held:
            folder = data_folder(self.config)
            held.callback(os.close, _lock(folder))
            pages = pages_of(self.metrics, ledgers_of(self.config))
            orders = LocalOrders(folder, self.claims)
            health = HealthServer(
                self.config.health_endpoint,
                self.statuses,
                pages,
                orders,
                self._gps,
                self.counters[self.config.box[0].id],
                identity_of(folder.parent),
            )
            held.callback(health.close)
            held.callback(note_address(folder, health.port, self.config.health_endpoint))
            self._note_meant(folder.parent, self.config.health_endpoint, health.port)
            readers = FeedReaders(self.config, self.feed, self.statuses, self.counters, self.shares)
            held.callback(readers.close)
            setup = self._setup(stop, orders)
            held.callback(setup.close)
            held.enter_context(power.signal_caught())
            self._serve(stop, ready, power, {**readers.runs, **setup.runs})
        power.after_end()

    def _note_meant(self, data_dir: Path, endpoint: str, port: int) -> None:
        own = MeantService(GATEWAY, url_of(endpoint, port=port), self._port_offset)
        try:
            note_meant(data_dir, [own])
        except OSError as error:  # the gateway serves without it
            self._log.warning("system.not_noted", error=str(error))

    def _setup(self, stop: threading.Event, orders: LocalOrders) -> SetupService:
        keys = {box_id: pair.public.decode() for box_id, pair in self._pairs.items()}
        keys[""] = self._server_key.decode()
        return SetupService(self.config, self.statuses, self.counters, keys, self.feed, stop, orders)

    def _serve(
        self,
        stop: threading.Event,
        ready: threading.Event | None,
        power: PowerFail,
        reader_runs: Mapping[str, Callable[[threading.Event], None]],
    ) -> None:
        places = places_of(self.config, self._server_key)
        proofs = OrderProofs(partial(administrator_of, key_folder(self.config), places))
        commands = CommandHandler(
            self.config.longest_request_s, software=software_version(), claims=self.claims, proofs=proofs
        )
        queue = queue_of(self.config, self.counters)
        uplink = uplink_of(self.config, places, queue, commands.offer)
        rings = {box.id: self._ring(box.id) for box in self.config.box}
        measuring = measuring_of(
            self.config, self.statuses, self.counters, uplink, self.feed, rings, queue.last_end_ns
        )
        rules = self._rules(uplink)
        outputs_of_serial: Outputs = measuring if rules is None else rules.with_samples_from(measuring)
        reader = SerialReader(is_prompt=lambda: any(status.prompt for status in self.statuses.values()))
        clocks = Clocks(system=self._clock_watch.state, gps=self._gps)
        closing = [
            self._box(box, uplink, measuring, outputs_of_serial, commands, reader, rings, clocks)
            for box in self.config.box
        ]
        intervals = ledger_reader_of(self.config, queue, self.counters)
        for box_id, rows in intervals.rows.items():
            uplink.send_rows(box_id, rows)
        measuring_stop = threading.Event()  # stopped after the reader, so that everything read is measured
        outputs_stop = threading.Event()  # the uplink ends last, so that it sends the last measurements
        first = self.config.box[0].id
        serial = [self._thread("reader", first, reader.run, stop)]
        meters = [self._thread("measuring", first, measuring.run, measuring_stop)]
        outputs = [
            self._thread("commands", first, commands.run, outputs_stop),
            self._thread("uplink", first, uplink.run, outputs_stop),
            self._thread("ledger", first, measuring.ledgers.run, outputs_stop),
            self._thread("intervals", first, intervals.run, outputs_stop),
            self._thread(
                "syncing", first, Syncing(rings, self.counters, self.config.ring.sync_s).run, outputs_stop
            ),
        ]
        outputs += [self._thread(name, first, run, stop) for name, run in reader_runs.items()]
        if rules is not None:
            outputs.append(self._thread("rules", first, rules.run, stop))
        updater = None
        if self.config.update.url or self._on_trial:
            section, secret = self.config.update, self._pairs[first].secret or b""
            updater = Updater(
                UpdateFolder(data_folder(self.config)),
                (section.url or "", section.group),
                self.statuses,
                commands,
                (secret, self._server_key),
                stop.set,
            )
            commands.look_for_updates = updater.look_now
            self._thread("update", first, partial(self._update, updater), stop)
        if self.config.ring.compress:
            outputs.append(self._thread("sealing", first, Sealer(rings, self.counters).run, stop))
        show_rings(self.metrics, rings, self.statuses)
        show_threads(self.metrics, self.heartbeats)
        show_feed(self.metrics, self.feed)
        notifier = Notifier()
        watchdog = Watchdog(notifier, self.heartbeats, WATCHED, self._in_words)
        self._thread("clock", first, self._clock_watch.run, stop)
        self._thread("power", first, power.run, stop)
        self._thread("watchdog", first, watchdog.run, stop)
        self._log.info("gateway.started", boxes=[box.id for box in self.config.box])
        notifier.ready()
        if ready is not None:
            ready.set()
        self.shares.run(stop)
        notifier.stopping()
        if rules is not None:
            rules.close()
        for thread in serial:
            thread.join(STOP_S)
        measuring_stop.set()
        for thread in meters:
            thread.join(STOP_S)
        outputs_stop.set()
        for thread in outputs:
            thread.join(STOP_S)
        if updater is not None:
            updater.judged.wait(STOP_S)
        for close in closing:
            close()
        late = [thread.name for thread in [*serial, *meters, *outputs] if thread.is_alive()]
        if not late:
            uplink.close()
            queue.close()
        self._log.info("gateway.stopped", late_threads=late)

    def _update(self, updater: Updater, stop: threading.Event) -> None:
        on_trial = self._on_trial
        self._on_trial = False  # the guard already ends an update that fails here
        updater.run(stop, on_trial)
        stop.wait()

    def _report_power(self, failing: bool) -> None:
        """Makes the last Measurements report a failing supply, which explains the silence after them."""
        for status in self.statuses.values():
            status.gateway_failing = failing

    def _gps_contradicts(self, box_id: str, apart_ns: int | None) -> None:
        """Records a contradiction of a Box's GPS time; runs in the reader's thread."""
        if box_id in self.statuses:
            self.statuses[box_id].gps_apart_ns = apart_ns
            self.counters[box_id].add("gps_contradictions", apart_ns is not None)

    def _rules(self, uplink: Uplink) -> "EdgeRules | None":
        """The rules where they are enabled. Raises PortBusyError, ConfigError or RuleError where they cannot
        run."""
        if not self.config.rules.enabled:
            return None
        from opq_gateway.rules.edge_rules import EdgeRules  # Starlette and more: only where wanted

        first = self.counters[self.config.box[0].id]
        send = uplink.publish_at_once
        return EdgeRules(self.config, self.feed, self.statuses, first, send, self._config_file)

    def _ring(self, box_id: str) -> Ring:
        folder = box_folder(self.config, box_id)
        most_bytes = self.config.ring.most_bytes
        try:
            return Ring(folder / "ring", box_id, self.config.ring_hours, most_bytes=most_bytes)
        except OSError as error:
            raise OpqError(f"gateway: {folder} cannot be used: {error.strerror or error}") from error

    def _box(
        self,
        box: BoxSection,
        uplink: Uplink,
        measuring: Measuring,
        outputs: Outputs,
        commands: CommandHandler,
        reader: SerialReader,
        rings: Mapping[str, Ring],
        clocks: Clocks,
    ) -> Callable[[], None]:
        """Makes the parts of one Box; returns the function that closes them."""
        counters, status, ring = self.counters[box.id], self.statuses[box.id], rings[box.id]
        pair = self._pairs[box.id]
        ledgers = ledgers_of(self.config)
        station = BoxStation(box, status, counters, early=self._early)
        crossing_limits = limits(self.config.measuring)
        intake = Intake(status, ring, counters, station.send, outputs, clocks, crossing_limits)
        reader.add(station, intake)
        uplink.add(box.id, pair, counters, status)
        respond = partial(uplink.respond, box.id)
        public_key = pair.public.decode()
        commands.add(
            box.id,
            CommandedBox(
                status,
                ring,
                counters,
                public_key,
                partial(measuring.set_cycles, box.id),
                respond,
                intake.commands,
                partial(uplink.acknowledge, box.id),
                ledgers[box.id],
                partial(uplink.move, box.id),
            ),
        )
        return ring.close

    def _in_words(self) -> str:
        """One line of status for the service manager."""
        now_s = time.monotonic()
        found = {box_id: status.problem(now_s) for box_id, status in self.statuses.items()}
        problems = [f"Box {box_id}: {problem}" for box_id, problem in found.items() if problem is not None]
        more = f"; and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        well = f"{len(found)} {'Box' if len(found) == 1 else 'Boxes'} well"
        return "; ".join(problems[:PROBLEMS_SHOWN]) + more if problems else well

    def _thread(
        self, name: str, box_id: str, run: Callable[[threading.Event], None], stop: threading.Event
    ) -> threading.Thread:
        """Starts `run` in a thread; counts and logs an exception, and runs it again."""
        beat = self.heartbeats.beat(name, stop)

        def runner() -> None:
            while not stop.is_set():
                try:
                    run(beat)
                except Exception:
                    beat.note_failure()
                    self.counters[box_id].add("failures")
                    self._log.exception("thread.failed", thread=name, box_id=box_id)
                    stop.wait(RESTART_S)

        thread = threading.Thread(target=runner, name=name, daemon=True)
        thread.start()
        return thread


def _check_there(keys: KeyFolder, box_ids: list[str]) -> None:
    """Reports all missing key files at once: where that of the cloud is, and the command that makes those of
    Boxes and replaces no existing file."""
    problems = [] if keys.server_public.exists() else [missing_server_key(keys.server_public)]
    if boxes := [box_id for box_id in box_ids if not keys.box_secret(box_id).exists()]:
        names = ", ".join(str(keys.box_secret(box_id)) for box_id in boxes)
        command = f"opq-tools keygen --out {keys.root} --boxes {','.join(boxes)}"
        problems.append(f"no key file {names}; copy it from where the keys were made, or: {command}")
    if problems:
        raise KeyFileError("; ".join(problems))


def _lock(folder: Path) -> int:
    """Locks the data folder for one gateway: two writers would break ring and sequences."""
    try:
        private_folder(folder)
        fd = open_private(folder / "lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise OpqError(f"gateway: {folder} cannot be used: {error.strerror or error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise PortBusyError(
            f"gateway: another gateway uses {folder}; stop it or give another --data-dir"
        ) from error
    except OSError as error:
        os.close(fd)
        raise OpqError(f"gateway: {folder} cannot be locked: {error.strerror or error}") from error
    return fd
