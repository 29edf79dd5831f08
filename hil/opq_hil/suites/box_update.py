"""An update as a gateway makes it, by the gateway's own code, over a line that a scenario holds.

Each step waits for the Box's answer, so it suits a board whose flash is slower than an emulator's.
"""

import base64
from collections.abc import Callable, Mapping

from opq_gateway.commands.update import FirmwareUpdate
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.serial_side.box_commands import Argument, BoxAnswer, Done
from opq_hil.suites.scenario import require
from opq_hil.world.line import BenchLine
from opq_proto.firmware.image import WRITING, Slot, pack_bundle, sha256_of
from opq_proto.link.log_codes import UPDATE_CONFIRMED, UPDATE_ROLLED_BACK
from opq_proto.link.messages import Acknowledgement, Hello, Log, Operation

HELLO_S = 30.0
"""Limit in the Box's time for its hello, which it sends at once."""
UPDATE_S = 600.0
"""Limit in the Box's time; 220 kB take 45 s on a line without faults."""
PIECE = 48_000
MEASUREMENT_CYCLES = 12
"""A field of the gateway's status that no update reads."""


class _BenchCommands:
    """The line as the gateway's update sees it (`BoxCommandLink`)."""

    def __init__(self, line: BenchLine, status: BoxStatus) -> None:
        self._line = line
        self._status = status
        self._waiting: dict[int, tuple[Done, float]] = {}
        self._read = len(line.received)

    def send_command(self, operation: Operation, argument: Argument, timeout_s: float, done: Done) -> bool:
        text = argument if isinstance(argument, str) else argument()
        self._waiting[self._line.request(operation, text)] = (done, self._line.now_s() + timeout_s)
        return True

    def send_update_data(self, offset: int, data: bytes, timeout_s: float, done: Done) -> bool:
        self._waiting[self._line.send_piece(offset, data)] = (done, self._line.now_s() + timeout_s)
        return True

    def step(self) -> None:
        """Reads what came, and calls `done` for each answer and for each command whose time is over."""
        self._line.read(0.05, lambda: len(self._line.received) > self._read)
        new = self._line.received[self._read :]
        self._read += len(new)
        for message in (received.message for received in new):
            if isinstance(message, Acknowledgement):
                done, _ = self._waiting.pop(message.command_id, (None, 0.0))
                if done is not None:
                    done(BoxAnswer(message.status, message.detail))
            elif isinstance(message, Hello):
                self._status.hello = message
            elif isinstance(message, Log) and message.code in (UPDATE_CONFIRMED, UPDATE_ROLLED_BACK):
                self._status.trial_end = message
        now_s = self._line.now_s()
        for command_id in [found for found, (_, until_s) in self._waiting.items() if now_s > until_s]:
            self._waiting.pop(command_id)[0](BoxAnswer(None))


def update_box(
    line: BenchLine, images: Mapping[Slot, bytes], until: Callable[[], bool] = lambda: False
) -> str:
    """Sends the image of the Box's free slot; returns "confirmed", or the state when `until` became true.

    Raises:
        ScenarioFailedError: it ended in another state; the text has the reason.
    """
    status = BoxStatus("1", MEASUREMENT_CYCLES)
    commands = _BenchCommands(line, status)
    line.request(Operation.HELLO)
    hello_by_s = line.now_s() + HELLO_S
    while status.hello is None:
        require(line.now_s() < hello_by_s, f"{line.port}: no hello in {HELLO_S:g} s, so no update was sent")
        commands.step()
    update = FirmwareUpdate(commands, _now, status)
    update.tick(line.now_s())  # its limits count from now: an answer may come before the next tick
    bundle = pack_bundle(images)
    pieces = [f"data {at} {_text(bundle[at : at + PIECE])}" for at in range(0, len(bundle), PIECE)]
    for order in (f"begin {len(bundle)} {sha256_of(bundle).hex()}", *pieces, "install"):
        good, answer = update.execute(order)
        require(good, f"the gateway's update: {answer}")
    end_s = line.now_s() + UPDATE_S
    while line.now_s() < end_s and not until():
        commands.step()
        update.tick(line.now_s())
        update.execute("status")
        if update.state not in (*WRITING, "restarting", "on trial"):
            require(update.state == "confirmed", f"the update ended as {update.state}: {update.reason}")
            break
    require(update.state == "confirmed" or until(), f"{update.state} {UPDATE_S:g} s after its begin")
    return update.state


def _now(call: Callable[[], None]) -> bool:
    """Carries out at once what the gateway hands over to its handler's thread."""
    call()
    return True


def _text(piece: bytes) -> str:
    return base64.b64encode(piece).decode()
