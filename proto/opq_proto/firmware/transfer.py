"""Sends firmware to a Box through its gateway, in pieces, and reports the result; see also `firmware_image`.

The gateway receives it by the plug-in command `opq-update`. The Box checks signature, hardware and version,
and starts the image on trial. If the new image fails its trial, the Box goes back to the old one.
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from opq_proto.errors import OpqError
from opq_proto.firmware.image import WRITING, ImageError, version_number, version_text
from opq_proto.wire.command_client import BoxRefusedError, UnansweredError

PIECE_BYTES = 32_768
SENDING_TRIES = 5
POLL_S = 0.5
WRITING_S = 600.0
TRIAL_S = 420.0
"""Three starts of the new image, each given up after 120 s (device/app/updater.py), and one of the old."""
SILENT_S = 60.0
INSTALL = "install"
"""The message that starts the installation."""
KEPT = "It keeps its firmware"
"""End of an error after which the Box is unchanged."""
TO_THE_GATEWAY = "to the gateway"
ON_TRIAL = ("restarting", "on trial")


class TransferError(OpqError):
    """The update failed, or its result is not known; the text says which."""


class NotKeptError(TransferError):
    """The Box ran the new firmware on trial, and went back to the former one."""


class OrderClient(Protocol):
    """Sends orders to Boxes: a `CommandClient`, or the command handler of a Box's gateway."""

    def send_order(self, box_id: str, plugin: str, message: str, timeout_s: float) -> str:
        """Returns the answer. Raises BoxRefusedError or UnansweredError."""


Shown = Callable[[str, int, int], None]
"""Called with state, bytes done and bytes in all; what it raises ends the transfer."""


@dataclass(frozen=True, slots=True)
class UpdateEnd:
    """The result of an update after which the Box runs the new firmware."""

    state: str
    """`confirmed` where the Box reports that; `running` where it runs and confirmation is unknown."""
    firmware: str
    """The firmware's version as the Box reports it."""

    @property
    def words(self) -> str:
        if self.state == "confirmed":
            return f"It runs {self.firmware}, and has confirmed it."
        return f"It runs {self.firmware}; whether the Box has confirmed it is not known."


def send_firmware(client: OrderClient, box_id: str, data: bytes, timeout_s: float, show: Shown) -> None:
    """Sends the whole file to the gateway, which then writes the image that the Box needs.

    Raises:
        TransferError: Box or gateway refuse it, or do not answer; the text says what is known of the Box.
    """
    _order(client, box_id, f"begin {len(data)} {hashlib.sha256(data).hexdigest()}", timeout_s)
    offset = 0
    while offset < len(data):
        show(TO_THE_GATEWAY, offset, len(data))
        piece = base64.b64encode(data[offset : offset + PIECE_BYTES]).decode()
        offset = int(_order(client, box_id, f"data {offset} {piece}", timeout_s))
    show(TO_THE_GATEWAY, offset, len(data))
    _order(client, box_id, INSTALL, timeout_s)


def follow_update(client: OrderClient, box_id: str, version: int, timeout_s: float, show: Shown) -> UpdateEnd:
    """Waits until the Box runs this version; also for a transfer that another client has started.

    Raises:
        TransferError: the Box does not run it, or its state is not known.
    """
    state, since_s, received_s = "", time.monotonic(), time.monotonic()
    while True:
        now_s = time.monotonic()
        try:
            status = json.loads(client.send_order(box_id, "opq-update", "status", timeout_s))
        except UnansweredError as error:
            if now_s - received_s > SILENT_S:
                raise TransferError(f"{error}. Whether it runs the new firmware is not known") from error
            show(state, 0, 0)
            continue
        received_s = time.monotonic()
        if (status["state"] in WRITING) != (state in WRITING):
            since_s = now_s
        firmware = str(status.get("firmware", ""))
        earlier = not state and _number(firmware) != version  # the end of another update
        state = str(status["state"])
        show(state, status["done"], status["bytes"])
        if state == "confirmed" and not earlier:
            return UpdateEnd(state, firmware)
        over = now_s - since_s > (WRITING_S if state in WRITING else TRIAL_S)
        if state not in (*WRITING, *ON_TRIAL) or (over and state not in WRITING):
            if state in ("idle", *ON_TRIAL) and _number(firmware) == version:
                return UpdateEnd("running", firmware)
            kind = NotKeptError if state == "rolled back" else TransferError
            raise kind(f"Box {box_id}: {_why(state, status['reason'], version)}{_runs(firmware)}")
        if over:
            raise TransferError(f"Box {box_id}: not written within {WRITING_S:g} s{_runs(firmware)}")
        time.sleep(POLL_S)


def cancel_update(client: OrderClient, box_id: str, timeout_s: float) -> None:
    """Cancels the update in the gateway; the Box keeps its firmware. Raises TransferError."""
    _order(client, box_id, "cancel", timeout_s)


def _order(client: OrderClient, box_id: str, message: str, timeout_s: float) -> str:
    for left in reversed(range(SENDING_TRIES)):
        try:
            return client.send_order(box_id, "opq-update", message, timeout_s)
        except BoxRefusedError as error:
            raise TransferError(f"{error}; it keeps its firmware") from error
        except UnansweredError as error:
            if not left:
                kept = "Whether its gateway writes it is not known" if message == INSTALL else KEPT
                raise TransferError(f"{error}. {kept}") from error
    raise AssertionError("unreachable")


def _why(state: str, reason: str, version: int) -> str:
    match state:
        case "failed":
            return reason
        case "collecting":
            return "its gateway has only a part of the file"
        case "confirmed":
            return f"{version_text(version)} did not come to its gateway"
        case "idle":
            return "the update was cancelled, or its gateway started again before the Box had all of it"
        case "rolled back":
            return f"{version_text(version)} showed no health, and the Box went back to the firmware before"
    return f"it did not confirm {version_text(version)} within {TRIAL_S:g} s"


def _runs(firmware: str) -> str:
    return f"; it runs {firmware}" if firmware else ""


def _number(firmware: str) -> int | None:
    try:
        return version_number(firmware)
    except ImageError:
        return None
