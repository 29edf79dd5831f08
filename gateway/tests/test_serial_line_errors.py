"""The kernel's counts of a UART, played; a pty has none."""

import os

import pytest

from opq_gateway.serial_side import port as port_module
from opq_gateway.serial_side.port import LineErrors


def test_a_pty_counts_nothing() -> None:
    master, slave = os.openpty()
    errors = LineErrors(slave)
    assert errors.new() == (0, 0)
    os.close(master)
    os.close(slave)


def test_the_kernels_counts_are_reported_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = [0] * 20

    def ioctl(fd: int, request: int, data: bytes) -> bytes:
        assert (request, len(data)) == (0x545D, 80)
        return port_module._COUNTS.pack(*counts)

    monkeypatch.setattr(port_module.fcntl, "ioctl", ioctl)
    counts[6:11] = [9, 9, 9, 9, 9]  # of an earlier user
    errors = LineErrors(0)
    assert errors.new() == (0, 0)
    counts[6:11] = [10, 11, 9, 9, 12]  # frame, overrun, parity, break, buffer overrun
    assert errors.new() == (5, 1)
    assert errors.new() == (0, 0)
