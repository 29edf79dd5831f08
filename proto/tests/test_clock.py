"""The system clock's source as the kernel states it."""

from opq_proto.kit.clock import STA_UNSYNC, TIME_ERROR, from_kernel, system_clock
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource


def test_a_synchronised_kernel_means_ntp() -> None:
    state = from_kernel(0, 0x0001, 8_500)
    assert (state.source, state.uncertainty_ns) == (TimeSource.NTP, 8_500_000)


def test_an_unsynchronised_kernel_means_free() -> None:
    for state in (from_kernel(TIME_ERROR, 0, 5), from_kernel(0, STA_UNSYNC, 5), from_kernel(-1, 0, 0)):
        assert (state.source, state.uncertainty_ns) == (TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)


def test_a_huge_error_saturates_on_the_wire() -> None:
    assert from_kernel(0, 0, 16_000_000).uncertainty_ns == UNKNOWN_UNCERTAINTY_NS


def test_this_machines_clock_can_be_asked() -> None:
    state = system_clock()
    assert state.source in (TimeSource.FREE, TimeSource.NTP)
    assert 0 <= state.uncertainty_ns <= UNKNOWN_UNCERTAINTY_NS
