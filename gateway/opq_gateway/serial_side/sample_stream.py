"""SampleStream: one Box's samples, from link messages to the ring and the other rooms.

    Samples -> Axis (stamp, order) -> ring -> Outputs: measuring, uplink

Runs in the reader's thread.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from opq_gateway.blocks import SampleBlock, drawn_start_id
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.ring.lost import ENDED
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.axis import Axis
from opq_gateway.serial_side.last_heard import LastHeard
from opq_gateway.serial_side.outputs import Outputs, RingWriter
from opq_gateway.serial_side.rate_watch import RateWatch
from opq_gateway.serial_side.reassembly import Output
from opq_gateway.serial_side.serial_clock import Clocks
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.link.messages import (
    FLAG_CLIPPED,
    FLAG_OVERRUN_BEFORE,
    Crossing,
    Hello,
    LinkMessage,
    Resend,
    Samples,
)
from opq_proto.messages import Gap

LATEST_NS = 4 * 10**18
"""The year 2096; later times, and times before 1970, are not accepted."""
LATEST_SAMPLE = 2**62
RATE_SHARE = 100
"""A rate that differs from the hello's by more than its hundredth is not that of a crystal."""
HELLO_WAIT_S = 2.0
"""The first samples of a start wait this long for a lost hello, which is requested again."""
MAX_RESTARTS = 60
"""A Box that restarts more often in RESTARTS_S is ignored for a while, because each restart costs a file and
new filters."""
RESTARTS_S = 60.0
"""Time in which restarts are counted."""


class SampleStream:
    """One Box's samples; reader's thread."""

    def __init__(
        self,
        status: BoxStatus,
        ring: Ring,
        counters: BoxCounters,
        lines: RateLimitedLog,
        to_box: Callable[[LinkMessage], None],
        outputs: Outputs,
        clocks: Clocks,
        unannounced: Callable[[], None],
    ) -> None:
        """`unannounced` is called where the sample indices begin again without a hello."""
        self._status = status
        self._ring = ring
        self._counters = counters
        self._lines = lines
        self._to_box = to_box
        self._outputs = outputs
        self._clocks = clocks
        self._unannounced = unannounced
        self._ring_writer = RingWriter(ring, status, counters, lines)
        self._last_heard = LastHeard(ring.folder.with_name(f"{ring.folder.name}_heard.json"))
        self._axis: Axis | None = None
        self._rate = RateWatch()
        self._restarts_s: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._counted = (0, 0, 0, 0)
        self._in_order: list[SampleBlock] = []
        self._silent_s: float | None = None
        """Length of the silence before the present run's hello; None: not known."""
        self._unnamed_since_s: float | None = None
        """Since when the present run waits for its hello, which comes after its first samples."""
        self._ring_start_id: int | None = None
        """The start in which the ring ended when the gateway began."""

    @property
    def has_begun(self) -> bool:
        """Whether a hello began it."""
        return self._axis is not None

    @property
    def waits(self) -> bool:
        """Whether samples are missing that may still come."""
        return self._axis is not None and self._axis.line.waiting > 0

    def may_restart(self) -> bool:
        """Counts a restart of the Box; False: the Box restarts too often and is ignored now."""
        now_s = self._clocks.monotonic_s()
        if len(self._restarts_s) == MAX_RESTARTS and now_s - self._restarts_s[0] < RESTARTS_S:
            self._lines.error("box.unsteady", restarts=MAX_RESTARTS, within_s=RESTARTS_S)
            return False
        self._restarts_s.append(now_s)
        return True

    def restart(self, hello: Hello) -> None:
        """Begins a new axis; after a restart of the gateway it continues from the ring."""
        newest, last_s = None, self._status.sample_monotonic_s
        self._unnamed_since_s = None
        if self._axis is not None:
            self._handle(self._axis.flush())
            self._hand_on()
        else:
            newest = self._ring.newest()
            last_s = self._last_heard.ended_s(newest)
        self._axis = Axis(self._status.box_id, hello, newest, self._clocks, last_s)
        self._rate = RateWatch()
        self._counted = (0, 0, 0, 0)
        self._silent_s = None if last_s is None else self._clocks.monotonic_s() - last_s
        self._ring_start_id = None if newest is None else newest.start_id
        self._status.sample_monotonic_s = self._status.start_id = None
        self._outputs.restart(self._status.box_id, hello)

    def is_named_by(self, hello: Hello, before: Hello) -> bool:
        """Whether the hello is of the present run, whose first samples came before any hello."""
        return self._unnamed_since_s is not None and replace(before, boot_id=hello.boot_id) == hello

    def name(self, hello: Hello) -> None:
        """A hello of the present run came; its samples are passed on with the name of its start."""
        axis = self._axis
        if self._unnamed_since_s is None or axis is None:
            return
        self._unnamed_since_s = None
        axis.start_id = drawn_start_id(hello.boot_id)
        for block in self._in_order:
            block.start_id = axis.start_id
        self._hand_on()

    def accept_samples(self, run: list[Samples], hello: Hello) -> None:
        """Takes messages that came together, after a hello began the stream."""
        axis = self._axis
        assert axis is not None
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

    def stamped(self, crossing: Crossing) -> Crossing | None:
        """A crossing with its time in UTC; None: not known."""
        return None if self._axis is None else self._axis.stamped(crossing)

    def reopened(self) -> None:
        """The port was opened again."""
        if self._axis is not None:
            self._axis.reopened()

    def stalled(self, seconds: float) -> None:
        """The gateway paused until now; the line has not caused the losses of its ports meanwhile."""
        if self._axis is not None:
            self._axis.stalled(seconds)

    def tick(self) -> None:
        """Does what is due."""
        outputs = [] if self._axis is None else self._axis.tick()
        if outputs or self._unnamed_since_s is not None:
            self._handle(outputs)
            self.count()
            self._hand_on()

    def count(self) -> None:
        """Updates the counters with the changes since the last call."""
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

    def close(self) -> None:
        """The gateway ends; blocks that wait after a hole still go to the ring."""
        self._unnamed_since_s = None
        if self._axis is not None:
            self._handle(self._axis.flush(ENDED))
            self._hand_on()

    def _samples(self, samples: Samples, hello: Hello) -> None:
        """Handles a block that is not the next one."""
        axis = self._axis
        assert axis is not None
        if samples.flags:
            self._counters.add("box_overruns", bool(samples.flags & FLAG_OVERRUN_BEFORE))
            self._counters.add("clipped_blocks", bool(samples.flags & FLAG_CLIPPED))
        outputs = axis.accept_samples(samples, hello)
        if outputs is None and not self.may_restart():
            self._counters.add("samples_refused")
            return
        if outputs is None:
            self._counters.add("restarts")
            self._lines.warning("box.restarted", reason="sample indices began again without a hello")
            self._unannounced()
            self.restart(hello)
            self._unnamed_since_s = self._clocks.monotonic_s()
            outputs = (self._axis.accept_samples(samples, hello) if self._axis is not None else None) or []
        self._handle(outputs)
        self.count()

    def _handle(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, SampleBlock):
                self._in_order.append(output)
            elif isinstance(output, Gap):
                self._unnamed_since_s = None
                self._hand_on()
                self._gap(output)
            else:
                self._counters.add("resend_asked")
                self._to_box(Resend(output.first_sample, output.count))

    def _hand_on(self) -> None:
        """Stores the blocks that are in order now, then passes them on."""
        blocks, since_s = self._in_order, self._unnamed_since_s
        if not blocks or (since_s is not None and self._clocks.monotonic_s() - since_s < HELLO_WAIT_S):
            return
        self._unnamed_since_s = None
        self._in_order = []
        status = self._status
        if status.sample_monotonic_s is None:
            self._begin_start(blocks[0].start_id)
            self._lines.info("box.sampling", first_sample=blocks[0].first_sample)
        status.sample_monotonic_s = self._clocks.monotonic_s()
        status.sample_ns = blocks[-1].end_ns
        status.sample_uncertainty_ns, status.sample_source = blocks[-1].uncertainty_ns, blocks[-1].source
        if self._axis is not None:
            status.shares_clock, status.by_gps = self._axis.clock.shared, self._axis.clock.by_gps
        if self._rate.add(blocks[-1].end_sample, status.rate_hz, status.sample_monotonic_s):
            self._counters.add("rate_wrong")
            self._lines.warning("box.rate_wrong", share=self._rate.wrong_share, stated_hz=status.rate_hz)
        status.rate_share = self._rate.wrong_share
        self._counters.add("samples", blocks[-1].end_sample - blocks[0].first_sample)  # no hole
        self._last_heard.note_block(blocks[-1], status.sample_monotonic_s)
        self._ring_writer.store_blocks(blocks)
        self._outputs.accept_blocks(status.box_id, blocks)

    def _begin_start(self, start_id: int) -> None:
        """Notes the start of the Box whose first samples come; it may be the ring's start."""
        status, silent_s = self._status, self._silent_s
        status.start_id = start_id
        if silent_s is not None and start_id != self._ring_start_id:
            status.silent_before = start_id, silent_s

    def _gap(self, gap: Gap) -> None:
        self._counters.add("gaps")
        self._counters.add("missing_samples", gap.samples)
        facts = {"first_sample": gap.first_sample, "samples": gap.samples, "reason": gap.reason}
        self._lines.warning("samples.missing", **facts, in_all=self._counters["missing_samples"])
        self._ring_writer.gap(gap)
        self._outputs.gap(self._status.box_id, gap)
