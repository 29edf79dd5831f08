"""A recording played into the converter arrives in the gateway's ring: the same bits, the right UTC."""

import os
import select
import time
import tty
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_gateway.blocks import SampleBlock
from opq_hil.backends.our_sources import clone
from opq_hil.gps.receiver import Gps
from opq_hil.suites.gateway_process import BACK_S, GatewayProcess
from opq_hil.suites.sampling import nothing_missed
from opq_hil.suites.scenario import Bench, Figures, FirmwareScenario, SkippedError, require
from opq_hil.world.capture import waveform
from opq_hil.world.world import NS_PER_S, Played, World
from opq_proto.link.messages import Samples
from opq_proto.messages import TimeSource
from opq_sim.mains.replayed_recording import read_replay

VARIABLE = "OPQ_RECORDINGS"
RATE_HZ = 12_000
SAMPLE_NS = 10**9 / RATE_HZ
LEAD_S = 45
"""Seconds before the recording; the clock is locked by then."""


def recordings_folder() -> Path:
    """Folder of the real recordings: `OPQ_RECORDINGS`, else where `opq-tools recordings get` puts them."""
    value = os.environ.get(VARIABLE)
    if value:
        return Path(value)
    tree, fetched = clone(), Path("recordings")
    beside = fetched if tree is None else tree.parent / "shared" / "data" / "recordings"
    return fetched if fetched.is_dir() else beside


def real_dip() -> NDArray[np.int16]:
    """Counts of the recorded dip.

    Raises:
        SkippedError: it is not on this machine.
    """
    path = recordings_folder() / "event_9354_box1.i16"
    if not path.exists():
        raise SkippedError(f"the real recordings are not in {path.parent}; opq-tools recordings get")
    return read_replay(path).counts


def played(counts: NDArray[np.int16], lead_s: int) -> Played:
    """A signal from power-on: silence, then the recording, then silence."""
    return Played(np.concatenate([np.zeros(lead_s * RATE_HZ, np.int16), counts, np.zeros(RATE_HZ, np.int16)]))


def place(row: NDArray[np.int16], counts: NDArray[np.int16]) -> int:
    """Index in `row` where the recording begins, bit for bit; -1 if it is not there."""
    first = counts[:8]
    for start in np.flatnonzero(row[: len(row) - len(counts) + 1] == first[0]):
        if np.array_equal(row[start : start + len(counts)], counts):
            return int(start)
    return -1


def dip(bench: Bench) -> Figures:
    """The recorded dip, through SPI, DMA, ring, line and a real gateway: the same bits, the same UTC."""
    counts = real_dip()
    gps = Gps(jitter_ns=20.0)
    world = World((LEAD_S + 4) * NS_PER_S, mains=played(counts, LEAD_S), gps=gps)
    run = bench.run(world, settings={"oversampling": "1", "box_id": "1"})
    nothing_missed(run.capture, since_s=5.0, end_s=LEAD_S + 4)
    blocks = run.capture.of(Samples)
    row = waveform(blocks)
    start = place(row.counts, counts)
    require(
        start >= 0, f"the {len(counts)} samples of the recording are not in the {len(row.counts)} received"
    )
    stored = through_gateway(run.folder, run.capture.data, len(blocks))
    ring_row = np.concatenate([block.counts for block in stored])
    ring_start = place(ring_row, counts)
    require(ring_start >= 0, f"the recording is not in the gateway's ring ({len(ring_row)} samples)")
    error_ns = utc_error_ns(stored, ring_start, gps.utc_ns(LEAD_S * NS_PER_S))
    # A count holds from its time until the next: the converter may read it up to one sample later.
    require(
        -1000 <= error_ns < SAMPLE_NS + 1000, f"the first sample of the recording is {error_ns:.0f} ns off"
    )
    return {"samples": len(counts), "ring_samples": len(ring_row), "taken_after_ns": error_ns}


def utc_error_ns(stored: list[SampleBlock], start: int, true_ns: int) -> float:
    """UTC of sample `start` of the ring less the true one."""
    for block in stored:
        if start < len(block.counts):
            require(
                block.source is TimeSource.GPS,
                f"the recording was stamped by {block.source.name}, not by GPS",
            )
            return block.t_ns - true_ns + start * 10**12 / block.rate_millihz
        start -= len(block.counts)
    raise ValueError("no block holds the sample")


def through_gateway(folder: Path, data: bytes, blocks: int) -> list[SampleBlock]:
    """Writes a captured line to a pty as fast as a real gateway reads it; returns the blocks in its ring."""
    master, slave = os.openpty()
    tty.setraw(slave)
    try:
        with GatewayProcess({"1": os.ttyname(slave)}, folder / "gateway") as gateway:
            opened = folder / "gateway" / "gateway.log"
            gateway.wait_until(lambda: b"serial.opened" in opened.read_bytes(), BACK_S, "the port is open")
            _write_slowly(master, data)
            gateway.wait_until(
                lambda: gateway.samples() >= 200 * blocks, BACK_S, f"{200 * blocks} samples in the ring"
            )
            return gateway.blocks()
    finally:
        os.close(master)
        os.close(slave)


def _write_slowly(master: int, data: bytes) -> None:
    """Writes all data; reads what comes back and ignores it."""
    os.set_blocking(master, False)
    sent = 0
    end = time.monotonic() + 60
    while sent < len(data) and time.monotonic() < end:
        readable, writable, _ = select.select([master], [master], [], 1.0)
        if readable:
            os.read(master, 4096)
        if writable:
            sent += os.write(master, data[sent : sent + 4096])


SCENARIOS = (
    FirmwareScenario("dip", "the recorded dip, bit for bit in a real gateway's ring, at its UTC", dip),
)
