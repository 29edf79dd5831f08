"""What a Box reports about itself: who it is (Greeting), and the lines of its own log (BoxLog).

A hello is accepted only if it can be true. After the hello of another Box, of a boot loader that waits for
firmware, or with impossible figures, the gateway has no hello, because counts without a gain are not volts.
"""

from collections.abc import Callable

from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_proto.kit import log as logging
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.link import log_codes
from opq_proto.link.crash_record import crash_record
from opq_proto.link.messages import Crash, Hello, Log
from opq_proto.measurement.invariants import is_name
from opq_proto.messages import GAIN_V, NOMINAL_HZ, NOMINAL_V, nominal_or_none

REQUEST_HELLO_S = 1.0
MAX_TEXT = 120
"""Letters of the words about hardware and firmware."""
MAX_RATE_MILLIHZ = 1_000_000_000
"""Twenty times the rate that 921,600 baud can carry."""


class Greeting:
    """Which Box is on the port; `hello` is None until that is known."""

    def __init__(
        self,
        status: BoxStatus,
        counters: BoxCounters,
        lines: RateLimitedLog,
        monotonic_s: Callable[[], float],
        request: Callable[[], None],
    ) -> None:
        self.hello: Hello | None = None
        self._status = status
        self._counters = counters
        self._lines = lines
        self._monotonic_s = monotonic_s
        self._request = request
        self._requested_s: float | None = None
        self._logged_foreign = 0

    def opened(self) -> None:
        """The port was opened; requests a hello."""
        self._requested_s = None
        self.request_hello()

    def request_hello(self) -> None:
        """Requests a hello, at most once per REQUEST_HELLO_S."""
        now_s = self._monotonic_s()
        if self._requested_s is None or now_s - self._requested_s >= REQUEST_HELLO_S:
            self._requested_s = now_s
            self._request()

    def accept_hello(self, hello: Hello) -> bool:
        """Handles a hello; True when it is from the configured Box and can be true."""
        self._counters.add("hello")
        if hello.box_id and str(hello.box_id) != self._status.box_id:
            self._foreign(hello)
        elif not plausible(hello):
            self._refuse(hello)
        else:
            self._status.foreign_box = self._logged_foreign = 0
            self._status.in_recovery = False
            self.hello = self._status.hello = hello
            return True
        self.hello = None
        return False

    def _foreign(self, hello: Hello) -> None:
        self._counters.add("foreign_box")
        self._status.foreign_box = hello.box_id
        if self._logged_foreign != hello.box_id:
            self._logged_foreign = hello.box_id
            facts = {"found_box_id": hello.box_id, "configured": self._status.box_id}
            self._lines.error("box.foreign", key=hello.box_id, **facts)

    def _refuse(self, hello: Hello) -> None:
        self._counters.add("hello_refused")
        self._status.in_recovery = hello.firmware.startswith("boot ")
        if self._status.in_recovery:
            reason = "Box is in its boot loader's recovery: opq-tools flash writes firmware"
            self._lines.error("box.in_recovery", firmware=hello.firmware, reason=reason)
        else:
            facts = {"v_per_lsb": hello.v_per_lsb, "rate_millihz": hello.rate_millihz}
            self._lines.error(
                "hello.refused", **facts, nominal_v=hello.nominal_v, nominal_hz=hello.nominal_hz
            )


def plausible(hello: Hello) -> bool:
    """Whether samples can be measured with these figures, 20 samples per cycle at least, and others can read
    its words."""
    gain = GAIN_V[0] <= hello.v_per_lsb <= GAIN_V[1]
    nominal = nominal_or_none(hello.nominal_v, NOMINAL_V) and nominal_or_none(hello.nominal_hz, NOMINAL_HZ)
    rate = hello.nominal_hz * 20_000 <= hello.rate_millihz <= MAX_RATE_MILLIHZ
    words = all(not text or is_name(text, MAX_TEXT) for text in (hello.hardware, hello.firmware))
    return gain and nominal is not None and rate and words


BOX_LINES = 20
"""Most lines of a Box's own log that are repeated here per LOG_PERIOD_S."""


class BoxLog:
    """Copies one Box's log lines into the gateway's log."""

    def __init__(self, log: logging.BoundLogger, counters: BoxCounters, lines: RateLimitedLog) -> None:
        self._log = log
        self._counters = counters
        self._lines = lines
        self._lines_logged = 0
        self._crash: Crash | None = None

    def write_crash(self, crash: Crash) -> None:
        """Logs the record of a crash once, because the Box repeats it each minute."""
        if crash != self._crash:
            self._crash = crash
            self._log.warning("box.crash_record", **crash_record(crash))

    def write_line(self, message: Log) -> None:
        """Logs one line of the Box."""
        self._counters.add("log_lines")
        if self._lines.due("log lines of the Box"):
            self._lines_logged = 0
        self._lines_logged += 1
        if self._lines_logged > BOX_LINES:
            self._counters.add("log_lines_untold")
            return
        event, warns, facts = log_codes.words(message)
        (self._log.warning if warns else self._log.info)(event, **facts)
