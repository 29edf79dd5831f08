"""Intake: what one Box says, put in order, kept and measured.

    link messages -> reassembly -> ring
                               \\-> windows -> measurement -> uplink

Owned by the Box's serial thread. Knows no port and no socket: what it has to send to the Box
and what goes up is handed to two functions, so that it can be tried from a prompt.
"""

from collections.abc import Callable

from opq_gateway.blocks import Block
from opq_gateway.counters import Counters
from opq_gateway.measuring.crosscheck import CrossCheck
from opq_gateway.measuring.measurements import measure
from opq_gateway.measuring.windows import Window, Windows
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.axis import Axis, Clocks
from opq_gateway.serial_side.reassembly import Output
from opq_gateway.status import Status
from opq_gateway.uplink.sequences import Sequences
from opq_proto import log, log_codes
from opq_proto.link_messages import (
    FLAG_CLIPPED,
    FLAG_OVERRUN_BEFORE,
    BoxMeasurement,
    Command,
    Crossing,
    GpsStatus,
    Health,
    Hello,
    LinkMessage,
    Log,
    Operation,
    Resend,
    Samples,
)
from opq_proto.messages import GAIN_V, NOMINAL_HZ, NOMINAL_V, Gap, Measurement, nominal_or_none

ASK_HELLO_S = 1.0
LATEST_NS = 4 * 10**18
"""The year 2096: nothing later is believed, nor anything before 1970."""
TELL_S = 10.0
"""A line about the same trouble at most so often; the counters have them all."""
BOX_LINES = 20
"""Lines of the Box's own log that are told per TELL_S."""


class Intake:
    """One Box's stream; every method from its serial thread, but `set_cycles` from any."""

    def __init__(
        self,
        status: Status,
        ring: Ring,
        sequences: Sequences,
        counters: Counters,
        to_box: Callable[[LinkMessage], None],
        to_uplink: Callable[[Measurement], None],
        clocks: Clocks | None = None,
    ) -> None:
        self._status = status
        self._ring = ring
        self._sequences = sequences
        self._counters = counters
        self._to_box = to_box
        self._to_uplink = to_uplink
        self._clocks = clocks or Clocks()
        self._log = log.get(service="gateway", box_id=status.box_id)
        self._crosscheck = CrossCheck()
        self._hello: Hello | None = None
        self._axis: Axis | None = None
        self._windows: Windows | None = None
        self._counted = (0, 0, 0)
        self._asked_hello_s: float | None = None
        self._commands = 0
        self._told_foreign = 0
        self._told_s: dict[str, float] = {}
        self._box_lines = 0

    def opened(self) -> None:
        """The port was opened: ask who is there."""
        self._asked_hello_s = None
        self._ask_hello()

    def set_cycles(self, cycles: int) -> None:
        """Cycles per Measurement from the next window on."""
        self._status.measurement_cycles = cycles
        windows = self._windows
        if windows is not None:
            windows.cycles = cycles

    def take(self, message: LinkMessage) -> None:
        """Take in one message of the Box."""
        if isinstance(message, Samples):
            self._samples(message)
        elif isinstance(message, Hello):
            self._take_hello(message)
        elif isinstance(message, BoxMeasurement):
            self._crosscheck.theirs(message)
        elif isinstance(message, Crossing):
            self._counters.add("crossings")
        elif isinstance(message, GpsStatus):
            self._status.gps = message
        elif isinstance(message, Health):
            self._status.health = message
        elif isinstance(message, Log):
            self._counters.add("log_lines")
            self._said(message)

    def _said(self, message: Log) -> None:
        """A Log line in words; of a Box that talks without end only the first lines of each TELL_S."""
        now_s = self._clocks.monotonic_s()
        if now_s - self._told_s.get("box", -TELL_S) >= TELL_S:
            self._told_s["box"] = now_s
            self._box_lines = 0
        self._box_lines += 1
        if self._box_lines > BOX_LINES:
            self._counters.add("log_lines_untold")
            return
        event, warns, facts = log_codes.words(message)
        (self._log.warning if warns else self._log.info)(event, **facts)

    def tick(self) -> None:
        """Time passes: at least every 100 ms."""
        if self._axis is not None:
            self._handle(self._axis.tick())
        elif self._hello is None:
            self._ask_hello()

    def close(self) -> None:
        """The gateway ends: what waits behind a hole still goes to the ring."""
        if self._axis is not None:
            self._handle(self._axis.line.flush())

    def _take_hello(self, hello: Hello) -> None:
        self._counters.add("hello")
        if hello.box_id and str(hello.box_id) != self._status.box_id:
            self._counters.add("foreign_box")
            self._status.foreign_box = hello.box_id
            self._hello = None
            if self._told_foreign != hello.box_id:
                self._told_foreign = hello.box_id
                self._log.error("box.foreign", found_box_id=hello.box_id, configured=self._status.box_id)
            return
        if not _plausible(hello):
            self._refuse(hello)
            return
        self._status.foreign_box = self._told_foreign = 0
        self._status.in_recovery = False
        before, self._hello = self._hello, hello
        self._status.hello = hello
        if before is not None and before.boot_id == hello.boot_id and self._axis is not None:
            if before.nominal_hz != hello.nominal_hz:
                self._restart(hello)
            return
        self._log.info(
            "box.hello", hardware=hello.hardware, firmware=hello.firmware, v_per_lsb=hello.v_per_lsb
        )
        if before is not None:
            self._counters.add("restarts")
        self._restart(hello)

    def _refuse(self, hello: Hello) -> None:
        """What it says cannot be true: its counts are no volts until it says something better."""
        self._counters.add("hello_refused")
        self._hello = None
        self._status.in_recovery = hello.firmware.startswith("boot ")
        if self._status.in_recovery:
            if self._seldom("box.in_recovery"):
                reason = "Box is in its boot loader's recovery: opq-tools flash writes firmware"
                self._log.error("box.in_recovery", firmware=hello.firmware, reason=reason)
        elif self._seldom("hello.refused"):
            facts = {"v_per_lsb": hello.v_per_lsb, "rate_millihz": hello.rate_millihz}
            self._log.error("hello.refused", **facts, nominal_v=hello.nominal_v, nominal_hz=hello.nominal_hz)

    def _restart(self, hello: Hello) -> None:
        """Sample indices begin anew; after a restart of the gateway they go on from the ring."""
        if self._axis is not None:
            self._handle(self._axis.line.flush())
        self._end_windows()
        newest = self._ring.newest() if self._axis is None else None
        self._axis = Axis(hello, newest, self._clocks)
        self._windows = Windows(float(hello.nominal_hz), self._status.measurement_cycles)
        self._crosscheck.restart()
        self._counted = (0, 0, 0)
        self._status.sample_monotonic_s = None

    def _samples(self, samples: Samples) -> None:
        hello, axis = self._hello, self._axis
        if hello is None or axis is None:
            self._counters.add("foreign_box" if self._status.foreign_box else "samples_before_hello")
            self._ask_hello()
            return
        if not _usable(samples, hello):
            self._counters.add("samples_refused")
            return
        self._counters.add("box_overruns", bool(samples.flags & FLAG_OVERRUN_BEFORE))
        self._counters.add("clipped_blocks", bool(samples.flags & FLAG_CLIPPED))
        outputs = axis.take(samples, hello)
        if outputs is None:
            self._counters.add("restarts")
            if self._seldom("box.restarted"):
                self._log.warning("box.restarted", reason="sample indices began anew without a hello")
            self._ask_hello()
            self._restart(hello)
            outputs = self._axis.take(samples, hello) if self._axis is not None else None
        self._handle(outputs or [])

    def _handle(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Block):
                self._in_order(output)
            elif isinstance(output, Gap):
                self._gap(output)
            else:
                self._counters.add("resend_asked")
                self._to_box(Resend(output.first_sample, output.count))
        self._count_reassembly()

    def _in_order(self, block: Block) -> None:
        self._counters.add("samples", len(block.counts))
        if self._status.sample_monotonic_s is None and self._seldom("box.sampling"):
            self._log.info("box.sampling", first_sample=block.first_sample)
        self._status.sample_monotonic_s = self._clocks.monotonic_s()
        self._status.sample_ns = block.end_ns
        self._keep(block)
        assert self._windows is not None
        self._measured(self._windows.push(block))

    def _keep(self, block: Block) -> None:
        try:
            self._ring.append(block)
        except OSError as error:
            self._counters.add("ring_failed")
            reason = error.strerror or str(error)
            if not self._status.ring_problem:
                self._log.error("ring.failed", reason=reason)
            self._status.ring_problem = reason
            return
        self._counters.add("ring_blocks")
        if self._status.ring_problem:
            self._log.info("ring.recovered")
        self._status.ring_problem = ""

    def _gap(self, gap: Gap) -> None:
        self._counters.add("gaps")
        self._counters.add("missing_samples", gap.samples)
        if self._seldom("samples.missing"):
            facts = {"first_sample": gap.first_sample, "samples": gap.samples, "reason": gap.reason}
            self._log.warning("samples.missing", **facts, in_all=self._counters["missing_samples"])
        self._end_windows()

    def _end_windows(self) -> None:
        if self._windows is not None:
            self._measured(self._windows.gap())

    def _measured(self, windows: list[Window]) -> None:
        for window in windows:
            sequence = self._sequence()
            hello = self._status.hello
            nominal_v = None if hello is None else hello.nominal_v
            measurement = measure(window, self._status.box_id, sequence, nominal_v)
            self._crosscheck.ours(window, dict(measurement.metrics))
            self._counters.set("box_figures_checked", self._crosscheck.checked)
            self._counters.set("box_figures_differ", self._crosscheck.differing)
            self._counters.add("measurements")
            self._status.measurement_ms = measurement.timestamp_ms
            self._to_uplink(measurement)

    def _sequence(self) -> int | None:
        try:
            return self._sequences.take()
        except OSError as error:
            self._counters.add("sequences_failed")
            if self._seldom("sequence.failed"):
                self._log.error("sequence.failed", reason=str(error))
            return None

    def _seldom(self, event: str) -> bool:
        """True when nothing was said of `event` for TELL_S."""
        now_s = self._clocks.monotonic_s()
        if now_s - self._told_s.get(event, -TELL_S) < TELL_S:
            return False
        self._told_s[event] = now_s
        return True

    def _ask_hello(self) -> None:
        now_s = self._clocks.monotonic_s()
        if self._asked_hello_s is not None and now_s - self._asked_hello_s < ASK_HELLO_S:
            return
        self._asked_hello_s = now_s
        self._commands = (self._commands + 1) & 0xFFFF
        self._to_box(Command(self._commands, Operation.HELLO))

    def _count_reassembly(self) -> None:
        if self._axis is None:
            return
        line = self._axis.line
        now = (line.duplicates + self._axis.too_old, line.recovered, line.overflow)
        names = ("duplicate_samples", "samples_recovered", "reorder_overflow")
        for name, value, before in zip(names, now, self._counted, strict=True):
            if value != before:
                self._counters.add(name, value - before)
        self._counted = now


def _plausible(hello: Hello) -> bool:
    """Whether samples can be measured and judged with these figures: 20 samples per cycle at least."""
    gain = GAIN_V[0] <= hello.v_per_lsb <= GAIN_V[1]
    nominal = nominal_or_none(hello.nominal_v, NOMINAL_V) and nominal_or_none(hello.nominal_hz, NOMINAL_HZ)
    return gain and nominal is not None and hello.nominal_hz * 20_000 <= hello.rate_millihz


def _usable(samples: Samples, hello: Hello) -> bool:
    """Whether rate, time and index can be true; a good CRC does not make a good firmware."""
    in_time = 0 <= samples.t_ns < LATEST_NS and samples.first_sample < 2**62
    return in_time and samples.rate_millihz >= hello.nominal_hz * 20_000
