"""Updating: a firmware file to a Box through its gateway, by pieces, and how far it is."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from opq_proto.command_client import CommandClient, UnansweredError
from opq_proto.errors import OpqError
from opq_proto.firmware_image import read_bundle
from opq_proto.wire import plugin_command

PIECE_BYTES = 32_768
TRIES = 5
POLL_S = 0.5
LONGEST_S = 600.0
UNDER_WAY = ("erasing", "sending", "verifying")


class UpdateError(OpqError):
    """The update did not go through; the Box keeps the firmware that it has."""


Shown = Callable[[str, int, int], None]
"""State, bytes done, bytes in all."""


def update_box(asking: CommandClient, box_id: str, path: Path, timeout_s: float, show: Shown) -> str:
    """Send the file, have it installed, and wait until the Box has all of it; its last state.

    Raises:
        UpdateError: the file is none, or gateway or Box refuse it.
        UnansweredError: nobody answers any more.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UpdateError(f"{path}: {error.strerror}") from error
    read_bundle(data)  # says what is wrong with it before anything is sent

    def order(message: str) -> str:
        for left in reversed(range(TRIES)):
            try:
                answer = asking.send_command(
                    plugin_command(box_id, "opq-update", message, asking.identity), timeout_s
                )
            except UnansweredError:
                if not left:
                    raise
                continue
            told = answer.command_to_plugin_response
            if not told.ok:
                reason = told.detail or "no gateway of ours"
                raise UpdateError(f"Box {box_id}: {reason}; it keeps its firmware")
            return told.detail
        raise AssertionError("unreachable")

    order(f"begin {len(data)} {hashlib.sha256(data).hexdigest()}")
    offset = 0
    while offset < len(data):
        piece = base64.b64encode(data[offset : offset + PIECE_BYTES]).decode()
        offset = int(order(f"data {offset} {piece}"))
        show("to the gateway", offset, len(data))
    order("install")
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        status = json.loads(order("status"))
        show(status["state"], status["done"], status["bytes"])
        if status["state"] == "failed":
            raise UpdateError(f"Box {box_id}: {status['reason']}")
        if status["state"] not in UNDER_WAY:
            return str(status["state"])
        time.sleep(POLL_S)
    raise UpdateError(f"Box {box_id}: not done within {LONGEST_S:g} s")
