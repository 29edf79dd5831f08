"""A user's program of a Box, `box.py`: the arguments of Operation.PROGRAM that write and read it.

device/app/user_program.py is the other end; proto/golden/README.md has the words.
"""

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from opq_proto.link.log_codes import PROGRAM_STATES

MAX_BYTES = 4064
"""Longest text that a Box stores (device/cmodules/program/program_store.h)."""
MESSAGES_PER_CALL = 4
"""Most messages that a program may send in one call (device/cmodules/program/module.c)."""
PIECE_BYTES = 180
"""Bytes of one piece: 240 characters of base64, and a multiple of four for the flash."""


def why_not(text: bytes) -> str | None:
    """Why no Box takes this text; None: it may."""
    if not 0 < len(text) <= MAX_BYTES:
        return f"box.py has {len(text)} bytes; want 1 to {MAX_BYTES}"
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"box.py is not UTF-8: {error}"
    return None


def put_arguments(text: bytes) -> Iterator[str]:
    """The arguments, in order, that replace the program by this text; each must be answered by done."""
    yield f"put {len(text)} {zlib.crc32(text)}"
    for offset in range(0, len(text), PIECE_BYTES):
        yield f"{offset} {base64.b64encode(text[offset : offset + PIECE_BYTES]).decode()}"
    yield "end"


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """What a Box reports of its program."""

    state: str
    """In words."""
    bytes: int
    """0: there is none."""
    crc32: int
    reason: str
    """Why it was stopped; empty: it runs."""


def read_report(detail: str) -> ProgramReport | None:
    """The answer to an empty argument; None: it is something else.

    >>> read_report("1 27 3735928559 ").state
    'runs'
    """
    try:
        state, length, crc32, reason = detail.split(" ", 3)
        return ProgramReport(
            PROGRAM_STATES.get(int(state), f"unknown ({state})"), int(length), int(crc32), reason
        )
    except ValueError:
        return None
