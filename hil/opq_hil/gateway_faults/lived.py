"""What a schedule left behind: of the Boxes, on the gateway's disk and in the cloud's store."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from opq_gateway.blocks import Block
from opq_hil.gateway_faults.kept import Kept
from opq_hil.gateway_faults.service import ServiceError
from opq_proto.messages import Measurement


@dataclass(slots=True)
class Lived:
    """What a schedule left behind."""

    sent: dict[str, int] = field(default_factory=dict)
    ring: dict[str, Kept] = field(default_factory=dict)
    early: dict[str, list[Block]] = field(default_factory=dict)
    """Blocks that the ring held at the first kill."""
    deaf_s: dict[str, float] = field(default_factory=dict)
    """Longest time from a kill of the gateway until it takes samples of the Box again."""
    queued: set[tuple[str, int]] = field(default_factory=set)
    """(Box, sequence) that was seen on the gateway's disk."""
    stored: list[Measurement] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)


def exported(data_dir: Path) -> list[Measurement]:
    """Every Measurement in the cloud's store, from outside.

    Raises:
        ServiceError: the command failed.
    """
    command = [sys.executable, "-m", "opq_tools.cli", "export", "measurements", "--format", "json"]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise ServiceError(f"export of measurements: {done.stderr.strip()}")
    return [
        Measurement(
            box_id=row["box_id"],
            timestamp_ms=row["timestamp_ms"],
            metrics={},
            start_ns=row["start_ns"],
            end_ns=row["end_ns"],
            sequence=row["sequence"],
            crossing=row["crossing"],
        )
        for row in json.loads(done.stdout)
    ]
