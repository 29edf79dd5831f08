"""`python -m opq_hil.backends.emulated`: a Box in an emulator, live, at a port of a fixed name; `up` runs it.

The firmware is the real one; mains, GPS and supply come from a world with a dip every minute.
"""

import math
import secrets
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from opq_hil.backends.backend import Image, LiveBox, backend, mains_input
from opq_hil.backends.boards import BOARDS, Board
from opq_hil.gps.receiver import Gps
from opq_hil.world.world import NS_PER_S, Played, World
from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_sim.box.port import PortLink

LEAD_S = 30
"""Seconds from power-on to the first dip; the clock is locked by then."""
EVERY_S = 60
"""Seconds from one dip to the next."""
LONGEST_NS = 6 * 3600 * NS_PER_S
"""A world is read completely: 70 MB of GPS text. At its end this process ends; `up` starts it again."""
RATE_HZ = 12_000
DIP_SHARE = 0.7
DIP_CYCLES = 10
NOMINAL_V = 120.0
NOMINAL_HZ = 60.0
EMULATORS = ("qemu", "renode")
MOST_SEED = 0x7FFF_FFFF
TICK_S = 0.25


def world(board: Board, utc_ns: int, lead_s: float, every_s: int, seed: int) -> World:
    """Nominal mains with a dip to 70 % for 10 cycles at `lead_s`, and every `every_s` after that.

    `seed`: what the chip's RAM holds, and so the number of this start (the boot id).
    """
    at_s = np.arange(every_s * RATE_HZ) / RATE_HZ
    volts = NOMINAL_V * math.sqrt(2) * np.sin(2 * math.pi * NOMINAL_HZ * at_s)
    start_s = lead_s % every_s
    inside = (at_s >= start_s) & (at_s < start_s + DIP_CYCLES / NOMINAL_HZ)
    volts[inside] *= DIP_SHARE
    mains = Played(counts_of(board, volts), mains_input(board), RATE_HZ * 1000, loop=True)
    return World(
        LONGEST_NS, mains=mains, gps=Gps(utc_start_ns=utc_ns, jitter_ns=20.0), seed=seed, restarted=True
    )


def counts_of(board: Board, volts: NDArray[np.float64]) -> NDArray[np.int16]:
    """The converter's counts of the volts at the line, behind a front end that clips."""
    front = board.front_end
    around = np.clip(np.rint(volts / (front.v_per_lsb * board.counts_per_lsb)), -front.rail, front.rail)
    return (around + board.zero).astype(np.int16)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--box-id", required=True, help="Name of the Box in the log.")
@click.option("--backend", "name", type=click.Choice(EMULATORS), default="qemu", show_default=True)
@click.option("--board", type=click.Choice(sorted(BOARDS)), default="opqbox", show_default=True)
@click.option(
    "--flash", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The chip's flash."
)
@click.option("--port", type=click.Path(path_type=Path), required=True, help="Link to make to the pty.")
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="For world, report and flash.")
@click.option("--lead-s", type=float, default=LEAD_S, show_default=True, help="Seconds before the first dip.")
@click.option(
    "--every-s",
    type=click.IntRange(5, 600),
    default=EVERY_S,
    show_default=True,
    help="Seconds from dip to dip.",
)
@click.option(
    "--seed", type=click.IntRange(0, MOST_SEED), help="Seed of the chip's RAM; else drawn at each start."
)
def main(
    box_id: str,
    name: str,
    board: str,
    flash: Path,
    port: Path,
    folder: Path,
    lead_s: float,
    every_s: int,
    seed: int | None,
) -> None:
    """Run one emulated Box until SIGTERM."""
    log.configure("boxes")
    logger = log.get(service="boxes", box_id=box_id)
    stop = threading.Event()
    try:
        with stopped_by_signals(stop):
            found = backend(name)
            # the Box's GPS is wrong by the rest of this, and by the delay of a slow emulator
            utc_ns = time.time_ns() + round(found.start_s * NS_PER_S)
            ram = secrets.randbelow(MOST_SEED + 1) if seed is None else seed
            plan = world(BOARDS[board], utc_ns, lead_s, every_s, ram)
            image = Image(BOARDS[board], flash)
            flash_file = folder / "flash.bin"
            with (
                found.live(image, plan, folder, flash=flash_file if flash_file.exists() else None) as box,
                closing(PortLink(port, box.port)),
            ):
                logger.info("box.started", port=str(port), emulator=found.version)
                _serve(stop, box, lead_s % every_s, every_s, logger)
    except (OpqError, OSError) as error:
        click.echo(f"box {box_id}: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 1))


def _serve(
    stop: threading.Event, box: LiveBox, first_s: float, every_s: int, logger: log.BoundLogger
) -> None:
    """Waits for the end; reports each dip when it begins in the Box, and bytes that no gateway read."""
    lines = RateLimitedLog(logger)
    began = time.monotonic()
    at_s, end_s, dropped = first_s, LONGEST_NS / NS_PER_S, 0
    while not stop.wait(TICK_S):
        more = box.counters().get("dropped_bytes", 0)
        if more > dropped:
            lines.info("box.bytes_dropped", dropped_bytes=more)
            dropped = more
        if time.monotonic() - began < min(at_s, end_s):
            continue  # no emulator is faster than real time, and a request costs 8 ms of a core
        now_s = box.now_s()
        if now_s >= at_s:
            logger.info("box.event_sent", monotonic_ns=time.monotonic_ns() - round((now_s - at_s) * NS_PER_S))
            at_s += every_s
        if now_s >= end_s:
            return


if __name__ == "__main__":
    main()
