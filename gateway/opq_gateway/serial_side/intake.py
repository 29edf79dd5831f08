"""Intake: stamps what one Box sends, puts it in order and stores it.

    link messages -> axis (stamp, order) -> ring
                                        \\-> Outputs: measuring, uplink

Runs in the reader's thread. It knows no port and no socket: messages to the Box go to a function, results go
to Outputs, so that it can be tried from a prompt.
"""

from collections import deque
from collections.abc import Callable

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.ring.lost import ENDED
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.axis import Axis
from opq_gateway.serial_side.box_commands import BoxCommands
from opq_gateway.serial_side.box_settings import CrossingLimits, TimeForGps
from opq_gateway.serial_side.clock import Clocks
from opq_gateway.serial_side.greeting import BoxLog, Greeting
from opq_gateway.serial_side.last_heard import LastHeard
from opq_gateway.serial_side.outputs import Outputs, RingWriter
from opq_gateway.serial_side.reassembly import Output
from opq_gateway.status import BoxStatus
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.link.box_losses import GONE, box_losses
from opq_proto.link.log_codes import STARTED, UPDATE_CONFIRMED, UPDATE_ROLLED_BACK
from opq_proto.link.messages import (
    FLAG_CLIPPED,
    FLAG_OVERRUN_BEFORE,
    Acknowledgement,
    BoxMeasurement,
    Crossing,
    GpsStatus,
    Health,
    Hello,
    LinkMessage,
    Log,
    Losses,
    Operation,
    Resend,
    Samples,
    Settings,
)
from opq_proto.messages import Gap

LATEST_NS = 4 * 10**18
"""The year 2096: no later time is accepted, nor any before 1970."""
LATEST_SAMPLE = 2**62
RATE_SHARE = 100
"""A rate further from the hello's than a hundredth is not a crystal's."""
MAX_RESTARTS, RESTARTS_S = 60, 60.0
"""A Box that restarts more often is ignored for a while: each restart costs a file and new filters."""


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
        """`limits` is the argument of CROSSING_LIMITS; empty: the Box keeps its own."""
        self._status = status
        self._ring = ring
        self._counters = counters
        self._to_box = to_box
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
        self._limits = CrossingLimits(limits, self.commands, self._limits_refused)
        self._time_for_gps = TimeForGps(self.commands, self._clocks)
        self._box_log = BoxLog(self._log, counters, self._lines)
        self._ring_writer = RingWriter(ring, status, counters, self._lines)
        self._last_heard = LastHeard(ring.folder.with_name(f"{ring.folder.name}_heard.json"))
        self._axis: Axis | None = None
        self._axis_of: Hello | None = None
        self._restarts_s: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._counted = (0, 0, 0, 0)
        self._in_order: list[SampleBlock] = []

    def opened(self) -> None:
        """The port was opened; requests a hello."""
        self.commands.opened()
        self._greeting.opened()

    def lost(self) -> None:
        """The port is gone."""
        self.commands.lost()
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
        """The gateway stood still until now: what its ports lost meanwhile is not the line's fault."""
        if self._axis is not None:
            self._axis.stalled(seconds)

    def tick(self) -> None:
        """Runs what is due by time; call it at least every 100 ms."""
        if self._axis is not None:
            outputs = self._axis.tick()
            if outputs:
                self._handle(outputs)
                self._count_axis()
                self._hand_on()
        elif self._greeting.hello is None:
            self._greeting.request_hello()
        self.commands.tick()

    @property
    def waits(self) -> bool:
        """Whether samples are missing that may still come."""
        return self._axis is not None and self._axis.line.waiting > 0

    def close(self) -> None:
        """The gateway ends; what waits after a hole still goes to the ring."""
        if self._axis is not None:
            self._handle(self._axis.flush(ENDED))
            self._hand_on()
        self.commands.lost()

    def _other(self, message: LinkMessage) -> None:
        """Handles every message but samples; some come each second."""
        self._count_axis()
        if isinstance(message, Hello):
            self._hello(message)
        elif isinstance(message, BoxMeasurement):
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
        elif isinstance(message, Log):
            self._box_log.write_line(message)
            if message.code in (UPDATE_CONFIRMED, UPDATE_ROLLED_BACK):
                self._status.trial_end = message
            elif message.code == STARTED:
                self._status.started = message

    def _hello(self, hello: Hello) -> None:
        if not self._greeting.accept_hello(hello):
            return
        before = self._axis_of
        if before is not None and before.boot_id != hello.boot_id and self._too_often():
            self._greeting.hello = None
            self._counters.add("hello_refused")
            return
        self._limits.hello(hello)
        self._axis_of = hello
        if before is not None and before.boot_id == hello.boot_id:
            if before.nominal_hz != hello.nominal_hz:
                self._restart(hello)
            return
        facts = {"hardware": hello.hardware, "firmware": hello.firmware, "v_per_lsb": hello.v_per_lsb}
        self._lines.info("box.hello", boot_id=hello.boot_id, **facts)
        if before is not None:
            self._counters.add("restarts")
            self._status.losses = self._status.health = None
        self._restart(hello)

    def _losses(self, losses: Losses) -> None:
        """Logs the counts of finally lost samples that have risen."""
        before, now = box_losses(None, self._status.losses), box_losses(None, losses)
        self._status.losses = losses
        grown = {name: now[name] for name in GONE if now.get(name, 0) > before.get(name, 0)}
        if grown:
            self._lines.warning("box.lost", **grown)

    def _restart(self, hello: Hello) -> None:
        """Begins a new axis; after a restart of the gateway it continues from the ring."""
        newest, last_s = None, self._status.sample_monotonic_s
        if self._axis is not None:
            self._handle(self._axis.flush())
            self._hand_on()
        else:
            newest = self._ring.newest()
            if newest is None or newest.boot_id != hello.boot_id:
                last_s = self._last_heard.ended_s(newest)
        self._axis = Axis(hello, newest, self._clocks)
        self._counted = (0, 0, 0, 0)
        self._time_for_gps.restart()
        if last_s is not None:
            self._status.silent_before = hello.boot_id, self._clocks.monotonic_s() - last_s
        self._status.sample_monotonic_s = None
        self._outputs.restart(self._status.box_id, hello)

    def _too_often(self) -> bool:
        """Whether the Box restarts too often to be accepted now; otherwise counts the restart."""
        now_s = self._clocks.monotonic_s()
        if len(self._restarts_s) == MAX_RESTARTS and now_s - self._restarts_s[0] < RESTARTS_S:
            self._lines.error("box.unsteady", restarts=MAX_RESTARTS, within_s=RESTARTS_S)
            return True
        self._restarts_s.append(now_s)
        return False

    def _crossing(self, crossing: Crossing) -> None:
        self._counters.add("crossings")
        if self._axis is None:
            return
        stamped = self._axis.stamped(crossing)
        if stamped is None:
            self._counters.add("crossings_untimed")
        else:
            self._outputs.crossing(self._status.box_id, stamped)

    def _run(self, run: list[Samples]) -> None:
        """Handles blocks that came together."""
        hello, axis = self._greeting.hello, self._axis
        if hello is None or axis is None:
            self._counters.add(
                "foreign_box" if self._status.foreign_box else "samples_before_hello", len(run)
            )
            self._greeting.request_hello()
            return
        off_millihz = hello.rate_millihz // RATE_SHARE
        least, most = hello.rate_millihz - off_millihz, hello.rate_millihz + off_millihz
        good = [
            samples
            for samples in run
            if least <= samples.rate_millihz <= most
            and 0 <= samples.t_ns < LATEST_NS
            and samples.first_sample < LATEST_SAMPLE
        ]
        if len(good) != len(run):  # firmware may send wrong values with a correct CRC
            self._counters.add("samples_refused", len(run) - len(good))
        following = axis.straight(good, hello)
        self._in_order += following
        for samples in good[len(following) :]:
            self._samples(samples, hello)
        self._hand_on()

    def _samples(self, samples: Samples, hello: Hello) -> None:
        """Handles a block that is not simply the next one."""
        axis = self._axis
        assert axis is not None
        if samples.flags:
            self._counters.add("box_overruns", bool(samples.flags & FLAG_OVERRUN_BEFORE))
            self._counters.add("clipped_blocks", bool(samples.flags & FLAG_CLIPPED))
        outputs = axis.accept_samples(samples, hello)
        if outputs is None and self._too_often():
            self._counters.add("samples_refused")
            return
        if outputs is None:
            self._counters.add("restarts")
            self._lines.warning("box.restarted", reason="sample indices began again without a hello")
            self._greeting.request_hello()
            self._restart(hello)
            outputs = (self._axis.accept_samples(samples, hello) if self._axis is not None else None) or []
        self._handle(outputs)
        self._count_axis()

    def _handle(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, SampleBlock):
                self._in_order.append(output)
            elif isinstance(output, Gap):
                self._hand_on()
                self._gap(output)
            else:
                self._counters.add("resend_asked")
                self._to_box(Resend(output.first_sample, output.count))

    def _hand_on(self) -> None:
        """Stores the blocks that are in order now, then passes them on."""
        blocks = self._in_order
        if not blocks:
            return
        self._in_order = []
        status = self._status
        if status.sample_monotonic_s is None:
            self._lines.info("box.sampling", first_sample=blocks[0].first_sample)
        status.sample_monotonic_s = self._clocks.monotonic_s()
        status.sample_ns = blocks[-1].end_ns
        status.sample_uncertainty_ns, status.sample_source = blocks[-1].uncertainty_ns, blocks[-1].source
        if self._axis is not None:
            status.shares_clock, status.by_gps = self._axis.clock.shared, self._axis.clock.by_gps
        self._counters.add("samples", blocks[-1].end_sample - blocks[0].first_sample)  # no hole
        self._last_heard.note_block(blocks[-1], status.sample_monotonic_s)
        self._ring_writer.store_blocks(blocks)
        self._outputs.accept_blocks(status.box_id, blocks)

    def _gap(self, gap: Gap) -> None:
        self._counters.add("gaps")
        self._counters.add("missing_samples", gap.samples)
        facts = {"first_sample": gap.first_sample, "samples": gap.samples, "reason": gap.reason}
        self._lines.warning("samples.missing", **facts, in_all=self._counters["missing_samples"])
        self._ring_writer.gap(gap)
        self._outputs.gap(self._status.box_id, gap)

    def _limits_refused(self, why: str) -> None:
        self._counters.add("crossing_limits_refused")
        self._log.warning("crossing_limits.refused", reason=why)

    def _count_axis(self) -> None:
        axis = self._axis
        if axis is None:
            return
        line = axis.line
        now = (line.duplicates + axis.too_old, line.recovered, line.overflow, axis.clock.steps)
        if now == self._counted:
            return
        names = ("duplicate_samples", "samples_recovered", "reorder_overflow", "time_steps")
        for name, value, before in zip(names, now, self._counted, strict=True):
            if value != before:
                self._counters.add(name, value - before)
        if now[3] != self._counted[3]:
            self._lines.warning("time.stepped", by_ns=axis.clock.last_step_ns, reason=axis.clock.step_reason)
        self._counted = now
