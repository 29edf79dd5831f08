"""AtOnce: measures one Box's blocks in the thread that brings them; the Outputs of a gateway without a
measuring thread."""

from collections.abc import Callable

from opq_gateway.blocks import Block
from opq_gateway.counters import Counters
from opq_gateway.measuring.crosscheck import CrossCheck
from opq_gateway.measuring.measurements import measure
from opq_gateway.measuring.windows import Window, Windows
from opq_gateway.status import Status
from opq_gateway.uplink.sequences import Sequences
from opq_proto import log
from opq_proto.link_messages import BoxMeasurement, Crossing, Hello
from opq_proto.messages import Gap, Measurement


class AtOnce:
    """Windows of one Box into Measurements."""

    def __init__(
        self,
        status: Status,
        sequences: Sequences,
        counters: Counters,
        to_uplink: Callable[[Measurement], None],
        crossing: Callable[[str, Crossing], None] | None = None,
    ) -> None:
        self._status = status
        self._sequences = sequences
        self._counters = counters
        self._to_uplink = to_uplink
        self._crossing = crossing
        self._crosscheck = CrossCheck()
        self._windows: Windows | None = None
        self._told = False

    def set_cycles(self, cycles: int) -> None:
        """Cycles per Measurement from the next window on; from any thread."""
        self._status.measurement_cycles = cycles
        windows = self._windows
        if windows is not None:
            windows.cycles = cycles

    def restart(self, box_id: str, hello: Hello) -> None:
        """A new axis."""
        if self._windows is not None:
            self._measured(self._windows.gap())
        self._windows = Windows(float(hello.nominal_hz), self._status.measurement_cycles)
        self._crosscheck.restart()

    def push(self, box_id: str, block: Block) -> None:
        """The next block."""
        if self._windows is not None:
            self._measured(self._windows.push(block))

    def gap(self, box_id: str, gap: Gap) -> None:
        """Samples are missing."""
        if self._windows is not None:
            self._measured(self._windows.gap())

    def figures(self, box_id: str, figures: BoxMeasurement) -> None:
        """The Box's own."""
        self._crosscheck.theirs(figures)

    def crossing(self, box_id: str, crossing: Crossing) -> None:
        """It leaves without waiting for its window."""
        if self._crossing is not None:
            self._crossing(box_id, crossing)

    def _measured(self, windows: list[Window]) -> None:
        for window in windows:
            hello = self._status.hello
            nominal_v = None if hello is None else hello.nominal_v
            measurement = measure(window, self._status.box_id, self._sequence(), nominal_v)
            self._crosscheck.ours(window, dict(measurement.metrics))
            self._counters.set("box_figures_checked", self._crosscheck.checked)
            self._counters.set("box_figures_differ", self._crosscheck.differing)
            self._counters.add("measurements")
            self._status.measurement_ms = measurement.timestamp_ms
            self._to_uplink(measurement)

    def _sequence(self) -> int | None:
        try:
            number = self._sequences.take()
        except OSError as error:
            self._counters.add("sequences_failed")
            if not self._told:
                log.get(service="gateway", box_id=self._status.box_id).error(
                    "sequence.failed", reason=str(error)
                )
            self._told = True
            return None
        self._told = False
        return number
