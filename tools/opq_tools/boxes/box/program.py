"""`opq-tools box program`: a user's `box.py` on the Box."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

from opq_proto.errors import OpqError
from opq_proto.link.user_program import why_not
from opq_proto.wire.frames import PROGRAM_PLUGIN
from opq_tools.shared.input_file import read_input

Order = Callable[[str, str], str]
"""Sends a plug-in's message to the Box, and returns the answer."""


class ProgramFileError(OpqError):
    """The file cannot be a Box's program; the text says why."""


def read_program_file(file: Path) -> bytes:
    """The text of a program. Raises ProgramFileError where no Box takes it."""
    text = read_input(file)
    if reason := why_not(text):
        raise ProgramFileError(f"{file}: {reason}")
    return text


def put_program(order: Order, file: Path) -> dict[str, object]:
    """Replaces the Box's program; returns its report.

    Raises:
        OpqError: the file cannot be a program, or the Box refuses it; then the former one goes on.
    """
    text = read_program_file(file)
    order(PROGRAM_PLUGIN, f"put {base64.b64encode(text).decode()}")
    return read_program(order, "")


def read_program(order: Order, message: str) -> dict[str, object]:
    """The Box's report of its program; with message `show` also the `text`."""
    found: dict[str, object] = json.loads(order(PROGRAM_PLUGIN, message))
    return found
