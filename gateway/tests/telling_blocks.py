"""Blocks whose counts tell their own index, so that a sample in the wrong place shows."""

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_proto.messages import TimeSource

T0_NS = 1_700_000_000_000_000_000
RATE = 12_000_000


def pattern(first: int, count: int) -> np.ndarray:
    """Counts that tell their own index."""
    return ((np.arange(first, first + count, dtype=np.int64) * 7919) % 65536 - 32768).astype(np.int16)


def ns(sample: int, t0_ns: int = T0_NS) -> int:
    """UTC of a sample."""
    return t0_ns + sample * 10**12 // RATE


def block(first: int, count: int = 200, boot: int = 7, t0_ns: int = T0_NS, **facts: object) -> SampleBlock:
    """A block of a Box that runs since `t0_ns`."""
    values = {"uncertainty_ns": 1000, "source": TimeSource.GPS, "rate_millihz": RATE} | facts
    return SampleBlock(boot, 0.0068, first, ns(first, t0_ns), counts=pattern(first, count), **values)  # type: ignore[arg-type]


def blocks(first: int, end: int, step: int = 200, **facts: object) -> list[SampleBlock]:
    """Blocks without a hole."""
    return [block(at, min(step, end - at), **facts) for at in range(first, end, step)]  # type: ignore[arg-type]
