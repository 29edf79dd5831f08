"""Which holes are this gateway's own: what came, or did not, while it stopped or read too late."""

import numpy as np
import pytest

from opq_gateway.ring.lost import MACHINE_PAUSED, NOT_RESENT
from opq_gateway.serial_side.axis import LONGEST_SILENCE_S, Axis
from opq_gateway.serial_side.serial_clock import Clocks
from opq_proto.link.messages import Hello, Samples
from opq_proto.messages import Gap, TimeSource

HELLO = Hello(1, 1, 5, 12_000_000, 0.0068, 120.0, 60.0, 15.0, 200, 38_400, "test", "1")
T0_NS = 1_700_000_000_000_000_000
RATE_HZ = 12_000


def samples(first: int) -> Samples:
    t_ns = T0_NS + first * 10**12 // 12_000_000
    return Samples(first, t_ns, 100, TimeSource.GPS, 12_000_000, 0, np.zeros(200, np.int16))


@pytest.mark.parametrize(
    ("before_hole", "after_hole", "reason"),
    [
        ((), (), NOT_RESENT),
        ((57.0,), (), MACHINE_PAUSED),
        ((57.0, 0.1, 0.1), (), MACHINE_PAUSED),  # it read late what had waited, too
        ((), (0.1, 0.1), NOT_RESENT),  # the line came back with a burst
        ((5.0,), (), NOT_RESENT),  # the line was out for longer than this gateway stopped
    ],
)
def test_a_hole_of_57_s(before_hole: tuple[float, ...], after_hole: tuple[float, ...], reason: str) -> None:
    axis = Axis("1", HELLO, None, Clocks())
    axis.accept_samples(samples(0), HELLO)
    for seconds in before_hole:
        axis.stalled(seconds)
    axis.accept_samples(samples(57 * RATE_HZ), HELLO)
    for seconds in after_hole:
        axis.stalled(seconds)
    gaps = [each for each in axis.flush() if isinstance(each, Gap)]
    assert [(gap.samples, gap.reason) for gap in gaps] == [(57 * RATE_HZ - 200, reason)]


def test_a_late_gateways_holes_are_its_own() -> None:
    """It reads late for a minute, and makes small holes."""
    axis, found = Axis("1", HELLO, None, Clocks()), []
    for first in range(0, 60 * RATE_HZ, 800):
        found += axis.accept_samples(samples(first), HELLO) or []
        axis.stalled(0.1)
    found += axis.flush()
    gaps = [each for each in found if isinstance(each, Gap)]
    assert {gap.reason for gap in gaps} == {MACHINE_PAUSED}
    assert sum(gap.samples for gap in gaps) == 600 * (len(range(0, 60 * RATE_HZ, 800)) - 1)


def test_a_silent_line_explains_what_waits() -> None:
    """The gateway read late; before the Box could send again what was lost, the line was pulled out."""
    now_s = [100.0]
    axis = Axis("1", HELLO, None, Clocks(monotonic_s=lambda: now_s[0]))
    axis.accept_samples(samples(0), HELLO)
    axis.stalled(0.3)
    axis.accept_samples(samples(2200), HELLO)
    assert axis.tick() == []
    now_s[0] += LONGEST_SILENCE_S
    gaps = [each for each in axis.tick() if isinstance(each, Gap)]
    assert [(gap.samples, gap.reason) for gap in gaps] == [(2000, NOT_RESENT)]
