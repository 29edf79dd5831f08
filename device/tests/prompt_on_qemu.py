"""A Box at its prompt, on the emulated board: statements at virtual times in, what was printed out."""

from pathlib import Path

import pytest

from opq_hil.backends.firmware import NO_FIRMWARE
from opq_hil.backends.qemu import Qemu
from opq_hil.world.world import World
from opq_proto.errors import OpqError

BYTE_NS = 10_851
"""At 921,600 baud, 8N1."""
START_NS = 500_000_000
"""By then the boot loader has checked the image (0.13 s) and the prompt is there."""
RAW, RUN = b"\x01", b"\x04"
REPL_PIN = "C9"


def firmware(board: str = "opqbox"):  # type: ignore[no-untyped-def]
    """The firmware of a board, and the backend that plays it; skips where either cannot be had."""
    from opq_tools.hil.built_firmware import firmware_for

    backend = Qemu(quiet=True)
    try:
        built = firmware_for(boards=(board,))[board]
        reason = backend.why_not(World(end_ns=1))
    except OpqError as problem:
        pytest.skip(f"{NO_FIRMWARE}: {problem}")
    if reason:
        pytest.skip(reason)
    return built, backend


def typed(statements: list[tuple[str, int]], begin_ns: int = START_NS) -> tuple[list[tuple[int, bytes]], int]:
    """What to send for (statement, ns that it may take) in raw mode, and when the last one has ended."""
    messages, at_ns = [(begin_ns, RAW)], begin_ns + 1_000_000
    for statement, takes_ns in statements:
        data = statement.encode() + RUN
        messages.append((at_ns, data))
        at_ns += len(data) * BYTE_NS + takes_ns
    return messages, at_ns


def played(world: World, folder: Path, wall_limit_s: float = 600):  # type: ignore[no-untyped-def]
    """The run, and its output as lines of plain text."""
    built, backend = firmware()
    run = backend.run(built.image, world, folder, wall_limit_s=wall_limit_s)
    text = b"".join(data for _, data in run.capture.log).decode(errors="replace").replace("\x04", "\n")
    return run, [line.removeprefix(">").removeprefix("OK") for line in text.splitlines()]
