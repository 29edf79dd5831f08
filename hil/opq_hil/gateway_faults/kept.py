"""What a gateway's ring holds of a Box, read from a copy: the original's writer may be at work."""

import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from opq_gateway.blocks import Block
from opq_gateway.ring.ring import Ring
from opq_proto.messages import Gap

HOURS = 24.0


@dataclass(frozen=True, slots=True)
class Kept:
    """Blocks in the order they were written, and the gaps that are recorded between them."""

    blocks: list[Block]
    gaps: list[Gap]


def kept(data_dir: Path, box_id: str) -> Kept:
    """Everything in the ring now."""
    folder = data_dir / "gateway" / f"box{box_id}" / "ring"
    with TemporaryDirectory() as beside:
        copy = Path(beside) / "ring"
        shutil.copytree(folder, copy)
        ring = Ring(copy, box_id, HOURS)
        try:
            blocks = ring.read_blocks(0, np.iinfo(np.int64).max)
        finally:
            ring.close()
    return Kept(blocks, gaps_between(blocks))


def gaps_between(blocks: list[Block]) -> list[Gap]:
    """Jumps of the index inside one boot: a reader of the ring is told of them as gaps."""
    gaps = []
    for before, after in pairwise(blocks):
        if before.boot_id == after.boot_id and after.first_sample > before.end_sample:
            length = after.first_sample - before.end_sample
            gaps.append(Gap(before.end_sample, length, "a jump of the index, no reason recorded"))
    return gaps
