"""The firmware of a gateway's Boxes, one Box after the other, as with `opq-tools box update`.

The Box checks signature, hardware and version, runs the image on trial, and goes back if it fails.
"""

from collections.abc import Iterable
from pathlib import Path

from opq_gateway.gateway_status import BoxStatus
from opq_proto.firmware.image import ImageError, version_number
from opq_proto.firmware.transfer import NotKeptError, OrderClient, TransferError, follow_update, send_firmware
from opq_proto.release.plan import ReleaseError

ORDER_S = 10.0


def due(version: str, boxes: Iterable[BoxStatus], tried: Iterable[str]) -> list[tuple[str, str]]:
    """(Box, hardware) of the Boxes that run older firmware and were not tried. A Box says its board and its
    converter, `opqbox external`; firmware is of a board.

    Raises ReleaseError: the version is not one of firmware.
    """
    try:
        wanted = version_number(version)
    except ImageError as error:
        raise ReleaseError(f"the plan of firmware: {error}") from error
    found = []
    for box in boxes:
        if box.hello is None or box.box_id in tried:
            continue
        try:
            older = version_number(box.hello.firmware) < wanted
        except ImageError:
            continue  # a simulated Box, or one of another maker
        if older:
            found.append((box.box_id, box.hello.hardware.partition(" ")[0]))
    return found


def update_box(orders: OrderClient, box_id: str, file: Path, version: str) -> tuple[str, bool]:
    """Sends the file and waits for the end of the trial; returns the result in words for a report, and
    whether the Box tried the firmware and did not keep it."""
    try:
        data = file.read_bytes()
        send_firmware(orders, box_id, data, ORDER_S, _nobody_looks)
        end = follow_update(orders, box_id, version_number(version), ORDER_S, _nobody_looks)
    except TransferError as error:
        return f"{version} failed: {error}"[:280], isinstance(error, NotKeptError)
    return f"{version} {end.state}", False


def _nobody_looks(state: str, done: int, of: int) -> None:
    """Progress is in the gateway's log already."""
