"""What is measured of a Box, and who receives it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.feed import DisturbanceNotice, MeasuredFeed, PhasorReport, Values
from opq_gateway.measuring.measurements import Measured
from opq_gateway.measuring.runs import Broken
from opq_measure.events.limits import Limits
from opq_measure.timebase.window import Window
from opq_proto.measurement.fields import USUAL
from opq_proto.messages import Measurement, TimeSource

if TYPE_CHECKING:
    from opq_gateway.measuring.backlog import RingBacklog
    from opq_gateway.measuring.phasor_source import PhasorPlan


@dataclass(frozen=True, slots=True)
class MeasuringPlan:
    """What is measured and sent for a Box."""

    box_id: str
    nominal_v: float
    nominal_hz: float
    cycles: int = 60
    send: tuple[str, ...] = USUAL
    limits: Limits = field(default_factory=Limits)
    flicker: bool = True
    phasors: "PhasorPlan | None" = None
    detectors: bool = False
    signalling_hz: float = 0.0
    """Carrier of the mains signalling; 0: its voltage is not measured."""
    local: bool = True
    """Whether to make also what stays here: Values of windows and intervals, and notices of dips and swells.
    Measurements and edges do not depend on it."""


@dataclass(frozen=True, slots=True)
class Sinks:
    """Receivers of what was measured."""

    measured: Callable[[Measured], None]
    values: Callable[[Values], None]
    notice: Callable[[DisturbanceNotice], None]
    window: Callable[[Window, int, TimeSource, bool], None]
    """Gets each 10/12-cycle window with its clock and flag, for groups of Boxes."""
    phasor: Callable[[PhasorReport], None]
    phasors_wanted: Callable[[], bool]
    edge: Callable[[Measurement, int], None] = lambda *_: None
    """Gets the finding of a detector as a crossing Measurement, and the number of findings left out so far.
    """
    broken: Broken = lambda *_: None


@dataclass(frozen=True, slots=True)
class Outside:
    """What all Boxes share."""

    publish: Callable[[str, Measurement], None]
    feed: MeasuredFeed
    window: Callable[[str, Window, int, TimeSource, bool], None]
    edge: Callable[[str, Measurement], None]
    """Gets the finding of a detector, to be sent at once."""
    backlog: "Callable[[str], RingBacklog | None]"
    """Returns what the ring held unmeasured when the gateway began."""
    ring_end: Callable[[str, int], SampleBlock | None]
    """Returns a block without samples where the Box's ring ended when the gateway began; takes the Box's rate
    in mHz."""
    disturbed: Callable[[Values], Values] = lambda values: values
    """Returns a disturbance with the number of its polyphase event."""
