"""What a gateway's ring holds of a Box."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opq_gateway.blocks import Block
from opq_gateway.ring.ring import Ring
from opq_proto.messages import Gap

HOURS = 24.0
ALL_NS = (0, int(np.iinfo(np.int64).max))


@dataclass(frozen=True, slots=True)
class Kept:
    """Blocks in the order they were written, and the losses that are recorded between them."""

    blocks: list[Block]
    gaps: list[Gap]


def newest_ns(data_dir: Path, box_id: str) -> int:
    """UTC up to which the ring goes."""
    newest = _ring(data_dir, box_id).newest()
    return 0 if newest is None else newest.end_ns


def kept(data_dir: Path, box_id: str) -> Kept:
    """Everything in the ring now; its writer, if there is one, is not disturbed."""
    ring = _ring(data_dir, box_id)
    blocks = ring.read_blocks(*ALL_NS)
    gaps = [Gap(lost.first_sample, lost.samples, lost.reason) for lost in ring.read_lost(*ALL_NS)]
    return Kept(blocks, gaps)


def _ring(data_dir: Path, box_id: str) -> Ring:
    return Ring(data_dir / "gateway" / f"box{box_id}" / "ring", box_id, HOURS)
