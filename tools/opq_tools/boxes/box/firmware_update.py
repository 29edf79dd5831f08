"""`opq-tools box update`: a file of firmware to the Box, with its progress."""

from collections.abc import Callable
from pathlib import Path

from opq_proto.firmware.image import describe_firmware
from opq_proto.firmware.transfer import UpdateEnd, follow_update, send_firmware
from opq_proto.wire.command_client import CommandClient
from opq_tools.shared.input_file import read_input
from opq_tools.shared.progress import shown_progress


def update_firmware(client: CommandClient, box_id: str, file: Path, timeout_s: float) -> UpdateEnd:
    """Sends the file, and waits until the Box runs it.

    Raises:
        OpqError: a fault of the file, reported before anything is sent; or the Box does not run it.
    """
    data = read_input(file)
    version = describe_firmware(data).version
    with shown_progress(f"Box {box_id}", 1000) as bar:
        send_firmware(client, box_id, data, timeout_s, _permille(bar))
        return follow_update(client, box_id, version, timeout_s, _permille(bar))


def _permille(bar: Callable[[int], None]) -> Callable[[str, int, int], None]:
    """Progress callback in thousandths; the transfer to the gateway is the first tenth."""

    def show(state: str, done: int, in_all: int) -> None:
        share = done / in_all if in_all else 1.0
        bar(round(100 * share) if state == "to the gateway" else 100 + round(900 * share))

    return show
