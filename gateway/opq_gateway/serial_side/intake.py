"""Intake: passes each kind of message of one Box on its way.

    link messages -> Samples -> SampleStream -> ring, measuring, uplink
                  -> hello, health, log, answers -> the Box's status, its commands and settings

Runs in the reader's thread. It has no port and no socket: messages to the Box go to a function and results to
Outputs, so that it can be tried from a prompt.
"""

from collections.abc import Callable

from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.box_commands import BoxCommands
from opq_gateway.serial_side.box_settings import BoxNumber, CrossingLimits, TimeForGps
from opq_gateway.serial_side.greeting import BoxLog, Greeting
from opq_gateway.serial_side.outputs import Outputs
from opq_gateway.serial_side.sample_stream import SampleStream
from opq_gateway.serial_side.serial_clock import Clocks
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.link.box_losses import LOST_COUNTERS, box_losses
from opq_proto.link.log_codes import STARTED, UPDATE_CONFIRMED, UPDATE_ROLLED_BACK
from opq_proto.link.messages import (
    Acknowledgement,
    BoxFacts,
    BoxMeasurement,
    ChannelValue,
    Crash,
    Crossing,
    GpsStatus,
    Health,
    Hello,
    LinkMessage,
    Log,
    Losses,
    Operation,
    Samples,
    Settings,
)


class Intake:
    """One Box's stream; reader's thread."""

    def __init__(
        self,
        status: BoxStatus,
        ring: Ring,
        counters: BoxCounters,
        to_box: Callable[[LinkMessage], None],
        outputs: Outputs,
        clocks: Clocks | None = None,
        limits: str = "",
    ) -> None:
        """`limits` is the argument of CROSSING_LIMITS; empty: the Box keeps its limits."""
        self._status = status
        self._counters = counters
        self._outputs = outputs
        self._clocks = clocks or Clocks()
        monotonic_s = self._clocks.monotonic_s
        self._log = log.get(service="gateway", box_id=status.box_id)
        self._lines = RateLimitedLog(self._log, monotonic_s=monotonic_s)
        self.commands = BoxCommands(to_box, monotonic_s)
        """Commands to the Box, from any thread."""
        self._greeting = Greeting(
            status, counters, self._lines, monotonic_s, lambda: self.commands.send_unanswered(Operation.HELLO)
        )
        self._number = BoxNumber(status.box_id, self.commands, self._numbered)
        self._limits = CrossingLimits(limits, self.commands, self._limits_refused)
        self._time_for_gps = TimeForGps(self.commands, self._clocks)
        self._box_log = BoxLog(self._log, counters, self._lines)
        self._stream = SampleStream(
            status, ring, counters, self._lines, to_box, outputs, self._clocks, self._unannounced
        )
        self._hello_of_stream: Hello | None = None

    def opened(self) -> None:
        """The port was opened; requests a hello."""
        self.commands.opened()
        self._greeting.opened()
        self._stream.reopened()

    def lost(self) -> None:
        """The port has gone."""
        self.commands.lost()
        self._number.lost()
        self._status.number_refused = ""
        self._limits.lost()

    def accept_message(self, message: LinkMessage) -> None:
        """Handles one message of the Box."""
        self.accept_messages([(0, message)])

    def accept_messages(self, messages: list[tuple[int, LinkMessage]]) -> None:
        """Handles messages that came together: (sequence, message)."""
        run: list[Samples] = []
        for _, message in messages:
            if isinstance(message, Samples):
                run.append(message)
                continue
            if run:
                self._run(run)
                run = []
            self._other(message)
        if run:
            self._run(run)

    def stalled(self, seconds: float) -> None:
        """The gateway paused until now; the line has not caused the losses of its ports meanwhile."""
        self._stream.stalled(seconds)

    def tick(self) -> None:
        """Does what is due; call it at least every 100 ms."""
        if self._stream.has_begun:
            self._stream.tick()
        elif self._greeting.hello is None:
            self._greeting.request_hello()
        self.commands.tick()

    @property
    def waits(self) -> bool:
        """Whether samples are missing that may still come."""
        return self._stream.waits

    def close(self) -> None:
        """The gateway ends; blocks that wait after a hole still go to the ring."""
        self._stream.close()
        self.commands.lost()

    def _other(self, message: LinkMessage) -> None:
        """Handles every message except samples; some come each second."""
        self._stream.count()
        if isinstance(message, Hello):
            self._hello(message)
        elif isinstance(message, BoxMeasurement | ChannelValue):
            self._outputs.figures(self._status.box_id, message)
        elif isinstance(message, Crossing):
            self._crossing(message)
        elif isinstance(message, Acknowledgement | Settings):
            self.commands.accept_answer(message)
        elif isinstance(message, GpsStatus):
            self._status.gps = message
            self._time_for_gps.gps(message)
        elif isinstance(message, Health):
            self._status.health = message
        elif isinstance(message, Losses):
            self._losses(message)
        elif isinstance(message, BoxFacts):
            self._status.reported_facts = message
        elif isinstance(message, Crash):
            self._box_log.write_crash(message)
        elif isinstance(message, Log):
            self._box_log.write_line(message)
            if message.code in (UPDATE_CONFIRMED, UPDATE_ROLLED_BACK):
                self._status.trial_end = message
            elif message.code == STARTED:
                self._status.started = message

    def _hello(self, hello: Hello) -> None:
        if hello.box_id:
            self._status.number_refused = ""
        if not self._greeting.accept_hello(hello):
            return
        before = self._hello_of_stream
        if before is not None and before.boot_id != hello.boot_id and not self._stream.may_restart():
            self._greeting.hello = None
            self._counters.add("hello_refused")
            return
        self._number.hello(hello)
        self._limits.hello(hello)
        self._hello_of_stream = hello
        if before is not None and before.boot_id == hello.boot_id:
            self._stream.name(hello)
            return
        facts = {"hardware": hello.hardware, "firmware": hello.firmware, "v_per_lsb": hello.v_per_lsb}
        self._lines.info("box.hello", boot_id=hello.boot_id, **facts)
        if before is not None:
            if self._stream.is_named_by(hello, before):
                self._stream.name(hello)
                return
            self._counters.add("restarts")
            self._status.losses = self._status.health = self._status.reported_facts = None
        self._restart(hello)

    def _losses(self, losses: Losses) -> None:
        """Logs the counts of finally lost samples that have risen."""
        before, now = box_losses(None, self._status.losses), box_losses(None, losses)
        self._status.losses = losses
        grown = {name: now[name] for name in LOST_COUNTERS if now.get(name, 0) > before.get(name, 0)}
        if grown:
            self._lines.warning("box.lost", **grown)

    def _crossing(self, crossing: Crossing) -> None:
        self._counters.add("crossings")
        if not self._stream.has_begun:
            return
        stamped = self._stream.stamped(crossing)
        if stamped is None:
            self._counters.add("crossings_untimed")
        else:
            self._outputs.crossing(self._status.box_id, stamped)

    def _numbered(self, refusal: str) -> None:
        number, reason = self._status.box_id, ""
        if refusal:
            set_it = f"opq-tools box settings {number} box_id={number} --force"
            reason = f"{refusal}; swapped ports go unnoticed: {set_it}"
            self._counters.add("number_refused")
            self._log.warning("box.number_refused", reason=reason)
        else:
            self._counters.add("numbered")
            self._log.info("box.numbered", reason="it had no number and keeps that of its port")
        self._status.number_refused = reason

    def _limits_refused(self, why: str) -> None:
        self._counters.add("crossing_limits_refused")
        self._log.warning("crossing_limits.refused", reason=why)

    def _run(self, run: list[Samples]) -> None:
        """Handles samples that came together."""
        hello = self._greeting.hello
        if hello is None or not self._stream.has_begun:
            self._counters.add(
                "foreign_box" if self._status.foreign_box else "samples_before_hello", len(run)
            )
            self._greeting.request_hello()
            return
        self._stream.accept_samples(run, hello)

    def _restart(self, hello: Hello) -> None:
        self._time_for_gps.restart()
        self._stream.restart(hello)

    def _unannounced(self) -> None:
        self._greeting.request_hello()
        self._time_for_gps.restart()
        self._status.losses = self._status.health = self._status.reported_facts = None
