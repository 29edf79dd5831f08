"""Commands: the gateway answers Makai's commands to a Box in the Box's name.

    GetInfo                    who this Box is
    GetData                    raw samples of a span (requests.py); with `wait` it waits for an end in
                               the future, at most WAIT_S
    SetMeasturementRate        1 to 600 cycles per Measurement, until the next start
    SendCommandToPlugin        `opq-ack` is recorded and not answered; `opq-half-cycles` is answered from the
                               ledger (half_cycle_command.py); `opq-uplink` lets the Box's uplink try
                               another cloud (uplink/connection.py); `opq-claim` uses up a code that
                               this gateway shows (claim_codes.py); `opq-reset`, `opq-time`, `opq-settings`,
                               `opq-program`, `opq-prompt`, `opq-update` are for the Box (orders.py);
                               `opq-challenge` begins the administrator's proof, without which some are
                               refused (order_proofs.py);
                               others are answered ok=false (the original always says true)

One thread serves all Boxes. A command for another Box (the topic is a prefix: "1" also receives "10") is
dropped and counted.
"""

import fcntl
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from opq_gateway.commands.claim_codes import ClaimCodes
from opq_gateway.commands.half_cycle_command import LedgerReader, answer_half_cycles
from opq_gateway.commands.order_proofs import OrderProofs
from opq_gateway.commands.orders import NO_UPDATES, BoxOrders
from opq_gateway.commands.requests import (
    MAX_FRAMES,
    DataRequest,
    SampleStore,
    answer,
    limited,
    ready,
    stamp_named,
)
from opq_gateway.config import MAX_CYCLES, MIN_CYCLES
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.serial_side.box_commands import BoxCommandLink
from opq_gateway.uplink.backlog import CloudAcknowledgement, acknowledgement
from opq_proto.errors import FrameError, OpqError
from opq_proto.kit import log
from opq_proto.kit.channel import Channel
from opq_proto.wire.command_client import BoxRefusedError, UnansweredError
from opq_proto.wire.frames import (
    CHALLENGE_PLUGIN,
    CLAIM_PLUGIN,
    CYCLE_SAMPLES,
    HALF_CYCLES_PLUGIN,
    UPLINK_PLUGIN,
    Command,
    Response,
    claim_accepted,
    command_from_wire,
)

WAIT_S = 60.0
"""Longest wait for a request's samples."""
GRACE_S = 5.0
"""Wait after the requested end, for the serial line, for samples sent again (1 s) and after a start of the
gateway."""
COMMANDS_WAITING = 256
"""Most commands of all Boxes that wait to be handled, and most that wait for samples. Further ones are
answered at once."""
POLL_S = 0.01
END_S = 0.5
"""At the end of the gateway, waiting requests are answered for this long."""
ACKNOWLEDGE = "opq-ack"


@dataclass(frozen=True, slots=True)
class CommandedBox:
    """The parts of one Box that the command handler needs."""

    status: BoxStatus
    ring: SampleStore
    counters: BoxCounters
    public_key: str
    set_cycles: Callable[[int], None]
    respond: Callable[[list[bytes]], None]
    line: BoxCommandLink | None = None
    """Commands to the Box itself; None: it takes no orders."""
    acknowledge: Callable[[CloudAcknowledgement], None] | None = None
    """Hands the cloud's acknowledgement to the uplink."""
    ledger: LedgerReader | None = None
    """Opens the Box's ledger for reading."""
    move: Callable[[str], Callable[[], None]] | None = None
    """Reads another cloud's address (FrameError if it is wrong), and returns the function that lets the Box's
    uplink try it."""


@dataclass(slots=True)
class WaitingRequest:
    """A data request that waits for its end; times are monotonic."""

    desk: CommandedBox
    request: DataRequest
    until_s: float
    next_poll_s: float = 0.0
    """The ring is not read before this time: an event makes the requests of all Boxes wait at once."""

    def later(self, now_s: float) -> None:
        """Schedules the next check half-way to the expected end."""
        self.next_poll_s = now_s + max(POLL_S, (self.until_s - GRACE_S - now_s) / 2)


class CommandHandler:
    """Commands of all Boxes: `offer` from the uplink's thread, `run` in its own."""

    def __init__(
        self,
        longest_request_s: float,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
        software: str = "",
        claims: ClaimCodes | None = None,
        proofs: OrderProofs | None = None,
    ) -> None:
        """`software`: the gateway's version, for GetInfo; `claims`: None where no codes are shown; `proofs`:
        None where there is no administrator."""
        self._software = software
        self._proofs = proofs or OrderProofs()
        self._claims = claims
        self.look_for_updates: Callable[[], tuple[bool, str]] = lambda: (False, NO_UPDATES)
        """Makes the gateway look at its repository of releases now; set before `run`."""
        self._longest_ns = round(longest_request_s * 1e9)
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s
        self._started_s = monotonic_s()
        self._desks: dict[str, CommandedBox] = {}
        self._orders: dict[str, BoxOrders] = {}
        self._channel: Channel[Callable[[], None]] = Channel("commands", COMMANDS_WAITING, "refuse")
        self._waiting: list[WaitingRequest] = []
        self._log = log.get(service="gateway")

    def add(self, box_id: str, desk: CommandedBox) -> None:
        """Adds a Box, before `run`."""
        self._desks[box_id] = desk
        if desk.line is not None:
            later = partial(self._later, box_id)
            self._orders[box_id] = BoxOrders(
                desk.line, later, self._now_ns, desk.status, self._look_for_updates
            )

    def _look_for_updates(self) -> tuple[bool, str]:
        return self.look_for_updates()

    def offer(self, box_id: str, data: bytes) -> None:
        """Takes a command frame that arrived on this Box's connection."""
        self._later(box_id, partial(self.handle_command, box_id, data))

    def send_order(self, box_id: str, plugin: str, message: str, timeout_s: float) -> str:
        """Carries out an order of this gateway for one of its Boxes, from another thread.

        Raises BoxRefusedError or UnansweredError, as `CommandClient.send_order`.
        """
        answers: SimpleQueue[tuple[bool, str]] = SimpleQueue()
        orders = self._orders[box_id]

        def carry_out() -> None:
            orders.execute(plugin, message, lambda done, text: answers.put((done, text)))

        self._later(box_id, carry_out)
        try:
            done, text = answers.get(timeout=timeout_s)
        except Empty:
            raise UnansweredError(f"Box {box_id} does not answer {plugin} within {timeout_s:g} s") from None
        if not done:
            raise BoxRefusedError(f"Box {box_id} refuses {plugin}: {text}")
        return text

    def _later(self, box_id: str, what: Callable[[], None]) -> bool:
        """Queues a call for the handler's thread, from any thread; False, and counted, when too many wait."""
        taken = self._channel.offer(what)
        if not taken:
            self._desks[box_id].counters.add("commands_overflow")
        return taken

    def run(self, stop: threading.Event) -> None:
        """Answers until `stop`; then answers what still waits with the samples that are there."""
        wait_s = 0.0
        while not stop.is_set():
            do = self._channel.take_item(timeout_s=wait_s)
            if do is not None:  # one answer a turn: the end of the gateway must not wait for 250 long ones
                do()
            served = self.serve_waiting()
            now_s = self._monotonic_s()
            busy = [orders.tick(now_s) for orders in self._orders.values()]
            wait_s = 0.0 if served else POLL_S if self._waiting or any(busy) else 0.2
        self._end()

    def handle_command(self, box_id: str, data: bytes) -> None:
        """Handles one command: answers it, or lets it wait."""
        desk = self._desks[box_id]
        try:
            command = command_from_wire(data)
        except FrameError:
            desk.counters.add("commands_malformed")
            return
        if str(command.box_id) != box_id:
            desk.counters.add("commands_foreign")
            return
        match command.WhichOneof("command"):
            case "data_command":
                self._data(desk, command)
            case "info_command":
                self._info(desk, command)
            case "sampling_rate_command":
                self._rate(desk, command)
            case "send_command_to_plugin":
                self._plugin(desk, command)
            case _:
                desk.counters.add("commands_malformed")

    def serve_waiting(self) -> bool:
        """Answers one waiting request whose samples have come or whose time is over; False where no request
        is ready."""
        now_s = self._monotonic_s()
        for number, waiting in enumerate(self._waiting):
            if now_s < min(waiting.next_poll_s, waiting.until_s):
                continue
            if now_s >= waiting.until_s or ready(waiting.desk.ring, waiting.request):
                del self._waiting[number]
                self._answer_data(waiting.desk, waiting.request)
                return True
            waiting.later(now_s)
        return False

    def _end(self) -> None:
        """Answers with the samples that are there, as many requests as the remaining time allows."""
        until_s = self._monotonic_s() + END_S
        for waiting in self._waiting:
            if self._monotonic_s() < until_s:
                self._answer_data(waiting.desk, waiting.request)
            else:
                waiting.desk.counters.add("responses_dropped")
        self._waiting = []

    def _data(self, desk: CommandedBox, command: Command) -> None:
        data = command.data_command
        start_ns, end_ns = data.start_ms * 1_000_000, data.end_ms * 1_000_000
        rate_hz = desk.status.rate_hz
        longest_ns = min(self._longest_ns, round(MAX_FRAMES * CYCLE_SAMPLES / rate_hz * 1e9))
        stamp = stamp_named(data)
        whole = DataRequest(
            desk.status.box_id, command.seq, start_ns, end_ns, inside=not data.wait, stamp=stamp
        )
        span = desk.ring.span()
        request = limited(limited(whole, span, longest_ns).placed(desk.ring), span, longest_ns)
        desk.counters.add("requests_moved", request.moved_ns != 0)
        desk.counters.add("requests_shortened", request.shortened)
        self._log.debug("request.received", box_id=request.box_id, start_ns=start_ns, end_ns=end_ns)
        ahead_s = self._ahead_s(desk.status, request.end_ns)
        pointless = not data.wait or request.end_ns <= request.start_ns or ahead_s < -GRACE_S
        if pointless or ready(desk.ring, request):
            self._answer_data(desk, request)
        elif len(self._waiting) >= COMMANDS_WAITING:
            desk.counters.add("requests_unwaited")
            self._answer_data(desk, request)
        else:
            until_s = self._monotonic_s() + min(WAIT_S, max(0.0, ahead_s) + GRACE_S)
            self._waiting.append(WaitingRequest(desk, request, until_s))

    def _ahead_s(self, status: BoxStatus, end_ns: int) -> float:
        """Seconds until the Box has sampled `end_ns`.

        The Box's time counts, because it stamps the samples and may be off by more than GRACE_S. The
        gateway's time counts where no samples come, or where the wait by the Box's time would be too long.
        """
        ahead_s = (end_ns - self._now_ns()) / 1e9
        if status.sample_ns is None or status.sample_monotonic_s is None:
            return ahead_s
        newest_s = self._monotonic_s() - status.sample_monotonic_s
        own_s = (end_ns - status.sample_ns) / 1e9 - newest_s
        return own_s if newest_s < GRACE_S and own_s < WAIT_S else ahead_s

    def _answer_data(self, desk: CommandedBox, request: DataRequest) -> None:
        try:
            frames = answer(desk.ring, request, self._now_ns() // 1_000_000)
        except OSError as error:
            desk.counters.add("responses_dropped")
            self._log.error("ring.unreadable", box_id=request.box_id, reason=str(error))
            return
        desk.counters.set("ring_bad_records", desk.ring.bad_records)
        desk.respond(frames)

    def _info(self, desk: CommandedBox, command: Command) -> None:
        response = self._response(desk, command)
        info = response.info_response
        info.mac_addr = mac_address()
        info.ip = addresses()
        info.uptime = round((self._monotonic_s() - self._started_s) * 1000)
        if desk.status.hello is not None:
            info.calibration_constant = round(1 / desk.status.hello.v_per_lsb)
            info.firmware, info.hardware = desk.status.hello.firmware, desk.status.hello.hardware
        if self._software:
            info.software = self._software
        info.losses.update(desk.status.lost)
        info.facts.update(desk.status.facts)
        info.pub_key = desk.public_key
        info.measurement_rate = desk.status.measurement_cycles
        desk.respond([response.SerializeToString()])

    def _rate(self, desk: CommandedBox, command: Command) -> None:
        response = self._response(desk, command)
        response.message_rate_reponse.old_rate_cycles = desk.status.measurement_cycles
        cycles = command.sampling_rate_command.measurement_window_cycles
        if MIN_CYCLES <= cycles <= MAX_CYCLES:
            desk.set_cycles(cycles)
            self._log.info("measurement_rate.set", box_id=desk.status.box_id, cycles=cycles)
        else:
            desk.counters.add("rate_refused")
        desk.respond([response.SerializeToString()])

    def _plugin(self, desk: CommandedBox, command: Command) -> None:
        sent = command.send_command_to_plugin
        if sent.plugin_name == HALF_CYCLES_PLUGIN and desk.ledger is not None:
            self._half_cycles(desk, desk.ledger, command)
            return
        if sent.plugin_name != ACKNOWLEDGE:
            self._order(desk, command)
            return
        found = acknowledgement(sent.message, command.identity, sent.takes)
        if found is None:
            desk.counters.add("commands_malformed")
            return
        desk.counters.add("acknowledgements")
        desk.status.acknowledged_sequence = found.upto
        desk.status.acknowledged_monotonic_s = self._monotonic_s()
        if desk.acknowledge is not None:
            desk.acknowledge(found)

    def _half_cycles(self, desk: CommandedBox, ledger: LedgerReader, command: Command) -> None:
        response = self._response(desk, command)
        answer = response.command_to_plugin_response
        answer_half_cycles(ledger, desk.status.box_id, command.send_command_to_plugin.message, answer)
        desk.counters.add("half_cycles_asked" if answer.ok else "half_cycles_refused")
        desk.respond([response.SerializeToString()])

    def _order(self, desk: CommandedBox, command: Command) -> None:
        sent = command.send_command_to_plugin

        def reply(ok: bool, detail: str) -> None:
            response = self._response(desk, command)
            response.command_to_plugin_response.ok = ok
            response.command_to_plugin_response.detail = detail
            desk.counters.add("orders_done" if ok else "orders_refused")
            desk.respond([response.SerializeToString()])

        if sent.plugin_name == CHALLENGE_PLUGIN:
            reply(True, self._proofs.challenge(desk.status.box_id))
            return
        try:
            message = self._proofs.checked(sent.plugin_name, desk.status.box_id, sent.message)
        except OpqError as error:
            desk.counters.add("orders_unproved")
            reply(False, str(error))
            return
        if sent.plugin_name == CLAIM_PLUGIN and self._claims is not None:
            fits = self._claims.spend(desk.status.box_id, message)
            answer = claim_accepted(desk.status.box_id) if fits else "no such code is open for this Box"
            reply(fits, answer)
            return
        if sent.plugin_name == UPLINK_PLUGIN and desk.move is not None:
            try:
                move = desk.move(message)
            except FrameError as error:
                reply(False, str(error))
                return
            reply(True, "tries the other cloud")
            move()  # after the answer, which leaves on the connection that then ends
            return
        orders = self._orders.get(desk.status.box_id)
        try:
            known = orders is not None and orders.execute(sent.plugin_name, message, reply)
        except OpqError as error:  # not of the prompt's client
            desk.counters.add("orders_unproved")
            reply(False, str(error))
            return
        if not known:
            reply(False, f"there is no plug-in {sent.plugin_name[:40]!r} here")

    def _response(self, desk: CommandedBox, command: Command) -> Response:
        return Response(
            box_id=int(desk.status.box_id), seq=command.seq, timestamp_ms=self._now_ns() // 1_000_000
        )


SIOCGIFADDR = 0x8915  # <linux/sockios.h>
NETWORK = Path("/sys/class/net")
IF_INET6 = Path("/proc/net/if_inet6")


def addresses() -> str:
    """Every interface address, each followed by a newline: `a.b.c.d:0`, `[v6]:0`
    (docs/reference/opq-interop.md B.1)."""
    return "".join(f"{address}\n" for address in [*_ipv4(), *_ipv6()])


def mac_address() -> str:
    """The MAC address of the first network interface, by name, that has one; empty when none has."""
    try:
        paths = sorted(NETWORK.glob("*/address"))
        macs = [path.read_text().strip() for path in paths]
    except OSError:
        return ""
    return next((mac for mac in macs if mac and mac != "00:00:00:00:00:00"), "")


def _ipv4() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                reply = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # the interface has no IPv4 address
            found.append(f"{socket.inet_ntoa(reply[20:24])}:0")
    return found


def _ipv6() -> list[str]:
    try:
        lines = IF_INET6.read_text().splitlines()
    except OSError:
        return []
    return [f"[{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line[:32]))}]:0" for line in lines]
